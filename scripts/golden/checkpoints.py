"""Makes small checkpoints of several families, plain and as AutoAWQ and GPTQ pack them, with expected logits.

    python3 -P scripts/golden/checkpoints.py crates/llm-cli/tests/golden/checkpoints
    python3 -P scripts/golden/checkpoints.py FOLDER --every-gptq

The second makes the ones for scripts/check-conversion that are not kept, for every way of GPTQ.

Needs numpy, safetensors and tokenizers (`-P`: the package, not the script of this name beside this one). The logits come from `forward` below: the models as their papers and the
reference implementations in PyTorch define them, in double precision, with the rotary embedding that turns halves.
Each folder has config.json, tokenizer.json, the tensors, `tokens` and `logits` (little-endian f32).
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = ["Once upon a time there was a kernel that could speak.", "It read 42 models from its disks, and 7 from memory!"]
N_VOCAB = 320
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PACKING_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def byte_level_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer that cuts words as qwen2 does."""
    from tokenizers import Regex

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def sentencepiece_style_tokenizer() -> Tokenizer:
    """A BPE tokenizer with byte fallback and a space in front, as those of Llama 2."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer_tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer_tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer_tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=52, special_tokens=[]))
    learned = json.loads(trainer_tokenizer.to_str())["model"]
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>"] + byte_tokens)}
    for token in sorted(learned["vocab"], key=learned["vocab"].get):
        vocab.setdefault(token, len(vocab))
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def rotate(x: np.ndarray, positions: np.ndarray, base: float) -> np.ndarray:
    """Rotary embedding of [tokens, heads, head_len], halves turned together."""
    half = x.shape[-1] // 2
    angles = positions[:, None, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def forward(config: dict, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Logits of every position, [tokens, vocab]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    n_head, n_kv = config["num_attention_heads"], config["num_key_value_heads"]
    head_len, eps = config.get("head_dim") or config["hidden_size"] // n_head, config["rms_norm_eps"]
    scale = config.get("attention_multiplier", head_len**-0.5)
    residual_scale = config.get("residual_multiplier", 1.0)
    has_rope = config.get("no_rope_layers", [1] * config["num_hidden_layers"])
    norms_behind = config["model_type"] == "olmo2"
    positions = np.arange(len(tokens), dtype=np.float64)
    mask = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    x = w["model.embed_tokens.weight"][tokens] * config.get("embedding_multiplier", 1.0)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."

        def linear(part: str, value: np.ndarray) -> np.ndarray:
            return value @ w[f"{at}{part}.weight"].T + w.get(f"{at}{part}.bias", 0.0)

        def norm(part: str, value: np.ndarray) -> np.ndarray:
            return rms_norm(value, w[f"{at}{part}.weight"], eps)

        def heads_of(part: str, value: np.ndarray, n: int) -> np.ndarray:
            rows = linear(f"self_attn.{part}_proj", value)
            if norms_behind:
                rows = norm(f"self_attn.{part}_norm", rows)
            heads = rows.reshape(-1, n, head_len)
            if f"{at}self_attn.{part}_norm.weight" in w and not norms_behind:
                heads = norm(f"self_attn.{part}_norm", heads)
            return rotate(heads, positions, config["rope_theta"]) if has_rope[layer] else heads

        def gated(part: str, value: np.ndarray) -> np.ndarray:
            gate = linear(f"{part}.gate_proj", value)
            return linear(f"{part}.down_proj", gate / (1 + np.exp(-gate)) * linear(f"{part}.up_proj", value))

        def experts(value: np.ndarray) -> np.ndarray:
            chances = np.exp(value @ w[f"{at}mlp.gate.weight"].T)
            chosen = np.argsort(-chances, axis=-1)[:, : config["num_experts_per_tok"]]
            out = np.zeros_like(value)
            for token, ids in enumerate(chosen):
                shares = chances[token, ids] / chances[token, ids].sum()
                row = value[token : token + 1]
                out[token] = sum(s * gated(f"mlp.experts.{i}", row)[0] for i, s in zip(ids, shares))
            return out

        h = x if norms_behind else norm("input_layernorm", x)
        q, k = heads_of("q", h, n_head), heads_of("k", h, n_kv)
        v = linear("self_attn.v_proj", h).reshape(-1, n_kv, head_len)
        k, v = (np.repeat(t, n_head // n_kv, axis=1) for t in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) * scale + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        heads = np.einsum("hqk,khd->qhd", scores, v).reshape(len(tokens), -1)
        attended = linear("self_attn.o_proj", heads)
        x = x + (norm("post_attention_layernorm", attended) if norms_behind else attended) * residual_scale
        h = x if norms_behind else norm("post_attention_layernorm", x)
        out = experts(h) if "num_experts" in config else gated("mlp", h)
        x = x + (norm("post_feedforward_layernorm", out) if norms_behind else out) * residual_scale
    x = rms_norm(x, w["model.norm.weight"], eps)
    logits = x @ w["lm_head.weight" if "lm_head.weight" in w else "model.embed_tokens.weight"].T
    return logits / config.get("logits_scaling", 1.0)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight + bias


def forward_bert(config: dict, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Hidden states of every position, [tokens, n_embd]; GELU in its tanh form, as in GGUF's bert."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    n_head, eps = config["num_attention_heads"], config["layer_norm_eps"]
    head_len = config["hidden_size"] // n_head
    part = "embeddings."
    x = w[part + "word_embeddings.weight"][tokens] + w[part + "position_embeddings.weight"][: len(tokens)]
    x = x + w[part + "token_type_embeddings.weight"][0]
    x = layer_norm(x, w[part + "LayerNorm.weight"], w[part + "LayerNorm.bias"], eps)
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."

        def linear(part: str, value: np.ndarray) -> np.ndarray:
            return value @ w[f"{at}{part}.weight"].T + w[f"{at}{part}.bias"]

        def norm(part: str, value: np.ndarray) -> np.ndarray:
            return layer_norm(value, w[f"{at}{part}.weight"], w[f"{at}{part}.bias"], eps)

        q, k, v = (
            linear(f"attention.self.{part}", x).reshape(-1, n_head, head_len) for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", q, k) * head_len**-0.5
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        heads = np.einsum("hqk,khd->qhd", scores, v).reshape(len(tokens), -1)
        x = norm("attention.output.LayerNorm", x + linear("attention.output.dense", heads))
        h = linear("intermediate.dense", x)
        h = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = norm("output.LayerNorm", x + linear("output.dense", h))
    return x


def quantize(weight: np.ndarray, group: int, has_zeros: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """AutoAWQ's tensors for a matrix [out, in], and the weights that they stand for."""
    groups = weight.reshape(weight.shape[0], -1, group)
    if has_zeros:
        low, high = groups.min(-1), groups.max(-1)
        scales = np.maximum((high - low) / 15, 1e-5).astype(np.float16).astype(np.float64)
        zeros = np.clip(np.round(-low / scales), 0, 15)
    else:
        scales = np.maximum(np.abs(groups).max(-1) / 7, 1e-5).astype(np.float16).astype(np.float64)
        zeros = np.full_like(scales, 8)
    q = np.clip(np.round(groups / scales[..., None]) + zeros[..., None], 0, 15)
    exact = ((q - zeros[..., None]) * scales[..., None]).reshape(weight.shape)

    def pack(values: np.ndarray) -> np.ndarray:
        columns = values.astype(np.uint32).reshape(values.shape[0], -1, 8)
        words = sum(columns[..., source] << np.uint32(4 * i) for i, source in enumerate(PACKING_ORDER))
        return words.astype(np.uint32).view(np.int32)

    tensors = {"qweight": pack(q.reshape(weight.shape).T.copy()), "scales": scales.T.astype(np.float16).copy()}
    if has_zeros:
        tensors["qzeros"] = pack(zeros.T.copy())
    return tensors, exact


def quantize_gptq(weight: np.ndarray, scheme: dict, rng) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """GPTQ's tensors for a matrix [out, in], and the weights that they stand for."""
    bits, n_in = scheme["bits"], weight.shape[1]
    group = n_in if scheme["group_size"] == -1 else scheme["group_size"]
    most, offset = 2**bits - 1, {"gptq": 1, "gptq_v2": 0}[scheme["checkpoint_format"]]
    groups_of = np.arange(n_in, dtype=np.int32) // group
    if scheme["desc_act"]:
        groups_of = rng.permutation(groups_of)
    by_group = [weight[:, groups_of == index] for index in range(groups_of.max() + 1)]
    low, high = (np.stack([extreme(values, axis=1) for values in by_group], axis=1) for extreme in (np.min, np.max))
    if scheme["sym"]:
        scales = np.maximum(np.maximum(-low, high) / (most // 2), 1e-5).astype(np.float16).astype(np.float64)
        zeros = np.full_like(scales, (most + 1) // 2)
    else:
        scales = np.maximum((high - low) / most, 1e-5).astype(np.float16).astype(np.float64)
        zeros = np.clip(np.round(-low / scales), offset, most + offset)
    q = np.clip(np.round(weight / scales[:, groups_of]) + zeros[:, groups_of], 0, most)
    exact = (q - zeros[:, groups_of]) * scales[:, groups_of]

    def pack(values: np.ndarray) -> np.ndarray:
        """Neighbouring rows into words."""
        n = 32 // bits
        rows = values.astype(np.uint32).reshape(-1, n, values.shape[1])
        words = sum(rows[:, i] << np.uint32(bits * i) for i in range(n))
        return np.ascontiguousarray(words.astype(np.uint32).view(np.int32))

    return {
        "qweight": pack(q.T),
        "qzeros": pack(zeros - offset).T.copy(),
        "scales": scales.T.astype(np.float16).copy(),
        "g_idx": groups_of,
    }, exact


def gptq(bits: int, group: int, desc_act: bool, sym: bool, version: str = "gptq") -> dict:
    """`quantization_config`."""
    return {
        "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": desc_act, "sym": sym,
        "checkpoint_format": version,
    }  # fmt: skip


# What config.json of a family has beside what all have.
MORE_KEYS = {
    "qwen3": {"head_dim": 12},
    "qwen3_moe": {
        "head_dim": 12, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
    },
    "granite": {
        "attention_multiplier": 0.25, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0,
    },
    "smollm3": {"num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0]},
    "olmo2": {},
}  # fmt: skip


def make(
    folder: Path, family: str, group: int | None, has_zeros: bool, tied: bool, sharded: bool, seed: int,
    scheme: dict | None = None, head_len: int | None = None,
) -> None:  # fmt: skip
    """One checkpoint: AutoAWQ's if there is a group size, GPTQ's if there is a scheme, or else plain."""
    rng = np.random.default_rng(seed)
    more_keys = MORE_KEYS.get(family, {}) | ({"head_dim": head_len} if head_len else {})
    n_embd, n_ff = (128, 256) if group is not None or scheme and scheme["group_size"] == 128 else (32, 64) if family in MORE_KEYS else (64, 128)
    n_head, n_kv, n_layer = 4, 2, more_keys.get("num_hidden_layers", 2)
    head_len = more_keys.get("head_dim", n_embd // n_head)
    config = {
        "model_type": family,
        "_name_or_path": f"ferrite/{folder.name}",
        "hidden_size": n_embd,
        "intermediate_size": n_ff,
        "num_hidden_layers": n_layer,
        "num_attention_heads": n_head,
        "num_key_value_heads": n_kv,
        "vocab_size": N_VOCAB,
        "max_position_embeddings": 128,
        "rms_norm_eps": 0.002,
        "rope_theta": 20000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | more_keys
    shapes = {
        "self_attn.q_proj": (n_head * head_len, n_embd),
        "self_attn.k_proj": (n_kv * head_len, n_embd),
        "self_attn.v_proj": (n_kv * head_len, n_embd),
        "self_attn.o_proj": (n_embd, n_head * head_len),
    }
    n_expert, n_ff_expert = more_keys.get("num_experts", 0), more_keys.get("moe_intermediate_size", n_ff)
    for part in [f"mlp.experts.{i}" for i in range(n_expert)] or ["mlp"]:
        shapes |= {
            f"{part}.gate_proj": (n_ff_expert, n_embd),
            f"{part}.up_proj": (n_ff_expert, n_embd),
            f"{part}.down_proj": (n_embd, n_ff_expert),
        }
    if n_expert:
        shapes["mlp.gate"] = (n_expert, n_embd)
    norms = {"input_layernorm": n_embd, "post_attention_layernorm": n_embd}
    if family == "olmo2":
        norms = {"post_attention_layernorm": n_embd, "post_feedforward_layernorm": n_embd}
        norms |= {"self_attn.q_norm": n_head * head_len, "self_attn.k_norm": n_kv * head_len}
    elif family.startswith("qwen3"):
        norms |= {"self_attn.q_norm": head_len, "self_attn.k_norm": head_len}

    def half(*shape: int, scale: float = 1.0, mean: float = 0.0) -> np.ndarray:
        return (mean + scale * rng.standard_normal(shape)).astype(np.float16)

    stored: dict[str, np.ndarray] = {"model.embed_tokens.weight": half(N_VOCAB, n_embd)}
    exact: dict[str, np.ndarray] = {}
    if not tied:
        stored["lm_head.weight"] = half(N_VOCAB, n_embd, scale=n_embd**-0.5)
    stored["model.norm.weight"] = half(n_embd, scale=0.1, mean=1.0)
    for layer in range(n_layer):
        at = f"model.layers.{layer}."
        for norm, n in norms.items():
            stored[f"{at}{norm}.weight"] = half(n, scale=0.1, mean=1.0)
        for part, (rows, cols) in shapes.items():
            weight = half(rows, cols, scale=cols**-0.5)
            if part == "mlp.gate":
                stored[f"{at}{part}.weight"] = weight
            elif scheme is not None:
                packed, exact[f"{at}{part}.weight"] = quantize_gptq(weight.astype(np.float64), scheme, rng)
                stored.update({f"{at}{part}.{name}": value for name, value in packed.items()})
            elif group is None:
                stored[f"{at}{part}.weight"] = weight
            else:
                packed, exact[f"{at}{part}.weight"] = quantize(weight.astype(np.float64), group, has_zeros)
                stored.update({f"{at}{part}.{name}": value for name, value in packed.items()})
            if family == "qwen2" and part.split(".")[1] in ("q_proj", "k_proj", "v_proj"):
                stored[f"{at}{part}.bias"] = half(rows, scale=0.2)
    if group is not None:
        config["quantization_config"] = {
            "quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": has_zeros,
        }

    if scheme is not None:
        config["quantization_config"] = scheme

    folder.mkdir(parents=True, exist_ok=True)
    if sharded:
        names = sorted(stored)
        files = {name: f"model-{1 + 2 * i // len(names):05}-of-00002.safetensors" for i, name in enumerate(names)}
        for file in sorted(set(files.values())):
            save_file({name: stored[name] for name in names if files[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}, indent=1))
    else:
        save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    tokenizer = sentencepiece_style_tokenizer() if family == "llama" else byte_level_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = tokenizer.encode(TEXT[0], add_special_tokens=False).ids[:16]
    logits = forward(config, {**stored, **exact}, tokens)
    (folder / "tokens").write_text(",".join(map(str, tokens)) + "\n")
    (folder / "text").write_text(TEXT[0])
    (folder / "ids").write_text(" ".join(map(str, tokenizer.encode(TEXT[0], add_special_tokens=False).ids)) + "\n")
    logits.astype("<f4").tofile(folder / "logits")


def make_bert(folder: Path, seed: int) -> None:
    """A checkpoint of BERT's family, as sentence-transformers stores them, with a WordPiece vocabulary."""
    rng = np.random.default_rng(seed)
    n_embd, n_ff, n_layer = 32, 64, 2
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(set("".join(TEXT).lower()) - {" "})
    words = "once upon a time there was kernel that could speak".split()[::2] + ["##pon", "##ere", "##ul", "##ak"]
    pieces = list(dict.fromkeys(special + letters + ["##" + c for c in letters if c.isalnum()] + words))
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    around = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", around)
    n_vocab = tokenizer.get_vocab_size()
    config = {
        "model_type": "bert",
        "_name_or_path": f"ferrite/{folder.name}",
        "hidden_size": n_embd,
        "intermediate_size": n_ff,
        "num_hidden_layers": n_layer,
        "num_attention_heads": 4,
        "vocab_size": n_vocab,
        "type_vocab_size": 2,
        "max_position_embeddings": 64,
        "layer_norm_eps": 0.002,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
    }
    shapes = {
        "embeddings.word_embeddings.weight": (n_vocab, n_embd),
        "embeddings.position_embeddings.weight": (64, n_embd),
        "embeddings.token_type_embeddings.weight": (2, n_embd),
        "pooler.dense.weight": (n_embd, n_embd),
        "pooler.dense.bias": (n_embd,),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(n_layer):
        at = f"encoder.layer.{layer}."
        for part, rows, cols in [
            ("attention.self.query", n_embd, n_embd),
            ("attention.self.key", n_embd, n_embd),
            ("attention.self.value", n_embd, n_embd),
            ("attention.output.dense", n_embd, n_embd),
            ("intermediate.dense", n_ff, n_embd),
            ("output.dense", n_embd, n_ff),
        ]:
            shapes |= {f"{at}{part}.weight": (rows, cols), f"{at}{part}.bias": (rows,)}
        norms += [at + "attention.output.LayerNorm", at + "output.LayerNorm"]
    scale = {True: n_embd**-0.5, False: 0.5}
    stored = {
        name: (scale["dense" in name or "self" in name] * rng.standard_normal(shape)).astype(np.float16)
        for name, shape in shapes.items()
    }
    for norm in norms:
        stored[norm + ".weight"] = (1 + 0.1 * rng.standard_normal(n_embd)).astype(np.float16)
        stored[norm + ".bias"] = (0.1 * rng.standard_normal(n_embd)).astype(np.float16)

    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"} | roles) + "\n")
    modules = [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules) + "\n")
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}) + "\n")
    tokens = tokenizer.encode(TEXT[0]).ids
    (folder / "tokens").write_text(",".join(map(str, tokens)) + "\n")
    (folder / "text").write_text(TEXT[0])
    (folder / "ids").write_text(" ".join(map(str, tokens[1:-1])) + "\n")
    forward_bert(config, stored, tokens).astype("<f4").tofile(folder / "logits")


def make_gptq(root: Path) -> None:
    """Every family that `make` knows, and llama in every way that GPTQ has to pack."""
    for seed, family in enumerate(["llama", "qwen2", *MORE_KEYS], 100):
        make(root / f"{family}-gptq", family, None, True, True, False, seed, gptq(4, 32, seed % 2 == 0, seed % 3 == 0))
    ways = [(bits, group, act, sym) for bits in (4, 8) for group in (32, 64, -1) for act in (0, 1) for sym in (0, 1)]
    for seed, (bits, group, act, sym) in enumerate(ways, 200):
        name = f"llama-gptq-{bits}-{group}-{'act' if act else 'same'}-{'sym' if sym else 'asym'}"
        make(root / name, "llama", None, True, True, False, seed, gptq(bits, group, bool(act), bool(sym)))
    make(root / "llama-gptq-2-32", "llama", None, True, True, False, 250, gptq(2, 32, True, False))
    make(root / "qwen2-gptq-128", "qwen2", None, True, True, False, 251, gptq(4, 128, True, False))
    make(root / "llama-gptq-v2", "llama", None, True, True, False, 252, gptq(4, 32, True, False, "gptq_v2"))


def main() -> None:
    root = Path(sys.argv[1])
    if sys.argv[2:] == ["--every-gptq"]:
        return make_gptq(root)
    make(root / "llama-plain", "llama", None, True, tied=False, sharded=True, seed=1)
    make(root / "qwen2-plain", "qwen2", None, True, tied=True, sharded=False, seed=2)
    make(root / "llama-awq-32", "llama", 32, True, tied=True, sharded=False, seed=3)
    make(root / "llama-awq-128-symmetric", "llama", 128, False, tied=True, sharded=False, seed=4)
    make(root / "qwen2-awq-64", "qwen2", 64, True, tied=False, sharded=True, seed=5)
    make(root / "qwen3_moe-awq-32", "qwen3_moe", 32, True, tied=True, sharded=False, seed=43, head_len=16)
    make(root / "llama-gptq-4-act", "llama", None, True, True, False, 40, gptq(4, 32, True, False))
    make(root / "qwen2-gptq-8-symmetric", "qwen2", None, True, True, False, 41, gptq(8, -1, False, True))
    make(root / "qwen3_moe-gptq-4", "qwen3_moe", None, True, True, False, 42, gptq(4, 32, False, True, "gptq_v2"))
    for seed, family in enumerate(MORE_KEYS, 6):
        make(root / f"{family}-plain", family, None, True, tied=family == "qwen3", sharded=False, seed=seed)
    make_bert(root / "bert-plain", seed=30)


if __name__ == "__main__":
    main()

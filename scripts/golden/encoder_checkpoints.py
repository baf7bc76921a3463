"""Makes small checkpoints of encoders, with the hidden states and the scores of the original models.

    python3 -P scripts/golden/encoder_checkpoints.py crates/llm-cli/tests/golden/checkpoints [NAME...]

Needs torch, transformers, safetensors, tokenizers, protobuf and sentencepiece. Weights are random numbers of F16. What transformers has computes
itself, in double precision; Nomic's and Jina's models, whose checkpoints have the names of code of their own, `encode` does. Each
folder is as `checkpoints.py` makes them; those with a classifier have `scores` as well, of the text.
"""

import io
import json
import runpy
import sys
from pathlib import Path

import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import gelu, layer_norm, silu

# By their paths: other files beside them have the names of packages.
HERE = Path(__file__).parent
FAMILIES = runpy.run_path(str(HERE / "family_checkpoints.py"))
unigram, TEXT = FAMILIES["unigram"], FAMILIES["TEXT"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ROLES = {
    "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>",
    "mask_token": "<mask>",
}  # fmt: skip
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
NAMES = {0: "good", 1: "bad", 2: "neither"}


def write_settings(folder: Path, settings: dict) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")


def word_piece(folder: Path) -> list[int]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(set("".join(TEXT).lower()) - {" "})
    words = ["once", "time", "was", "kernel", "could", "##pon", "##ere", "##ul", "##ak"]
    pieces = list(dict.fromkeys(special + letters + ["##" + c for c in letters if c.isalnum()] + words))
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    around = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", around)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    write_settings(folder, {"tokenizer_class": "BertTokenizer"} | roles)
    return tokenizer.encode(TEXT[0]).ids


def byte_level(folder: Path) -> list[int]:
    """RoBERTa's: GPT-2's, with tokens of its own around texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=SPECIAL[:4], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_settings(folder, {"tokenizer_class": "RobertaTokenizer"} | ROLES)
    return tokenizer.encode(TEXT[0]).ids


def camembert(folder: Path) -> list[int]:
    """XLM-R's with other tokens in front: those around texts stand behind the vocabulary's unused ones."""
    ids = unigram(folder, is_json=True)
    file = json.loads((folder / "tokenizer.json").read_text())
    unused = [["<s>NOTUSED", 0.0], ["<pad>", 0.0], ["</s>NOTUSED", 0.0], ["<unk>", 0.0], ["<unk>NOTUSED", -100.0]]
    pieces = [piece for piece in file["model"]["vocab"] if piece[0] not in SPECIAL]
    vocabulary = unused + [["<s>", 0.0], ["</s>", 0.0]] + pieces + [["<mask>", 0.0]]
    place = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    file["model"]["vocab"] = vocabulary
    file["model"]["unk_id"] = place["<unk>"]
    for token in file["added_tokens"]:
        token["id"] = place[token["content"]]
    file["added_tokens"].sort(key=lambda token: token["id"])
    for token in file["post_processor"]["special_tokens"].values():
        token["ids"] = [place[token["id"]]]
    (folder / "tokenizer.json").write_text(json.dumps(file, ensure_ascii=False))
    write_settings(folder, {"tokenizer_class": "CamembertTokenizer", "clean_up_tokenization_spaces": True} | ROLES)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT[0]).ids
    assert (ids[0], ids[-1]) == (5, 6), ids
    return ids


def t5(folder: Path) -> list[int]:
    """T5's: spiece.model alone, with a token behind texts."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 8), model_writer=written, model_type="unigram", vocab_size=36, normalization_rule_name="nmt_nfkc",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(written.getvalue())
    write_settings(folder, {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue()).encode(TEXT[0]) + [1]


def write(folder: Path, config: dict, tensors: dict, ids: list[int], n_around: tuple[int, int], hidden, scores=None) -> None:
    tensors = {name: value.half().contiguous() for name, value in tensors.items() if value.is_floating_point()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": f"ferrite/{folder.name}"}, indent=1) + "\n")
    (folder / "tokens").write_text(",".join(map(str, ids)) + "\n")
    (folder / "text").write_text(TEXT[0])
    (folder / "ids").write_text(" ".join(map(str, ids[n_around[0] : len(ids) - n_around[1]])) + "\n")
    hidden.detach().numpy().astype("<f4").tofile(folder / "logits")
    if scores is not None:
        (folder / "scores").write_text(" ".join(f"{score:.9g}" for score in scores.flatten().tolist()) + "\n")


def of_transformers(name: str, keys: dict, vocabulary, n_vocab: int, written: dict, n_around=(1, 1)):
    """A maker of a checkpoint of a class of transformers; `written` is what config.json has otherwise."""

    def make(folder: Path) -> None:
        ids = vocabulary(folder)
        config_class = getattr(transformers, name + "Config", None)
        for end in ("EncoderModel", "ForSequenceClassification", "Model"):
            config_class = config_class or getattr(transformers, name.removesuffix(end) + "Config", None)
        config = config_class(**{"vocab_size": n_vocab} | keys, attn_implementation="eager")
        model = getattr(transformers, name)(config).eval().double()
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                is_norm = "norm" in parameter_name.lower() and "weight" in parameter_name
                scale = 0.1 if parameter.ndim == 1 else 0.5 if "embed" in parameter_name else parameter.shape[-1] ** -0.5
                parameter.copy_(((1.0 if is_norm else 0.0) + scale * torch.randn_like(parameter)).half().double())
            output = model(torch.tensor([ids]), output_hidden_states=True)
            is_classifier = "logits" in output
            base = model.base_model(torch.tensor([ids])).last_hidden_state[0] if is_classifier else output.last_hidden_state[0]
        tensors = {key: value for key, value in model.state_dict().items() if key != "encoder.embed_tokens.weight"}
        left_out = ("transformers_version", "dtype", "attn_implementation", "_attn_implementation_internal")
        made = {key: value for key, value in config.to_diff_dict().items() if key not in left_out}
        roles = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")
        made |= {key: getattr(config, key) for key in roles if hasattr(config, key)}
        made |= {"model_type": config.model_type, "architectures": [name]}
        write(folder, made | written, tensors, ids, n_around, base, output.logits if is_classifier else None)

    return make


def encode(config: dict, w: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """Hidden states of Nomic's and Jina's encoders, [tokens, width]; `w` has the names of `NAMED`, with `N.` in front."""
    n_head, n_layer, eps = config["heads"], config["layers"], config["eps"]
    positions = torch.arange(len(ids), dtype=torch.float64)

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def turned(x):
        half = x.shape[-1] // 2
        angles = positions[:, None] * config["rope"] ** (-torch.arange(half, dtype=torch.float64) / half)
        cos, sin = angles.cos(), angles.sin()
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    x = norm(w["tokens.weight"][ids] + w["types.weight"][0], "embedding_norm")
    for layer in range(n_layer):
        at = f"{layer}."
        q, k, v = linear(x, at + "qkv").chunk(3, -1) if f"{at}qkv.weight" in w else (linear(x, at + part) for part in "qkv")
        if f"{at}q_norm.weight" in w:
            q, k = norm(q, at + "q_norm"), norm(k, at + "k_norm")
        q, k, v = (part.reshape(len(ids), n_head, -1).transpose(0, 1) for part in (q, k, v))
        if "rope" in config:
            q, k = turned(q), turned(k)
        scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        if "rope" not in config:
            slopes = 2.0 ** (-8.0 / n_head * torch.arange(1, n_head + 1, dtype=torch.float64))
            scores -= slopes[:, None, None] * (positions[:, None] - positions[None]).abs()
        heads = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), -1)
        after = norm(x + linear(heads, at + "o"), at + "norm1")
        if f"{at}norm2.weight" in w:
            after = norm(x + after, at + "norm2")
        x = after
        if f"{at}router.weight" in w:
            chances = linear(x, at + "router").softmax(-1)
            block = torch.zeros_like(x)
            best = chances.topk(config["used"], -1)
            w1, w2 = (w[at + part].reshape(config["experts"], -1, x.shape[-1]) for part in ("w1", "w2"))
            for token in range(len(ids)):
                for expert, weight in zip(best.indices[token], best.values[token]):
                    block[token] += weight * (gelu(x[token] @ w1[expert].T, approximate="tanh") @ w2[expert])
        elif f"{at}gate.weight" in w:
            block = linear(silu(linear(x, at + "gate")) * linear(x, at + "up"), at + "down")
        elif w[f"{at}up.weight"].shape[0] == 2 * w[f"{at}down.weight"].shape[1]:
            gate, up = linear(x, at + "up").chunk(2, -1)
            block = linear(gelu(gate, approximate="tanh") * up, at + "down")
        else:
            block = linear(gelu(linear(x, at + "up"), approximate="tanh"), at + "down")
        x = norm(x + block, at + "norm3")
    return x


FLASH = {
    "tokens": "embeddings.word_embeddings", "types": "embeddings.token_type_embeddings", "embedding_norm": "emb_ln", "qkv": "attn.Wqkv",
    "o": "attn.out_proj", "norm1": "norm1", "norm3": "norm2", "up": "mlp.fc11", "gate": "mlp.fc12", "down": "mlp.fc2",
    "router": "mlp.router.layer", "w1": "mlp.experts.mlp.w1", "w2": "mlp.experts.mlp.w2", "layers": "encoder.layers",
}  # fmt: skip
JINA_V2 = {
    "tokens": "embeddings.word_embeddings", "types": "embeddings.token_type_embeddings", "embedding_norm": "embeddings.LayerNorm",
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "q_norm": "attention.self.layer_norm_q",
    "k_norm": "attention.self.layer_norm_k", "o": "attention.output.dense", "norm1": "attention.output.LayerNorm", "norm2": "layer_norm_1",
    "norm3": "mlp.layernorm", "up": "mlp.gated_layers", "down": "mlp.wo", "layers": "encoder.layer",
}  # fmt: skip
NAMED = {
    "nomic": FLASH,
    "nomic-moe": FLASH | {"up": "mlp.fc1"},
    "jina-v2": JINA_V2,
    "jina-v2-code": JINA_V2 | {"norm3": "layer_norm_2", "up": "mlp.up_gated_layer", "down": "mlp.down_layer"},
    "jina-v3": {name: other.replace("attn.", "mixer.").replace("fc11", "fc1") for name, other in FLASH.items()},
}


def shapes(kind: str, n_vocab: int, n_types: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of `encode`, by its own names."""
    n, ff, all_biased = 32, 64, kind in ("nomic-moe", "jina-v3")
    out = {"tokens.weight": (n_vocab, n), "types.weight": (n_types, n)}
    norms, biased = ["embedding_norm"], set()
    for layer in range(2):
        at = f"{layer}."
        parts = {"qkv": (3 * n, n)} if not kind.startswith("jina-v2") else {"q": (n, n), "k": (n, n), "v": (n, n)}
        parts |= {"o": (n, n), "up": (2 * ff if kind.startswith("jina-v2") else ff, n), "down": (n, ff)}
        if kind == "nomic":
            parts["gate"] = (ff, n)
        has_experts = kind == "nomic-moe" and layer == 1
        if has_experts:
            del parts["up"], parts["down"]
            parts["router"] = (4, n)
            out |= {f"{at}w1": (4 * ff, n), f"{at}w2": (4 * ff, n), f"{at}experts_bias": (n,)}
        out |= {f"{at}{part}.weight": shape for part, shape in parts.items()}
        biased |= {at + part for part in parts if part != "router" and (all_biased or kind != "nomic" and part != "up")}
        norms += [at + "norm1", at + "norm3"] + ([at + part for part in ("q_norm", "k_norm", "norm2")] if kind == "jina-v2-code" else [])
    out |= {f"{part}.bias": (out[f"{part}.weight"][0],) for part in biased}
    return out | {f"{name}.{part}": (n,) for name in norms for part in ("weight", "bias")}


def own(kind: str, config: dict, vocabulary, n_vocab: int, written: dict, n_types: int):
    """A maker of a checkpoint that `encode` computes."""

    def make(folder: Path) -> None:
        ids = vocabulary(folder)
        w = {}
        for name, shape in sorted(shapes(kind, n_vocab, n_types).items()):
            mean = 1.0 if name.endswith("weight") and "norm" in name else 0.0
            scale = 0.1 if len(shape) == 1 else 0.5 if name in ("tokens.weight", "types.weight") else shape[-1] ** -0.5
            w[name] = (mean + scale * torch.randn(shape, dtype=torch.float64)).half().double()
            if name.endswith("experts_bias"):
                w[name].zero_()
        named, stored = NAMED[kind], {}
        for name, value in w.items():
            layer, _, rest = name.partition(".") if name[0].isdigit() else ("", "", name)
            part, _, end = rest.partition(".")
            other = "mlp.experts.bias" if part == "experts_bias" else named[part] + (f".{end}" if end else "")
            other = f"{named['layers']}.{layer}.{other}" if layer else other
            if kind == "jina-v3":
                other = "roberta." + other
                if value.ndim == 2:
                    other = other.replace(".weight", ".parametrizations.weight.original")
                    for end, size in (("A", (2, 4, value.shape[1])), ("B", (2, value.shape[0], 4))):
                        stored[other.replace("original", f"0.lora_{end}")] = torch.randn(size)
            stored[other] = value
        write(folder, written | {"vocab_size": n_vocab}, stored, ids, (1, 1), encode(config, w, ids))

    return make


def nomic(is_moe: bool) -> dict:
    """config.json of Nomic's models."""
    return {
        "model_type": "nomic_bert", "architectures": ["NomicBertModel"], "n_embd": 32, "n_inner": 64, "n_layer": 2, "n_head": 4,
        "n_positions": 2048 if is_moe else 8192, "max_trained_positions": 2048, "layer_norm_epsilon": 0.002, "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "causal": False, "prenorm": False,
        "qkv_proj_bias": is_moe, "mlp_fc1_bias": is_moe, "mlp_fc2_bias": is_moe, "activation_function": "gelu" if is_moe else "swiglu",
        "type_vocab_size": 1 if is_moe else 2, "moe_every_n_layers": 2 if is_moe else 0, "pad_token_id": 1 if is_moe else 0,
    } | ({"num_experts": 4, "moe_top_k": 2} if is_moe else {})  # fmt: skip


BERT = SIZES | {"max_position_embeddings": 66, "layer_norm_eps": 0.002, "hidden_act": "gelu_pytorch_tanh"}
ROBERTA = BERT | {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
CAMEMBERT = ROBERTA | {"bos_token_id": 5, "eos_token_id": 6}
# GGUF's bert has the form of tanh.
GELU = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
T5 = {
    "d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 4, "layer_norm_epsilon": 0.002, "relative_attention_num_buckets": 8,
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
MODERN = SIZES | {
    "max_position_embeddings": 128, "norm_eps": 0.002, "local_attention": 8, "global_attn_every_n_layers": 3, "pad_token_id": 1,
    "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2, "hidden_activation": "silu", "num_hidden_layers": 4,
    "classifier_pooling": "mean", "classifier_activation": "gelu_pytorch_tanh", "num_labels": 1,
}  # fmt: skip
JINA_KEYS = BERT | {"vocab_size": 0, "layer_norm_eps": 0.002, "max_position_embeddings": 128}
JINA_V2_KEYS = JINA_KEYS | {
    "model_type": "bert", "architectures": ["JinaBertForMaskedLM"], "hidden_act": "gelu", "position_embedding_type": "alibi",
    "feed_forward_type": "geglu", "type_vocab_size": 2, "pad_token_id": 0,
}  # fmt: skip
JINA_V3_KEYS = ROBERTA | {
    "model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "hidden_act": "gelu", "position_embedding_type": "rotary",
    "rotary_emb_base": 20000.0, "lora_adaptations": ["query", "passage"], "lora_rank": 4, "lora_alpha": 1,
}  # fmt: skip
N_WORD_PIECES, N_BYTE_LEVEL = 63, 281
ENCODE = {"heads": 4, "layers": 2, "eps": 0.002}


def xlm_r(folder: Path) -> list[int]:
    return unigram(folder, is_json=False)


def xlm_r_json(folder: Path) -> list[int]:
    return unigram(folder, is_json=True)


CHECKPOINTS = {
    "roberta": of_transformers("RobertaModel", ROBERTA, byte_level, N_BYTE_LEVEL, GELU),
    "roberta-classifier": of_transformers(
        "RobertaForSequenceClassification", ROBERTA | {"id2label": NAMES, "num_labels": 3}, byte_level, N_BYTE_LEVEL, GELU
    ),
    "camembert": of_transformers("CamembertModel", CAMEMBERT, camembert, 41, GELU),
    "distilbert": of_transformers(
        "DistilBertModel",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64, "activation": "gelu_pytorch_tanh"},
        word_piece, N_WORD_PIECES, {"activation": "gelu"},
    ),
    "bert-classifier": of_transformers("BertForSequenceClassification", BERT | {"num_labels": 1}, word_piece, N_WORD_PIECES, GELU),
    "xlm-roberta-classifier": of_transformers("XLMRobertaForSequenceClassification", ROBERTA | {"num_labels": 1}, xlm_r, 40, GELU),
    "modernbert-classifier": of_transformers(
        "ModernBertForSequenceClassification", MODERN, byte_level, N_BYTE_LEVEL, {"layer_norm_eps": 0.002, "classifier_activation": "gelu"}
    ),
    "t5": of_transformers("T5EncoderModel", T5 | {"feed_forward_proj": "gated-gelu"}, t5, 40, {}, (0, 1)),
    "t5-relu": of_transformers("T5EncoderModel", T5 | {"feed_forward_proj": "relu"}, t5, 36, {}, (0, 1)),
    "nomic_bert": own("nomic", ENCODE | {"rope": 1000.0}, word_piece, N_WORD_PIECES + 1, nomic(False), 2),
    "nomic_bert_moe": own("nomic-moe", ENCODE | {"rope": 1000.0, "experts": 4, "used": 2}, xlm_r_json, 40, nomic(True), 1),
    "jina-bert-v2": own("jina-v2", ENCODE, word_piece, N_WORD_PIECES, JINA_V2_KEYS, 2),
    "jina-bert-v2-code": own("jina-v2-code", ENCODE, byte_level, N_BYTE_LEVEL, JINA_V2_KEYS | {"pad_token_id": 1}, 2),
    "jina-bert-v3": own("jina-v3", ENCODE | {"rope": 20000.0}, xlm_r, 40, JINA_V3_KEYS, 1),
    "eurobert": of_transformers(
        "EuroBertModel",
        SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 0.002, "rope_theta": 20000.0, "pad_token_id": 1,
                 "bos_token_id": 0, "eos_token_id": 2, "mask_token_id": 4},
        byte_level, N_BYTE_LEVEL, {"classifier_pooling": "mean"},
    ),
}  # fmt: skip


def main() -> None:
    root, *chosen = sys.argv[1:]
    for seed, (name, make) in enumerate(CHECKPOINTS.items(), 200):
        if not chosen or name in chosen:
            torch.manual_seed(seed)
            folder = Path(root) / f"{name}-plain"
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)


if __name__ == "__main__":
    main()

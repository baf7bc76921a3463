"""Makes small checkpoints of the families that the package transformers computes, with its logits.

    python3 -P scripts/golden/family_checkpoints.py crates/llm-cli/tests/golden/checkpoints [FAMILY...]

Needs torch, transformers, safetensors, tokenizers, protobuf and sentencepiece. Weights are random numbers of F16; the logits come from
the model in double precision. Each folder is as `checkpoints.py` makes them.
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
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

# By its path: other files beside it have the names of packages.
CHECKPOINTS = runpy.run_path(str(Path(__file__).with_name("checkpoints.py")))
N_VOCAB, TEXT, byte_level_tokenizer = (CHECKPOINTS[name] for name in ("N_VOCAB", "TEXT", "byte_level_tokenizer"))

COMMON = {
    "vocab_size": N_VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 0.002, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope",
    "long_factor": [1.5, 2.0, 3.0, 4.0],
    "short_factor": [1.0, 1.125, 1.25, 1.5],
}
# Six layers: five that look back, one that sees all.
GEMMA3 = {"num_hidden_layers": 6, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
# GGUF's delta net has the same small number in all of its norms.
DELTA_NET = {
    "rms_norm_eps": 1e-6, "num_hidden_layers": 4, "head_dim": 8, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 20000.0, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0],
        "mrope_interleaved": True,
    },
}  # fmt: skip
# The class of transformers, what its configuration has beside the common, and the vocabulary.
FAMILIES = {
    "phi3": ("Phi3", {"sliding_window": 64, "rope_theta": 20000.0}, "spm-prefix"),
    "phi3-longrope": (
        "Phi3",
        {"rope_parameters": LONGROPE | {"rope_theta": 20000.0}, "original_max_position_embeddings": 64},
        "bpe",
    ),
    "gemma2": ("Gemma2", {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}, "spm"),
    "gemma3": ("Gemma3", GEMMA3, "spm"),
    "gemma3-linear": (
        "Gemma3",
        GEMMA3 | {
            "final_logit_softcapping": 5.0,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
        "spm",
    ),
    "qwen3_5": ("Qwen3_5", DELTA_NET, "bpe"),
    "qwen3_5_moe": (
        "Qwen3_5Moe",
        DELTA_NET | {
            "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24,
        },
        "bpe",
    ),
    "lfm2": (
        "Lfm2",
        {
            "num_hidden_layers": 3, "norm_eps": 0.002, "conv_L_cache": 3, "block_auto_adjust_ff_dim": True,
            "intermediate_size": 60, "block_multiple_of": 16, "layer_types": ["conv", "full_attention", "conv"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0},
        },
        "bpe",
    ),
}  # fmt: skip


def sentencepiece_model(folder: Path, add_space_prefix: bool) -> list[int]:
    """tokenizer.model and its settings, as those of Gemma or Phi 3; the ids of the first text."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 8), model_writer=written, model_type="bpe", vocab_size=316, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=add_space_prefix,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    added = {
        "317": {"content": "<|turn|>", "special": False},
        "318": {"content": "▁▁▁▁", "special": False, "normalized": False},
        "319": {"content": "<image>", "special": True},
    }
    if add_space_prefix:
        # Phi 3 has no such tokens, and llama.cpp's converter takes them otherwise there.
        del added["318"]
    settings = {
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
        "add_bos_token": True, "added_tokens_decoder": added,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return processor.encode(TEXT[0])


def byte_level(folder: Path) -> list[int]:
    tokenizer = byte_level_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
    return tokenizer.encode(TEXT[0], add_special_tokens=False).ids


def unigram(folder: Path, is_json: bool) -> list[int]:
    """XLM-R's vocabulary, as tokenizer.json or as sentencepiece.bpe.model; the ids of the first text without what is around it.

    Its map of characters makes capital letters small.
    """
    rules = folder / "rules.tsv"
    rules.write_text("".join(f"{ord(c):X}\t{ord(c.lower()):X}\n" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 8), model_writer=written, model_type="unigram", vocab_size=36,
        normalization_rule_tsv=str(rules), minloglevel=2,
    )  # fmt: skip
    rules.unlink()
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    pieces = [(piece.piece, piece.score) for piece in model.pieces[3:]]
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces, ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    around = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", around)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)])
    if is_json:
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        (folder / "sentencepiece.bpe.model").write_bytes(written.getvalue())
    settings = {
        "tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>", "clean_up_tokenization_spaces": True,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")
    return tokenizer.encode(TEXT[0]).ids


def make_xlm_roberta(folder: Path, is_json: bool, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    ids = unigram(folder, is_json)
    config = transformers.XLMRobertaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, type_vocab_size=1,
        max_position_embeddings=66, layer_norm_eps=0.002, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        hidden_act="gelu_pytorch_tanh", attn_implementation="eager",
    )  # fmt: skip
    model = transformers.XLMRobertaModel(config).eval().double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if "LayerNorm.weight" in name else 0.0
            scale = 0.1 if parameter.ndim == 1 else 0.5 if "embeddings" in name else parameter.shape[-1] ** -0.5
            parameter.copy_((mean + scale * torch.randn_like(parameter)).half().double())
        output = model(torch.tensor([ids])).last_hidden_state[0]
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items() if value.is_floating_point()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    # GGUF's bert has the form of tanh.
    keys = {key: value for key, value in config.to_diff_dict().items() if not key.startswith(("transformers", "_attn", "attn"))}
    keys |= {"hidden_act": "gelu", "_name_or_path": f"ferrite/{folder.name}", "position_embedding_type": "absolute"}
    keys |= {key: getattr(config, key) for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    (folder / "config.json").write_text(json.dumps(keys, indent=1) + "\n")
    (folder / "tokens").write_text(",".join(map(str, ids)) + "\n")
    (folder / "text").write_text(TEXT[0])
    (folder / "ids").write_text(" ".join(map(str, ids[1:-1])) + "\n")
    output.numpy().astype("<f4").tofile(folder / "logits")


def make_modern_bert(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = transformers.ModernBertConfig(
        vocab_size=N_VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=128, norm_eps=0.002, local_attention=8, global_attn_every_n_layers=3, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, hidden_activation="gelu_pytorch_tanh",
        attn_implementation="eager",
    )  # fmt: skip
    tokenizer = byte_level_tokenizer()
    around = [("<|im_start|>", 1), ("<|im_end|>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(
        "<|im_start|> $A <|im_end|>", "<|im_start|> $A <|im_end|> $B <|im_end|>", around
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"cls_token": "<|im_start|>", "sep_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles) + "\n")
    ids = tokenizer.encode(TEXT[0]).ids
    model = transformers.ModernBertModel(config).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            mean, scale = (1.0, 0.1) if parameter.ndim == 1 else (0.0, parameter.shape[-1] ** -0.5)
            parameter.copy_((mean + scale * torch.randn_like(parameter)).half().double())
        output = model(torch.tensor([ids])).last_hidden_state[0]
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    keys = config.to_diff_dict()
    for key in ("transformers_version", "dtype", "attn_implementation"):
        keys.pop(key, None)
    # GGUF's modern-bert has the form of tanh.
    keys |= {"hidden_activation": "gelu", "layer_norm_eps": 0.002, "_name_or_path": f"ferrite/{folder.name}"}
    keys |= {key: getattr(config, key) for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    (folder / "config.json").write_text(json.dumps(keys, indent=1) + "\n")
    (folder / "tokens").write_text(",".join(map(str, ids)) + "\n")
    (folder / "text").write_text(TEXT[0])
    (folder / "ids").write_text(" ".join(map(str, ids[1:-1])) + "\n")
    output.numpy().astype("<f4").tofile(folder / "logits")


VOCABULARIES = {
    "spm": lambda folder: sentencepiece_model(folder, add_space_prefix=False),
    "spm-prefix": lambda folder: sentencepiece_model(folder, add_space_prefix=True),
    "bpe": byte_level,
}


def make(folder: Path, name: str, keys: dict, vocabulary: str, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config_class = next(
        found for end in ("TextConfig", "Config") if (found := getattr(transformers, name + end, None)) is not None
    )
    config = config_class(**COMMON | keys, attn_implementation="eager", experts_implementation="eager")
    model = getattr(transformers, name + "ForCausalLM")(config).eval().double()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            plain_norm = "norm" in parameter_name and not parameter.abs().max() == 0
            scale = 0.1 if parameter.ndim == 1 else 1.0 if "embed" in parameter_name else parameter.shape[-1] ** -0.5
            parameter.copy_(((1.0 if plain_norm else 0.0) + scale * torch.randn_like(parameter)).half().double())
    # Vectors in F32: llama.cpp's converter adds 1 to those of F16 in F16.
    state = model.state_dict().items()
    tensors = {key: (value.float() if value.ndim == 1 else value.half()).contiguous() for key, value in state}
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    written = config.to_diff_dict() | {key: getattr(config, key) for key in COMMON | keys if hasattr(config, key)}
    written |= {"model_type": config.model_type, "tie_word_embeddings": config.tie_word_embeddings}
    for key in ("transformers_version", "dtype", "attn_implementation", "_attn_implementation_internal"):
        written.pop(key, None)
    (folder / "config.json").write_text(json.dumps(written | {"_name_or_path": f"ferrite/{folder.name}"}, indent=1) + "\n")
    ids = VOCABULARIES[vocabulary](folder)
    tokens = ids[:16]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    (folder / "tokens").write_text(",".join(map(str, tokens)) + "\n")
    (folder / "text").write_text(TEXT[0])
    (folder / "ids").write_text(" ".join(map(str, ids)) + "\n")
    logits.numpy().astype("<f4").tofile(folder / "logits")


def main() -> None:
    root, *chosen = sys.argv[1:]
    for seed, (family, (name, keys, vocabulary)) in enumerate(FAMILIES.items(), 60):
        if not chosen or family in chosen:
            make(Path(root) / f"{family}-plain", name, keys, vocabulary, seed)
    for seed, (family, is_json) in enumerate([("xlm-roberta", True), ("xlm-roberta-model", False)], 90):
        if not chosen or family in chosen:
            make_xlm_roberta(Path(root) / f"{family}-plain", is_json, seed)
    if not chosen or "modernbert" in chosen:
        make_modern_bert(Path(root) / "modernbert-plain", 95)


if __name__ == "__main__":
    main()

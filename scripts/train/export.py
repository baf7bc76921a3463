"""Writes a checkpoint as a GGUF file: `tiny` and `chat` in Q4_0 with a GPT-2 style vocabulary, `micro` in Q8_0, F16
and F32 with a SentencePiece one. Norms are F32. A `.sha256` file in the form of `sha256sum` is written beside it.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np

from model import Shape

LAYER_TENSORS = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")

# The corpus has a question on one line and its answer on the next, and most documents with questions end there, so each
# exchange of a conversation is a document. The model was never given orders: a system message is a document before. If
# it went on with a question of its own, that is left out of what it sees.
CHAT_TEMPLATE = """{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- message.content | trim + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- (message.content | trim).split('\\n')[0] + eos_token }}
    {%- else %}
        {{- message.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}"""
# The chat model was trained on its template.
TEMPLATE_OF_CHAT = Path(__file__).parent / "chat" / "template.jinja"
Q4_0, Q8_0, F16, F32 = (gguf.GGMLQuantizationType[name] for name in ("Q4_0", "Q8_0", "F16", "F32"))


def type_of(model: str, tensor: str) -> gguf.GGMLQuantizationType:
    """The storage type of a tensor. `micro` mixes types on purpose, so that one small file exercises three."""
    if tensor.endswith("norm"):
        return F32
    if model != "micro":
        return Q4_0
    return {"token_embd": F16, "attn_q": F16, "attn_k": F16, "attn_output": F32}.get(tensor, Q8_0)


def add_byte_level(writer: gguf.GGUFWriter, folder: Path, pre: str, end: str) -> None:
    """The vocabulary and merges of tokenizer.json, for this pre-tokenizer. A text ends with the token `end`."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(
        [
            gguf.TokenType.CONTROL
            if token.startswith("<|") and token.endswith("|>")
            else gguf.TokenType.USER_DEFINED
            if token in ("<tool_call>", "</tool_call>")
            else gguf.TokenType.NORMAL
            for token in tokens
        ]
    )
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(tokens.index(end))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def add_sentencepiece(writer: gguf.GGUFWriter, folder: Path) -> None:
    """The pieces, scores and types of tokenizer.model."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    ids = range(processor.vocab_size())

    def type_of_token(token: int) -> gguf.TokenType:
        if processor.is_unknown(token):
            return gguf.TokenType.UNKNOWN
        if processor.is_control(token):
            return gguf.TokenType.CONTROL
        return gguf.TokenType.BYTE if processor.is_byte(token) else gguf.TokenType.NORMAL

    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(token) for token in ids])
    writer.add_token_scores([processor.get_score(token) for token in ids])
    writer.add_token_types([type_of_token(token) for token in ids])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)


def add_shape(writer: gguf.GGUFWriter, model: str, shape: Shape) -> None:
    """Names and hyper-parameters."""
    writer.add_name(f"ferrite-{model}")
    writer.add_description(
        "A small chat model that knows the Ferrite kernel, may call its commands, and tells stories; trained on generated text."
        if model == "chat"
        else "A small storyteller that knows the commands of the Ferrite kernel; trained on generated text."
    )
    writer.add_license("MIT OR Apache-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if model == "micro" else gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding_length)
    writer.add_block_count(shape.block_count)
    writer.add_feed_forward_length(shape.feed_forward_length)
    writer.add_head_count(shape.head_count)
    writer.add_head_count_kv(shape.head_count_kv)
    writer.add_layer_norm_rms_eps(shape.layer_norm_rms_epsilon)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.rope_freq_base)


def add_tensors(writer: gguf.GGUFWriter, model: str, shape: Shape, params: dict[str, np.ndarray]) -> None:
    """All tensors under llama.cpp's names. There is no output.weight: the embedding serves as output too."""

    def add(name: str, tensor: str, values: np.ndarray) -> None:
        kind = type_of(model, tensor)
        stored = np.ascontiguousarray(values, dtype=np.float32)
        if kind == F16:
            stored = stored.astype(np.float16)
        elif kind != F32:
            stored = gguf.quants.quantize(stored, kind)
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=kind)

    add("token_embd", "token_embd", params["token_embd"])
    for layer in range(shape.block_count):
        for tensor in LAYER_TENSORS:
            add(f"blk.{layer}.{tensor}", tensor, params[tensor][layer])
    add("output_norm", "output_norm", params["output_norm"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the checkpoint and the tokenizer")
    parser.add_argument("--model", choices=["tiny", "micro", "chat"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="the GGUF file")
    arguments = parser.parse_args()
    shape = Shape(**json.loads((arguments.data / "shape.json").read_text()))
    with np.load(arguments.data / "checkpoint.npz") as file:
        params = {name: file[name] for name in file.files if not name.startswith("state.")}
    writer = gguf.GGUFWriter(arguments.out, "llama")
    add_shape(writer, arguments.model, shape)
    match arguments.model:
        case "tiny":
            add_byte_level(writer, arguments.data, "gpt-2", "<|endoftext|>")
            writer.add_chat_template(CHAT_TEMPLATE)
        case "chat":
            add_byte_level(writer, arguments.data, "smollm", "<|im_end|>")
            writer.add_chat_template(TEMPLATE_OF_CHAT.read_text())
        case _:
            add_sentencepiece(writer, arguments.data)
    add_tensors(writer, arguments.model, shape, params)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    digest = hashlib.sha256(arguments.out.read_bytes()).hexdigest()
    Path(f"{arguments.out}.sha256").write_text(f"{digest}  {arguments.out.name}\n")
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes after step {int(params['step'])}, sha256 {digest}")


if __name__ == "__main__":
    main()

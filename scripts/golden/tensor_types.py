#!/usr/bin/env python3
"""Writes crates/llm/tests/golden/tensor_types/: a small model of every tensor type with its logits.

    pip install -r scripts/golden/requirements.txt && scripts/golden/tensor_types.py [TYPE...]

The architecture is arcee: Llama's form with the fewest matrices. All matrices of a model, the embeddings included, are of its type: random weights as the C code of
llama.cpp quantises them. `mixture` has a type per matrix, as published files do. manifest.json lists
the cases as in architectures.py.
"""

import argparse
import json
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import reference
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from reference import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "crates/llm/tests/golden/tensor_types"
N_TOKENS = 10
N_VOCAB = 32
N_HEAD = 8
TYPES = [
    Type.F32, Type.F16, Type.BF16,
    Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0,
    Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K,
    Type.IQ1_S, Type.IQ1_M, Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S, Type.IQ3_XXS, Type.IQ3_S, Type.IQ4_NL, Type.IQ4_XS,
    Type.TQ1_0, Type.TQ2_0, Type.MXFP4, Type.NVFP4, Type.Q1_0,
]  # fmt: skip
# The gguf package does not know this type yet; llama.cpp does.
Q2_0 = 42
GGML_QUANT_SIZES[Q2_0] = (64, 18)
NAMED_TYPES = {**{ty.name: ty for ty in TYPES}, "Q2_0": Q2_0}
# A published file keeps some matrices in finer types, and those whose rows do not suit in others.
MIXTURE = {
    "token_embd": Type.Q6_K, "attn_q": Type.IQ2_XS, "attn_k": Type.Q4_K, "attn_v": Type.Q5_K, "attn_output": Type.IQ3_S,
    "ffn_up": Type.IQ4_XS, "ffn_down": Type.Q5_0, "output": Type.Q8_0,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Dimensions of a model."""

    embd: int
    ff: int

    @property
    def head_len(self) -> int:
        """Elements of a head."""
        return self.embd // N_HEAD

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Rows and columns by name; one head of keys and values serves all."""
        return {
            "token_embd": (N_VOCAB, self.embd),
            "attn_q": (self.embd, self.embd),
            "attn_k": (self.head_len, self.embd),
            "attn_v": (self.head_len, self.embd),
            "attn_output": (self.embd, self.embd),
            "ffn_up": (self.ff, self.embd),
            "ffn_down": (self.embd, self.ff),
            "output": (N_VOCAB, self.embd),
        }


def shape_for(block_len: int) -> Shape:
    """The smallest rows of at least two blocks of 32, else of one block."""
    width = max(64, block_len)
    return Shape(width, width if block_len > 32 else 96)


def make(name: str, types: dict[str, int], shape: Shape) -> dict[str, object]:
    """Writes a case's files; returns its entry of the manifest."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    tensors = []
    for part, (rows, columns) in shape.matrices().items():
        gain = {"token_embd": 1.0, "attn_q": 1.5, "attn_k": 1.5}.get(part, 1.0) / (1 if part == "token_embd" else np.sqrt(columns))
        weights = gain * random.normal(size=(rows, columns))
        prefix = "" if part in ("token_embd", "output") else "blk.0."
        tensors.append(reference.quantized(f"{prefix}{part}.weight", types[part], weights))
    for norm in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        weights = (1 + 0.2 * random.normal(size=shape.embd)).astype(np.float32)
        tensors.append(Tensor(f"{norm}.weight", Type.F32, weights.shape, weights))
    keys = {
        "vocab_size": N_VOCAB, "context_length": 64, "embedding_length": shape.embd, "block_count": 1, "feed_forward_length": shape.ff,
        "attention.head_count": N_HEAD, "attention.head_count_kv": 1, "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": shape.head_len,
    }  # fmt: skip
    tokens = [int(token) for token in random.integers(0, N_VOCAB, N_TOKENS)]
    model = FOLDER / f"{name}.gguf"
    reference.write(model, "arcee", keys, tensors)
    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / "exact.gguf"
        reference.write_exact(exact, "arcee", keys, tensors)
        expected = reference.logits(exact, tokens, N_VOCAB)
    expected.astype("<f4").tofile(FOLDER / f"{name}.logits")
    yardstick = reference.nmse(reference.logits(model, tokens, N_VOCAB, is_exact=False), expected)
    return {
        "name": name,
        "architecture": "arcee",
        "tokens": tokens,
        "width": N_VOCAB,
        "yardstick": yardstick,
        "limit": reference.limit(yardstick),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("type", nargs="*", help="only these; the others stay as they are")
    chosen = parser.parse_args().type
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest = FOLDER / "manifest.json"
    before = {entry["name"]: entry for entry in json.loads(manifest.read_text())} if chosen else {}
    cases = {
        name: (dict.fromkeys(MIXTURE, ty), shape_for(GGML_QUANT_SIZES[ty][0])) for name, ty in NAMED_TYPES.items()
    }
    cases["mixture"] = (MIXTURE, Shape(256, 96))
    entries = []
    for name, (types, shape) in cases.items():
        if chosen and name not in chosen:
            entries += [before[name]] if name in before else []
            continue
        entries.append(make(name, types, shape))
        print(f"{name:8} yardstick {entries[-1]['yardstick']:.1e}")
    manifest.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")


if __name__ == "__main__":
    main()

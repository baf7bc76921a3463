#!/usr/bin/env python3
"""Writes the embeddings that llama.cpp makes of some of the models of `architectures.py`, and the scores that it gives with
a classifier on top, for crates/llm/tests/engine/embeddings.rs.

    python3 scripts/golden/embeddings.py > crates/llm/tests/golden/embeddings.json

Each entry has a model of `crates/llm/tests/golden/`, tokens, a pooling type as GGUF files name it, the embedding or the
scores, and a limit for the normalised mean square error, which follows from llama.cpp's own with quantised activations.
Models with a classifier are written to `crates/llm/tests/golden/classifiers/`.
"""

import json
import tempfile
import zlib
from pathlib import Path

import numpy as np
import reference
from architectures import CASES, FOLDER
from gguf import GGMLQuantizationType as Type
from reference import Tensor

MODELS = ["bert", "llama", "qwen3", "gemma2", "mamba"]
POOLING_TYPES = [0, 1, 2, 3]  # none, mean, the first token's, the last token's
RANK = 4

# What classifiers are made of: the matrices and vectors, by the width of the model, and keys.
CLASSIFIERS = {
    "bert": ({"cls.weight": "ww", "cls.bias": "w", "cls.output.weight": "lw", "cls.output.bias": "l"}, ["score"]),
    "bert-dense": ({"cls.weight": "ww", "cls.bias": "w"}, ["score"]),
    "qwen3": ({"cls.output.weight": "lw"}, ["yes", "no"]),
}


# Words of one letter, so that texts can be ranked.
VOCABULARY = {
    "tokenizer.ggml.model": "bert",
    "tokenizer.ggml.tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{c}" for c in "abcdefghijklmnopqrstuvwxyz?")],
    "tokenizer.ggml.token_type": [3, 2, 3, 3, 3] + [1] * 27,
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.seperator_token_id": 3,
    "tokenizer.ggml.unknown_token_id": 1,
    "tokenizer.ggml.padding_token_id": 0,
}


def classifier(name: str, width: int) -> tuple[list[Tensor], dict[str, object]]:
    """Random tensors of a classifier, the same on every run, and its keys."""
    random = np.random.default_rng(zlib.crc32(f"{name} classifier".encode()))
    shapes, labels = CLASSIFIERS[name]
    sizes = {"w": width, "l": len(labels)}
    tensors = []
    for tensor, letters in shapes.items():
        shape = tuple(sizes[letter] for letter in letters)
        values = random.normal(size=shape) / (np.sqrt(width) if len(shape) > 1 else 2)
        tensors.append(Tensor(tensor, Type.F32, shape, values.astype(np.float32)))
    return tensors, {"classifier.output_labels": labels}


def entry(name: str, tokens: list[int], pooling: int, expected: np.ndarray, usual: np.ndarray) -> dict[str, object]:
    """What is written of one embedding."""
    return {
        "name": name,
        "tokens": tokens,
        "pooling_type": pooling,
        "limit": reference.limit(reference.nmse(usual, expected)),
        "embedding": [float(f"{value:.9g}") for value in expected],
    }


def main() -> None:
    """Prints the entries."""
    tokens_of = {entry["name"]: entry["tokens"] for entry in json.loads((FOLDER / "manifest.json").read_text())}
    cases = {case.name: case for case in CASES}
    entries = []
    for case in CASES:
        if case.name not in MODELS:
            continue
        width = case.dims.embd
        with tempfile.TemporaryDirectory() as scratch:
            exact = Path(scratch) / "exact.gguf"
            reference.write_exact(exact, case.family, case.metadata(), case.tensors())
            for pooling in POOLING_TYPES:
                # A vector of each token: a few say enough.
                tokens = tokens_of[case.name][: 5 if pooling == 0 else None]
                expected = reference.embedding(exact, tokens, width, pooling)
                usual = reference.embedding(FOLDER / f"{case.name}.gguf", tokens, width, pooling, is_exact=False)
                entries.append(entry(f"architectures/{case.name}", tokens, pooling, expected, usual))
    folder = FOLDER.parent / "classifiers"
    folder.mkdir(exist_ok=True)
    for name, (_, labels) in CLASSIFIERS.items():
        case = cases[name.removesuffix("-dense")]
        tensors, keys = classifier(name, case.dims.embd)
        all_tensors, all_keys = case.tensors() + tensors, case.metadata() | keys
        if name == "bert":
            all_keys |= VOCABULARY
        reference.write(folder / f"{name}.gguf", case.family, all_keys, all_tensors)
        with tempfile.TemporaryDirectory() as scratch:
            exact = Path(scratch) / "exact.gguf"
            reference.write_exact(exact, case.family, all_keys, all_tensors)
            tokens = tokens_of[case.name]
            expected = reference.embedding(exact, tokens, len(labels), RANK)
            usual = reference.embedding(folder / f"{name}.gguf", tokens, len(labels), RANK, is_exact=False)
        entries.append(entry(f"classifiers/{name}", tokens, RANK, expected, usual))
    print("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]")


if __name__ == "__main__":
    main()

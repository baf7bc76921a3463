#!/usr/bin/env python3
"""Writes the embeddings that llama.cpp makes of some of the models of `architectures.py`, for crates/llm/tests/embeddings.rs.

    python3 scripts/golden/embeddings.py > crates/llm/tests/golden/embeddings.json

Each entry has a model of `crates/llm/tests/golden/architectures/`, tokens, a pooling type as GGUF files name it, the
embedding, and a limit for the normalised mean square error, which follows from llama.cpp's own with quantised activations.
"""

import json
import tempfile
from pathlib import Path

import reference
from architectures import CASES, FOLDER

MODELS = ["bert", "llama", "qwen3", "gemma2", "mamba"]
POOLING_TYPES = [0, 1, 2, 3]  # none, mean, the first token's, the last token's


def main() -> None:
    """Prints the entries."""
    tokens_of = {entry["name"]: entry["tokens"] for entry in json.loads((FOLDER / "manifest.json").read_text())}
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
                entries.append(
                    {
                        "name": case.name,
                        "tokens": tokens,
                        "pooling_type": pooling,
                        "limit": reference.limit(reference.nmse(usual, expected)),
                        "embedding": [float(f"{value:.9g}") for value in expected],
                    }
                )
    print("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]")


if __name__ == "__main__":
    main()

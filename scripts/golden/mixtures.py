#!/usr/bin/env python3
"""Writes crates/convert/tests/golden/mixtures.txt: which type llama.cpp's quantiser gives each matrix.

    scripts/golden/mixtures.py

A model is a line with the family, the numbers of layers, heads, heads of keys and values, and experts; then a line for each
matrix with its name, the length of its rows and the number of its experts; then a line for each mixture: `=`, the mixture,
`imatrix` or `-`, and the types of the matrices in their order, each with the number of times that it is repeated. Models are
parted by an empty line. With an importance matrix are the mixtures that need one, or that get other types with it.
"""

import itertools
import tempfile
from pathlib import Path

import gguf
import quantizer

OUT = Path(__file__).resolve().parents[2] / "crates/convert/tests/golden/mixtures.txt"


def main() -> None:
    models = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.gguf", Path(folder) / "target.gguf"
        for model in quantizer.MODELS:
            quantizer.write(model, source, n_rows=2)
            lines = [f"{model.family} {model.n_layer} {model.n_head} {model.n_head_kv} {model.n_expert}"]
            lines += [f"{name} {n_cols} {n}" for name, n_cols, n in model.matrices()]
            for mixture, ftype in quantizer.MIXTURES.items():
                without = None
                for word in ("-", "imatrix"):
                    if word == "-" and mixture in quantizer.NEEDS_IMPORTANCE:
                        continue
                    importance = quantizer.importances(model) if word == "imatrix" else None
                    quantizer.quantize(source, target, ftype, importance, {})
                    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(target).tensors}
                    if types == without:
                        continue
                    without = types
                    runs = itertools.groupby(types[name] for name, _, _ in model.matrices())
                    lines.append(f"= {mixture} {word} " + " ".join(f"{len(list(run))}x{ty}" for ty, run in runs))
            models.append("\n".join(lines))
            print(lines[0], flush=True)
    OUT.write_text("\n\n".join(models) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes crates/llm-cli/tests/golden/mixtures.txt: which type llama.cpp's quantiser gives each matrix.

    cargo build --release -p llm-cli
    venv/bin/python scripts/golden/mixtures.py target/release/llm

A case is a line with shape and mixture, as `llm synth` takes them, then the tensors; cases are parted by
an empty line. The shapes have rows that are whole numbers of 256 weights, of 32, and of neither, and layers
enough that no eighth is empty; all else is small.
"""

import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/llm-cli/tests/golden/mixtures.txt"
SHAPES = [
    "arch=qwen2,n_embd=224,n_head=14,n_head_kv=2,n_ff=512,n_layer=24,tied=true",
    "arch=llama,n_embd=256,n_ff=416,n_layer=22",
    "arch=llama,n_embd=256,n_ff=272,n_layer=3",
    "arch=gpt2,n_embd=256,n_ff=512,n_layer=12",
]
MIXTURES = {"Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, "Q5_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M}


def types(llm, shape, file_type, folder):
    plain, quantised = folder / "plain.gguf", folder / "quantised.gguf"
    subprocess.run([llm, "synth", "--shape", shape, "--type", "F16", "-o", plain], check=True)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type
    parameters.nthread = 1
    failed = llama_cpp.llama_model_quantize(bytes(plain), bytes(quantised), parameters)
    assert not failed, shape
    reader = gguf.GGUFReader(quantised)
    assert reader.fields["general.file_type"].contents() == file_type
    for tensor in reader.tensors:
        yield tensor.name, tensor.tensor_type.name


def main():
    llm = pathlib.Path(sys.argv[1]).resolve()
    llama_cpp.llama_backend_init()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            for mixture, file_type in MIXTURES.items():
                chosen = types(llm, shape, file_type, pathlib.Path(folder))
                lines = [f"{name} {ty}" for name, ty in chosen if ty != "F32"]
                cases.append("\n".join([f"{shape} {mixture}", *lines]))
    OUT.write_text("\n\n".join(cases) + "\n")


main()

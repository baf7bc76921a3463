#!/usr/bin/env python3
"""Writes crates/llm/tests/golden/{dequantize,quantize,quantize_row}.bin with the gguf package and ggml.

    pip install gguf && scripts/golden/quant.py LIBGGML_BASE

LIBGGML_BASE is ggml's shared library, such as the libggml-base.so in the llama-cpp-python package:
the gguf package cannot quantise to K types.

dequantize.bin: for each type its number and a count of blocks as u32, the blocks, their weights as
f32. quantize.bin: for each type its number and a count of weights as u32, the weights as f32, the
blocks. quantize_row.bin: the same for rows with importances, which follow the weights. All little-endian. The blocks to dequantise are random bytes with finite scales, so that they
contain every code; the weights to quantise are normal, with a block of zeros, one of a single value,
one of ties and one whose extremes are negative; for the
K types, with groups of such kinds.
"""

import ctypes
import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

FOLDER = Path(__file__).resolve().parents[2] / "crates/llm/tests/golden"
# Where the f16 scales of a block lie.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ1_S: [0], Type.IQ1_M: [], Type.IQ2_XXS: [0], Type.IQ2_XS: [0], Type.IQ2_S: [0],
    Type.IQ3_XXS: [0], Type.IQ3_S: [0], Type.IQ4_NL: [0], Type.IQ4_XS: [0],
    Type.TQ1_0: [52], Type.TQ2_0: [64], Type.MXFP4: [], Type.NVFP4: [],
}  # fmt: skip
QUANTIZED = [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]
# Those that only ggml itself quantises to.
REFERENCE = [Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q2_K, Type.Q3_K, Type.IQ4_NL, Type.IQ4_XS, Type.MXFP4]
WITH_IMPORTANCE = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, *REFERENCE]

random = np.random.default_rng(1)
FOLDER.mkdir(exist_ok=True)

with open(FOLDER / "dequantize.bin", "wb") as file:
    for ty, scales in SCALES.items():
        block_len, block_bytes = GGML_QUANT_SIZES[ty]
        n_blocks = 512 // block_len
        blocks = random.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
        for at in scales:
            values = random.normal(0, 0.1, n_blocks).astype("<f2")
            blocks[:, at : at + 2] = values.view(np.uint8).reshape(n_blocks, 2)
        if ty == Type.IQ1_M:
            blocks[:, 55] &= 0xBF  # the top exponent bit of the scale
        weights = dequantize(blocks, ty).astype("<f4")
        assert np.isfinite(weights).all(), ty
        file.write(struct.pack("<II", ty, n_blocks) + blocks.tobytes() + weights.tobytes())

weights = random.normal(0, 0.05, (12, 32)).astype(np.float32)
weights[0] = 0
weights[1] = 0.25
weights[2] = np.arange(32) / 2 - 8
weights[3] = -abs(weights[3])
weights[4, 5] = -9
with open(FOLDER / "quantize.bin", "wb") as file:
    def write(ty, weights, blocks):
        weights = weights.astype("<f4")
        file.write(struct.pack("<II", ty, weights.size) + weights.tobytes() + blocks.tobytes())

    for ty in QUANTIZED:
        write(ty, weights, quantize(weights.reshape(-1), ty))

    ggml = ctypes.CDLL(sys.argv[1])
    weights = random.normal(0, 0.05, (6, 256)).astype(np.float32)
    weights[0] = 0
    weights[1, 32:64] = abs(weights[1, 32:64])
    weights[1, 64:96] = 0.125
    weights[2] += 1
    weights[3] *= np.geomspace(1e-3, 1, 256, dtype=np.float32)
    pointer = lambda array: None if array is None else array.ctypes.data_as(ctypes.c_void_p)

    def reference(ty, weights, importances):
        block_len, block_bytes = GGML_QUANT_SIZES[ty]
        blocks = np.empty(weights.size // block_len * block_bytes, np.uint8)
        n_rows, n_cols = weights.shape
        number = ctypes.c_int64
        ggml.ggml_quantize_chunk(
            ty, pointer(weights), pointer(blocks), number(0), number(n_rows), number(n_cols), pointer(importances)
        )
        return blocks

    for ty in REFERENCE:
        write(ty, weights, reference(ty, weights, None))

with open(FOLDER / "quantize_row.bin", "wb") as file:
    weights = weights.reshape(3, 512)
    importances = np.exp(random.normal(0, 2, 512)).astype(np.float32)
    importances[100:110] = 0
    for ty in WITH_IMPORTANCE:
        blocks = reference(ty, weights, importances)
        for row, blocks in zip(weights, np.split(blocks, len(weights))):
            file.write(struct.pack("<II", ty, row.size))
            file.write(row.astype("<f4").tobytes() + importances.astype("<f4").tobytes() + blocks.tobytes())

#!/usr/bin/env python3
"""Writes crates/tensor/src/blocks/codebooks.rs: the grids of the IQ types, from the gguf package.

    pip install gguf && scripts/golden/codebooks.py > crates/tensor/src/blocks/codebooks.rs
"""

import gguf.quants as quants

HEAD = """\
//! The grids of the IQ types, written by `scripts/golden/codebooks.py` from the gguf package.
//!
//! An entry packs the indices of its values: eight of two bits, or four of four.
"""


def table(name, quant, doc):
    packed = bytes.fromhex(quant.grid_hex.decode())
    words = [packed[i] | packed[i + 1] << 8 for i in range(0, len(packed), 2)]
    print(f"\n/// {doc}\n#[rustfmt::skip]\npub const {name}: [u16; {len(words)}] = [")
    for i in range(0, len(words), 12):
        print("    " + " ".join(f"{word:#06x}," for word in words[i : i + 12]))
    print("];")


print(HEAD, end="")
table("IQ2_XXS", quants.IQ2_XXS, "Eight indices into 8, 25, 43.")
table("IQ2_XS", quants.IQ2_XS, "Eight indices into 8, 25, 43.")
table("IQ2_S", quants.IQ2_S, "Eight indices into 8, 25, 43.")
table("IQ3_XXS", quants.IQ3_XXS, "Four indices into 4, 12, 20, 28, 36, 44, 52, 62.")
table("IQ3_S", quants.IQ3_S, "Four indices into 1, 3, 5, ... 15.")
table("IQ1", quants.IQ1_S, "Eight indices into -1, 0, 1; for IQ1_S and IQ1_M.")

//! Packed blocks of 256 times many tokens with `SMMLA`, arranged like blocks of 32 in [`smmla`](super::smmla).

use super::asm::{asm_writing, fours, next_four, products_of_block, smmla, zeros};
use super::load::{append_f32x8, append_i32x8};
use super::many_tokens::{self, BlockEnds, ManyTokens, SLAB_256, Slab, Sums, TokenEnds};
use super::packed256::Weights256;
use super::smmla::{append_pairs, append_tokens, integers, separate, twice};
use crate::simd::Q8;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Each lane twice: `[a, a, b, b]` and `[c, c, d, d]`.
#[target_feature(enable = "neon")]
#[inline]
fn twice_i32(v: int32x4_t) -> [int32x4_t; 2] {
    [vzip1q_s32(v, v), vzip2q_s32(v, v)]
}

/// Products of packed blocks of 256.
pub struct Smmla256<W>(PhantomData<W>);

/// Unpacked weights of 256 columns of eight rows.
#[repr(C, align(64))]
pub struct Block256 {
    /// For each 32 columns: integer scales, four vectors or, with `HALVES`, eight; then the quants.
    groups: [u8; 8 * (2 * 64 + 256)],
    ends: BlockEnds<4>,
}

/// 256 activations of four tokens.
#[repr(C, align(64))]
pub struct Tokens256 {
    /// For each 32 columns, the quants of one pair of tokens, then of the other.
    quants: [u8; 8 * 128],
    ends: TokenEnds<2>,
}

/// Adds the integer products of a pair of rows, 32 columns, times one scale (`whole`) or a scale for each half (`halves`).
macro_rules! rows_256 {
    (whole $scales:literal $second_scales:literal $first:literal $second:literal) => {
        concat!(
            next_four!("v8" "v9" "v10" "v11" from "w"),
            zeros!("v16" "v17"),
            integers!(),
            fours!("mla" $first "v16" $scales),
            fours!("mla" $second "v17" $scales),
        )
    };
    (halves $scales:literal $second_scales:literal $first:literal $second:literal) => {
        concat!(
            next_four!("v8" "v9" "v10" "v11" from "w"),
            zeros!("v16" "v17" "v18" "v19"),
            smmla!("v16" "v8" "v0"), smmla!("v17" "v8" "v4"), smmla!("v18" "v10" "v2"), smmla!("v19" "v10" "v6"),
            smmla!("v16" "v9" "v1"), smmla!("v17" "v9" "v5"), smmla!("v18" "v11" "v3"), smmla!("v19" "v11" "v7"),
            fours!("mla" $first "v16" $scales),
            fours!("mla" $second "v17" $scales),
            fours!("mla" $first "v18" $second_scales),
            fours!("mla" $second "v19" $second_scales),
        )
    };
}

/// The integer products of a block.
macro_rules! block_256 {
    ($block:ident, $tokens:ident, $kind:tt) => {
        products_of_block!(
            "i8mm",
            concat!(
                next_four!("v0" "v1" "v2" "v3" from "x"),
                next_four!("v4" "v5" "v6" "v7" from "x"),
                scales_256!($kind),
                rows_256!($kind "v20" "v12" "v24" "v25"),
                rows_256!($kind "v21" "v13" "v26" "v27"),
                rows_256!($kind "v22" "v14" "v28" "v29"),
                rows_256!($kind "v23" "v15" "v30" "v31"),
            ),
            w = inout(reg) &raw const (*$block).groups => _,
            x = inout(reg) &raw const (*$tokens).quants => _,
        )
    };
}

/// Loads the scales of 32 columns, or of both halves of these.
macro_rules! scales_256 {
    (whole) => { next_four!("v20" "v21" "v22" "v23" from "w") };
    (halves) => { concat!(scales_256!(whole), next_four!("v12" "v13" "v14" "v15" from "w")) };
}

/// See [`ManyTokens::arrange`].
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn arrange_256<const MINS: bool>(
    x: Q8<'_>,
    first: usize,
    len: usize,
    out: &mut MaybeUninit<[Tokens256; SLAB_256]>,
) {
    let n_blocks = x.cols / 256;
    for i in 0..len {
        let at = |t| t * n_blocks + first + i;
        // SAFETY: the caller guarantees that the tokens have the blocks, at most `SLAB`, for which there is room.
        unsafe {
            let out = out.as_mut_ptr().cast::<Tokens256>().add(i);
            let mut quants = core::array::from_fn(|t| x.quants.as_ptr().add(256 * at(t)).cast::<u8>());
            let mut end = (&raw mut (*out).quants).cast::<u8>();
            for _ in 0..8 {
                append_tokens(&mut quants, &mut end);
            }
            for pair in 0..2 {
                let [a, b] = [2 * pair, 2 * pair + 1].map(at);
                let scales = [a, b].map(|at| *x.scales.as_ptr().add(at));
                (*out).ends.scales[pair] = [scales[0], scales[1], scales[0], scales[1]];
                if MINS {
                    for j in 0..8 {
                        let sums = [a, b].map(|at| {
                            let sums = x.sums.as_ptr().add(16 * at + 2 * j);
                            *sums + *sums.add(1)
                        });
                        (*out).ends.sums[j][pair] = [sums[0], sums[1], sums[0], sums[1]];
                    }
                }
            }
        }
    }
}

/// See [`ManyTokens::multiply`].
///
/// # Safety
///
/// As for [`ManyTokens::multiply`].
#[target_feature(enable = "neon,dotprod")]
#[inline(never)]
unsafe fn multiply_256<const HALVES: bool, const MINS: bool>(
    panel: &MaybeUninit<[Block256; SLAB_256]>,
    tokens: &[MaybeUninit<[Tokens256; SLAB_256]>],
    slab: Slab,
) {
    let add = |tokens: &MaybeUninit<[Tokens256; SLAB_256]>, sums: Sums| {
        for i in 0..slab.len {
            // SAFETY: the caller guarantees that these blocks have been unpacked and arranged, and the sums.
            unsafe {
                let block = panel.as_ptr().cast::<Block256>().add(i);
                let tokens = tokens.as_ptr().cast::<Tokens256>().add(i);
                let products =
                    if HALVES { block_256!(block, tokens, halves) } else { block_256!(block, tokens, whole) };
                many_tokens::add_block::<4, 2, MINS, false>(products, &(*block).ends, &(*tokens).ends, sums);
            }
        }
    };
    // SAFETY: `each` requires what this function does, which includes the sums that `separate` accesses.
    unsafe { slab.each(tokens, add, |sums| separate(sums)) }
}

impl<W: Weights256> ManyTokens for Smmla256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;
    const SLAB: usize = SLAB_256;
    type Panel = [Block256; SLAB_256];
    type Tokens = [Tokens256; SLAB_256];

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Self::Tokens>) {
        // SAFETY: `arrange_256` requires what `ManyTokens::arrange` does.
        unsafe {
            match W::MINS {
                true => arrange_256::<true>(x, first, len, out),
                false => arrange_256::<false>(x, first, len, out),
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn unpack(w: *const u8, len: usize, panel: &mut MaybeUninit<Self::Panel>) {
        for i in 0..len {
            // SAFETY: the caller guarantees the blocks, at most `SLAB`, for which the panel has room.
            unsafe {
                let w = w.add(i * W::BYTES);
                let block = panel.as_mut_ptr().cast::<Block256>().add(i);
                let mut out = (&raw mut (*block).groups).cast::<u8>();
                let mut mins = (&raw mut (*block).ends.mins).cast::<u8>();
                let (scales, all_mins) = (W::scales(w), W::mins(w));
                for (j, scales) in scales.as_ref().chunks(1 + usize::from(W::HALVES)).enumerate() {
                    for &of_rows in scales.as_flattened() {
                        append_i32x8(&mut out, twice_i32(of_rows));
                    }
                    append_pairs(W::quants(w, j), W::OFFSET, &mut out);
                    if W::MINS {
                        for of_rows in all_mins[j] {
                            append_i32x8(&mut mins, twice_i32(of_rows));
                        }
                    }
                }
                let mut out = (&raw mut (*block).ends.d).cast::<u8>();
                for d in W::d(w).into_iter().flatten() {
                    append_f32x8(&mut out, twice(d));
                }
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn multiply(panel: &MaybeUninit<Self::Panel>, tokens: &[MaybeUninit<Self::Tokens>], slab: Slab) {
        // SAFETY: `multiply_256` requires what `ManyTokens::multiply` does.
        unsafe {
            match (W::HALVES, W::MINS) {
                (true, true) => multiply_256::<true, true>(panel, tokens, slab),
                (true, false) => multiply_256::<true, false>(panel, tokens, slab),
                (false, true) => multiply_256::<false, true>(panel, tokens, slab),
                (false, false) => multiply_256::<false, false>(panel, tokens, slab),
            }
        }
    }
}

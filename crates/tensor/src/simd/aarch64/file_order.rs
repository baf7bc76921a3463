//! Integer products of several weight rows with several tokens at once.
//!
//! Four rows share each load of activations and, for a batch, four tokens each unpacked group of
//! weights. The 16 partial sums of four rows are folded to one vector with a lane for each row
//! before they become floats: one conversion and one multiply-add for 128 weights.

use super::load::{load_16, load_f32x4, next_32};
use crate::blocks::Group256;
use crate::simd::{
    Q8,
    tiles::{Tile, store_rows},
};
use core::arch::aarch64::*;

/// An instruction that multiplies and adds 8-bit integers.
pub trait Dot {
    /// Four partial sums of the products of 16 integers.
    ///
    /// # Safety
    ///
    /// The CPU has the instruction.
    unsafe fn dot_16(w: int8x16_t, x: int8x16_t) -> int32x4_t;

    /// Four partial sums of the products of 32 integers.
    ///
    /// # Safety
    ///
    /// The CPU has the instruction.
    unsafe fn dot_32(w: [int8x16_t; 2], x: [int8x16_t; 2], range: Range) -> int32x4_t;
}

/// What is known of the integers of weights. (Those of activations are in -127..=127.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// -64..=64: four products fit 16 bits.
    Small,
    /// -128..=127
    Full,
}

/// A group of 32 weights of each of four rows.
#[derive(Clone, Copy)]
pub struct FourGroups {
    /// The integers, of each row the first and second 16.
    pub quants: [[int8x16_t; 2]; 4],
    /// Scales of the four rows, for the first 16 weights and for the second.
    pub scales: [float32x4_t; 2],
    /// Minimums of the four rows.
    pub mins: float32x4_t,
}

/// How to load weights that have a scale for each 32 (or, with `HALVES`, 16) of them.
pub trait Weights32 {
    /// A block as it is in a file.
    type Block;
    /// Bytes of a block.
    const BLOCK_BYTES: usize = size_of::<Self::Block>();
    /// Groups of 32 weights in a block.
    const GROUPS: usize = 1;
    /// The range of the integers.
    const RANGE: Range = Range::Small;
    /// What is to be subtracted from every integer.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether the two halves of a group have their own scales.
    const HALVES: bool = false;

    /// Loads group `index` of the blocks at `rows`.
    ///
    /// # Safety
    ///
    /// A block must be readable at each pointer, and `index` below `GROUPS`.
    unsafe fn load(rows: [*const u8; 4], index: usize) -> FourGroups;
}

/// How to unpack weights that have integer scales under a scale for each 256 of them.
pub trait Weights256 {
    /// A block as it is in a file.
    type Block;
    /// The range of the integers.
    const RANGE: Range = Range::Small;
    /// Whether scales come in equal pairs: one for each 32 weights.
    const PAIRED: bool = false;
    /// Whether there are minimums.
    const MINS: bool = false;

    /// Unpacks a block.
    ///
    /// # Safety
    ///
    /// The CPU must have NEON.
    unsafe fn unpack(block: &Self::Block, out: &mut Group256);
}

/// Lane `i` of the result is the sum of `v[i]`.
#[target_feature(enable = "neon")]
#[inline]
fn fold(v: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]))
}

/// The first bytes of four rows from row `first` on, the last of `n_rows` standing in for those past it: they are readable
/// if `w` holds so many rows.
#[inline(always)]
pub fn row_pointers(w: &[u8], row_bytes: usize, n_rows: usize, first: usize) -> [*const u8; 4] {
    core::array::from_fn(|i| w.as_ptr().wrapping_add((first + i).min(n_rows - 1) * row_bytes))
}

/// Writes the sums of four rows, of those that exist, for each token.
#[target_feature(enable = "neon")]
#[inline]
pub fn store(out: &mut Tile<'_>, row: usize, token: usize, sums: &[float32x4_t]) {
    for (i, &sums) in sums.iter().enumerate() {
        let out = &mut out.token(token + i)[row..];
        // SAFETY: four floats are as large as the vector.
        let sums = unsafe { core::mem::transmute::<float32x4_t, [f32; 4]>(sums) };
        store_rows(out, &sums);
    }
}

/// The product of a tile whose weights have a scale for each 32.
///
/// # Safety
///
/// The CPU has the instruction that `D` names.
#[inline(always)]
pub unsafe fn tile_32<D: Dot, W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let n_tokens = x.n_tokens();
    let n_blocks = x.cols / (32 * W::GROUPS);
    let row_bytes = n_blocks * W::BLOCK_BYTES;
    assert_eq!(w.len(), n_rows * row_bytes);
    let n_groups = n_tokens * n_blocks * W::GROUPS;
    assert!(x.scales.len() >= n_groups && x.sums.len() >= n_groups);
    if n_tokens == 1 {
        // A loop of its own, in which nothing depends on the number of a token.
        for row in (0..n_rows).step_by(4) {
            let rows = row_pointers(w, row_bytes, n_rows, row);
            // SAFETY: as below.
            unsafe { store(out, row, 0, &rows_32::<D, W, 1>(rows, n_blocks, &x, 0)) };
        }
        return;
    }
    for row in (0..n_rows).step_by(4) {
        let rows = row_pointers(w, row_bytes, n_rows, row);
        let mut token = 0;
        while token < n_tokens {
            // SAFETY: the assertions and `row_pointers` make rows and tokens readable; the caller vouches for the
            // instruction.
            unsafe {
                match n_tokens - token {
                    1 => store(out, row, token, &rows_32::<D, W, 1>(rows, n_blocks, &x, token)),
                    2 => store(out, row, token, &rows_32::<D, W, 2>(rows, n_blocks, &x, token)),
                    3 => store(out, row, token, &rows_32::<D, W, 3>(rows, n_blocks, &x, token)),
                    _ => store(out, row, token, &rows_32::<D, W, 4>(rows, n_blocks, &x, token)),
                }
            }
            token += 4;
        }
    }
}

/// Four rows times `T` tokens from number `token` on; lane `r` of result `t` belongs to row `r` and the `t`-th of them.
///
/// # Safety
///
/// `n_blocks` blocks must be readable from each of `rows`, `x` must hold the tokens, of as many
/// weights, and the CPU must have the instruction that `D` names.
#[inline(always)]
unsafe fn rows_32<D: Dot, W: Weights32, const T: usize>(
    mut rows: [*const u8; 4],
    n_blocks: usize,
    x: &Q8<'_>,
    token: usize,
) -> [float32x4_t; T] {
    let n_groups = n_blocks * W::GROUPS;
    // SAFETY: NEON is part of every target that this module is built for.
    let mut sums = [unsafe { vdupq_n_f32(0.0) }; T];
    let first = x.quants.as_ptr().wrapping_add(token * x.cols).cast::<u8>();
    let mut quants: [_; T] = core::array::from_fn(|t| first.wrapping_add(t * x.cols));
    let mut scales = x.scales.as_ptr().wrapping_add(token * n_groups);
    let mut x_sums = x.sums.as_ptr().wrapping_add(token * n_groups);
    for _ in 0..n_blocks {
        for index in 0..W::GROUPS {
            // SAFETY: the loops visit each group of the rows and of the tokens once; the strides
            // between tokens are `cols` quants and `n_groups` scales and sums. The rest is what
            // the caller vouches for.
            unsafe {
                let mut w = W::load(rows, index);
                // Taken off the weights once where tokens enough share them, off the products of each where they do not.
                let offset_of_products = if T > 2 { 0 } else { W::OFFSET };
                if offset_of_products != W::OFFSET {
                    let offset = vdupq_n_s8(W::OFFSET as i8);
                    w.quants = w.quants.map(|row| row.map(|quants| vsubq_s8(quants, offset)));
                }
                each_below!(T in 0 1 2 3, |t| {
                    let sum = &mut sums[t];
                    let x = next_32(&mut quants[t]).map(|x| vreinterpretq_s8_u8(x));
                    let scale = *scales.add(t * n_groups);
                    if W::HALVES {
                        let low = fold(core::array::from_fn(|r| D::dot_16(w.quants[r][0], x[0])));
                        let high = fold(core::array::from_fn(|r| D::dot_16(w.quants[r][1], x[1])));
                        *sum = vfmaq_f32(*sum, vcvtq_f32_s32(low), vmulq_n_f32(w.scales[0], scale));
                        *sum = vfmaq_f32(*sum, vcvtq_f32_s32(high), vmulq_n_f32(w.scales[1], scale));
                    } else {
                        let mut dots = fold(core::array::from_fn(|r| D::dot_32(w.quants[r], x, W::RANGE)));
                        if offset_of_products != 0 {
                            let x_sum = *x_sums.add(t * n_groups);
                            dots = vsubq_s32(dots, vdupq_n_s32(x_sum * offset_of_products));
                        }
                        *sum = vfmaq_f32(*sum, vcvtq_f32_s32(dots), vmulq_n_f32(w.scales[0], scale));
                        if W::MINS {
                            let x_sum = *x_sums.add(t * n_groups) as f32;
                            *sum = vfmaq_n_f32(*sum, vmulq_n_f32(w.mins, scale), x_sum);
                        }
                    }
                });
                scales = scales.add(1);
                x_sums = x_sums.add(1);
            }
        }
        // SAFETY: still within the row, or one past its end.
        rows = rows.map(|row| unsafe { row.add(W::BLOCK_BYTES) });
    }
    sums
}

/// Tokens for which a block is unpacked once.
const MAX_TOKENS: usize = 32;

/// The product of a tile whose weights have a scale for each 256.
///
/// # Safety
///
/// The CPU has the instruction that `D` names.
#[inline(always)]
pub unsafe fn tile_256<D: Dot, W: Weights256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let n_tokens = x.n_tokens();
    let n_blocks = x.cols / 256;
    let row_bytes = n_blocks * size_of::<W::Block>();
    assert_eq!(w.len(), n_rows * row_bytes);
    let mut groups = [Group256::ZERO; 4];
    for row in (0..n_rows).step_by(4) {
        for token in (0..n_tokens).step_by(MAX_TOKENS) {
            let mut rows = row_pointers(w, row_bytes, n_rows, row);
            let tokens = token..n_tokens.min(token + MAX_TOKENS);
            // SAFETY: NEON is part of every target that this module is built for.
            let mut sums = [unsafe { vdupq_n_f32(0.0) }; MAX_TOKENS];
            for block in 0..n_blocks {
                for (group, row) in groups.iter_mut().zip(&mut rows) {
                    // SAFETY: the assertion and `row_pointers` make the block readable and, being `Unaligned`, a reference
                    // to it may be made; NEON is part of every target that this module is built for.
                    unsafe {
                        W::unpack(&*row.cast::<W::Block>(), group);
                        *row = row.add(size_of::<W::Block>());
                    }
                }
                let scales = groups.each_ref().map(|group| group.d);
                let min_scales = groups.each_ref().map(|group| group.d_min);
                for (token, sum) in tokens.clone().zip(&mut sums) {
                    let at = token * n_blocks + block;
                    let (quants, _) = x.quants[256 * at..256 * (at + 1)].as_chunks();
                    // SAFETY: the arrays are as long as the types say; the
                    // caller vouches for the instruction.
                    unsafe {
                        let products = vcvtq_f32_s32(dots::<D, W>(&groups, quants));
                        let scale = x.scales[at];
                        *sum = vfmaq_f32(*sum, products, vmulq_n_f32(load_f32x4(&scales), scale));
                        if W::MINS {
                            let (x_sums, _) = x.sums[16 * at..16 * (at + 1)].as_chunks();
                            let mins = vcvtq_f32_s32(mins(&groups, x_sums));
                            *sum = vfmsq_f32(*sum, mins, vmulq_n_f32(load_f32x4(&min_scales), scale));
                        }
                    }
                }
            }
            // SAFETY: NEON is part of every target that this module is built for.
            unsafe { store(out, row, token, &sums[..tokens.len()]) };
        }
    }
}

/// For each of four rows the sum of `scale * quant * x`.
///
/// # Safety
///
/// The CPU has the instruction that `D` names.
#[inline(always)]
unsafe fn dots<D: Dot, W: Weights256>(rows: &[Group256; 4], x: &[[i8; 16]]) -> int32x4_t {
    // SAFETY: reads within the arrays: a group has 16 times 16 quants and as many scales.
    unsafe {
        let mut sums = [vdupq_n_s32(0); 4];
        let load = |p: *const [i8; 16]| vreinterpretq_s8_u8(load_16::<0>(p.cast()));
        for (j, x) in x.as_chunks::<2>().0.iter().enumerate() {
            let x = [load(&x[0]), load(&x[1])];
            each_below!(4 in 0 1 2 3, |r| {
                let (sum, row) = (&mut sums[r], &rows[r]);
                let w = row.quants.as_ptr().add(32 * j).cast::<int8x16_t>();
                let (w, scales) = ([w.read(), w.add(1).read()], &row.scales[2 * j..2 * j + 2]);
                if W::PAIRED {
                    *sum = vmlaq_n_s32(*sum, D::dot_32(w, x, W::RANGE), i32::from(scales[0]));
                } else {
                    *sum = vmlaq_n_s32(*sum, D::dot_16(w[0], x[0]), i32::from(scales[0]));
                    *sum = vmlaq_n_s32(*sum, D::dot_16(w[1], x[1]), i32::from(scales[1]));
                }
            });
        }
        fold(sums)
    }
}

/// For each of four rows the sum of `min * x`.
#[target_feature(enable = "neon")]
#[inline]
fn mins(rows: &[Group256; 4], x_sums: &[[i32; 4]]) -> int32x4_t {
    let mut sums = [vdupq_n_s32(0); 4];
    for (j, x_sums) in x_sums.iter().enumerate() {
        // SAFETY: reads within the arrays: a group has four times four minimums.
        unsafe {
            let x_sums = vreinterpretq_s32_u8(load_16::<0>(x_sums.as_ptr().cast()));
            for (sum, row) in sums.iter_mut().zip(rows) {
                let mins = row.mins.as_ptr().add(4 * j).cast::<int16x4_t>().read();
                *sum = vmlaq_s32(*sum, vmovl_s16(mins), x_sums);
            }
        }
    }
    fold(sums)
}

//! Groups of eight packed rows, which all products of packed weights share, and the loading of their blocks of 32.
//!
//! Neighbours: [`packed`](super::packed) and [`packed256`](super::packed256) define the types of blocks and multiply few
//! tokens; [`sdot`](super::sdot) and [`smmla`](super::smmla) multiply many, [`mla`](super::mla) any number.

use super::load::{next_f16x8, store_f32x8};
use crate::simd::Q8;
use core::arch::{aarch64::*, asm};

/// Rows in a group.
pub const ROWS: usize = 8;

/// Sums of the first and of the second four rows.
pub type Sums = [float32x4_t; 2];

/// The product of eight rows with some tokens, for one kind of blocks.
pub trait Rows8 {
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of one block of each of the eight rows.
    const BYTES: usize;

    /// Eight rows times `T` tokens.
    ///
    /// # Safety
    ///
    /// `n_blocks` blocks of eight rows must be readable at `w`, `x` must hold `T` tokens of as many weights, and the CPU must
    /// have the features of the set.
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: &Q8<'_>) -> [Sums; T];

    /// One token times rows; each sixteen rows share the loads of the token.
    ///
    /// The loop over rows is in here because a function without the features could not inline what it calls.
    ///
    /// # Safety
    ///
    /// As for [`product`](Self::product), with two groups of rows, one after the other, at `w` for each of `outputs`.
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn one_token(w: *const u8, n_blocks: usize, x: &Q8<'_>, outputs: &mut [[f32; 2 * ROWS]]) {
        let (groups, _) = outputs.as_flattened_mut().as_chunks_mut();
        for (index, out) in groups.iter_mut().enumerate() {
            // SAFETY: the caller guarantees a group for each eight outputs, the token and the features.
            let [sums] = unsafe { Self::product(w.add(index * n_blocks * Self::BYTES), n_blocks, x) };
            store_f32x8(out, sums);
        }
    }
}

/// Adds to each lane the products of four weights with the four activations of lane `LANE` of `x`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, x: uint8x16_t) -> int32x4_t {
    // SAFETY: accesses registers only; the feature is enabled for this function.
    unsafe {
        asm!(
            // Lets the assembler accept `SDOT` in whichever function the compiler places this.
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Adds the products of 16 weights of four rows with the activations `x` to `dots`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub fn dot_16(dots: int32x4_t, w: [int8x16_t; 4], x: uint8x16_t) -> int32x4_t {
    let dots = sdot::<0>(dots, w[0], x);
    let dots = sdot::<1>(dots, w[1], x);
    let dots = sdot::<2>(dots, w[2], x);
    sdot::<3>(dots, w[3], x)
}

#[target_feature(enable = "neon")]
#[inline]
pub fn signed(quants: [[uint8x16_t; 2]; 8]) -> [[int8x16_t; 2]; 8] {
    quants.map(|pair| pair.map(|v| vreinterpretq_s8_u8(v)))
}

/// `N` units of the first (`half` is 0) or second four rows, from unit `first` on.
#[target_feature(enable = "neon")]
#[inline]
pub fn half_of<const N: usize>(quants: [[int8x16_t; 2]; 8], first: usize, half: usize) -> [int8x16_t; N] {
    core::array::from_fn(|i| quants[first + i][half])
}

/// Subtracts the offset from the quants.
#[target_feature(enable = "neon")]
#[inline]
pub fn without_offset(quants: [[int8x16_t; 2]; 8], offset: u8) -> [[int8x16_t; 2]; 8] {
    match offset {
        0 => quants,
        _ => quants.map(|pair| pair.map(|v| vsubq_s8(v, vdupq_n_s8(offset as i8)))),
    }
}

/// 32 weights of each of eight rows.
pub struct Groups {
    /// For each unit, the weights of the first and of the second four rows.
    pub quants: [[int8x16_t; 2]; 8],
    /// Scales of the rows.
    pub scales: Sums,
    /// Minimums of the rows.
    pub mins: Sums,
}

/// How to load packed weights in blocks of 32.
pub trait Weights32 {
    /// A block of one row.
    type Block;
    /// Bytes of one block of each of the eight rows.
    const BYTES: usize = ROWS * size_of::<Self::Block>();
    /// The weight that a loaded integer of 1 stands for. Scales of activations are multiplied by it, which rounds nothing
    /// because it is a power of two. It is 1 if there are minimums.
    const UNIT: f32 = 1.0;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// What must be subtracted from the integers.
    const OFFSET: u8 = 0;
    /// The largest magnitude of a weight in units of its scale, without the offset.
    const LARGEST: i32;
    /// Whether scales are f16; MXFP4's are powers of two beyond the range of f16.
    const F16_SCALES: bool = true;
    /// Whether the sum of 32 products, times the significand of the activations' scale, is exact in f32, and the product of the
    /// scales is a normal number. Then sums may be multiplied by the two scales in either order.
    const SMALL: bool = Self::F16_SCALES && Self::LARGEST * 127 * 32 * 255 < 1 << 24;

    /// Loads the blocks at `p`, which is advanced past them.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn next<H: Halves>(p: &mut *const u8) -> Groups;
}

/// How to convert the f16 scales of eight rows.
pub trait Halves {
    /// The eight values at `p`, which is advanced past them.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn next(p: &mut *const u8) -> Sums;
}

/// Converts with `FCVTL`.
pub struct Fcvtl;

impl Halves for Fcvtl {
    #[inline(always)]
    unsafe fn next(p: &mut *const u8) -> Sums {
        // SAFETY: the caller guarantees that the eight values are readable.
        unsafe { next_f16x8(p) }
    }
}

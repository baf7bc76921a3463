//! Integer products of packed weights: a lane for each of eight rows, no sum spread over lanes.
//!
//! Each unit of a [`Packing`] is four bytes of a row, so a vector of weights is a unit of four rows,
//! and `SDOT` by element multiplies all of them with the same four activations.

use super::load::{load_32, load_f16x8, store_f32x8};
use crate::blocks::GgmlType;
use crate::quant::Packing;
use crate::simd::{PackedTileFn, Q8, tiles::Tile};
use core::arch::{aarch64::*, asm};

/// Rows in a group.
pub const ROWS: usize = 8;

/// Tokens that share each group of unpacked weights.
const MAX_TOKENS: usize = 4;

pub static PACKING: Packing = Packing {
    name: "dotprod",
    rows: ROWS,
    signed_nibbles: true,
    unsigned_bytes: false,
    types: &[GgmlType::Q4_0, GgmlType::Q8_0],
};

pub fn product(ty: GgmlType) -> Option<PackedTileFn> {
    Some(match ty {
        GgmlType::Q4_0 => tile_32::<Q4_0>,
        GgmlType::Q8_0 => tile_32::<Q8_0>,
        _ => return None,
    })
}

/// 32 weights of each of eight rows.
struct EightGroups {
    /// For each four weights those of the first and of the second four rows.
    quants: [[int8x16_t; 2]; 8],
    /// Scales of the first and of the second four rows.
    scales: [float32x4_t; 2],
    /// Minimums, likewise.
    mins: [float32x4_t; 2],
}

/// How to load packed weights that have a scale for each 32 of them.
trait Weights32 {
    /// Bytes of the blocks of all eight rows.
    const BYTES: usize;
    /// The integers are this many bits too far to the left.
    const SHIFT: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;

    /// Loads the blocks at `p`.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load(p: *const u8) -> EightGroups;
}

struct Q4_0;

impl Weights32 for Q4_0 {
    const BYTES: usize = ROWS * 18;
    const SHIFT: i32 = 4;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> EightGroups {
        // SAFETY: eight scales and eight times 16 bytes of codes, which the caller vouches for; NEON is
        // part of every target that this module is built for.
        unsafe {
            let scales = load_f16x8(p);
            let codes: [_; 4] = core::array::from_fn(|i| load_32(p.add(16 + 32 * i)));
            // Two's complement in the upper four bits, so that no sign has to be extended.
            let low = |v| vreinterpretq_s8_u8(vshlq_n_u8::<4>(v));
            let high = |v| vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(0xf0)));
            let quants =
                core::array::from_fn(|i| if i < 4 { codes[i].map(low) } else { codes[i - 4].map(high) });
            EightGroups { quants, scales, mins: [vdupq_n_f32(0.0); 2] }
        }
    }
}

struct Q8_0;

impl Weights32 for Q8_0 {
    const BYTES: usize = ROWS * 34;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> EightGroups {
        // SAFETY: eight scales and eight times 32 bytes, which the caller vouches for; NEON is part of
        // every target that this module is built for.
        unsafe {
            let quants =
                core::array::from_fn(|i| load_32(p.add(16 + 32 * i)).map(|v| vreinterpretq_s8_u8(v)));
            EightGroups { quants, scales: load_f16x8(p), mins: [vdupq_n_f32(0.0); 2] }
        }
    }
}

/// The product of a tile whose weights have a scale for each 32.
fn tile_32<W: Weights32>(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
    let n_groups = x.cols / 32;
    let group_bytes = n_groups * W::BYTES;
    assert_eq!(w.len(), (skipped_rows + out.rows().len()).div_ceil(ROWS) * group_bytes);
    let n_tokens = x.n_tokens();
    for (index, w) in w.chunks_exact(group_bytes).enumerate() {
        let mut token = 0;
        while token < n_tokens {
            let count = MAX_TOKENS.min(n_tokens - token);
            let x = x.tokens(token..token + count);
            let mut sums = [[0.0; ROWS]; MAX_TOKENS];
            // SAFETY: `w` holds `n_groups` blocks of eight rows, `x` the tokens; only the table of the set
            // names this function, and who holds that has made sure of the feature.
            unsafe {
                match count {
                    1 => rows_8::<W, 1>(w.as_ptr(), n_groups, x, &mut sums),
                    2 => rows_8::<W, 2>(w.as_ptr(), n_groups, x, &mut sums),
                    3 => rows_8::<W, 3>(w.as_ptr(), n_groups, x, &mut sums),
                    _ => rows_8::<W, 4>(w.as_ptr(), n_groups, x, &mut sums),
                }
            }
            for (t, sums) in sums[..count].iter().enumerate() {
                store(out.token(token + t), index, skipped_rows, sums);
            }
            token += count;
        }
    }
}

/// Writes the sums of a group's rows, of those that are the tile's.
#[inline(always)]
fn store(out: &mut [f32], group: usize, skipped_rows: usize, sums: &[f32; ROWS]) {
    let sums = if group == 0 { &sums[skipped_rows..] } else { sums };
    let first = (group * ROWS).saturating_sub(skipped_rows);
    let n = sums.len().min(out.len() - first);
    out[first..first + n].copy_from_slice(&sums[..n]);
}

/// Eight rows times `T` tokens.
///
/// # Safety
///
/// The blocks of `n_groups` groups must be readable at `w`, `x` must hold `T` tokens of as many
/// weights, and the CPU must have FEAT_DotProd.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn rows_8<W: Weights32, const T: usize>(
    mut w: *const u8,
    n_groups: usize,
    x: Q8<'_>,
    out: &mut [[f32; ROWS]; MAX_TOKENS],
) {
    let mut sums = [[vdupq_n_f32(0.0); 2]; T];
    let mut quants = x.quants.as_ptr().cast::<u8>();
    let mut scales = x.scales.as_ptr();
    let mut x_sums = x.sums.as_ptr();
    for _ in 0..n_groups {
        // SAFETY: the loop visits each group of the rows and of the tokens once; the strides between
        // tokens are `cols` quants and `n_groups` scales and sums.
        unsafe {
            let group = W::load(w);
            for (t, sums) in sums.iter_mut().enumerate() {
                let x = load_32(quants.add(t * x.cols));
                let scale = *scales.add(t * n_groups);
                for (half, sum) in sums.iter_mut().enumerate() {
                    let dots = dot_32(group.quants.map(|four| four[half]), x);
                    let dots = if W::SHIFT == 4 { vcvtq_n_f32_s32::<4>(dots) } else { vcvtq_f32_s32(dots) };
                    *sum = vfmaq_f32(*sum, dots, vmulq_n_f32(group.scales[half], scale));
                    if W::MINS {
                        let x_sum = *x_sums.add(t * n_groups) as f32;
                        *sum = vfmaq_n_f32(*sum, vmulq_n_f32(group.mins[half], scale), x_sum);
                    }
                }
            }
            w = w.add(W::BYTES);
            quants = quants.add(32);
            scales = scales.add(1);
            x_sums = x_sums.add(1);
        }
    }
    for (sums, out) in sums.into_iter().zip(out) {
        store_f32x8(out, sums);
    }
}

/// For four rows the products of 32 weights with `x`, eight times four.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_32(w: [int8x16_t; 8], x: [uint8x16_t; 2]) -> int32x4_t {
    let mut dots = vdupq_n_s32(0);
    dots = sdot::<0>(dots, w[0], x[0]);
    dots = sdot::<1>(dots, w[1], x[0]);
    dots = sdot::<2>(dots, w[2], x[0]);
    dots = sdot::<3>(dots, w[3], x[0]);
    dots = sdot::<0>(dots, w[4], x[1]);
    dots = sdot::<1>(dots, w[5], x[1]);
    dots = sdot::<2>(dots, w[6], x[1]);
    sdot::<3>(dots, w[7], x[1])
}

/// Adds to each lane the products of four weights with the four activations of lane `LANE` of `x`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, x: uint8x16_t) -> int32x4_t {
    // SAFETY: computes on registers alone, and the feature is enabled for this function.
    unsafe {
        asm!(
            // Whatever function the compiler puts this in before it inlines it.
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

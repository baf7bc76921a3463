//! Integer products of packed weights: each lane belongs to one row, so no sum is spread over lanes.
//!
//! A unit of a [`Packing`] is four bytes of a row. A vector of weights holds a unit of each of four rows, and `SDOT` by element
//! multiplies all of them with the same four activations. Eight rows share each load of activations, up to three tokens each
//! group of unpacked weights. Four or more tokens are left to [`many_tokens`] and [`smmla_few`](super::smmla_few).

use super::load::{next_8, next_32, next_128, next_f32, store_f32x8};
use super::many_tokens::{self, ManyTokens};
use super::packed256::Of256;
pub(super) use super::packed256::{Q4_K, Q5_K, Q6_K};
use super::repack;
use super::rows::{Fcvtl, Groups, Halves, ROWS, Rows8, Sums, Weights32, dot_16, half_of, signed};
use super::sdot::{Sdot32, Sdot256};
use super::weights32::table_16;
use crate::blocks::{E2M1_DOUBLED, GgmlType, IQ4_VALUES, Packing};
use crate::simd::table::PackedTileFn;
use crate::simd::{Q8, tiles::Tile};
use core::arch::{aarch64::*, asm};

pub static PACKING: Packing = Packing {
    name: "aarch64",
    rows: ROWS,
    signed_nibbles: true,
    unsigned_bytes: false,
    fast_pack: Some(repack::pack_group),
    types: &[
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q8_0,
        GgmlType::IQ4_NL,
        GgmlType::MXFP4,
        GgmlType::Q4_K,
        GgmlType::Q5_K,
        GgmlType::Q6_K,
    ],
};

/// Evaluates to the first expression for types with blocks of 32, to the second for types with blocks of 256, where `$W` is the
/// type that loads the weights, and to `None` for types that are not packed.
macro_rules! with_packed_type {
    ($ty:expr, $W:ident => $of_32:expr, $of_256:expr) => {
        with_packed_type!(@ $ty, $W; $of_32 => Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4; $of_256 => Q4_K Q5_K Q6_K)
    };
    (@ $ty:expr, $W:ident; $($value:expr => $($type:ident)+);+) => {
        match $ty {
            $($(crate::blocks::GgmlType::$type => {
                type $W = crate::simd::aarch64::packed::$type;
                Some($value)
            })+)+
            _ => None,
        }
    };
}
pub(super) use with_packed_type;

pub fn product(ty: GgmlType) -> Option<PackedTileFn> {
    with_packed_type!(ty, W => tile::<Of32<W>, Sdot32<W>>, tile::<Of256<W>, Sdot256<W>>)
}

/// The product of a tile. `B` multiplies whole groups of rows with [`many_tokens::TOKENS`] tokens at a time, `R` the rest.
///
/// # Safety
///
/// The CPU must have the features of `R` and `B`.
pub unsafe fn tile<R: Rows8, B: ManyTokens>(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
    let batched = x.n_tokens() / many_tokens::TOKENS * many_tokens::TOKENS;
    if batched == 0 || skipped_rows > 0 || !out.rows().len().is_multiple_of(ROWS) {
        // SAFETY: the caller guarantees the features of `R`.
        return unsafe { few::<R, 3>(w, skipped_rows, x, 0, out) };
    }
    assert_eq!(w.len(), out.rows().len() / ROWS * (x.cols / R::LEN * R::BYTES));
    // SAFETY: rows and tokens are whole groups, `w` is as asserted, and the caller guarantees the features of both.
    unsafe {
        many_tokens::product::<B>(w, x.tokens(0..batched), out);
        few::<R, 3>(w, 0, x, batched, out);
    }
}

/// The product of a tile by `R`, at most four tokens at a time.
///
/// # Safety
///
/// The CPU must have the features of `R`.
pub unsafe fn tile_by_fours<R: Rows8>(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
    // SAFETY: the caller guarantees the features.
    unsafe { few::<R, 4>(w, skipped_rows, x, 0, out) }
}

/// The product of a tile with the tokens from number `done` on, at most `MOST` (3 or 4) of them at a time.
///
/// # Safety
///
/// The CPU must have the features of `R`.
pub unsafe fn few<R: Rows8, const MOST: usize>(
    w: &[u8],
    skipped_rows: usize,
    x: Q8<'_>,
    done: usize,
    out: &mut Tile<'_>,
) {
    let n_tokens = x.n_tokens();
    let n_blocks = x.cols / R::LEN;
    let group_bytes = n_blocks * R::BYTES;
    assert_eq!(w.len(), (skipped_rows + out.rows().len()).div_ceil(ROWS) * group_bytes);
    let mut pairs = 0;
    if n_tokens == done + 1 && skipped_rows == 0 {
        let x = x.tokens(done..n_tokens);
        let (outputs, _) = out.token(done).as_chunks_mut();
        pairs = outputs.len();
        // SAFETY: by the assertion `w` holds two groups for each of `outputs`; the caller guarantees the features of `R`.
        unsafe { R::one_token(w.as_ptr(), n_blocks, &x, outputs) };
    }
    for (group, w) in w.chunks_exact(group_bytes).enumerate().skip(2 * pairs) {
        let mut token = done;
        while token < n_tokens {
            let place = Place { group, skipped_rows, token };
            // SAFETY: `w` holds `n_blocks` blocks of eight rows, `x` the tokens; the caller guarantees the features of `R`.
            token += unsafe {
                match (n_tokens - token, MOST) {
                    (1, _) => some_tokens::<R, 1>(w, n_blocks, x, place, out),
                    (2, _) | (3, 4) => some_tokens::<R, 2>(w, n_blocks, x, place, out),
                    (_, 4) => some_tokens::<R, 4>(w, n_blocks, x, place, out),
                    _ => some_tokens::<R, 3>(w, n_blocks, x, place, out),
                }
            };
        }
    }
}

/// Outputs of a group of rows, from `token` on. The first group begins with `skipped_rows` rows outside the tile.
#[derive(Clone, Copy)]
struct Place {
    group: usize,
    skipped_rows: usize,
    token: usize,
}

/// Computes and writes the sums of `T` tokens, and returns `T`.
///
/// # Safety
///
/// As for [`Rows8::product`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn some_tokens<R: Rows8, const T: usize>(
    w: &[u8],
    n_blocks: usize,
    x: Q8<'_>,
    place: Place,
    out: &mut Tile<'_>,
) -> usize {
    // SAFETY: the caller guarantees the blocks and the features; the slice of `x` holds `T` tokens.
    let sums = unsafe { R::product::<T>(w.as_ptr(), n_blocks, &x.tokens(place.token..place.token + T)) };
    for (t, sums) in sums.into_iter().enumerate() {
        store(Place { token: place.token + t, ..place }, sums, out);
    }
    T
}

/// Writes the sums of a group's rows as far as these belong to the tile.
#[inline(always)]
fn store(place: Place, sums: Sums, out: &mut Tile<'_>) {
    let first = (place.group * ROWS).saturating_sub(place.skipped_rows);
    let skipped_rows = if place.group == 0 { place.skipped_rows } else { 0 };
    let out = &mut out.token(place.token)[first..];
    if let (0, Some(out)) = (skipped_rows, out.first_chunk_mut()) {
        return store_f32x8(out, sums);
    }
    let mut rows = [0.0; ROWS];
    store_f32x8(&mut rows, sums);
    for (out, sum) in out.iter_mut().zip(&rows[skipped_rows..]) {
        *out = *sum;
    }
}

/// Rows of weights in blocks of 32, loaded by `W`.
pub struct Of32<W>(W);

impl<W: Weights32> Rows8 for Of32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn one_token(w: *const u8, n_blocks: usize, x: &Q8<'_>, outputs: &mut [[f32; 2 * ROWS]]) {
        let x_sums = &x.sums[..n_blocks];
        let mut w = [w, w.wrapping_add(n_blocks * W::BYTES)];
        for out in outputs {
            let mut sums = [[vdupq_n_f32(0.0); 2]; 2];
            let mut quants = x.quants.as_ptr().cast::<u8>();
            let mut scales = x.scales.as_ptr();
            for &x_sum in x_sums {
                // SAFETY: the loop reads each of the rows' and the token's blocks once; the caller guarantees `n_blocks` of
                // them.
                unsafe {
                    let x = next_32(&mut quants);
                    let scale = vmulq_n_f32(next_f32(&mut scales), W::UNIT);
                    // Not a loop: if the compiler did not unroll it, it would keep the sums in memory.
                    sums[0] = add_products::<W>(&W::next::<Fcvtl>(&mut w[0]), x, scale, x_sum, sums[0]);
                    sums[1] = add_products::<W>(&W::next::<Fcvtl>(&mut w[1]), x, scale, x_sum, sums[1]);
                }
            }
            // Each pointer is now at the end of its group, and the second one at the start of the next pair.
            w = [w[1], w[1].wrapping_add(n_blocks * W::BYTES)];
            if let ([first, second], _) = out.as_chunks_mut() {
                store_f32x8(first, sums[0]);
                store_f32x8(second, sums[1]);
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn product<const T: usize>(mut w: *const u8, n_blocks: usize, x: &Q8<'_>) -> [Sums; T] {
        let mut sums = [[vdupq_n_f32(0.0); 2]; T];
        // SAFETY: within the tokens' arrays, or at their ends.
        let (mut quants, mut scales, mut x_sums): ([_; T], [_; T], [_; T]) = unsafe {
            (
                core::array::from_fn(|t| x.quants.as_ptr().add(t * x.cols).cast::<u8>()),
                core::array::from_fn(|t| x.scales.as_ptr().add(t * n_blocks)),
                core::array::from_fn(|t| x.sums.as_ptr().add(t * n_blocks)),
            )
        };
        for _ in 0..n_blocks {
            // SAFETY: the loop reads each of the rows' and the tokens' blocks once; the caller guarantees `n_blocks` of them.
            unsafe {
                let w = W::next::<Fcvtl>(&mut w);
                for t in 0..T {
                    let x = next_32(&mut quants[t]);
                    let scale = vmulq_n_f32(next_f32(&mut scales[t]), W::UNIT);
                    sums[t] = add_products::<W>(&w, x, scale, *x_sums[t], sums[t]);
                    if W::MINS || W::OFFSET != 0 {
                        x_sums[t] = x_sums[t].add(1);
                    }
                }
            }
        }
        sums
    }
}

/// Adds the products of 32 weights and the quants `x`, whose scale is the first lane of `scale`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn add_products<W: Weights32>(
    w: &Groups,
    x: [uint8x16_t; 2],
    scale: float32x4_t,
    x_sum: i32,
    sums: Sums,
) -> Sums {
    core::array::from_fn(|half| {
        // The sum starts at the negative of what the offset adds to it.
        let start = vdupq_n_s32(-i32::from(W::OFFSET) * x_sum);
        let dots = dot_16(start, half_of(w.quants, 0, half), x[0]);
        let dots = dot_16(dots, half_of(w.quants, 4, half), x[1]);
        let sum = vfmaq_f32(sums[half], vcvtq_f32_s32(dots), vmulq_laneq_f32::<0>(w.scales[half], scale));
        if W::MINS {
            return vfmaq_n_f32(sum, vmulq_laneq_f32::<0>(w.mins[half], scale), x_sum as f32);
        }
        sum
    })
}

/// The next four units of codes of eight rows, 128 bytes at `p`, which is advanced past them.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
unsafe fn next_codes(p: &mut *const u8) -> [[uint8x16_t; 2]; 4] {
    // SAFETY: the caller guarantees that the 128 bytes are readable.
    unsafe {
        let [a, b, c, d, e, f, g, h] = next_128(p);
        [[a, b], [c, d], [e, f], [g, h]]
    }
}

/// The low nibbles of all codes, then the high ones.
#[target_feature(enable = "neon")]
#[inline]
fn nibbles(codes: [[uint8x16_t; 2]; 4]) -> [[uint8x16_t; 2]; 8] {
    core::array::from_fn(|i| match i {
        0..4 => codes[i].map(|v| vandq_u8(v, vdupq_n_u8(0xf))),
        _ => codes[i - 4].map(|v| vshrq_n_u8::<4>(v)),
    })
}

/// `v` with bit `from` of each byte of `bits` as bit 4.
#[target_feature(enable = "neon")]
#[inline]
fn with_fifth_bit(mut v: uint8x16_t, bits: uint8x16_t, from: usize) -> uint8x16_t {
    // SAFETY: accesses registers only.
    unsafe {
        asm!(
            // The compiler would split `vbslq_u8` into several instructions.
            "bit {v:v}.16b, {bits:v}.16b, {mask:v}.16b",
            v = inout(vreg) v,
            bits = in(vreg) vshlq_u8(bits, vdupq_n_s8(4 - from as i8)),
            mask = in(vreg) vdupq_n_u8(0x10),
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    v
}

/// Nibbles with their fifth bits: bit `i` of each byte of `fifth` belongs to unit `i`.
#[target_feature(enable = "neon")]
#[inline]
fn five_bits(codes: [[uint8x16_t; 2]; 4], fifth: [uint8x16_t; 2]) -> [[uint8x16_t; 2]; 8] {
    let low = nibbles(codes);
    core::array::from_fn(|i| [0, 1].map(|half| with_fifth_bit(low[i][half], fifth[half], i)))
}

/// Codes looked up in a table of 16 values.
#[target_feature(enable = "neon")]
#[inline]
fn look_up(values: &[i8; 16], codes: [[uint8x16_t; 2]; 4]) -> [[int8x16_t; 2]; 8] {
    let values = table_16(values);
    nibbles(codes).map(|pair| pair.map(|codes| vqtbl1q_s8(values, codes)))
}

/// Weights without minimums.
#[target_feature(enable = "neon")]
#[inline]
fn symmetric(quants: [[int8x16_t; 2]; 8], scales: Sums) -> Groups {
    Groups { quants, scales, mins: [vdupq_n_f32(0.0); 2] }
}

types_of_weights! {
    Weights32, { #[target_feature(enable = "neon")] #[inline] unsafe fn next<H: Halves>(p: &mut *const u8) -> Groups };

    /// Scales, then the codes, which packing has made two's complement. Weights are left in the upper four bits, so that no
    /// sign has to be extended.
    Q4_0(BlockQ4_0) { LARGEST: i32 = 8, UNIT: f32 = 1.0 / 16.0 } {
        let (scales, codes) = (H::next(p), next_codes(p));
        let quants = core::array::from_fn(|i| match i {
            0..4 => codes[i].map(|v| vshlq_n_u8::<4>(v)),
            _ => codes[i - 4].map(|v| vandq_u8(v, vdupq_n_u8(0xf0))),
        });
        symmetric(signed(quants), scales)
    }

    /// Scales, minimums, then the codes.
    Q4_1(BlockQ4_1) { LARGEST: i32 = 15, MINS: bool = true } {
        let (scales, mins, codes) = (H::next(p), H::next(p), next_codes(p));
        Groups { quants: signed(nibbles(codes)), scales, mins }
    }

    /// Scales, the fifth bits, then the codes.
    Q5_0(BlockQ5_0) { LARGEST: i32 = 16, OFFSET: u8 = 16 } {
        let (scales, fifth, codes) = (H::next(p), next_32(p), next_codes(p));
        symmetric(signed(five_bits(codes, fifth)), scales)
    }

    /// Scales, minimums, the fifth bits, then the codes.
    Q5_1(BlockQ5_1) { LARGEST: i32 = 31, MINS: bool = true } {
        let (scales, mins, fifth, codes) = (H::next(p), H::next(p), next_32(p), next_codes(p));
        Groups { quants: signed(five_bits(codes, fifth)), scales, mins }
    }

    /// Scales, then eight units.
    Q8_0(BlockQ8_0) { LARGEST: i32 = 128 } {
        let (scales, [a, b, c, d], [e, f, g, h]) = (H::next(p), next_codes(p), next_codes(p));
        symmetric(signed([a, b, c, d, e, f, g, h]), scales)
    }

    /// Scales, then the codes.
    IQ4_NL(BlockIQ4NL) { LARGEST: i32 = 127 } {
        let (scales, codes) = (H::next(p), next_codes(p));
        symmetric(look_up(&IQ4_VALUES, codes), scales)
    }

    /// Exponents, then the codes.
    MXFP4(BlockMXFP4) { LARGEST: i32 = 12, F16_SCALES: bool = false } {
        let (exponents, codes) = (vmovl_u8(next_8(p)), next_codes(p));
        let scales = [vmovl_u16(vget_low_u16(exponents)), vmovl_high_u16(exponents)].map(|e| e8m0_half(e));
        symmetric(look_up(&E2M1_DOUBLED, codes), scales)
    }
}

/// Half of the powers of two with these exponents: the table holds the doubled values.
#[target_feature(enable = "neon")]
#[inline]
fn e8m0_half(e: uint32x4_t) -> float32x4_t {
    let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
    // The two smallest are subnormal.
    let subnormal = vshlq_n_u32::<21>(vaddq_u32(e, vdupq_n_u32(1)));
    vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal))
}

//! The executable specification: each function in the plainest Rust that says what it computes.
//!
//! The other sets give the same bits. Sums of integers are exact in any order. Sums of floats are not, so their order is part
//! of the definition, and so is which operations are fused:
//!
//! - The product of a row of quantised weights adds one term per scale, in the order of the row, with fused multiply-adds: `sum
//!   = fma(integers, w_scale * x_scale, sum)`.
//! - Activations are rounded to 8 bits by `fma(x, 1 / scale, ROUNDING)`.
//! - A product of floats has `LANES` partial sums. The `i`-th is the sum over the elements `i`, `i + LANES`, …, made with fused
//!   multiply-adds; `add_lanes` adds up the partial sums.
//! - Functions of each element, and the softmax of attention, are written once over vectors of `LANES` elements (`lanes`); this
//!   set's vectors are in `portable`.

use super::attention::{Arithmetic, Attend, Prepare, Query, Step};
use super::lanes::{Elements, LANES, add_lanes};
use super::table::{FloatTileFn, Kernels, TileFn};
use super::{Q8, tiles::Tile};
use crate::blocks::{self, Block32, Block256, GgmlType, Group32, Group256, with_block_of};
use half::{bf16, f16};
use libm::fmaf as fma;

// SAFETY: arrays and `Plain` need only instructions that every CPU has.
pub(super) static KERNELS: Kernels =
    unsafe { Kernels::of::<[f32; LANES], Plain>("scalar", product, float_product) };

fn product(ty: GgmlType) -> Option<TileFn> {
    with_block_of!(ty, Block32 => Some(tile_32::<B>), Block256 => Some(tile_256::<B>), _ => None)
}

fn float_product(ty: GgmlType) -> Option<FloatTileFn> {
    match ty {
        GgmlType::F32 => Some(|w, x, cols, out| float_tile(w, x, cols, out, f32::from_le_bytes)),
        GgmlType::F16 => Some(|w, x, cols, out| float_tile(w, x, cols, out, half_to_f32)),
        GgmlType::BF16 => Some(|w, x, cols, out| float_tile(w, x, cols, out, bf16_to_f32)),
        _ => None,
    }
}

fn half_to_f32(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

fn bf16_to_f32(bytes: [u8; 2]) -> f32 {
    bf16::from_le_bytes(bytes).to_f32()
}

fn dot<T: Copy>(a: &[f32], b: &[T], to_f32: impl Fn(T) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum = fma(a, to_f32(b), *sum);
        }
    }
    add_lanes(sums)
}

/// The product of a tile of float weights of `N` bytes each with f32 activations, `cols` for each token.
fn float_tile<const N: usize>(
    w: &[u8],
    x: &[f32],
    cols: usize,
    out: &mut Tile<'_>,
    to_f32: impl Fn([u8; N]) -> f32,
) {
    let (weights, _) = w.as_chunks::<N>();
    for (row, w) in weights.chunks_exact(cols).enumerate() {
        for (token, x) in x.chunks_exact(cols).enumerate() {
            out.token(token)[row] = dot(x, w, &to_f32);
        }
    }
}

fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// Multiplies rows of [`Block32`]s with activations that have a scale for every 32 values.
fn tile_32<B: Block32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let blocks = blocks::cast::<B>(w);
    let blocks_per_row = x.cols / (32 * B::GROUPS);
    for token in 0..x.n_tokens() {
        out.token(token).fill(0.0);
    }
    for (row, blocks) in blocks.chunks_exact(blocks_per_row).enumerate() {
        let groups = blocks.iter().flat_map(|block| (0..B::GROUPS).map(|index| block.unpack(index)));
        for (index, w) in groups.enumerate() {
            add_group_32((&w, B::HALVES, B::MINS), x, (row, index), out);
        }
    }
}

/// Adds the products of the `index`-th group of a row with all tokens. Whether the halves of the group have scales of their
/// own, and whether the group has a minimum, are arguments rather than constants, so that all types share this code.
#[inline(never)]
fn add_group_32(
    (w, has_halves, has_min): (&Group32, bool, bool),
    x: Q8<'_>,
    (row, index): (usize, usize),
    out: &mut Tile<'_>,
) {
    for token in 0..x.n_tokens() {
        let at = token * (x.cols / 32) + index;
        let (quants, scale) = (&x.quants[32 * at..32 * (at + 1)], x.scales[at]);
        let sum = &mut out.token(token)[row];
        if has_halves {
            for (half, (w_quants, quants)) in w.quants.chunks(16).zip(quants.chunks(16)).enumerate() {
                *sum = fma(dot_i8(w_quants, quants) as f32, w.scales[half] * scale, *sum);
            }
        } else {
            *sum = fma(dot_i8(&w.quants, quants) as f32, w.scales[0] * scale, *sum);
        }
        if has_min {
            *sum = fma(x.sums[at] as f32, w.min * scale, *sum);
        }
    }
}

/// Multiplies rows of [`Block256`]s with activations that have a scale for every 256 values.
fn tile_256<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let blocks = blocks::cast::<B>(w);
    let blocks_per_row = x.cols / 256;
    for token in 0..x.n_tokens() {
        out.token(token).fill(0.0);
    }
    let mut w = Group256::ZERO;
    for (row, blocks) in blocks.chunks_exact(blocks_per_row).enumerate() {
        for (index, block) in blocks.iter().enumerate() {
            block.unpack(&mut w);
            add_group_256((&w, B::MINS), x, (row, index), out);
        }
    }
}

/// As [`add_group_32`], for groups of 256.
#[inline(never)]
fn add_group_256(
    (w, has_mins): (&Group256, bool),
    x: Q8<'_>,
    (row, index): (usize, usize),
    out: &mut Tile<'_>,
) {
    for token in 0..x.n_tokens() {
        let at = token * (x.cols / 256) + index;
        let x_quants = &x.quants[256 * at..256 * (at + 1)];
        let x_sums = &x.sums[16 * at..16 * (at + 1)];
        let dots = w.quants.chunks_exact(16).zip(x_quants.chunks_exact(16));
        let dots = dots.map(|(w, x)| dot_i8(w, x));
        let products: i32 = w.scales.iter().zip(dots).map(|(&s, dot)| i32::from(s) * dot).sum();
        let scale = x.scales[at];
        let sum = &mut out.token(token)[row];
        *sum = fma(products as f32, w.d * scale, *sum);
        if has_mins {
            let mins: i32 = w.mins.iter().zip(x_sums).map(|(&m, &sum)| i32::from(m) * sum).sum();
            *sum = fma(-(mins as f32), w.d_min * scale, *sum);
        }
    }
}

/// Products of attention, computed for one query, one position and one element at a time.
#[derive(Default)]
struct Plain;

impl<E: Elements> Prepare<[f32; LANES], E> for Plain {
    fn new(_: &Attend<'_, E>, _: &[Query]) -> Self {
        Plain
    }
}

impl<E: Elements> Arithmetic<[f32; LANES], E> for Plain {
    fn scales(&self, attend: &Attend<'_, E>) -> [f32; LANES] {
        [attend.scale; LANES]
    }

    fn products(&self, attend: &Attend<'_, E>, step: Step<'_>, products: &mut [[f32; LANES]]) {
        let Step { queries, first } = step;
        for (position, products) in (first..).zip(products) {
            let key = attend.keys(position, 1).as_ptr();
            for (query, product) in queries.iter().zip(products) {
                let mut sums = [0.0; LANES];
                for (index, &q) in attend.query(query).iter().enumerate() {
                    let sum = &mut sums[index % LANES];
                    // SAFETY: `key` points to a slice that holds a key, which has as many elements as a query.
                    *sum = fma(q, unsafe { E::element(key, index) }, *sum);
                }
                *product = add_lanes(sums);
            }
        }
    }

    fn gather(&self, attend: &Attend<'_, E>, step: Step<'_>, weights: &[[f32; LANES]], output: &mut [f32]) {
        let Step { queries, first } = step;
        for (position, weights) in (first..).zip(weights) {
            let value = attend.values(position, 1).as_ptr();
            for (query, &weight) in queries.iter().zip(weights) {
                let sums = &mut output[query.output_at..][..attend.head_len_v];
                for (index, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `value` points to a slice that holds a value, which has as many elements as an output.
                    *sum = fma(unsafe { E::element(value, index) }, weight, *sum);
                }
            }
        }
    }
}

//! The set for CPUs with FEAT_I8MM as well (Neoverse V1 and later): `SMMLA` for many tokens.
//!
//! One instruction multiplies two rows with two tokens, eight columns deep. As in [`batch`] the
//! weights of eight rows are unpacked once for all tokens of a tile, and four tokens share each load
//! of them; both are arranged in pairs here, a token's eight bytes beside the other's.

use super::load::{load_16, load_f32x4, store_16, store_f32x8};
use super::packed::{self, Of32, ROWS, Weights32};
use super::{batch, dotprod};
use crate::blocks::GgmlType;
use crate::simd::{Kernels, PackedTileFn, Q8, tiles::Tile};
use core::arch::{aarch64::*, asm};

pub static KERNELS: Kernels = Kernels { name: "i8mm", packed_product: product, ..dotprod::TABLE };

fn product(ty: GgmlType) -> Option<PackedTileFn> {
    Some(match ty {
        GgmlType::Q4_0 => tile::<packed::Q4_0>,
        GgmlType::Q5_0 => tile::<packed::Q5_0>,
        GgmlType::Q8_0 => tile::<packed::Q8_0>,
        _ => return packed::product(ty),
    })
}

/// The product of a tile: batches of tokens here, the rest as with FEAT_DotProd.
fn tile<W: Weights32>(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
    packed::tile_with::<Of32<W>>(w, skipped_rows, x, out, |w, x, out| {
        // SAFETY: the rows and tokens are whole; only the table of the set names this function, and who
        // holds that has made sure of the feature.
        unsafe { batches::<W>(w, x, out) };
        true
    });
}

/// Groups of 32 columns in a slab.
const SLAB: usize = 16;

/// Tokens for which weights are unpacked once.
const MAX_TOKENS: usize = 64;

/// Rows for which activations are arranged once.
const MAX_ROWS: usize = 128;

/// Unpacked weights of eight rows.
#[repr(C, align(64))]
struct Panel {
    /// For each group of 32 columns and each pair of rows eight columns of both, four times.
    quants: [[[[u8; 32]; 2]; ROWS / 2]; SLAB],
    /// For each group and each pair of rows the first row's scale twice, then the second's.
    scales: [[[f32; 8]; ROWS / 4]; SLAB],
}

/// Activations of four tokens.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tokens {
    /// For each group of 32 columns and each pair of tokens eight columns of both, four times.
    quants: [[[[u8; 16]; 4]; 2]; SLAB],
    /// For each group and each pair of tokens both scales twice.
    scales: [[[f32; 4]; 2]; SLAB],
}

/// Sums of eight rows and four tokens: for each pair of rows and of tokens first the first row's.
type Sums = [[[f32; 4]; 2]; ROWS / 2];

/// The product of a tile of whole groups of rows with a multiple of [`batch::TOKENS`] tokens.
///
/// # Safety
///
/// `w` must hold the blocks of the tile's rows, `x` its tokens, and the CPU must have FEAT_I8MM.
#[target_feature(enable = "neon,i8mm")]
unsafe fn batches<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let row_bytes = x.cols / 32 * W::BYTES;
    for (part, w) in w.chunks(MAX_ROWS / ROWS * row_bytes).enumerate() {
        for token in (0..x.n_tokens()).step_by(MAX_TOKENS) {
            let tokens = token..x.n_tokens().min(token + MAX_TOKENS);
            // SAFETY: what the caller vouches for.
            unsafe { part_of_tile::<W>(w, x.tokens(tokens), part * MAX_ROWS, token, out) };
        }
    }
}

/// As [`batches`] for at most [`MAX_ROWS`] rows from `row` on and [`MAX_TOKENS`] tokens from `token` on.
///
/// # Safety
///
/// As for [`batches`].
#[target_feature(enable = "neon,i8mm")]
unsafe fn part_of_tile<W: Weights32>(w: &[u8], x: Q8<'_>, row: usize, token: usize, out: &mut Tile<'_>) {
    let n_groups = x.cols / 32;
    let n_blocks = x.n_tokens() / batch::TOKENS;
    let zero = Tokens { quants: [[[[0; 16]; 4]; 2]; SLAB], scales: [[[0.0; 4]; 2]; SLAB] };
    let mut tokens = [zero; MAX_TOKENS / batch::TOKENS];
    let mut panel = Panel { quants: [[[[0; 32]; 2]; ROWS / 2]; SLAB], scales: [[[0.0; 8]; ROWS / 4]; SLAB] };
    let mut sums: [[Sums; MAX_TOKENS / batch::TOKENS]; MAX_ROWS / ROWS] =
        [[[[[0.0; 4]; 2]; ROWS / 2]; MAX_TOKENS / batch::TOKENS]; MAX_ROWS / ROWS];
    for first in (0..n_groups).step_by(SLAB) {
        let len = SLAB.min(n_groups - first);
        for (block, tokens) in tokens[..n_blocks].iter_mut().enumerate() {
            let x = x.tokens(block * batch::TOKENS..(block + 1) * batch::TOKENS);
            arrange(x, first, len, tokens);
        }
        for (w, sums) in w.chunks_exact(n_groups * W::BYTES).zip(&mut sums) {
            // SAFETY: the slab lies within the row.
            unsafe { unpack::<W>(w.as_ptr().add(first * W::BYTES), len, &mut panel) };
            for (tokens, sums) in tokens[..n_blocks].iter().zip(sums) {
                // SAFETY: panel and tokens hold the slab, and the caller vouches for the feature.
                unsafe { add_products(&panel, tokens, len, sums) };
            }
        }
    }
    let n_row_groups = w.len() / (n_groups * W::BYTES);
    for (group, sums) in sums[..n_row_groups].iter().enumerate() {
        for (block, sums) in sums[..n_blocks].iter().enumerate() {
            for pair in 0..batch::TOKENS / 2 {
                let [a, b, c, d] = core::array::from_fn(|rows| load_f32x4(&sums[rows][pair]));
                let tokens = [[vuzp1q_f32(a, b), vuzp1q_f32(c, d)], [vuzp2q_f32(a, b), vuzp2q_f32(c, d)]];
                for (t, sums) in tokens.into_iter().enumerate() {
                    let out = out.token(token + block * batch::TOKENS + 2 * pair + t);
                    if let Some(out) = out[row + group * ROWS..].first_chunk_mut() {
                        store_f32x8(out, sums);
                    }
                }
            }
        }
    }
}

/// Arranges `len` groups of four tokens from group `first` on.
#[target_feature(enable = "neon")]
#[inline]
fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut Tokens) {
    let n_groups = x.cols / 32;
    for (group, (quants, scales)) in out.quants.iter_mut().zip(&mut out.scales).take(len).enumerate() {
        for (pair, (quants, scales)) in quants.iter_mut().zip(scales).enumerate() {
            let at = [2 * pair, 2 * pair + 1].map(|t| t * n_groups + first + group);
            let [a, b] = at.map(|at| {
                let (halves, _) = x.quants[32 * at..32 * (at + 1)].as_chunks::<16>();
                [&halves[0], &halves[1]].map(|half| {
                    // SAFETY: reads the 16 quants.
                    vreinterpretq_u64_u8(unsafe { load_16::<0>(half.as_ptr().cast()) })
                })
            });
            let columns = [
                vzip1q_u64(a[0], b[0]),
                vzip2q_u64(a[0], b[0]),
                vzip1q_u64(a[1], b[1]),
                vzip2q_u64(a[1], b[1]),
            ];
            for (out, columns) in quants.iter_mut().zip(columns) {
                store_16(out, vreinterpretq_u8_u64(columns));
            }
            let [a, b] = at.map(|at| x.scales[at]);
            *scales = [a, b, a, b];
        }
    }
}

/// Unpacks `len` groups of eight rows.
///
/// # Safety
///
/// Their blocks must be readable at `w`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn unpack<W: Weights32>(mut w: *const u8, len: usize, panel: &mut Panel) {
    for (quants, scales) in panel.quants.iter_mut().zip(&mut panel.scales).take(len) {
        // SAFETY: the caller vouches for the blocks.
        let group = unsafe { W::next(&mut w) };
        for (four, (quants, scales)) in quants.as_chunks_mut::<2>().0.iter_mut().zip(scales).enumerate() {
            let own = group.scales[four];
            store_f32x8(scales, [vzip1q_f32(own, own), vzip2q_f32(own, own)]);
            for columns in 0..4 {
                let [a, b] = [2 * columns, 2 * columns + 1]
                    .map(|unit| vreinterpretq_u32_s8(W::shifted_back(group.quants[unit][four])));
                // Units of four columns of four rows become eight columns of two.
                for (pair, both) in quants.iter_mut().zip([vzip1q_u32(a, b), vzip2q_u32(a, b)]) {
                    let out = &mut pair[columns / 2].as_chunks_mut::<16>().0[columns % 2];
                    store_16(out, vreinterpretq_u8_u32(both));
                }
            }
        }
    }
}

/// The products of a pair of rows, whose sums lie in `$first` and `$second`.
macro_rules! rows {
    ($first:literal, $second:literal) => {
        concat!(
            "ld1 {{v8.16b, v9.16b, v10.16b, v11.16b}}, [{w}], #64\n",
            "ldr q14, [{d}], #16\n",
            "movi v16.2d, #0\n",
            "movi v17.2d, #0\n",
            "smmla v16.4s, v8.16b, v0.16b\n",
            "smmla v17.4s, v8.16b, v4.16b\n",
            "smmla v16.4s, v9.16b, v1.16b\n",
            "smmla v17.4s, v9.16b, v5.16b\n",
            "smmla v16.4s, v10.16b, v2.16b\n",
            "smmla v17.4s, v10.16b, v6.16b\n",
            "smmla v16.4s, v11.16b, v3.16b\n",
            "smmla v17.4s, v11.16b, v7.16b\n",
            "fmul v18.4s, v14.4s, v12.4s\n",
            "fmul v19.4s, v14.4s, v13.4s\n",
            "scvtf v16.4s, v16.4s\n",
            "scvtf v17.4s, v17.4s\n",
            "fmla ",
            $first,
            ".4s, v16.4s, v18.4s\n",
            "fmla ",
            $second,
            ".4s, v17.4s, v19.4s\n",
        )
    };
}

/// Adds the products of `len` groups to the sums.
///
/// # Safety
///
/// `len` is neither 0 nor above [`SLAB`], and the CPU must have FEAT_I8MM.
#[inline]
unsafe fn add_products(panel: &Panel, tokens: &Tokens, len: usize, sums: &mut Sums) {
    // SAFETY: reads `len` groups of the panel and of the tokens, and reads and writes the sums.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "ldp q24, q25, [{sums}]",
            "ldp q26, q27, [{sums}, #32]",
            "ldp q28, q29, [{sums}, #64]",
            "ldp q30, q31, [{sums}, #96]",
            "2:",
            "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{x}], #64",
            "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{x}], #64",
            "ldp q12, q13, [{x_scales}], #32",
            rows!("v24", "v25"),
            rows!("v26", "v27"),
            rows!("v28", "v29"),
            rows!("v30", "v31"),
            "subs {len}, {len}, #1",
            "b.ne 2b",
            "stp q24, q25, [{sums}]",
            "stp q26, q27, [{sums}, #32]",
            "stp q28, q29, [{sums}, #64]",
            "stp q30, q31, [{sums}, #96]",
            w = inout(reg) panel.quants.as_ptr() => _,
            d = inout(reg) panel.scales.as_ptr() => _,
            x = inout(reg) tokens.quants.as_ptr() => _,
            x_scales = inout(reg) tokens.scales.as_ptr() => _,
            len = inout(reg) len => _,
            sums = in(reg) sums.as_mut_ptr(),
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}

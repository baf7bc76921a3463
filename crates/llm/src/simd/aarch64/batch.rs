//! Integer products of packed weights with many tokens.
//!
//! The weights of eight rows are unpacked to bytes once for all tokens of a tile, a slab of columns
//! at a time so that they stay in the first-level cache. Four tokens at a time then share each load
//! of them: eight rows times four tokens take all 32 vector registers, so the loop is written out.

use super::load::{store_32, store_f32x8};
use super::packed::{ROWS, Weights32};
use crate::simd::{Q8, tiles::Tile};
use core::arch::{aarch64::*, asm};

/// Tokens that share each load of weights.
pub const TOKENS: usize = 4;

/// Groups of 32 columns in a slab.
const SLAB: usize = 32;

/// Tokens for which weights are unpacked once.
const MAX_TOKENS: usize = 64;

/// Unpacked weights of eight rows.
#[repr(C, align(64))]
struct Panel {
    /// For each group of 32 columns four pairs of units of the first four rows, then of the second.
    quants: [[[u8; 32]; 8]; SLAB],
    /// For each group the rows' scales.
    scales: [[f32; ROWS]; SLAB],
}

/// The product of a tile of whole groups of rows with a multiple of [`TOKENS`] tokens.
///
/// # Safety
///
/// `w` must hold the blocks of the tile's rows, `x` its tokens, and the CPU must have FEAT_DotProd.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn product<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    for token in (0..x.n_tokens()).step_by(MAX_TOKENS) {
        let tokens = token..x.n_tokens().min(token + MAX_TOKENS);
        // SAFETY: what the caller vouches for.
        unsafe { some_tokens::<W>(w, x.tokens(tokens), token, out) };
    }
}

/// As [`product`] for the tokens from number `token` of the tile on, at most [`MAX_TOKENS`].
///
/// # Safety
///
/// As for [`product`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn some_tokens<W: Weights32>(w: &[u8], x: Q8<'_>, token: usize, out: &mut Tile<'_>) {
    let n_groups = x.cols / 32;
    let mut panel = Panel { quants: [[[0; 32]; 8]; SLAB], scales: [[0.0; ROWS]; SLAB] };
    let mut x_scales = [[[0.0; TOKENS]; SLAB]; MAX_TOKENS / TOKENS];
    for first in (0..n_groups).step_by(SLAB) {
        let len = SLAB.min(n_groups - first);
        for (block, x_scales) in x_scales[..x.n_tokens() / TOKENS].iter_mut().enumerate() {
            for (t, scales) in x.scales[block * TOKENS * n_groups..].chunks(n_groups).take(TOKENS).enumerate()
            {
                for (out, &scale) in x_scales.iter_mut().zip(&scales[first..first + len]) {
                    out[t] = scale;
                }
            }
        }
        for (index, w) in w.chunks_exact(n_groups * W::BYTES).enumerate() {
            // SAFETY: the slab lies within the row.
            unsafe { unpack::<W>(w.as_ptr().add(first * W::BYTES), len, &mut panel) };
            for (block, x_scales) in x_scales[..x.n_tokens() / TOKENS].iter().enumerate() {
                let sums = core::array::from_fn(|t| {
                    let sums = &mut out.token(token + block * TOKENS + t)[index * ROWS..][..ROWS];
                    if first == 0 {
                        sums.fill(0.0);
                    }
                    sums.as_mut_ptr()
                });
                // SAFETY: the slab lies within the tokens, and the caller vouches for the feature.
                unsafe {
                    let quants = x.quants.as_ptr().add(block * TOKENS * x.cols + 32 * first);
                    let quants = core::array::from_fn(|t| quants.add(t * x.cols));
                    add_products(&panel, x_scales, quants, len, sums);
                }
            }
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
        store_f32x8(scales, group.scales);
        for (index, pair) in quants.iter_mut().enumerate() {
            let (half, unit) = (index / 4, 2 * (index % 4));
            let bytes = |unit: usize| vreinterpretq_u8_s8(W::shifted_back(group.quants[unit][half]));
            store_32(pair, [bytes(unit), bytes(unit + 1)]);
        }
    }
}

/// The products of one token, whose quants lie at `$x` and sums in `$first` and `$second`.
macro_rules! token {
    ($x:literal, $lane:literal, $first:literal, $second:literal) => {
        concat!(
            "ldp q19, q20, [{",
            $x,
            "}], #32\n",
            "movi v21.2d, #0\n",
            "movi v22.2d, #0\n",
            "sdot v21.4s, v0.16b, v19.4b[0]\n",
            "sdot v22.4s, v8.16b, v19.4b[0]\n",
            "sdot v21.4s, v1.16b, v19.4b[1]\n",
            "sdot v22.4s, v9.16b, v19.4b[1]\n",
            "sdot v21.4s, v2.16b, v19.4b[2]\n",
            "sdot v22.4s, v10.16b, v19.4b[2]\n",
            "sdot v21.4s, v3.16b, v19.4b[3]\n",
            "sdot v22.4s, v11.16b, v19.4b[3]\n",
            "sdot v21.4s, v4.16b, v20.4b[0]\n",
            "sdot v22.4s, v12.16b, v20.4b[0]\n",
            "sdot v21.4s, v5.16b, v20.4b[1]\n",
            "sdot v22.4s, v13.16b, v20.4b[1]\n",
            "sdot v21.4s, v6.16b, v20.4b[2]\n",
            "sdot v22.4s, v14.16b, v20.4b[2]\n",
            "sdot v21.4s, v7.16b, v20.4b[3]\n",
            "sdot v22.4s, v15.16b, v20.4b[3]\n",
            "fmul v23.4s, v16.4s, v18.s[",
            $lane,
            "]\n",
            "scvtf v21.4s, v21.4s\n",
            "fmla ",
            $first,
            ".4s, v21.4s, v23.4s\n",
            "fmul v23.4s, v17.4s, v18.s[",
            $lane,
            "]\n",
            "scvtf v22.4s, v22.4s\n",
            "fmla ",
            $second,
            ".4s, v22.4s, v23.4s\n",
        )
    };
}

/// Adds the products of `len` groups with four tokens to their sums, eight each.
///
/// # Safety
///
/// `len`, which is not 0, groups must be readable for each token, and eight sums writable; the CPU
/// must have FEAT_DotProd.
#[inline]
unsafe fn add_products(
    panel: &Panel,
    x_scales: &[[f32; TOKENS]; SLAB],
    quants: [*const i8; TOKENS],
    len: usize,
    sums: [*mut f32; TOKENS],
) {
    // SAFETY: reads `len` groups of the panel, of the scales and of the tokens, and writes the sums.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "ldp q24, q25, [{s0}]",
            "ldp q26, q27, [{s1}]",
            "ldp q28, q29, [{s2}]",
            "ldp q30, q31, [{s3}]",
            "2:",
            "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w}], #64",
            "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w}], #64",
            "ld1 {{v8.16b, v9.16b, v10.16b, v11.16b}}, [{w}], #64",
            "ld1 {{v12.16b, v13.16b, v14.16b, v15.16b}}, [{w}], #64",
            "ldp q16, q17, [{d}], #32",
            "ldr q18, [{x_scales}], #16",
            token!("x0", "0", "v24", "v25"),
            token!("x1", "1", "v26", "v27"),
            token!("x2", "2", "v28", "v29"),
            token!("x3", "3", "v30", "v31"),
            "subs {len}, {len}, #1",
            "b.ne 2b",
            "stp q24, q25, [{s0}]",
            "stp q26, q27, [{s1}]",
            "stp q28, q29, [{s2}]",
            "stp q30, q31, [{s3}]",
            w = inout(reg) panel.quants.as_ptr() => _,
            d = inout(reg) panel.scales.as_ptr() => _,
            x_scales = inout(reg) x_scales.as_ptr() => _,
            x0 = inout(reg) quants[0] => _,
            x1 = inout(reg) quants[1] => _,
            x2 = inout(reg) quants[2] => _,
            x3 = inout(reg) quants[3] => _,
            len = inout(reg) len => _,
            s0 = in(reg) sums[0],
            s1 = in(reg) sums[1],
            s2 = in(reg) sums[2],
            s3 = in(reg) sums[3],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}

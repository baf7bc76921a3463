//! Integer products of packed weights with AVX-512 VNNI: each lane belongs to one row, so no sum is spread over lanes.
//!
//! A unit of a [`Packing`] is four bytes of a row. A vector of weights holds a unit of each of sixteen rows, and `VPDPBUSD`
//! multiplies all of them with the same four activations, broadcast from memory.

use super::packed32::{IQ4NL, MXFP4, Of32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use super::packed256::{IQ4XS, Of256, Q4K, Q5K, Q6K};
use super::rows::{ROWS, Rows16};
use crate::blocks::{GgmlType, Packing};
use crate::simd::table::PackedTileFn;
use crate::simd::{Q8, tiles::Tile};
use core::arch::x86_64::*;

/// The most tokens that share each group of unpacked weights.
const MAX_TOKENS: usize = 8;

pub static PACKING: Packing = Packing {
    name: "avx512-vnni",
    rows: ROWS,
    signed_nibbles: false,
    unsigned_bytes: true,
    fast_pack: None,
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
        GgmlType::IQ4_XS,
    ],
};

pub fn product(ty: GgmlType) -> Option<PackedTileFn> {
    Some(match ty {
        GgmlType::Q4_0 => tile::<Of32<Q4_0>>,
        GgmlType::Q4_1 => tile::<Of32<Q4_1>>,
        GgmlType::Q5_0 => tile::<Of32<Q5_0>>,
        GgmlType::Q5_1 => tile::<Of32<Q5_1>>,
        GgmlType::Q8_0 => tile::<Of32<Q8_0>>,
        GgmlType::IQ4_NL => tile::<Of32<IQ4NL>>,
        GgmlType::MXFP4 => tile::<Of32<MXFP4>>,
        GgmlType::Q4_K => tile::<Of256<Q4K>>,
        GgmlType::Q5_K => tile::<Of256<Q5K>>,
        GgmlType::Q6_K => tile::<Of256<Q6K>>,
        GgmlType::IQ4_XS => tile::<Of256<IQ4XS>>,
        _ => return None,
    })
}

/// The product of a tile.
///
/// # Safety
///
/// The CPU must have the set's features.
unsafe fn tile<R: Rows16>(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
    let n_blocks = x.cols / R::LEN;
    let group_bytes = n_blocks * R::BYTES;
    assert_eq!(w.len(), (skipped_rows + out.rows().len()).div_ceil(ROWS) * group_bytes);
    let n_tokens = x.n_tokens();
    for (index, w) in w.chunks_exact(group_bytes).enumerate() {
        let mut token = 0;
        while token < n_tokens {
            let place = Place { group: index, skipped_rows, token };
            // SAFETY: `w` holds `n_blocks` blocks of sixteen rows, `x` the tokens; the caller guarantees the features.
            token += unsafe {
                match n_tokens - token {
                    1 => some_tokens::<R, 1>(w, n_blocks, x, place, out),
                    2 | 3 => some_tokens::<R, 2>(w, n_blocks, x, place, out),
                    4..MAX_TOKENS => some_tokens::<R, 4>(w, n_blocks, x, place, out),
                    _ => some_tokens::<R, MAX_TOKENS>(w, n_blocks, x, place, out),
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
/// As for [`Rows16::product`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn some_tokens<R: Rows16, const T: usize>(
    w: &[u8],
    n_blocks: usize,
    x: Q8<'_>,
    place: Place,
    out: &mut Tile<'_>,
) -> usize {
    // SAFETY: the caller guarantees the blocks and the features; the slice of `x` holds `T` tokens.
    let sums = unsafe { R::product::<T>(w.as_ptr(), n_blocks, x.tokens(place.token..place.token + T)) };
    for (t, sums) in sums.into_iter().enumerate() {
        let mut rows = [0.0; ROWS];
        // SAFETY: writes only the sixteen floats of `rows`.
        unsafe { _mm512_storeu_ps(rows.as_mut_ptr(), sums) };
        let rows = if place.group == 0 { &rows[place.skipped_rows..] } else { &rows };
        let out = &mut out.token(place.token + t)[(place.group * ROWS).saturating_sub(place.skipped_rows)..];
        let n = rows.len().min(out.len());
        out[..n].copy_from_slice(&rows[..n]);
    }
    T
}

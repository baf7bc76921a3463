//! Integer products of packed weights with AVX-512 VNNI: a lane for each of sixteen rows, no sum
//! spread over lanes.
//!
//! Each unit of a [`Packing`] is four bytes of a row, so a vector of weights is a unit of sixteen
//! rows, and `VPDPBUSD` multiplies all of them with the same four activations, broadcast from memory.

use crate::blocks::GgmlType;
use crate::quant::{Packing, interleave_2, interleave_4};
use crate::simd::{PackedTileFn, Q8, tiles::Tile};
use core::arch::x86_64::*;

/// Rows in a group.
const ROWS: usize = 16;

/// Tokens that share each group of unpacked weights.
const MAX_TOKENS: usize = 8;

pub static PACKING: Packing = Packing {
    name: "avx512-vnni",
    rows: ROWS,
    signed_nibbles: false,
    unsigned_bytes: true,
    interleave_4,
    interleave_2,
    types: &[
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q8_0,
        GgmlType::Q4_K,
        GgmlType::Q5_K,
        GgmlType::Q6_K,
    ],
};

pub fn product(ty: GgmlType) -> Option<PackedTileFn> {
    Some(match ty {
        GgmlType::Q4_0 => tile::<Of32<Q4_0>>,
        GgmlType::Q4_1 => tile::<Of32<Q4_1>>,
        GgmlType::Q5_0 => tile::<Of32<Q5_0>>,
        GgmlType::Q5_1 => tile::<Of32<Q5_1>>,
        GgmlType::Q8_0 => tile::<Of32<Q8_0>>,
        GgmlType::Q4_K => tile::<Of256<Q4K>>,
        GgmlType::Q5_K => tile::<Of256<Q5K>>,
        GgmlType::Q6_K => tile::<Of256<Q6K>>,
        _ => return None,
    })
}

/// The product of sixteen rows with some tokens, for one kind of blocks.
trait Rows16 {
    /// Weights of a block.
    const LEN: usize;
    /// Bytes of the blocks of all sixteen rows.
    const BYTES: usize;

    /// Sixteen rows times `T` tokens.
    ///
    /// # Safety
    ///
    /// The blocks of `n_blocks` groups must be readable at `w`, `x` must hold `T` tokens of as many
    /// weights, and the CPU must have the features.
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T];
}

/// The product of a tile.
fn tile<R: Rows16>(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
    let n_blocks = x.cols / R::LEN;
    let group_bytes = n_blocks * R::BYTES;
    assert_eq!(w.len(), (skipped_rows + out.rows().len()).div_ceil(ROWS) * group_bytes);
    let n_tokens = x.n_tokens();
    for (index, w) in w.chunks_exact(group_bytes).enumerate() {
        let mut token = 0;
        while token < n_tokens {
            let place = Place { group: index, skipped_rows, token };
            // SAFETY: `w` holds `n_blocks` blocks of sixteen rows, `x` the tokens; only the table of the
            // set names this function, and who holds that has made sure of the features.
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

/// Which outputs are computed.
#[derive(Clone, Copy)]
struct Place {
    group: usize,
    skipped_rows: usize,
    token: usize,
}

/// Computes and writes the sums of `T` tokens, and returns how many these are.
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
    // SAFETY: the caller vouches for rows, tokens and features.
    let sums = unsafe { R::product::<T>(w.as_ptr(), n_blocks, x.tokens(place.token..place.token + T)) };
    for (t, sums) in sums.into_iter().enumerate() {
        let mut rows = [0.0; ROWS];
        // SAFETY: writes the sixteen floats.
        unsafe { _mm512_storeu_ps(rows.as_mut_ptr(), sums) };
        let rows = if place.group == 0 { &rows[place.skipped_rows..] } else { &rows };
        let out = &mut out.token(place.token + t)[(place.group * ROWS).saturating_sub(place.skipped_rows)..];
        let n = rows.len().min(out.len());
        out[..n].copy_from_slice(&rows[..n]);
    }
    T
}

/// Units of sixteen rows: 64 bytes.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn unit(p: *const u8) -> __m512i {
    // SAFETY: the caller vouches for the bytes.
    unsafe { _mm512_loadu_si512(p.cast()) }
}

/// Sixteen f16 values.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn halves(p: *const u8) -> __m512 {
    // SAFETY: the caller vouches for the bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn low_nibbles(v: __m512i) -> __m512i {
    _mm512_and_si512(v, _mm512_set1_epi8(0xf))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn high_nibbles(v: __m512i) -> __m512i {
    low_nibbles(_mm512_srli_epi16::<4>(v))
}

/// Bit `from` of each byte as bit 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn fifth_bits(v: __m512i, from: usize) -> __m512i {
    let v = if from <= 4 {
        _mm512_sllv_epi16(v, _mm512_set1_epi16(4 - from as i16))
    } else {
        _mm512_srlv_epi16(v, _mm512_set1_epi16(from as i16 - 4))
    };
    _mm512_and_si512(v, _mm512_set1_epi8(0x10))
}

/// For sixteen rows the products of `4 * w.len()` weights with the activations at `x`, added to
/// `start`.
///
/// # Safety
///
/// The activations must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn dots(start: i32, w: &[__m512i], x: *const i8) -> __m512i {
    let mut dots = _mm512_set1_epi32(start);
    for (i, &w) in w.iter().enumerate() {
        // SAFETY: the caller vouches for the activations.
        let x = unsafe { x.add(4 * i).cast::<i32>().read_unaligned() };
        dots = _mm512_dpbusd_epi32(dots, w, _mm512_set1_epi32(x));
    }
    dots
}

/// 32 weights of each of sixteen rows.
struct Groups {
    /// Four of each row, as unsigned bytes.
    quants: [__m512i; 8],
    scales: __m512,
    mins: __m512,
}

/// How to load packed weights that have a scale for each 32 of them.
trait Weights32 {
    /// Bytes of the blocks of all sixteen rows.
    const BYTES: usize;
    /// What is to be subtracted from every integer.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;

    /// Loads the blocks at `p`.
    ///
    /// # Safety
    ///
    /// They must be readable, and the CPU must have the features.
    unsafe fn load(p: *const u8) -> Groups;
}

/// Rows of such weights.
struct Of32<W>(W);

impl<W: Weights32> Rows16 for Of32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T] {
        let mut sums = [_mm512_setzero_ps(); T];
        for block in 0..n_blocks {
            // SAFETY: the loop visits each block of the rows and each group of the tokens once; the
            // strides between tokens are `cols` quants and `n_blocks` scales and sums.
            unsafe {
                let w = W::load(w.add(block * W::BYTES));
                for (t, sum) in sums.iter_mut().enumerate() {
                    let at = t * n_blocks + block;
                    let x_sum = *x.sums.as_ptr().add(at);
                    let dots = dots(-W::OFFSET * x_sum, &w.quants, x.quants.as_ptr().add(32 * at));
                    let scale = _mm512_set1_ps(*x.scales.as_ptr().add(at));
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(w.scales, scale), *sum);
                    if W::MINS {
                        let x_sum = _mm512_set1_ps(x_sum as f32);
                        *sum = _mm512_fmadd_ps(x_sum, _mm512_mul_ps(w.mins, scale), *sum);
                    }
                }
            }
        }
        sums
    }
}

/// The nibbles of sixteen rows at `p`: four low ones of each row, and so on, then the high ones.
///
/// # Safety
///
/// The codes must be readable, and the CPU must have the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn nibbles(p: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller vouches for the four units.
    let codes: [_; 4] = core::array::from_fn(|i| unsafe { unit(p.add(64 * i)) });
    core::array::from_fn(|i| if i < 4 { low_nibbles(codes[i]) } else { high_nibbles(codes[i - 4]) })
}

struct Q4_0;

impl Weights32 for Q4_0 {
    const BYTES: usize = ROWS * 18;
    const OFFSET: i32 = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, then the codes.
        unsafe { Groups { quants: nibbles(p.add(32)), scales: halves(p), mins: _mm512_setzero_ps() } }
    }
}

struct Q4_1;

impl Weights32 for Q4_1 {
    const BYTES: usize = ROWS * 20;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales and minimums, then the codes.
        unsafe { Groups { quants: nibbles(p.add(64)), scales: halves(p), mins: halves(p.add(32)) } }
    }
}

/// As [`nibbles`], with the fifth bits of sixteen rows, a unit, at `bits`.
///
/// # Safety
///
/// As for [`nibbles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn five_bits(p: *const u8, bits: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller vouches for the bytes.
    let (low, bits) = unsafe { (nibbles(p), unit(bits)) };
    core::array::from_fn(|i| _mm512_or_si512(low[i], fifth_bits(bits, i)))
}

struct Q5_0;

impl Weights32 for Q5_0 {
    const BYTES: usize = ROWS * 22;
    const OFFSET: i32 = 16;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, the fifth bits, then the codes.
        unsafe {
            let quants = five_bits(p.add(96), p.add(32));
            Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
        }
    }
}

struct Q5_1;

impl Weights32 for Q5_1 {
    const BYTES: usize = ROWS * 24;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales and minimums, the fifth bits, then the codes.
        unsafe {
            let quants = five_bits(p.add(128), p.add(64));
            Groups { quants, scales: halves(p), mins: halves(p.add(32)) }
        }
    }
}

struct Q8_0;

impl Weights32 for Q8_0 {
    const BYTES: usize = ROWS * 34;
    const OFFSET: i32 = 128;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, then eight units.
        unsafe {
            let quants = core::array::from_fn(|i| unit(p.add(32 + 64 * i)));
            Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
        }
    }
}

/// How to load packed weights that have integer scales under a scale for each 256 of them.
trait Weights256 {
    /// Bytes of the blocks of all sixteen rows.
    const BYTES: usize;
    /// What is to be subtracted from every integer.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether each 16 weights have an integer scale, instead of each 32.
    const HALVES: bool = false;

    /// Loads weights `32 * j` to `32 * j + 31` of the blocks at `p`.
    ///
    /// # Safety
    ///
    /// They must be readable, `j` below 8, and the CPU must have the features; also below.
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8];

    /// The integer scales of the two halves of these weights.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2];

    /// The integer minimums of these weights.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn mins(p: *const u8, j: usize) -> __m512i;

    /// The scales of the scales and of the minimums.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn d(p: *const u8) -> [__m512; 2];
}

/// Rows of such weights.
struct Of256<W>(W);

impl<W: Weights256> Rows16 for Of256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T] {
        let mut sums = [_mm512_setzero_ps(); T];
        for block in 0..n_blocks {
            let mut products = [_mm512_setzero_si512(); T];
            let mut min_products = [_mm512_setzero_si512(); T];
            // SAFETY: the loops visit each block of the rows and each group of the tokens once; the
            // strides between tokens are `cols` quants, `n_blocks` scales and 16 times as many sums.
            unsafe {
                let w = w.add(block * W::BYTES);
                for j in 0..8 {
                    let (quants, scales) = (W::quants(w, j), W::scales(w, j));
                    for t in 0..T {
                        let at = t * n_blocks + block;
                        let quants_x = x.quants.as_ptr().add(256 * at + 32 * j);
                        let [a, b] = x.sums.as_ptr().add(16 * at + 2 * j).cast::<[i32; 2]>().read();
                        let mut add = |dots, scale| {
                            let product = _mm512_mullo_epi32(dots, scale);
                            products[t] = _mm512_add_epi32(products[t], product);
                        };
                        if W::HALVES {
                            add(dots(-W::OFFSET * a, &quants[..4], quants_x), scales[0]);
                            add(dots(-W::OFFSET * b, &quants[4..], quants_x.add(16)), scales[1]);
                        } else {
                            add(dots(-W::OFFSET * (a + b), &quants, quants_x), scales[0]);
                        }
                        if W::MINS {
                            let product = _mm512_mullo_epi32(W::mins(w, j), _mm512_set1_epi32(a + b));
                            min_products[t] = _mm512_add_epi32(min_products[t], product);
                        }
                    }
                }
                let [d, d_min] = W::d(w);
                for (t, sum) in sums.iter_mut().enumerate() {
                    let scale = _mm512_set1_ps(*x.scales.as_ptr().add(t * n_blocks + block));
                    let product = _mm512_cvtepi32_ps(products[t]);
                    *sum = _mm512_fmadd_ps(product, _mm512_mul_ps(d, scale), *sum);
                    if W::MINS {
                        let product = _mm512_cvtepi32_ps(min_products[t]);
                        *sum = _mm512_fnmadd_ps(product, _mm512_mul_ps(d_min, scale), *sum);
                    }
                }
            }
        }
        sums
    }
}

/// Byte `i` of each lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn byte(v: __m512i, i: usize) -> __m512i {
    _mm512_and_si512(_mm512_srlv_epi32(v, _mm512_set1_epi32(8 * i as i32)), _mm512_set1_epi32(0xff))
}

/// Scales or minimums of 6 bits for each 32 weights, from the three units at `p`: number `j` of those
/// whose lower four lie in unit `first`.
///
/// # Safety
///
/// The units must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn six_bits(p: *const u8, first: usize, j: usize) -> __m512i {
    // SAFETY: the caller vouches for the units.
    let (own, last) = unsafe { (unit(p.add(64 * first)), unit(p.add(128))) };
    if j < 4 {
        return _mm512_and_si512(byte(own, j), _mm512_set1_epi32(0x3f));
    }
    let last = if first == 0 { last } else { _mm512_srli_epi32::<4>(last) };
    let low = _mm512_and_si512(byte(last, j - 4), _mm512_set1_epi32(0xf));
    let high = _mm512_and_si512(_mm512_srli_epi32::<2>(byte(own, j - 4)), _mm512_set1_epi32(0x30));
    _mm512_or_si512(low, high)
}

/// The nibbles of weights `32 * j` to `32 * j + 31` in pairs of 32 under the same bytes.
///
/// # Safety
///
/// The codes must be readable, and `j` below 8.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn paired_nibbles(p: *const u8, j: usize) -> [__m512i; 8] {
    core::array::from_fn(|i| {
        // SAFETY: the caller vouches for the codes.
        let codes = unsafe { unit(p.add(64 * (8 * (j / 2) + i))) };
        if j.is_multiple_of(2) { low_nibbles(codes) } else { high_nibbles(codes) }
    })
}

struct Q4K;

impl Weights256 for Q4K {
    const BYTES: usize = ROWS * 144;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // SAFETY: the codes lie behind the two scales and 12 bytes of scales and minimums of each row.
        unsafe { paired_nibbles(p.add(ROWS * 16), j) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2] {
        // SAFETY: the units lie behind the two scales.
        [unsafe { six_bits(p.add(ROWS * 4), 0, j) }; 2]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn mins(p: *const u8, j: usize) -> __m512i {
        // SAFETY: as above.
        unsafe { six_bits(p.add(ROWS * 4), 1, j) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn d(p: *const u8) -> [__m512; 2] {
        // SAFETY: a block begins with the two.
        unsafe { [halves(p), halves(p.add(ROWS * 2))] }
    }
}

struct Q5K;

impl Weights256 for Q5K {
    const BYTES: usize = ROWS * 176;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // SAFETY: the fifth bits lie behind scales and minimums, the codes behind 32 bytes of them.
        unsafe {
            let low = paired_nibbles(p.add(ROWS * 48), j);
            core::array::from_fn(|i| _mm512_or_si512(low[i], fifth_bits(unit(p.add(ROWS * 16 + 64 * i)), j)))
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2] {
        // SAFETY: as for Q4_K.
        unsafe { Q4K::scales(p, j) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn mins(p: *const u8, j: usize) -> __m512i {
        // SAFETY: as for Q4_K.
        unsafe { Q4K::mins(p, j) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn d(p: *const u8) -> [__m512; 2] {
        // SAFETY: as for Q4_K.
        unsafe { Q4K::d(p) }
    }
}

struct Q6K;

impl Weights256 for Q6K {
    const BYTES: usize = ROWS * 210;
    const OFFSET: i32 = 32;
    const HALVES: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // Of 128 weights the first and second 32 lie in the lower nibbles, the others in the upper.
        let (part, s) = (j / 4, j % 4);
        core::array::from_fn(|i| {
            // SAFETY: 128 bytes of lower bits, then 64 bytes of upper ones, of each row.
            let (low, high) = unsafe {
                let low = unit(p.add(64 * (16 * part + 8 * (s % 2) + i)));
                (low, unit(p.add(ROWS * 128 + 64 * (8 * part + i))))
            };
            let low = if s < 2 { low_nibbles(low) } else { high_nibbles(low) };
            let high = match s {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(0x30)))
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2] {
        // SAFETY: behind lower and upper bits, four scales in each unit.
        let scales = unsafe { unit(p.add(ROWS * 192 + 64 * (j / 2))) };
        [2 * (j % 2), 2 * (j % 2) + 1].map(|i| {
            let moved = _mm512_sllv_epi32(scales, _mm512_set1_epi32(24 - 8 * i as i32));
            _mm512_srai_epi32::<24>(moved)
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn mins(_p: *const u8, _j: usize) -> __m512i {
        _mm512_setzero_si512()
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn d(p: *const u8) -> [__m512; 2] {
        // SAFETY: the scale of the scales comes last.
        [unsafe { halves(p.add(ROWS * 208)) }, _mm512_setzero_ps()]
    }
}

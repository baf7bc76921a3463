//! Packed weights times many tokens with `SMMLA`: two rows times two tokens, eight columns at once.
//!
//! Weights and activations are arranged in pairs: eight bytes of one row or token, then eight of the other. A vector of sums
//! holds those of two rows and two tokens, the first row's first.
//!
//! Neighbours: [`smmla256`](super::smmla256) has the loop for blocks of 256.

use super::asm::{add_groups, asm_writing, fours, next_four, smmla, sums, two_at, zeros};
use super::load::{append_32, append_f32x8, load_f32x8, next_32, next_f32, next_i32, store_f32x8};
use super::many_tokens::{ManyTokens, SLAB_32, Slab, Sums, TOKENS};
use super::rows::{Fcvtl, Weights32, without_offset};
use crate::simd::Q8;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Appends 32 weights of eight rows, less `offset`, in pairs of rows.
///
/// # Safety
///
/// 256 bytes must be writable at `out`.
#[target_feature(enable = "neon")]
#[inline]
pub unsafe fn append_pairs(quants: [[int8x16_t; 2]; 8], offset: u8, out: &mut *mut u8) {
    let quants = without_offset(quants, offset);
    for half in 0..2 {
        // From units, four columns of four rows, to eight columns of two rows.
        let units = quants.map(|unit| vreinterpretq_u32_s8(unit[half]));
        let pairs = units.as_chunks::<2>().0;
        let columns: [[uint32x4_t; 2]; 4] = core::array::from_fn(|i| {
            [vzip1q_u32(pairs[i][0], pairs[i][1]), vzip2q_u32(pairs[i][0], pairs[i][1])]
        });
        for pair in 0..2 {
            for two in columns.as_chunks::<2>().0 {
                // SAFETY: these are the next 32 of the 256 bytes that the caller guarantees.
                unsafe { append_32(out, two.map(|v| vreinterpretq_u8_u32(v[pair]))) };
            }
        }
    }
}

/// Appends the next 32 activations of four tokens in pairs of tokens, and advances the pointers `x`.
///
/// # Safety
///
/// They must be readable, and 128 bytes writable at `out`.
#[target_feature(enable = "neon")]
#[inline]
pub unsafe fn append_tokens(x: &mut [*const u8; TOKENS], out: &mut *mut u8) {
    for pair in x.as_chunks_mut::<2>().0 {
        // SAFETY: the caller guarantees the activations and 128 writable bytes.
        unsafe {
            let [a, b] = pair.each_mut().map(|x| next_32(x).map(|v| vreinterpretq_u64_u8(v)));
            for half in 0..2 {
                let columns = [vzip1q_u64(a[half], b[half]), vzip2q_u64(a[half], b[half])];
                append_32(out, columns.map(|v| vreinterpretq_u8_u64(v)));
            }
        }
    }
}

/// `[a, b, a, b]` of the first lanes.
#[target_feature(enable = "neon")]
#[inline]
fn in_turn(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    let both = vreinterpretq_f64_f32(vzip1q_f32(a, b));
    vreinterpretq_f32_f64(vzip1q_f64(both, both))
}

/// Appends the next scale of each of four tokens, times `factor`, in pairs of tokens, and advances the pointers.
///
/// # Safety
///
/// They must be readable, and 32 bytes writable at `out`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn append_scaled(scales: &mut [*const f32; TOKENS], factor: f32, out: &mut *mut u8) {
    // SAFETY: the caller guarantees the scales and 32 writable bytes.
    unsafe {
        let [a, b, c, d] = scales.each_mut().map(|p| next_f32(p));
        append_f32x8(out, [in_turn(a, b), in_turn(c, d)].map(|scales| vmulq_n_f32(scales, factor)));
    }
}

/// Each lane twice: `[a, a, b, b]` and `[c, c, d, d]`.
#[target_feature(enable = "neon")]
#[inline]
pub fn twice(v: float32x4_t) -> [float32x4_t; 2] {
    [vzip1q_f32(v, v), vzip2q_f32(v, v)]
}

/// The factor of activations' scales.
///
/// If weights are [`SMALL`](Weights32::SMALL), integer sums start at the bits of the float 1.5, whose lowest bit is 2^-23. So a
/// sum `n` reads as the float 1.5 + `n` · 2^-23. An `FMLA` multiplies it by the scale times 2^23 and adds [`token_start`] times
/// the scale, which takes the 1.5 off again. This rounds nothing, just as converting the integers would not.
pub const fn token_unit<W: Weights32>() -> f32 {
    match W::SMALL {
        true => {
            // Below this bound, 1.5 + `n` · 2^-23 is between 1 and 2, where the lowest bit of a float is 2^-23.
            assert!((W::LARGEST * 127 * 32) as f32 / W::UNIT < (1 << 22) as f32);
            W::UNIT * (1 << 23) as f32
        }
        false => W::UNIT,
    }
}

/// The factor of activations' scales that takes the 1.5 off again; see [`token_unit`].
pub const fn token_start<W: Weights32>() -> f32 {
    -1.5 * token_unit::<W>()
}

/// Products of packed blocks of 32.
pub struct Smmla32<W>(PhantomData<W>);

/// Bytes of a group: scales, quants, minimums.
const GROUP_BYTES: usize = 64 + 256 + 64;

/// Unpacked groups, one after another; if there are no minimums, no room is left for them.
#[repr(C, align(64))]
pub struct Panel32([u8; SLAB_32 * GROUP_BYTES]);

/// Groups of four tokens, one after another. A group has the scales, the sums if there are minimums, the quants, and, if
/// weights are [`SMALL`](Weights32::SMALL) without minimums, [`token_start`] times the scales: each for one pair of tokens,
/// then for the other. Without minimums the last groups, which the loop takes four at a time, are in twos, the scales of both
/// groups first.
#[repr(C, align(64))]
pub struct Tokens32([u8; SLAB_32 * (128 + 32 + 32)]);

/// Adds the integer products of a pair of rows, 32 columns, with both pairs of tokens to v16 and v17.
macro_rules! integers {
    () => {
        concat!(
            smmla!("v16" "v8" "v0"), smmla!("v17" "v8" "v4"), smmla!("v16" "v9" "v1"), smmla!("v17" "v9" "v5"),
            smmla!("v16" "v10" "v2"), smmla!("v17" "v10" "v6"), smmla!("v16" "v11" "v3"), smmla!("v17" "v11" "v7"),
        )
    };
}
pub(super) use integers;

/// Adds to `$first` and `$second` the products of a pair of rows (scales `$d`) and two pairs of tokens (scales `$x`, `$y`).
macro_rules! rows_32 {
    // At `$start` is [`token_start`] times the tokens' scales.
    (small $start:literal $d:literal $x:literal $y:literal $first:literal $second:literal) => {
        concat!(
            next_four!("v8" "v9" "v10" "v11" from "w"),
            "fmov v16.4s, #1.5\n",
            "fmov v17.4s, #1.5\n",
            integers!(),
            "ldp q18, q19, ", $start, "\n",
            fours!("fmla" "v18" "v16" $x),
            fours!("fmla" "v19" "v17" $y),
            fours!("fmla" $first "v18" $d),
            fours!("fmla" $second "v19" $d),
        )
    };
    ($d:literal $x:literal $y:literal $first:literal $second:literal $($mins:literal)?) => {
        concat!(
            next_four!("v8" "v9" "v10" "v11" from "w"),
            zeros!("v16" "v17"),
            integers!(),
            fours!("fmul" "v18" $d $x),
            fours!("fmul" "v19" $d $y),
            fours!("scvtf" "v16" "v16"),
            fours!("scvtf" "v17" "v17"),
            fours!("fmla" $first "v16" "v18"),
            fours!("fmla" $second "v17" "v19"),
            $(
                "ldr q8, [{w}, #", $mins, "]\n",
                fours!("fmul" "v9" "v8" "v12"),
                fours!("fmul" "v10" "v8" "v13"),
                fours!("fmla" $first "v9" "v14"),
                fours!("fmla" $second "v10" "v15"),
            )?
        )
    };
}

/// Adds the products of a group with four tokens, whose scales are in `$x` and `$y`.
macro_rules! rows_of_group_32 {
    (small $x:literal $y:literal) => {
        concat!(
            rows_of_group_32!(@load),
            rows_32!(small "[{x}]" "v20" $x $y "v24" "v25"),
            rows_32!(small "[{x}]" "v21" $x $y "v26" "v27"),
            rows_32!(small "[{x}]" "v22" $x $y "v28" "v29"),
            rows_32!(small "[{x}], #32" "v23" $x $y "v30" "v31"),
        )
    };
    (converted $x:literal $y:literal) => {
        concat!(
            rows_of_group_32!(@load),
            rows_32!("v20" $x $y "v24" "v25"),
            rows_32!("v21" $x $y "v26" "v27"),
            rows_32!("v22" $x $y "v28" "v29"),
            rows_32!("v23" $x $y "v30" "v31"),
        )
    };
    (@load) => {
        concat!(
            next_four!("v0" "v1" "v2" "v3" from "x"),
            next_four!("v4" "v5" "v6" "v7" from "x"),
            next_four!("v20" "v21" "v22" "v23" from "w"),
        )
    };
}

/// Adds the products of a group.
macro_rules! group_32 {
    (mins) => {
        concat!(
            next_four!("v12" "v13" "v14" "v15" from "x"),
            rows_of_group_32!(@load),
            // The minimums, 16 bytes for each pair of rows, follow the quants, of which each pair has read 64 more bytes.
            rows_32!("v20" "v12" "v13" "v24" "v25" "192"),
            rows_32!("v21" "v12" "v13" "v26" "v27" "144"),
            rows_32!("v22" "v12" "v13" "v28" "v29" "96"),
            rows_32!("v23" "v12" "v13" "v30" "v31" "48"),
            "add {w}, {w}, #64\n",
        )
    };
    ($kind:tt) => { concat!("ldp q12, q13, [{x}], #32\n", rows_of_group_32!($kind "v12" "v13")) };
}

/// Adds the products of two groups.
macro_rules! two_groups_32 {
    (mins) => { concat!(group_32!(mins), group_32!(mins)) };
    ($kind:tt) => {
        concat!(
            next_four!("v12" "v13" "v14" "v15" from "x"),
            rows_of_group_32!($kind "v12" "v13"),
            rows_of_group_32!($kind "v14" "v15"),
        )
    };
}

/// The loop over the groups of a slab.
macro_rules! groups_32 {
    ($panel:ident, $tokens:ident, $len:ident, $sums:ident, $kind:tt) => {
        add_groups!(
            "i8mm",
            group_32!($kind),
            concat!(two_groups_32!($kind), two_groups_32!($kind)),
            $len, $sums,
            w = inout(reg) $panel.as_ptr() => _,
            x = inout(reg) $tokens.as_ptr() => _,
        )
    };
}

/// Puts the sums of pairs of rows and tokens in the order of rows, each token's in its place.
///
/// # Safety
///
/// Eight sums of each token must be readable and writable.
#[target_feature(enable = "neon")]
#[inline]
pub unsafe fn separate(sums: Sums) {
    // SAFETY: the caller guarantees that the sums are readable.
    let pairs: [[float32x4_t; 2]; TOKENS] = sums.map(|sums| unsafe { load_f32x8(sums.cast()) });
    for (pair, out) in sums.as_chunks::<2>().0.iter().enumerate() {
        let [a, b, c, d] = pairs.map(|of_rows| of_rows[pair]);
        let tokens = [[vuzp1q_f32(a, b), vuzp1q_f32(c, d)], [vuzp2q_f32(a, b), vuzp2q_f32(c, d)]];
        for (&out, sums) in out.iter().zip(tokens) {
            // SAFETY: the caller guarantees that the sums are writable.
            store_f32x8(unsafe { &mut *out.cast() }, sums);
        }
    }
}

/// See [`ManyTokens::arrange`]; `unit` and `start` are [`token_unit`] and [`token_start`].
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn arrange_32<const MINS: bool, const SMALL: bool>(
    x: Q8<'_>,
    first: usize,
    len: usize,
    (unit, start): (f32, f32),
    out: &mut MaybeUninit<Tokens32>,
) {
    let at = |t| t * (x.cols / 32) + first;
    let mut out = out.as_mut_ptr().cast::<u8>();
    // SAFETY: the caller guarantees that the tokens have the groups, at most `SLAB_32`, for which there is room.
    unsafe {
        let mut quants = core::array::from_fn(|t| x.quants.as_ptr().add(32 * at(t)).cast::<u8>());
        let mut scales: [_; TOKENS] = core::array::from_fn(|t| x.scales.as_ptr().add(at(t)));
        let mut starts = scales;
        let mut sums: [_; TOKENS] = core::array::from_fn(|t| x.sums.as_ptr().add(at(t)));
        let mut append_scales = |out: &mut _| append_scaled(&mut scales, unit, out);
        for group in 0..len {
            if MINS {
                append_scales(&mut out);
                let [a, b, c, d] = sums.each_mut().map(|p| vcvtq_f32_s32(next_i32(p)));
                append_f32x8(&mut out, [in_turn(a, b), in_turn(c, d)]);
            } else if group < len % 4 {
                append_scales(&mut out);
            } else if group % 2 == len % 2 {
                append_scales(&mut out);
                append_scales(&mut out);
            }
            append_tokens(&mut quants, &mut out);
            if SMALL {
                append_scaled(&mut starts, start, &mut out);
            }
        }
    }
}

/// See [`ManyTokens::multiply`].
///
/// # Safety
///
/// As for [`ManyTokens::multiply`].
#[inline(never)]
unsafe fn multiply_32<const MINS: bool, const SMALL: bool>(
    panel: &MaybeUninit<Panel32>,
    tokens: &[MaybeUninit<Tokens32>],
    slab: Slab,
) {
    let add = |tokens: &MaybeUninit<Tokens32>, sums: Sums| {
        let len = slab.len;
        // SAFETY: accesses only the sums, and `len` groups of the panel and of the tokens, all guaranteed by the caller.
        unsafe {
            if MINS {
                groups_32!(panel, tokens, len, sums, mins);
            } else if SMALL {
                groups_32!(panel, tokens, len, sums, small);
            } else {
                groups_32!(panel, tokens, len, sums, converted);
            }
        }
    };
    // SAFETY: `each` requires what this function does, which includes the sums that `separate` accesses.
    unsafe { slab.each(tokens, add, |sums| separate(sums)) }
}

impl<W: Weights32> ManyTokens for Smmla32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;
    const SLAB: usize = SLAB_32;
    type Panel = Panel32;
    type Tokens = Tokens32;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Tokens32>) {
        let factors = (token_unit::<W>(), token_start::<W>());
        // SAFETY: `arrange_32` requires what `ManyTokens::arrange` does.
        unsafe {
            match (W::MINS, W::SMALL) {
                (true, _) => arrange_32::<true, false>(x, first, len, (W::UNIT, 0.0), out),
                (false, true) => arrange_32::<false, true>(x, first, len, factors, out),
                (false, false) => arrange_32::<false, false>(x, first, len, factors, out),
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn unpack(mut w: *const u8, len: usize, panel: &mut MaybeUninit<Panel32>) {
        let mut out = panel.as_mut_ptr().cast::<u8>();
        for _ in 0..len {
            // SAFETY: the caller guarantees the blocks, at most `SLAB`, for which the panel has room.
            unsafe {
                let group = W::next::<Fcvtl>(&mut w);
                for scales in group.scales {
                    append_f32x8(&mut out, twice(scales));
                }
                append_pairs(group.quants, W::OFFSET, &mut out);
                if W::MINS {
                    for mins in group.mins {
                        append_f32x8(&mut out, twice(mins));
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply(panel: &MaybeUninit<Panel32>, tokens: &[MaybeUninit<Tokens32>], slab: Slab) {
        // SAFETY: `multiply_32` requires what `ManyTokens::multiply` does.
        unsafe {
            match (W::MINS, W::SMALL) {
                (true, _) => multiply_32::<true, false>(panel, tokens, slab),
                (false, true) => multiply_32::<false, true>(panel, tokens, slab),
                (false, false) => multiply_32::<false, false>(panel, tokens, slab),
            }
        }
    }
}

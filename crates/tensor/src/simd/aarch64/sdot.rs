//! Packed weights times many tokens with `SDOT` by element: each lane belongs to one row.
//!
//! Eight rows times four tokens take all 32 vector registers, so the loops are in assembly.

use super::asm::{
    add_groups, asm_writing, by_lane, fours, next_four, products_of_block, sdot, sums, two_at, zeros,
};
use super::load::{append_32, append_f32x8, append_i32x8};
use super::many_tokens::{self, BlockEnds, ManyTokens, SLAB_32, SLAB_256, Slab, TOKENS, TokenEnds};
use super::packed256::Weights256;
use super::rows::{Fcvtl, Weights32, half_of, without_offset};
use crate::simd::Q8;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Appends 32 weights of eight rows, less `offset`: the units of the first four rows, then those of the other four.
///
/// # Safety
///
/// 256 bytes must be writable at `out`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn append_units(quants: [[int8x16_t; 2]; 8], offset: u8, out: &mut *mut u8) {
    let quants = without_offset(quants, offset);
    for half in 0..2 {
        let units: [int8x16_t; 8] = half_of(quants, 0, half);
        for pair in units.as_chunks::<2>().0 {
            // SAFETY: these are the next 32 of the 256 bytes that the caller guarantees.
            unsafe { append_32(out, pair.map(|v| vreinterpretq_u8_s8(v))) };
        }
    }
}

/// Products of packed blocks of 32.
pub struct Sdot32<W>(PhantomData<W>);

/// Bytes of a group: scales, quants, minimums.
const GROUP_BYTES: usize = 32 + 256 + 32;

/// Unpacked groups, one after another; if there are no minimums, no room is left for them.
#[repr(C, align(64))]
pub struct Panel32([u8; SLAB_32 * GROUP_BYTES]);

/// Four tokens of a slab.
#[repr(C, align(16))]
pub struct Tokens32 {
    /// For each group four scales, followed by four sums if there are minimums.
    factors: [[f32; TOKENS]; 2 * SLAB_32],
    quants: [*const i8; TOKENS],
}

/// Loads the next 32 activations of a token into v19 and v20, and clears v21 and v22 for their products.
macro_rules! activations {
    ($x:literal) => { concat!("ldp q19, q20, [{", $x, "}], #32\n", zeros!("v21" "v22")) };
}

/// Adds the products of a unit of eight rows with four activations to v21 and v22.
macro_rules! unit {
    ($w:literal $next_w:literal $x:literal $lane:literal) => {
        concat!(sdot!("v21" $w $x $lane), sdot!("v22" $next_w $x $lane))
    };
}

/// Adds the products of the first or the second 16 columns.
macro_rules! sixteen {
    (first) => {
        concat!(
            unit!("v0" "v8" "v19" "0"),
            unit!("v1" "v9" "v19" "1"),
            unit!("v2" "v10" "v19" "2"),
            unit!("v3" "v11" "v19" "3"),
        )
    };
    (second) => {
        concat!(
            unit!("v4" "v12" "v20" "0"),
            unit!("v5" "v13" "v20" "1"),
            unit!("v6" "v14" "v20" "2"),
            unit!("v7" "v15" "v20" "3"),
        )
    };
}

/// Loads the next 32 weights of eight rows into v0 to v15.
macro_rules! next_weights {
    () => {
        concat!(
            next_four!("v0" "v1" "v2" "v3" from "w"),
            next_four!("v4" "v5" "v6" "v7" from "w"),
            next_four!("v8" "v9" "v10" "v11" from "w"),
            next_four!("v12" "v13" "v14" "v15" from "w"),
        )
    };
}

/// Adds the products of a group with one token, whose quants are at `$x`, to its sums, `$first` and `$second`.
macro_rules! token_32 {
    ($x:literal $lane:literal $first:literal $second:literal $($mins:tt)?) => {
        concat!(
            activations!($x),
            sixteen!(first),
            sixteen!(second),
            by_lane!("fmul" "v23" "v16" "v18" $lane),
            fours!("scvtf" "v21" "v21"),
            fours!("fmla" $first "v21" "v23"),
            by_lane!("fmul" "v23" "v17" "v18" $lane),
            fours!("scvtf" "v22" "v22"),
            fours!("fmla" $second "v22" "v23"),
            $(token_32!(@$mins $lane $first $second),)?
        )
    };
    (@mins $lane:literal $first:literal $second:literal) => {
        concat!(
            "ldp q19, q20, [{w}]\n",
            "ldr q21, [{factors}]\n",
            by_lane!("fmul" "v19" "v19" "v18" $lane),
            by_lane!("fmul" "v20" "v20" "v18" $lane),
            by_lane!("fmla" $first "v19" "v21" $lane),
            by_lane!("fmla" $second "v20" "v21" $lane),
        )
    };
}

/// Adds the products of a group with four tokens.
macro_rules! group_32 {
    ($($mins:tt)?) => {
        concat!(
            "ldp q16, q17, [{w}], #32\n",
            "ldr q18, [{factors}], #16\n",
            next_weights!(),
            token_32!("x0" "0" "v24" "v25" $($mins)?),
            token_32!("x1" "1" "v26" "v27" $($mins)?),
            token_32!("x2" "2" "v28" "v29" $($mins)?),
            token_32!("x3" "3" "v30" "v31" $($mins)?),
            $(group_32!(@$mins))?
        )
    };
    (@mins) => { "add {w}, {w}, #32\nadd {factors}, {factors}, #16\n" };
}

/// The loop over the groups of a slab.
macro_rules! groups_32 {
    ($panel:ident, $tokens:ident, $len:ident, $sums:ident $(, $mins:tt)?) => {
        add_groups!(
            "dotprod",
            group_32!($($mins)?),
            concat!(group_32!($($mins)?), group_32!($($mins)?), group_32!($($mins)?), group_32!($($mins)?)),
            $len, $sums,
            w = inout(reg) $panel.as_ptr() => _,
            factors = inout(reg) &raw const (*$tokens).factors => _,
            x0 = inout(reg) (*$tokens).quants[0] => _,
            x1 = inout(reg) (*$tokens).quants[1] => _,
            x2 = inout(reg) (*$tokens).quants[2] => _,
            x3 = inout(reg) (*$tokens).quants[3] => _,
        )
    };
}

/// See [`ManyTokens::arrange`]. `unit` is [`Weights32::UNIT`], not used with minimums, where it is 1.
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn arrange_32<const MINS: bool>(
    x: Q8<'_>,
    first: usize,
    len: usize,
    unit: f32,
    out: &mut MaybeUninit<Tokens32>,
) {
    let n_groups = x.cols / 32;
    let out = out.as_mut_ptr();
    // SAFETY: the caller guarantees that the tokens have the groups; `factors` has room for `SLAB_32`.
    unsafe {
        (*out).quants = core::array::from_fn(|t| x.quants.as_ptr().add(t * x.cols + 32 * first));
        for t in 0..TOKENS {
            let at = t * n_groups + first;
            let mut factor = (&raw mut (*out).factors).cast::<f32>().add(t);
            for group in at..at + len {
                let scale = *x.scales.as_ptr().add(group);
                *factor = if MINS { scale } else { unit * scale };
                factor = factor.add(TOKENS);
                if MINS {
                    *factor = *x.sums.as_ptr().add(group) as f32;
                    factor = factor.add(TOKENS);
                }
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
unsafe fn multiply_32<const MINS: bool>(
    panel: &MaybeUninit<Panel32>,
    tokens: &[MaybeUninit<Tokens32>],
    slab: Slab,
) {
    let add = |tokens: &MaybeUninit<Tokens32>, sums: many_tokens::Sums| {
        let (tokens, len) = (tokens.as_ptr(), slab.len);
        // SAFETY: accesses only the sums, and `len` groups of the panel and of the tokens, all guaranteed by the caller.
        unsafe {
            if MINS {
                groups_32!(panel, tokens, len, sums, mins);
            } else {
                groups_32!(panel, tokens, len, sums);
            }
        }
    };
    // SAFETY: `each` requires what this function does.
    unsafe { slab.each(tokens, add, |_| ()) }
}

impl<W: Weights32> ManyTokens for Sdot32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;
    const SLAB: usize = SLAB_32;
    type Panel = Panel32;
    type Tokens = Tokens32;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Tokens32>) {
        // SAFETY: `arrange_32` requires what `ManyTokens::arrange` does.
        unsafe {
            match W::MINS {
                true => arrange_32::<true>(x, first, len, W::UNIT, out),
                false => arrange_32::<false>(x, first, len, W::UNIT, out),
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
                append_f32x8(&mut out, group.scales);
                append_units(group.quants, W::OFFSET, &mut out);
                if W::MINS {
                    append_f32x8(&mut out, group.mins);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply(panel: &MaybeUninit<Panel32>, tokens: &[MaybeUninit<Tokens32>], slab: Slab) {
        // SAFETY: `multiply_32` requires what `ManyTokens::multiply` does.
        unsafe {
            match W::MINS {
                true => multiply_32::<true>(panel, tokens, slab),
                false => multiply_32::<false>(panel, tokens, slab),
            }
        }
    }
}

/// Products of packed blocks of 256.
pub struct Sdot256<W>(PhantomData<W>);

/// Unpacked weights of 256 columns of eight rows.
#[repr(C, align(64))]
pub struct Block256 {
    /// For each 32 columns: integer scales, two vectors or, with `HALVES`, four; then the quants.
    groups: [u8; 8 * (2 * 32 + 256)],
    ends: BlockEnds<2>,
}

/// 256 activations of four tokens.
pub struct Tokens256 {
    quants: [*const i8; TOKENS],
    ends: TokenEnds<TOKENS>,
}

/// Adds the products of 32 weights, times one integer scale (`whole`) or a scale for each half (`halves`), to two integer sums.
macro_rules! token_256 {
    (whole $x:literal $first:literal $second:literal) => {
        concat!(
            activations!($x),
            sixteen!(first),
            sixteen!(second),
            fours!("mla" $first "v21" "v16"),
            fours!("mla" $second "v22" "v17"),
        )
    };
    (halves $x:literal $first:literal $second:literal) => {
        concat!(
            activations!($x),
            sixteen!(first),
            fours!("mla" $first "v21" "v16"),
            fours!("mla" $second "v22" "v17"),
            zeros!("v21" "v22"),
            sixteen!(second),
            fours!("mla" $first "v21" "v18"),
            fours!("mla" $second "v22" "v23"),
        )
    };
}

/// The integer products of a block. `$scales` is the code that loads the scales of 32 columns.
macro_rules! block_256 {
    ($block:ident, $x:ident, $kind:tt, $scales:literal) => {
        products_of_block!(
            "dotprod",
            concat!(
                $scales,
                next_weights!(),
                token_256!($kind "x0" "v24" "v25"),
                token_256!($kind "x1" "v26" "v27"),
                token_256!($kind "x2" "v28" "v29"),
                token_256!($kind "x3" "v30" "v31"),
            ),
            w = inout(reg) &raw const (*$block).groups => _,
            x0 = inout(reg) $x[0] => _,
            x1 = inout(reg) $x[1] => _,
            x2 = inout(reg) $x[2] => _,
            x3 = inout(reg) $x[3] => _,
        )
    };
}

/// See [`ManyTokens::arrange`].
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn arrange_256<const MINS: bool>(
    x: Q8<'_>,
    first: usize,
    len: usize,
    out: &mut MaybeUninit<[Tokens256; SLAB_256]>,
) {
    let n_blocks = x.cols / 256;
    let out = out.as_mut_ptr().cast::<Tokens256>();
    for i in 0..len {
        // SAFETY: the caller guarantees that the tokens have the blocks, at most `SLAB`, for which there is room.
        unsafe {
            let out = out.add(i);
            for t in 0..TOKENS {
                let at = t * n_blocks + first + i;
                (*out).quants[t] = x.quants.as_ptr().add(256 * at);
                (*out).ends.scales[t] = [*x.scales.as_ptr().add(at); 4];
                if MINS {
                    for j in 0..8 {
                        let sums = x.sums.as_ptr().add(16 * at + 2 * j);
                        (*out).ends.sums[j][t] = [*sums + *sums.add(1); 4];
                    }
                }
            }
        }
    }
}

/// See [`ManyTokens::multiply`].
///
/// # Safety
///
/// As for [`ManyTokens::multiply`].
#[target_feature(enable = "neon,dotprod")]
#[inline(never)]
unsafe fn multiply_256<const HALVES: bool, const MINS: bool>(
    panel: &MaybeUninit<[Block256; SLAB_256]>,
    tokens: &[MaybeUninit<[Tokens256; SLAB_256]>],
    slab: Slab,
) {
    let add = |tokens: &MaybeUninit<[Tokens256; SLAB_256]>, sums: many_tokens::Sums| {
        for i in 0..slab.len {
            // SAFETY: the caller guarantees that these blocks have been unpacked and arranged, and the sums.
            unsafe {
                let block = panel.as_ptr().cast::<Block256>().add(i);
                let tokens = tokens.as_ptr().cast::<Tokens256>().add(i);
                let x = (*tokens).quants;
                let products = if HALVES {
                    block_256!(block, x, halves, "ldp q16, q17, [{w}], #32\nldp q18, q23, [{w}], #32\n")
                } else {
                    block_256!(block, x, whole, "ldp q16, q17, [{w}], #32\n")
                };
                let (block, tokens) = (&(*block).ends, &(*tokens).ends);
                many_tokens::add_block::<2, TOKENS, MINS, true>(products, block, tokens, sums);
            }
        }
    };
    // SAFETY: `each` requires what this function does.
    unsafe { slab.each(tokens, add, |_| ()) }
}

impl<W: Weights256> ManyTokens for Sdot256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;
    const SLAB: usize = SLAB_256;
    type Panel = [Block256; SLAB_256];
    type Tokens = [Tokens256; SLAB_256];

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Self::Tokens>) {
        // SAFETY: `arrange_256` requires what `ManyTokens::arrange` does.
        unsafe {
            match W::MINS {
                true => arrange_256::<true>(x, first, len, out),
                false => arrange_256::<false>(x, first, len, out),
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn unpack(w: *const u8, len: usize, panel: &mut MaybeUninit<Self::Panel>) {
        for i in 0..len {
            // SAFETY: the caller guarantees the blocks, at most `SLAB`, for which the panel has room.
            unsafe {
                let w = w.add(i * W::BYTES);
                let block = panel.as_mut_ptr().cast::<Block256>().add(i);
                let mut out = (&raw mut (*block).groups).cast::<u8>();
                let mut mins = (&raw mut (*block).ends.mins).cast::<u8>();
                let (scales, all_mins) = (W::scales(w), W::mins(w));
                for (j, scales) in scales.as_ref().chunks(1 + usize::from(W::HALVES)).enumerate() {
                    for &scales in scales {
                        append_i32x8(&mut out, scales);
                    }
                    append_units(W::quants(w, j), W::OFFSET, &mut out);
                    if W::MINS {
                        append_i32x8(&mut mins, all_mins[j]);
                    }
                }
                let mut out = (&raw mut (*block).ends.d).cast::<u8>();
                for d in W::d(w) {
                    append_f32x8(&mut out, d);
                }
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn multiply(panel: &MaybeUninit<Self::Panel>, tokens: &[MaybeUninit<Self::Tokens>], slab: Slab) {
        // SAFETY: `multiply_256` requires what `ManyTokens::multiply` does.
        unsafe {
            match (W::HALVES, W::MINS) {
                (true, true) => multiply_256::<true, true>(panel, tokens, slab),
                (true, false) => multiply_256::<true, false>(panel, tokens, slab),
                (false, true) => multiply_256::<false, true>(panel, tokens, slab),
                (false, false) => multiply_256::<false, false>(panel, tokens, slab),
            }
        }
    }
}

//! Many tokens by `SDOT` by element: a lane for each of four rows.
//!
//! Eight rows times four tokens take all 32 vector registers, so the loops are written out.

use super::batch::{self, Batch, BlockEnds, SLAB_32, SLAB_256, Slab, TOKENS, TokenEnds};
use super::load::{append_32, append_f32x8, append_i32x8};
use super::packed256::Weights256;
use super::rows::{Fcvtl, Weights32, half_of, without_offset};
use crate::simd::Q8;
use core::arch::{aarch64::*, asm};
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// Appends 32 weights of eight rows, `offset` taken off: the units of the first four rows, then of the
/// others.
///
/// # Safety
///
/// 256 bytes must be writable.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn append_units(quants: [[int8x16_t; 2]; 8], offset: u8, out: &mut *mut u8) {
    let quants = without_offset(quants, offset);
    for half in 0..2 {
        let units: [int8x16_t; 8] = half_of(quants, 0, half);
        for pair in units.as_chunks::<2>().0 {
            // SAFETY: of the 256 bytes that the caller says are writable, these are the next 32.
            unsafe { append_32(out, pair.map(|v| vreinterpretq_u8_s8(v))) };
        }
    }
}

/// Weights that have a scale for each 32 of them.
pub struct Sdot32<W>(PhantomData<W>);

/// Bytes of a group: scales, quants, minimums.
const GROUP_BYTES: usize = 32 + 256 + 32;

/// Unpacked groups, one behind the other; without minimums they leave no room for these.
#[repr(C, align(64))]
pub struct Panel32([u8; SLAB_32 * GROUP_BYTES]);

/// Four tokens.
#[repr(C, align(16))]
pub struct Tokens32 {
    /// For each group four scales, followed by four sums if there are minimums.
    factors: [[f32; TOKENS]; 2 * SLAB_32],
    quants: [*const i8; TOKENS],
}

/// The products of one token, whose quants lie at `$x` and sums in `$first` and `$second`.
macro_rules! token_32 {
    ($x:literal, $lane:literal, $first:literal, $second:literal $(, $mins:tt)?) => {
        concat!(
            "ldp q19, q20, [{", $x, "}], #32\n",
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
            "fmul v23.4s, v16.4s, v18.s[", $lane, "]\n",
            "scvtf v21.4s, v21.4s\n",
            "fmla ", $first, ".4s, v21.4s, v23.4s\n",
            "fmul v23.4s, v17.4s, v18.s[", $lane, "]\n",
            "scvtf v22.4s, v22.4s\n",
            "fmla ", $second, ".4s, v22.4s, v23.4s\n",
            $( token_32!(@$mins $lane, $first, $second), )?
        )
    };
    (@mins $lane:literal, $first:literal, $second:literal) => {
        concat!(
            "ldp q19, q20, [{w}]\n",
            "ldr q21, [{factors}]\n",
            "fmul v19.4s, v19.4s, v18.s[", $lane, "]\n",
            "fmul v20.4s, v20.4s, v18.s[", $lane, "]\n",
            "fmla ", $first, ".4s, v19.4s, v21.s[", $lane, "]\n",
            "fmla ", $second, ".4s, v20.4s, v21.s[", $lane, "]\n",
        )
    };
}

/// The products of a group with four tokens.
macro_rules! group_32 {
    ($($mins:tt)?) => {
        concat!(
            "ldp q16, q17, [{w}], #32\n",
            "ldr q18, [{factors}], #16\n",
            "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w}], #64\n",
            "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w}], #64\n",
            "ld1 {{v8.16b, v9.16b, v10.16b, v11.16b}}, [{w}], #64\n",
            "ld1 {{v12.16b, v13.16b, v14.16b, v15.16b}}, [{w}], #64\n",
            token_32!("x0", "0", "v24", "v25" $(, $mins)?),
            token_32!("x1", "1", "v26", "v27" $(, $mins)?),
            token_32!("x2", "2", "v28", "v29" $(, $mins)?),
            token_32!("x3", "3", "v30", "v31" $(, $mins)?),
            $( group_32!(@$mins) )?
        )
    };
    (@mins) => {
        "add {w}, {w}, #32\nadd {factors}, {factors}, #16\n"
    };
}

/// The whole loop, four groups at a time.
macro_rules! groups_32 {
    ($panel:ident, $tokens:ident, $len:ident, $sums:ident, $group:expr) => {
        asm!(
            ".arch_extension dotprod",
            "ldp q24, q25, [{s0}]",
            "ldp q26, q27, [{s1}]",
            "ldp q28, q29, [{s2}]",
            "ldp q30, q31, [{s3}]",
            "ands {single}, {len}, #3",
            "b.eq 3f",
            "2:",
            $group,
            "subs {single}, {single}, #1",
            "b.ne 2b",
            "3:",
            "lsr {len}, {len}, #2",
            "cbz {len}, 5f",
            "4:",
            $group,
            $group,
            $group,
            $group,
            "subs {len}, {len}, #1",
            "b.ne 4b",
            "5:",
            "stp q24, q25, [{s0}]",
            "stp q26, q27, [{s1}]",
            "stp q28, q29, [{s2}]",
            "stp q30, q31, [{s3}]",
            w = inout(reg) $panel.as_ptr() => _,
            factors = inout(reg) &raw const (*$tokens).factors => _,
            x0 = inout(reg) (*$tokens).quants[0] => _,
            x1 = inout(reg) (*$tokens).quants[1] => _,
            x2 = inout(reg) (*$tokens).quants[2] => _,
            x3 = inout(reg) (*$tokens).quants[3] => _,
            len = inout(reg) $len => _,
            single = out(reg) _,
            s0 = in(reg) $sums[0],
            s1 = in(reg) $sums[1],
            s2 = in(reg) $sums[2],
            s3 = in(reg) $sums[3],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        )
    };
}

/// See [`Batch::arrange`]; `unit` is what weights have for 1, where there are no minimums.
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
    // SAFETY: the groups lie within the tokens, and the factors have room for them.
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

/// See [`Batch::multiply`].
///
/// # Safety
///
/// As there.
#[inline(never)]
unsafe fn multiply_32<const MINS: bool>(
    panel: &MaybeUninit<Panel32>,
    tokens: &[MaybeUninit<Tokens32>],
    slab: Slab,
) {
    let add = |tokens: &MaybeUninit<Tokens32>, sums: batch::Sums| {
        let (tokens, len) = (tokens.as_ptr(), slab.len);
        // SAFETY: reads `len` groups of the panel, of the factors and of the tokens, and the sums.
        unsafe {
            if MINS {
                groups_32!(panel, tokens, len, sums, group_32!(mins));
            } else {
                groups_32!(panel, tokens, len, sums, group_32!());
            }
        }
    };
    // SAFETY: as is asked of the caller.
    unsafe { slab.each(tokens, add, |_| ()) }
}

impl<W: Weights32> Batch for Sdot32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;
    const SLAB: usize = SLAB_32;
    type Panel = Panel32;
    type Tokens = Tokens32;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Tokens32>) {
        // SAFETY: as is asked of the caller.
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
            // SAFETY: the caller vouches for the blocks, and the panel has room for so many.
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
        // SAFETY: as is asked of the caller.
        unsafe {
            match W::MINS {
                true => multiply_32::<true>(panel, tokens, slab),
                false => multiply_32::<false>(panel, tokens, slab),
            }
        }
    }
}

/// Weights that have integer scales under a scale for each 256 of them.
pub struct Sdot256<W>(PhantomData<W>);

/// Unpacked weights of 256 columns of eight rows.
#[repr(C, align(64))]
pub struct Block256 {
    /// For each 32 columns the integer scales of each 32 or twice 16 weights, then the quants.
    groups: [u8; 8 * (2 * 32 + 256)],
    ends: BlockEnds<2>,
}

/// 256 activations of four tokens.
pub struct Tokens256 {
    quants: [*const i8; TOKENS],
    ends: TokenEnds<TOKENS>,
}

/// Products of 32 weights in two sums of integers, each under its own scales.
macro_rules! token_256 {
    (whole, $x:literal, $first:literal, $second:literal) => {
        concat!(
            "ldp q19, q20, [{", $x, "}], #32\n",
            "movi v21.2d, #0\n",
            "movi v22.2d, #0\n",
            token_256!(@sdot "v0", "v8", "v19.4b[0]"),
            token_256!(@sdot "v1", "v9", "v19.4b[1]"),
            token_256!(@sdot "v2", "v10", "v19.4b[2]"),
            token_256!(@sdot "v3", "v11", "v19.4b[3]"),
            token_256!(@sdot "v4", "v12", "v20.4b[0]"),
            token_256!(@sdot "v5", "v13", "v20.4b[1]"),
            token_256!(@sdot "v6", "v14", "v20.4b[2]"),
            token_256!(@sdot "v7", "v15", "v20.4b[3]"),
            "mla ", $first, ".4s, v21.4s, v16.4s\n",
            "mla ", $second, ".4s, v22.4s, v17.4s\n",
        )
    };
    (halves, $x:literal, $first:literal, $second:literal) => {
        concat!(
            "ldp q19, q20, [{", $x, "}], #32\n",
            "movi v21.2d, #0\n",
            "movi v22.2d, #0\n",
            token_256!(@sdot "v0", "v8", "v19.4b[0]"),
            token_256!(@sdot "v1", "v9", "v19.4b[1]"),
            token_256!(@sdot "v2", "v10", "v19.4b[2]"),
            token_256!(@sdot "v3", "v11", "v19.4b[3]"),
            "mla ", $first, ".4s, v21.4s, v16.4s\n",
            "mla ", $second, ".4s, v22.4s, v17.4s\n",
            "movi v21.2d, #0\n",
            "movi v22.2d, #0\n",
            token_256!(@sdot "v4", "v12", "v20.4b[0]"),
            token_256!(@sdot "v5", "v13", "v20.4b[1]"),
            token_256!(@sdot "v6", "v14", "v20.4b[2]"),
            token_256!(@sdot "v7", "v15", "v20.4b[3]"),
            "mla ", $first, ".4s, v21.4s, v18.4s\n",
            "mla ", $second, ".4s, v22.4s, v23.4s\n",
        )
    };
    (@sdot $first:literal, $second:literal, $x:literal) => {
        concat!("sdot v21.4s, ", $first, ".16b, ", $x, "\nsdot v22.4s, ", $second, ".16b, ", $x, "\n")
    };
}

/// The integer products of a block, `$scales` loading those of 32 columns.
macro_rules! block_256 {
    ($block:ident, $x:ident, $kind:tt, $scales:literal) => {{
        let (a, b, c, d, e, f, g, h);
        asm!(
            ".arch_extension dotprod",
            "movi v24.2d, #0",
            "movi v25.2d, #0",
            "movi v26.2d, #0",
            "movi v27.2d, #0",
            "movi v28.2d, #0",
            "movi v29.2d, #0",
            "movi v30.2d, #0",
            "movi v31.2d, #0",
            "2:",
            $scales,
            "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w}], #64",
            "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w}], #64",
            "ld1 {{v8.16b, v9.16b, v10.16b, v11.16b}}, [{w}], #64",
            "ld1 {{v12.16b, v13.16b, v14.16b, v15.16b}}, [{w}], #64",
            token_256!($kind, "x0", "v24", "v25"),
            token_256!($kind, "x1", "v26", "v27"),
            token_256!($kind, "x2", "v28", "v29"),
            token_256!($kind, "x3", "v30", "v31"),
            "subs {len}, {len}, #1",
            "b.ne 2b",
            w = inout(reg) &raw const (*$block).groups => _,
            x0 = inout(reg) $x[0] => _,
            x1 = inout(reg) $x[1] => _,
            x2 = inout(reg) $x[2] => _,
            x3 = inout(reg) $x[3] => _,
            len = inout(reg) 8_usize => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") a, out("v25") b, out("v26") c, out("v27") d,
            out("v28") e, out("v29") f, out("v30") g, out("v31") h,
            options(nostack, readonly)
        );
        [a, b, c, d, e, f, g, h]
    }};
}

/// See [`Batch::arrange`].
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
        // SAFETY: the blocks lie within the tokens, and there is room for them.
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

/// See [`Batch::multiply`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "neon,dotprod")]
#[inline(never)]
unsafe fn multiply_256<const HALVES: bool, const MINS: bool>(
    panel: &MaybeUninit<[Block256; SLAB_256]>,
    tokens: &[MaybeUninit<[Tokens256; SLAB_256]>],
    slab: Slab,
) {
    let add = |tokens: &MaybeUninit<[Tokens256; SLAB_256]>, sums: batch::Sums| {
        for i in 0..slab.len {
            // SAFETY: reads blocks that have been unpacked and arranged.
            unsafe {
                let block = panel.as_ptr().cast::<Block256>().add(i);
                let tokens = tokens.as_ptr().cast::<Tokens256>().add(i);
                let x = (*tokens).quants;
                let products = if HALVES {
                    block_256!(block, x, halves, "ldp q16, q17, [{w}], #32\nldp q18, q23, [{w}], #32")
                } else {
                    block_256!(block, x, whole, "ldp q16, q17, [{w}], #32")
                };
                let (block, tokens) = (&(*block).ends, &(*tokens).ends);
                batch::add_block::<2, TOKENS, MINS, true>(products, block, tokens, sums);
            }
        }
    };
    // SAFETY: as is asked of the caller.
    unsafe { slab.each(tokens, add, |_| ()) }
}

impl<W: Weights256> Batch for Sdot256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;
    const SLAB: usize = SLAB_256;
    type Panel = [Block256; SLAB_256];
    type Tokens = [Tokens256; SLAB_256];

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn arrange(x: Q8<'_>, first: usize, len: usize, out: &mut MaybeUninit<Self::Tokens>) {
        // SAFETY: as is asked of the caller.
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
            // SAFETY: the caller vouches for the blocks, and the panel has room for so many.
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
        // SAFETY: as is asked of the caller.
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

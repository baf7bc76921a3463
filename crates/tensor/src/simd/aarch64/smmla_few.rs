//! Packed weights times four to eight tokens with `SMMLA`; each block is unpacked in registers for all of them.
//!
//! For these few tokens it would cost more than it saves to write unpacked weights to memory, as [`smmla`](super::smmla) does.
//! Four rows times eight tokens take eight vectors of float sums and eight of integer sums; the other registers suffice to
//! unpack the weights of these rows, eight columns at a time. The four rows are two neighbours among the first four of a group
//! and the two at the same places among the other four: their weights are in the same lanes of a unit's two vectors. A vector
//! of sums holds those of two tokens and two rows, the first token's first.

use super::asm::{asm_writing, fours, smmla, zeros};
use super::load::{append_16, load_pair, next_32, next_f32, next_i32, store_pair};
use super::many_tokens::ManyTokens;
use super::packed::{self, IQ4_NL, Q4_0, Q4_1, Q8_0};
use super::rows::{ROWS, Rows8, Weights32};
use super::smmla::{token_start, token_unit};
use super::weights32::table_16;
use crate::blocks::IQ4_VALUES;
use crate::simd::{Q8, tiles::Tile};
use core::arch::aarch64::*;
use core::mem::MaybeUninit;

/// The fewest tokens; [`packed`] multiplies fewer.
const LEAST: usize = 4;

/// The most tokens at once.
const MOST: usize = 8;

/// With this many tokens or more, it is faster to unpack weights once for all.
const MANY: usize = 16;

/// Groups of 32 columns in a slab; their activations stay in the first-level cache.
const SLAB: usize = 64;

/// Sums of pairs of tokens: with two of the first four rows, then with two of the other four.
type Sums = [[float32x4_t; MOST / 2]; 2];

/// Activations of a slab. For each 32 columns: four times the quants of eight columns of each pair of tokens; then a vector for
/// each pair with the scales; if weights are [`SMALL`](Weights32::SMALL), one with [`token_start`] times the scales; if there
/// are minimums, one with sums times scales.
#[repr(C, align(64))]
struct Tokens([u8; SLAB * MOST / 2 * (4 + 3) * 16]);

/// Weights in blocks of 32 for which there is a loop here.
pub trait Few: Weights32 {
    /// The order in which groups of eight columns are multiplied.
    const ORDER: [usize; 4];

    /// Adds the products of `len` blocks with `P` pairs of tokens to the sums: of the first two of each four rows if `half` is
    /// 0, of the other two if it is 1.
    ///
    /// # Safety
    ///
    /// `len` must not be 0; as many blocks of a group must be readable at `w` and have been arranged at `x`; the CPU must have
    /// `SMMLA`.
    unsafe fn add_products<const P: usize>(
        half: usize,
        w: *const u8,
        x: *const u8,
        len: usize,
        sums: &mut Sums,
    );
}

/// Does `$what`, an arm of `pair!`, for each of `$n` pairs of tokens. A pair has the registers of two vectors of integer sums,
/// one of activations, two of float sums, and a temporary one.
macro_rules! each_pair {
    (4 $what:ident) => {
        concat!(each_pair!(3 $what), pair!($what "v11" "v15" "v19" "v27" "v31" "v3"))
    };
    (3 $what:ident) => {
        concat!(each_pair!(2 $what), pair!($what "v10" "v14" "v18" "v26" "v30" "v2"))
    };
    (2 $what:ident) => {
        concat!(
            pair!($what "v8" "v12" "v16" "v24" "v28" "v0"),
            pair!($what "v9" "v13" "v17" "v25" "v29" "v1"),
        )
    };
}

/// Loads a vector for each pair of tokens: from v16 on (`x`), or from v0 on, advancing `{x}` (`go_on`) or not (`stay`).
macro_rules! load_pairs {
    (4 x) => {
        "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{x}], #64\n"
    };
    (3 x) => {
        "ld1 {{v16.16b, v17.16b, v18.16b}}, [{x}], #48\n"
    };
    (2 x) => {
        "ld1 {{v16.16b, v17.16b}}, [{x}], #32\n"
    };
    (4 stay) => {
        "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{x}]\n"
    };
    (3 stay) => {
        "ld1 {{v0.16b, v1.16b, v2.16b}}, [{x}]\n"
    };
    (2 stay) => {
        "ld1 {{v0.16b, v1.16b}}, [{x}]\n"
    };
    (4 go_on) => {
        "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{x}], #64\n"
    };
    (3 go_on) => {
        "ld1 {{v0.16b, v1.16b, v2.16b}}, [{x}], #48\n"
    };
    (2 go_on) => {
        "ld1 {{v0.16b, v1.16b}}, [{x}], #32\n"
    };
}

/// A step with the registers of one pair, as `each_pair!` lists them.
macro_rules! pair {
    (clear $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        zeros!($a $b)
    };
    (one_and_a_half $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        concat!("fmov ", $a, ".4s, #1.5\nfmov ", $b, ".4s, #1.5\n")
    };
    (multiply $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        concat!(smmla!($a $x "v20"), smmla!($b $x "v21"))
    };
    (add_converted $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        concat!(
            fours!("scvtf" $a $a),
            fours!("scvtf" $b $b),
            fours!("fmul" $t $x "v6"),
            fours!("fmul" $x $x "v7"),
            fours!("fmla" $sum_a $a $t),
            fours!("fmla" $sum_b $b $x),
        )
    };
    (add_exact_a $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        concat!(fours!("fmla" $t $a $x), fours!("fmla" $sum_a $t "v6"))
    };
    (add_exact_b $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        concat!(fours!("fmla" $t $b $x), fours!("fmla" $sum_b $t "v7"))
    };
    (add_mins $a:literal $b:literal $x:literal $sum_a:literal $sum_b:literal $t:literal) => {
        concat!(fours!("fmla" $sum_a $x "v4"), fours!("fmla" $sum_b $x "v5"))
    };
}

/// Loads two units of a group, those of each row side by side: two of the first four rows in `$a`, of the others in `$b`.
macro_rules! units {
    (first $step:literal $a:literal $b:literal) => { units!(@"zip1" $step $a $b) };
    (second $step:literal $a:literal $b:literal) => { units!(@"zip2" $step $a $b) };
    (@$zip:literal $step:literal $a:literal $b:literal) => {
        concat!(
            "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w}], ", $step, "\n",
            $zip, " ", $a, ".4s, v0.4s, v2.4s\n",
            $zip, " ", $b, ".4s, v1.4s, v3.4s\n",
        )
    };
}

/// Unpacks eight columns of a block, those of `ORDER[$i]`, to v20 and v21.
macro_rules! weights {
    // The upper four bits of a byte are a weight, so the byte is 16 times the weight.
    (shifted 0 $half:tt) => { concat!(units!($half "#64" "v4" "v5"), weights!(@shifted low)) };
    (shifted 2 $half:tt) => { concat!(units!($half "{to_next}" "v4" "v5"), weights!(@shifted low)) };
    (shifted $i:tt $half:tt) => { "and v20.16b, v4.16b, v22.16b\nand v21.16b, v5.16b, v22.16b\n" };
    (@shifted low) => { "shl v20.16b, v4.16b, #4\nshl v21.16b, v5.16b, #4\n" };

    (nibbles 0 $half:tt) => { concat!(units!($half "#64" "v4" "v5"), weights!(@nibbles low)) };
    (nibbles 2 $half:tt) => { concat!(units!($half "{to_next}" "v4" "v5"), weights!(@nibbles low)) };
    (nibbles $i:tt $half:tt) => { "ushr v20.16b, v4.16b, #4\nushr v21.16b, v5.16b, #4\n" };
    (@nibbles low) => { "and v20.16b, v4.16b, v22.16b\nand v21.16b, v5.16b, v22.16b\n" };

    (table $i:tt $half:tt) => {
        concat!(
            weights!(nibbles $i $half),
            "tbl v20.16b, {{v23.16b}}, v20.16b\n",
            "tbl v21.16b, {{v23.16b}}, v21.16b\n",
        )
    };

    (bytes 3 $half:tt) => { units!($half "{to_next}" "v20" "v21") };
    (bytes $i:tt $half:tt) => { units!($half "#64" "v20" "v21") };
}

/// Converts the minimums of two rows each to v4 and v5; v23 has those of eight rows in f16.
macro_rules! mins {
    (first) => { mins!(@"0" "2") };
    (second) => { mins!(@"1" "3") };
    (@$a:literal $b:literal) => {
        concat!(
            "dup v4.2s, v23.s[", $a, "]\n",
            "dup v5.2s, v23.s[", $b, "]\n",
            "fcvtl v4.4s, v4.4h\n",
            "fcvtl v5.4s, v5.4h\n",
        )
    };
}

/// The code before and after a block's integer products.
macro_rules! around {
    (converted before $n:tt) => { each_pair!($n clear) };
    (converted after $n:tt $half:tt) => { concat!(load_pairs!($n x), each_pair!($n add_converted)) };
    (exact before $n:tt) => { each_pair!($n one_and_a_half) };
    (exact after $n:tt $half:tt) => {
        concat!(
            load_pairs!($n x),
            load_pairs!($n stay),
            each_pair!($n add_exact_a),
            load_pairs!($n go_on),
            each_pair!($n add_exact_b),
        )
    };
    (mins before $n:tt) => { concat!("ldr q23, [{w}], #16\n", around!(exact before $n)) };
    (mins after $n:tt $half:tt) => {
        concat!(
            around!(exact after $n $half),
            load_pairs!($n x),
            mins!($half),
            each_pair!($n add_mins),
        )
    };
}

/// Adds the products of a block.
macro_rules! block {
    ($codes:tt $sums:tt $half:tt $n:tt) => {
        concat!(
            "ld1r {{v6.2s}}, [{w}], {eight}\n",
            "ld1r {{v7.2s}}, [{w}], {behind_scales}\n",
            "fcvtl v6.4s, v6.4h\n",
            "fcvtl v7.4s, v7.4h\n",
            around!($sums before $n),
            weights!($codes 0 $half), load_pairs!($n x), each_pair!($n multiply),
            weights!($codes 1 $half), load_pairs!($n x), each_pair!($n multiply),
            weights!($codes 2 $half), load_pairs!($n x), each_pair!($n multiply),
            weights!($codes 3 $half), load_pairs!($n x), each_pair!($n multiply),
            around!($sums after $n $half),
        )
    };
}

/// The loop over `$len` blocks, two at a time.
macro_rules! blocks {
    ($codes:tt $sums:tt $half:tt $n:tt, $rows:literal, $w:ident, $x:ident, $len:ident, $a:ident, $b:ident, $constants:expr) => {{
        asm_writing!(
            v0_v7 v8_v11 v12_v15; (nostack, readonly)
            ".arch_extension i8mm",
            "tbz {len}, #0, 3f",
            block!($codes $sums $half $n),
            "3:",
            "lsr {len}, {len}, #1",
            "cbz {len}, 5f",
            "4:",
            block!($codes $sums $half $n),
            block!($codes $sums $half $n),
            "subs {len}, {len}, #1",
            "b.ne 4b",
            "5:",
            w = inout(reg) $w.add($rows) => _,
            x = inout(reg) $x => _,
            len = inout(reg) $len => _,
            eight = in(reg) 8_usize,
            // To the end of all eight rows' scales.
            behind_scales = in(reg) 8_usize - $rows,
            to_next = in(reg) 64_usize + $rows,
            inout("v22") $constants[0] => _,
            inout("v23") $constants[1] => _,
            inout("v24") $a[0], inout("v25") $a[1], inout("v26") $a[2], inout("v27") $a[3],
            inout("v28") $b[0], inout("v29") $b[1], inout("v30") $b[2], inout("v31") $b[3],
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _,
        );
    }};
}

/// Whether weights with sums of this kind are [`SMALL`](Weights32::SMALL).
macro_rules! is_for_small {
    (converted) => {
        false
    };
    ($sums:tt) => {
        true
    };
}

/// Implements [`Few`]: how codes are unpacked, the kind of sums, `ORDER`, and the constants in v22 and v23.
macro_rules! few {
    ($ty:ty, $codes:tt, $sums:tt, $order:expr, $constants:expr) => {
        const _: () = assert!(<$ty>::SMALL == is_for_small!($sums));

        impl Few for $ty {
            const ORDER: [usize; 4] = $order;

            #[inline(always)]
            unsafe fn add_products<const P: usize>(
                half: usize,
                w: *const u8,
                x: *const u8,
                len: usize,
                sums: &mut Sums,
            ) {
                // SAFETY: reads only `len` blocks of a group and as many groups of activations, which the caller guarantees.
                unsafe {
                    let [a, b] = sums;
                    match (P, half) {
                        (4, 0) => blocks!($codes $sums first 4, 0, w, x, len, a, b, $constants),
                        (4, _) => blocks!($codes $sums second 4, 4, w, x, len, a, b, $constants),
                        (3, 0) => blocks!($codes $sums first 3, 0, w, x, len, a, b, $constants),
                        (3, _) => blocks!($codes $sums second 3, 4, w, x, len, a, b, $constants),
                        (_, 0) => blocks!($codes $sums first 2, 0, w, x, len, a, b, $constants),
                        (_, _) => blocks!($codes $sums second 2, 4, w, x, len, a, b, $constants),
                    }
                }
            }
        }
    };
}

/// Each eight bytes of a row hold eight columns in their low nibbles, and the columns 16 further in the high ones.
const OF_NIBBLES: [usize; 4] = [0, 2, 1, 3];

few!(Q4_0, shifted, exact, OF_NIBBLES, [vdupq_n_u8(0xf0), vdupq_n_u8(0)]);
few!(Q4_1, nibbles, mins, OF_NIBBLES, [vdupq_n_u8(0xf), vdupq_n_u8(0)]);
few!(IQ4_NL, table, converted, OF_NIBBLES, [vdupq_n_u8(0xf), vreinterpretq_u8_s8(table_16(&IQ4_VALUES))]);
few!(Q8_0, bytes, converted, [0, 1, 2, 3], [vdupq_n_u8(0); 2]);

/// The product of a tile. `F` multiplies whole groups of rows with four to fifteen tokens, `B` with more, `R` the rest.
///
/// # Safety
///
/// The CPU must have the features of all three.
pub unsafe fn tile<R: Rows8, B: ManyTokens, F: Few>(
    w: &[u8],
    skipped_rows: usize,
    x: Q8<'_>,
    out: &mut Tile<'_>,
) {
    let n_tokens = x.n_tokens();
    if !(LEAST..MANY).contains(&n_tokens) || skipped_rows > 0 || !out.rows().len().is_multiple_of(ROWS) {
        // SAFETY: the caller guarantees the features of `R` and `B`.
        return unsafe { packed::tile::<R, B>(w, skipped_rows, x, out) };
    }
    let mut done = 0;
    while n_tokens - done >= LEAST {
        let end = n_tokens.min(done + MOST);
        // SAFETY: the tile has whole groups of rows; the caller guarantees the features of `F`.
        unsafe {
            match (end - done).div_ceil(2) {
                4 => product::<F, 4>(w, x.tokens(done..end), done, out),
                3 => product::<F, 3>(w, x.tokens(done..end), done, out),
                _ => product::<F, 2>(w, x.tokens(done..end), done, out),
            }
        }
        done = end;
    }
    if done < n_tokens {
        // SAFETY: the caller guarantees the features of `R`.
        unsafe { packed::few::<R, 3>(w, 0, x, done, out) };
    }
}

/// The product with the tokens `x`, which begin at the tile's `first_token`: `P` pairs, the last of which may be one token.
///
/// # Safety
///
/// The CPU must have FEAT_DotProd and `SMMLA`.
#[target_feature(enable = "neon,dotprod")]
unsafe fn product<F: Few, const P: usize>(w: &[u8], x: Q8<'_>, first_token: usize, out: &mut Tile<'_>) {
    let (n_tokens, n_blocks) = (x.n_tokens(), x.cols / 32);
    assert_eq!(n_tokens.div_ceil(2), P);
    assert!(first_token + n_tokens <= out.tokens().len());
    assert_eq!(w.len(), out.rows().len() / ROWS * (n_blocks * F::BYTES));
    let (origin, stride) = out.as_mut_ptr();
    let mut tokens = MaybeUninit::<Tokens>::uninit();
    for first in (0..n_blocks).step_by(SLAB) {
        let len = SLAB.min(n_blocks - first);
        // SAFETY: the slab is within the tokens, and `len` is at most `SLAB`.
        unsafe { arrange::<F, P>(x, first, len, &mut tokens) };
        for (group, w) in w.chunks_exact(n_blocks * F::BYTES).enumerate() {
            for half in 0..2 {
                // SAFETY: the slab is within the rows and has been arranged, by the assertions the sums are the tile's, and the
                // caller guarantees the instruction. A last token without a partner is both tokens of its pair.
                unsafe {
                    let places: [_; P] = core::array::from_fn(|pair| {
                        [2 * pair, 2 * pair + 1].map(|token| {
                            let token = first_token + token.min(n_tokens - 1);
                            origin.add(token * stride + group * ROWS + 2 * half)
                        })
                    });
                    let mut sums = [[vdupq_n_f32(0.0); MOST / 2]; 2];
                    if first > 0 {
                        for (rows, sums) in sums.iter_mut().enumerate() {
                            for (sum, [a, b]) in sums.iter_mut().zip(places) {
                                *sum = load_pair(a.add(4 * rows), b.add(4 * rows));
                            }
                        }
                    }
                    let w = w.as_ptr().add(first * F::BYTES);
                    F::add_products::<P>(half, w, tokens.as_ptr().cast(), len, &mut sums);
                    for (rows, sums) in sums.iter().enumerate() {
                        for (&sum, [a, b]) in sums.iter().zip(places) {
                            store_pair(a.add(4 * rows), b.add(4 * rows), sum);
                        }
                    }
                }
            }
        }
    }
}

/// Arranges groups `first..first + len` of `P` pairs of tokens.
///
/// # Safety
///
/// The tokens must have these groups, and `len` must be at most [`SLAB`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn arrange<F: Few, const P: usize>(
    x: Q8<'_>,
    first: usize,
    len: usize,
    out: &mut MaybeUninit<Tokens>,
) {
    let token = |pair: usize, i: usize| (2 * pair + i).min(x.n_tokens() - 1) * (x.cols / 32) + first;
    let mut out = out.as_mut_ptr().cast::<u8>();
    // SAFETY: the caller guarantees the groups, at most `SLAB`, for which there is room.
    unsafe {
        let mut quants: [[_; 2]; P] = core::array::from_fn(|pair| {
            [0, 1].map(|i| x.quants.as_ptr().add(32 * token(pair, i)).cast::<u8>())
        });
        let mut scales: [[_; 2]; P] =
            core::array::from_fn(|pair| [0, 1].map(|i| x.scales.as_ptr().add(token(pair, i))));
        let mut sums: [[_; 2]; P] =
            core::array::from_fn(|pair| [0, 1].map(|i| x.sums.as_ptr().add(token(pair, i))));
        for _ in 0..len {
            let columns = quants.each_mut().map(|pair| {
                let [a, b] = pair.each_mut().map(|x| next_32(x).map(|v| vreinterpretq_u64_u8(v)));
                [
                    vzip1q_u64(a[0], b[0]),
                    vzip2q_u64(a[0], b[0]),
                    vzip1q_u64(a[1], b[1]),
                    vzip2q_u64(a[1], b[1]),
                ]
            });
            for eight in F::ORDER {
                for columns in columns {
                    append_16(&mut out, vreinterpretq_u8_u64(columns[eight]));
                }
            }
            let scales = scales.each_mut().map(|pair| {
                let [a, b] = pair.each_mut().map(|p| next_f32(p));
                each_twice(a, b)
            });
            for scales in scales {
                append_16(&mut out, vreinterpretq_u8_f32(vmulq_n_f32(scales, token_unit::<F>())));
            }
            if F::SMALL {
                for scales in scales {
                    append_16(&mut out, vreinterpretq_u8_f32(vmulq_n_f32(scales, token_start::<F>())));
                }
            }
            if F::MINS {
                for (pair, scales) in sums.iter_mut().zip(scales) {
                    let [a, b] = pair.each_mut().map(|p| vcvtq_f32_s32(next_i32(p)));
                    append_16(&mut out, vreinterpretq_u8_f32(vmulq_f32(each_twice(a, b), scales)));
                }
            }
        }
    }
}

/// `[a, a, b, b]` of the first lanes.
#[target_feature(enable = "neon")]
#[inline]
fn each_twice(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    let both = vzip1q_f32(a, b);
    vzip1q_f32(both, both)
}

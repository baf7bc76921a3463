//! Packed blocks of 256 weights times one token: loops with `SDOT`, in assembly.
//!
//! `v28` and `v29` hold the integer products of the first and of the second four rows of a group. A unit of eight rows takes
//! two registers, so weights come in fours: two units.

use super::asm::{asm_writing, bytes, fours, next_four, sdot, zeros};
use core::arch::aarch64::*;

/// Integer scales for each 32 or 16 weights: of the first and of the second four rows.
pub type Scales<const N: usize> = [[int32x4_t; 2]; N];

/// Adds the products of two units of eight rows, each with its lane of activations, to `$low` and `$high`.
macro_rules! two_units {
    ($a:literal $b:literal $c:literal $d:literal $x:literal $lane:literal $next_lane:literal $low:literal $high:literal) => {
        concat!(sdot!($low $a $x $lane), sdot!($high $b $x $lane), sdot!($low $c $x $next_lane), sdot!($high $d $x $next_lane))
    };
}

/// Puts the low nibbles of `v0` to `v3` into `v4` to `v7`, and leaves the high ones in place.
macro_rules! nibbles {
    () => {
        "and v4.16b, v0.16b, v31.16b
         and v5.16b, v1.16b, v31.16b
         and v6.16b, v2.16b, v31.16b
         and v7.16b, v3.16b, v31.16b
         ushr v0.16b, v0.16b, #4
         ushr v1.16b, v1.16b, #4
         ushr v2.16b, v2.16b, #4
         ushr v3.16b, v3.16b, #4
        "
    };
}

/// Inserts the fifth bits of two units: into the low nibbles in `v4` to `v7`, and into the high ones in `v0` to `v3`.
macro_rules! fifth_bits {
    () => {
        "ld1 {{v8.16b, v9.16b, v10.16b, v11.16b}}, [{fifth}], #64
         ushl v12.16b, v8.16b, v24.16b
         ushl v13.16b, v9.16b, v24.16b
         ushl v14.16b, v10.16b, v24.16b
         ushl v15.16b, v11.16b, v24.16b
         bit v4.16b, v12.16b, v30.16b
         bit v5.16b, v13.16b, v30.16b
         bit v6.16b, v14.16b, v30.16b
         bit v7.16b, v15.16b, v30.16b
         ushl v12.16b, v8.16b, v25.16b
         ushl v13.16b, v9.16b, v25.16b
         ushl v14.16b, v10.16b, v25.16b
         ushl v15.16b, v11.16b, v25.16b
         bit v0.16b, v12.16b, v30.16b
         bit v1.16b, v13.16b, v30.16b
         bit v2.16b, v14.16b, v30.16b
         bit v3.16b, v15.16b, v30.16b
        "
    };
}

/// Multiplies two units of codes: low nibbles with lanes of 32 activations, high nibbles with lanes of the next 32.
macro_rules! codes {
    ($x:literal, $next_x:literal, $lane:literal, $next_lane:literal, $fifth_bits:expr) => {
        concat!(
            next_four!("v0" "v1" "v2" "v3" from "w"),
            nibbles!(),
            $fifth_bits,
            two_units!("v4" "v5" "v6" "v7" $x $lane $next_lane "v20" "v21"),
            two_units!("v0" "v1" "v2" "v3" $next_x $lane $next_lane "v22" "v23"),
        )
    };
}

/// Adds the products of 64 weights of eight rows, times their scales: the low and high nibbles of eight units.
macro_rules! paired_nibbles {
    ($fifth_bits:expr) => {
        concat!(
            "ldp q16, q17, [{x}], #32\n",
            "ldp q18, q19, [{x}], #32\n",
            zeros!("v20" "v21" "v22" "v23"),
            codes!("v16", "v18", "0", "1", $fifth_bits),
            codes!("v16", "v18", "2", "3", $fifth_bits),
            codes!("v17", "v19", "0", "1", $fifth_bits),
            codes!("v17", "v19", "2", "3", $fifth_bits),
            "ldp q26, q27, [{scales}], #32\n",
            fours!("mla" "v28" "v20" "v26"),
            fours!("mla" "v29" "v21" "v27"),
            "ldp q26, q27, [{scales}], #32\n",
            fours!("mla" "v28" "v22" "v26"),
            fours!("mla" "v29" "v23" "v27"),
        )
    };
}

/// The products of a block of Q4_K. The same bytes hold 32 codes in their low nibbles and the next 32 in the high ones.
///
/// # Safety
///
/// The 1024 bytes of eight rows' codes must be readable at `codes`, 256 activations at `x`; the CPU must
/// have FEAT_DotProd.
#[inline(always)]
pub unsafe fn four_bits(codes: *const u8, scales: &Scales<8>, x: *const i8) -> [int32x4_t; 2] {
    let (first, second);
    // SAFETY: reads only the scales, and the codes and activations that the caller guarantees.
    unsafe {
        asm_writing!(
            v0_v7 v16_v23; (nostack, readonly)
            ".arch_extension dotprod",
            zeros!("v28" "v29"),
            "movi v31.16b, #0xf",
            "2:",
            paired_nibbles!(""),
            "subs {pairs}, {pairs}, #1",
            "b.ne 2b",
            w = inout(reg) codes => _,
            x = inout(reg) x => _,
            scales = inout(reg) scales.as_ptr() => _,
            pairs = inout(reg) 4_usize => _,
            out("v26") _, out("v27") _, out("v31") _,
            out("v28") first, out("v29") second,
        );
    }
    [first, second]
}

/// Like [`four_bits`], for Q5_K: bit `j` of the bytes at `fifth` is the fifth bit of weights `32 j..32 (j + 1)`.
///
/// # Safety
///
/// As for [`four_bits`]; also, 256 bytes must be readable at `fifth`.
#[inline(always)]
pub unsafe fn five_bits(
    codes: *const u8,
    fifth: *const u8,
    scales: &Scales<8>,
    x: *const i8,
) -> [int32x4_t; 2] {
    let (first, second);
    // SAFETY: reads only the scales, and the codes, fifth bits and activations that the caller guarantees.
    unsafe {
        asm_writing!(
            v0_v7 v8_v11 v12_v15 v16_v23; (nostack, readonly)
            ".arch_extension dotprod",
            zeros!("v28" "v29"),
            "movi v31.16b, #0xf",
            "movi v30.16b, #0x10",
            // Left shifts (right if negative) that bring the fifth bits of the first and second 32 of 64 weights to bit 4.
            "movi v24.16b, #4",
            "movi v25.16b, #3",
            "2:",
            paired_nibbles!(fifth_bits!()),
            "sub {fifth}, {fifth}, #256",
            "movi v26.16b, #2",
            "sub v24.16b, v24.16b, v26.16b",
            "sub v25.16b, v25.16b, v26.16b",
            "subs {pairs}, {pairs}, #1",
            "b.ne 2b",
            w = inout(reg) codes => _,
            fifth = inout(reg) fifth => _,
            x = inout(reg) x => _,
            scales = inout(reg) scales.as_ptr() => _,
            pairs = inout(reg) 4_usize => _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v30") _, out("v31") _,
            out("v28") first, out("v29") second,
        );
    }
    [first, second]
}

/// Multiplies codes of four times 32 weights with lane `$lane` of their activations. Their lower bits are the nibbles of `$a`
/// and `$b`, their upper bits are in `$h`.
macro_rules! six_bit_codes {
    ($a:literal $b:literal $h:literal $lane:literal $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            bytes!("and" "v12" $a "v31"),
            bytes!("shl" "v13" $h, "4"),
            bytes!("and" "v14" $b "v31"),
            bytes!("shl" "v15" $h, "2"),
            bytes!("bit" "v12" "v13" "v30"),
            bytes!("bit" "v14" "v15" "v30"),
            bytes!("ushr" $a $a, "4"),
            bytes!("ushr" $b $b, "4"),
            bytes!("ushr" "v13" $h, "2"),
            bytes!("bit" $a $h "v30"),
            bytes!("bit" $b "v13" "v30"),
            sdot!($s0 "v12" "v16" $lane),
            sdot!($s1 "v14" "v17" $lane),
            sdot!($s2 $a "v18" $lane),
            sdot!($s3 $b "v19" $lane),
        )
    };
}

/// Two units of lower bits at `a` and at `b`, and two of upper bits.
macro_rules! six_bit_units {
    ($lane:literal, $next_lane:literal) => {
        concat!(
            next_four!("v0" "v1" "v2" "v3" from "a"),
            next_four!("v4" "v5" "v6" "v7" from "b"),
            next_four!("v8" "v9" "v10" "v11" from "high"),
            six_bit_codes!("v0" "v4" "v8" $lane "v20" "v22" "v24" "v26"),
            six_bit_codes!("v1" "v5" "v9" $lane "v21" "v23" "v25" "v27"),
            six_bit_codes!("v2" "v6" "v10" $next_lane "v20" "v22" "v24" "v26"),
            six_bit_codes!("v3" "v7" "v11" $next_lane "v21" "v23" "v25" "v27"),
        )
    };
}

/// Adds the products of one half of each 32 weights, each half times its own scales.
macro_rules! six_bit_half {
    ($x0:literal, $x1:literal, $x2:literal, $x3:literal) => {
        concat!(
            "ldr q16, [{x}, #", $x0, "]\n",
            "ldr q17, [{x}, #", $x1, "]\n",
            "ldr q18, [{x}, #", $x2, "]\n",
            "ldr q19, [{x}, #", $x3, "]\n",
            "ld4r {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{starts}], #16\n",
            "mov v24.16b, v22.16b\n",
            "mov v25.16b, v22.16b\n",
            "mov v26.16b, v23.16b\n",
            "mov v27.16b, v23.16b\n",
            "mov v22.16b, v21.16b\n",
            "mov v23.16b, v21.16b\n",
            "mov v21.16b, v20.16b\n",
            six_bit_units!("0", "1"),
            six_bit_units!("2", "3"),
            six_bit_half!(@ "v20", "v21", $x0),
            six_bit_half!(@ "v22", "v23", $x1),
            six_bit_half!(@ "v24", "v25", $x2),
            six_bit_half!(@ "v26", "v27", $x3),
        )
    };
    // For each 16 activations, 16 bytes, there are 32 bytes of scales.
    (@ $low:literal, $high:literal, $x:literal) => {
        concat!(
            "ldp q12, q13, [{scales}, #2 * ", $x, "]\n",
            fours!("mla" "v28" $low "v12"),
            fours!("mla" "v29" $high "v13"),
        )
    };
}

/// The products of a block of Q6_K: 6-bit codes with an offset of 32, the lower four bits at `codes`, the upper two at `high`.
///
/// # Safety
///
/// Of eight rows, 1024 bytes of lower bits must be readable at `codes` and 512 of upper bits at `high`; 256 activations must be
/// readable at `x`; the CPU must have FEAT_DotProd.
#[inline(always)]
pub unsafe fn six_bits(
    codes: *const u8,
    high: *const u8,
    scales: &Scales<16>,
    x: *const i8,
    x_sums: &[i32; 16],
) -> [int32x4_t; 2] {
    // Sums start at the negative of what the offset adds to them.
    let starts: [i32; 16] = core::array::from_fn(|i| -32 * x_sums[six_bit_order(i)]);
    let (first, second);
    // SAFETY: reads only scales and starts, and the codes, upper bits and activations that the caller guarantees.
    unsafe {
        asm_writing!(
            v0_v7 v8_v11 v12_v15 v16_v23; (nostack, readonly)
            ".arch_extension dotprod",
            zeros!("v28" "v29"),
            "movi v31.16b, #0xf",
            "movi v30.16b, #0x30",
            "2:",
            six_bit_half!("0", "32", "64", "96"),
            six_bit_half!("16", "48", "80", "112"),
            "add {a}, {a}, #256",
            "add {b}, {b}, #256",
            "add {x}, {x}, #128",
            "add {scales}, {scales}, #256",
            "subs {parts}, {parts}, #1",
            "b.ne 2b",
            a = inout(reg) codes => _,
            b = inout(reg) codes.wrapping_add(256) => _,
            high = inout(reg) high => _,
            x = inout(reg) x => _,
            scales = inout(reg) scales.as_ptr() => _,
            starts = inout(reg) starts.as_ptr() => _,
            parts = inout(reg) 2_usize => _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v30") _, out("v31") _,
            out("v28") first, out("v29") second,
        );
    }
    [first, second]
}

/// Which 16 weights of a block [`six_bits`] multiplies as number `i`: of each 128 weights, the first half of each 32, then the
/// second half of each.
#[inline(always)]
fn six_bit_order(i: usize) -> usize {
    let (part, half, of_32) = (i / 8, i / 4 % 2, i % 4);
    8 * part + 2 * of_32 + half
}

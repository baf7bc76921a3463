//! Loops of attention over f16 caches, written out.
//!
//! What [`single_attention`](crate::simd::single_attention) computes with [`Lanes`](crate::simd::lanes::Lanes), in the same
//! order: four queries times two keys, and eight queries times eight elements of the values, take all
//! registers, and the compiler's loops had an eighth more instructions.

use crate::simd::lanes::LANES;
use core::arch::asm;
use half::f16;

/// Elements that the loop over a key takes at once.
const CHUNK: usize = 32;

/// 16 elements of one query times those of both keys.
macro_rules! query {
    ($q:literal, $a0:literal, $a1:literal, $b0:literal, $b1:literal) => {
        concat!(
            "ld1 {{v8.4s, v9.4s, v10.4s, v11.4s}}, [{",
            $q,
            "}], #64\n",
            "fmla ",
            $a0,
            ".4s, v8.4s, v0.4s\n",
            "fmla ",
            $a1,
            ".4s, v9.4s, v1.4s\n",
            "fmla ",
            $b0,
            ".4s, v8.4s, v4.4s\n",
            "fmla ",
            $b1,
            ".4s, v9.4s, v5.4s\n",
            "fmla ",
            $a0,
            ".4s, v10.4s, v2.4s\n",
            "fmla ",
            $a1,
            ".4s, v11.4s, v3.4s\n",
            "fmla ",
            $b0,
            ".4s, v10.4s, v6.4s\n",
            "fmla ",
            $b1,
            ".4s, v11.4s, v7.4s\n",
        )
    };
}

/// 16 elements of four queries and two keys.
macro_rules! half_chunk {
    () => {
        concat!(
            "ldp q0, q2, [{a}], #32\n",
            "ldp q4, q6, [{b}], #32\n",
            "fcvtl2 v1.4s, v0.8h\n",
            "fcvtl v0.4s, v0.4h\n",
            "fcvtl2 v3.4s, v2.8h\n",
            "fcvtl v2.4s, v2.4h\n",
            "fcvtl2 v5.4s, v4.8h\n",
            "fcvtl v4.4s, v4.4h\n",
            "fcvtl2 v7.4s, v6.8h\n",
            "fcvtl v6.4s, v6.4h\n",
            query!("q0", "v16", "v17", "v18", "v19"),
            query!("q1", "v20", "v21", "v22", "v23"),
            query!("q2", "v24", "v25", "v26", "v27"),
            query!("q3", "v28", "v29", "v30", "v31"),
        )
    };
}

/// Products of four queries with pairs of keys, whose vectors lie `stride` elements apart, into lanes
/// `lane..lane + 4` of `products`. Returns how many keys it has multiplied: none if their length does
/// not suit the loop, or all but the last one of an odd number.
///
/// # Safety
///
/// `len` elements must be readable of each query and of each key.
#[inline(always)]
pub unsafe fn products_f16(
    q: [*const f32; 4],
    keys: *const f16,
    stride: usize,
    len: usize,
    products: &mut [[f32; LANES]],
    lane: usize,
) -> usize {
    let n_pairs = products.len() / 2;
    if !len.is_multiple_of(CHUNK) || len == 0 || n_pairs == 0 {
        return 0;
    }
    let out = &raw mut products[0][lane..lane + 4];
    // SAFETY: reads the queries and the keys, and writes four lanes of two products for each pair.
    unsafe {
        asm!(
            "2:",
            "movi v16.2d, #0",
            "movi v17.2d, #0",
            "movi v18.2d, #0",
            "movi v19.2d, #0",
            "movi v20.2d, #0",
            "movi v21.2d, #0",
            "movi v22.2d, #0",
            "movi v23.2d, #0",
            "movi v24.2d, #0",
            "movi v25.2d, #0",
            "movi v26.2d, #0",
            "movi v27.2d, #0",
            "movi v28.2d, #0",
            "movi v29.2d, #0",
            "movi v30.2d, #0",
            "movi v31.2d, #0",
            "mov {chunks}, {n_chunks}",
            "3:",
            half_chunk!(),
            half_chunk!(),
            "subs {chunks}, {chunks}, #1",
            "b.ne 3b",
            "sub {q0}, {q0}, {len}",
            "sub {q1}, {q1}, {len}",
            "sub {q2}, {q2}, {len}",
            "sub {q3}, {q3}, {len}",
            "add {a}, {a}, {skip}",
            "add {b}, {b}, {skip}",
            // The halves of each sum, then neighbours twice.
            "fadd v16.4s, v16.4s, v17.4s",
            "fadd v20.4s, v20.4s, v21.4s",
            "fadd v24.4s, v24.4s, v25.4s",
            "fadd v28.4s, v28.4s, v29.4s",
            "fadd v18.4s, v18.4s, v19.4s",
            "fadd v22.4s, v22.4s, v23.4s",
            "fadd v26.4s, v26.4s, v27.4s",
            "fadd v30.4s, v30.4s, v31.4s",
            "faddp v16.4s, v16.4s, v20.4s",
            "faddp v24.4s, v24.4s, v28.4s",
            "faddp v18.4s, v18.4s, v22.4s",
            "faddp v26.4s, v26.4s, v30.4s",
            "faddp v16.4s, v16.4s, v24.4s",
            "faddp v18.4s, v18.4s, v26.4s",
            "str q18, [{out}, #32]",
            "str q16, [{out}], #64",
            "subs {n_pairs}, {n_pairs}, #1",
            "b.ne 2b",
            a = inout(reg) keys => _,
            b = inout(reg) keys.wrapping_add(stride) => _,
            q0 = inout(reg) q[0] => _,
            q1 = inout(reg) q[1] => _,
            q2 = inout(reg) q[2] => _,
            q3 = inout(reg) q[3] => _,
            len = in(reg) len * size_of::<f32>(),
            skip = in(reg) (2 * stride).wrapping_sub(len) * size_of::<f16>(),
            n_chunks = in(reg) len / CHUNK,
            chunks = out(reg) _,
            n_pairs = inout(reg) n_pairs => _,
            out = inout(reg) out.cast::<f32>() => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
    2 * n_pairs
}

/// Adds a value, whose halves are `$low` and `$high`, times eight weights, four each in `$w0` and `$w1`.
macro_rules! add_value {
    ($low:literal, $high:literal, $w0:literal, $w1:literal) => {
        concat!(
            add_value!(@ "v16", "v17", $low, $high, $w0, "0"),
            add_value!(@ "v18", "v19", $low, $high, $w0, "1"),
            add_value!(@ "v20", "v21", $low, $high, $w0, "2"),
            add_value!(@ "v22", "v23", $low, $high, $w0, "3"),
            add_value!(@ "v24", "v25", $low, $high, $w1, "0"),
            add_value!(@ "v26", "v27", $low, $high, $w1, "1"),
            add_value!(@ "v28", "v29", $low, $high, $w1, "2"),
            add_value!(@ "v30", "v31", $low, $high, $w1, "3"),
        )
    };
    (@ $a:literal, $b:literal, $low:literal, $high:literal, $w:literal, $lane:literal) => {
        concat!(
            "fmla ", $a, ".4s, ", $low, ".4s, ", $w, ".s[", $lane, "]\n",
            "fmla ", $b, ".4s, ", $high, ".4s, ", $w, ".s[", $lane, "]\n",
        )
    };
}

/// Two values.
macro_rules! two_values {
    () => {
        concat!(
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{w}], #64\n",
            "ld1 {{v4.8h}}, [{v}], {stride}\n",
            "ld1 {{v6.8h}}, [{v}], {stride}\n",
            "fcvtl2 v5.4s, v4.8h\n",
            "fcvtl v4.4s, v4.4h\n",
            "fcvtl2 v7.4s, v6.8h\n",
            "fcvtl v6.4s, v6.4h\n",
            add_value!("v4", "v5", "v0", "v1"),
            add_value!("v6", "v7", "v2", "v3"),
        )
    };
}

/// Adds eight elements of each value, `stride` elements apart, to the sums of eight queries.
///
/// # Safety
///
/// Eight elements must be readable of as many values as there are weights, and writable at each sum.
#[inline(always)]
pub unsafe fn gather_f16(
    values: *const f16,
    stride: usize,
    weights: &[[f32; LANES]],
    sums: [*mut f32; LANES],
) {
    // SAFETY: reads the values and the weights, and reads and writes the sums.
    unsafe {
        asm!(
            "ldp q16, q17, [{s0}]",
            "ldp q18, q19, [{s1}]",
            "ldp q20, q21, [{s2}]",
            "ldp q22, q23, [{s3}]",
            "ldp q24, q25, [{s4}]",
            "ldp q26, q27, [{s5}]",
            "ldp q28, q29, [{s6}]",
            "ldp q30, q31, [{s7}]",
            "ands {single}, {n}, #3",
            "b.eq 3f",
            "2:",
            "ldp q0, q1, [{w}], #32",
            "ld1 {{v4.8h}}, [{v}], {stride}",
            "fcvtl2 v5.4s, v4.8h",
            "fcvtl v4.4s, v4.4h",
            add_value!("v4", "v5", "v0", "v1"),
            "subs {single}, {single}, #1",
            "b.ne 2b",
            "3:",
            "lsr {n}, {n}, #2",
            "cbz {n}, 5f",
            "4:",
            two_values!(),
            two_values!(),
            "subs {n}, {n}, #1",
            "b.ne 4b",
            "5:",
            "stp q16, q17, [{s0}]",
            "stp q18, q19, [{s1}]",
            "stp q20, q21, [{s2}]",
            "stp q22, q23, [{s3}]",
            "stp q24, q25, [{s4}]",
            "stp q26, q27, [{s5}]",
            "stp q28, q29, [{s6}]",
            "stp q30, q31, [{s7}]",
            v = inout(reg) values => _,
            w = inout(reg) weights.as_ptr() => _,
            stride = in(reg) stride * size_of::<f16>(),
            n = inout(reg) weights.len() => _,
            single = out(reg) _,
            s0 = in(reg) sums[0],
            s1 = in(reg) sums[1],
            s2 = in(reg) sums[2],
            s3 = in(reg) sums[3],
            s4 = in(reg) sums[4],
            s5 = in(reg) sums[5],
            s6 = in(reg) sums[6],
            s7 = in(reg) sums[7],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}

//! Loops of attention over f16 caches in assembly.
//!
//! They compute what [`attention_f32`](crate::simd::attention_f32) computes over [`Lanes`](crate::simd::lanes::Lanes), in the
//! same order. Four queries times two keys, and eight queries times eight elements of the values, take all registers; the
//! compiler's loops had an eighth more instructions.

use super::asm::{asm_writing, by_lane, fours, two_at, zeros};
use crate::simd::lanes::LANES;
use half::f16;

/// Elements of a key that one pass of the loop takes.
const CHUNK: usize = 32;

/// Adds the products of 16 elements of query `$q` with those of two keys, in v0 to v3 and v4 to v7.
macro_rules! query {
    ($q:literal $a0:literal $a1:literal $b0:literal $b1:literal) => {
        concat!(
            "ld1 {{v8.4s, v9.4s, v10.4s, v11.4s}}, [{", $q, "}], #64\n",
            fours!("fmla" $a0 "v8" "v0"), fours!("fmla" $a1 "v9" "v1"),
            fours!("fmla" $b0 "v8" "v4"), fours!("fmla" $b1 "v9" "v5"),
            fours!("fmla" $a0 "v10" "v2"), fours!("fmla" $a1 "v11" "v3"),
            fours!("fmla" $b0 "v10" "v6"), fours!("fmla" $b1 "v11" "v7"),
        )
    };
}

/// Converts the eight f16 in `$low` to f32: the upper four into `$high`, the lower four in place.
macro_rules! converted {
    ($low:literal $high:literal) => {
        concat!("fcvtl2 ", $high, ".4s, ", $low, ".8h\nfcvtl ", $low, ".4s, ", $low, ".4h\n")
    };
}

/// Adds the products of 16 elements of four queries and two keys.
macro_rules! half_chunk {
    () => {
        concat!(
            "ldp q0, q2, [{a}], #32\n",
            "ldp q4, q6, [{b}], #32\n",
            converted!("v0" "v1"), converted!("v2" "v3"), converted!("v4" "v5"), converted!("v6" "v7"),
            query!("q0" "v16" "v17" "v18" "v19"),
            query!("q1" "v20" "v21" "v22" "v23"),
            query!("q2" "v24" "v25" "v26" "v27"),
            query!("q3" "v28" "v29" "v30" "v31"),
        )
    };
}

/// Writes the products of four queries with pairs of keys, which lie `stride` elements apart, to lanes `lane..lane + 4` of
/// `products`. Returns the number of keys: 0 if `len` does not suit the loop, otherwise all, or all but the last if their
/// number is odd.
///
/// # Safety
///
/// `len` elements must be readable of each query and of a key for each of `products`.
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
    assert!(lane + 4 <= LANES, "four lanes of a row");
    // Into all rows, which the loop goes through.
    let out = products.as_mut_ptr().cast::<f32>().wrapping_add(lane);
    // SAFETY: reads queries and keys, which the caller guarantees, and writes four lanes of `2 * n_pairs` products.
    unsafe {
        asm_writing!(
            v0_v7 v8_v11 v16_v23 v24_v31; (nostack)
            "2:",
            zeros!("v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"),
            zeros!("v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31"),
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
            // Adds the halves of each sum, then neighbours twice.
            fours!("fadd" "v16" "v16" "v17"), fours!("fadd" "v20" "v20" "v21"),
            fours!("fadd" "v24" "v24" "v25"), fours!("fadd" "v28" "v28" "v29"),
            fours!("fadd" "v18" "v18" "v19"), fours!("fadd" "v22" "v22" "v23"),
            fours!("fadd" "v26" "v26" "v27"), fours!("fadd" "v30" "v30" "v31"),
            fours!("faddp" "v16" "v16" "v20"), fours!("faddp" "v24" "v24" "v28"),
            fours!("faddp" "v18" "v18" "v22"), fours!("faddp" "v26" "v26" "v30"),
            fours!("faddp" "v16" "v16" "v24"), fours!("faddp" "v18" "v18" "v26"),
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
            out = inout(reg) out => _,
        );
    }
    2 * n_pairs
}

/// Adds eight elements of a value, in `$low` and `$high`, times the weights of eight queries, in `$w0` and `$w1`.
macro_rules! add_value {
    ($low:literal $high:literal $w0:literal $w1:literal) => {
        concat!(
            add_value!(@ "v16" "v17" $low $high $w0 "0"),
            add_value!(@ "v18" "v19" $low $high $w0 "1"),
            add_value!(@ "v20" "v21" $low $high $w0 "2"),
            add_value!(@ "v22" "v23" $low $high $w0 "3"),
            add_value!(@ "v24" "v25" $low $high $w1 "0"),
            add_value!(@ "v26" "v27" $low $high $w1 "1"),
            add_value!(@ "v28" "v29" $low $high $w1 "2"),
            add_value!(@ "v30" "v31" $low $high $w1 "3"),
        )
    };
    (@ $a:literal $b:literal $low:literal $high:literal $w:literal $lane:literal) => {
        concat!(by_lane!("fmla" $a $low $w $lane), by_lane!("fmla" $b $high $w $lane))
    };
}

/// Adds the next two values.
macro_rules! two_values {
    () => {
        concat!(
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{w}], #64\n",
            "ld1 {{v4.8h}}, [{v}], {stride}\n",
            "ld1 {{v6.8h}}, [{v}], {stride}\n",
            converted!("v4" "v5"),
            converted!("v6" "v7"),
            add_value!("v4" "v5" "v0" "v1"),
            add_value!("v6" "v7" "v2" "v3"),
        )
    };
}

/// Loads or stores v16 to v31: eight sums of each of eight queries.
macro_rules! eight_sums {
    ($name:literal) => {
        concat!(
            two_at!($name "q16" "q17" "s0"),
            two_at!($name "q18" "q19" "s1"),
            two_at!($name "q20" "q21" "s2"),
            two_at!($name "q22" "q23" "s3"),
            two_at!($name "q24" "q25" "s4"),
            two_at!($name "q26" "q27" "s5"),
            two_at!($name "q28" "q29" "s6"),
            two_at!($name "q30" "q31" "s7"),
        )
    };
}

/// Adds eight elements of each value, times its weights, to the sums of eight queries. Values lie `stride` elements apart.
///
/// # Safety
///
/// Eight elements must be readable of a value for each of `weights`, and readable and writable at each of `sums`.
#[inline(always)]
pub unsafe fn gather_f16(
    values: *const f16,
    stride: usize,
    weights: &[[f32; LANES]],
    sums: [*mut f32; LANES],
) {
    // SAFETY: accesses only the weights, and the values and sums that the caller guarantees.
    unsafe {
        asm_writing!(
            v0_v7 v16_v23 v24_v31; (nostack)
            eight_sums!("ldp"),
            "ands {single}, {n}, #3",
            "b.eq 3f",
            "2:",
            "ldp q0, q1, [{w}], #32",
            "ld1 {{v4.8h}}, [{v}], {stride}",
            converted!("v4" "v5"),
            add_value!("v4" "v5" "v0" "v1"),
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
            eight_sums!("stp"),
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
        );
    }
}

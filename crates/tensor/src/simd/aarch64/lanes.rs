//! Eight floats in two NEON registers.

use super::attention;
use super::load::{load_16, store_f32x8};
use crate::simd::lanes::{LANES, Lanes};
use core::arch::{aarch64::*, asm};
use half::f16;

/// Eight floats.
///
/// NEON is part of every target that this module is built for: wherever SAFETY names NEON below,
/// that is why its instructions may be used.
#[derive(Clone, Copy)]
pub struct F32x8(pub [float32x4_t; 2]);

impl F32x8 {
    #[inline(always)]
    fn with(self, b: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        F32x8([f(self.0[0], b.0[0]), f(self.0[1], b.0[1])])
    }

    #[inline(always)]
    fn widened(self) -> [float64x2_t; 4] {
        let [a, b] = self.0;
        // SAFETY: NEON.
        unsafe {
            let low = [vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a)];
            [low[0], low[1], vcvt_f64_f32(vget_low_f32(b)), vcvt_high_f64_f32(b)]
        }
    }
}

impl Lanes for F32x8 {
    type Wide = [float64x2_t; 4];
    type Weights = [float32x4_t; 2];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: NEON.
        F32x8([unsafe { vdupq_n_f32(x) }; 2])
    }

    #[inline(always)]
    unsafe fn load<const GROUP: usize>(p: *const f32) -> Self {
        let (a, b);
        // SAFETY: reads the values that the caller vouches for and nothing else.
        unsafe {
            asm!(
                "ldp {a:q}, {b:q}, [{p}, #{offset}]",
                a = lateout(vreg) a,
                b = lateout(vreg) b,
                p = in(reg) p,
                offset = const GROUP * LANES * size_of::<f32>(),
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        F32x8([a, b])
    }

    #[inline(always)]
    unsafe fn load_f16<const GROUP: usize>(p: *const f16) -> Self {
        let (low, high);
        // SAFETY: reads the values that the caller vouches for and nothing else.
        unsafe {
            asm!(
                "ldr {high:q}, [{p}, #{offset}]",
                "fcvtl {low:v}.4s, {high:v}.4h",
                "fcvtl2 {high:v}.4s, {high:v}.8h",
                low = lateout(vreg) low,
                high = out(vreg) high,
                p = in(reg) p,
                offset = const GROUP * LANES * size_of::<f16>(),
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        F32x8([low, high])
    }

    #[inline(always)]
    unsafe fn load_i8<const GROUP: usize>(p: *const i8) -> Self {
        let (low, high);
        // SAFETY: reads the values that the caller vouches for and nothing else.
        unsafe {
            asm!(
                // Any offset: a quantised block's bytes begin at each second one.
                "ldur {high:d}, [{p}, #{offset}]",
                "sxtl {high:v}.8h, {high:v}.8b",
                "sxtl {low:v}.4s, {high:v}.4h",
                "sxtl2 {high:v}.4s, {high:v}.8h",
                "scvtf {low:v}.4s, {low:v}.4s",
                "scvtf {high:v}.4s, {high:v}.4s",
                low = out(vreg) low,
                high = out(vreg) high,
                p = in(reg) p,
                offset = const GROUP * LANES,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        F32x8([low, high])
    }

    #[inline(always)]
    unsafe fn splat_f16(p: *const u8) -> Self {
        let x;
        // SAFETY: reads the two bytes that the caller vouches for and nothing else.
        unsafe {
            asm!(
                "ld1r {{{x:v}.4h}}, [{p}]",
                "fcvtl {x:v}.4s, {x:v}.4h",
                x = out(vreg) x,
                p = in(reg) p,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        F32x8([x; 2])
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        store_f32x8(out, self.0);
    }

    #[inline(always)]
    fn store_f16(self, out: &mut [f16; LANES]) {
        // SAFETY: writes the 16 bytes of `out` and nothing else.
        unsafe {
            asm!(
                "fcvtn {halves:v}.4h, {low:v}.4s",
                "fcvtn2 {halves:v}.8h, {high:v}.4s",
                "str {halves:q}, [{p}]",
                low = in(vreg) self.0[0],
                high = in(vreg) self.0[1],
                halves = out(vreg) _,
                p = in(reg) out.as_mut_ptr(),
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: NEON.
        self.with(b, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: NEON.
        self.with(b, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: NEON.
        self.with(b, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: NEON.
        self.with(b, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: NEON.
        F32x8(unsafe { [vfmaq_f32(c.0[0], self.0[0], b.0[0]), vfmaq_f32(c.0[1], self.0[1], b.0[1])] })
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: NEON.
        self.with(b, |a, b| unsafe { vmaxq_f32(a, b) })
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: NEON.
        self.with(b, |a, b| unsafe { vminq_f32(a, b) })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        // SAFETY: NEON.
        F32x8(self.0.map(|x| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(x))) }))
    }

    #[inline(always)]
    fn turn_pairs(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self {
        const MINUS_EVEN: u64 = 1 << 31;
        // SAFETY: NEON; the four floats are readable.
        unsafe {
            let [cos, sin] = [cos, sin].map(|x| vreinterpretq_f32_u8(load_16::<0>(x.as_ptr().cast())));
            let turn = |x, cos, sin| {
                let products = vreinterpretq_u64_f32(vmulq_f32(vrev64q_f32(x), sin));
                let products = vreinterpretq_f32_u64(veorq_u64(products, vdupq_n_u64(MINUS_EVEN)));
                vfmaq_f32(products, x, cos)
            };
            let low = turn(self.0[0], vzip1q_f32(cos, cos), vzip1q_f32(sin, sin));
            F32x8([low, turn(self.0[1], vzip2q_f32(cos, cos), vzip2q_f32(sin, sin))])
        }
    }

    #[inline(always)]
    fn fold(v: [Self; 4]) -> [f32; 4] {
        // SAFETY: NEON; four floats are as large as the vector.
        unsafe {
            let [a, b, c, d] = v.map(|v| vaddq_f32(v.0[0], v.0[1]));
            let sums = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
            core::mem::transmute::<float32x4_t, [f32; 4]>(sums)
        }
    }

    #[inline(always)]
    unsafe fn products_f16(
        q: [*const f32; 4],
        keys: *const f16,
        stride: usize,
        len: usize,
        products: &mut [[f32; LANES]],
        lane: usize,
    ) -> usize {
        // SAFETY: the caller vouches for queries and keys.
        unsafe { attention::products_f16(q, keys, stride, len, products, lane) }
    }

    #[inline(always)]
    unsafe fn gather_f16(
        values: *const f16,
        stride: usize,
        weights: &[[f32; LANES]],
        sums: [*mut f32; LANES],
    ) -> bool {
        // SAFETY: the caller vouches for values and sums.
        unsafe { attention::gather_f16(values, stride, weights, sums) };
        true
    }

    #[inline(always)]
    fn weights(w: &[f32; LANES]) -> Self::Weights {
        Self::of(w).0
    }

    #[inline(always)]
    fn add_weighted<const INDEX: usize>(self, v: Self, w: Self::Weights) -> Self {
        let w = w[INDEX / 4];
        // SAFETY: NEON.
        let add = |sum, v| unsafe {
            match INDEX % 4 {
                0 => vfmaq_laneq_f32::<0>(sum, v, w),
                1 => vfmaq_laneq_f32::<1>(sum, v, w),
                2 => vfmaq_laneq_f32::<2>(sum, v, w),
                _ => vfmaq_laneq_f32::<3>(sum, v, w),
            }
        };
        self.with(v, add)
    }

    #[inline(always)]
    fn wide_zeros() -> Self::Wide {
        // SAFETY: NEON.
        [unsafe { vdupq_n_f64(0.0) }; 4]
    }

    #[inline(always)]
    fn add_to(self, sums: Self::Wide) -> Self::Wide {
        let x = self.widened();
        // SAFETY: NEON.
        core::array::from_fn(|i| unsafe { vaddq_f64(sums[i], x[i]) })
    }

    #[inline(always)]
    fn add_square_to(self, sums: Self::Wide) -> Self::Wide {
        let x = self.widened();
        // SAFETY: NEON.
        core::array::from_fn(|i| unsafe { vfmaq_f64(sums[i], x[i], x[i]) })
    }

    #[inline(always)]
    fn wide_values(sums: Self::Wide) -> [f64; LANES] {
        // SAFETY: eight doubles are as large as the four vectors.
        unsafe { core::mem::transmute::<[float64x2_t; 4], [f64; LANES]>(sums) }
    }
}

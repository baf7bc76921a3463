//! Eight floats in two NEON registers.

use super::attention_f32;
use super::load::{load, load_16, store, store_f32x8};
use crate::simd::lanes::{F16Loops, LANES, Lanes};
use crate::simd::quantize::ROUNDING;
use core::arch::aarch64::*;
use half::{bf16, f16};

/// Eight floats.
///
/// `SAFETY: NEON` below means that NEON is part of every target that this module is built for.
#[derive(Clone, Copy)]
pub struct F32x8(pub [float32x4_t; 2]);

impl F32x8 {
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

/// Operations on each of the two registers.
macro_rules! by_halves {
    ($($name:ident: $intrinsic:ident;)+) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            // SAFETY: NEON.
            F32x8(unsafe { [$intrinsic(self.0[0], b.0[0]), $intrinsic(self.0[1], b.0[1])] })
        }
    )+};
}

impl Lanes for F32x8 {
    type Wide = [float64x2_t; 4];
    type Weights = [float32x4_t; 2];
    const F16_LOOPS: Option<F16Loops> =
        Some(F16Loops { products: attention_f32::products_f16, gather: attention_f32::gather_f16 });

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: NEON.
        F32x8([unsafe { vdupq_n_f32(x) }; 2])
    }

    #[inline(always)]
    unsafe fn load<const GROUP: usize>(p: *const f32) -> Self {
        // SAFETY: reads only the values, which the caller guarantees to be readable.
        F32x8(unsafe {
            load!("ldp {a:q}, {b:q}, [{p}, #{offset}]"; p = p; offset GROUP * LANES * size_of::<f32>() => [a, b])
        })
    }

    #[inline(always)]
    unsafe fn load_f16<const GROUP: usize>(p: *const f16) -> Self {
        // SAFETY: reads only the values, which the caller guarantees to be readable.
        F32x8(unsafe {
            load!(
                "ldr {high:q}, [{p}, #{offset}]",
                "fcvtl {low:v}.4s, {high:v}.4h",
                "fcvtl2 {high:v}.4s, {high:v}.8h";
                p = p; offset GROUP * LANES * size_of::<f16>() => [low, high]
            )
        })
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: reads only the values, which the caller guarantees to be readable.
        F32x8(unsafe {
            load!(
                "ldr {high:q}, [{p}]",
                "shll {low:v}.4s, {high:v}.4h, #16",
                "shll2 {high:v}.4s, {high:v}.8h, #16";
                p = p => [low, high]
            )
        })
    }

    #[inline(always)]
    unsafe fn load_i8<const GROUP: usize>(p: *const i8) -> Self {
        // SAFETY: reads only the values, which the caller guarantees to be readable.
        F32x8(unsafe {
            load!(
                "ldur {high:d}, [{p}, #{offset}]",
                "sxtl {high:v}.8h, {high:v}.8b",
                "sxtl {low:v}.4s, {high:v}.4h",
                "sxtl2 {high:v}.4s, {high:v}.8h",
                "scvtf {low:v}.4s, {low:v}.4s",
                "scvtf {high:v}.4s, {high:v}.4s";
                p = p; offset GROUP * LANES => [low, high]
            )
        })
    }

    #[inline(always)]
    unsafe fn splat_f16(p: *const u8) -> Self {
        // SAFETY: reads only the two bytes, which the caller guarantees to be readable.
        let x = unsafe { load!("ld1r {{{x:v}.4h}}, [{p}]", "fcvtl {x:v}.4s, {x:v}.4h"; p = p => x) };
        F32x8([x; 2])
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        store_f32x8(out, self.0);
    }

    #[inline(always)]
    fn store_f16(self, out: &mut [f16; LANES]) {
        // SAFETY: writes only the 16 bytes of `out`.
        unsafe {
            core::arch::asm!(
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

    by_halves! {
        add: vaddq_f32;
        sub: vsubq_f32;
        mul: vmulq_f32;
        div: vdivq_f32;
        max: vmaxq_f32;
        min: vminq_f32;
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: NEON.
        F32x8(unsafe { [vfmaq_f32(c.0[0], self.0[0], b.0[0]), vfmaq_f32(c.0[1], self.0[1], b.0[1])] })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: NEON.
        F32x8(self.0.map(|x| unsafe { vabsq_f32(x) }))
    }

    #[inline(always)]
    fn max_magnitude(self, b: Self) -> Self {
        // Compared as integers, magnitudes keep their order, and NaN is larger than all others.
        let larger = |a, b| {
            // SAFETY: NEON.
            unsafe { vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))) }
        };
        F32x8([larger(self.0[0], b.0[0]), larger(self.0[1], b.0[1])])
    }

    #[inline(always)]
    fn largest_magnitude(self) -> f32 {
        let [a, b] = self.0;
        // SAFETY: NEON.
        f32::from_bits(unsafe { vmaxvq_u32(vmaxq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))) })
    }

    #[inline(always)]
    fn round(x: [Self; 2], inverse: f32, out: &mut [i8; 2 * LANES]) -> i32 {
        let [[a, b], [c, d]] = x.map(|x| x.0);
        // SAFETY: NEON; writes only the 16 bytes of `out`.
        unsafe {
            let rounding = vdupq_n_f32(ROUNDING);
            let q = [a, b, c, d].map(|x| vmovn_s32(vreinterpretq_s32_f32(vfmaq_n_f32(rounding, x, inverse))));
            let q = [vcombine_s16(q[0], q[1]), vcombine_s16(q[2], q[3])].map(|q| vmovn_s16(q));
            let q = vcombine_s8(q[0], q[1]);
            store!("str {v:q}, [{p}]"; v = q => p = out.as_mut_ptr());
            i32::from(vaddlvq_s8(q))
        }
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        // SAFETY: NEON.
        F32x8(self.0.map(|x| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(x))) }))
    }

    #[inline(always)]
    fn rope_norm(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self {
        const MINUS_EVEN: u64 = 1 << 31;
        // SAFETY: NEON; reads only the four floats of each array.
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
        // SAFETY: NEON; both types hold four floats.
        unsafe {
            let [a, b, c, d] = v.map(|v| vaddq_f32(v.0[0], v.0[1]));
            let sums = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
            core::mem::transmute::<float32x4_t, [f32; 4]>(sums)
        }
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
        F32x8([add(self.0[0], v.0[0]), add(self.0[1], v.0[1])])
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
        // SAFETY: both types hold eight doubles without padding.
        unsafe { core::mem::transmute::<[float64x2_t; 4], [f64; LANES]>(sums) }
    }
}

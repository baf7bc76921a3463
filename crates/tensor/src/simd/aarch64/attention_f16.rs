//! Attention over f16 caches, computed in half precision: FEAT_FP16.
//!
//! `FMLA` multiplies eight elements instead of four, and cached elements need no conversion, but sums have only 11 significant
//! bits. Results therefore differ from those of every other set, and these sets are used only if the user names them.
//!
//! - Queries are divided by a power of two, so that the sum of their magnitudes is at most 1, and rounded to f16. Then neither
//!   a product with a key nor any partial sum exceeds the key's largest element, so nothing overflows.
//! - Weights are divided by the number of positions in a block, so that their sum is at most 1, and rounded to f16. The
//!   weighted values of a block are added up in f16, the sums of blocks in single precision.
//!
//! The softmax itself is that of [`attention`](crate::simd::attention), in single precision.

use super::lanes::F32x8;
use super::load::{next_16, next_32};
use super::{dotprod, i8mm};
use crate::simd::Kernels;
use crate::simd::attention::{self, Arithmetic, Attend, BLOCK_LEN, MAX_QUERIES, Prepare, Query, Step};
use crate::simd::attention_f32::Single;
use crate::simd::lanes::{LANES, Lanes};
use crate::simd::table::AttendFns;
use core::arch::{aarch64::*, asm};
use core::mem::MaybeUninit;
use half::f16;

pub static DOTPROD: Kernels = Kernels { name: "dotprod+fp16", attend: ATTEND, ..dotprod::TABLE };
pub static I8MM: Kernels = Kernels { name: "i8mm+fp16", attend: ATTEND, ..i8mm::TABLE };

const ATTEND: AttendFns = AttendFns { f16: attend_f16, ..AttendFns::of::<F32x8, Single>() };

/// The longest query, in elements, for which there is room. Longer ones are computed in single precision.
const MAX_LEN: usize = 256;

/// # Safety
///
/// The CPU must have FEAT_FP16.
unsafe fn attend_f16(attend: &Attend<'_, f16>, queries: &[Query], output: &mut [f32]) {
    let is_whole = |len: usize| len.is_multiple_of(LANES);
    if is_whole(attend.head_len_k) && is_whole(attend.head_len_v) && attend.head_len_k <= MAX_LEN {
        // SAFETY: the caller guarantees FEAT_FP16, and NEON is part of every target that this module is built for.
        unsafe { attention::run::<F32x8, Half, f16>(attend, queries, output) }
    } else {
        // SAFETY: NEON is part of every target that this module is built for.
        unsafe { (AttendFns::of::<F32x8, Single>().f16)(attend, queries, output) }
    }
}

/// Queries in half precision.
struct Half {
    /// `[head_len_k / LANES][MAX_QUERIES][LANES]`; zeros where there is no query.
    queries: [MaybeUninit<[[f16; LANES]; MAX_QUERIES]>; MAX_LEN / LANES],
    /// The power of two that each query was divided by.
    scales: [f32; MAX_QUERIES],
}

impl Prepare<F32x8, f16> for Half {
    #[inline(always)]
    fn new(attend: &Attend<'_, f16>, queries: &[Query]) -> Self {
        let mut half = Half { queries: [MaybeUninit::uninit(); MAX_LEN / LANES], scales: [0.0; MAX_QUERIES] };
        for vectors in &mut half.queries[..attend.head_len_k / LANES] {
            vectors.write([[f16::ZERO; LANES]; MAX_QUERIES]);
        }
        for (index, query) in queries.iter().enumerate() {
            let (vectors, _) = attend.query(query).as_chunks();
            let mut magnitudes = F32x8::splat(0.0);
            for vector in vectors {
                let x = F32x8::of(vector);
                magnitudes = magnitudes.add(x.max(x.mul(F32x8::splat(-1.0))));
            }
            let zeros = F32x8::splat(0.0);
            let [sum, ..] = F32x8::fold([magnitudes, zeros, zeros, zeros]);
            let scale = power_of_two_above(sum);
            half.scales[index] = scale;
            for (vector, rounded) in vectors.iter().zip(&mut half.queries) {
                // SAFETY: the first loop has written zeros to the vectors of all `head_len_k` elements.
                let rounded = unsafe { rounded.assume_init_mut() };
                F32x8::of(vector).mul(F32x8::splat(1.0 / scale)).store_f16(&mut rounded[index]);
            }
        }
        half
    }
}

impl Arithmetic<F32x8, f16> for Half {
    #[inline(always)]
    fn scales(&self, attend: &Attend<'_, f16>) -> F32x8 {
        F32x8::of(&self.scales).mul(F32x8::splat(attend.scale))
    }

    #[inline(always)]
    fn products(&self, attend: &Attend<'_, f16>, step: Step<'_>, products: &mut [[f32; LANES]]) {
        let Step { queries, first } = step;
        let stride = attend.keys.stride;
        let keys = attend.keys(first, products.len()).as_ptr();
        let len = attend.head_len_k;
        // SAFETY: `new` has initialised `len` elements of the queries, and `keys` holds one key for each of `products`.
        unsafe {
            match queries.len() {
                1 => self.products_of::<1, 8>(keys, stride, len, products),
                2 => self.products_of::<2, 4>(keys, stride, len, products),
                3..=4 => self.products_of::<4, 4>(keys, stride, len, products),
                _ => self.products_of::<8, 2>(keys, stride, len, products),
            }
        }
    }

    #[inline(always)]
    fn gather(&self, attend: &Attend<'_, f16>, step: Step<'_>, weights: &[[f32; LANES]], output: &mut [f32]) {
        let Step { queries, first } = step;
        // `add_weighted` loads eight weights from any lane on, which reaches into the next row, so there is one more row.
        let mut rounded = [MaybeUninit::uninit(); BLOCK_LEN + 1];
        for (weights, rounded) in weights.iter().zip(&mut rounded) {
            let weights = F32x8::of(weights).mul(F32x8::splat(1.0 / BLOCK_LEN as f32));
            weights.store_f16(rounded.write([f16::ZERO; LANES]));
        }
        rounded[weights.len()].write([f16::ZERO; LANES]);
        // SAFETY: the loop has initialised `weights.len()` rows, and one more has just been written.
        let weights = unsafe { rounded[..weights.len() + 1].assume_init_ref() };
        let values = attend.values(first, weights.len() - 1).as_ptr();
        let mut lane = 0;
        while lane < queries.len() {
            // SAFETY: `values` holds one value for each row of weights except the last.
            unsafe {
                lane += match queries.len() - lane {
                    8.. => gather_of::<8, 2>(attend, queries, lane, values, weights, output),
                    4.. => gather_of::<4, 4>(attend, queries, lane, values, weights, output),
                    2.. => gather_of::<2, 4>(attend, queries, lane, values, weights, output),
                    _ => gather_of::<1, 4>(attend, queries, lane, values, weights, output),
                };
            }
        }
    }
}

impl Half {
    /// The products of the first `Q` queries with `K` keys at a time.
    ///
    /// # Safety
    ///
    /// `len` elements of each query must be initialised, and `len` elements readable of a key for each of `products`.
    #[inline(always)]
    unsafe fn products_of<const Q: usize, const K: usize>(
        &self,
        mut keys: *const f16,
        stride: usize,
        len: usize,
        products: &mut [[f32; LANES]],
    ) {
        let (groups, rest) = products.as_chunks_mut::<K>();
        for group in groups {
            let keys_at = core::array::from_fn(|i| keys.wrapping_add(i * stride).cast());
            // SAFETY: the next `K` keys are those of `group`, which the caller guarantees.
            write_folded(unsafe { self.dots::<Q, K>(keys_at, len) }, group);
            keys = keys.wrapping_add(K * stride);
        }
        for products in rest.chunks_exact_mut(1) {
            // SAFETY: the next key is that of this product, which the caller guarantees.
            write_folded(unsafe { self.dots::<Q, 1>([keys.cast()], len) }, products);
            keys = keys.wrapping_add(stride);
        }
    }

    /// The product of each of the first `Q` queries with each key, as eight partial sums.
    ///
    /// # Safety
    ///
    /// `len` elements of each query must be initialised, and `len` elements of each key readable.
    #[inline(always)]
    unsafe fn dots<const Q: usize, const K: usize>(
        &self,
        mut keys: [*const u8; K],
        len: usize,
    ) -> [[HalfLanes; Q]; K] {
        let mut sums = [[HalfLanes::ZEROS; Q]; K];
        let mut queries: *const u8 = self.queries.as_ptr().cast();
        for _ in 0..len / LANES {
            // SAFETY: of the `len` elements that the caller guarantees, at least eight are left.
            unsafe {
                let keys = keys.each_mut().map(|key| HalfLanes::next::<1>(key)[0]);
                for (i, query) in HalfLanes::next::<Q>(&mut queries).into_iter().enumerate() {
                    for (sums, &key) in sums.iter_mut().zip(&keys) {
                        sums[i] = sums[i].fma(query, key);
                    }
                }
            }
            queries = queries.wrapping_add((MAX_QUERIES - Q) * size_of::<[f16; LANES]>());
        }
        sums
    }
}

/// Adds up the partial sums of each query and key; writes the results to the first `Q` lanes of the key's products.
#[inline(always)]
fn write_folded<const Q: usize, const K: usize>(sums: [[HalfLanes; Q]; K], products: &mut [[f32; LANES]]) {
    let zeros = HalfLanes::ZEROS;
    if Q == LANES {
        for (sums, products) in sums.iter().zip(products) {
            HalfLanes::fold(core::array::from_fn(|i| sums[i])).store(products);
        }
        return;
    }
    let sums = sums.as_flattened().chunks(LANES);
    for (sums, products) in sums.zip(products.chunks_mut(LANES / Q)) {
        let mut folded = [0.0; LANES];
        let sum = |i: usize| sums.get(i).copied().unwrap_or(zeros);
        HalfLanes::fold(core::array::from_fn(sum)).store(&mut folded);
        for (products, folded) in products.iter_mut().zip(folded.chunks_exact(Q)) {
            products[..Q].copy_from_slice(folded);
        }
    }
}

/// Adds the weighted values to the outputs of `Q` queries, those from number `lane` on, up to `D` vectors of eight elements at
/// a time. Returns `Q`.
///
/// # Safety
///
/// `head_len_v` elements must be readable of a value for each row of `weights` except the last, which is only padding.
#[inline(always)]
unsafe fn gather_of<const Q: usize, const D: usize>(
    attend: &Attend<'_, f16>,
    queries: &[Query],
    lane: usize,
    values: *const f16,
    weights: &[[f16; LANES]],
    output: &mut [f32],
) -> usize {
    let at: [usize; Q] = core::array::from_fn(|i| queries[lane + i].output_at);
    let mut done = 0;
    while done < attend.head_len_v {
        let (at, values) = (at.map(|at| at + done), values.wrapping_add(done));
        // SAFETY: the caller guarantees the values. `attend_f16` checked that their length is a multiple of `LANES`.
        unsafe {
            if done + D * LANES <= attend.head_len_v {
                add_weighted::<Q, D>(at, lane, values, attend.values.stride, weights, output);
                done += D * LANES;
            } else {
                add_weighted::<Q, 1>(at, lane, values, attend.values.stride, weights, output);
                done += LANES;
            }
        }
    }
    Q
}

/// Adds weighted values to `D` vectors of eight elements of each output; `at` are their places in `output`, and the queries are
/// those from number `lane` on.
///
/// # Safety
///
/// As for [`gather_of`], with `D * LANES` elements of each value.
#[inline(always)]
unsafe fn add_weighted<const Q: usize, const D: usize>(
    at: [usize; Q],
    lane: usize,
    mut values: *const f16,
    stride: usize,
    weights: &[[f16; LANES]],
    output: &mut [f32],
) {
    let mut sums = [[HalfLanes::ZEROS; D]; Q];
    // Into all rows: what is loaded from a lane on reaches into the next one.
    let at_lane = weights.as_flattened()[lane..].as_ptr();
    for row in 0..weights.len() - 1 {
        // SAFETY: the caller guarantees the value, and another row of weights follows this one.
        unsafe {
            let value = HalfLanes::next::<D>(&mut values.cast());
            let [weights] = HalfLanes::next(&mut at_lane.wrapping_add(row * LANES).cast());
            // Not a loop: the compiler would not unroll it and would keep the sums in memory.
            macro_rules! add {
                ($($query:literal)+) => {$(
                    if let Some(sums) = sums.get_mut($query) {
                        for (sum, &value) in sums.iter_mut().zip(&value) {
                            *sum = sum.add_weighted::<$query>(value, weights);
                        }
                    }
                )+};
            }
            add!(0 1 2 3 4 5 6 7);
        }
        values = values.wrapping_add(stride);
    }
    let divisor = F32x8::splat(BLOCK_LEN as f32);
    for (sums, at) in sums.iter().zip(at) {
        let (outputs, _) = output[at..at + D * LANES].as_chunks_mut();
        for (sum, output) in sums.iter().zip(outputs) {
            sum.widened().fma(divisor, F32x8::of(output)).store(output);
        }
    }
}

/// The next power of two above `magnitude`, limited so that its inverse is a normal number.
fn power_of_two_above(magnitude: f32) -> f32 {
    let exponent = (magnitude.to_bits() >> 23).min(252);
    f32::from_bits((exponent + 1) << 23)
}

/// Eight f16. Only [`Half`] uses them, so the CPU has FEAT_FP16.
#[derive(Clone, Copy)]
struct HalfLanes(uint16x8_t);

impl HalfLanes {
    const ZEROS: Self = {
        // SAFETY: every bit pattern is a valid vector.
        HalfLanes(unsafe { core::mem::transmute::<[u16; LANES], uint16x8_t>([0; LANES]) })
    };

    /// The `N` vectors at `p`, which is advanced past them.
    ///
    /// # Safety
    ///
    /// They must be readable.
    #[inline(always)]
    unsafe fn next<const N: usize>(p: &mut *const u8) -> [Self; N] {
        let mut vectors = [Self::ZEROS; N];
        let (pairs, last) = vectors.as_chunks_mut::<2>();
        // SAFETY: the caller guarantees the vectors, and NEON is part of every target that this module is built for.
        unsafe {
            for pair in pairs {
                *pair = next_32(p).map(|v| HalfLanes(vreinterpretq_u16_u8(v)));
            }
            for vector in last {
                *vector = HalfLanes(vreinterpretq_u16_u8(next_16(p)));
            }
        }
        vectors
    }

    /// `self + a · b`, rounded once.
    #[inline(always)]
    fn fma(mut self, a: Self, b: Self) -> Self {
        // SAFETY: accesses registers only; the type's documentation says why the CPU has the instruction.
        unsafe {
            asm!(
                ".arch_extension fp16",
                "fmla {sum:v}.8h, {a:v}.8h, {b:v}.8h",
                sum = inout(vreg) self.0,
                a = in(vreg) a.0,
                b = in(vreg) b.0,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        self
    }

    /// `self + value · weights[INDEX]`, rounded once.
    #[inline(always)]
    fn add_weighted<const INDEX: usize>(mut self, value: Self, weights: Self) -> Self {
        // SAFETY: accesses registers only; the type's documentation says why the CPU has the instruction.
        unsafe {
            asm!(
                ".arch_extension fp16",
                "fmla {sum:v}.8h, {value:v}.8h, {weights:v}.h[{index}]",
                sum = inout(vreg) self.0,
                value = in(vreg) value.0,
                weights = in(vreg_low16) weights.0,
                index = const INDEX,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        self
    }

    /// The sum of each vector's lanes, in single precision.
    #[inline(always)]
    fn fold(v: [Self; LANES]) -> F32x8 {
        let [a, b, c, d, e, f, g, h] = v.map(Self::widened);
        let halves = [F32x8::fold([a, b, c, d]), F32x8::fold([e, f, g, h])];
        // SAFETY: both types hold eight floats without padding.
        F32x8(unsafe { core::mem::transmute::<[[f32; 4]; 2], [float32x4_t; 2]>(halves) })
    }

    /// The same numbers in single precision.
    #[inline(always)]
    fn widened(self) -> F32x8 {
        let (low, high);
        // SAFETY: accesses registers only.
        unsafe {
            asm!(
                "fcvtl {low:v}.4s, {halves:v}.4h",
                "fcvtl2 {high:v}.4s, {halves:v}.8h",
                halves = in(vreg) self.0,
                low = out(vreg) low,
                high = lateout(vreg) high,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        F32x8([low, high])
    }
}

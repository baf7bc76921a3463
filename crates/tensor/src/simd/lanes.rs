//! Eight floats at a time: what the vector routines are written in.
//!
//! [`elementwise`](super::elementwise), [`exp`](super::exp) and [`attention`](super::attention) are written
//! once over [`Lanes`]; each instruction set has a type that implements it. Every operation rounds
//! once, as IEEE 754 says, and nothing is reordered, so that all sets give the same bits.
//! [`Elements`] are the types that such vectors are loaded from.

use half::{bf16, f16};

use crate::blocks::BlockQ8_0;

/// Sums kept by the products of floats: a single one would lose more to rounding, and every set's
/// vectors are made of them.
pub const LANES: usize = 8;

/// The sum of the partial sums: the two halves first, then neighbours.
pub fn add_lanes(s: [f32; LANES]) -> f32 {
    ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))
}

/// Work for [`Lanes::enter`].
pub trait Work {
    /// Does it. To be marked `#[inline(always)]`.
    fn run(self);
}

/// Eight floats.
///
/// Its functions are called by [`Work`] that [`enter`](Self::enter) runs, so where the CPU has the instructions.
pub trait Lanes: Copy {
    /// Eight floats in double precision.
    type Wide: Copy;

    /// Eight floats, each of which multiplies a whole vector.
    type Weights: Copy;

    /// Runs `work` compiled for the set's instructions.
    ///
    /// It is no closure, since these cannot be forced inline: what the compiler does not inline is not
    /// compiled for the set's instructions, and calls a function for each of them.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instructions.
    #[inline(always)]
    unsafe fn enter(work: impl Work) {
        work.run();
    }

    /// `x` eight times.
    fn splat(x: f32) -> Self;

    /// The eight values at `p + 8 · GROUP`.
    ///
    /// # Safety
    ///
    /// This and the following functions of the same form: the values must be readable.
    unsafe fn load<const GROUP: usize>(p: *const f32) -> Self;

    /// The eight values at `p + 8 · GROUP`, converted.
    ///
    /// # Safety
    ///
    /// The values must be readable.
    unsafe fn load_f16<const GROUP: usize>(p: *const f16) -> Self;

    /// The eight values at `p`, converted.
    ///
    /// # Safety
    ///
    /// The values must be readable.
    unsafe fn load_bf16(p: *const bf16) -> Self;

    /// The eight values at `p + 8 · GROUP`, converted.
    ///
    /// # Safety
    ///
    /// The values must be readable.
    unsafe fn load_i8<const GROUP: usize>(p: *const i8) -> Self;

    /// The little-endian half-precision value at `p`, converted, eight times.
    ///
    /// # Safety
    ///
    /// Its two bytes must be readable.
    unsafe fn splat_f16(p: *const u8) -> Self;

    /// Writes the values.
    fn store(self, out: &mut [f32; LANES]);

    /// Writes the values, rounded to half precision.
    fn store_f16(self, out: &mut [f16; LANES]);

    /// `self + b`.
    fn add(self, b: Self) -> Self;

    /// `self - b`.
    fn sub(self, b: Self) -> Self;

    /// `self · b`.
    fn mul(self, b: Self) -> Self;

    /// `self / b`.
    fn div(self, b: Self) -> Self;

    /// `self · b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;

    /// The larger of both; NaN where `self` is. `b` is a number.
    fn max(self, b: Self) -> Self;

    /// The smaller of both; NaN where `self` is. `b` is a number.
    fn min(self, b: Self) -> Self;

    /// `|self|`.
    fn abs(self) -> Self;

    /// The larger of both, neither of which has a sign; NaN is above all.
    fn max_magnitude(self, b: Self) -> Self;

    /// The largest of the eight, none of which has a sign; NaN is above all.
    fn largest_magnitude(self) -> f32;

    /// Writes the lowest eight bits of `x · inverse + ROUNDING`, an integer for each value ([`quantize`](super::quantize)),
    /// and returns the sum of these.
    fn round(x: [Self; 2], inverse: f32, out: &mut [i8; 2 * LANES]) -> i32;

    /// The lowest nine bits of each pattern as sign and exponent, the fraction zero.
    fn low_bits_to_exponent(self) -> Self;

    /// Neighbours `(a, b)` turned to `(a · cos - b · sin, b · cos + a · sin)`: the products with sines
    /// are rounded, those with cosines fused with the sum.
    fn rope_norm(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self;

    /// The sum of each vector's lanes, in the order of [`add_lanes`].
    fn fold(v: [Self; 4]) -> [f32; 4];

    /// Eight weights.
    fn weights(w: &[f32; LANES]) -> Self::Weights;

    /// `self + v · w[INDEX]`, rounded once.
    fn add_weighted<const INDEX: usize>(self, v: Self, w: Self::Weights) -> Self;

    /// Products of four queries with as many of the keys, `stride` elements apart and `len` long, as the
    /// set has a loop of its own for, into lanes `lane..lane + 4` of `products`. Returns how many these
    /// are, the first ones.
    ///
    /// # Safety
    ///
    /// `len` elements must be readable of each query and of each key.
    #[inline(always)]
    unsafe fn products_f16(
        _q: [*const f32; 4],
        _keys: *const f16,
        _stride: usize,
        _len: usize,
        _products: &mut [[f32; LANES]],
        _lane: usize,
    ) -> usize {
        0
    }

    /// Adds eight elements of each value, `stride` elements apart, times its weights to the sums of eight
    /// queries, if the set has a loop of its own for that; returns whether it has.
    ///
    /// # Safety
    ///
    /// Eight elements must be readable of as many values as there are weights, and writable at each sum.
    #[inline(always)]
    unsafe fn gather_f16(
        _values: *const f16,
        _stride: usize,
        _weights: &[[f32; LANES]],
        _sums: [*mut f32; LANES],
    ) -> bool {
        false
    }

    /// Eight zeros in double precision.
    fn wide_zeros() -> Self::Wide;

    /// `sums + self`, in double precision.
    fn add_to(self, sums: Self::Wide) -> Self::Wide;

    /// `sums + self²`, in double precision, where the square is exact.
    fn add_square_to(self, sums: Self::Wide) -> Self::Wide;

    /// The values of a vector in double precision.
    fn wide_values(sums: Self::Wide) -> [f64; LANES];

    /// The values of an array.
    #[inline(always)]
    fn of(x: &[f32; LANES]) -> Self {
        // SAFETY: the array holds them.
        unsafe { Self::load::<0>(x.as_ptr()) }
    }
}

/// What a cache holds of keys and values.
pub trait Stored: Copy {
    /// How many elements one value of this type stands for.
    const LEN: usize;
}

impl Stored for f32 {
    const LEN: usize = 1;
}

impl Stored for f16 {
    const LEN: usize = 1;
}

impl Stored for BlockQ8_0 {
    const LEN: usize = 32;
}

/// Vectors of any type, whose lengths are told in bytes.
impl Stored for u8 {
    const LEN: usize = 1;
}

/// Elements of one head's keys or values, as a cache holds them.
pub trait Elements: Stored {
    /// Elements `8 · group..8 · (group + 1)` of the row at `p`; `group` is at most 3.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V;

    /// One element of the row at `p`.
    ///
    /// # Safety
    ///
    /// It must be readable.
    unsafe fn element(p: *const Self, index: usize) -> f32;

    /// [`Lanes::products_f16`] for this type.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    unsafe fn products<V: Lanes>(
        _q: [*const f32; 4],
        _keys: *const Self,
        _stride: usize,
        _len: usize,
        _products: &mut [[f32; LANES]],
        _lane: usize,
    ) -> usize {
        0
    }

    /// [`Lanes::gather_f16`] for this type.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    unsafe fn gather<V: Lanes>(
        _values: *const Self,
        _stride: usize,
        _weights: &[[f32; LANES]],
        _sums: [*mut f32; LANES],
    ) -> bool {
        false
    }
}

/// Calls a function of constant `GROUP`, so that it becomes part of an instruction.
macro_rules! with_group {
    ($group:expr, $function:ident($($argument:expr),*)) => {
        match $group {
            0 => V::$function::<0>($($argument),*),
            1 => V::$function::<1>($($argument),*),
            2 => V::$function::<2>($($argument),*),
            _ => V::$function::<3>($($argument),*),
        }
    };
}

impl Elements for f32 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V {
        // SAFETY: the caller vouches for the values.
        unsafe { with_group!(group, load(p)) }
    }

    #[inline(always)]
    unsafe fn element(p: *const Self, index: usize) -> f32 {
        // SAFETY: the caller vouches for the value.
        unsafe { *p.add(index) }
    }
}

impl Elements for f16 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V {
        // SAFETY: the caller vouches for the values.
        unsafe { with_group!(group, load_f16(p)) }
    }

    #[inline(always)]
    unsafe fn element(p: *const Self, index: usize) -> f32 {
        // SAFETY: the caller vouches for the value.
        unsafe { *p.add(index) }.to_f32()
    }

    #[inline(always)]
    unsafe fn products<V: Lanes>(
        q: [*const f32; 4],
        keys: *const Self,
        stride: usize,
        len: usize,
        products: &mut [[f32; LANES]],
        lane: usize,
    ) -> usize {
        // SAFETY: the caller vouches for queries and keys.
        unsafe { V::products_f16(q, keys, stride, len, products, lane) }
    }

    #[inline(always)]
    unsafe fn gather<V: Lanes>(
        values: *const Self,
        stride: usize,
        weights: &[[f32; LANES]],
        sums: [*mut f32; LANES],
    ) -> bool {
        // SAFETY: the caller vouches for values and sums.
        unsafe { V::gather_f16(values, stride, weights, sums) }
    }
}

impl Elements for BlockQ8_0 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V {
        // SAFETY: the caller vouches for the block.
        unsafe {
            let scale = V::splat_f16((&raw const (*p).d).cast());
            let quants: V = with_group!(group, load_i8((&raw const (*p).qs).cast()));
            quants.mul(scale)
        }
    }

    #[inline(always)]
    unsafe fn element(p: *const Self, index: usize) -> f32 {
        // SAFETY: the caller vouches for the block.
        let block = unsafe { &*p.add(index / Self::LEN) };
        f32::from(block.qs[index % Self::LEN]) * block.d.to_f32()
    }
}

//! Vectors of eight floats, in which the vector routines are written.
//!
//! [`elementwise`](super::elementwise), [`exp`](super::exp) and [`attention`](super::attention) are written once over
//! [`Lanes`]; each instruction set has a type that implements it. Every operation rounds once, as IEEE 754 specifies, and
//! nothing is reordered, so all sets give the same bits. Vectors are loaded from the types that implement [`Elements`].

use half::{bf16, f16};

use crate::blocks::BlockQ8_0;

/// Number of elements in a vector, and of partial sums in a product of floats: a single sum would lose more to rounding.
pub const LANES: usize = 8;

/// Adds up the partial sums: first the two halves, then neighbours.
pub fn add_lanes(s: [f32; LANES]) -> f32 {
    ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))
}

/// A computation that [`Lanes::enter`] runs. `V` is the type of its vectors, or a tuple or marker type that names all types
/// that it is generic over.
pub trait Work<V> {
    /// Runs it. Implementations must be marked `#[inline(always)]`.
    fn run(self);
}

/// Eight floats.
///
/// The functions are called from [`Work`] that [`enter`](Self::enter) runs, that is, only where the CPU has the instructions.
pub trait Lanes: Copy {
    /// Eight floats in double precision.
    type Wide: Copy;

    /// Eight weights, each of which multiplies a whole vector.
    type Weights: Copy;

    /// The set's own loops for attention over f16 caches, if it has them.
    const F16_LOOPS: Option<F16Loops> = None;

    /// Runs `work`, compiled for the set's instructions.
    ///
    /// `work` is not a closure because closures cannot be forced inline. Code that is not inlined is not compiled for the set's
    /// instructions: each of them would become a function call.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instructions.
    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        work.run();
    }

    /// `x` eight times.
    fn splat(x: f32) -> Self;

    /// The eight values at `p + 8 · GROUP`.
    ///
    /// # Safety
    ///
    /// The values must be readable.
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

    /// The larger of the two; NaN where `self` is NaN. `b` must not be NaN.
    fn max(self, b: Self) -> Self;

    /// The smaller of the two; NaN where `self` is NaN. `b` must not be NaN.
    fn min(self, b: Self) -> Self;

    /// `|self|`.
    fn abs(self) -> Self;

    /// The larger of the two, neither of which has its sign bit set; NaN counts as the largest.
    fn max_magnitude(self, b: Self) -> Self;

    /// The largest of the eight values, none of which has its sign bit set; NaN counts as the largest.
    fn largest_magnitude(self) -> f32;

    /// Writes each value of `x · inverse`, rounded to an integer: the lowest eight bits of `x · inverse + ROUNDING`
    /// ([`quantize`](super::quantize)). Returns the sum of these integers.
    fn round(x: [Self; 2], inverse: f32, out: &mut [i8; 2 * LANES]) -> i32;

    /// For each value: its lowest nine bits as sign and exponent, with a fraction of zero.
    fn low_bits_to_exponent(self) -> Self;

    /// Rotates neighbours `(a, b)` to `(a · cos - b · sin, b · cos + a · sin)`. The products with sines are rounded; those with
    /// cosines are fused with the sum.
    fn rope_norm(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self;

    /// The sum of each vector's lanes, in the order of [`add_lanes`].
    fn fold(v: [Self; 4]) -> [f32; 4];

    /// Prepares eight weights for [`add_weighted`](Self::add_weighted).
    fn weights(w: &[f32; LANES]) -> Self::Weights;

    /// `self + v · w[INDEX]`, rounded once.
    fn add_weighted<const INDEX: usize>(self, v: Self, w: Self::Weights) -> Self;

    /// Eight zeros in double precision.
    fn wide_zeros() -> Self::Wide;

    /// `sums + self`, in double precision.
    fn add_to(self, sums: Self::Wide) -> Self::Wide;

    /// `sums + self²`, in double precision. The square is exact.
    fn add_square_to(self, sums: Self::Wide) -> Self::Wide;

    /// The values of a vector in double precision.
    fn wide_values(sums: Self::Wide) -> [f64; LANES];

    /// The values of an array.
    #[inline(always)]
    fn of(x: &[f32; LANES]) -> Self {
        // SAFETY: the array holds eight values.
        unsafe { Self::load::<0>(x.as_ptr()) }
    }
}

/// Writes the products of four queries with the first keys, as many as the loop can take, to lanes `lane..lane + 4` of
/// `products`. Returns the number of these keys. Keys have `len` elements and lie `stride` elements apart.
///
/// `len` elements must be readable of each query and of a key for each of `products`.
pub type ProductsF16 = unsafe fn(
    q: [*const f32; 4],
    keys: *const f16,
    stride: usize,
    len: usize,
    products: &mut [[f32; LANES]],
    lane: usize,
) -> usize;

/// Adds eight elements of each value, times its weights, to the sums of eight queries. Values lie `stride` elements apart.
///
/// Eight elements must be readable of a value for each of `weights`, and readable and writable at each of `sums`.
pub type GatherF16 =
    unsafe fn(values: *const f16, stride: usize, weights: &[[f32; LANES]], sums: [*mut f32; LANES]);

/// Loops of attention over f16 caches.
pub struct F16Loops {
    pub products: ProductsF16,
    pub gather: GatherF16,
}

/// An element type of cached keys and values.
pub trait Stored: Copy {
    /// Number of elements that one value of this type holds.
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

/// Vectors in any format, with lengths in bytes.
impl Stored for u8 {
    const LEN: usize = 1;
}

/// Elements of one head's keys or values, as the cache stores them.
pub trait Elements: Stored {
    /// Whether this type is `f16`. Where this is true, pointers are cast for [`Lanes::F16_LOOPS`], so it must be false for
    /// every other type.
    const IS_F16: bool = false;

    /// Elements `8 · group..8 · (group + 1)` of the row at `p`; `group` is at most 3.
    ///
    /// # Safety
    ///
    /// The values of type `Self` that hold these elements must be readable.
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V;

    /// One element of the row at `p`.
    ///
    /// # Safety
    ///
    /// The value of type `Self` that holds the element must be readable.
    unsafe fn element(p: *const Self, index: usize) -> f32;
}

/// Calls a function with a constant `GROUP`, which becomes part of an instruction.
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
        // SAFETY: the caller guarantees that the values are readable.
        unsafe { with_group!(group, load(p)) }
    }

    #[inline(always)]
    unsafe fn element(p: *const Self, index: usize) -> f32 {
        // SAFETY: the caller guarantees that the value is readable.
        unsafe { *p.add(index) }
    }
}

impl Elements for f16 {
    const IS_F16: bool = true;

    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V {
        // SAFETY: the caller guarantees that the values are readable.
        unsafe { with_group!(group, load_f16(p)) }
    }

    #[inline(always)]
    unsafe fn element(p: *const Self, index: usize) -> f32 {
        // SAFETY: the caller guarantees that the value is readable.
        unsafe { *p.add(index) }.to_f32()
    }
}

impl Elements for BlockQ8_0 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(p: *const Self, group: usize) -> V {
        // SAFETY: the caller guarantees that the block is readable.
        unsafe {
            let scale = V::splat_f16((&raw const (*p).d).cast());
            let quants: V = with_group!(group, load_i8((&raw const (*p).qs).cast()));
            quants.mul(scale)
        }
    }

    #[inline(always)]
    unsafe fn element(p: *const Self, index: usize) -> f32 {
        // SAFETY: the caller guarantees that the block is readable.
        let block = unsafe { &*p.add(index / Self::LEN) };
        f32::from(block.qs[index % Self::LEN]) * block.d.to_f32()
    }
}

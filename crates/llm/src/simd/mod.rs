//! The inner loops, one file per instruction set: the crate's only unsafe code.
//!
//! [`Kernels`] is a table of functions for one instruction set. [`scalar`] defines what each of them
//! computes; the others compute the same faster and are tested against it. [`tiles`] divides a
//! result among cores.
//!
//! Neighbours: [`crate::blocks`] below defines the weights; [`crate::quant`] above chooses which
//! function multiplies which matrix.

#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod q8;
pub mod scalar;
pub mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::CpuFeatures;
pub use q8::{Q8, Q8Format, Q8Mut};

use crate::blocks::GgmlType;
use crate::quant::Packing;
use core::fmt;
use half::f16;
use tiles::Tile;

/// Multiplies the weight rows of a tile with its tokens: `w` holds the bytes of exactly the tile's
/// rows, `x` exactly its tokens, in the format that the type of `w` is multiplied with.
pub(crate) type TileFn = fn(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>);

/// As [`TileFn`] for rows that are packed: `w` holds the groups, the first `usize` rows of which come
/// before the tile's first.
pub(crate) type PackedTileFn = fn(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>);

/// Multiplies float weights of a tile with f32 activations of `cols` values a token.
pub(crate) type FloatTileFn = fn(w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>);

/// The inner loops for one instruction set.
///
/// Only functions that have made sure of the CPU's features give out a reference to a table that
/// needs them, so that holding one is the proof that its functions may be called.
pub struct Kernels {
    name: &'static str,
    dot_f32: fn(&[f32], &[f32]) -> f32,
    dot_f16: fn(&[f32], &[f16]) -> f32,
    add_scaled_f32: fn(&mut [f32], f32, &[f32]),
    add_scaled_f16: fn(&mut [f32], f32, &[f16]),
    quantize_32: fn(&[f32], Q8Mut<'_>),
    quantize_256: fn(&[f32], Q8Mut<'_>),
    /// The product for weights of a float type, `None` where dequantising them is no slower.
    float_product: fn(GgmlType) -> Option<FloatTileFn>,
    /// The product for weights of a quantised type, `None` for other types.
    product: fn(GgmlType) -> Option<TileFn>,
    /// How weights are to be rearranged for `packed_product`, `None` if the set multiplies them as they are.
    packing: Option<&'static Packing>,
    /// The product for packed weights, there for all types of `packing`.
    packed_product: fn(GgmlType) -> Option<PackedTileFn>,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.name).finish()
    }
}

impl Kernels {
    /// Plain Rust, for every CPU: the definition of what the others compute.
    pub fn scalar() -> &'static Self {
        &scalar::KERNELS
    }

    /// The fastest set that this CPU has.
    #[cfg(any(test, feature = "std"))]
    pub fn detect() -> &'static Self {
        match Self::available().last() {
            Some(best) => best,
            None => unreachable!("the scalar set is always available"),
        }
    }

    /// Every set that this CPU has, from the scalar one to the fastest.
    #[cfg(all(any(test, feature = "std"), not(any(target_arch = "aarch64", target_arch = "x86_64"))))]
    pub fn available() -> impl DoubleEndedIterator<Item = &'static Self> {
        [Self::scalar()].into_iter()
    }

    /// The set with this name, if this CPU has it.
    #[cfg(any(test, feature = "std"))]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::available().find(|kernels| kernels.name == name)
    }

    /// The set's name, such as `scalar` or `dotprod`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `Σ a[i] * b[i]`.
    ///
    /// # Panics
    ///
    /// This and the following functions panic where lengths differ.
    pub fn dot_f32(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        (self.dot_f32)(a, b)
    }

    /// `Σ a[i] * b[i]`, in f32.
    pub fn dot_f16(&self, a: &[f32], b: &[f16]) -> f32 {
        assert_eq!(a.len(), b.len());
        (self.dot_f16)(a, b)
    }

    /// `acc[i] += scale * x[i]`.
    pub fn add_scaled_f32(&self, acc: &mut [f32], scale: f32, x: &[f32]) {
        assert_eq!(acc.len(), x.len());
        (self.add_scaled_f32)(acc, scale, x);
    }

    /// `acc[i] += scale * x[i]`, in f32.
    pub fn add_scaled_f16(&self, acc: &mut [f32], scale: f32, x: &[f16]) {
        assert_eq!(acc.len(), x.len());
        (self.add_scaled_f16)(acc, scale, x);
    }

    /// Rounds activations to 8 bits, whole blocks of `out`'s format.
    pub(crate) fn quantize(&self, format: Q8Format, x: &[f32], out: Q8Mut<'_>) {
        assert_eq!(x.len(), out.quants.len());
        assert_eq!(x.len(), out.scales.len() * format.scale_len());
        assert_eq!(x.len(), out.sums.len() * format.sum_len());
        match format {
            Q8Format::Blocks32 => (self.quantize_32)(x, out),
            Q8Format::Blocks256 => (self.quantize_256)(x, out),
        }
    }

    /// How weights of this type are multiplied in integers, `None` if they are not.
    pub(crate) fn integer_product(&self, ty: GgmlType) -> Option<(Q8Format, TileFn)> {
        Some((Q8Format::for_weights(ty)?, (self.product)(ty)?))
    }

    /// How weights should be [packed](crate::quant::pack) for this set, `None` if they should not.
    pub fn packing(&self) -> Option<&'static Packing> {
        self.packing
    }

    /// How packed weights of this type are multiplied, `None` if they are not.
    pub(crate) fn packed_product(&self, ty: GgmlType) -> Option<(Q8Format, PackedTileFn)> {
        Some((Q8Format::for_weights(ty)?, (self.packed_product)(ty)?))
    }

    /// How weights of this float type are multiplied, `None` if by dequantising them first.
    pub(crate) fn float_product(&self, ty: GgmlType) -> Option<FloatTileFn> {
        (self.float_product)(ty)
    }
}

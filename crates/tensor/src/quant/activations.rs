//! The right-hand side of matrix products: f32 vectors that are rounded to 8 bits when a product needs it.

use crate::arena::{ALIGN, Arena, OutOfMemory};
use crate::parallel::{self, Workers};
use crate::simd::{Kernels, Q8, Q8Format, Q8Mut};

/// How activations enter products with quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations are rounded to 8 bits and the products are integer products, as in ggml.
    #[default]
    Quantized,
    /// f32 activations and dequantised weights. This is slow, and meant for finding the source of an error.
    Exact,
}

/// Bytes of scratch that [`Activations`] need for `n_tokens` vectors of `cols` values.
///
/// `usize::MAX` if it exceeds the address space, so that no memory is ever enough.
pub fn activation_bytes(cols: usize, n_tokens: usize) -> usize {
    let Some(len) = cols.checked_mul(n_tokens) else { return usize::MAX };
    let bytes = |format| {
        let mut arena = Arena::measuring();
        carve(&mut arena, len, format).map_or(usize::MAX, |_| arena.used_bytes() + ALIGN)
    };
    bytes(Q8Format::Blocks32).max(bytes(Q8Format::Blocks256))
}

/// Vectors `[n_tokens × cols]` with scratch for their rounded form.
///
/// The first product that needs rounded vectors rounds them, and they are kept for the following products. They are rounded again
/// only for weights with the other block length.
#[derive(Debug)]
pub struct Activations<'s> {
    x: &'s [f32],
    cols: usize,
    scratch: &'s mut [u8],
    rounded: Option<Q8Format>,
    precision: Precision,
}

impl<'s> Activations<'s> {
    /// Vectors of `cols` values each, with at least [`activation_bytes`] of scratch.
    ///
    /// # Panics
    ///
    /// If `x` is not a whole number of vectors. If the scratch is too small, the first product that needs it panics.
    pub fn new(x: &'s [f32], cols: usize, scratch: &'s mut [u8], precision: Precision) -> Self {
        assert!(x.len().is_multiple_of(cols), "{} values, {cols} a token", x.len());
        Self { x, cols, scratch, rounded: None, precision }
    }

    /// The vectors, `[n_tokens × cols]`.
    pub fn x(&self) -> &'s [f32] {
        self.x
    }

    /// Values in a vector.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of vectors.
    pub fn n_tokens(&self) -> usize {
        self.x.len() / self.cols
    }

    /// Whether products with quantised weights round the vectors.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The rounded vectors; rounds them now unless they are available in this format.
    pub(super) fn rounded(&mut self, kernels: &Kernels, workers: &dyn Workers, format: Q8Format) -> Q8<'_> {
        let mut arena = Arena::new(self.scratch);
        let (quants, scales, sums) = carve(&mut arena, self.x.len(), format)
            .unwrap_or_else(|error| panic!("scratch for rounded vectors: {error}"));
        if self.rounded != Some(format) {
            let vectors = self.x.chunks_exact(self.cols);
            let quants = quants.chunks_exact_mut(self.cols);
            let scales = scales.chunks_exact_mut(self.cols / format.scale_len());
            let sums = sums.chunks_exact_mut(self.cols / format.sum_len());
            let vectors = vectors.zip(quants).zip(scales).zip(sums);
            parallel::for_each_token(workers, vectors, |(((x, quants), scales), sums)| {
                kernels.quantize(format, x, Q8Mut { quants, scales, sums });
            });
            self.rounded = Some(format);
        }
        Q8 { quants, scales, sums, cols: self.cols }
    }
}

/// Takes the three arrays for `len` rounded values.
fn carve<'s>(arena: &mut Arena<'s>, len: usize, format: Q8Format) -> Result<Arrays<'s>, OutOfMemory> {
    let quants = arena.take(len)?;
    let scales = arena.take(len / format.scale_len())?;
    let sums = arena.take(len / format.sum_len())?;
    Ok((quants, scales, sums))
}

/// The arrays of [`Q8`].
type Arrays<'s> = (&'s mut [i8], &'s mut [f32], &'s mut [i32]);

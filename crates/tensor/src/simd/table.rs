//! [`Kernels`]: the table of functions that each instruction set provides.

use super::attention::{self, Attend, Prepare, Query};
use super::attention_unpacked::{self, RowFormat};
use super::convolution::Convolve;
use super::elementwise::Elementwise;
use super::lanes::Lanes;
use super::quads::Four;
use super::quantize::quantize;
use super::recurrence::{self, DeltaScan, DiagonalScan, Mamba2Scan, MambaScan, Recurrence};
use super::tiles::Tile;
use super::{Q8, Q8Format, Q8Mut};
use crate::blocks::{BlockQ8_0, GgmlType, Packing};
use core::fmt;
use half::f16;

/// Multiplies the weight rows of a tile with its tokens. `w` holds exactly the bytes of the tile's rows; `x` holds exactly its
/// tokens, in the format that the type of `w` is multiplied with.
///
/// This type and those below are unsafe because the CPU must have the instructions of the set that a function belongs to.
pub(crate) type TileFn = unsafe fn(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>);

/// As [`TileFn`], for packed rows. `w` holds whole groups of rows, and the `usize` is the number of rows in them before the
/// first row of the tile.
pub(crate) type PackedTileFn = unsafe fn(w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>);

/// Multiplies float weights of a tile with f32 activations, `cols` for each token. `w` and `x` hold exactly the tile's rows and
/// tokens.
pub(crate) type FloatTileFn = unsafe fn(w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>);

/// A product of a set that the CPU supports. Only [`Kernels`] makes these, from the functions of its table.
#[derive(Clone, Copy)]
pub(crate) struct Product<F>(F);

impl Product<TileFn> {
    /// Multiplies as [`TileFn`] says.
    #[inline]
    pub fn multiply(self, w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: the function comes from the table that `Kernels::integer_product` was called on, and the reference to it is
        // proof that the CPU has the instructions.
        unsafe { (self.0)(w, x, out) }
    }
}

impl Product<PackedTileFn> {
    /// Multiplies as [`PackedTileFn`] says.
    #[inline]
    pub fn multiply(self, w: &[u8], skipped_rows: usize, x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: the function comes from the table that `Kernels::packed_product` was called on, and the reference to it is
        // proof that the CPU has the instructions.
        unsafe { (self.0)(w, skipped_rows, x, out) }
    }
}

impl Product<FloatTileFn> {
    /// Multiplies as [`FloatTileFn`] says.
    #[inline]
    pub fn multiply(self, w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>) {
        // SAFETY: the function comes from the table that `Kernels::float_product` was called on, and the reference to it is
        // proof that the CPU has the instructions.
        unsafe { (self.0)(w, x, cols, out) }
    }
}

/// The inner loops for one instruction set.
///
/// Only functions that have checked the CPU's features return a reference to a table that needs them. So the reference is proof
/// that its functions may be called. Functions that a set lists one by one are `unsafe`; where a set gives only its vectors
/// (`elementwise`, `recurrence`), the constructor is `unsafe` instead.
pub struct Kernels {
    pub(super) name: &'static str,
    pub(super) elementwise: Elementwise,
    pub(super) attend: AttendFns,
    pub(super) recurrence: Recurrence,
    pub(super) quantize: unsafe fn(Q8Format, &[f32], Q8Mut<'_>),
    /// The product for weights of a float type; `None` if dequantising them first is at least as fast.
    pub(super) float_product: fn(GgmlType) -> Option<FloatTileFn>,
    /// The product for weights of a quantised type; `None` for other types.
    pub(super) product: fn(GgmlType) -> Option<TileFn>,
    /// How weights are rearranged for `packed_product`; `None` if the set multiplies them as they are.
    pub(super) packing: Option<&'static Packing>,
    /// The product for packed weights; it exists for all types of `packing`.
    pub(super) packed_product: fn(GgmlType) -> Option<PackedTileFn>,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.name).finish()
    }
}

/// For each query: `softmax(scores(q · keysᵀ)) · values` over the positions that it sees.
///
/// There are at most [`MAX_QUERIES`](super::attention::MAX_QUERIES) queries, and each sees at least one position. The CPU must
/// have the instructions of the set that the function belongs to.
pub type AttendFn<E> = unsafe fn(&Attend<'_, E>, &[Query], &mut [f32]);

/// As [`AttendFn`], for keys and values in these formats; lengths are in bytes.
pub type UnpackedAttendFn = unsafe fn(&Attend<'_, u8>, [RowFormat; 2], &[Query], &mut [f32]);

/// The routine for each type of cache, as entries of a set's table.
pub struct AttendFns {
    pub f16: AttendFn<f16>,
    pub q8_0: AttendFn<BlockQ8_0>,
    /// For all other types, and for keys and values of different types.
    pub unpacked: UnpackedAttendFn,
}

impl AttendFns {
    /// The routines in vectors of type `V`, with products in `A`.
    pub const fn of<V: Lanes, A>() -> Self
    where
        A: Prepare<V, f32> + Prepare<V, f16> + Prepare<V, BlockQ8_0> + Default,
    {
        AttendFns {
            f16: attention::run::<V, A, f16>,
            q8_0: attention::run::<V, A, BlockQ8_0>,
            unpacked: attention_unpacked::run_unpacked::<V, A>,
        }
    }
}

impl Kernels {
    /// A set that computes in vectors of type `V`, attention's products in `A`, and packs no weights.
    ///
    /// # Safety
    ///
    /// A reference to the table may be given out only on a CPU with the instructions of `V`'s set and of `A`.
    pub(super) const unsafe fn of<V: Lanes, A>(
        name: &'static str,
        product: fn(GgmlType) -> Option<TileFn>,
        float_product: fn(GgmlType) -> Option<FloatTileFn>,
    ) -> Self
    where
        A: Prepare<V, f32> + Prepare<V, f16> + Prepare<V, BlockQ8_0> + Default,
    {
        Self {
            name,
            // SAFETY: the caller guarantees that functions of this table run only where the CPU has the instructions.
            elementwise: unsafe { Elementwise::of::<V>() },
            attend: AttendFns::of::<V, A>(),
            // SAFETY: the caller guarantees that functions of this table run only where the CPU has the instructions.
            recurrence: unsafe { Recurrence::of::<V, Four<V>>() },
            quantize: quantize::<V>,
            float_product,
            product,
            packing: None,
            packed_product: |_| None,
        }
    }

    /// The set's name, such as `scalar` or `dotprod`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `Σ a[i] * b[i]`.
    ///
    /// # Panics
    ///
    /// This function and those below panic if the lengths differ.
    pub fn dot_f32(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        (self.elementwise.dot)(a, b)
    }

    /// `x[i] += y[i]`.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len());
        (self.elementwise.add)(x, y);
    }

    /// `x[i] += factor · y[i]`, fused.
    pub fn add_scaled(&self, x: &mut [f32], factor: f32, y: &[f32]) {
        assert_eq!(x.len(), y.len());
        (self.elementwise.add_scaled)(x, factor, y);
    }

    /// `x[i] *= y[i]`.
    pub fn multiply(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len());
        (self.elementwise.multiply)(x, y);
    }

    /// `x[i] *= factor`.
    pub fn scale(&self, x: &mut [f32], factor: f32) {
        if factor != 1.0 {
            (self.elementwise.scale)(x, factor);
        }
    }

    /// `x[i] += addend`.
    pub fn shift(&self, x: &mut [f32], addend: f32) {
        (self.elementwise.shift)(x, addend);
    }

    /// `Σ x[i]`, in double precision.
    pub fn sum(&self, x: &[f32]) -> f64 {
        (self.elementwise.sum)(x)
    }

    /// `Σ x[i]²`, in double precision.
    pub fn sum_of_squares(&self, x: &[f32]) -> f64 {
        (self.elementwise.sum_of_squares)(x)
    }

    /// `x[i] = exp(x[i])`, within one unit in the last place; 0 below -86.98, where the result would be less than 1.7e-38.
    pub fn exp(&self, x: &mut [f32]) {
        (self.elementwise.exp)(x);
    }

    /// `x[i] = 1 / (1 + exp(-x[i]))`.
    pub fn sigmoid(&self, x: &mut [f32]) {
        (self.elementwise.sigmoid)(x);
    }

    /// `x[i] = ln(1 + exp(x[i]))`.
    pub fn softplus(&self, x: &mut [f32]) {
        (self.elementwise.softplus)(x);
    }

    /// `x[i] = x[i] / (1 + exp(-x[i]))`.
    pub fn silu(&self, x: &mut [f32]) {
        (self.elementwise.silu)(x);
    }

    /// `up[i] *= silu(gate[i])`.
    pub fn silu_gated(&self, up: &mut [f32], gate: &[f32]) {
        assert_eq!(up.len(), gate.len());
        (self.elementwise.silu_gated)(up, gate);
    }

    /// `x[i] = x[i] / (1 + exp(-gate[i]))`.
    pub fn sigmoid_gated(&self, x: &mut [f32], gate: &[f32]) {
        assert_eq!(x.len(), gate.len());
        (self.elementwise.sigmoid_gated)(x, gate);
    }

    /// `x[i] = gelu(x[i])`, in the tanh form.
    pub fn gelu(&self, x: &mut [f32]) {
        (self.elementwise.gelu)(x);
    }

    /// `up[i] *= gelu(gate[i])`.
    pub fn gelu_gated(&self, up: &mut [f32], gate: &[f32]) {
        assert_eq!(up.len(), gate.len());
        (self.elementwise.gelu_gated)(up, gate);
    }

    /// `x[i] = tanh(x[i])`, with an absolute error below 1.5e-7.
    pub fn tanh(&self, x: &mut [f32]) {
        (self.elementwise.tanh)(x);
    }

    /// Rotates the pairs `(first[i], second[i])` by the angles with these cosines and sines.
    pub fn rope_neox(&self, first: &mut [f32], second: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert_eq!([second.len(), cos.len(), sin.len()], [first.len(); 3]);
        (self.elementwise.rope_neox)(first, second, cos, sin);
    }

    /// Rotates the pairs `(x[2i], x[2i + 1])` by the angles with these cosines and sines.
    pub fn rope_norm(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert_eq!([2 * cos.len(), 2 * sin.len()], [x.len(); 2]);
        (self.elementwise.rope_norm)(x, cos, sin);
    }

    /// `out[i] = x[i]`, rounded to half precision, ties to even.
    pub fn to_f16(&self, x: &[f32], out: &mut [f16]) {
        assert_eq!(x.len(), out.len());
        (self.elementwise.to_f16)(x, out);
    }

    /// For each query: `softmax(scores(q · keysᵀ)) · values` over the positions that it sees, with keys and values in half
    /// precision.
    ///
    /// # Panics
    ///
    /// If there are more queries than [`MAX_QUERIES`](super::attention::MAX_QUERIES), if a query sees no position, or if a
    /// range lies outside of its slice.
    pub fn attend_f16(&self, attend: &Attend<'_, f16>, queries: &[Query], output: &mut [f32]) {
        // SAFETY: the reference to the table is proof that the CPU has the instructions.
        unsafe { (self.attend.f16)(attend, queries, output) }
    }

    /// As [`attend_f16`](Self::attend_f16), with keys and values in blocks of 8-bit integers.
    pub fn attend_q8_0(&self, attend: &Attend<'_, BlockQ8_0>, queries: &[Query], output: &mut [f32]) {
        // SAFETY: the reference to the table is proof that the CPU has the instructions.
        unsafe { (self.attend.q8_0)(attend, queries, output) }
    }

    /// As [`attend_f16`](Self::attend_f16), with keys and values in these formats; strides and lengths of pages are in bytes.
    ///
    /// # Panics
    ///
    /// As [`attend_f16`](Self::attend_f16), and if a vector is longer than [`MAX_UNPACKED_LEN`](super::MAX_UNPACKED_LEN).
    pub fn attend_unpacked(
        &self,
        attend: &Attend<'_, u8>,
        formats: [RowFormat; 2],
        queries: &[Query],
        output: &mut [f32],
    ) {
        // SAFETY: the reference to the table is proof that the CPU has the instructions.
        unsafe { (self.attend.unpacked)(attend, formats, queries, output) }
    }

    /// Advances a state space with a decay for each element by some tokens.
    ///
    /// # Panics
    ///
    /// This function and those below panic if lengths do not match, or if the number of columns is not a multiple of 8.
    pub fn mamba_scan(&self, scan: MambaScan<'_>) {
        let MambaScan { state, a, dt, x, b, c, y } = &scan;
        recurrence::check(state, *x, [*b, *c], y.len() / x.len, y);
        assert_eq!([a.len(), dt.len], [x.len * b.len, x.len]);
        (self.recurrence.mamba)(scan);
    }

    /// Advances a state space with one decay for each head by some tokens.
    pub fn mamba2_scan(&self, scan: Mamba2Scan<'_>) {
        let Mamba2Scan { state, decay, dt, x, b, c, y } = &scan;
        recurrence::check(state, *x, [*b, *c], decay.len(), y);
        assert_eq!(dt.len(), decay.len());
        (self.recurrence.mamba2)(scan);
    }

    /// Advances the gated delta rule by some tokens.
    pub fn delta_scan(&self, scan: DeltaScan<'_>) {
        let DeltaScan { state, decay, beta, k, v, q, y } = &scan;
        recurrence::check(state, *v, [*k, *q], decay.len(), y);
        assert_eq!(beta.len(), decay.len());
        (self.recurrence.delta)(scan);
    }

    /// Advances linear attention with a decay for each column by some tokens.
    pub fn diagonal_scan(&self, scan: DiagonalScan<'_>) {
        let DiagonalScan { state, decay, k, v, q, correction, y, .. } = &scan;
        recurrence::check(state, *v, [*k, *q], y.len() / v.len, y);
        let [a, b] = correction.unwrap_or([*k, *k]);
        assert_eq!([decay.len, a.len, b.len], [k.len; 3]);
        (self.recurrence.diagonal)(scan);
    }

    /// Computes the convolution of some tokens.
    ///
    /// # Panics
    ///
    /// If lengths do not match.
    pub fn convolve(&self, work: Convolve<'_>) {
        work.check();
        (self.recurrence.convolve)(work);
    }

    /// Rounds activations to 8 bits, in whole blocks of `out`'s format.
    pub(crate) fn quantize(&self, format: Q8Format, x: &[f32], out: Q8Mut<'_>) {
        assert_eq!(x.len(), out.quants.len());
        assert_eq!(x.len(), out.scales.len() * format.scale_len());
        assert_eq!(x.len(), out.sums.len() * format.sum_len());
        // SAFETY: the reference to the table is proof that the CPU has the instructions.
        unsafe { (self.quantize)(format, x, out) }
    }

    /// The product of weights of this type in integers; `None` if the set has none.
    pub(crate) fn integer_product(&self, ty: GgmlType) -> Option<(Q8Format, Product<TileFn>)> {
        Some((Q8Format::for_weights(ty)?, Product((self.product)(ty)?)))
    }

    /// How weights should be [packed](crate::quant::Packer) for this set; `None` if they should not be.
    pub fn packing(&self) -> Option<&'static Packing> {
        self.packing
    }

    /// The product of packed weights of this type; `None` if the set has none.
    pub(crate) fn packed_product(&self, ty: GgmlType) -> Option<(Q8Format, Product<PackedTileFn>)> {
        Some((Q8Format::for_weights(ty)?, Product((self.packed_product)(ty)?)))
    }

    /// The product of weights of this float type; `None` if they should be dequantised first.
    pub(crate) fn float_product(&self, ty: GgmlType) -> Option<Product<FloatTileFn>> {
        (self.float_product)(ty).map(Product)
    }
}

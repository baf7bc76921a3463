//! Four rows at a time: the vectors of products of float weights and of the steps of recurrences.
//!
//! The matrix of a recurrence has its rows in groups of [`ROWS`]; the last group is padded with rows that are never read. In a
//! group, eight columns of the four rows come first, then the next eight columns of the same rows, so a [`Quad`] is one
//! contiguous piece of memory.

use super::lanes::{LANES, Lanes, Work};
use super::tiles::store_rows;
use half::{bf16, f16};

/// Number of rows of a group.
pub const ROWS: usize = 4;

/// Number of elements in eight columns of a group.
pub const QUAD: usize = ROWS * LANES;

/// Eight columns of four rows.
///
/// Each element is computed as [`Lanes`] computes it, so all sets give the same bits. As with [`Lanes`], the functions are
/// called from [`Work`] that [`enter`](Self::enter) runs, that is, only where the CPU has the instructions.
pub trait Quad: Copy {
    /// Runs `work` compiled for the set's instructions, as [`Lanes::enter`] does.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instructions.
    unsafe fn enter<V>(work: impl Work<V>);

    /// Number of groups of rows that fit into registers in a step that needs many registers.
    const GROUPS: usize;

    /// `x` in every element.
    fn splat(x: f32) -> Self;

    /// In row `i`: `x[i]` in all columns.
    fn of_rows(x: [f32; ROWS]) -> Self;

    /// In each row: the values of `x`.
    fn of_columns(x: &[f32; LANES]) -> Self;

    /// The elements of an array.
    fn of(x: &[f32; QUAD]) -> Self;

    /// Eight values of each row, which may lie at any address.
    ///
    /// # Safety
    ///
    /// The values must be readable.
    unsafe fn load_f32(rows: [*const f32; ROWS]) -> Self;

    /// As [`load_f32`](Self::load_f32), with a conversion.
    ///
    /// # Safety
    ///
    /// The values must be readable.
    unsafe fn load_f16(rows: [*const f16; ROWS]) -> Self;

    /// As [`load_f32`](Self::load_f32), with a conversion.
    ///
    /// # Safety
    ///
    /// The values must be readable.
    unsafe fn load_bf16(rows: [*const bf16; ROWS]) -> Self;

    /// Writes the elements.
    fn store(self, out: &mut [f32; QUAD]);

    /// `self · b`.
    fn mul(self, b: Self) -> Self;

    /// `self · b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;

    /// The sum of each row, in the order of [`Lanes::fold`].
    fn fold(self) -> [f32; ROWS];

    /// Writes the sums that [`fold`](Self::fold) gives for consecutive groups to `out`, until `out` is full. A set overrides
    /// this if it can add up several groups in fewer instructions.
    #[inline(always)]
    fn fold_groups<const G: usize>(groups: [Self; G], out: &mut [f32]) {
        for (group, sums) in groups.into_iter().enumerate() {
            // A group may begin past the last row.
            if let Some(out) = out.get_mut(group * ROWS..) {
                store_rows(out, &sums.fold());
            }
        }
    }
}

/// One vector per row.
#[derive(Clone, Copy)]
pub struct Four<V>([V; ROWS]);

impl<V: Lanes> Quad for Four<V> {
    const GROUPS: usize = 1;

    #[inline(always)]
    unsafe fn enter<T>(work: impl Work<T>) {
        // SAFETY: the caller guarantees that the CPU has the set's instructions.
        unsafe { V::enter(work) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Four([V::splat(x); ROWS])
    }

    #[inline(always)]
    fn of_rows([a, b, c, d]: [f32; ROWS]) -> Self {
        Four([V::splat(a), V::splat(b), V::splat(c), V::splat(d)])
    }

    #[inline(always)]
    fn of_columns(x: &[f32; LANES]) -> Self {
        Four([V::of(x); ROWS])
    }

    #[inline(always)]
    fn of(x: &[f32; QUAD]) -> Self {
        let p = x.as_ptr();
        // SAFETY: the array holds four vectors.
        Four(unsafe { [V::load::<0>(p), V::load::<1>(p), V::load::<2>(p), V::load::<3>(p)] })
    }

    #[inline(always)]
    unsafe fn load_f32(rows: [*const f32; ROWS]) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        Four(rows.map(|row| unsafe { V::load::<0>(row) }))
    }

    #[inline(always)]
    unsafe fn load_f16(rows: [*const f16; ROWS]) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        Four(rows.map(|row| unsafe { V::load_f16::<0>(row) }))
    }

    #[inline(always)]
    unsafe fn load_bf16(rows: [*const bf16; ROWS]) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        Four(rows.map(|row| unsafe { V::load_bf16(row) }))
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; QUAD]) {
        for (row, out) in self.0.into_iter().zip(out.as_chunks_mut().0) {
            row.store(out);
        }
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        let ([p, q, r, s], [t, u, v, w]) = (self.0, b.0);
        Four([p.mul(t), q.mul(u), r.mul(v), s.mul(w)])
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        let ([p, q, r, s], [t, u, v, w], [x, y, z, last]) = (self.0, b.0, c.0);
        Four([p.fma(t, x), q.fma(u, y), r.fma(v, z), s.fma(w, last)])
    }

    #[inline(always)]
    fn fold(self) -> [f32; ROWS] {
        V::fold(self.0)
    }
}

//! Attention over keys of any type and values of any type: a few vectors at a time are unpacked to f32 (those of an f32 cache
//! are copied) and multiplied in the set's arithmetic.
//!
//! One routine serves all pairs of types that have no routine of their own. Sums have the order that
//! [`attention`](super::attention) defines, so a type gives the same bits here as in a routine of its own.

use super::attention::{Arithmetic, Attend, Query, Step, Vectors};
use super::lanes::{LANES, Lanes, Work};

/// Number of elements of the longest vector that can be unpacked.
pub const MAX_UNPACKED_LEN: usize = 4096;

/// How the vectors of a cache are unpacked.
#[derive(Debug, Clone, Copy)]
pub struct RowFormat {
    /// Writes the elements of a vector.
    pub unpack: fn(&[u8], &mut [f32]),
    /// Number of bytes that `unpack` reads.
    pub bytes: usize,
}

/// Computes `attention` over keys and values in these formats, in vectors of type `V`, the products in `A`.
///
/// # Safety
///
/// The CPU must have the instructions of `V`'s set and of `A`.
pub unsafe fn run_unpacked<V: Lanes, A: Arithmetic<V, f32> + Default>(
    attend: &Attend<'_, u8>,
    [keys, values]: [RowFormat; 2],
    queries: &[Query],
    output: &mut [f32],
) {
    attend.check(queries, output.len());
    let longest = attend.head_len_k.max(attend.head_len_v);
    assert!(longest <= MAX_UNPACKED_LEN, "vectors of {longest} elements, at most {MAX_UNPACKED_LEN}");
    let unpacking = Unpacking { arithmetic: A::default(), keys, values };
    // SAFETY: the caller guarantees that the CPU has the instructions.
    unsafe { V::enter::<V>(CheckedUnpacked { attend, unpacking, queries, output }) }
}

/// Arguments that [`Attend::check`] has accepted, and how vectors are unpacked.
struct CheckedUnpacked<'a, A> {
    attend: &'a Attend<'a, u8>,
    unpacking: Unpacking<A>,
    queries: &'a [Query],
    output: &'a mut [f32],
}

impl<V: Lanes, A: Arithmetic<V, f32>> Work<V> for CheckedUnpacked<'_, A> {
    #[inline(always)]
    fn run(self) {
        self.attend.run::<V, _>(&self.unpacking, self.queries, self.output);
    }
}

/// Unpacks vectors and multiplies them in `A`.
struct Unpacking<A> {
    arithmetic: A,
    keys: RowFormat,
    values: RowFormat,
}

impl RowFormat {
    /// Fills `unpacked` with vectors of `len` elements, which begin `stride` bytes apart in `rows`.
    #[inline(always)]
    fn unpack(&self, rows: &[u8], stride: usize, len: usize, unpacked: &mut [f32]) {
        for (index, unpacked) in unpacked.chunks_exact_mut(len).enumerate() {
            (self.unpack)(&rows[index * stride..][..self.bytes], unpacked);
        }
    }
}

/// The same arguments, with the vectors in `rows`, `stride` elements apart, as keys and as values.
#[inline(always)]
fn with_rows<'r>(attend: &Attend<'r, u8>, rows: &'r [f32], stride: usize) -> Attend<'r, f32> {
    let vectors = Vectors { elements: rows, page_len: 0, first: 0, stride, pages: &[0] };
    let Attend { q, head_len_k, head_len_v, scale, softcap, relative, mask, .. } = *attend;
    Attend { q, keys: vectors, values: vectors, head_len_k, head_len_v, scale, softcap, relative, mask }
}

impl<V: Lanes, A: Arithmetic<V, f32>> Arithmetic<V, u8> for Unpacking<A> {
    #[inline(always)]
    fn scales(&self, attend: &Attend<'_, u8>) -> V {
        V::splat(attend.scale)
    }

    #[inline(always)]
    fn products(&self, attend: &Attend<'_, u8>, step: Step<'_>, products: &mut [[f32; LANES]]) {
        let (len, stride) = (attend.head_len_k, attend.keys.stride);
        let mut rows = attend.keys.of(step.first, products.len(), self.keys.bytes);
        let mut buffer = [0.0; MAX_UNPACKED_LEN];
        for products in products.chunks_mut(MAX_UNPACKED_LEN / len) {
            let unpacked = &mut buffer[..products.len() * len];
            self.keys.unpack(rows, stride, len, unpacked);
            self.arithmetic.products(&with_rows(attend, unpacked, len), Step { first: 0, ..step }, products);
            rows = rows.get(products.len() * stride..).unwrap_or_default();
        }
    }

    #[inline(always)]
    fn gather(&self, attend: &Attend<'_, u8>, step: Step<'_>, weights: &[[f32; LANES]], output: &mut [f32]) {
        let (len, stride) = (attend.head_len_v, attend.values.stride);
        let mut rows = attend.values.of(step.first, weights.len(), self.values.bytes);
        let mut buffer = [0.0; MAX_UNPACKED_LEN];
        for weights in weights.chunks(MAX_UNPACKED_LEN / len) {
            let unpacked = &mut buffer[..weights.len() * len];
            self.values.unpack(rows, stride, len, unpacked);
            self.arithmetic.gather(
                &with_rows(attend, unpacked, len),
                Step { first: 0, ..step },
                weights,
                output,
            );
            rows = rows.get(weights.len() * stride..).unwrap_or_default();
        }
    }
}

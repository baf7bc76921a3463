//! Scaled dot-product attention of a few queries that share their keys and values.
//!
//! Positions are processed in blocks, each of which can lie anywhere ([`Vectors`]). The output is kept relative to the largest
//! score so far and rescaled when a block brings a larger one (Milakov and Gimelshein 2018), so that no buffer grows with the
//! context. A query's output does not depend on which other queries are computed with it: blocks end at multiples of
//! [`BLOCK_LEN`] (except that the first begins at the first visible position, and the last ends after the last one), and the
//! order of every sum is fixed:
//!
//! - a product of query and key is the dot product of [`scalar`](super::scalar);
//! - weights `exp(score - max)` are added up in the order of positions;
//! - an output adds up weighted values in the order of positions, by fused multiply-adds.

use super::exp::{exp, exp_below_highest, tanh};
use super::lanes::{Elements, LANES, Lanes, Stored, Work};
use super::relative_bias::RelativeBias;
use zerocopy::FromZeros;

/// The largest number of queries that can be computed at once.
pub const MAX_QUERIES: usize = LANES;

/// Number of positions in a block. They lie in one page, and all their scores are computed before the first is used.
pub const BLOCK_LEN: usize = 64;

/// Vectors of one head, one per position, in pages of [`BLOCK_LEN`] positions.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'c, E> {
    /// The memory in which all pages lie.
    pub elements: &'c [E],
    /// Elements of type `E` from the start of one page to the next one's.
    pub page_len: usize,
    /// Elements of type `E` from the start of a page to the head's first vector in it.
    pub first: usize,
    /// Elements of type `E` from one vector to the next.
    pub stride: usize,
    /// The number of each page, in the order of positions.
    pub pages: &'c [u32],
}

impl<'c, E> Vectors<'c, E> {
    /// The vectors of `n` positions from `position` on, all in one page, as far as the first `len` elements of the last vector.
    /// [`Attend::check`] has made sure that their extent does not overflow.
    ///
    /// # Panics
    ///
    /// If `elements` ends before that.
    #[inline(always)]
    pub(super) fn of(&self, position: usize, n: usize, len: usize) -> &'c [E] {
        debug_assert!(position % BLOCK_LEN + n <= BLOCK_LEN, "{n} positions from {position}");
        let page = self.pages[position / BLOCK_LEN] as usize;
        let at = page * self.page_len + self.first + position % BLOCK_LEN * self.stride;
        &self.elements[at..][..(n - 1) * self.stride + len]
    }
}

impl<E> Vectors<'_, E> {
    /// Number of elements from the start of a page's first vector to the end of its last, which has `len` elements; `None` on
    /// overflow.
    fn extent(&self, len: usize) -> Option<usize> {
        (BLOCK_LEN - 1).checked_mul(self.stride)?.checked_add(len)
    }
}

/// One query, and where its output goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    /// Where it begins in [`Attend::q`].
    pub at: usize,
    /// Where its output begins.
    pub output_at: usize,
    /// Its position.
    pub position: usize,
    /// The first position that it sees.
    pub first: usize,
    /// One past the last position that it sees.
    pub end: usize,
    /// Subtracted from its scores once for each position between key and query (ALiBi).
    pub slope: f32,
    /// A score that is part of the softmax's denominator but has no value (an attention sink).
    pub sink: Option<f32>,
    /// Its head, an index for [`Attend::relative`].
    pub head: usize,
    /// Where its words begin in [`Attend::mask`].
    pub mask_at: usize,
}

/// Queries, keys, values, and how scores are computed.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'c, E> {
    /// The queries' elements.
    pub q: &'c [f32],
    /// The keys.
    pub keys: Vectors<'c, E>,
    /// The values; each may be the beginning of a longer vector.
    pub values: Vectors<'c, E>,
    /// Elements of a query and of a key.
    pub head_len_k: usize,
    /// Elements of a value and of an output.
    pub head_len_v: usize,
    /// The factor of products of queries and keys.
    pub scale: f32,
    /// Replaces each score by `c · tanh(score / c)`.
    pub softcap: Option<f32>,
    /// A bias by the distance between key and query, added after `softcap`.
    pub relative: Option<RelativeBias<'c>>,
    /// Restricts queries, among the positions that they see, to those whose bit is set: one word for each [`BLOCK_LEN`]
    /// positions from position 0 on, the lowest bit first.
    pub mask: Option<&'c [u64]>,
}

/// Computes `attention` in vectors of type `V`, the products in `A`.
///
/// # Safety
///
/// The CPU must have the instructions of `V`'s set and of `A`.
pub unsafe fn run<V: Lanes, A: Prepare<V, E>, E: Elements>(
    attend: &Attend<'_, E>,
    queries: &[Query],
    output: &mut [f32],
) {
    attend.check(queries, output.len());
    // SAFETY: the caller guarantees that the CPU has the instructions.
    unsafe { V::enter::<(V, A)>(Checked { attend, queries, output }) }
}

/// Arguments that [`Attend::check`] has accepted.
struct Checked<'a, E> {
    attend: &'a Attend<'a, E>,
    queries: &'a [Query],
    output: &'a mut [f32],
}

impl<V: Lanes, A: Prepare<V, E>, E: Elements> Work<(V, A)> for Checked<'_, E> {
    #[inline(always)]
    fn run(self) {
        let arithmetic = A::new(self.attend, self.queries);
        self.attend.run::<V, A>(&arithmetic, self.queries, self.output);
    }
}

/// Multiplies an output by a factor.
#[inline(always)]
fn multiply<V: Lanes>(output: &mut [f32], factor: f32) {
    let (vectors, rest) = output.as_chunks_mut();
    vectors.iter_mut().for_each(|vector| V::of(vector).mul(V::splat(factor)).store(vector));
    rest.iter_mut().for_each(|x| *x *= factor);
}

/// Queries, and the first of the positions that they are multiplied with, all of which lie in one page.
#[derive(Clone, Copy)]
pub struct Step<'q> {
    pub queries: &'q [Query],
    pub first: usize,
}

/// How queries are multiplied with keys, and values with weights, and in which precision.
///
/// Callers must pass only arguments that [`Attend::check`] has accepted.
pub trait Arithmetic<V, E> {
    /// For each query: the factor that turns its products with keys into scores.
    fn scales(&self, attend: &Attend<'_, E>) -> V;

    /// The products of all queries with the keys from the step's first position on.
    fn products(&self, attend: &Attend<'_, E>, step: Step<'_>, products: &mut [[f32; LANES]]);

    /// Adds the weighted values from the step's first position on to the outputs.
    fn gather(&self, attend: &Attend<'_, E>, step: Step<'_>, weights: &[[f32; LANES]], output: &mut [f32]);
}

/// An arithmetic that is made from the arguments of attention alone.
pub trait Prepare<V, E>: Arithmetic<V, E> {
    /// Prepares the queries.
    fn new(attend: &Attend<'_, E>, queries: &[Query]) -> Self;
}

impl<E: Stored> Attend<'_, E> {
    /// Panics unless all queries, masks and outputs lie within their slices, all visible positions have pages, and the extent
    /// of a page's vectors does not overflow.
    pub(super) fn check(&self, queries: &[Query], output_len: usize) {
        assert!(queries.len() <= MAX_QUERIES, "{} queries", queries.len());
        assert!(self.head_len_k.is_multiple_of(E::LEN) && self.head_len_v.is_multiple_of(E::LEN));
        for (vectors, len) in [(&self.keys, self.head_len_k), (&self.values, self.head_len_v)] {
            assert!(vectors.extent(len).is_some(), "{len} elements at a distance of {}", vectors.stride);
        }
        let is_within = |at: usize, len, end: usize| end.checked_sub(len).is_some_and(|most| at <= most);
        for query in queries {
            assert!(query.first < query.end, "{query:?} sees nothing");
            if let Some(mask) = self.mask {
                assert!(
                    is_within(query.mask_at, query.end.div_ceil(BLOCK_LEN), mask.len()),
                    "{query:?} of {}",
                    mask.len()
                );
            }
            assert!(is_within(query.at, self.head_len_k, self.q.len()), "{query:?} of {}", self.q.len());
            assert!(is_within(query.output_at, self.head_len_v, output_len), "{query:?} into {output_len}");
            for vectors in [&self.keys, &self.values] {
                let n_pages = vectors.pages.len();
                assert!(query.end.div_ceil(BLOCK_LEN) <= n_pages, "{query:?} of {n_pages}");
            }
        }
    }

    /// Computes attention. [`check`](Self::check) must have accepted the arguments.
    #[inline(always)]
    pub(super) fn run<V: Lanes, A: Arithmetic<V, E>>(
        &self,
        arithmetic: &A,
        queries: &[Query],
        output: &mut [f32],
    ) {
        let mut first = usize::MAX;
        let mut end = 0;
        // Lanes without a query compute with zeros.
        let mut max = [0.0; LANES];
        let mut sum = [1.0; LANES];
        let (mut slopes, mut positions) = ([0.0; LANES], [0.0; LANES]);
        for (lane, query) in queries.iter().enumerate() {
            (first, end) = (first.min(query.first), end.max(query.end));
            // Finite: hidden positions score minus infinity, and minus infinity less itself is NaN.
            (max[lane], sum[lane]) = query.sink.map_or((f32::MIN, 0.0), |score| (score, 1.0));
            (slopes[lane], positions[lane]) = (-query.slope, query.position as f32);
            output[query.output_at..][..self.head_len_v].fill(0.0);
        }
        let has_slope = slopes != [0.0; LANES];
        let mut weights = <[[f32; LANES]; BLOCK_LEN]>::new_zeroed();

        let mut block = first;
        while block < end {
            let block_end = ((block / BLOCK_LEN + 1) * BLOCK_LEN).min(end);
            let weights = &mut weights[..block_end - block];
            let step = Step { queries, first: block };
            arithmetic.products(self, step, weights);
            let scales = arithmetic.scales(self);
            let mut new_max = V::of(&max);
            for (scores, position) in weights.iter_mut().zip(block..) {
                let mut score = V::of(scores).mul(scales);
                if let Some(cap) = self.softcap {
                    score = tanh(score.div(V::splat(cap))).mul(V::splat(cap));
                }
                if has_slope {
                    let ahead = V::splat(position as f32).sub(V::of(&positions));
                    let distance = ahead.max(ahead.mul(V::splat(-1.0)));
                    score = V::of(&slopes).fma(distance, score);
                }
                score.store(scores);
                new_max = new_max.max(score);
            }
            if let Some(relative) = &self.relative {
                new_max = V::of(&max);
                for (scores, position) in weights.iter_mut().zip(block..) {
                    for (score, query) in scores.iter_mut().zip(queries) {
                        *score += relative.of(query.head, position, query.position);
                    }
                    new_max = new_max.max(V::of(scores));
                }
            }
            let is_cut = queries.iter().any(|query| block < query.first || query.end < block_end);
            if is_cut || self.mask.is_some() {
                for (lane, query) in queries.iter().enumerate() {
                    if let Some(mask) = self.mask {
                        let word = mask[query.mask_at + block / BLOCK_LEN];
                        for position in
                            (block..block_end).filter(|position| word >> (position % BLOCK_LEN) & 1 == 0)
                        {
                            weights[position - block][lane] = f32::NEG_INFINITY;
                        }
                    }
                    let hidden = (block..query.first.min(block_end)).chain(query.end.max(block)..block_end);
                    hidden.for_each(|position| weights[position - block][lane] = f32::NEG_INFINITY);
                }
                new_max = V::of(&max);
                for scores in &*weights {
                    new_max = new_max.max(V::of(scores));
                }
            }

            let mut rescale = [0.0; LANES];
            exp(V::of(&max).sub(new_max)).store(&mut rescale);
            let mut new_sum = V::of(&sum).mul(V::of(&rescale));
            for scores in &mut *weights {
                let weight = exp_below_highest(V::of(scores).sub(new_max));
                weight.store(scores);
                new_sum = new_sum.add(weight);
            }
            new_sum.store(&mut sum);
            new_max.store(&mut max);
            for (query, rescale) in queries.iter().zip(rescale) {
                if rescale != 1.0 {
                    multiply::<V>(&mut output[query.output_at..][..self.head_len_v], rescale);
                }
            }

            arithmetic.gather(self, step, weights, output);
            block = block_end;
        }
        for (query, sum) in queries.iter().zip(sum) {
            multiply::<V>(&mut output[query.output_at..][..self.head_len_v], 1.0 / sum);
        }
    }

    /// The keys of `n` positions from `position` on, all in one block.
    #[inline(always)]
    pub(super) fn keys(&self, position: usize, n: usize) -> &[E] {
        self.keys.of(position, n, self.head_len_k / E::LEN)
    }

    /// The values of `n` positions from `position` on, all in one block.
    #[inline(always)]
    pub(super) fn values(&self, position: usize, n: usize) -> &[E] {
        self.values.of(position, n, self.head_len_v / E::LEN)
    }

    /// The elements of a query.
    #[inline(always)]
    pub fn query(&self, query: &Query) -> &[f32] {
        &self.q[query.at..][..self.head_len_k]
    }
}

//! Scaled dot-product attention of a few queries that share their keys and values.
//!
//! Positions are taken in blocks. The output is kept relative to the largest score so far and
//! rescaled when a block brings a larger one (Milakov and Gimelshein 2018), so that no buffer grows
//! with the context. Blocks begin at multiples of their length whatever is visible, and every sum has
//! its order, so that a query's output does not depend on which others it is computed with:
//!
//! - a product of query and key is the dot product of [`scalar`](super::scalar);
//! - weights `exp(score - max)` are added up in the order of positions;
//! - an output adds up weighted values in the order of positions, by fused multiply-adds.

use super::exp::{exp, exp_below_highest, tanh};
use super::lanes::{Elements, Lanes, Work};
use super::scalar::LANES;
use core::marker::PhantomData;
use half::f16;

use crate::blocks::BlockQ8_0;

/// Queries that can be computed at once.
pub const MAX_QUERIES: usize = LANES;

/// Positions whose scores are computed before they are used.
pub const BLOCK_LEN: usize = 64;

/// Elements that a loop over a row takes at once.
const CHUNK: usize = 4 * LANES;

/// Vectors of one head, one per position.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'c, E> {
    /// `[n_ctx][stride]`
    pub elements: &'c [E],
    /// Elements of type `E` from one vector to the next.
    pub stride: usize,
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
    /// What its scores lose for each position between key and query (ALiBi).
    pub slope: f32,
    /// A score that takes its share of the softmax and gives nothing.
    pub sink: Option<f32>,
}

/// What queries are compared with and what they gather.
#[derive(Debug, Clone, Copy)]
pub struct Attend<'c, E> {
    /// The queries' elements.
    pub q: &'c [f32],
    /// The keys.
    pub keys: Vectors<'c, E>,
    /// The values; these may be the beginnings of longer vectors.
    pub values: Vectors<'c, E>,
    /// Elements of a query and of a key.
    pub head_len_k: usize,
    /// Elements of a value and of an output.
    pub head_len_v: usize,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Scores are bent to `c · tanh(score / c)`.
    pub softcap: Option<f32>,
}

/// For each query, `softmax(scores(q · keysᵀ)) · values` over the positions that it sees.
///
/// At most [`MAX_QUERIES`], each of which sees at least one position.
pub type AttendFn<E> = fn(&Attend<'_, E>, &[Query], &mut [f32]);

/// The routine for each type of cache, as entries of a set's table.
pub struct AttendFns {
    pub f32: AttendFn<f32>,
    pub f16: AttendFn<f16>,
    pub q8_0: AttendFn<BlockQ8_0>,
}

impl AttendFns {
    /// The routines in vectors of type `V`.
    pub const fn of<V: Lanes>() -> Self {
        AttendFns {
            f32: run::<V, Single, f32>,
            f16: run::<V, Single, f16>,
            q8_0: run::<V, Single, BlockQ8_0>,
        }
    }
}

/// Computes `attend` in vectors of type `V`, the products in `A`.
pub fn run<V: Lanes, A: Arithmetic<V, E>, E: Elements>(
    attend: &Attend<'_, E>,
    queries: &[Query],
    output: &mut [f32],
) {
    attend.check(queries, output.len());
    V::enter(Checked { attend, queries, output, set: PhantomData::<(V, A)> });
}

/// What [`Attend::check`] has found to be right.
struct Checked<'a, S, E> {
    attend: &'a Attend<'a, E>,
    queries: &'a [Query],
    output: &'a mut [f32],
    set: PhantomData<S>,
}

impl<V: Lanes, A: Arithmetic<V, E>, E: Elements> Work for Checked<'_, (V, A), E> {
    #[inline(always)]
    fn run(self) {
        self.attend.run::<V, A>(self.queries, self.output);
    }
}

/// How queries are multiplied with keys, and values with weights: in which precision.
///
/// Its functions are called with what [`Attend::check`] has found to be right.
pub trait Arithmetic<V, E> {
    /// Prepares the queries.
    fn new(attend: &Attend<'_, E>, queries: &[Query]) -> Self;

    /// What the products of each query with a key are to be multiplied by to be scores.
    fn scales(&self, attend: &Attend<'_, E>) -> V;

    /// The products of all queries with the keys from position `first` on.
    fn products(
        &self,
        attend: &Attend<'_, E>,
        queries: &[Query],
        first: usize,
        products: &mut [[f32; LANES]],
    );

    /// Adds the weighted values from position `first` on to the outputs.
    fn gather(
        &self,
        attend: &Attend<'_, E>,
        queries: &[Query],
        first: usize,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    );
}

/// Everything in single precision.
struct Single;

impl<V: Lanes, E: Elements> Arithmetic<V, E> for Single {
    #[inline(always)]
    fn new(_: &Attend<'_, E>, _: &[Query]) -> Self {
        Single
    }

    #[inline(always)]
    fn scales(&self, attend: &Attend<'_, E>) -> V {
        V::splat(attend.scale)
    }

    #[inline(always)]
    fn products(
        &self,
        attend: &Attend<'_, E>,
        queries: &[Query],
        first: usize,
        products: &mut [[f32; LANES]],
    ) {
        attend.products::<V>(queries, first, products);
    }

    #[inline(always)]
    fn gather(
        &self,
        attend: &Attend<'_, E>,
        queries: &[Query],
        first: usize,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) {
        attend.gather::<V>(queries, first, weights, output);
    }
}

impl<E: Elements> Attend<'_, E> {
    /// Makes sure that everything that will be read and written lies within its slice.
    fn check(&self, queries: &[Query], output_len: usize) {
        assert!(queries.len() <= MAX_QUERIES, "{} queries", queries.len());
        assert!(self.head_len_k.is_multiple_of(E::LEN) && self.head_len_v.is_multiple_of(E::LEN));
        for query in queries {
            assert!(query.first < query.end, "{query:?} sees nothing");
            assert!(query.at + self.head_len_k <= self.q.len(), "{query:?} of {}", self.q.len());
            assert!(query.output_at + self.head_len_v <= output_len, "{query:?} into {output_len}");
            for (vectors, head_len) in [(self.keys, self.head_len_k), (self.values, self.head_len_v)] {
                let end = (query.end - 1) * vectors.stride + head_len / E::LEN;
                assert!(end <= vectors.elements.len(), "{query:?} of {}", vectors.elements.len());
            }
        }
    }

    /// [`check`](Self::check) has found everything within its slice.
    #[inline(always)]
    fn run<V: Lanes, A: Arithmetic<V, E>>(&self, queries: &[Query], output: &mut [f32]) {
        let arithmetic = A::new(self, queries);
        let mut first = usize::MAX;
        let mut end = 0;
        // Lanes without a query compute with zeros.
        let mut max = [0.0; LANES];
        let mut sum = [1.0; LANES];
        let (mut slopes, mut positions) = ([0.0; LANES], [0.0; LANES]);
        for (lane, query) in queries.iter().enumerate() {
            (first, end) = (first.min(query.first), end.max(query.end));
            // Less than any score, but a number: differences with it are numbers too.
            (max[lane], sum[lane]) = query.sink.map_or((f32::MIN, 0.0), |score| (score, 1.0));
            (slopes[lane], positions[lane]) = (-query.slope, query.position as f32);
            output[query.output_at..][..self.head_len_v].fill(0.0);
        }
        let has_slope = slopes != [0.0; LANES];
        let mut weights = [[0.0; LANES]; BLOCK_LEN];

        let mut block = first;
        while block < end {
            let block_end = ((block / BLOCK_LEN + 1) * BLOCK_LEN).min(end);
            let weights = &mut weights[..block_end - block];
            arithmetic.products(self, queries, block, weights);
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
            if queries.iter().any(|query| block < query.first || query.end < block_end) {
                for (lane, query) in queries.iter().enumerate() {
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
                    let output = &mut output[query.output_at..][..self.head_len_v];
                    output.iter_mut().for_each(|x| *x *= rescale);
                }
            }

            arithmetic.gather(self, queries, block, weights, output);
            block = block_end;
        }
        for (query, sum) in queries.iter().zip(sum) {
            let normaliser = 1.0 / sum;
            let output = &mut output[query.output_at..][..self.head_len_v];
            output.iter_mut().for_each(|x| *x *= normaliser);
        }
    }

    /// The products of all queries with the keys from position `first` on.
    #[inline(always)]
    fn products<V: Lanes>(&self, queries: &[Query], first: usize, products: &mut [[f32; LANES]]) {
        let mut lane = 0;
        while lane < queries.len() {
            // More queries at once share a key's conversion, more keys a query's loads; eight sums
            // are as many as hide each other's latency and fit the registers.
            match queries.len() - lane {
                4.. => {
                    let q = core::array::from_fn(|i| self.query(&queries[lane + i]).as_ptr());
                    let (keys, stride) = (&self.keys.elements[first * self.keys.stride..], self.keys.stride);
                    // SAFETY: `check` found the keys of these positions in their slice.
                    let done = unsafe {
                        E::products::<V>(q, keys.as_ptr(), stride, self.head_len_k, products, lane)
                    };
                    if done < products.len() {
                        self.products_of::<V, 4, 2>(queries, lane, first + done, &mut products[done..]);
                    }
                    lane += 4;
                }
                2.. => {
                    self.products_of::<V, 2, 2>(queries, lane, first, products);
                    lane += 2;
                }
                _ => {
                    self.products_of::<V, 1, 4>(queries, lane, first, products);
                    lane += 1;
                }
            }
        }
    }

    /// The elements of a query.
    #[inline(always)]
    pub fn query(&self, query: &Query) -> &[f32] {
        &self.q[query.at..][..self.head_len_k]
    }

    /// The products of `Q` queries, `K` keys at a time.
    #[inline(always)]
    fn products_of<V: Lanes, const Q: usize, const K: usize>(
        &self,
        queries: &[Query],
        lane: usize,
        first: usize,
        products: &mut [[f32; LANES]],
    ) {
        let len = self.head_len_k;
        let q: [*const f32; Q] = core::array::from_fn(|i| self.query(&queries[lane + i]).as_ptr());
        let stride = self.keys.stride;
        let mut key = self.keys.elements[first * stride..].as_ptr();
        let whole = products.len() / K * K;
        let (groups, rest) = products.split_at_mut(whole);
        for group in groups.chunks_exact_mut(K) {
            let keys: [*const E; K] = core::array::from_fn(|i| key.wrapping_add(i * stride));
            // SAFETY: `check` found the keys of these positions in their slice.
            let sums = unsafe { dots::<V, E, Q, K>(q, keys, len) };
            for (products, sums) in group.iter_mut().zip(sums) {
                products[lane..lane + Q].copy_from_slice(&sums);
            }
            key = key.wrapping_add(K * stride);
        }
        for products in rest {
            // SAFETY: as above.
            let [sums] = unsafe { dots::<V, E, Q, 1>(q, [key], len) };
            products[lane..lane + Q].copy_from_slice(&sums);
            key = key.wrapping_add(stride);
        }
    }

    /// Adds the weighted values from position `first` on to the outputs.
    #[inline(always)]
    fn gather<V: Lanes>(
        &self,
        queries: &[Query],
        first: usize,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) {
        // SAFETY: `check` found all values of these positions, and all outputs, in their slices.
        unsafe {
            let values = self.values.elements.as_ptr().add(first * self.values.stride);
            match queries.len() {
                8 => {
                    if !self.gather_of_eight::<V>(queries, values, weights, output) {
                        self.gather_of::<V, 8, 1, 0>(queries, values, weights, output);
                    }
                }
                n => {
                    if n & 4 != 0 {
                        self.gather_of::<V, 4, 2, 0>(queries, values, weights, output);
                    }
                    match n {
                        2 | 3 => self.gather_of::<V, 2, 4, 0>(queries, values, weights, output),
                        6 | 7 => self.gather_of::<V, 2, 4, 4>(queries, values, weights, output),
                        _ => {}
                    }
                    match n {
                        1 => self.gather_of::<V, 1, 4, 0>(queries, values, weights, output),
                        3 => self.gather_of::<V, 1, 4, 2>(queries, values, weights, output),
                        5 => self.gather_of::<V, 1, 4, 4>(queries, values, weights, output),
                        7 => self.gather_of::<V, 1, 4, 6>(queries, values, weights, output),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Adds the weighted `values` to the outputs of eight queries, if the set has a loop for that; returns
    /// whether it has.
    ///
    /// # Safety
    ///
    /// As many values as there are weights must be readable, and `check` must have found the outputs in
    /// their slice.
    #[inline(always)]
    unsafe fn gather_of_eight<V: Lanes>(
        &self,
        queries: &[Query],
        values: *const E,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) -> bool {
        let sums: [_; LANES] =
            core::array::from_fn(|i| output.as_mut_ptr().wrapping_add(queries[i].output_at));
        self.head_len_v.is_multiple_of(LANES)
            && (0..self.head_len_v).step_by(LANES).all(|done| {
                let sums = sums.map(|sums| sums.wrapping_add(done));
                // SAFETY: what the caller vouches for.
                unsafe { E::gather::<V>(values.add(done / E::LEN), self.values.stride, weights, sums) }
            })
    }

    /// Adds the weighted `values` to the outputs of `Q` queries from number `LANE` on, `D` times
    /// eight elements at a time.
    ///
    /// # Safety
    ///
    /// As many values as there are weights must be readable.
    #[inline(always)]
    unsafe fn gather_of<V: Lanes, const Q: usize, const D: usize, const LANE: usize>(
        &self,
        queries: &[Query],
        values: *const E,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) {
        let at: [usize; Q] = core::array::from_fn(|i| queries[LANE + i].output_at);
        let whole_chunks = self.head_len_v / CHUNK;
        for chunk in 0..whole_chunks {
            let at = at.map(|at| at + chunk * CHUNK);
            // SAFETY: the caller vouches for the values.
            unsafe {
                let values = values.add(chunk * CHUNK / E::LEN);
                self.add_weighted::<V, Q, D, LANE, 0>(at, values, weights, output);
                if D == 1 {
                    self.add_weighted::<V, Q, D, LANE, 1>(at, values, weights, output);
                }
                if D <= 2 {
                    self.add_weighted::<V, Q, D, LANE, 2>(at, values, weights, output);
                }
                if D == 1 {
                    self.add_weighted::<V, Q, D, LANE, 3>(at, values, weights, output);
                }
            }
        }
        let whole = whole_chunks * CHUNK;
        for done in (whole..self.head_len_v / LANES * LANES).step_by(LANES) {
            // SAFETY: the caller vouches for the values.
            unsafe {
                let values = values.add(done / E::LEN);
                self.add_weighted::<V, Q, 1, LANE, 0>(at.map(|at| at + done), values, weights, output);
            }
        }
        for done in self.head_len_v / LANES * LANES..self.head_len_v {
            for (i, at) in at.into_iter().enumerate() {
                let mut sum = [output[at + done], 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
                for (index, weights) in weights.iter().enumerate() {
                    // SAFETY: the caller vouches for the values.
                    let value = unsafe { E::element(values.add(index * self.values.stride), done) };
                    let weighted = V::splat(value).fma(V::splat(weights[LANE + i]), V::of(&sum));
                    weighted.store(&mut sum);
                }
                output[at + done] = sum[0];
            }
        }
    }

    /// Adds weighted values to `D` times eight elements of `Q` outputs, from number `8 · GROUP` of
    /// those at `at` on.
    ///
    /// # Safety
    ///
    /// As many values as there are weights must be readable.
    #[inline(always)]
    unsafe fn add_weighted<
        V: Lanes,
        const Q: usize,
        const D: usize,
        const LANE: usize,
        const GROUP: usize,
    >(
        &self,
        at: [usize; Q],
        mut values: *const E,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) {
        let at = at.map(|at| at + GROUP * LANES);
        let mut sums = [[V::splat(0.0); D]; Q];
        for (sums, at) in sums.iter_mut().zip(at) {
            let (vectors, _) = output[at..at + D * LANES].as_chunks();
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = V::of(vector);
            }
        }
        let stride = self.values.stride;
        let (fours, rest) = weights.as_chunks::<4>();
        for weights in fours {
            for (index, weights) in weights.iter().enumerate() {
                // SAFETY: the caller vouches for the values.
                unsafe {
                    add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(index * stride), weights)
                };
            }
            values = values.wrapping_add(4 * stride);
        }
        for weights in rest {
            // SAFETY: the caller vouches for the values.
            unsafe { add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values, weights) };
            values = values.wrapping_add(stride);
        }
        for (sums, at) in sums.iter().zip(at) {
            let (vectors, _) = output[at..at + D * LANES].as_chunks_mut();
            for (sum, vector) in sums.iter().zip(vectors) {
                sum.store(vector);
            }
        }
    }
}

/// Adds one value, from element `8 · GROUP` on, to the sums of `Q` queries from number `LANE` on.
///
/// # Safety
///
/// The value must be readable.
#[inline(always)]
unsafe fn add_value<
    V: Lanes,
    E: Elements,
    const Q: usize,
    const D: usize,
    const LANE: usize,
    const GROUP: usize,
>(
    sums: &mut [[V; D]; Q],
    value: *const E,
    weights: &[f32; LANES],
) {
    let weights = V::weights(weights);
    for d in 0..D {
        // SAFETY: the caller vouches for the value.
        let value = unsafe { E::load::<V>(value, GROUP + d) };
        for (i, sums) in sums.iter_mut().enumerate() {
            sums[d] = match LANE + i {
                0 => sums[d].add_weighted::<0>(value, weights),
                1 => sums[d].add_weighted::<1>(value, weights),
                2 => sums[d].add_weighted::<2>(value, weights),
                3 => sums[d].add_weighted::<3>(value, weights),
                4 => sums[d].add_weighted::<4>(value, weights),
                5 => sums[d].add_weighted::<5>(value, weights),
                6 => sums[d].add_weighted::<6>(value, weights),
                _ => sums[d].add_weighted::<7>(value, weights),
            };
        }
    }
}

/// The product of each query with each key.
///
/// # Safety
///
/// `len` elements of each must be readable.
#[inline(always)]
unsafe fn dots<V: Lanes, E: Elements, const Q: usize, const K: usize>(
    mut q_at: [*const f32; Q],
    mut key_at: [*const E; K],
    len: usize,
) -> [[f32; Q]; K] {
    let mut sums = [[V::splat(0.0); Q]; K];
    for _ in 0..len / CHUNK {
        // SAFETY: a whole chunk is left of each.
        unsafe {
            add_products(q_at, key_at, 0, &mut sums);
            add_products(q_at, key_at, 1, &mut sums);
            add_products(q_at, key_at, 2, &mut sums);
            add_products(q_at, key_at, 3, &mut sums);
        }
        q_at = q_at.map(|q| q.wrapping_add(CHUNK));
        key_at = key_at.map(|key| key.wrapping_add(CHUNK / E::LEN));
    }
    for _ in 0..len % CHUNK / LANES {
        // SAFETY: eight elements are left of each. Types that stand for more have no such rest.
        unsafe { add_products(q_at, key_at, 0, &mut sums) };
        q_at = q_at.map(|q| q.wrapping_add(LANES));
        key_at = key_at.map(|key| key.wrapping_add(LANES / E::LEN));
    }
    let rest = len % LANES;
    if rest > 0 {
        // SAFETY: so many elements are left.
        let last_q = q_at.map(|q| padded(rest, |i| unsafe { *q.add(i) }));
        // SAFETY: so many elements are left.
        let last_keys = key_at.map(|key| padded(rest, |i| unsafe { E::element(key, i) }));
        let (q_at, key_at) =
            (last_q.each_ref().map(|q| q.as_ptr()), last_keys.each_ref().map(|key| key.as_ptr()));
        // SAFETY: each is an array of eight.
        unsafe { add_products(q_at, key_at, 0, &mut sums) };
    }

    let mut totals = [[0.0; Q]; K];
    let zero = V::splat(0.0);
    // Loops of constant length, so that the sums stay in registers.
    for half in 0..2 {
        let first = 4 * half;
        if first < Q * K {
            let sum =
                |i: usize| if first + i < Q * K { sums[(first + i) / Q][(first + i) % Q] } else { zero };
            let folded = V::fold([sum(0), sum(1), sum(2), sum(3)]);
            for (total, folded) in totals.as_flattened_mut()[first..].iter_mut().zip(folded) {
                *total = folded;
            }
        }
    }
    totals
}

/// Adds the products of eight elements.
///
/// # Safety
///
/// The elements must be readable.
#[inline(always)]
unsafe fn add_products<V: Lanes, E: Elements, const Q: usize, const K: usize>(
    q: [*const f32; Q],
    keys: [*const E; K],
    group: usize,
    sums: &mut [[V; Q]; K],
) {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        let keys = keys.map(|key| E::load::<V>(key, group));
        for (i, q) in q.into_iter().enumerate() {
            let q = <f32 as Elements>::load::<V>(q, group);
            for (sums, key) in sums.iter_mut().zip(keys) {
                sums[i] = q.fma(key, sums[i]);
            }
        }
    }
}

/// The last elements, with zeros behind them.
#[inline(always)]
fn padded(len: usize, element: impl Fn(usize) -> f32) -> [f32; LANES] {
    core::array::from_fn(|i| if i < len { element(i) } else { 0.0 })
}

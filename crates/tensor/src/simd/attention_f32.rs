//! Attention's products in single precision, whatever the type of the cache, over the vectors of each set.
//!
//! Neighbours: [`attention`](super::attention) has the softmax between them and says in which order sums are made.

use super::attention::{Arithmetic, Attend, Prepare, Query, Step};
use super::lanes::{Elements, F16Loops, LANES, Lanes};
use core::ops::Range;

/// Elements that a loop over a row takes at once.
const CHUNK: usize = 4 * LANES;

/// Everything in single precision.
#[derive(Default)]
pub struct Single;

impl<V: Lanes, E: Elements> Prepare<V, E> for Single {
    #[inline(always)]
    fn new(_: &Attend<'_, E>, _: &[Query]) -> Self {
        Single
    }
}

impl<V: Lanes, E: Elements> Arithmetic<V, E> for Single {
    #[inline(always)]
    fn scales(&self, attend: &Attend<'_, E>) -> V {
        V::splat(attend.scale)
    }

    #[inline(always)]
    fn products(&self, attend: &Attend<'_, E>, step: Step<'_>, products: &mut [[f32; LANES]]) {
        let Step { queries, first } = step;
        let mut lane = 0;
        while lane < queries.len() {
            // More queries at once share a key's conversion, more keys a query's loads; eight sums
            // are as many as hide each other's latency and fit the registers.
            match queries.len() - lane {
                4.. => {
                    let q = core::array::from_fn(|i| attend.query(&queries[lane + i]).as_ptr());
                    let (keys, stride) = (attend.keys(first, products.len()), attend.keys.stride);
                    let (keys, len) = (keys.as_ptr().cast(), attend.head_len_k);
                    let done = match V::F16_LOOPS {
                        // SAFETY: `keys` are those of all positions; `check` found the queries in their slice.
                        Some(loops) if E::IS_F16 => unsafe {
                            (loops.products)(q, keys, stride, len, products, lane)
                        },
                        _ => 0,
                    };
                    if done < products.len() {
                        attend.products_of::<V, 4, 2>(queries, lane, first + done, &mut products[done..]);
                    }
                    lane += 4;
                }
                2.. => {
                    attend.products_of::<V, 2, 2>(queries, lane, first, products);
                    lane += 2;
                }
                _ => {
                    attend.products_of::<V, 1, 4>(queries, lane, first, products);
                    lane += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn gather(&self, attend: &Attend<'_, E>, step: Step<'_>, weights: &[[f32; LANES]], output: &mut [f32]) {
        let Step { queries, first } = step;
        let values = attend.values(first, weights.len()).as_ptr();
        // SAFETY: `values` are those of all positions; `check` found all outputs in their slice.
        unsafe {
            match queries.len() {
                8 => match V::F16_LOOPS {
                    Some(loops) if E::IS_F16 && attend.head_len_v.is_multiple_of(LANES) => {
                        attend.gather_of_eight(&loops, queries, values, weights, output);
                    }
                    _ => attend.gather_of::<V, 8, 1, 0>(queries, values, weights, output),
                },
                n => {
                    if n & 4 != 0 {
                        attend.gather_of::<V, 4, 2, 0>(queries, values, weights, output);
                    }
                    match n {
                        2 | 3 => attend.gather_of::<V, 2, 4, 0>(queries, values, weights, output),
                        6 | 7 => attend.gather_of::<V, 2, 4, 4>(queries, values, weights, output),
                        _ => {}
                    }
                    match n {
                        1 => attend.gather_of::<V, 1, 4, 0>(queries, values, weights, output),
                        3 => attend.gather_of::<V, 1, 4, 2>(queries, values, weights, output),
                        5 => attend.gather_of::<V, 1, 4, 4>(queries, values, weights, output),
                        7 => attend.gather_of::<V, 1, 4, 6>(queries, values, weights, output),
                        _ => {}
                    }
                }
            }
            attend.gather_rest::<V>(queries, values, weights, output);
        }
    }
}

impl<E: Elements> Attend<'_, E> {
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
        let mut key = self.keys(first, products.len()).as_ptr();
        let whole = products.len() / K * K;
        let (groups, rest) = products.split_at_mut(whole);
        for group in groups.chunks_exact_mut(K) {
            let keys: [*const E; K] = core::array::from_fn(|i| key.wrapping_add(i * stride));
            // SAFETY: these are among the keys from `first` on; `check` found the queries in their slice.
            let sums = unsafe { dots::<V, E, Q, K>(q, keys, len) };
            for (products, sums) in group.iter_mut().zip(sums) {
                products[lane..lane + Q].copy_from_slice(&sums);
            }
            key = key.wrapping_add(K * stride);
        }
        for products in rest {
            // SAFETY: this too is among the keys from `first` on; `check` found the queries in their slice.
            let [sums] = unsafe { dots::<V, E, Q, 1>(q, [key], len) };
            products[lane..lane + Q].copy_from_slice(&sums);
            key = key.wrapping_add(stride);
        }
    }

    /// Adds the weighted `values`, f16 in whole vectors, to the outputs of eight queries by the set's own loop.
    ///
    /// # Safety
    ///
    /// As many values as there are weights must be readable, and `check` must have found the outputs in
    /// their slice.
    #[inline(always)]
    unsafe fn gather_of_eight(
        &self,
        loops: &F16Loops,
        queries: &[Query],
        values: *const E,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) {
        let sums: [_; LANES] =
            core::array::from_fn(|i| output.as_mut_ptr().wrapping_add(queries[i].output_at));
        for done in (0..self.head_len_v).step_by(LANES) {
            let sums = sums.map(|sums| sums.wrapping_add(done));
            // SAFETY: as many values are readable as there are weights, and the outputs lie in their slice, as is asked of the
            // caller; eight elements of each are left.
            unsafe { (loops.gather)(values.add(done).cast(), self.values.stride, weights, sums) }
        }
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
        let len = self.head_len_v / LANES * LANES;
        let mut done = 0;
        // SAFETY: the caller vouches for the values.
        unsafe {
            if E::LEN > 1 {
                // Elements of a block are loaded by their place in it.
                while done < len {
                    let at = at.map(|at| at + done);
                    let values = values.add(done / E::LEN);
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
                    done += CHUNK;
                }
                return;
            }
            if D > 1 {
                while len - done >= D * LANES {
                    let at = at.map(|at| at + done);
                    self.add_weighted::<V, Q, D, LANE, 0>(at, values.add(done), weights, output);
                    done += D * LANES;
                }
            }
            while done < len {
                let at = at.map(|at| at + done);
                self.add_weighted::<V, Q, 1, LANE, 0>(at, values.add(done), weights, output);
                done += LANES;
            }
        }
    }

    /// Adds the last elements of the weighted `values`, fewer than eight, to the outputs of all queries.
    ///
    /// # Safety
    ///
    /// As many values as there are weights must be readable.
    #[inline(always)]
    unsafe fn gather_rest<V: Lanes>(
        &self,
        queries: &[Query],
        values: *const E,
        weights: &[[f32; LANES]],
        output: &mut [f32],
    ) {
        let whole = self.head_len_v / LANES * LANES;
        if whole == self.head_len_v {
            return;
        }
        for (lane, query) in queries.iter().enumerate() {
            let output = &mut output[query.output_at..][whole..self.head_len_v];
            // SAFETY: the range is that of the slice.
            let mut sums = unsafe { padded(output.as_ptr(), 0..output.len()) };
            for (index, weights) in weights.iter().enumerate() {
                // SAFETY: the caller vouches for the values.
                let value = unsafe { padded(values.add(index * self.values.stride), whole..self.head_len_v) };
                V::of(&value).fma(V::splat(weights[lane]), V::of(&sums)).store(&mut sums);
            }
            output.copy_from_slice(&sums[..output.len()]);
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
        for [a, b, c, d] in fours {
            // SAFETY: the caller vouches for the values.
            unsafe {
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values, a);
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(stride), b);
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(2 * stride), c);
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(3 * stride), d);
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
    each_below!(D in 0 1 2 3, |d| {
        // SAFETY: the caller vouches for the value.
        let value = unsafe { E::load::<V>(value, GROUP + d) };
        each_below!(Q in 0 1 2 3 4 5 6 7, |i| {
            sums[i][d] = match LANE + i {
                0 => sums[i][d].add_weighted::<0>(value, weights),
                1 => sums[i][d].add_weighted::<1>(value, weights),
                2 => sums[i][d].add_weighted::<2>(value, weights),
                3 => sums[i][d].add_weighted::<3>(value, weights),
                4 => sums[i][d].add_weighted::<4>(value, weights),
                5 => sums[i][d].add_weighted::<5>(value, weights),
                6 => sums[i][d].add_weighted::<6>(value, weights),
                _ => sums[i][d].add_weighted::<7>(value, weights),
            };
        });
    });
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
        let last_q = q_at.map(|q| unsafe { padded(q, 0..rest) });
        // SAFETY: so many elements are left.
        let last_keys = key_at.map(|key| unsafe { padded(key, 0..rest) });
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
        each_below!(Q in 0 1 2 3, |i| {
            let q = <f32 as Elements>::load::<V>(q[i], group);
            each_below!(K in 0 1 2 3, |k| sums[k][i] = q.fma(keys[k], sums[k][i]));
        });
    }
}

/// These elements of a row, fewer than eight, with zeros behind them.
///
/// Hardly any model has heads of such a length: a function of its own keeps what it takes out of the loops.
///
/// # Safety
///
/// They must be readable.
#[inline(never)]
unsafe fn padded<E: Elements>(row: *const E, range: Range<usize>) -> [f32; LANES] {
    let mut vector = [0.0; LANES];
    for (x, index) in vector.iter_mut().zip(range) {
        // SAFETY: the caller vouches for the elements.
        *x = unsafe { E::element(row, index) };
    }
    vector
}

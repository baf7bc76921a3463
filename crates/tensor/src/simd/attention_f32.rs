//! Attention's products in single precision, whatever the type of the cache, over the vectors of each set.
//!
//! Neighbours: [`attention`](super::attention) computes the softmax between them and defines the order of sums.

use super::attention::{Arithmetic, Attend, Prepare, Query, Step};
use super::lanes::{Elements, F16Loops, LANES, Lanes};
use core::ops::Range;

/// Elements that one pass of the loop over a row takes.
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
            // More queries share the conversion of a key, more keys the loads of a query. Eight sums are enough to hide
            // latency, and fit the registers.
            match queries.len() - lane {
                4.. => {
                    let q = core::array::from_fn(|i| attend.query(&queries[lane + i]).as_ptr());
                    let (keys, stride) = (attend.keys(first, products.len()), attend.keys.stride);
                    let (keys, len) = (keys.as_ptr().cast(), attend.head_len_k);
                    let done = match V::F16_LOOPS {
                        // SAFETY: each of `q` points to a slice of `len` elements, and `keys` to one that holds a key
                        // for each of `products`. The cast is right because `E` is `f16`.
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
        // SAFETY: `values` points to a slice that holds a value for each of `weights`; `check` found that all outputs lie in
        // `output`.
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
    /// Writes the products of `Q` queries, from `queries[lane]` on, with the keys from position `first` on, `K` keys at a time.
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
            // SAFETY: `keys` lie in the slice that `self.keys` returned, which holds a key for each of `products`; each of `q`
            // points to a slice of `len` elements.
            let sums = unsafe { dots::<V, E, Q, K>(q, keys, len) };
            for (products, sums) in group.iter_mut().zip(sums) {
                products[lane..lane + Q].copy_from_slice(&sums);
            }
            key = key.wrapping_add(K * stride);
        }
        for products in rest {
            // SAFETY: `key` lies in that slice too; each of `q` points to a slice of `len` elements.
            let [sums] = unsafe { dots::<V, E, Q, 1>(q, [key], len) };
            products[lane..lane + Q].copy_from_slice(&sums);
            key = key.wrapping_add(stride);
        }
    }

    /// Adds the weighted `values` to the outputs of eight queries by the set's own loop. `E` is `f16`, and values have a
    /// multiple of eight elements.
    ///
    /// # Safety
    ///
    /// Beginning at `values`, a value must be readable for each of `weights`, `self.values.stride` apart. `check` must
    /// have found that the outputs lie in `output`.
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
            // SAFETY: the caller guarantees a value for each of `weights` and the outputs; at least eight elements of each are
            // left.
            unsafe { (loops.gather)(values.add(done).cast(), self.values.stride, weights, sums) }
        }
    }

    /// Adds the weighted `values` to the outputs of `Q` queries, from `queries[LANE]` on, `D` vectors at a time.
    ///
    /// # Safety
    ///
    /// Beginning at `values`, a value must be readable for each of `weights`, `self.values.stride` apart.
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
        // SAFETY: the caller guarantees a value for each of `weights`, and elements from `done` on are left of each.
        unsafe {
            if E::LEN > 1 {
                // `values` moves by whole blocks; `GROUP` is the place of a vector in its block.
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
    /// Beginning at `values`, a value must be readable for each of `weights`, `self.values.stride` apart.
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
            // SAFETY: the range is that of the slice `output`.
            let mut sums = unsafe { padded(output.as_ptr(), 0..output.len()) };
            for (index, weights) in weights.iter().enumerate() {
                // SAFETY: the caller guarantees a value for each of `weights`.
                let value = unsafe { padded(values.add(index * self.values.stride), whole..self.head_len_v) };
                V::of(&value).fma(V::splat(weights[lane]), V::of(&sums)).store(&mut sums);
            }
            output.copy_from_slice(&sums[..output.len()]);
        }
    }

    /// Adds elements `8 · GROUP..8 · (GROUP + D)` of the weighted `values` to those of the `Q` outputs at `at`.
    ///
    /// # Safety
    ///
    /// These elements must be readable of a value for each of `weights`; values begin at `values`, `self.values.stride` apart.
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
            // SAFETY: the caller guarantees these elements of a value for each of `weights`.
            unsafe {
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values, a);
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(stride), b);
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(2 * stride), c);
                add_value::<V, E, Q, D, LANE, GROUP>(&mut sums, values.add(3 * stride), d);
            }
            values = values.wrapping_add(4 * stride);
        }
        for weights in rest {
            // SAFETY: the caller guarantees these elements of a value for each of `weights`.
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

/// Adds elements `8 · GROUP..8 · (GROUP + D)` of one value, times its weights, to the sums of `Q` queries, whose weights are
/// `weights[LANE..LANE + Q]`.
///
/// # Safety
///
/// These elements must be readable.
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
        // SAFETY: the caller guarantees that the elements are readable.
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
/// `len` elements must be readable of each query and of each key.
#[inline(always)]
unsafe fn dots<V: Lanes, E: Elements, const Q: usize, const K: usize>(
    mut q_at: [*const f32; Q],
    mut key_at: [*const E; K],
    len: usize,
) -> [[f32; Q]; K] {
    let mut sums = [[V::splat(0.0); Q]; K];
    for _ in 0..len / CHUNK {
        // SAFETY: the caller guarantees `len` elements of each query and key; at least `CHUNK` of them are left.
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
        // SAFETY: at least eight elements of each query and key are left. Keys in blocks do not get here: `check` made their
        // length a multiple of `E::LEN`, which is `CHUNK` for them.
        unsafe { add_products(q_at, key_at, 0, &mut sums) };
        q_at = q_at.map(|q| q.wrapping_add(LANES));
        key_at = key_at.map(|key| key.wrapping_add(LANES / E::LEN));
    }
    let rest = len % LANES;
    if rest > 0 {
        // SAFETY: `rest` elements of each query are left.
        let last_q = q_at.map(|q| unsafe { padded(q, 0..rest) });
        // SAFETY: `rest` elements of each key are left.
        let last_keys = key_at.map(|key| unsafe { padded(key, 0..rest) });
        let (q_at, key_at) =
            (last_q.each_ref().map(|q| q.as_ptr()), last_keys.each_ref().map(|key| key.as_ptr()));
        // SAFETY: each pointer is to an array of eight elements.
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

/// Adds the products of elements `8 · group..8 · (group + 1)` of each query and each key; `group` is at most 3.
///
/// # Safety
///
/// These elements must be readable.
#[inline(always)]
unsafe fn add_products<V: Lanes, E: Elements, const Q: usize, const K: usize>(
    q: [*const f32; Q],
    keys: [*const E; K],
    group: usize,
    sums: &mut [[V; Q]; K],
) {
    // SAFETY: the caller guarantees that the elements are readable.
    unsafe {
        let keys = keys.map(|key| E::load::<V>(key, group));
        each_below!(Q in 0 1 2 3, |i| {
            let q = <f32 as Elements>::load::<V>(q[i], group);
            each_below!(K in 0 1 2 3, |k| sums[k][i] = q.fma(keys[k], sums[k][i]));
        });
    }
}

/// The elements of a row in `range`, at most eight, followed by zeros.
///
/// Hardly any model has heads of such a length, so this is not inlined: the loops of its callers stay small.
///
/// # Safety
///
/// The elements must be readable.
#[inline(never)]
unsafe fn padded<E: Elements>(row: *const E, range: Range<usize>) -> [f32; LANES] {
    let mut vector = [0.0; LANES];
    for (x, index) in vector.iter_mut().zip(range) {
        // SAFETY: the caller guarantees that the elements are readable.
        *x = unsafe { E::element(row, index) };
    }
    vector
}

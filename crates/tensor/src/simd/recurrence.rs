//! Recurrences over several tokens, for the rows of one head's state.
//!
//! A state is a matrix of `[rows][cols]`. Its rows are in groups ([`quads`](super::quads)), and its columns in whole vectors.
//! The step of a token replaces the state and multiplies it with one vector. In the table, `i` is a row, `s` its elements
//! before the step, and `s'` its elements after it:
//!
//! | scan | the new row | the output |
//! |---|---|---|
//! | [`MambaScan`] | `s'[j] = exp(dt[i] · a[i][j]) · s[j] + b[j] · (dt[i] · x[i])` | `Σ s'[j] · c[j]` |
//! | [`Mamba2Scan`] | `s'[j] = decay · s[j] + b[j] · (dt · x[i])` | `Σ s'[j] · c[j]` |
//! | [`DeltaScan`] | `s'[j] = decay · s[j] + k[j] · beta · (v[i] - Σ decay · s[j] · k[j])` | `Σ s'[j] · q[j]` |
//! | [`DiagonalScan`] | `s'[j] = decay[j] · s[j] + k[j] · v[i] + b[j] · Σ s[j] · a[j]` | `Σ s'[j] · q[j]` or `Σ s[j] · q[j]` |
//!
//! A sum has one partial sum per lane, made with fused multiply-adds in order; [`Lanes::fold`] gives the order in which these
//! are added up. A group of rows goes through all tokens before the next group does, so that it stays in the first-level cache.
//! The result does not depend on that.

use super::columns::Columns;
use super::convolution::{self, Convolve};
use super::exp;
use super::lanes::{LANES, Lanes, Work};
use super::quads::{QUAD, Quad, ROWS};

/// Eight neighbouring elements of a row.
type Vector = [f32; LANES];

/// Eight columns of a group of rows.
type Group = [f32; QUAD];

/// The number of elements of a state with this many rows and columns.
pub fn state_len(n_rows: usize, n_cols: usize) -> usize {
    n_rows.next_multiple_of(ROWS).saturating_mul(n_cols)
}

/// A selective state space with a decay for each element of the state (Gu and Dao 2023).
pub struct MambaScan<'a> {
    /// [`state_len`] elements.
    pub state: &'a mut [f32],
    /// `[rows][cols]`
    pub a: &'a [f32],
    /// For each row: the step sizes.
    pub dt: Columns<'a>,
    /// For each row: the inputs.
    pub x: Columns<'a>,
    /// For each column: how the inputs enter the state.
    pub b: Columns<'a>,
    /// For each column: how the state is read.
    pub c: Columns<'a>,
    /// `[n_tokens][rows]`: the output.
    pub y: &'a mut [f32],
}

/// A selective state space with one decay for all of a head's state (Dao and Gu 2024).
pub struct Mamba2Scan<'a> {
    /// [`state_len`] elements.
    pub state: &'a mut [f32],
    /// `[n_tokens]`: the factors of the state.
    pub decay: &'a [f32],
    /// `[n_tokens]`: the step sizes.
    pub dt: &'a [f32],
    /// For each row: the inputs.
    pub x: Columns<'a>,
    /// For each column: how the inputs enter the state.
    pub b: Columns<'a>,
    /// For each column: how the state is read.
    pub c: Columns<'a>,
    /// `[n_tokens][rows]`: the output.
    pub y: &'a mut [f32],
}

/// The gated delta rule (Yang et al. 2024).
pub struct DeltaScan<'a> {
    /// [`state_len`] elements.
    pub state: &'a mut [f32],
    /// `[n_tokens]`: the factors of the state.
    pub decay: &'a [f32],
    /// `[n_tokens]`: how much of a value is written.
    pub beta: &'a [f32],
    /// For each column: the keys.
    pub k: Columns<'a>,
    /// For each row: the values.
    pub v: Columns<'a>,
    /// For each column: the queries.
    pub q: Columns<'a>,
    /// `[n_tokens][rows]`: the output.
    pub y: &'a mut [f32],
}

/// Linear attention with a decay for each column (Yang et al. 2023), and with the generalised delta rule (Peng et al. 2025).
pub struct DiagonalScan<'a> {
    /// [`state_len`] elements.
    pub state: &'a mut [f32],
    /// For each column: the factors of the state.
    pub decay: Columns<'a>,
    /// For each column: the keys.
    pub k: Columns<'a>,
    /// For each row: the values.
    pub v: Columns<'a>,
    /// For each column: the queries.
    pub q: Columns<'a>,
    /// For each column: the vector `a` that the state is multiplied with, and the vector `b` that writes the result to the
    /// state. Plain linear attention has neither.
    pub correction: Option<[Columns<'a>; 2]>,
    /// Whether a query reads the state before the step.
    pub reads_before: bool,
    /// `[n_tokens][rows]`: the output.
    pub y: &'a mut [f32],
}

/// Recurrences and the convolution before them, as entries of a set's table.
pub(super) struct Recurrence {
    pub mamba: fn(MambaScan<'_>),
    pub mamba2: fn(Mamba2Scan<'_>),
    pub delta: fn(DeltaScan<'_>),
    pub diagonal: fn(DiagonalScan<'_>),
    pub convolve: fn(Convolve<'_>),
}

impl Recurrence {
    /// The routines in vectors of type `V` or, where four rows are computed at once, of type `Q`.
    ///
    /// # Safety
    ///
    /// A function of the result may be called only on a CPU with the instructions of `V`'s and `Q`'s set.
    pub const unsafe fn of<V: Lanes, Q: Quad>() -> Self {
        Recurrence {
            // SAFETY: the caller of `of` guarantees that this runs only where the CPU has the instructions.
            mamba: |scan| unsafe { V::enter::<V>(scan) },
            // SAFETY: the caller of `of` guarantees that this runs only where the CPU has the instructions.
            mamba2: |scan| unsafe { Q::enter::<Q>(scan) },
            // SAFETY: the caller of `of` guarantees that this runs only where the CPU has the instructions.
            delta: |scan| unsafe { Q::enter::<Q>(scan) },
            // SAFETY: the caller of `of` guarantees that this runs only where the CPU has the instructions.
            diagonal: |scan| unsafe { Q::enter::<Q>(scan) },
            // SAFETY: the caller of `of` guarantees that this runs only where the CPU has the instructions.
            convolve: |work| unsafe { convolution::convolve::<V>(work) },
        }
    }
}

/// Panics unless both of `columns` have the same length, a multiple of [`LANES`], `state` has `rows.len` rows of that length,
/// and `y` has `rows.len` elements for each of `n_tokens`.
pub(super) fn check(state: &[f32], rows: Columns<'_>, columns: [Columns<'_>; 2], n_tokens: usize, y: &[f32]) {
    let n_cols = columns[0].len;
    assert!(n_cols.is_multiple_of(LANES), "rows of {n_cols} elements");
    assert_eq!([columns[1].len, y.len()], [n_cols, n_tokens * rows.len]);
    assert_eq!(state.len(), state_len(rows.len, n_cols));
}

/// The groups of rows of a state.
#[inline(always)]
fn groups(state: &mut [f32], n_vectors: usize) -> impl Iterator<Item = &mut [Group]> {
    state.as_chunks_mut().0.chunks_exact_mut(n_vectors.max(1))
}

/// The elements of a group of rows from `first` on; zeros for rows that do not exist.
#[inline(always)]
fn of_rows(x: &[f32], first: usize) -> [f32; ROWS] {
    match x[first..].first_chunk() {
        Some(rows) => *rows,
        None => core::array::from_fn(|row| x.get(first + row).copied().unwrap_or(0.0)),
    }
}

/// Writes the elements of a group of rows from `first` on, except for rows that do not exist.
#[inline(always)]
fn to_rows(values: [f32; ROWS], y: &mut [f32], first: usize) {
    for (y, value) in y[first..].iter_mut().zip(values) {
        *y = value;
    }
}

#[inline(always)]
fn vectors(x: &[f32]) -> &[Vector] {
    x.as_chunks().0
}

impl<V: Lanes> Work<V> for MambaScan<'_> {
    #[inline(always)]
    fn run(self) {
        let MambaScan { state, a, dt, x, b, c, y } = self;
        let (n_rows, n_vectors) = (x.len, b.len / LANES);
        let a = vectors(a);
        for (group, state) in groups(state, n_vectors).enumerate() {
            let first = group * ROWS;
            for (token, y) in y.chunks_exact_mut(n_rows).enumerate() {
                let (dt, x) = (of_rows(dt.token(token), first), of_rows(x.token(token), first));
                let (b, c) = (vectors(b.token(token)), vectors(c.token(token)));
                let mut sums = [V::splat(0.0); ROWS];
                for row in 0..ROWS {
                    // Rows that only pad the group take the `a` of the last row.
                    let a = &a[(first + row).min(n_rows - 1) * n_vectors..][..n_vectors];
                    let (step, input) = (V::splat(dt[row]), V::splat(dt[row] * x[row]));
                    for (((group, a), b), c) in state.iter_mut().zip(a).zip(b).zip(c) {
                        let state = &mut group.as_chunks_mut().0[row];
                        let decay = exp::exp(V::of(a).mul(step));
                        let new = V::of(state).fma(decay, V::of(b).mul(input));
                        new.store(state);
                        sums[row] = new.fma(V::of(c), sums[row]);
                    }
                }
                to_rows(V::fold(sums), y, first);
            }
        }
    }
}

impl<Q: Quad> Work<Q> for Mamba2Scan<'_> {
    #[inline(always)]
    fn run(self) {
        let Mamba2Scan { state, decay, dt, x, b, c, y } = self;
        let n_rows = x.len;
        for (group, state) in groups(state, b.len / LANES).enumerate() {
            let first = group * ROWS;
            let steps = y.chunks_exact_mut(n_rows).zip(decay.iter().zip(dt));
            for (token, (y, (decay, dt))) in steps.enumerate() {
                let decay = Q::splat(*decay);
                let input = Q::of_rows(of_rows(x.token(token), first).map(|x| dt * x));
                let (b, c) = (vectors(b.token(token)), vectors(c.token(token)));
                let mut sums = Q::splat(0.0);
                for ((state, b), c) in state.iter_mut().zip(b).zip(c) {
                    let new = Q::of(state).fma(decay, Q::of_columns(b).mul(input));
                    new.store(state);
                    sums = new.fma(Q::of_columns(c), sums);
                }
                to_rows(sums.fold(), y, first);
            }
        }
    }
}

impl<Q: Quad> Work<Q> for DiagonalScan<'_> {
    #[inline(always)]
    fn run(self) {
        let DiagonalScan { state, decay, k, v, q, correction, reads_before, y } = self;
        let (n_rows, n_vectors) = (v.len, k.len / LANES);
        for (group, state) in groups(state, n_vectors).enumerate() {
            let first = group * ROWS;
            for (token, y) in y.chunks_exact_mut(n_rows).enumerate() {
                let [decay, k, q] = [decay, k, q].map(|x| &vectors(x.token(token))[..n_vectors]);
                let value = Q::of_rows(of_rows(v.token(token), first));
                let correction = correction.map(|columns| {
                    let [a, b] = columns.map(|x| &vectors(x.token(token))[..n_vectors]);
                    let mut sums = Q::splat(0.0);
                    for (state, a) in state.iter().zip(a) {
                        sums = Q::of(state).fma(Q::of_columns(a), sums);
                    }
                    (b, Q::of_rows(sums.fold()))
                });
                let mut outputs = Q::splat(0.0);
                for (index, state) in state.iter_mut().enumerate() {
                    let old = Q::of(state);
                    let mut written = Q::of_columns(&k[index]).mul(value);
                    if let Some((b, sums)) = correction {
                        written = Q::of_columns(&b[index]).fma(sums, written);
                    }
                    let new = old.fma(Q::of_columns(&decay[index]), written);
                    new.store(state);
                    outputs = if reads_before { old } else { new }.fma(Q::of_columns(&q[index]), outputs);
                }
                to_rows(outputs.fold(), y, first);
            }
        }
    }
}

impl<Q: Quad> Work<Q> for DeltaScan<'_> {
    #[inline(always)]
    fn run(mut self) {
        let n_vectors = self.k.len / LANES;
        let state = core::mem::take(&mut self.state);
        let mut groups = groups(state, n_vectors);
        let mut first = 0;
        while let Some(group) = groups.next() {
            if Q::GROUPS == 2
                && let Some(next) = groups.next()
            {
                delta::<Q, 2>(&mut self, [group, next], first);
                first += 2 * ROWS;
            } else {
                delta::<Q, 1>(&mut self, [group], first);
                first += ROWS;
            }
        }
    }
}

/// All tokens, for `N` groups of rows from row `first` on.
///
/// Each token takes one pass over the state. The new state is multiplied with the query and, after the next decay, with the key
/// of the next token.
#[inline(always)]
fn delta<Q: Quad, const N: usize>(scan: &mut DeltaScan<'_>, states: [&mut [Group]; N], first: usize) {
    let DeltaScan { decay, beta, k, v, q, y, .. } = scan;
    let (n_rows, n_vectors) = (v.len, k.len / LANES);
    let states = states.map(|state| &mut state[..n_vectors]);
    let Some(first_decay) = decay.first() else { return };
    let first_decay = Q::splat(*first_decay);
    let mut sums = [Q::splat(0.0); N];
    for (index, k) in vectors(k.token(0))[..n_vectors].iter().enumerate() {
        for group in 0..N {
            let state = &mut states[group][index];
            let decayed = Q::of(state).mul(first_decay);
            decayed.store(state);
            sums[group] = decayed.fma(Q::of_columns(k), sums[group]);
        }
    }
    for (token, y) in y.chunks_exact_mut(n_rows).enumerate() {
        // After the last token nothing decays.
        let next = (token + 1).min(decay.len() - 1);
        let next_decay = Q::splat(if next == token { 1.0 } else { decay[next] });
        let mut deltas = [Q::splat(0.0); N];
        for group in 0..N {
            let (v, sums) = (of_rows(v.token(token), first + group * ROWS), sums[group].fold());
            deltas[group] = Q::of_rows(core::array::from_fn(|row| (v[row] - sums[row]) * beta[token]));
        }
        let [keys, queries, next_keys] =
            [k.token(token), q.token(token), k.token(next)].map(|x| &vectors(x)[..n_vectors]);
        let mut outputs = [Q::splat(0.0); N];
        sums = [Q::splat(0.0); N];
        for index in 0..n_vectors {
            let (k, q) = (Q::of_columns(&keys[index]), Q::of_columns(&queries[index]));
            let next_k = Q::of_columns(&next_keys[index]);
            for group in 0..N {
                let state = &mut states[group][index];
                let new = k.fma(deltas[group], Q::of(state));
                outputs[group] = new.fma(q, outputs[group]);
                let decayed = new.mul(next_decay);
                decayed.store(state);
                sums[group] = decayed.fma(next_k, sums[group]);
            }
        }
        for (group, outputs) in outputs.into_iter().enumerate() {
            to_rows(outputs.fold(), y, first + group * ROWS);
        }
    }
}

//! One step of each recurrence, for the rows of one head's state.
//!
//! A state is a matrix of `[rows][cols]`, in rows of whole vectors. A step replaces it and multiplies it with one
//! vector. In plain numbers, for each row `i`, with `s` its elements before and `s'` after the step:
//!
//! | step | the new row | the output |
//! |---|---|---|
//! | [`MambaStep`] | `s'[j] = exp(dt[i] · a[i][j]) · s[j] + b[j] · (dt[i] · x[i])` | `Σ s'[j] · c[j]` |
//! | [`Mamba2Step`] | `s'[j] = decay · s[j] + b[j] · (dt · x[i])` | `Σ s'[j] · c[j]` |
//! | [`DeltaStep`] | `s'[j] = decay · s[j] + k[j] · beta · (v[i] - Σ decay · s[j] · k[j])` | `Σ s'[j] · q[j]` |
//!
//! A sum has a partial sum for each lane, made by fused multiply-adds in order, and adds them up as
//! [`Lanes::fold`] does.

use core::marker::PhantomData;

use super::exp;
use super::lanes::{LANES, Lanes, Work};

/// Rows that are computed together.
const ROWS: usize = 4;

/// Eight neighbours of a row.
type Vector = [f32; LANES];

/// A step of a selective state space with a decay for each element of the state (Gu and Dao 2023).
pub struct MambaStep<'a> {
    /// `[rows][cols]`
    pub state: &'a mut [f32],
    /// `[rows][cols]`
    pub a: &'a [f32],
    /// `[rows]`: the lengths of the step.
    pub dt: &'a [f32],
    /// `[rows]`
    pub x: &'a [f32],
    /// `[cols]`
    pub b: &'a [f32],
    /// `[cols]`
    pub c: &'a [f32],
    /// `[rows]`: the output.
    pub y: &'a mut [f32],
}

/// A step of a selective state space with one decay for all of a head's state (Dao and Gu 2024).
pub struct Mamba2Step<'a> {
    /// `[rows][cols]`
    pub state: &'a mut [f32],
    /// What the state is multiplied by.
    pub decay: f32,
    /// The length of the step.
    pub dt: f32,
    /// `[rows]`
    pub x: &'a [f32],
    /// `[cols]`
    pub b: &'a [f32],
    /// `[cols]`
    pub c: &'a [f32],
    /// `[rows]`: the output.
    pub y: &'a mut [f32],
}

/// A step of the gated delta rule (Yang et al. 2024).
pub struct DeltaStep<'a> {
    /// `[rows][cols]`
    pub state: &'a mut [f32],
    /// What the state is multiplied by.
    pub decay: f32,
    /// How much of a value is written.
    pub beta: f32,
    /// `[cols]`: the key.
    pub k: &'a [f32],
    /// `[rows]`: the value.
    pub v: &'a [f32],
    /// `[cols]`: the query.
    pub q: &'a [f32],
    /// `[rows]`: the output.
    pub y: &'a mut [f32],
}

/// The steps, as entries of a set's table.
pub(super) struct Recurrence {
    pub mamba: fn(MambaStep<'_>),
    pub mamba2: fn(Mamba2Step<'_>),
    pub delta: fn(DeltaStep<'_>),
}

impl Recurrence {
    /// The steps in vectors of type `V`.
    pub const fn of<V: Lanes>() -> Self {
        Recurrence {
            mamba: |step| V::enter(In { step, set: PhantomData::<V> }),
            mamba2: |step| V::enter(In { step, set: PhantomData::<V> }),
            delta: |step| V::enter(In { step, set: PhantomData::<V> }),
        }
    }
}

/// Panics unless `state` is of as many rows as `x` and `y` have elements, each as long as `b` and `c`.
pub(super) fn check(state: &[f32], x: &[f32], b: &[f32], c: &[f32], y: &[f32]) {
    assert!(b.len().is_multiple_of(LANES), "rows of {} elements", b.len());
    assert_eq!([c.len(), y.len(), state.len()], [b.len(), x.len(), x.len() * b.len()]);
}

/// A step in vectors of type `V`.
struct In<S, V> {
    step: S,
    set: PhantomData<V>,
}

/// The vectors of the first `N` rows of a matrix with rows of `n_vectors`.
#[inline(always)]
fn rows<const N: usize>(state: &mut [f32], n_vectors: usize) -> [&mut [Vector]; N] {
    let mut rest = state.as_chunks_mut().0;
    [(); N].map(|()| {
        let (row, after) = core::mem::take(&mut rest).split_at_mut(n_vectors);
        rest = after;
        row
    })
}

/// What is computed of `N` rows at a time.
trait Rows {
    /// The lanes of each row's output; the rows are those from `first` on.
    fn step<V: Lanes, const N: usize>(&self, rows: [&mut [Vector]; N], first: usize) -> [V; N];
}

/// All rows of `state`, [`ROWS`] at a time.
#[inline(always)]
fn all_rows<V: Lanes>(state: &mut [f32], n_cols: usize, y: &mut [f32], step: &impl Rows) {
    let n_vectors = n_cols / LANES;
    let groups = state.chunks_mut(ROWS * n_cols).zip(y.chunks_mut(ROWS));
    for (group, (state, y)) in groups.enumerate() {
        let first = group * ROWS;
        if let Ok(y) = <&mut [f32; ROWS]>::try_from(&mut *y) {
            *y = V::fold(step.step::<V, ROWS>(rows(state, n_vectors), first));
            continue;
        }
        for (index, (state, y)) in state.chunks_exact_mut(n_cols).zip(y).enumerate() {
            let [sums] = step.step::<V, 1>(rows(state, n_vectors), first + index);
            *y = fold_one(sums);
        }
    }
}

/// The sum of one vector's lanes.
#[inline(always)]
fn fold_one<V: Lanes>(sums: V) -> f32 {
    let [sum, ..] = V::fold([sums, V::splat(0.0), V::splat(0.0), V::splat(0.0)]);
    sum
}

struct MambaRows<'a> {
    a: &'a [Vector],
    dt: &'a [f32],
    x: &'a [f32],
    b: &'a [Vector],
    c: &'a [Vector],
}

impl Rows for MambaRows<'_> {
    #[inline(always)]
    fn step<V: Lanes, const N: usize>(&self, mut rows: [&mut [Vector]; N], first: usize) -> [V; N] {
        let n_vectors = self.b.len();
        let mut sums = [V::splat(0.0); N];
        for (index, (row, sum)) in rows.iter_mut().zip(&mut sums).enumerate() {
            let (dt, x) = (self.dt[first + index], self.x[first + index]);
            let (step, input) = (V::splat(dt), V::splat(dt * x));
            let a = &self.a[(first + index) * n_vectors..][..n_vectors];
            for (((state, a), b), c) in row.iter_mut().zip(a).zip(self.b).zip(self.c) {
                let decay = exp::exp(V::of(a).mul(step));
                let new = V::of(state).fma(decay, V::of(b).mul(input));
                new.store(state);
                *sum = new.fma(V::of(c), *sum);
            }
        }
        sums
    }
}

impl<V: Lanes> Work for In<MambaStep<'_>, V> {
    #[inline(always)]
    fn run(self) {
        let MambaStep { state, a, dt, x, b, c, y } = self.step;
        let rows = MambaRows { a: a.as_chunks().0, dt, x, b: b.as_chunks().0, c: c.as_chunks().0 };
        all_rows::<V>(state, b.len(), y, &rows);
    }
}

struct Mamba2Rows<'a> {
    decay: f32,
    dt: f32,
    x: &'a [f32],
    b: &'a [Vector],
    c: &'a [Vector],
}

impl Rows for Mamba2Rows<'_> {
    #[inline(always)]
    fn step<V: Lanes, const N: usize>(&self, mut rows: [&mut [Vector]; N], first: usize) -> [V; N] {
        let decay = V::splat(self.decay);
        let mut inputs = [V::splat(0.0); N];
        for (input, x) in inputs.iter_mut().zip(&self.x[first..][..N]) {
            *input = V::splat(self.dt * x);
        }
        let mut sums = [V::splat(0.0); N];
        for (index, (b, c)) in self.b.iter().zip(self.c).enumerate() {
            let (b, c) = (V::of(b), V::of(c));
            for ((row, input), sum) in rows.iter_mut().zip(inputs).zip(&mut sums) {
                let state = &mut row[index];
                let new = V::of(state).fma(decay, b.mul(input));
                new.store(state);
                *sum = new.fma(c, *sum);
            }
        }
        sums
    }
}

impl<V: Lanes> Work for In<Mamba2Step<'_>, V> {
    #[inline(always)]
    fn run(self) {
        let Mamba2Step { state, decay, dt, x, b, c, y } = self.step;
        let rows = Mamba2Rows { decay, dt, x, b: b.as_chunks().0, c: c.as_chunks().0 };
        all_rows::<V>(state, b.len(), y, &rows);
    }
}

struct DeltaRows<'a> {
    decay: f32,
    beta: f32,
    k: &'a [Vector],
    v: &'a [f32],
    q: &'a [Vector],
}

impl Rows for DeltaRows<'_> {
    #[inline(always)]
    fn step<V: Lanes, const N: usize>(&self, mut rows: [&mut [Vector]; N], first: usize) -> [V; N] {
        let decay = V::splat(self.decay);
        let mut sums = [V::splat(0.0); N];
        for (index, k) in self.k.iter().enumerate() {
            let k = V::of(k);
            for (row, sum) in rows.iter().zip(&mut sums) {
                *sum = V::of(&row[index]).mul(decay).fma(k, *sum);
            }
        }
        let mut deltas = [V::splat(0.0); N];
        for ((delta, v), sum) in deltas.iter_mut().zip(&self.v[first..]).zip(sums) {
            *delta = V::splat((v - fold_one(sum)) * self.beta);
        }
        let mut sums = [V::splat(0.0); N];
        for (index, (k, q)) in self.k.iter().zip(self.q).enumerate() {
            let (k, q) = (V::of(k), V::of(q));
            for ((row, delta), sum) in rows.iter_mut().zip(deltas).zip(&mut sums) {
                let state = &mut row[index];
                let new = k.fma(delta, V::of(state).mul(decay));
                new.store(state);
                *sum = new.fma(q, *sum);
            }
        }
        sums
    }
}

impl<V: Lanes> Work for In<DeltaStep<'_>, V> {
    #[inline(always)]
    fn run(self) {
        let DeltaStep { state, decay, beta, k, v, q, y } = self.step;
        let rows = DeltaRows { decay, beta, k: k.as_chunks().0, v, q: q.as_chunks().0 };
        all_rows::<V>(state, k.len(), y, &rows);
    }
}

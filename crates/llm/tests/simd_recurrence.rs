//! The steps of recurrences of every kernel set against plain loops.

mod random;

use llm::simd::{DeltaStep, Kernels, Mamba2Step, MambaStep};
use random::Random;

/// What a step is given: a state of `rows × cols`, and vectors of either length.
struct Inputs {
    rows: usize,
    cols: usize,
    state: Vec<f32>,
    matrix: Vec<f32>,
    of_rows: [Vec<f32>; 2],
    of_cols: [Vec<f32>; 2],
}

impl Inputs {
    /// States as few and as many rows, and as short and as long ones, as a set could treat differently.
    fn all() -> impl Iterator<Item = Self> {
        let shapes = (1..=9).chain([64]).flat_map(|rows| [8, 16, 24, 128].map(|cols| (rows, cols)));
        shapes.map(|(rows, cols)| {
            let mut random = Random(rows as u64 * 1000 + cols as u64);
            Inputs {
                rows,
                cols,
                state: random.normals(rows * cols),
                matrix: random.normals(rows * cols).iter().map(|x| -x.abs()).collect(),
                of_rows: [random.normals(rows).iter().map(|x| x.abs()).collect(), random.normals(rows)],
                of_cols: [random.normals(cols), random.normals(cols)],
            }
        })
    }

    /// Runs `step` on every set, and expects of the state and the output the scalar set's bits, and about what
    /// `definition` makes of a row, its number and its output.
    fn check(
        &self,
        step: impl Fn(&Kernels, &mut [f32], &mut [f32]),
        definition: impl Fn(usize, &mut [f64]) -> f64,
    ) {
        let Inputs { rows, cols, .. } = *self;
        let run = |kernels: &Kernels| {
            let (mut state, mut y) = (self.state.clone(), vec![f32::NAN; rows]);
            step(kernels, &mut state, &mut y);
            (state, y)
        };
        let want = run(Kernels::scalar());
        for kernels in Kernels::available() {
            assert!(run(kernels) == want, "{kernels:?} {rows} × {cols}");
        }
        let (state, y) = want;
        for (row, (state, y)) in state.chunks(cols).zip(y).enumerate() {
            let mut expected: Vec<f64> =
                self.state[row * cols..][..cols].iter().map(|x| f64::from(*x)).collect();
            let output = definition(row, &mut expected);
            let is_close = |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-4 * (1.0 + want.abs());
            assert!(is_close(y, output), "{rows} × {cols}: {y}, not {output}");
            for (got, want) in state.iter().zip(expected) {
                assert!(is_close(*got, want), "{rows} × {cols}: {got}, not {want}");
            }
        }
    }
}

fn wide(x: &[f32], index: usize) -> f64 {
    f64::from(x[index])
}

fn product(state: &[f64], x: &[f32]) -> f64 {
    state.iter().zip(x).map(|(s, x)| s * f64::from(*x)).sum()
}

#[test]
fn a_state_space_decays_each_element_by_itself() {
    for inputs in Inputs::all() {
        let Inputs { matrix: a, of_rows: [dt, x], of_cols: [b, c], .. } = &inputs;
        let cols = inputs.cols;
        inputs.check(
            |kernels, state, y| kernels.mamba_step(MambaStep { state, a, dt, x, b, c, y }),
            |row, state| {
                for (col, s) in state.iter_mut().enumerate() {
                    let decay = (wide(dt, row) * wide(a, row * cols + col)).exp();
                    *s = decay * *s + wide(b, col) * wide(dt, row) * wide(x, row);
                }
                product(state, c)
            },
        );
    }
}

#[test]
fn a_state_space_decays_a_head_as_a_whole() {
    for inputs in Inputs::all() {
        let Inputs { of_rows: [_, x], of_cols: [b, c], .. } = &inputs;
        let (decay, dt) = (0.75, 1.3);
        inputs.check(
            |kernels, state, y| kernels.mamba2_step(Mamba2Step { state, decay, dt, x, b, c, y }),
            |row, state| {
                for (col, s) in state.iter_mut().enumerate() {
                    *s = f64::from(decay) * *s + wide(b, col) * f64::from(dt) * wide(x, row);
                }
                product(state, c)
            },
        );
    }
}

#[test]
fn a_delta_net_corrects_what_it_has_stored_for_a_key() {
    for inputs in Inputs::all() {
        let Inputs { of_rows: [_, v], of_cols: [k, q], .. } = &inputs;
        // Of length 1, as a model's are.
        let length = k.iter().map(|x| x * x).sum::<f32>().sqrt();
        let k = &k.iter().map(|x| x / length).collect::<Vec<_>>();
        let (decay, beta) = (0.9, 0.6);
        inputs.check(
            |kernels, state, y| kernels.delta_step(DeltaStep { state, decay, beta, k, v, q, y }),
            |row, state| {
                state.iter_mut().for_each(|s| *s *= f64::from(decay));
                let delta = f64::from(beta) * (wide(v, row) - product(state, k));
                state.iter_mut().enumerate().for_each(|(col, s)| *s += delta * wide(k, col));
                product(state, q)
            },
        );
    }
}

#[test]
#[should_panic(expected = "rows of 12 elements")]
fn rows_that_are_no_whole_vectors_panic() {
    let (state, y) = (&mut [0.0; 12], &mut [0.0]);
    let (b, c) = (&[0.0; 12], &[0.0; 12]);
    Kernels::scalar().mamba2_step(Mamba2Step { state, decay: 1.0, dt: 1.0, x: &[0.0], b, c, y });
}

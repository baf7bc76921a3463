//! Recurrences, and the convolution before them, of every kernel set, compared with plain loops.

use crate::random::Random;
use llm::simd::{Columns, Convolve, DeltaScan, DiagonalScan, Kernels, Mamba2Scan, MambaScan, state_len};

const N_TOKENS: usize = 5;
/// Number of elements between the vectors of two tokens.
const BESIDE: usize = 3;

/// The input of a scan: a state of `rows × cols`, and vectors of either length for each token.
struct Inputs {
    rows: usize,
    cols: usize,
    /// `[rows][cols]`
    state: Vec<f32>,
    /// `[rows][cols]`
    matrix: Vec<f32>,
    of_rows: [Vec<f32>; 2],
    of_cols: [Vec<f32>; 5],
    /// `[N_TOKENS]`: between 0 and 1.
    scalars: [Vec<f32>; 2],
}

/// The index in a state of the element in row `row` and column `col`: rows are in groups of four, in which eight columns of all
/// four rows are followed by the next eight columns.
fn place(row: usize, col: usize, cols: usize) -> usize {
    row / 4 * 4 * cols + col / 8 * 32 + row % 4 * 8 + col % 8
}

/// A vector per token.
fn columns(matrix: &[f32], len: usize) -> Columns<'_> {
    Columns { matrix, width: len + BESIDE, first: 2, len }
}

impl Inputs {
    /// States of all sizes that a set could treat differently: few and many rows, short and long ones.
    fn all() -> impl Iterator<Item = Self> {
        let shapes = (1..=9).chain([64]).flat_map(|rows| [8, 16, 24, 128].map(|cols| (rows, cols)));
        shapes.map(|(rows, cols)| {
            let mut random = Random(rows as u64 * 1000 + cols as u64);
            let mut vectors = |len: usize| random.normals(N_TOKENS * (len + BESIDE));
            let (of_rows, of_cols) = ([rows; 2].map(&mut vectors), [cols; 5].map(&mut vectors));
            let state = random.normals(rows * cols);
            let matrix = random.normals(rows * cols).iter().map(|x| -x.abs()).collect();
            let scalars = [0; 2].map(|_| random.normals(N_TOKENS).iter().map(|x| x.abs() / 4.0).collect());
            Inputs { rows, cols, state, matrix, of_rows, of_cols, scalars }
        })
    }

    /// Runs `scan` on every set. The state and the outputs must have the scalar set's bits however the tokens are divided. They
    /// must be close to what `definition` computes from a row, the token, the row's number and its output.
    fn check(
        &self,
        scan: impl Fn(&Kernels, std::ops::Range<usize>, &mut [f32], &mut [f32]),
        definition: impl Fn(usize, usize, &mut [f64]) -> f64,
    ) {
        let Inputs { rows, cols, .. } = *self;
        let run = |kernels: &Kernels, n_first: usize| {
            let mut state = vec![0.0; state_len(rows, cols)];
            for (index, x) in self.state.iter().enumerate() {
                state[place(index / cols, index % cols, cols)] = *x;
            }
            let mut y = vec![f32::NAN; N_TOKENS * rows];
            let (before, after) = y.split_at_mut(n_first * rows);
            scan(kernels, 0..n_first, &mut state, before);
            scan(kernels, n_first..N_TOKENS, &mut state, after);
            (state, y)
        };
        let want = run(Kernels::scalar(), N_TOKENS);
        for kernels in Kernels::available() {
            for n_first in 0..=N_TOKENS {
                assert!(run(kernels, n_first) == want, "{kernels:?} {rows} × {cols}, cut after {n_first}");
            }
        }
        let (state, y) = want;
        for row in 0..rows {
            let is_close = |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-4 * (1.0 + want.abs());
            let mut expected: Vec<f64> =
                self.state[row * cols..][..cols].iter().map(|x| f64::from(*x)).collect();
            for token in 0..N_TOKENS {
                let output = definition(token, row, &mut expected);
                let y = y[token * rows + row];
                assert!(is_close(y, output), "{rows} × {cols}: {y}, not {output}");
            }
            for (col, want) in expected.into_iter().enumerate() {
                let got = state[place(row, col, cols)];
                assert!(is_close(got, want), "{rows} × {cols}: {got}, not {want}");
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
        let Inputs { rows, cols, matrix: a, of_rows: [dt, x], of_cols: [b, c, ..], .. } = &inputs;
        let dt: Vec<f32> = dt.iter().map(|x| x.abs()).collect();
        let (dt, x) = (columns(&dt, *rows), columns(x, *rows));
        let (b, c) = (columns(b, *cols), columns(c, *cols));
        inputs.check(
            |kernels, tokens, state, y| {
                let [dt, x, b, c] = [dt, x, b, c].map(|x| x.tokens(tokens.start, tokens.len()));
                kernels.mamba_scan(MambaScan { state, a, dt, x, b, c, y });
            },
            |token, row, state| {
                let (dt, x) = (wide(dt.token(token), row), wide(x.token(token), row));
                for (col, s) in state.iter_mut().enumerate() {
                    let decay = (dt * wide(a, row * cols + col)).exp();
                    *s = decay * *s + wide(b.token(token), col) * dt * x;
                }
                product(state, c.token(token))
            },
        );
    }
}

#[test]
fn a_state_space_decays_a_head_as_a_whole() {
    for inputs in Inputs::all() {
        let Inputs { rows, cols, of_rows: [_, x], of_cols: [b, c, ..], scalars: [decay, dt], .. } = &inputs;
        let (x, b, c) = (columns(x, *rows), columns(b, *cols), columns(c, *cols));
        inputs.check(
            |kernels, tokens, state, y| {
                let [x, b, c] = [x, b, c].map(|x| x.tokens(tokens.start, tokens.len()));
                let (decay, dt) = (&decay[tokens.clone()], &dt[tokens]);
                kernels.mamba2_scan(Mamba2Scan { state, decay, dt, x, b, c, y });
            },
            |token, row, state| {
                let input = wide(dt, token) * wide(x.token(token), row);
                for (s, b) in state.iter_mut().zip(b.token(token)) {
                    *s = wide(decay, token) * *s + f64::from(*b) * input;
                }
                product(state, c.token(token))
            },
        );
    }
}

#[test]
fn a_delta_net_corrects_what_it_has_stored_for_a_key() {
    for inputs in Inputs::all() {
        let Inputs { rows, cols, of_rows: [_, v], of_cols: [k, q, ..], scalars: [decay, beta], .. } = &inputs;
        // Of length 1, as a model's are.
        let mut keys = k.clone();
        for key in keys.chunks_exact_mut(cols + BESIDE) {
            let length = key[2..][..*cols].iter().map(|x| x * x).sum::<f32>().sqrt();
            key.iter_mut().for_each(|x| *x /= length);
        }
        let (k, v, q) = (columns(&keys, *cols), columns(v, *rows), columns(q, *cols));
        inputs.check(
            |kernels, tokens, state, y| {
                let [k, v, q] = [k, v, q].map(|x| x.tokens(tokens.start, tokens.len()));
                let (decay, beta) = (&decay[tokens.clone()], &beta[tokens]);
                kernels.delta_scan(DeltaScan { state, decay, beta, k, v, q, y });
            },
            |token, row, state| {
                let k = k.token(token);
                state.iter_mut().for_each(|s| *s *= wide(decay, token));
                let delta = wide(beta, token) * (wide(v.token(token), row) - product(state, k));
                state.iter_mut().zip(k).for_each(|(s, k)| *s += delta * f64::from(*k));
                product(state, q.token(token))
            },
        );
    }
}

#[test]
fn linear_attention_decays_each_column_by_itself() {
    for inputs in Inputs::all() {
        let Inputs { rows, cols, of_rows: [_, v], of_cols: [decay, k, q, a, b], .. } = &inputs;
        let decay: Vec<f32> = decay.iter().map(|x| x.abs() / 4.0).collect();
        let [k, q, a, b] = [k, q, a, b].map(|x| columns(x, *cols));
        let (decay, v) = (columns(&decay, *cols), columns(v, *rows));
        for (corrects, reads_before) in [(false, false), (false, true), (true, false), (true, true)] {
            // Short, so that a state stays as large as it is.
            let b: Vec<f32> = b.matrix.iter().map(|x| x / (4.0 * *cols as f32)).collect();
            let b = columns(&b, *cols);
            inputs.check(
                |kernels, tokens, state, y| {
                    let of_tokens = [decay, k, v, q, a, b].map(|x| x.tokens(tokens.start, tokens.len()));
                    let [decay, k, v, q, a, b] = of_tokens;
                    let correction = corrects.then_some([a, b]);
                    kernels.diagonal_scan(DiagonalScan {
                        state,
                        decay,
                        k,
                        v,
                        q,
                        correction,
                        reads_before,
                        y,
                    });
                },
                |token, row, state| {
                    let sum = if corrects { product(state, a.token(token)) } else { 0.0 };
                    let before = product(state, q.token(token));
                    for (col, s) in state.iter_mut().enumerate() {
                        *s = wide(decay.token(token), col) * *s
                            + wide(k.token(token), col) * wide(v.token(token), row)
                            + wide(b.token(token), col) * sum;
                    }
                    if reads_before { before } else { product(state, q.token(token)) }
                },
            );
        }
    }
}

#[test]
#[should_panic(expected = "rows of 12 elements")]
fn rows_that_are_no_whole_vectors_panic() {
    let state = &mut [0.0; 48];
    let of = |len| Columns { matrix: &[0.0; 12], width: 12, first: 0, len };
    let scan = Mamba2Scan { state, decay: &[1.0], dt: &[1.0], x: of(1), b: of(12), c: of(12), y: &mut [0.0] };
    Kernels::scalar().mamba2_scan(scan);
}

#[test]
fn a_convolution_weighs_the_last_inputs() {
    const N_TOKENS: usize = 19;
    for (n_conv, n_channels) in (1..=9).flat_map(|n_conv| [1, 7, 8, 21, 64].map(|n| (n_conv, n))) {
        let mut random = Random(n_conv as u64 * 100 + n_channels as u64);
        let weight = &random.normals(n_channels * n_conv);
        let history = &random.normals((n_conv - 1) * n_channels);
        let matrix = random.normals(N_TOKENS * (n_channels + BESIDE));
        let inputs = columns(&matrix, n_channels);
        let bias = random.normals(n_channels);
        for bias in [None, Some(bias.as_slice())] {
            let expected: Vec<f32> = (0..N_TOKENS * n_channels)
                .map(|index| {
                    let (token, channel) = (index / n_channels, index % n_channels);
                    (0..n_conv).fold(bias.map_or(0.0, |bias| bias[channel]), |sum, tap| {
                        let input = match (token + tap).checked_sub(n_conv - 1) {
                            None => history[(token + tap) * n_channels + channel],
                            Some(token) => inputs.token(token)[channel],
                        };
                        sum + input * weight[channel * n_conv + tap]
                    })
                })
                .collect();
            for kernels in Kernels::available() {
                for cut in [0, 1, 2, 8, 13] {
                    let mut got = vec![f32::NAN; N_TOKENS * n_channels];
                    let (before, after) = got.split_at_mut(cut * n_channels);
                    for (first, output) in [(0, before), (cut, after)] {
                        kernels.convolve(Convolve { weight, bias, history, inputs, first, output });
                    }
                    assert!(got == expected, "{kernels:?} {n_conv} × {n_channels}, cut after {cut}");
                }
            }
        }
    }
}

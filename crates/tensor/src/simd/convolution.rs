//! The causal convolution at the beginning of recurrent mixers.
//!
//! `y[t][c] = bias[c] + Σ weight[c][j] · x[t - (n_conv - 1) + j][c]` for `j` from 0, each product and sum rounded.

use super::columns::Columns;
use super::lanes::{LANES, Lanes, Work};

/// Number of taps that one pass handles.
const TAPS: usize = 4;

/// Number of tokens that one pass handles, for which weights are arranged once. Tokens and taps together are fewer than the
/// ways of a first-level cache, because rows may be a power of two apart.
const TOKENS: usize = 8;

/// A convolution of several tokens.
pub struct Convolve<'a> {
    /// `[n_channels][n_conv]`
    pub weight: &'a [f32],
    /// `[n_channels]`
    pub bias: Option<&'a [f32]>,
    /// `[n_conv - 1][n_channels]`: the inputs before `inputs`.
    pub history: &'a [f32],
    /// The inputs.
    pub inputs: Columns<'a>,
    /// The index in `inputs` of the first token whose output is wanted.
    pub first: usize,
    /// `[n_tokens][n_channels]`
    pub output: &'a mut [f32],
}

impl Convolve<'_> {
    /// Panics if lengths do not match.
    pub(super) fn check(&self) {
        let n_channels = self.inputs.len;
        let n_conv = self.weight.len() / n_channels;
        assert_eq!(self.weight.len(), n_conv * n_channels);
        assert_eq!(self.history.len() + n_channels, n_conv * n_channels);
        assert!(self.output.len().is_multiple_of(n_channels));
        assert!(self.bias.is_none_or(|bias| bias.len() == n_channels));
    }
}

/// Runs `work` in vectors of type `V`.
///
/// # Safety
///
/// The CPU must have the instructions of `V`'s set.
pub unsafe fn convolve<V: Lanes>(work: Convolve<'_>) {
    // SAFETY: the caller guarantees that the CPU has the instructions.
    unsafe { V::enter::<V>(work) }
}

impl<V: Lanes> Work<V> for Convolve<'_> {
    #[inline(always)]
    fn run(self) {
        let Convolve { weight, bias, history, inputs, first, output } = self;
        let n_channels = inputs.len;
        let n_conv = weight.len() / n_channels;
        let mut first = first;
        for output in output.chunks_mut(TOKENS * n_channels) {
            for row in output.chunks_exact_mut(n_channels) {
                match bias {
                    Some(bias) => row.copy_from_slice(bias),
                    None => row.fill(0.0),
                }
            }
            for tap in (0..n_conv).step_by(TAPS) {
                // Tap `j` of these takes row `i + j` for token `i`.
                let rows: [&[f32]; TOKENS + TAPS - 1] = core::array::from_fn(|index| {
                    match (first + tap + index).checked_sub(n_conv - 1) {
                        None => &history[(first + tap + index) * n_channels..][..n_channels],
                        // Rows past the last token multiply no tap; any row stands in for them.
                        Some(token) if token * inputs.width < inputs.matrix.len() => inputs.token(token),
                        Some(_) => inputs.token(0),
                    }
                });
                let taps = Taps { weight, n_conv, tap, rows };
                match n_conv - tap {
                    1 => taps.add::<V, 1>(output),
                    2 => taps.add::<V, 2>(output),
                    3 => taps.add::<V, 3>(output),
                    _ => taps.add::<V, TAPS>(output),
                }
            }
            first += TOKENS;
        }
    }
}

/// Some taps, and the inputs that they multiply.
struct Taps<'a> {
    weight: &'a [f32],
    n_conv: usize,
    /// The index of the first of them.
    tap: usize,
    rows: [&'a [f32]; TOKENS + TAPS - 1],
}

impl Taps<'_> {
    /// Adds the contribution of `N` taps to the outputs.
    #[inline(always)]
    fn add<V: Lanes, const N: usize>(&self, output: &mut [f32]) {
        let n_channels = self.rows[0].len();
        let n_whole = n_channels / LANES * LANES;
        for first in (0..n_whole).step_by(LANES) {
            let weights = &self.weight[first * self.n_conv..][..LANES * self.n_conv];
            let taps: [[f32; LANES]; N] = match weights.as_chunks::<N>() {
                // Here the number of taps is the constant `N`.
                (weights, []) if self.n_conv == N => {
                    core::array::from_fn(|tap| core::array::from_fn(|channel| weights[channel][tap]))
                }
                _ => core::array::from_fn(|tap| {
                    core::array::from_fn(|channel| weights[channel * self.n_conv + self.tap + tap])
                }),
            };
            let taps = taps.map(|taps| V::of(&taps));
            for (token, output) in output.chunks_exact_mut(n_channels).enumerate() {
                let Some(output) = output[first..].first_chunk_mut::<LANES>() else { break };
                let mut sum = V::of(output);
                for (taps, row) in taps.iter().zip(&self.rows[token..]) {
                    let Some(inputs) = row[first..].first_chunk::<LANES>() else { break };
                    sum = sum.add(V::of(inputs).mul(*taps));
                }
                sum.store(output);
            }
        }
        for channel in n_whole..n_channels {
            let weights = &self.weight[channel * self.n_conv + self.tap..][..N];
            for (token, output) in output.chunks_exact_mut(n_channels).enumerate() {
                for (weight, row) in weights.iter().zip(&self.rows[token..]) {
                    output[channel] += row[channel] * weight;
                }
            }
        }
    }
}

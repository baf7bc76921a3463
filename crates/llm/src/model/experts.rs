//! The channel mixer with experts (Shazeer et al. 2017): a router sends each token to a few of many
//! feed-forward blocks.
//!
//! Tokens of a batch are gathered by expert, so that an expert's weights are read once per batch.

use super::architecture::Gating;
use super::expert_config::ExpertConfig;
use super::forward::Forward;
use super::scratch::{ExpertScratch, MixerScratch};
use super::weights::{DenseFeedForward, Experts, Linear};

impl Forward<'_, '_> {
    /// The weighted sum of the chosen experts, and the shared one; `x` and `output` are
    /// `[n_tokens][n_embd]`.
    pub(super) fn experts(
        &self,
        weights: &Experts<'_>,
        x: &[f32],
        output: &mut [f32],
        scratch: &mut MixerScratch<'_>,
        quantized: &mut [u8],
    ) {
        let config = self.model.config();
        let Some(experts) = config.experts else {
            unreachable!("a layer with experts is in a model with experts")
        };
        let (n_embd, n_used) = (config.n_embd, experts.n_expert_used);
        let n_tokens = x.len() / n_embd;
        let probabilities = &mut scratch.experts.probabilities[..n_tokens * experts.n_expert];
        self.linear(&weights.router, x, quantized, probabilities);
        let ExpertScratch { probabilities, selection, chosen, weights: shares, .. } = &mut scratch.experts;
        let choices = chosen.chunks_exact_mut(n_used).zip(shares.chunks_exact_mut(n_used));
        let rows = probabilities.chunks_exact_mut(experts.n_expert).take(n_tokens);
        for (probabilities, (chosen, shares)) in rows.zip(choices) {
            experts.route(probabilities, weights.selection_bias, selection, chosen, shares);
        }

        match &weights.shared {
            Some(shared) => {
                self.feed_forward(shared, x, output, scratch, quantized);
                if let Some(gate) = &weights.shared_gate {
                    for (x, output) in x.chunks_exact(n_embd).zip(output.chunks_exact_mut(n_embd)) {
                        let mut logit = [0.0];
                        let gate = Linear { weight: *gate, bias: None };
                        self.linear(&gate, x, quantized, &mut logit);
                        self.kernels.scale(output, sigmoid(logit[0]));
                    }
                }
            }
            None => output.fill(0.0),
        }
        for expert in 0..experts.n_expert {
            self.expert(weights, expert, n_used, x, output, scratch, quantized);
        }
    }

    /// Adds what one expert makes of the tokens that were sent to it.
    #[expect(clippy::too_many_arguments, reason = "one buffer each for what comes, goes and stays")]
    fn expert(
        &self,
        weights: &Experts<'_>,
        expert: usize,
        n_used: usize,
        x: &[f32],
        output: &mut [f32],
        scratch: &mut MixerScratch<'_>,
        quantized: &mut [u8],
    ) {
        let config = self.model.config();
        let n_embd = config.n_embd;
        let weighs_input = config.architecture.routing.is_some_and(|routing| routing.weighs_input);

        // The buffers leave the scratch while the block runs in what stays.
        let gathered = core::mem::take(&mut scratch.experts.gathered);
        let expert_output = core::mem::take(&mut scratch.experts.output);
        let mut n_gathered = 0;
        for (token, x) in x.chunks_exact(n_embd).enumerate() {
            let Some(share) = scratch.experts.share(token, n_used, expert) else { continue };
            let row = &mut gathered[n_gathered * n_embd..][..n_embd];
            row.copy_from_slice(x);
            if weighs_input {
                self.kernels.scale(row, share);
            }
            n_gathered += 1;
        }
        if n_gathered > 0 {
            let n_ff = weights.up.weight.n_rows() / config.experts.map_or(1, |experts| experts.n_expert);
            let block = DenseFeedForward {
                gate: Some(weights.gate.rows(expert * n_ff..(expert + 1) * n_ff)),
                up: weights.up.rows(expert * n_ff..(expert + 1) * n_ff),
                down: weights.down.rows(expert * n_embd..(expert + 1) * n_embd),
            };
            let len = n_gathered * n_embd;
            self.feed_forward(&block, &gathered[..len], &mut expert_output[..len], scratch, quantized);
            let mut rows = expert_output.chunks_exact(n_embd);
            for (token, output) in output.chunks_exact_mut(n_embd).enumerate() {
                let Some(share) = scratch.experts.share(token, n_used, expert) else { continue };
                let Some(row) = rows.next() else { break };
                self.kernels.add_scaled(output, if weighs_input { 1.0 } else { share }, row);
            }
        }
        scratch.experts.gathered = gathered;
        scratch.experts.output = expert_output;
    }
}

impl ExpertScratch<'_> {
    /// The weight of an expert for a token, if the token is sent to it.
    fn share(&self, token: usize, n_used: usize, expert: usize) -> Option<f32> {
        let first = token * n_used;
        let place =
            self.chosen[first..first + n_used].iter().position(|&chosen| chosen as usize == expert)?;
        Some(self.weights[first + place])
    }
}

impl ExpertConfig {
    /// Chooses a token's experts by the router's logits, `[n_expert]`, and weighs them.
    ///
    /// `selection` is room for as many; `chosen` and `shares` are `[n_expert_used]`.
    fn route(
        &self,
        logits: &mut [f32],
        bias: Option<&[f32]>,
        selection: &mut [f32],
        chosen: &mut [u32],
        shares: &mut [f32],
    ) {
        match self.gating {
            Gating::Softmax => softmax(logits),
            Gating::Sigmoid => logits.iter_mut().for_each(|x| *x = sigmoid(*x)),
            Gating::SoftmaxOfChosen => {}
        }
        selection.copy_from_slice(logits);
        if let Some(bias) = bias {
            selection.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
        if self.n_group_used < self.n_group {
            self.keep_best_groups(selection);
        }
        for (chosen, share) in chosen.iter_mut().zip(shares.iter_mut()) {
            let best = argmax(selection);
            selection[best] = f32::NEG_INFINITY;
            *chosen = best as u32;
            *share = logits[best];
        }
        if self.gating == Gating::SoftmaxOfChosen {
            softmax(shares);
        }
        if self.normalise {
            /// The reference's guard against a sum of nothing: the smallest normal f16.
            const LEAST_SUM: f32 = 6.103_515_6e-5;
            let sum: f32 = shares.iter().sum();
            scale(shares, 1.0 / sum.max(LEAST_SUM));
        }
        scale(shares, self.weights_scale);
    }

    /// Rules out the experts of all groups but the best, by the sum of a group's two best.
    fn keep_best_groups(&self, selection: &mut [f32]) {
        let group_len = self.n_expert / self.n_group;
        let score = |group: &[f32]| {
            let (first, second) =
                group.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), &x| {
                    if x > first { (x, first) } else { (first, second.max(x)) }
                });
            if group.len() > 1 { first + second } else { first }
        };
        // The groups are few: how many are better is counted for each, ties going to the earlier.
        for index in 0..self.n_group {
            let own = score(&selection[index * group_len..][..group_len]);
            let is_better = |other: usize, theirs: f32| theirs > own || (theirs == own && other < index);
            let n_better = selection
                .chunks_exact(group_len)
                .enumerate()
                .filter(|(other, group)| *other != index && is_better(*other, score(group)))
                .count();
            if n_better >= self.n_group_used {
                selection[index * group_len..][..group_len].fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// `x[i] *= factor`, for the few numbers of a router.
fn scale(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter_mut().for_each(|x| *x = libm::expf(*x - max));
    let sum: f32 = x.iter().sum();
    scale(x, 1.0 / sum);
}

/// The first of the largest elements.
fn argmax(x: &[f32]) -> usize {
    x.iter().enumerate().fold(0, |best, (index, value)| if *value > x[best] { index } else { best })
}

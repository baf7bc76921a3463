//! The channel mixer with experts (Shazeer et al. 2017): a router sends each token to a few of many
//! feed-forward blocks.
//!
//! Tokens of a batch are gathered by expert, so that an expert's weights are read once per batch.

use super::activation::sigmoid;
use super::architecture::Gating;
use super::expert_config::ExpertConfig;
use super::forward::Forward;
use super::scratch::{ExpertScratch, RouterScratch, Workspace};
use super::weights::{DenseFeedForward, Experts, Linear};

impl Forward<'_, '_> {
    /// The weighted sum of the chosen experts, and the shared one, in the place of their input `x`,
    /// `[n_tokens][n_embd]`.
    pub(super) fn experts(&self, weights: &Experts<'_>, x: &mut [f32], workspace: Workspace<'_>) {
        let experts = &weights.config;
        let (n_embd, n_used) = (self.model.config().n_embd, experts.n_expert_used);
        let n_tokens = x.len() / n_embd;
        let (mut scratch, mut workspace): (ExpertScratch<'_>, _) = workspace.take();
        {
            let ExpertScratch { probabilities, selection, chosen, weights: shares, .. } = &mut scratch;
            let (RouterScratch { quantized }, _) = workspace.lend().take();
            let probabilities = &mut probabilities[..n_tokens * experts.n_expert];
            self.compute.linear(&weights.router, x, quantized, probabilities);
            let choices = chosen.chunks_exact_mut(n_used).zip(shares.chunks_exact_mut(n_used));
            for (probabilities, (chosen, shares)) in
                probabilities.chunks_exact_mut(experts.n_expert).zip(choices)
            {
                experts.route(probabilities, weights.selection_bias, selection, chosen, shares);
            }
        }

        let sum = &mut scratch.sum[..x.len()];
        match &weights.shared {
            Some(shared) => {
                sum.copy_from_slice(x);
                self.feed_forward(shared, sum, workspace.lend());
                if let Some(gate) = &weights.shared_gate {
                    let (RouterScratch { quantized }, _) = workspace.lend().take();
                    for (x, sum) in x.chunks_exact(n_embd).zip(sum.chunks_exact_mut(n_embd)) {
                        let mut logit = [0.0];
                        let gate = Linear::new(*gate);
                        self.compute.linear(&gate, x, quantized, &mut logit);
                        self.compute.kernels.scale(sum, sigmoid(logit[0]));
                    }
                }
            }
            None => sum.fill(0.0),
        }
        for expert in 0..experts.n_expert {
            self.expert(weights, expert, n_used, x, &mut scratch, workspace.lend());
        }
        x.copy_from_slice(&scratch.sum[..x.len()]);
    }

    /// Adds what one expert makes of the tokens that were sent to it.
    fn expert(
        &self,
        weights: &Experts<'_>,
        expert: usize,
        n_used: usize,
        x: &[f32],
        scratch: &mut ExpertScratch<'_>,
        workspace: Workspace<'_>,
    ) {
        let config = self.model.config();
        let n_embd = config.n_embd;
        let weighs_input = config.architecture.routing.is_some_and(|routing| routing.weighs_input);

        let ExpertScratch { chosen, weights: shares, gathered, sum, .. } = scratch;
        // The weight of this expert for a token, if the token is sent to it.
        let share_of = |token: usize| {
            let of_token = token * n_used..(token + 1) * n_used;
            let place = chosen[of_token.clone()].iter().position(|&chosen| chosen as usize == expert)?;
            Some(shares[of_token][place])
        };
        let mut n_gathered = 0;
        for (token, x) in x.chunks_exact(n_embd).enumerate() {
            let Some(share) = share_of(token) else { continue };
            let row = &mut gathered[n_gathered * n_embd..][..n_embd];
            row.copy_from_slice(x);
            if weighs_input {
                self.compute.kernels.scale(row, share);
            }
            n_gathered += 1;
        }
        if n_gathered > 0 {
            let block = DenseFeedForward {
                gate: weights.gate.map(|gate| gate.of(expert)),
                up: weights.up.of(expert),
                down: weights.down.of(expert),
            };
            let gathered = &mut gathered[..n_gathered * n_embd];
            self.feed_forward(&block, gathered, workspace);
            let mut rows = gathered.chunks_exact(n_embd);
            for (token, sum) in sum[..x.len()].chunks_exact_mut(n_embd).enumerate() {
                let Some(share) = share_of(token) else { continue };
                let Some(row) = rows.next() else { break };
                self.compute.kernels.add_scaled(sum, if weighs_input { 1.0 } else { share }, row);
            }
        }
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

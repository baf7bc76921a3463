//! The channel mixer with experts (Shazeer et al. 2017): a router sends each token to a few of many
//! feed-forward blocks.
//!
//! The tokens of a batch are grouped by expert, so that an expert's weights are read once per batch.

use super::activation::{sigmoid, softplus};
use super::architecture::{Activation, ExpertInputs, Gating, Routing, SharedExpert};
use super::config::{ChunkConfig, ExpertConfig};
use super::feed_forward::DenseFeedForward;
use super::pass::Pass;
use super::scratch::{ExpertScratch, RouterScratch, Workspace};
use crate::compute::{Linear, Norm, Rows};
use crate::quant::Matrix;

/// A mixture of experts (Shazeer et al. 2017).
#[derive(Debug)]
pub struct Experts<'a> {
    /// Its lengths, and how it routes.
    pub config: ExpertConfig,
    /// `[n_expert × n_embd]`
    pub router: Linear<'a>,
    /// `[n_expert]`: added to the probabilities for the choice only.
    pub selection_bias: Option<&'a [f32]>,
    /// The experts.
    pub block: ExpertBlock<'a>,
    /// The compression of tokens for experts, in models that have one.
    pub latent: Option<ExpertLatent<'a>>,
    /// Experts of a second kind, which read the output of the first ones, in models that have them.
    pub chunks: Option<(ChunkConfig, ExpertBlock<'a>)>,
    /// The expert that every token is sent to.
    pub shared: Option<DenseFeedForward<'a>>,
    /// `[1 × n_embd]`: gates the shared expert, through a sigmoid.
    pub shared_gate: Option<Matrix<'a>>,
}

/// The feed-forward blocks of all experts.
#[derive(Debug, Clone, Copy)]
pub struct ExpertBlock<'a> {
    /// For each expert, `[n_ff × n_embd]`, with a bias `[n_ff]`; present if experts are gated.
    pub gate: Option<ExpertLinear<'a>>,
    /// For each expert, `[n_ff × n_embd]`, with a bias `[n_ff]`.
    pub up: ExpertLinear<'a>,
    /// For each expert, `[n_embd × n_ff]`, with a bias `[n_embd]`.
    pub down: ExpertLinear<'a>,
    /// The nonlinearity.
    pub activation: Activation,
}

impl<'a> ExpertBlock<'a> {
    /// The weights of one expert.
    pub fn of(&self, expert: usize) -> DenseFeedForward<'a> {
        DenseFeedForward {
            gate: self.gate.map(|gate| gate.of(expert)),
            up: self.up.of(expert),
            down: self.down.of(expert),
            activation: self.activation,
            divisors: None,
            hidden_norm: None,
            gate_cutoff: None,
        }
    }
}

/// Compresses tokens for experts, and expands the sum of the experts' outputs.
#[derive(Debug)]
pub struct ExpertLatent<'a> {
    /// `[n_latent × n_embd]`
    pub down: Linear<'a>,
    /// The normalisation of the sum, in models that have one.
    pub norm: Option<Norm<'a>>,
    /// `[n_embd × n_latent]`
    pub up: Linear<'a>,
}

/// An affine map for each expert.
#[derive(Debug, Clone, Copy)]
pub struct ExpertLinear<'a> {
    /// The rows of all experts, one expert after the other.
    all: Linear<'a>,
    /// A factor for each expert, like [`Linear::scale`].
    scales: Option<&'a [f32]>,
    /// The number of rows from one expert's first row to the next expert's first row.
    stride: usize,
    /// The first row of the map among the rows of an expert.
    first: usize,
    /// The rows of an expert's map.
    n_rows: usize,
}

impl<'a> ExpertLinear<'a> {
    /// The map that uses all rows of an expert.
    pub(super) fn new(all: Linear<'a>, scales: Option<&'a [f32]>, n_rows: usize) -> Self {
        ExpertLinear { all, scales, stride: n_rows, first: 0, n_rows }
    }

    /// The map that uses, of each expert, `n_rows` rows from row `first` on.
    pub(super) fn part(&self, first: usize, n_rows: usize) -> Self {
        ExpertLinear { first, n_rows, ..*self }
    }

    /// The rows of an expert's map.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The length of the input of an expert's map.
    pub fn n_cols(&self) -> usize {
        self.all.weight.n_cols()
    }

    /// The weights of one expert.
    pub fn of(&self, expert: usize) -> Linear<'a> {
        let first = expert * self.stride + self.first;
        let scale = self.scales.map(|scales| scales[expert]);
        Linear { scale, ..self.all.rows(first..first + self.n_rows) }
    }
}

impl Pass<'_> {
    /// Computes the weighted sum of the chosen experts and the shared one. It replaces the input `x`,
    /// `[n_tokens][n_embd]`. `before` is the layer's input, in families whose experts read it.
    pub(super) fn experts(
        &self,
        weights: &Experts<'_>,
        x: &mut [f32],
        before: &[f32],
        workspace: Workspace<'_>,
    ) {
        let experts = &weights.config;
        let routing = self.config.architecture.routing;
        let inputs = routing.map_or(ExpertInputs::Same, |routing| routing.inputs);
        let (n_embd, n_used) = (self.config.n_embd, experts.n_expert_used);
        let n_tokens = x.len() / n_embd;
        let (mut scratch, mut workspace): (ExpertScratch<'_>, _) = workspace.take();
        {
            let ExpertScratch { probabilities, selection, chosen, weights: shares, .. } = &mut scratch;
            let (RouterScratch { quantized }, _) = workspace.lend().take();
            let probabilities = &mut probabilities[..n_tokens * experts.n_expert];
            let router_input = if inputs == ExpertInputs::Same { &*x } else { before };
            self.compute.linear(&weights.router, router_input, quantized, probabilities);
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
        let expert_input = if inputs == ExpertInputs::Before { before } else { &*x };
        if let Some(latent) = &weights.latent {
            let (RouterScratch { quantized }, _) = workspace.lend().take();
            let compressed = &mut scratch.compressed[..n_tokens * experts.n_latent];
            self.compute.linear(&latent.down, expert_input, quantized, compressed);
            scratch.compressed_sum.fill(0.0);
        }
        for expert in 0..experts.n_expert {
            let is_latent = weights.latent.is_some();
            let sent = (expert_input, n_tokens, is_latent);
            self.expert(&weights.block, expert, n_used, sent, &mut scratch, workspace.lend());
        }
        if let Some(latent) = &weights.latent {
            let ExpertScratch { gathered, sum, compressed_sum, .. } = &mut scratch;
            let (RouterScratch { quantized }, _) = workspace.lend().take();
            let compressed_sum = &mut compressed_sum[..n_tokens * experts.n_latent];
            if let Some(norm) = &latent.norm {
                let rows = compressed_sum.chunks_exact_mut(experts.n_latent);
                self.compute.each_token(rows, |row| self.normalise_row(norm, row));
            }
            let expanded = &mut gathered[..x.len()];
            self.compute.linear(&latent.up, compressed_sum, quantized, expanded);
            self.compute.kernels.add(&mut sum[..x.len()], expanded);
        }
        x.copy_from_slice(&scratch.sum[..x.len()]);
        if let Some(chunks) = &weights.chunks {
            self.chunks(weights, chunks, x, &mut scratch, workspace);
        }
        match routing {
            Some(&Routing { shared: SharedExpert { sum_scale, .. }, .. })
                if sum_scale != 1.0 && weights.shared.is_some() =>
            {
                self.compute.kernels.scale(x, sum_scale);
            }
            _ => {}
        }
    }

    /// `x` is the output of the experts. Adds to it the output of the experts of the second kind, which read it.
    fn chunks(
        &self,
        weights: &Experts<'_>,
        (config, block): &(ChunkConfig, ExpertBlock<'_>),
        x: &mut [f32],
        scratch: &mut ExpertScratch<'_>,
        mut workspace: Workspace<'_>,
    ) {
        let experts = &weights.config;
        let n_tokens = x.len() / self.config.n_embd;
        let n_chunk = experts.n_expert / config.n_expert;
        let n_used = experts.n_expert_used.min(n_chunk);
        let ExpertScratch { probabilities, selection, chosen, weights: shares, sum, .. } = &mut *scratch;
        let choices = chosen.chunks_exact_mut(n_used).zip(shares.chunks_exact_mut(n_used));
        let tokens = probabilities[..n_tokens * experts.n_expert].chunks_exact(experts.n_expert);
        for (probabilities, (chosen, shares)) in tokens.zip(choices) {
            experts.choose(probabilities, None, selection, config.n_expert, chosen, shares);
        }
        sum[..x.len()].fill(0.0);
        for chunk in 0..n_chunk {
            self.expert(block, chunk, n_used, (x, n_tokens, false), scratch, workspace.lend());
        }
        self.compute.kernels.add_scaled(x, config.scale, &scratch.sum[..x.len()]);
    }

    /// Adds one expert's output for the tokens that were sent to it.
    fn expert(
        &self,
        experts: &ExpertBlock<'_>,
        expert: usize,
        n_used: usize,
        (x, n_tokens, is_latent): (&[f32], usize, bool),
        scratch: &mut ExpertScratch<'_>,
        workspace: Workspace<'_>,
    ) {
        let config = self.config;
        let weighs_input = config.architecture.routing.is_some_and(|routing| routing.weighs_input);

        let ExpertScratch { chosen, weights: shares, gathered, sum, compressed, compressed_sum, .. } =
            scratch;
        // The tokens to read, and where to add the outputs.
        let width = experts.up.n_cols();
        let (x, sum) = match is_latent {
            true => (&compressed[..n_tokens * width], &mut **compressed_sum),
            false => (x, &mut **sum),
        };
        // The weight of this expert for a token, if the token was sent to it.
        let share_of = |token: usize| {
            let of_token = token * n_used..(token + 1) * n_used;
            let place = chosen[of_token.clone()].iter().position(|&chosen| chosen as usize == expert)?;
            Some(shares[of_token][place])
        };
        let mut n_gathered = 0;
        for (token, x) in x.chunks_exact(width).enumerate() {
            let Some(share) = share_of(token) else { continue };
            let row = &mut gathered[n_gathered * width..][..width];
            row.copy_from_slice(x);
            if weighs_input {
                self.compute.kernels.scale(row, share);
            }
            n_gathered += 1;
        }
        if n_gathered > 0 {
            let block = experts.of(expert);
            let gathered = &mut gathered[..n_gathered * width];
            let rows = match self.compute.adaptation.rows {
                Rows::OfSlots(slots) => Rows::OfExpert { slots, chosen, n_used, expert: expert as u32 },
                rows => rows,
            };
            let of_expert = Pass { compute: self.compute.of_rows(rows), ..*self };
            of_expert.feed_forward(&block, gathered, workspace);
            let mut rows = gathered.chunks_exact(width);
            for (token, sum) in sum[..x.len()].chunks_exact_mut(width).enumerate() {
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
    /// `selection` is a buffer of the same length; `chosen` and `shares` are `[n_expert_used]`.
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
            Gating::RootOfSoftplus => logits.iter_mut().for_each(|x| *x = libm::sqrtf(softplus(*x))),
            Gating::SoftmaxOfChosen => {}
        }
        self.choose(logits, bias, selection, 1, chosen, shares);
    }

    /// Chooses a token's experts by their probabilities, `[n_expert]`, and weighs them. If `n_each` consecutive
    /// probabilities stand for one expert, its weight is, as in the reference, the probability whose index equals the
    /// expert's number.
    fn choose(
        &self,
        probabilities: &[f32],
        bias: Option<&[f32]>,
        selection: &mut [f32],
        n_each: usize,
        chosen: &mut [u32],
        shares: &mut [f32],
    ) {
        selection.copy_from_slice(probabilities);
        if let Some(bias) = bias {
            selection.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
        if self.n_group_used < self.n_group {
            self.keep_best_groups(selection);
        }
        for (chosen, share) in chosen.iter_mut().zip(shares.iter_mut()) {
            let best = argmax(selection);
            selection[best] = f32::NEG_INFINITY;
            *chosen = (best / n_each) as u32;
            *share = probabilities[best / n_each];
        }
        if self.gating == Gating::SoftmaxOfChosen {
            softmax(shares);
        }
        if self.normalise {
            /// The reference's guard against a sum of 0: the smallest normal f16.
            const LEAST_SUM: f32 = 6.103_515_6e-5;
            let sum: f32 = shares.iter().sum();
            scale(shares, 1.0 / sum.max(LEAST_SUM));
        }
        scale(shares, self.weights_scale);
        if n_each > 1 {
            join_equal(chosen, shares);
        }
    }

    /// Excludes the experts of all groups except the best ones; a group is rated by the sum of its two best experts.
    fn keep_best_groups(&self, selection: &mut [f32]) {
        let group_len = self.n_expert / self.n_group;
        let score = |group: &[f32]| {
            let (first, second) =
                group.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), &x| {
                    if x > first { (x, first) } else { (first, second.max(x)) }
                });
            if group.len() > 1 { first + second } else { first }
        };
        // There are few groups, so count for each how many are better; in a tie the earlier group wins.
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

/// If an expert was chosen several times, keeps only the first entry, with the sum of the weights.
fn join_equal(chosen: &mut [u32], shares: &mut [f32]) {
    for later in 1..chosen.len() {
        if let Some(first) = chosen[..later].iter().position(|&expert| expert == chosen[later]) {
            shares[first] += shares[later];
            chosen[later] = u32::MAX;
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

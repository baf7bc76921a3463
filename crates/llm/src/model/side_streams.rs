//! Streams that are kept besides the residual one: a layer's input, the tokens' embeddings, or the two streams of
//! alternating stacks of layers.

use super::architecture::{ExpertInputs, LayerScale, Routing, Stacks};
use super::config::LayerEnd;
use super::layer::{FeedForward, Layer};
use super::pass::Pass;
use crate::compute::Norm;

impl Pass<'_> {
    /// Stores what the family needs of the tokens' embeddings `x`. If there are two streams, `x` becomes their sum,
    /// which the layers read; `lower_stream` is the initial value of the lower one.
    pub(super) fn begin_streams(
        &self,
        lower_stream: Option<&[f32]>,
        x: &mut [f32],
        side_streams: &mut [f32],
    ) {
        let config = self.config;
        if let Some(hyper) = config.hyper_connections {
            let rows = side_streams.chunks_exact_mut(hyper.n_stream * config.n_embd);
            for (row, x) in rows.zip(x.chunks_exact(config.n_embd)) {
                row.chunks_exact_mut(config.n_embd).for_each(|stream| stream.copy_from_slice(x));
            }
        }
        match (config.architecture.stacks, config.architecture.layer_scale) {
            (Stacks::Hierarchical, _) => {
                let (upper, lower) = side_streams.split_at_mut(x.len());
                upper.copy_from_slice(x);
                let Some(start) = lower_stream else { return };
                for (lower, x) in lower.chunks_exact_mut(config.n_embd).zip(x.chunks_exact_mut(config.n_embd))
                {
                    lower.copy_from_slice(start);
                    self.compute.kernels.add(x, start);
                }
            }
            (_, LayerScale::Embedding) => side_streams.copy_from_slice(x),
            _ => {}
        }
    }

    /// Stores a layer's input, in families whose routers or experts read it.
    pub(super) fn begin_layer(&self, layer: &Layer<'_>, x: &[f32], side_streams: &mut [f32]) {
        let routing = self.config.architecture.routing;
        match (routing, &layer.feed_forward) {
            (Some(Routing { inputs: ExpertInputs::Same, .. }) | None, _) => {}
            (_, FeedForward::Experts(_)) => self.normalise(layer.before_norm.as_ref(), x, side_streams),
            _ => {}
        }
    }

    /// Changes the stream `x` after a layer; `output_norm` is the normalisation before the output matrix.
    pub(super) fn end_layer(
        &self,
        layer: &Layer<'_>,
        output_norm: Option<&Norm<'_>>,
        x: &mut [f32],
        side_streams: &mut [f32],
    ) {
        let config = self.config;
        if let Some(scale) = layer.output_scale {
            match config.architecture.layer_scale {
                LayerScale::Stream => self.compute.kernels.scale(x, scale),
                LayerScale::Embedding => self.compute.kernels.add_scaled(x, scale, side_streams),
            }
        }
        match layer.end {
            LayerEnd::None => {}
            LayerEnd::Normalised => self.normalise_rows(output_norm, x),
            LayerEnd::Kept { side, is_last } => {
                let rows = x.chunks_exact_mut(config.n_embd);
                let norm = Norm { weight: None, bias: None };
                self.compute.each_token(rows, |row| self.normalise_row(&norm, row));
                let (upper, lower) = side_streams.split_at_mut(x.len());
                let (own, other) = if side == 0 { (upper, lower) } else { (lower, upper) };
                own.copy_from_slice(x);
                if !is_last {
                    self.compute.kernels.add(x, other);
                }
            }
        }
    }
}

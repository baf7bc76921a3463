//! The tensors of several residual streams, and of what one layer adds to them.

use super::super::alt_up::{AltUp, Laurel};
use super::super::config::{AltUpConfig, HyperConfig, NgramConfig};
use super::super::error::ModelError;
use super::super::hyper_connections::HyperConnection;
use super::super::ngram_embedding::NgramEmbedding;
use super::LayerTensors;
use crate::gguf::Name;

impl<'a> LayerTensors<'_, '_, 'a> {
    #[inline(never)]
    pub(super) fn hyper_connection(
        &mut self,
        part: &str,
        HyperConfig { n_stream, rank }: HyperConfig,
    ) -> Result<HyperConnection<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        let width = n_stream * n_embd;
        let name = |what: &str| Name::format(format_args!("{part}_{what}"));
        let norm = self.name(name("norm.weight").as_str());
        Ok(HyperConnection {
            norm: self.tensors.streams_norm(&norm, n_stream, n_embd)?,
            down: self.linear(name("down").as_str(), rank, width, false)?,
            up: self.linear(name("up").as_str(), width, rank, false)?,
            inject: Some(self.linear(name("inject").as_str(), n_stream, width, false)?),
        })
    }

    #[inline(never)]
    pub(super) fn alt_up(
        &mut self,
        AltUpConfig { n_stream, laurel_rank, .. }: AltUpConfig,
    ) -> Result<AltUp<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        Ok(AltUp {
            router: self.linear("altup_router", n_stream, n_embd, false)?,
            router_norm: self.norm_of("altup_router_norm", n_embd)?,
            predict: self.linear("altup_predict_coef", n_stream * n_stream, n_stream, false)?,
            correct: self.linear("altup_correct_coef", n_stream, n_stream, false)?,
            correct_scale: self.vectors("altup_correct_scale.weight", 1, n_embd)?,
            laurel: Laurel {
                left: self.linear("laurel_l", laurel_rank, n_embd, false)?,
                right: self.linear("laurel_r", n_embd, laurel_rank, false)?,
                post_norm: self.norm_of("laurel_post_norm", n_embd)?,
            },
        })
    }

    /// The embeddings of n-grams that this layer adds.
    #[inline(never)]
    pub fn ngram_embedding(&mut self, config: &NgramConfig) -> Result<NgramEmbedding<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        let n_stream = self.config.hyper_connections.map_or(1, |hyper| hyper.n_stream);
        let table = Name::from("per_layer_token_embd.weight");
        let n_rows = self.tensors.rows_of(&table)?;
        if n_rows < config.n_rows() || config.heads.len() * config.row_len != n_embd {
            let expected = "a row for each head's last one, and rows that together are as wide as the stream";
            return Err(ModelError::InvalidKey { key: table, value: n_rows as f64, expected });
        }
        let mut norm = |part: &str| {
            let name = self.name(part);
            self.tensors.streams_norm(&name, n_stream, n_embd)
        };
        let norms =
            [norm("ple_norm_key.weight")?, norm("ple_norm_query.weight")?, norm("ple_norm_conv.weight")?];
        let convolution = self.name("ple_conv1d.weight");
        Ok(NgramEmbedding {
            table: self.tensors.matrix(&table, n_rows, config.row_len)?,
            key: self.linear("ple_key", n_stream * n_embd, n_embd, false)?,
            value: self.linear("ple_value", n_embd, n_embd, false)?,
            norms,
            convolution: self.tensors.matrix(&convolution, n_stream * n_embd, config.n_conv)?,
            first_history: self.layer.mixer.state(self.index).recurrent_shape().n_history,
        })
    }
}

//! config.json: the hyper-parameters of a checkpoint.

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde::Deserialize;

use super::family::Family;
use super::pooling;
use super::quantization::Quantization;
use super::rope_scaling::RopeScaling;
use super::{Files, put_optional_u32, read};

/// What config.json says, by its own names.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    pub model_type: String,
    pub hidden_size: u32,
    pub intermediate_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    pub vocab_size: u32,
    pub max_position_embeddings: u32,
    rms_norm_eps: Option<f32>,
    layer_norm_eps: Option<f32>,
    type_vocab_size: Option<u32>,
    position_embedding_type: Option<String>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RopeScaling>,
    rope_parameters: Option<RopeScaling>,
    original_max_position_embeddings: Option<u32>,
    partial_rotary_factor: Option<f32>,
    pub attention_multiplier: Option<f32>,
    pub embedding_multiplier: Option<f32>,
    pub residual_multiplier: Option<f32>,
    pub logits_scaling: Option<f32>,
    num_experts: Option<u32>,
    num_experts_per_tok: Option<u32>,
    moe_intermediate_size: Option<u32>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<u32>,
    mlp_only_layers: Option<Vec<u32>>,
    /// For each layer, whether it has the rotary embedding, despite the name.
    no_rope_layers: Option<Vec<u32>>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    hidden_act: Option<String>,
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
    /// `pooling_type` of GGUF, from the files of sentence-transformers.
    #[serde(skip)]
    pooling: Option<u32>,
    #[serde(rename = "quantization_config")]
    pub quantization: Option<Quantization>,
}

impl ModelConfig {
    /// Reads and checks config.json, and what stands beside it of how the matrices were quantised and of pooling.
    pub fn read(files: &dyn Files) -> Result<Self> {
        const FILE: &str = "config.json";
        let bytes = read(files, FILE)?;
        let mut config: ModelConfig = serde_json::from_slice((*bytes).as_ref()).context(FILE)?;
        config.check().context(FILE)?;
        if config.quantization.is_none() {
            config.quantization = Quantization::read(files)?;
        }
        config.pooling = pooling::read_type(files)?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let family = Family::of(self)?;
        if self.hidden_act.as_deref().is_some_and(|function| function != family.activation) {
            bail!("hidden_act is {:?}, expected {}", self.hidden_act, family.activation);
        }
        self.epsilon()?;
        let heads = self.num_attention_heads;
        if heads == 0 || self.num_key_value_heads() == 0 || !heads.is_multiple_of(self.num_key_value_heads())
        {
            bail!("num_key_value_heads must be a divisor of num_attention_heads");
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(heads) {
            bail!("num_attention_heads must be a divisor of hidden_size");
        }
        if self.head_dim() == 0 || !self.head_dim().is_multiple_of(2) {
            bail!("heads have {} elements, expected an even number", self.head_dim());
        }
        if self.num_hidden_layers == 0 {
            bail!("num_hidden_layers is 0");
        }
        let rotated =
            self.partial_rotary_factor.or(self.rope_scaling().and_then(|rope| rope.partial_rotary_factor));
        if let Some(rotated) = rotated.filter(|&rotated| rotated != 1.0) {
            bail!("partial_rotary_factor is {rotated}, expected 1");
        }
        Ok(())
    }

    /// Makes sure that positions are learned.
    pub fn check_encoder(&self) -> Result<()> {
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => bail!("position_embedding_type is {other:?}, expected \"absolute\""),
        }
    }

    /// What is added to a variance: the key of GGUF and the value.
    fn epsilon(&self) -> Result<(&'static str, f32)> {
        let (from, to, value) = match self.family().frame.is_decoder {
            true => ("rms_norm_eps", "attention.layer_norm_rms_epsilon", self.rms_norm_eps),
            false => ("layer_norm_eps", "attention.layer_norm_epsilon", self.layer_norm_eps),
        };
        Ok((to, value.with_context(|| format!("{from} is missing"))?))
    }

    /// The kinds of tokens that have an embedding of their own.
    pub fn type_vocab_size(&self) -> u32 {
        self.type_vocab_size.unwrap_or(1)
    }

    /// Makes sure that all layers have experts, as GGUF's architectures with experts have them.
    pub fn check_experts(&self) -> Result<()> {
        for (key, value) in [
            ("num_experts", self.num_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("moe_intermediate_size", self.moe_intermediate_size),
        ] {
            if value.is_none_or(|value| value == 0) {
                bail!("{key} is {value:?}, expected a positive number");
            }
        }
        if self.num_experts_per_tok > self.num_experts {
            bail!("num_experts_per_tok is greater than num_experts");
        }
        // Without the key, transformers does not normalise.
        if self.norm_topk_prob != Some(true) {
            bail!("norm_topk_prob is {:?}, expected true", self.norm_topk_prob);
        }
        if let Some(step) = self.decoder_sparse_step.filter(|&step| step != 1) {
            bail!("decoder_sparse_step is {step}, expected 1");
        }
        if self.mlp_only_layers.as_ref().is_some_and(|layers| !layers.is_empty()) {
            bail!("mlp_only_layers is {:?}, expected none", self.mlp_only_layers);
        }
        Ok(())
    }

    /// Makes sure that each fourth layer is without the rotary embedding, as GGUF's architecture has it.
    pub fn check_layers_without_rope(&self) -> Result<()> {
        let Some(layers) = &self.no_rope_layers else { return Ok(()) };
        let differs = |&(layer, &has_rope): &(usize, &u32)| (has_rope != 0) != (layer % 4 != 3);
        match layers.iter().enumerate().find(differs) {
            Some((layer, has_rope)) => bail!(
                "no_rope_layers is {has_rope} for layer {layer}, expected 0 for each fourth layer and 1 for the others"
            ),
            None => Ok(()),
        }
    }

    /// The number of experts of a layer, 0 without any.
    pub fn n_expert(&self) -> u32 {
        if self.family().has_experts() { self.num_experts.unwrap_or(0) } else { 0 }
    }

    /// The length of an expert's hidden layer, 0 without experts.
    pub fn expert_feed_forward(&self) -> u32 {
        self.moe_intermediate_size.unwrap_or(0)
    }

    /// The family, which [`ModelConfig::read`] has found.
    pub fn family(&self) -> &'static Family {
        Family::of(self).expect("the family was found when the file was read")
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &'static str {
        self.family().architecture
    }

    /// How many positions back the original looks, where that is less than its context.
    pub fn left_out_window(&self) -> Option<u32> {
        let is_used = self.use_sliding_window.unwrap_or(self.family().uses_window);
        self.sliding_window.filter(|&window| is_used && window < self.max_position_embeddings)
    }

    /// Heads that have keys and values of their own.
    pub fn num_key_value_heads(&self) -> u32 {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> u32 {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    fn rope_scaling(&self) -> Option<&RopeScaling> {
        self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()).map(RopeScaling::of_full_attention)
    }

    fn rope_theta(&self) -> f32 {
        let nested = self.rope_scaling().and_then(|rope| rope.rope_theta);
        nested.or(self.rope_theta).unwrap_or(10_000.0)
    }

    /// The divisors of the rotary frequencies that Llama 3.1 and later have.
    pub fn rope_factors(&self) -> Result<Option<Vec<f32>>> {
        self.rope_scaling().map_or(Ok(None), |scaling| {
            scaling.factors(self.head_dim(), self.rope_theta(), self.original_max_position_embeddings)
        })
    }

    /// Adds the hyper-parameters to a GGUF header.
    pub fn describe(&self, writer: &mut GgufWriter, file_type: u32) -> Result<()> {
        let architecture = self.architecture();
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        writer.put_str("general.architecture", architecture)?;
        let name =
            self.name_or_path.as_deref().and_then(|name| name.rsplit('/').find(|part| !part.is_empty()));
        if let Some(name) = name {
            writer.put_str("general.name", name)?;
        }
        writer.put_u32("general.file_type", file_type)?;
        writer.put_u32("general.quantization_version", 2)?;
        writer.put_u32(&key("vocab_size"), self.vocab_size)?;
        writer.put_u32(&key("context_length"), self.max_position_embeddings)?;
        writer.put_u32(&key("embedding_length"), self.hidden_size)?;
        writer.put_u32(&key("block_count"), self.num_hidden_layers)?;
        writer.put_u32(&key("feed_forward_length"), self.intermediate_size)?;
        writer.put_u32(&key("attention.head_count"), self.num_attention_heads)?;
        writer.put_u32(&key("attention.head_count_kv"), self.num_key_value_heads())?;
        writer.put_u32(&key("attention.key_length"), self.head_dim())?;
        writer.put_u32(&key("attention.value_length"), self.head_dim())?;
        let (epsilon_key, epsilon) = self.epsilon()?;
        writer.put_f32(&key(epsilon_key), epsilon)?;
        if self.family().frame.is_decoder {
            writer.put_u32(&key("rope.dimension_count"), self.head_dim())?;
            writer.put_f32(&key("rope.freq_base"), self.rope_theta())?;
        } else {
            writer.put_bool(&key("attention.causal"), false)?;
            writer.put_u32("tokenizer.ggml.token_type_count", self.type_vocab_size())?;
            put_optional_u32(writer, &key("pooling_type"), self.pooling)?;
        }
        for (suffix, number) in self.family().numbers {
            if let Some(number) = number(self) {
                writer.put_f32(&key(suffix), number)?;
            }
        }
        if self.family().has_experts() {
            writer.put_u32(&key("expert_count"), self.n_expert())?;
            put_optional_u32(writer, &key("expert_used_count"), self.num_experts_per_tok)?;
            writer.put_u32(&key("expert_feed_forward_length"), self.expert_feed_forward())?;
        }
        match self.rope_scaling() {
            Some(scaling) => scaling.describe(writer, architecture, self.original_max_position_embeddings),
            None => Ok(()),
        }
    }
}

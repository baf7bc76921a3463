//! config.json: the hyper-parameters of a checkpoint.

mod checks;
mod sizes;

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde::Deserialize;
use serde_json::Value;

use super::family::{Entry, Family, Positions, VocabularyRules, Window};
use super::pooling;
use super::quantization::Quantization;
use super::rope_scaling::{LongRope, RopeScaling};
use super::weight::Order;
use super::{Files, put_optional_u32, read};

/// The fields of config.json, by their own names.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    pub hidden_size: u32,
    pub intermediate_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    pub vocab_size: u32,
    max_position_embeddings: u32,
    pad_token_id: Option<u32>,
    rms_norm_eps: Option<f32>,
    pub norm_eps: Option<f32>,
    layer_norm_eps: Option<f32>,
    type_vocab_size: Option<u32>,
    relative_attention_num_buckets: Option<u32>,
    /// The class that the checkpoint was saved from; the first of a list.
    #[serde(default)]
    architectures: Value,
    /// The names of a classifier's classes, by number.
    #[serde(default)]
    id2label: Value,
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
    pub moe_every_n_layers: Option<u32>,
    decoder_sparse_step: Option<u32>,
    mlp_only_layers: Option<Vec<u32>>,
    /// For each layer, 1 if it has the rotary embedding, despite the name.
    no_rope_layers: Option<Vec<u32>>,
    pub sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    sliding_window_pattern: Option<u32>,
    /// The mixer of each layer.
    layer_types: Option<Vec<String>>,
    /// Of every this many layers, the last one has attention, if `layer_types` does not say.
    pub full_attention_interval: Option<u32>,
    /// The layers with attention, if `layer_types` does not say.
    full_attn_idxs: Option<Vec<u32>>,
    rope_local_base_freq: Option<f32>,
    /// ModernBERT's names for `rope_theta` and `rope_local_base_freq`.
    global_rope_theta: Option<f32>,
    local_rope_theta: Option<f32>,
    pub local_attention: Option<u32>,
    pub global_attn_every_n_layers: Option<u32>,
    classifier_pooling: Option<String>,
    query_pre_attn_scalar: Option<f32>,
    pub attn_logit_softcapping: Option<f32>,
    pub final_logit_softcapping: Option<f32>,
    use_bidirectional_attention: Option<bool>,
    linear_conv_kernel_dim: Option<u32>,
    pub linear_key_head_dim: Option<u32>,
    linear_value_head_dim: Option<u32>,
    pub linear_num_key_heads: Option<u32>,
    pub linear_num_value_heads: Option<u32>,
    pub shared_expert_intermediate_size: Option<u32>,
    #[serde(rename = "conv_L_cache")]
    conv_l_cache: Option<u32>,
    /// An older name of `intermediate_size`.
    block_ff_dim: Option<u32>,
    block_auto_adjust_ff_dim: Option<bool>,
    block_ffn_dim_multiplier: Option<f64>,
    block_multiple_of: Option<u32>,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// An older name of it.
    tie_embedding: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
    /// `pooling_type` of GGUF, taken from the files of sentence-transformers.
    #[serde(skip)]
    pooling: Option<u32>,
    #[serde(skip, default = "Family::first")]
    family: &'static Family,
    #[serde(rename = "quantization_config")]
    pub quantization: Option<Quantization>,
}

/// The name of attention in `layer_types`.
const ATTENTION: &str = "full_attention";

impl ModelConfig {
    /// Reads and checks config.json, and the files beside it that describe quantisation and pooling.
    pub fn read(files: &dyn Files) -> Result<Self> {
        const FILE: &str = "config.json";
        let bytes = read(files, FILE)?;
        let mut config = Self::parse((*bytes).as_ref()).context(FILE)?;
        config.check().context(FILE)?;
        if config.quantization.is_none() {
            config.quantization = Quantization::read(files)?;
        }
        config.pooling = pooling::read_type(files)?;
        Ok(config)
    }

    /// Reads the keys, including those of the part for texts in models with vision, and fills in those that a family may leave
    /// out.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut keys: serde_json::Map<String, Value> = serde_json::from_slice(bytes)?;
        if let Some(Value::Object(text)) = keys.remove("text_config") {
            keys.extend(text);
        }
        let model_type = keys.get("model_type").and_then(Value::as_str).context("model_type is missing")?;
        let family = Family::of(model_type, &keys)?;
        family.complete(&mut keys)?;
        let mut config: ModelConfig = serde_json::from_value(Value::Object(keys))?;
        config.family = family;
        config.tie_word_embeddings = config.tie_embedding.unwrap_or(config.tie_word_embeddings);
        Ok(config)
    }

    /// The number that is added to a variance: GGUF's key and the value.
    fn epsilon(&self) -> Result<(&'static str, f32)> {
        let (from, to, value) = match self.family().frame.is_decoder {
            true => ("rms_norm_eps", "attention.layer_norm_rms_epsilon", self.norm_eps.or(self.rms_norm_eps)),
            false => {
                ("layer_norm_eps", "attention.layer_norm_epsilon", self.layer_norm_eps.or(self.norm_eps))
            }
        };
        Ok((to, value.with_context(|| format!("{from} is missing"))?))
    }

    /// Number of rows of learned positions that are never used because positions are counted from the id after the padding's.
    fn n_unplaced(&self) -> u32 {
        match (self.family.positions, self.pad_token_id) {
            (Positions::BehindPadding, Some(id)) => id.saturating_add(1),
            _ => 0,
        }
    }

    /// The longest text, in tokens.
    fn n_positions(&self) -> u32 {
        if self.family.positions == Positions::Trained {
            return if self.max_position_embeddings == 8192 { 2048 } else { 512 };
        }
        self.max_position_embeddings.saturating_sub(self.n_unplaced())
    }

    /// The number of token types that have embeddings.
    pub fn type_vocab_size(&self) -> u32 {
        self.type_vocab_size.unwrap_or(1)
    }

    /// The number of experts in a layer, 0 if there are none.
    pub fn n_expert(&self) -> u32 {
        if self.family().has_experts() { self.num_experts.unwrap_or(0) } else { 0 }
    }

    /// The length of an expert's hidden layer, 0 if there are no experts.
    pub fn expert_feed_forward(&self) -> u32 {
        self.moe_intermediate_size.unwrap_or(0)
    }

    /// The family, which [`ModelConfig::read`] has determined.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The number that LayerNorm adds to a variance.
    pub fn layer_norm_eps(&self) -> Option<f32> {
        self.layer_norm_eps
    }

    /// The number of buckets for distances.
    pub fn n_buckets(&self) -> Option<u32> {
        self.relative_attention_num_buckets
    }

    /// The activation function of the feed-forward blocks, one of those that the family allows.
    pub fn activation(&self) -> &'static str {
        let said = self.hidden_activation.as_ref().or(self.hidden_act.as_ref());
        let mut known = self.family.activation.split('|');
        let first = known.clone().next().unwrap_or_default();
        known.find(|known| said.is_some_and(|said| said == known)).unwrap_or(first)
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &'static str {
        self.family().architecture
    }

    /// The rules for reading its vocabulary.
    pub fn vocabulary_rules(&self) -> VocabularyRules {
        self.family().vocabulary
    }

    /// Whether a layer has experts, for models in which only some layers do.
    pub fn has_experts(&self, layer: u32) -> bool {
        self.moe_every_n_layers.is_some_and(|n| n > 0 && layer % n == 1)
    }

    /// The names of a classifier's classes, in the order of its rows; two classes without names by default.
    pub fn labels(&self) -> Vec<String> {
        let Some(labels) = self.id2label.as_object().filter(|labels| !labels.is_empty()) else {
            return (0..2).map(|number| format!("LABEL_{number}")).collect();
        };
        let mut labels: Vec<_> = labels.iter().collect();
        labels.sort_by_key(|(number, _)| number.parse().unwrap_or(u64::MAX));
        labels.into_iter().map(|(_, label)| label.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether the classes have real names, not the placeholders that transformers gives to any model.
    fn has_labels(&self) -> bool {
        let labels = self.labels();
        labels.len() != 2 || labels[0] != "LABEL_0"
    }

    /// The window of the original, if it is shorter than the context and GGUF's architecture has none.
    pub fn left_out_window(&self) -> Option<u32> {
        let is_used = match self.family().window {
            Window::IfSaid => self.use_sliding_window.unwrap_or(false),
            Window::LeftOut => self.use_sliding_window.unwrap_or(true),
            Window::Kept => false,
        };
        self.sliding_window.filter(|&window| is_used && window < self.max_position_embeddings)
    }

    /// Whether some layers have a window.
    pub fn has_window(&self) -> bool {
        self.sliding_window_pattern != Some(1)
    }

    /// Whether a layer has a recurrent mixer instead of attention.
    pub fn is_recurrent(&self, layer: u32) -> bool {
        if self.family().recurrent_layer.is_empty() {
            return false;
        }
        if let Some(types) = &self.layer_types {
            return types.get(layer as usize).is_some_and(|kind| kind != ATTENTION);
        }
        match (&self.full_attn_idxs, self.full_attention_interval) {
            (Some(indices), _) => !indices.contains(&layer),
            (None, Some(interval)) => !(layer + 1).is_multiple_of(interval),
            (None, None) => false,
        }
    }

    /// The length of a filter of a layer's convolution.
    pub fn filter_len(&self) -> Option<u32> {
        self.linear_conv_kernel_dim.or(self.conv_l_cache)
    }

    /// The total number of elements of a delta net's value heads.
    pub fn delta_values(&self) -> Option<u32> {
        self.linear_num_value_heads?.checked_mul(self.linear_value_head_dim?)
    }

    /// The order, in GGUF, of a delta net's value heads of this length, after `n_before` other rows.
    pub fn value_order(&self, n_before: usize, head_len: usize) -> Order {
        match (self.linear_num_key_heads, self.linear_num_value_heads) {
            (Some(keys), Some(values)) if keys != values => Order::Tiled {
                n_before,
                n_key_heads: keys as usize,
                n_values: (values / keys) as usize,
                head_len,
            },
            _ => Order::Same,
        }
    }

    /// `intermediate_size`, or the value that LFM2 computes from it.
    pub fn feed_forward(&self) -> u32 {
        let len = self.block_ff_dim.unwrap_or(self.intermediate_size);
        match (self.block_auto_adjust_ff_dim, self.block_multiple_of) {
            (Some(true), Some(multiple @ 1..)) => {
                let len = (f64::from(len) * 2.0 / 3.0).floor();
                let len = (self.block_ffn_dim_multiplier.unwrap_or(1.0) * len) as u32;
                len.div_ceil(multiple).saturating_mul(multiple)
            }
            _ => len,
        }
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
        self.all_rope_scaling().map(RopeScaling::of_full_attention)
    }

    fn all_rope_scaling(&self) -> Option<&RopeScaling> {
        self.rope_parameters.as_ref().or(self.rope_scaling.as_ref())
    }

    /// The base of the rotary embedding in layers with a window.
    pub fn window_rope_theta(&self) -> Option<f32> {
        self.all_rope_scaling()
            .and_then(RopeScaling::window_theta)
            .or(self.rope_local_base_freq)
            .or(self.local_rope_theta)
    }

    /// For each way of counting positions, how many pairs of a head it rotates.
    pub fn rope_sections(&self) -> Vec<i32> {
        let sections =
            self.rope_scaling().and_then(|rope| rope.mrope_section.as_deref()).unwrap_or(&[11, 11, 10]);
        sections.iter().copied().chain([0; 4]).take(4).collect()
    }

    fn rotated_part(&self) -> f64 {
        let part =
            self.rope_scaling().and_then(|rope| rope.partial_rotary_factor).or(self.partial_rotary_factor);
        part.map_or(1.0, f64::from)
    }

    /// Elements of a head that are rotated.
    fn rotated_len(&self) -> u32 {
        (f64::from(self.head_dim()) * self.rotated_part()) as u32
    }

    /// The number of positions that the model was first trained for.
    pub fn original_context(&self) -> Option<u32> {
        let nested = self.rope_scaling().and_then(|rope| rope.original_max_position_embeddings);
        nested.or(self.original_max_position_embeddings)
    }

    fn long_rope(&self) -> Result<Option<LongRope>> {
        match (self.rope_scaling(), self.original_context()) {
            (Some(scaling), Some(original)) => scaling.long(original, self.max_position_embeddings),
            _ => Ok(None),
        }
    }

    /// `pooling_type` of GGUF for a model with a classifier.
    pub fn classifier_pooling(&self) -> Option<u32> {
        match self.classifier_pooling.as_deref()? {
            "mean" => Some(1),
            "cls" => Some(2),
            _ => None,
        }
    }

    /// The base of the rotary embedding.
    pub fn rope_theta(&self) -> f32 {
        let nested = self.rope_scaling().and_then(|rope| rope.rope_theta);
        nested.or(self.rope_theta).or(self.global_rope_theta).unwrap_or(10_000.0)
    }

    /// Tensors with divisors of the rotary frequencies, as in Llama 3.1 and later or in Phi 3, and their names.
    pub fn rope_factors(&self) -> Result<Vec<(&'static str, Vec<f32>)>> {
        let Some(scaling) = self.rope_scaling() else { return Ok(Vec::new()) };
        if let Some(long) = self.long_rope()? {
            let n_pairs = self.rotated_len() as usize / 2;
            for (key, factors) in [("long_factor", &long.long), ("short_factor", &long.short)] {
                if factors.len() != n_pairs {
                    bail!("rope_scaling has {} numbers in {key}, expected {n_pairs}", factors.len());
                }
            }
            return Ok(vec![
                ("rope_factors_short.weight", long.short),
                ("rope_factors_long.weight", long.long),
            ]);
        }
        let factors =
            scaling.factors(self.head_dim(), self.rope_theta(), self.original_max_position_embeddings)?;
        Ok(factors.map(|factors| ("rope_freqs.weight", factors)).into_iter().collect())
    }

    /// Adds the hyper-parameters to a GGUF header. `has_classifier` says whether the file has a classifier's tensors.
    pub fn describe(&self, writer: &mut GgufWriter, file_type: u32, has_classifier: bool) -> Result<()> {
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
        writer.put_u32(&key("context_length"), self.n_positions())?;
        writer.put_u32(&key("embedding_length"), self.hidden_size)?;
        writer.put_u32(&key("block_count"), self.num_hidden_layers)?;
        if self.feed_forward() > 0 {
            writer.put_u32(&key("feed_forward_length"), self.feed_forward())?;
        }
        writer.put_u32(&key("attention.head_count"), self.num_attention_heads)?;
        let n_kv = self.num_key_value_heads();
        if self.family().tells_by_heads {
            let of_layer = |layer| if self.is_recurrent(layer) { 0 } else { n_kv as i32 };
            let heads: Vec<i32> = (0..self.num_hidden_layers).map(of_layer).collect();
            writer.put_i32s(&key("attention.head_count_kv"), &heads)?;
        } else {
            writer.put_u32(&key("attention.head_count_kv"), n_kv)?;
        }
        writer.put_u32(&key("attention.key_length"), self.head_dim())?;
        writer.put_u32(&key("attention.value_length"), self.head_dim())?;
        let (epsilon_key, epsilon) = self.epsilon()?;
        writer.put_f32(&key(epsilon_key), epsilon)?;
        if self.family().frame.is_decoder {
            writer.put_u32(&key("rope.dimension_count"), self.rotated_len())?;
            writer.put_f32(&key("rope.freq_base"), self.rope_theta())?;
        } else {
            writer.put_bool(&key("attention.causal"), false)?;
            writer.put_u32("tokenizer.ggml.token_type_count", self.type_vocab_size())?;
            put_optional_u32(writer, &key("pooling_type"), self.pooling)?;
            if !self.family().frame.classifier.is_empty() && (has_classifier || self.has_labels()) {
                writer.put_strings(&key("classifier.output_labels"), self.labels().iter())?;
            }
        }
        for (suffix, entry) in self.family().keys {
            match entry(self) {
                Some(Entry::U32(value)) => writer.put_u32(&key(suffix), value)?,
                Some(Entry::F32(value)) => writer.put_f32(&key(suffix), value)?,
                Some(Entry::Text(text)) => writer.put_str(&key(suffix), text)?,
                Some(Entry::I32s(values)) => writer.put_i32s(&key(suffix), &values)?,
                Some(Entry::Bools(values)) => writer.put_bools(&key(suffix), &values)?,
                None => {}
            }
        }
        if self.family().has_experts() {
            writer.put_u32(&key("expert_count"), self.n_expert())?;
            put_optional_u32(writer, &key("expert_used_count"), self.num_experts_per_tok)?;
            writer.put_u32(&key("expert_feed_forward_length"), self.expert_feed_forward())?;
        }
        if let Some(long) = self.long_rope()? {
            return Ok(writer.put_f32(&key("rope.scaling.attn_factor"), long.attention_factor)?);
        }
        match self.rope_scaling() {
            Some(scaling) => scaling.describe(writer, architecture, self.original_max_position_embeddings),
            None => Ok(()),
        }
    }
}

//! config.json: the hyper-parameters of a checkpoint.

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde::Deserialize;

use super::awq::AwqFormat;
use super::rope_scaling::RopeScaling;
use super::{Files, read, read_optional};

/// What config.json says, by its own names.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    model_type: String,
    pub hidden_size: u32,
    pub intermediate_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    pub vocab_size: u32,
    max_position_embeddings: u32,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_scaling: Option<RopeScaling>,
    rope_parameters: Option<RopeScaling>,
    original_max_position_embeddings: Option<u32>,
    partial_rotary_factor: Option<f32>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    hidden_act: Option<String>,
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
    #[serde(rename = "quantization_config")]
    pub quantization: Option<Quantization>,
}

/// How the matrices are quantised.
#[derive(Debug, Clone, Deserialize)]
pub struct Quantization {
    quant_method: Option<String>,
    bits: Option<u32>,
    group_size: Option<i64>,
    /// What AutoAWQ's own files call `bits` and `group_size`; some have both.
    w_bit: Option<u32>,
    q_group_size: Option<i64>,
    version: Option<String>,
}

impl Quantization {
    /// Makes sure that the matrices are AutoAWQ's in the format that is understood.
    pub fn check(&self) -> Result<AwqFormat> {
        let is = |value: &Option<String>, expected: &str| {
            value.as_deref().is_none_or(|value| value.eq_ignore_ascii_case(expected))
        };
        let bits = agreed("bits", self.bits, "w_bit", self.w_bit)?;
        let group_size = agreed("group_size", self.group_size, "q_group_size", self.q_group_size)?;
        if !is(&self.quant_method, "awq") || !is(&self.version, "gemm") || bits.is_some_and(|bits| bits != 4)
        {
            bail!(
                "quantization_config is method {:?}, version {:?}, bits {:?}; expected awq, gemm, 4",
                self.quant_method.as_deref().unwrap_or("awq"),
                self.version.as_deref().unwrap_or("gemm"),
                bits.unwrap_or(4),
            );
        }
        match group_size {
            Some(size @ (32 | 64 | 128)) => Ok(AwqFormat { group_size: Some(size as usize) }),
            Some(-1) => Ok(AwqFormat { group_size: None }),
            other => bail!("quantization_config has group_size {other:?}, expected 32, 64, 128 or -1"),
        }
    }
}

/// What two keys of one meaning say.
fn agreed<T: Copy + PartialEq + std::fmt::Display>(
    key: &str,
    value: Option<T>,
    other_key: &str,
    other: Option<T>,
) -> Result<Option<T>> {
    match (value, other) {
        (Some(value), Some(other)) if value != other => {
            bail!("quantization_config has {key} {value} and {other_key} {other}")
        }
        _ => Ok(value.or(other)),
    }
}

impl ModelConfig {
    /// Reads and checks config.json, and quant_config.json, where older versions of AutoAWQ wrote how they quantised.
    pub fn read(files: &dyn Files) -> Result<Self> {
        const FILE: &str = "config.json";
        const QUANTIZATION_FILE: &str = "quant_config.json";
        let bytes = read(files, FILE)?;
        let mut config: ModelConfig = serde_json::from_slice((*bytes).as_ref()).context(FILE)?;
        config.check().context(FILE)?;
        if config.quantization.is_none()
            && let Some(bytes) = read_optional(files, QUANTIZATION_FILE)?
        {
            let quantization = serde_json::from_slice((*bytes).as_ref()).context(QUANTIZATION_FILE)?;
            config.quantization = Some(quantization);
        }
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if !matches!(self.model_type.as_str(), "llama" | "mistral" | "qwen2") {
            bail!("model_type is {:?}, expected llama, mistral or qwen2", self.model_type);
        }
        if self.hidden_act.as_deref().is_some_and(|function| function != "silu") {
            bail!("hidden_act is {:?}, expected silu", self.hidden_act);
        }
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

    /// `general.architecture`.
    pub fn architecture(&self) -> &str {
        match self.model_type.as_str() {
            // Llama's form, but for a window that llama.cpp does not have there either.
            "mistral" => "llama",
            model_type => model_type,
        }
    }

    /// How many positions back the original looks, where that is less than its context.
    pub fn left_out_window(&self) -> Option<u32> {
        let is_used = self.use_sliding_window.unwrap_or(self.model_type == "mistral");
        self.sliding_window.filter(|&window| is_used && window < self.max_position_embeddings)
    }

    /// Whether rows of queries and keys have to change places: GGUF's `llama` turns neighbours.
    pub fn turns_neighbours(&self) -> bool {
        self.architecture() == "llama"
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
        writer.put_f32(&key("attention.layer_norm_rms_epsilon"), self.rms_norm_eps)?;
        writer.put_u32(&key("rope.dimension_count"), self.head_dim())?;
        writer.put_f32(&key("rope.freq_base"), self.rope_theta())?;
        match self.rope_scaling() {
            Some(scaling) => scaling.describe(writer, architecture, self.original_max_position_embeddings),
            None => Ok(()),
        }
    }
}

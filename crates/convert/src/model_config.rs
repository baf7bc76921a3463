//! config.json: the hyper-parameters of a checkpoint.

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde::Deserialize;

use super::awq::AwqFormat;
use super::{Files, put_optional_u32, read};

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
    #[serde(default)]
    pub tie_word_embeddings: bool,
    hidden_act: Option<String>,
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
    #[serde(rename = "quantization_config")]
    pub quantization: Option<Quantization>,
}

/// How the rotary embedding is stretched.
#[derive(Debug, Clone, Deserialize)]
struct RopeScaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<u32>,
}

/// How the matrices are quantised.
#[derive(Debug, Clone, Deserialize)]
pub struct Quantization {
    quant_method: Option<String>,
    #[serde(alias = "w_bit")]
    bits: Option<u32>,
    #[serde(alias = "q_group_size")]
    group_size: Option<i64>,
    version: Option<String>,
}

impl Quantization {
    /// Makes sure that the matrices are AutoAWQ's in the format that is understood.
    pub fn check(&self) -> Result<AwqFormat> {
        let is = |value: &Option<String>, expected: &str| {
            value.as_deref().is_none_or(|value| value.eq_ignore_ascii_case(expected))
        };
        if !is(&self.quant_method, "awq")
            || !is(&self.version, "gemm")
            || self.bits.is_some_and(|bits| bits != 4)
        {
            bail!(
                "quantization_config is method {:?}, version {:?}, bits {:?}; expected awq, gemm, 4",
                self.quant_method.as_deref().unwrap_or("awq"),
                self.version.as_deref().unwrap_or("gemm"),
                self.bits.unwrap_or(4),
            );
        }
        match self.group_size {
            Some(size @ (32 | 64 | 128)) => Ok(AwqFormat { group_size: Some(size as usize) }),
            Some(-1) => Ok(AwqFormat { group_size: None }),
            other => bail!("quantization_config has group_size {other:?}, expected 32, 64, 128 or -1"),
        }
    }
}

impl ModelConfig {
    /// Reads and checks config.json.
    pub fn read(files: &dyn Files) -> Result<Self> {
        const FILE: &str = "config.json";
        let bytes = read(files, FILE)?;
        let config: ModelConfig = serde_json::from_slice((*bytes).as_ref()).context(FILE)?;
        config.check().context(FILE)?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if !matches!(self.model_type.as_str(), "llama" | "qwen2") {
            bail!("model_type is {:?}, expected llama or qwen2", self.model_type);
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
        Ok(())
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &str {
        &self.model_type
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
        self.rope_scaling.as_ref().or(self.rope_parameters.as_ref())
    }

    fn rope_theta(&self) -> f32 {
        let nested = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        self.rope_theta.or(nested).unwrap_or(10_000.0)
    }

    /// The divisors of the rotary frequencies that Llama 3.1 and later have.
    pub fn rope_factors(&self) -> Result<Option<Vec<f32>>> {
        let Some(scaling) = self.rope_scaling().filter(|s| s.rope_type.as_deref() == Some("llama3")) else {
            return Ok(None);
        };
        let (Some(factor), Some(low), Some(high), Some(n_ctx)) = (
            scaling.factor,
            scaling.low_freq_factor,
            scaling.high_freq_factor,
            scaling.original_max_position_embeddings,
        ) else {
            bail!(
                "rope_scaling llama3 needs factor, low_freq_factor, high_freq_factor, original_max_position_embeddings"
            );
        };
        let head_dim = self.head_dim();
        let factors = (0..head_dim / 2).map(|pair| {
            let frequency = self.rope_theta().powf(-2.0 * pair as f32 / head_dim as f32);
            let turns = n_ctx as f32 * frequency / (2.0 * std::f32::consts::PI);
            if turns > high {
                1.0
            } else if turns < low {
                factor
            } else {
                let kept = (turns - low) / (high - low);
                1.0 / ((1.0 - kept) / factor + kept)
            }
        });
        Ok(Some(factors.collect()))
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
        if let Some(scaling) = self.rope_scaling() {
            match (scaling.rope_type.as_deref(), scaling.factor) {
                (None | Some("default" | "llama3"), _) => {}
                (Some(kind @ ("linear" | "yarn")), Some(factor)) => {
                    writer.put_str(&key("rope.scaling.type"), kind)?;
                    writer.put_f32(&key("rope.scaling.factor"), factor)?;
                    let n_ctx = scaling.original_max_position_embeddings;
                    put_optional_u32(writer, &key("rope.scaling.original_context_length"), n_ctx)?;
                }
                (Some(other), _) => {
                    bail!("rope_scaling is {other:?}, expected linear or yarn with a factor, or llama3")
                }
            }
        }
        Ok(())
    }
}

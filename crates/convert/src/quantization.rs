//! `quantization_config`: how the matrices of a checkpoint are quantised.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::awq::AwqFormat;
use super::gptq::GptqFormat;
use super::{Files, read_optional};

/// The fields of config.json, by their own names.
#[derive(Debug, Clone, Deserialize)]
pub struct Quantization {
    quant_method: Option<String>,
    bits: Option<u32>,
    group_size: Option<i64>,
    /// The names of `bits` and `group_size` in AutoAWQ's own files; some have both.
    w_bit: Option<u32>,
    q_group_size: Option<i64>,
    /// AutoAWQ's packing format.
    version: Option<String>,
    /// The version of GPTQ's format.
    checkpoint_format: Option<String>,
    /// What AutoGPTQ used instead.
    is_marlin_format: Option<bool>,
}

/// A quantisation format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Awq(AwqFormat),
    Gptq(GptqFormat),
}

/// The files in which older versions of AutoAWQ and AutoGPTQ describe the quantisation, and their methods.
const FILES: [(&str, &str); 2] = [("quant_config.json", AWQ), ("quantize_config.json", GPTQ)];
const AWQ: &str = "awq";
const GPTQ: &str = "gptq";

impl Quantization {
    /// The content of such a file beside config.json, if there is one.
    pub fn read(files: &dyn Files) -> Result<Option<Self>> {
        for (file, method) in FILES {
            if let Some(bytes) = read_optional(files, file)? {
                let mut quantization: Self = serde_json::from_slice((*bytes).as_ref()).context(file)?;
                quantization.quant_method.get_or_insert_with(|| method.to_owned());
                return Ok(Some(quantization));
            }
        }
        Ok(None)
    }

    /// The format, if it is supported.
    pub fn scheme(&self) -> Result<Scheme> {
        let bits = agreed("bits", self.bits, "w_bit", self.w_bit)?;
        let group_size = agreed("group_size", self.group_size, "q_group_size", self.q_group_size)?;
        let method = self.quant_method.as_deref().unwrap_or(AWQ);
        if method.eq_ignore_ascii_case(GPTQ) {
            return self.gptq(bits, group_size).map(Scheme::Gptq);
        }
        let version = self.version.as_deref().unwrap_or("gemm");
        if !method.eq_ignore_ascii_case(AWQ)
            || !version.eq_ignore_ascii_case("gemm")
            || bits.is_some_and(|bits| bits != 4)
        {
            bail!(
                "quantization_config is method {method:?}, version {version:?}, bits {:?}; expected awq, gemm, 4, or gptq; \
                 from the plain checkpoint, --hf with --type quantises",
                bits.unwrap_or(4),
            );
        }
        match group_size {
            Some(size @ (32 | 64 | 128)) => Ok(Scheme::Awq(AwqFormat { group_size: Some(size as usize) })),
            Some(-1) => Ok(Scheme::Awq(AwqFormat { group_size: None })),
            other => bail!("quantization_config has group_size {other:?}, expected 32, 64, 128 or -1"),
        }
    }

    fn gptq(&self, bits: Option<u32>, group_size: Option<i64>) -> Result<GptqFormat> {
        let bits = match bits {
            Some(bits @ (2 | 4 | 8)) => bits as usize,
            other => bail!("quantization_config of gptq has bits {other:?}, expected 2, 4 or 8"),
        };
        let group_size = match group_size {
            None | Some(-1) => None,
            Some(size) => match usize::try_from(size).ok().filter(|&size| size > 0) {
                Some(size) => Some(size),
                None => bail!("quantization_config has group_size {size}, expected a positive number or -1"),
            },
        };
        let format = match self.is_marlin_format {
            Some(true) => "marlin",
            _ => self.checkpoint_format.as_deref().unwrap_or(GPTQ),
        };
        let zero_offset = match format {
            "gptq" => 1,
            "gptq_v2" => 0,
            other => bail!("quantization_config has checkpoint_format {other:?}, expected gptq or gptq_v2"),
        };
        Ok(GptqFormat { bits, group_size, zero_offset })
    }
}

/// The common value of two keys with the same meaning.
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

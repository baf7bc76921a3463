//! [`MatrixTypes`]: which type each matrix of a file has, one for all or a mixture of llama.cpp's quantiser.
//!
//! The mixtures give more bits to tensors that need them, in layers that need them, and take a type with
//! shorter blocks where the rows are no whole number of blocks. The rules are those of `src/llama-quant.cpp` of
//! llama.cpp for dense models (October 2026), tested against its own choices.

use llm::quant::{GgmlType, can_quantize};

use convert::file_type;

/// The types of the matrices of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixTypes {
    /// The same for all.
    All(GgmlType),
    /// The mixtures called `Q4_K_M` and `Q5_K_M`, most of whose matrices have this type.
    Medium(GgmlType),
}

impl MatrixTypes {
    /// By name: that of a type that can be written, or of a mixture.
    pub fn from_name(name: &str) -> Option<Self> {
        let mixtures = MIXTURES.iter().find(|(mixture, _)| mixture.eq_ignore_ascii_case(name));
        let medium = mixtures.map(|&(_, base)| Self::Medium(base));
        medium.or_else(|| GgmlType::from_name(name).filter(|&ty| can_quantize(ty)).map(Self::All))
    }

    /// All names, for messages.
    pub fn names() -> String {
        let types = (0..u8::MAX).filter_map(|id| GgmlType::from_id(id.into()));
        let types = types.filter(|&ty| can_quantize(ty)).map(GgmlType::name);
        types.chain(MIXTURES.iter().map(|&(name, _)| name)).collect::<Vec<_>>().join(", ")
    }

    /// `general.file_type` (`enum llama_ftype`).
    pub fn file_type(self) -> u32 {
        match self {
            Self::All(ty) => file_type(ty),
            // The medium mixtures follow the small ones.
            Self::Medium(base) => file_type(base) + 1,
        }
    }

    /// The type of matrix `name`, with rows of `n_cols` weights, of a model of `n_layer` layers; `tied` if
    /// the embedding is the output matrix too.
    pub fn of(self, name: &str, n_cols: usize, n_layer: u32, tied: bool) -> GgmlType {
        let base = match self {
            Self::All(ty) => return ty,
            Self::Medium(base) => base,
        };
        let layer = || {
            let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let is = |part: &str| name.ends_with(&format!("{part}.weight"));
        let is_output = name == "output.weight" || tied && name == "token_embd.weight";
        let varies = is("attn_v") || is("attn_qkv") || is("ffn_down");
        let needs_more = is_output || varies && needs_more_bits(layer(), n_layer);
        let ty = if needs_more { GgmlType::Q6_K } else { base };
        if n_cols.is_multiple_of(ty.block_len()) { ty } else { shorter_blocks(ty, n_cols) }
    }
}

const MIXTURES: [(&str, GgmlType); 2] = [("Q4_K_M", GgmlType::Q4_K), ("Q5_K_M", GgmlType::Q5_K)];

/// Whether a layer is one of the first or last eighth, or of every third between them.
fn needs_more_bits(layer: u32, n_layer: u32) -> bool {
    let eighth = n_layer / 8;
    layer < eighth || layer >= 7 * n_layer / 8 || (layer - eighth) % 3 == 2
}

/// What takes the place of a type whose blocks do not fit.
fn shorter_blocks(ty: GgmlType, n_cols: usize) -> GgmlType {
    let shorter = match ty {
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        _ => GgmlType::Q8_0,
    };
    if n_cols.is_multiple_of(shorter.block_len()) { shorter } else { GgmlType::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{Shape, tensors};

    /// What llama.cpp's quantiser makes of the same shapes, by scripts/golden/mixtures.py.
    const GOLDEN: &str = include_str!("../../tests/golden/mixtures.txt");

    #[test]
    fn mixtures_are_those_of_llama_cpp() {
        let mut n_compared = 0;
        for case in GOLDEN.split("\n\n") {
            let (title, types) = case.split_once('\n').unwrap();
            let (shape, mixture) = title.split_once(' ').unwrap();
            let (shape, types_of) = (Shape::parse(shape).unwrap(), MatrixTypes::from_name(mixture).unwrap());
            let tensors = tensors(&shape);
            for line in types.lines() {
                let (name, want) = line.split_once(' ').unwrap();
                let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
                assert_eq!(tensor.ty(types_of, &shape).name(), want, "{title}: {name}");
                n_compared += 1;
            }
        }
        assert!(n_compared > 200, "{n_compared} tensors");
    }

    #[test]
    fn names_are_found_again() {
        for name in MatrixTypes::names().split(", ") {
            assert!(MatrixTypes::from_name(name).is_some(), "{name}");
        }
        assert_eq!(MatrixTypes::from_name("q4_k_m").unwrap().file_type(), 15);
        assert_eq!(MatrixTypes::from_name("IQ1_S"), None);
    }
}

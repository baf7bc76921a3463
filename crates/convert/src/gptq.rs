//! Matrices quantised by GPTQ, in the formats of AutoGPTQ and GPTQModel.
//!
//! A layer's `qweight` is `[n_in · bits / 32 × n_out]`, with neighbouring inputs in one word. `qzeros` is `[n_groups × n_out ·
//! bits / 32]`, with neighbouring outputs in one word. In both, the first one is in the lowest bits. `scales` is `[n_groups ×
//! n_out]`. `g_idx` is the group of each input; neighbouring inputs may be in different groups if they were quantised in the
//! order of their activations (`desc_act`). A weight is `(q - zero) · scale`. The first version of the format stores zeros minus
//! 1; the real zero may therefore be one more than fits the bits.

use anyhow::{Context, Result, bail};

use super::checkpoint::{Checkpoint, Floats, Integers};

/// Bits of a word.
const WORD_BITS: usize = 32;

/// What `quantization_config` says about the matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GptqFormat {
    /// Bits of a weight: 2, 4 or 8.
    pub bits: usize,
    /// Number of inputs that share a scale if there is no `g_idx`; `None` if all do.
    pub group_size: Option<usize>,
    /// What to add to stored zeros: 1 in the first version of the format, 0 in the second.
    pub zero_offset: u32,
}

/// One quantised matrix.
#[derive(Debug, Clone)]
pub struct GptqMatrix<'c> {
    qweight: Integers<'c>,
    qzeros: Integers<'c>,
    scales: Floats<'c>,
    /// The group of each input.
    groups: Vec<u32>,
    format: GptqFormat,
}

/// The suffixes of the tensors that make up a matrix, weights first.
pub const PARTS: [&str; 4] = ["qweight", "qzeros", "scales", "g_idx"];

impl<'c> GptqMatrix<'c> {
    /// The matrix `<name>.qweight` with its scales, zeros and groups.
    pub fn open(checkpoint: &'c Checkpoint<'_>, name: &str, format: GptqFormat) -> Result<Self> {
        let [qweight_name, qzeros_name, scales_name, groups_name] =
            PARTS.map(|part| format!("{name}.{part}"));
        let n_per_word = WORD_BITS / format.bits;
        let qweight = checkpoint.integers(&qweight_name)?;
        let qzeros = checkpoint.integers(&qzeros_name)?;
        let scales = checkpoint.floats(&scales_name)?;
        let [n_words, n_out] = qweight.shape;
        let n_in = n_words.checked_mul(n_per_word).context("the matrix is too large")?;
        let [n_groups, n_scales] = scales.shape;
        if n_scales != n_out || !n_out.is_multiple_of(n_per_word) {
            bail!(
                "{scales_name} has shape {:?}, expected {n_out} columns, a multiple of {n_per_word}",
                scales.shape
            );
        }
        if qzeros.shape != [n_groups, n_out / n_per_word] {
            bail!(
                "{qzeros_name} has shape {:?}, expected {:?}",
                qzeros.shape,
                [n_groups, n_out / n_per_word]
            );
        }
        let groups: Vec<u32> = if checkpoint.has(&groups_name) {
            let groups = checkpoint.integers(&groups_name)?;
            if groups.shape != [1, n_in] {
                bail!("{groups_name} has shape {:?}, expected {n_in} elements", groups.shape);
            }
            (0..n_in).map(|input| groups.at(0, input)).collect()
        } else {
            let group_size = format.group_size.unwrap_or(n_in);
            if n_in.div_ceil(group_size) != n_groups {
                bail!(
                    "{scales_name} has {n_groups} rows, expected one for each {group_size} of {n_in} inputs"
                );
            }
            (0..n_in).map(|input| (input / group_size) as u32).collect()
        };
        if let Some(group) = groups.iter().find(|&&group| group as usize >= n_groups) {
            bail!("{groups_name} has group {}, and there are {n_groups}", group.cast_signed());
        }
        Ok(GptqMatrix { qweight, qzeros, scales, groups, format })
    }

    /// Outputs and inputs.
    pub fn shape(&self) -> [usize; 2] {
        [self.qweight.shape[1], self.groups.len()]
    }

    /// The weights of an output.
    ///
    /// # Panics
    ///
    /// If there is no such output.
    pub fn read_row(&self, output: usize, values: &mut [f32]) {
        let bits = self.format.bits;
        let n_per_word = WORD_BITS / bits;
        let field = |word: u32, place: usize| word >> (place % n_per_word * bits) & ((1 << bits) - 1);
        let (mut group, mut scale, mut zero, mut word) = (None, 0.0, 0, 0);
        for (input, (value, &group_of_input)) in values.iter_mut().zip(&self.groups).enumerate() {
            if input % n_per_word == 0 {
                word = self.qweight.at(input / n_per_word, output);
            }
            if group != Some(group_of_input) {
                group = Some(group_of_input);
                let row = group_of_input as usize;
                scale = self.scales.at(row, output);
                zero = field(self.qzeros.at(row, output / n_per_word), output) + self.format.zero_offset;
            }
            *value = scale * (field(word, input) as f32 - zero as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A checkpoint with these tensors: name, type, shape, bytes.
    fn file(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> BTreeMap<String, Vec<u8>> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, dtype, shape, bytes) in tensors {
            let offsets = [data.len(), data.len() + bytes.len()];
            header.insert(
                (*name).to_owned(),
                serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }),
            );
            data.extend(bytes);
        }
        let header = serde_json::Value::from(header).to_string();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        BTreeMap::from([("model.safetensors".to_owned(), bytes)])
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Four inputs of 8 bits and four outputs in two groups; the inputs belong to the groups in alternation.
    fn tensors(g_idx: &[u32]) -> Vec<(&'static str, &'static str, &'static [usize], Vec<u8>)> {
        let scales = [1.0_f32, 2.0, 3.0, 4.0, 0.5, 0.25, 0.125, 1.0];
        vec![
            ("a.qweight", "I32", &[1, 4], words(&[0x0403_0201, 0xff00_ff00, 0x1010_1010, 0x0000_0080])),
            ("a.qzeros", "I32", &[2, 1], words(&[0xff00_0100, 0x0302_0100])),
            ("a.scales", "F32", &[2, 4], scales.iter().flat_map(|scale| scale.to_le_bytes()).collect()),
            ("a.g_idx", "I32", &[4], words(g_idx)),
        ]
    }

    const FORMAT: GptqFormat = GptqFormat { bits: 8, group_size: Some(2), zero_offset: 1 };

    #[test]
    fn inputs_have_the_group_that_g_idx_says_and_zeros_one_more_than_is_stored() {
        let files = file(&tensors(&[0, 1, 0, 1]));
        let checkpoint = Checkpoint::open(&files).unwrap();
        let rows = |format| {
            let matrix = GptqMatrix::open(&checkpoint, "a", format).unwrap();
            assert_eq!(matrix.shape(), [4, 4]);
            [0, 1, 3].map(|output| {
                let mut row = [0.0; 4];
                matrix.read_row(output, &mut row);
                row
            })
        };
        // The stored zeros are 0, 1, 0, 255 and 0, 1, 2, 3. The sum 255 + 1 does not fit into eight bits and must not be cut off.
        assert_eq!(
            rows(FORMAT),
            [[0.0, 0.5, 2.0, 1.5], [-4.0, 63.25, -4.0, 63.25], [-512.0, -4.0, -1024.0, -4.0]]
        );
        let second = GptqFormat { zero_offset: 0, ..FORMAT };
        assert_eq!(rows(second)[0], [1.0, 1.0, 3.0, 2.0]);
    }

    #[test]
    fn without_g_idx_neighbours_are_a_group() {
        let mut tensors = tensors(&[]);
        tensors.pop();
        let files = file(&tensors);
        let checkpoint = Checkpoint::open(&files).unwrap();
        let matrix = GptqMatrix::open(&checkpoint, "a", FORMAT).unwrap();
        let mut row = [0.0; 4];
        matrix.read_row(0, &mut row);
        assert_eq!(row, [0.0, 1.0, 1.0, 1.5]);
        let refused = GptqMatrix::open(&checkpoint, "a", GptqFormat { group_size: None, ..FORMAT });
        assert!(refused.unwrap_err().to_string().contains("a.scales has 2 rows"));
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        for (index, shape, part) in [
            (0, &[4_usize, 1][..], "a.scales has shape [2, 4], expected 1 columns"),
            (1, &[1, 2], "a.qzeros has shape [1, 2], expected [2, 1]"),
            (2, &[4, 2], "a.scales has shape"),
            (3, &[2, 2], "a.g_idx has shape [2, 2], expected 4 elements"),
        ] {
            let mut tensors = tensors(&[0, 1, 0, 1]);
            tensors[index].2 = shape;
            let files = file(&tensors);
            let checkpoint = Checkpoint::open(&files).unwrap();
            let error = GptqMatrix::open(&checkpoint, "a", FORMAT).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let files = file(&tensors(&[0, 1, 2, u32::MAX]));
        let checkpoint = Checkpoint::open(&files).unwrap();
        let error = GptqMatrix::open(&checkpoint, "a", FORMAT).unwrap_err().to_string();
        assert!(error.contains("a.g_idx has group 2, and there are 2"), "{error}");
    }
}

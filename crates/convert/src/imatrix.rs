//! [`ImportanceMatrix`]: how much each column of a model's matrices matters, as llama.cpp's `llama-imatrix` measures it.
//!
//! For each matrix it has the mean squares of the activations that each column was multiplied with, measured on a text. There are
//! two formats: GGUF files of `general.type` `imatrix`, with sums and counts as tensors, and the older `.dat`, a list of names
//! and numbers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use llm::gguf::Gguf;
use llm::quant::GgmlType;

/// Importances, by the name of the matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportanceMatrix {
    /// The importance of each column of a matrix; for a stack of experts, of their matrices one after another.
    entries: BTreeMap<String, Vec<f32>>,
    /// The name of the text that was measured, if the file tells it.
    pub dataset: Option<String>,
    /// The number of parts of the text that were measured, 0 if the file does not tell it.
    pub n_chunks: u32,
}

impl ImportanceMatrix {
    /// Reads a file of either format.
    ///
    /// # Errors
    ///
    /// If the file is of neither format, has no entries, or has numbers that cannot be mean squares.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let matrix = if bytes.starts_with(b"GGUF") { Self::of_gguf(bytes)? } else { Self::of_list(bytes)? };
        ensure!(!matrix.entries.is_empty(), "has no importances");
        for (name, values) in &matrix.entries {
            if let Some(value) = values.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
                bail!("{}: {value} is no mean square", name.escape_debug());
            }
        }
        Ok(matrix)
    }

    /// Number of matrices.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no matrices.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The importances for a matrix of `n_cols` columns or, for experts, for `n_matrices` of them, if there are any.
    ///
    /// # Errors
    ///
    /// If their number does not match. For an embedding, which is not multiplied, they are ignored instead.
    pub fn of(&self, name: &str, n_cols: usize, n_matrices: usize) -> Result<Option<&[f32]>> {
        let Some(values) = self.entries.get(name) else { return Ok(None) };
        let expected = n_cols.saturating_mul(n_matrices);
        match name {
            _ if values.len() == expected => Ok(Some(values)),
            "token_embd.weight" | "per_layer_token_embd.weight" => Ok(None),
            _ => bail!("has {} importances for {name}, expected {expected}", values.len()),
        }
    }

    fn of_gguf(bytes: &[u8]) -> Result<Self> {
        const SUMS: &str = ".in_sum2";
        const COUNTS: &str = ".counts";
        let gguf = Gguf::parse(bytes, bytes.len() as u64)?;
        let ty = gguf.str_value("general.type")?.unwrap_or("missing");
        ensure!(ty == "imatrix", "general.type is {}, expected imatrix", ty.escape_debug());
        let datasets = gguf.require_array("imatrix.datasets")?;
        let datasets = datasets.strings().context("imatrix.datasets has no texts")?;
        let dataset = datasets.filter_map(|name| str::from_utf8(name).ok().map(str::to_owned)).next();
        let n_chunks = gguf.require_u32("imatrix.chunk_count")?;
        gguf.require_u32("imatrix.chunk_size")?;
        let floats = |name: &str| -> Result<Vec<f32>> {
            let tensor =
                gguf.tensor(name).with_context(|| format!("has no tensor {}", name.escape_debug()))?;
            let shown = name.escape_debug();
            ensure!(tensor.ty == GgmlType::F32, "{shown} is of type {}, expected F32", tensor.ty);
            let (values, _) = gguf.tensor_data(tensor)?.as_chunks();
            Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
        };
        let mut entries = BTreeMap::new();
        for tensor in gguf.tensors() {
            if let Some(name) = tensor.name.strip_suffix(COUNTS) {
                let sums = format!("{name}{SUMS}");
                let (sums_shown, shown) = (sums.escape_debug(), tensor.name.escape_debug());
                ensure!(gguf.tensor(&sums).is_some(), "has no tensor {sums_shown} beside {shown}");
            }
            let Some(name) = tensor.name.strip_suffix(SUMS) else { continue };
            let mut values = floats(tensor.name)?;
            let counts = floats(&format!("{name}{COUNTS}"))?;
            let n_cols = values.len().checked_div(counts.len()).unwrap_or(0);
            ensure!(
                n_cols > 0 && n_cols * counts.len() == values.len(),
                "{} has {} sums, which {} counts do not divide",
                name.escape_debug(),
                values.len(),
                counts.len()
            );
            for (sums, count) in values.chunks_exact_mut(n_cols).zip(counts) {
                // For experts that no token chose, all columns count the same.
                let count = count.round();
                sums.iter_mut().for_each(|sum| *sum = if count > 0.0 { *sum / count } else { 1.0 });
            }
            entries.insert(name.to_owned(), values);
        }
        Ok(Self { entries, dataset, n_chunks })
    }

    fn of_list(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes;
        let n_entries = count(&mut rest).ok().filter(|&n| n > 0);
        let n_entries =
            n_entries.context("is neither a GGUF file nor llama.cpp's older list of importances")?;
        let mut entries = BTreeMap::new();
        for index in 1..=n_entries {
            let (name, values) = entry(&mut rest)
                .with_context(|| format!("ends or is broken within entry {index} of {n_entries}"))?;
            entries.insert(name, values);
        }
        // The oldest files end here.
        let n_chunks = count(&mut rest).unwrap_or(0);
        let dataset = text(&mut rest).ok().filter(|name| !name.is_empty());
        Ok(Self { entries, dataset, n_chunks: u32::try_from(n_chunks).unwrap_or(0) })
    }
}

/// An entry of the list: a name, the number of batches in which it was measured, and the sums of the mean squares of these
/// batches.
fn entry(rest: &mut &[u8]) -> Result<(String, Vec<f32>)> {
    let name = text(rest)?;
    let n_calls = count(rest)?;
    let n_values = count(rest)?;
    ensure!(n_values > 0, "{} has no values", name.escape_debug());
    let (values, _) = take(rest, n_values.saturating_mul(4))?.as_chunks();
    let divisor = if n_calls > 0 { n_calls as f32 } else { 1.0 };
    Ok((name, values.iter().map(|&bytes| f32::from_le_bytes(bytes) / divisor).collect()))
}

fn take<'b>(rest: &mut &'b [u8], n_bytes: usize) -> Result<&'b [u8]> {
    let (taken, left) =
        rest.split_at_checked(n_bytes).with_context(|| format!("{n_bytes} bytes are missing"))?;
    *rest = left;
    Ok(taken)
}

/// A signed number that must not be negative.
fn count(rest: &mut &[u8]) -> Result<usize> {
    let (bytes, _) = take(rest, 4)?.as_chunks();
    let number = i32::from_le_bytes(bytes[0]);
    usize::try_from(number).with_context(|| format!("{number} is no count"))
}

/// A name, preceded by its length.
fn text(rest: &mut &[u8]) -> Result<String> {
    let n_bytes = count(rest)?;
    Ok(str::from_utf8(take(rest, n_bytes)?).context("a name is no UTF-8")?.to_owned())
}

#[cfg(test)]
mod tests {
    use llm::gguf::GgufWriter;

    use super::*;

    fn list(entries: &[(&str, i32, &[f32])], tail: &[u8]) -> Vec<u8> {
        let mut bytes = (entries.len() as i32).to_le_bytes().to_vec();
        for (name, n_calls, values) in entries {
            bytes.extend((name.len() as i32).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(n_calls.to_le_bytes());
            bytes.extend((values.len() as i32).to_le_bytes());
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes.extend(tail);
        bytes
    }

    fn gguf(ty: &str, tensors: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        writer.put_str("general.type", ty).unwrap();
        writer.put_strings("imatrix.datasets", ["some.txt", "other.txt"].into_iter()).unwrap();
        writer.put_u32("imatrix.chunk_count", 3).unwrap();
        writer.put_u32("imatrix.chunk_size", 512).unwrap();
        for (name, dims, _) in tensors {
            writer.declare_tensor(name, GgmlType::F32, dims).unwrap();
        }
        let mut bytes = Vec::new();
        let mut data = writer
            .write_header(|header: &[u8]| {
                bytes.extend(header);
                Ok::<_, std::io::Error>(())
            })
            .unwrap();
        for (_, _, values) in tensors {
            let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            data.write::<std::io::Error>(&values).unwrap();
        }
        data.finish::<std::io::Error>().unwrap();
        bytes
    }

    fn error(bytes: &[u8]) -> String {
        format!("{:#}", ImportanceMatrix::parse(bytes).unwrap_err())
    }

    #[test]
    fn names_with_line_ends_are_shown_in_one_line() {
        assert_eq!(
            error(&list(&[("a\nb", 1, &[])], &[])),
            "ends or is broken within entry 1 of 1: a\\nb has no values"
        );
        assert_eq!(error(&list(&[("a\nb", 1, &[-1.0])], &[])), "a\\nb: -1 is no mean square");
        let named = gguf("imatrix", &[("a\nb.counts", &[1], &[1.0])]);
        assert_eq!(error(&named), "has no tensor a\\nb.in_sum2 beside a\\nb.counts");
    }

    #[test]
    fn the_older_list_is_divided_by_its_calls() {
        let tail = [&7_i32.to_le_bytes()[..], &4_i32.to_le_bytes(), b"text"].concat();
        let bytes = list(&[("a.weight", 2, &[2.0, 5.0]), ("b.weight", 0, &[3.0])], &tail);
        let matrix = ImportanceMatrix::parse(&bytes).unwrap();
        assert_eq!((matrix.len(), matrix.n_chunks, matrix.dataset.as_deref()), (2, 7, Some("text")));
        assert_eq!(matrix.of("a.weight", 2, 1).unwrap(), Some(&[1.0, 2.5][..]));
        assert_eq!(matrix.of("b.weight", 1, 1).unwrap(), Some(&[3.0][..]));
        assert_eq!(matrix.of("c.weight", 1, 1).unwrap(), None);
        let without_tail = ImportanceMatrix::parse(&bytes[..bytes.len() - tail.len()]).unwrap();
        assert_eq!((without_tail.n_chunks, without_tail.dataset), (0, None));
        for end in 0..bytes.len() - tail.len() {
            ImportanceMatrix::parse(&bytes[..end]).unwrap_err();
        }
    }

    #[test]
    fn each_expert_is_divided_by_its_count() {
        let tensors: [(&str, &[u64], &[f32]); 2] = [
            ("e.weight.in_sum2", &[2, 3], &[2.0, 4.0, 9.0, 9.0, 5.0, 10.0]),
            ("e.weight.counts", &[1, 3], &[2.0, 0.0, 5.0]),
        ];
        let matrix = ImportanceMatrix::parse(&gguf("imatrix", &tensors)).unwrap();
        assert_eq!((matrix.n_chunks, matrix.dataset.as_deref()), (3, Some("some.txt")));
        assert_eq!(matrix.of("e.weight", 2, 3).unwrap(), Some(&[1.0, 2.0, 1.0, 1.0, 1.0, 2.0][..]));
        let other = matrix.of("e.weight", 4, 1).unwrap_err();
        assert_eq!(other.to_string(), "has 6 importances for e.weight, expected 4");
    }

    #[test]
    fn what_is_no_importance_matrix_is_refused_in_one_line() {
        let sums: (&str, &[u64], &[f32]) = ("a.in_sum2", &[2], &[1.0, 2.0]);
        for (bytes, expected) in [
            (vec![], "is neither a GGUF file nor llama.cpp's older list of importances"),
            (b"{\"x\"".to_vec(), "ends or is broken within entry 1 of 578298491: 4 bytes are missing"),
            (list(&[("a", 1, &[f32::NAN])], &[]), "a: NaN is no mean square"),
            (list(&[("a", 1, &[-1.0])], &[]), "a: -1 is no mean square"),
            (list(&[("a", 1, &[])], &[]), "ends or is broken within entry 1 of 1: a has no values"),
            (gguf("model", &[sums]), "general.type is model, expected imatrix"),
            (gguf("imatrix", &[]), "has no importances"),
            (gguf("imatrix", &[sums]), "has no tensor a.counts"),
            (gguf("imatrix", &[("a.counts", &[1], &[1.0])]), "has no tensor a.in_sum2 beside a.counts"),
            (
                gguf("imatrix", &[sums, ("a.counts", &[3], &[1.0; 3])]),
                "a has 2 sums, which 3 counts do not divide",
            ),
        ] {
            let found = error(&bytes);
            assert_eq!(found, expected);
        }
    }
}

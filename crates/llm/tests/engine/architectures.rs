//! Every family compared with llama.cpp. `scripts/golden/architectures.py` made the models and logits.

use crate::golden_models::{Case, FileBytes, cases};
use llm::gguf::{Gguf, GgufWriter, TensorInfo};
use llm::model::{Architecture, ModelError};
use llm::quant::GgmlType;

#[test]
fn logits_are_those_of_the_reference() {
    let failures: Vec<String> = cases("architectures").iter().flat_map(Case::check).collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// What the file specifies, except for what the closures change; false and `None` leave something out.
fn rewritten<'a>(
    gguf: &Gguf<'a>,
    keeps_key: impl Fn(&str) -> bool,
    changed: impl Fn(&TensorInfo<'a>) -> Option<TensorInfo<'a>>,
    extra: Option<&str>,
) -> FileBytes {
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().filter(|(key, _)| keeps_key(key)) {
        writer.put(key, value).unwrap();
    }
    let mut data = Vec::new();
    for (tensor, changed) in gguf.tensors().iter().filter_map(|tensor| Some((tensor, changed(tensor)?))) {
        writer.declare_tensor(changed.name, changed.ty, changed.shape()).unwrap();
        data.push(gguf.tensor_data(tensor).unwrap());
    }
    let zeros = [0; 4];
    if let Some(name) = extra {
        writer.declare_tensor(name, GgmlType::F32, &[1]).unwrap();
        data.push(&zeros);
    }
    let mut file = Vec::new();
    let mut tensors = writer
        .write_header(|bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap();
    for data in data {
        tensors.write(data).unwrap();
    }
    tensors.finish().unwrap();
    FileBytes::new(&file)
}

fn refusal(file: &FileBytes) -> Option<ModelError> {
    file.model().err()
}

/// Keys that llama.cpp requires although the tensors imply their values.
const SAID_BY_TENSORS: [&str; 3] =
    ["expert_feed_forward_length", "expert_shared_count", "interleave_moe_layer_step"];

/// Whether the family ignores a tensor, so that it may be missing or have any shape.
fn is_left_alone(case: &Case, name: &str) -> bool {
    let part = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(name, |(_, part)| part);
    let family = Architecture::from_name(&case.architecture).unwrap();
    family.unused.iter().any(|beginning| part.starts_with(beginning))
}

#[test]
fn what_the_reference_requires_is_missed_by_name() {
    let mut failures = Vec::new();
    for case in cases("architectures") {
        let file = case.file();
        let gguf = file.gguf();
        for missing in case.required.iter().filter(|name| !is_left_alone(&case, name)) {
            let without = rewritten(
                &gguf,
                |key| key != missing,
                |tensor| (tensor.name != missing).then_some(*tensor),
                None,
            );
            match refusal(&without) {
                // What is left of a normalisation may be found first.
                Some(error) if error.to_string().contains(missing.trim_end_matches("weight")) => {}
                // One projection to queries, keys and values or three: with neither, the first of the three
                // is missed.
                Some(ModelError::MissingTensor(name))
                    if missing.replace("attn_qkv", "attn_q") == name.as_str() => {}
                // The first of two names that it can have.
                Some(ModelError::MissingTensor(name))
                    if missing.replace("post_ffw_norm", "layer_output_norm") == name.as_str() => {}
                // Without the key another form of the tensors is looked for, and one of them named.
                Some(
                    ModelError::MissingTensor(_)
                    | ModelError::UnknownTensor(_)
                    | ModelError::WrongShape { .. },
                ) if gguf.tensor(missing).is_none() => {}
                None if SAID_BY_TENSORS.iter().any(|key| missing.ends_with(key)) => {}
                Some(error) => failures.push(format!("{} without {missing}: {error}", case.name)),
                None => failures.push(format!("{} without {missing} is accepted", case.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_tensor_of_another_shape_is_refused_by_name() {
    for case in cases("architectures") {
        let file = case.file();
        let gguf = file.gguf();
        for wrong in
            gguf.tensors().iter().filter(|tensor| tensor.dims[0] > 1 && !tensor.name.starts_with("blk.1"))
        {
            if is_left_alone(&case, wrong.name) {
                continue;
            }
            // The same number of elements, so that nothing else changes; and of rows, since those of one
            // expert's matrix say how wide the others must be.
            let [cols, rows, count, last] = wrong.dims;
            let dims = match (wrong.ty.block_len(), count) {
                (1, _) => [1, rows, cols, count * last],
                (_, 1) => [cols, 1, rows, last],
                _ => [cols, rows, 1, count * last],
            };
            let reshaped = rewritten(
                &gguf,
                |_| true,
                |tensor| {
                    let mut tensor = *tensor;
                    if tensor.name == wrong.name {
                        (tensor.dims, tensor.n_dims) = (dims, 4);
                    }
                    Some(tensor)
                },
                None,
            );
            let error = refusal(&reshaped)
                .unwrap_or_else(|| panic!("{}: {} of another shape", case.name, wrong.name));
            assert!(
                error.to_string().contains(wrong.name),
                "{}: {error} instead of {}",
                case.name,
                wrong.name
            );
        }
    }
}

#[test]
fn an_unknown_tensor_is_refused_by_name() {
    for case in cases("architectures") {
        let file = case.file();
        for extra in ["blk.0.attn_surprise.weight", "surprise.bias"] {
            let file = rewritten(&file.gguf(), |_| true, |tensor| Some(*tensor), Some(extra));
            let error = refusal(&file).unwrap_or_else(|| panic!("{}: {extra} is accepted", case.name));
            assert!(matches!(error, ModelError::UnknownTensor(name) if name.as_str() == extra), "{error}");
        }
    }
}

//! Keys and tensors that llama.cpp does not require. A file without one runs as if the default were written out. Values that
//! have no meaning in a family change nothing.
//!
//! llama.cpp's loader defines what is optional, and the defaults: `load_hparams`, `load_arch_hparams` of each family,
//! `create_tensor` with `TENSOR_NOT_REQUIRED`. The models are the golden ones of every family.

use std::borrow::Cow;

use crate::golden_models::{Case, FileBytes, cases};
use llm::gguf::{Gguf, GgufWriter, TensorInfo, Value};
use llm::kv_cache::KvType;
use llm::model::{ARCHITECTURES, Architecture, Model, RopeLayers, Window};
use llm::parallel::Serial;
use llm::quant::{GgmlType, ModelBytes, Precision};
use llm::session::{Logits, Session, SessionOptions};
use llm::simd::Kernels;

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
enum Set {
    U32(u32),
    U64(u64),
    I32(i32),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(&'static str),
    Numbers(Vec<i32>),
}

/// A golden file to be written again with changes.
struct Edited<'a> {
    gguf: Gguf<'a>,
    family: &'a str,
    /// Keys to leave out.
    without: Vec<String>,
    set: Vec<(String, Set)>,
    /// Names of tensors to leave out, or their last parts after a dot.
    without_tensors: Vec<String>,
    /// Tensors to write instead of others, or in addition.
    tensors: Vec<(String, GgmlType, Vec<u64>, Vec<u8>)>,
}

impl<'a> Edited<'a> {
    fn new(file: &'a FileBytes) -> Self {
        let gguf = file.gguf();
        let family = gguf.require_str("general.architecture").unwrap();
        Edited { gguf, family, without: vec![], set: vec![], without_tensors: vec![], tensors: vec![] }
    }

    fn name(&self, key: &str) -> String {
        match key.starts_with("general.") {
            true => key.to_owned(),
            false => format!("{}.{key}", self.family),
        }
    }

    fn without(mut self, key: &str) -> Self {
        self.without.push(self.name(key));
        self
    }

    fn set(mut self, key: &str, value: Set) -> Self {
        self.set.push((self.name(key), value));
        self
    }

    fn without_tensor(mut self, end: &str) -> Self {
        self.without_tensors.push(end.to_owned());
        self
    }

    fn tensor(mut self, name: &str, like: &TensorInfo<'_>, data: Vec<u8>) -> Self {
        self.tensors.push((name.to_owned(), like.ty, like.shape().to_vec(), data));
        self
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.gguf.u32_value((self.family, key)).ok().flatten()
    }

    fn file(&self) -> FileBytes {
        let mut writer = GgufWriter::new();
        let is_set = |key: &str| self.set.iter().any(|(set, _)| set == key);
        for (key, value) in self.gguf.metadata() {
            if !is_set(key) && !self.without.iter().any(|without| without == key) {
                writer.put(key, value).unwrap();
            }
        }
        for (key, value) in &self.set {
            match value {
                Set::U32(value) => writer.put(key, Value::U32(*value)),
                Set::U64(value) => writer.put(key, Value::U64(*value)),
                Set::I32(value) => writer.put(key, Value::I32(*value)),
                Set::F32(value) => writer.put(key, Value::F32(*value)),
                Set::F64(value) => writer.put(key, Value::F64(*value)),
                Set::Bool(value) => writer.put(key, Value::Bool(*value)),
                Set::Text(value) => writer.put_str(key, value),
                Set::Numbers(values) => writer.put_i32s(key, values),
            }
            .unwrap();
        }
        let mut data: Vec<Cow<'_, [u8]>> = Vec::new();
        for tensor in self.gguf.tensors() {
            let is_replaced = self.tensors.iter().any(|(name, ..)| name == tensor.name);
            let is_without = |end: &String| match tensor.name.strip_suffix(end.as_str()) {
                Some(rest) => rest.is_empty() || rest.ends_with('.'),
                None => false,
            };
            if !is_replaced && !self.without_tensors.iter().any(is_without) {
                writer.declare_tensor(tensor.name, tensor.ty, tensor.shape()).unwrap();
                data.push(self.gguf.tensor_data(tensor).unwrap().into());
            }
        }
        for (name, ty, shape, bytes) in &self.tensors {
            writer.declare_tensor(name, *ty, shape).unwrap();
            data.push(bytes.into());
        }
        let mut file = Vec::new();
        let mut tensors = writer
            .write_header(|bytes: &[u8]| {
                file.extend_from_slice(bytes);
                Ok::<(), std::convert::Infallible>(())
            })
            .unwrap();
        data.iter().for_each(|data| tensors.write(data).unwrap());
        tensors.finish().unwrap();
        FileBytes::new(&file)
    }

    fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, String> {
        logits(&self.file().gguf(), tokens)
    }
}

fn logits(gguf: &Gguf<'_>, tokens: &[u32]) -> Result<Vec<f32>, String> {
    let n_tokens = tokens.len();
    let options = SessionOptions {
        n_ctx: n_tokens,
        n_batch: n_tokens,
        n_logits: n_tokens,
        kv_type: KvType::F32,
        precision: Precision::Quantized,
    };
    let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes())).map_err(|error| error.to_string())?;
    let needed_bytes =
        Session::required_bytes(model.config(), &options).map_err(|error| error.to_string())?;
    let mut memory = vec![0; needed_bytes + llm::arena::ALIGN];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory)
        .map_err(|error| error.to_string())?;
    Ok(session.forward(tokens, Logits::All).map_err(|error| error.to_string())?.to_vec())
}

fn family(name: &str) -> &'static Architecture {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).unwrap()
}

/// The optional keys of a family, with their defaults, except those whose values the tensors determine.
fn defaults(file: &Edited<'_>) -> Vec<(&'static str, Set)> {
    let architecture = family(file.family);
    let number = |key| file.number(key).unwrap();
    let mut defaults = vec![
        ("rope.freq_base", Set::F32(10_000.0)),
        ("rope.scaling.type", Set::Text("linear")),
        ("rope.scaling.factor", Set::F32(0.0)),
        ("rope.scaling.attn_factor", Set::F32(1.0)),
        ("rope.scaling.original_context_length", Set::U32(number("context_length"))),
        ("rope.scaling.yarn_beta_fast", Set::F32(32.0)),
        ("rope.scaling.yarn_beta_slow", Set::F32(1.0)),
        ("rope.scaling.yarn_log_multiplier", Set::F32(0.0)),
        ("rope.scaling.finetuned", Set::Bool(true)),
        ("expert_group_count", Set::U32(0)),
        ("expert_group_count", Set::U32(1)),
        ("expert_weights_scale", Set::F32(0.0)),
        ("expert_weights_norm", Set::Bool(false)),
        ("nextn_predict_layers", Set::U32(0)),
        ("attention.temperature_scale", Set::F32(0.0)),
        ("attention.clamp_kqv", Set::F32(0.0)),
        ("attention.scale", Set::F32(0.0)),
        ("attn_logit_softcapping", Set::F32(if file.family == "grok" { 30.0 } else { 50.0 })),
        ("final_logit_softcapping", Set::F32(final_softcap(file.family))),
        ("attention.value_scale", Set::F32(1.0)),
        ("attention.output_scale", Set::F32(0.088_388_346)),
        ("rope.scaling.alpha", Set::F32(0.0)),
        ("num_loops", Set::U32(1)),
        ("skip_loop_final_norm", Set::Bool(false)),
        (
            "embedding_scale",
            Set::F32(match file.family {
                "minicpm" => 12.0,
                "grok" => 78.383_67,
                _ => 0.0,
            }),
        ),
    ];
    if file.number("attention.head_count").is_some() {
        let head_len = number("embedding_length") / number("attention.head_count");
        let is_default = |key| file.number(key).is_none_or(|length| length == head_len);
        if is_default("attention.key_length") && is_default("attention.value_length") {
            defaults.push(("attention.key_length", Set::U32(head_len)));
            defaults.push(("attention.value_length", Set::U32(head_len)));
        }
        let rope_len = file.number("attention.key_length").unwrap_or(head_len);
        let is_whole = file.number("rope.dimension_count") == Some(rope_len);
        if is_whole && file.number("rope.dimension_count_swa").is_none() {
            defaults.push(("rope.dimension_count", Set::U32(rope_len)));
        }
        if file.number("attention.head_count_kv") == file.number("attention.head_count") {
            defaults.push(("attention.head_count_kv", Set::U32(number("attention.head_count"))));
        }
    }
    defaults.push(("logit_scale", Set::F32(if file.family == "grok" { 0.577_350_26 } else { 0.0 })));
    if file.family != "minicpm" {
        defaults.push(("residual_scale", Set::F32(0.0)));
    }
    if file.family == "mpt" {
        defaults.push(("attention.max_alibi_bias", Set::F32(0.0)));
    }
    match architecture.window {
        Window::OrLength { length, .. } | Window::AtLayers { length, .. } => {
            defaults.push(("attention.sliding_window", Set::U32(length as u32)));
        }
        Window::Optional { .. }
        | Window::MaybeSymmetric { .. }
        | Window::Everywhere
        | Window::Fixed { .. } => defaults.push(("attention.sliding_window", Set::U32(0))),
        Window::None
        | Window::Chunked { .. }
        | Window::Required { .. }
        | Window::Symmetric { .. }
        | Window::Pattern => {}
    }
    match architecture.window {
        Window::Required { period }
        | Window::OrLength { period, .. }
        | Window::Optional { period }
        | Window::AtLayers { period, .. }
        | Window::Fixed { period, .. }
        | Window::Symmetric { period }
        | Window::MaybeSymmetric { period }
        | Window::Chunked { period } => {
            defaults.push(("attention.sliding_window_pattern", Set::U32(period as u32)));
        }
        Window::None | Window::Pattern | Window::Everywhere => {}
    }
    // What the reference requires has no default; minicpm's follows from its width, grok's own come with it.
    defaults.retain(|(key, _)| {
        let is_derived = match file.family {
            "minicpm" => *key == "logit_scale",
            "grok" => key.starts_with("rope.scaling.yarn"),
            _ => false,
        };
        !is_derived && !architecture.required.keys.contains(key)
    });
    defaults
}

/// The default limit that logits are softly capped at, where the family reads the key.
fn final_softcap(family: &str) -> f32 {
    if matches!(family, "gemma2" | "gemma3n" | "gemma4") { 30.0 } else { 0.0 }
}

/// Values that have no meaning in the family, or that repeat the default. (llama.cpp's own writer puts some of them into files
/// of every family.)
fn harmless(file: &Edited<'_>) -> Vec<(&'static str, Set)> {
    let architecture = family(file.family);
    let number = |key| file.number(key);
    let mut values = vec![
        ("rope.scaling.original_context_length", Set::U32(0)),
        ("rope.scaling.original_context_length", Set::U32(u32::MAX)),
        ("general.name", Set::Text("")),
        ("general.name", Set::U32(7)),
        ("decoder_start_token_id", Set::I32(-1)),
        ("pooling_type", Set::U32(u32::MAX)),
        ("n_deepstack_layers", Set::U32(0)),
    ];
    if number("rope.scaling.original_context_length").is_some() {
        values.drain(..2);
    }
    if file.gguf.tensor("position_embd.weight").is_none()
        && (number("rope.scaling.original_context_length").is_some()
            || number("rope.scaling.type").is_none()
                && file.gguf.get((file.family, "rope.scaling.type")).is_none())
    {
        values.push(("context_length", Set::U32(u32::MAX)));
    }
    if number("rope.scaling.factor").is_none()
        && file.gguf.get((file.family, "rope.scaling.factor")).is_none()
    {
        values.push(("rope.scale_linear", Set::F32(0.0)));
        values.push(("rope.scale_linear", Set::F64(1.0)));
    }
    if !architecture.reads("attention.shared_kv_layers") {
        values.push(("attention.shared_kv_layers", Set::U32(99)));
        if !architecture.reads("ple.layers") {
            values.push(("embedding_length_per_layer_input", Set::U32(7)));
        }
    }
    if number("attention.kv_lora_rank").is_none() {
        for key in ["attention.q_lora_rank", "attention.kv_lora_rank", "attention.key_length_mla"] {
            values.push((key, Set::U32(0)));
        }
    }
    if number("interleave_moe_layer_step").is_none() {
        values.push(("interleave_moe_layer_step", Set::U32(0)));
    }
    if number("leading_dense_block_count").is_none() && number("expert_count").is_none() {
        values.push(("leading_dense_block_count", Set::Text("none")));
    }
    for key in
        ["rope.scaling.yarn_beta_fast", "rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_ext_factor"]
    {
        if !architecture.reads(key) {
            values.push((key, Set::F32(0.3)));
        }
    }
    if number("expert_group_count").is_none_or(|count| count < 2) {
        values.push(("expert_group_used_count", Set::U32(0)));
        values.push(("expert_group_used_count", Set::U32(8)));
    }
    if number("expert_count").is_none() {
        values.push(("expert_count", Set::U32(0)));
        values.push(("expert_used_count", Set::U32(0)));
    }
    if architecture.window == Window::None {
        values.push(("attention.sliding_window", Set::U32(2)));
        values.push(("attention.sliding_window_pattern", Set::U32(1)));
    }
    if architecture.rope_layers != RopeLayers::UnlessNotFinetuned {
        values.push(("rope.scaling.finetuned", Set::Bool(false)));
    }
    // One number, and the same for each layer; any width of an integer, either of a float.
    for key in ["attention.head_count", "attention.head_count_kv", "feed_forward_length", "expert_used_count"]
    {
        if let Some(value) = number(key) {
            let n_layer = number("block_count").unwrap();
            values.push((key, Set::Numbers(vec![value as i32; n_layer as usize])));
            values.push((key, Set::U64(value.into())));
            values.push((key, Set::I32(value as i32)));
        }
    }
    if let Ok(Some(base)) = file.gguf.f32_value((file.family, "rope.freq_base")) {
        values.push(("rope.freq_base", Set::F64(base.into())));
    }
    values
}

/// Reports the differences.
fn compare(what: &str, got: Result<Vec<f32>, String>, expected: &Result<Vec<f32>, String>) -> Option<String> {
    match (got, expected) {
        (Err(error), _) => Some(format!("{what}: {error}")),
        (Ok(_), Err(error)) => Some(format!("{what}: {error}, written out")),
        (Ok(got), Ok(expected)) if got != *expected => Some(format!("{what}: other logits")),
        _ => None,
    }
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_missing_key_means_its_default() {
    let mut failures = Vec::new();
    for case in cases("architectures") {
        let file = case.file();
        for (key, default) in defaults(&Edited::new(&file)) {
            let explicit = Edited::new(&file).set(key, default).logits(&case.tokens);
            let without = Edited::new(&file).without(key).logits(&case.tokens);
            failures.extend(compare(&format!("{} without {key}", case.name), without, &explicit));
        }
    }
    assert_none(&failures);
}

#[test]
fn values_that_mean_nothing_change_nothing() {
    let mut failures = Vec::new();
    for case in cases("architectures") {
        let file = case.file();
        let expected = Edited::new(&file).logits(&case.tokens);
        for (key, value) in harmless(&Edited::new(&file)) {
            let what = format!("{} with {key} {value:?}", case.name);
            let got = Edited::new(&file).set(key, value).logits(&case.tokens);
            failures.extend(compare(&what, got, &expected));
        }
    }
    assert_none(&failures);
}

/// A window of 0 positions ends nowhere or does not exist; the longest possible window has the same effect.
#[test]
fn a_window_of_nothing_is_one_without_an_end() {
    const WINDOW: &str = "attention.sliding_window";
    let mut n_cases = 0;
    let mut failures = Vec::new();
    for case in cases("architectures") {
        let architecture = family(&case.architecture);
        if matches!(
            architecture.window,
            Window::None
                | Window::Chunked { .. }
                | Window::Optional { .. }
                | Window::Fixed { .. }
                | Window::Symmetric { .. }
                | Window::MaybeSymmetric { .. }
        ) {
            continue;
        }
        let file = case.file();
        let zero = Edited::new(&file).set(WINDOW, Set::U32(0)).logits(&case.tokens);
        let endless = Edited::new(&file).set(WINDOW, Set::U32(u32::MAX)).logits(&case.tokens);
        failures.extend(compare(&case.name, zero, &endless));
        n_cases += 1;
    }
    assert_none(&failures);
    assert!(n_cases >= 8, "{n_cases} cases with windows");
}

/// The part of a tensor's name that says what the tensor is.
fn part(name: &str) -> &str {
    match name.strip_prefix("enc.").unwrap_or(name).strip_prefix("blk.") {
        Some(rest) => rest.split_once('.').map_or(rest, |(_, part)| part),
        None => name,
    }
}

#[test]
fn tensors_that_the_reference_does_without_can_be_missing() {
    let mut failures = Vec::new();
    let mut n_missing = 0;
    for case in cases("architectures") {
        let file = case.file();
        let gguf = file.gguf();
        let is_required = |wanted: &str| case.required.iter().any(|required| part(required) == wanted);
        let mut parts: Vec<&str> = gguf.tensors().iter().map(|tensor| part(tensor.name)).collect();
        parts.sort_unstable();
        parts.dedup();
        for missing in parts.into_iter().filter(|part| !is_required(part)) {
            // Three projections or one: without it, the other form is missed.
            if matches!(missing, "attn_qkv.weight" | "attn_gate.weight" | "attn_q_a_norm.weight") {
                continue;
            }
            // The reference loads a file of which no layer has it, but does not compute with it.
            if missing == "attn_rel_b.weight" {
                continue;
            }
            // Without a router, the layer's feed-forward block is missed.
            if case.architecture == "jamba" && missing == "ffn_gate_inp.weight" {
                continue;
            }
            // The reference does not ask whether a block that it does without is there as a whole, nor which of two
            // names a normalisation has.
            let is_part_of_a_block = missing.starts_with("ffn_") || missing.starts_with("time_mix_lerp_");
            if matches!(
                case.architecture.as_str(),
                "grok"
                    | "hy_v3"
                    | "mimo2"
                    | "kimi-linear"
                    | "kimi-k3"
                    | "nemotron_h_moe"
                    | "minimax-01"
                    | "rwkv6"
            ) && (is_part_of_a_block || missing == "layer_output_norm.weight")
            {
                continue;
            }
            let without = gguf.tensors().iter().filter(|tensor| part(tensor.name) == missing);
            let edited =
                without.fold(Edited::new(&file), |edited, tensor| edited.without_tensor(tensor.name));
            n_missing += 1;
            match edited.logits(&case.tokens) {
                Ok(_) => {}
                // What belongs to it is left over.
                Err(error)
                    if error.contains("has no place")
                        && error.contains(missing.trim_end_matches("weight")) => {}
                Err(error) => failures.push(format!("{} without {missing}: {error}", case.name)),
            }
        }
    }
    assert_none(&failures);
    assert!(n_missing > 50, "{n_missing} are optional");
}

#[test]
fn a_missing_bias_is_one_of_zeros() {
    let mut failures = Vec::new();
    let mut n_biases = 0;
    for case in cases("architectures") {
        let file = case.file();
        let gguf = file.gguf();
        for bias in ["attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_qkv.bias", "attn_output.bias"] {
            let of_layers: Vec<_> =
                gguf.tensors().iter().filter(|tensor| part(tensor.name) == bias).collect();
            if of_layers.is_empty() || case.required.iter().any(|required| part(required) == bias) {
                continue;
            }
            let zeros = of_layers.iter().fold(Edited::new(&file), |edited, tensor| {
                edited.tensor(tensor.name, tensor, vec![0; tensor.size_bytes as usize])
            });
            let without = Edited::new(&file).without_tensor(bias).logits(&case.tokens);
            failures.extend(compare(
                &format!("{} without {bias}", case.name),
                without,
                &zeros.logits(&case.tokens),
            ));
            n_biases += 1;
        }
    }
    assert_none(&failures);
    assert!(n_biases >= 12, "{n_biases} biases are optional");
}

/// The golden case with this name.
fn case(name: &str) -> Case {
    cases("architectures").into_iter().find(|case| case.name == name).unwrap()
}

fn of_f32s(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// The elements of a tensor, doubled: multiplication by a power of two rounds nothing.
fn doubled(gguf: &Gguf<'_>, tensor: &TensorInfo<'_>) -> Vec<u8> {
    let data = gguf.tensor_data(tensor).unwrap();
    match tensor.ty {
        GgmlType::F32 => {
            of_f32s(data.chunks_exact(4).map(|x| 2.0 * f32::from_le_bytes(x.try_into().unwrap())))
        }
        _ => {
            let halves = data.chunks_exact(2).map(|x| half::f16::from_le_bytes([x[0], x[1]]));
            halves.flat_map(|x| (x * half::f16::from_f32(2.0)).to_le_bytes()).collect()
        }
    }
}

/// The tensors that are doubled so that a factor of one half beside a projection changes nothing. The factor multiplies the
/// bias of a dense feed-forward block, but not the bias of another projection.
#[test]
fn a_scale_beside_a_matrix_multiplies_what_it_gives() {
    let of_layer = |part: &str| format!("blk.0.{part}");
    let scaled = [
        ("llama", "output".to_owned(), vec!["output.weight".to_owned()], 1),
        ("llama-bias", of_layer("attn_q"), vec![of_layer("attn_q.weight")], 1),
        ("llama-bias", of_layer("attn_output"), vec![of_layer("attn_output.weight")], 1),
        ("llama-bias", of_layer("ffn_up"), ["ffn_up.weight", "ffn_up.bias"].map(of_layer).to_vec(), 1),
        ("llama-bias", of_layer("ffn_down"), ["ffn_down.weight", "ffn_down.bias"].map(of_layer).to_vec(), 1),
        ("qwen3moe", of_layer("ffn_up_exps"), vec![of_layer("ffn_up_exps.weight")], 6),
        // These families' feed-forward blocks have no use for factors.
        ("arcee", of_layer("ffn_up"), vec![], 1),
        ("olmoe", of_layer("ffn_down_exps"), vec![], 6),
    ];
    for (name, part, parts_doubled, count) in scaled {
        let case = case(name);
        let file = case.file();
        let gguf = file.gguf();
        let expected = Edited::new(&file).logits(&case.tokens).unwrap();
        let mut factors = *gguf.tensor("blk.0.attn_norm.weight").unwrap_or(&gguf.tensors()[0]);
        factors.ty = GgmlType::F32;
        (factors.dims, factors.n_dims) = ([count, 1, 1, 1], 1);
        let of = |factor: f32| of_f32s((0..count).map(|_| factor));
        let mut edited = Edited::new(&file).tensor(&format!("{part}.scale"), &factors, of(0.5)).tensor(
            &format!("{part}.input_scale"),
            &factors,
            of(3.0),
        );
        for name in &parts_doubled {
            let tensor = gguf.tensor(name).unwrap();
            edited = edited.tensor(name, tensor, doubled(&gguf, tensor));
        }
        assert_eq!(edited.logits(&case.tokens).unwrap(), expected, "{name}: {part}");
    }
}

#[test]
fn a_layer_without_heads_passes_the_stream_on() {
    let case = case("deci");
    let file = case.file();
    let gguf = file.gguf();
    let output = gguf.tensor("blk.2.attn_output.weight").unwrap();
    let zeros = vec![0; output.size_bytes as usize];
    let expected = Edited::new(&file).tensor(output.name, output, zeros).logits(&case.tokens).unwrap();
    let without = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"].into_iter().fold(
        Edited::new(&file)
            .set("attention.head_count", Set::Numbers(vec![4, 0, 0]))
            .set("attention.head_count_kv", Set::Numbers(vec![2, 0, 0])),
        |edited, part| edited.without_tensor(&format!("blk.2.{part}.weight")),
    );
    assert_eq!(without.logits(&case.tokens).unwrap(), expected);
}

#[test]
fn a_layer_with_query_heads_only_is_linear() {
    let case = case("deci");
    let file = case.file();
    let without = ["attn_q", "attn_k", "attn_v"].into_iter().fold(
        Edited::new(&file).set("attention.head_count_kv", Set::Numbers(vec![2, 0, 0])),
        |edited, part| edited.without_tensor(&format!("blk.2.{part}.weight")),
    );
    let together = without.logits(&case.tokens).unwrap();
    // In a model of linear layers alone, a token's logits would not depend on those before it; here the first layer
    // still attends, and the first token sees itself only.
    let alone = without.logits(&case.tokens[..1]).unwrap();
    assert_eq!(together[..alone.len()], alone);
    assert_ne!(together, Edited::new(&file).logits(&case.tokens).unwrap());
}

#[test]
fn experts_can_have_gate_and_up_in_one_tensor() {
    let case = case("deepseek2");
    let file = case.file();
    let gguf = file.gguf();
    let mut edited =
        Edited::new(&file).without_tensor("ffn_gate_exps.weight").without_tensor("ffn_up_exps.weight");
    for layer in 1..3 {
        let tensor = |part: &str| gguf.tensor(&format!("blk.{layer}.{part}.weight")).unwrap();
        let (gate, up) = (tensor("ffn_gate_exps"), tensor("ffn_up_exps"));
        let n_expert = gate.dims[2] as usize;
        let of_expert = |info| {
            let data = gguf.tensor_data(info).unwrap();
            data.chunks_exact(data.len() / n_expert)
        };
        let data = of_expert(gate).zip(of_expert(up)).flat_map(|(gate, up)| [gate, up].concat()).collect();
        let mut fused = *gate;
        fused.dims[1] *= 2;
        edited = edited.tensor(&format!("blk.{layer}.ffn_gate_up_exps.weight"), &fused, data);
    }
    assert_eq!(edited.logits(&case.tokens), Edited::new(&file).logits(&case.tokens));
}

#[test]
fn biases_can_be_apart_though_the_weights_are_together() {
    let case = case("codeshell");
    let file = case.file();
    let gguf = file.gguf();
    let mut edited = Edited::new(&file).without_tensor("attn_qkv.bias");
    for layer in 0..2 {
        let bias = gguf.tensor(&format!("blk.{layer}.attn_qkv.bias")).unwrap();
        let data = gguf.tensor_data(bias).unwrap();
        // 4 heads of queries, 2 of keys and of values, 6 elements each.
        for (name, at) in [("attn_q", 0..24), ("attn_k", 24..36), ("attn_v", 36..48)] {
            let mut own = *bias;
            own.dims[0] = at.len() as u64;
            edited = edited.tensor(
                &format!("blk.{layer}.{name}.bias"),
                &own,
                data[4 * at.start..4 * at.end].to_vec(),
            );
        }
    }
    assert_eq!(edited.logits(&case.tokens), Edited::new(&file).logits(&case.tokens));
}

#[test]
fn a_layer_that_shares_keys_and_values_has_as_many_heads_of_them_and_ignores_its_own() {
    let case = case("gemma4-shared-kv");
    let file = case.file();
    let gguf = file.gguf();
    let more = Edited::new(&file).set("attention.head_count_kv", Set::Numbers(vec![2, 2, 2, 2, 4, 2]));
    let refused = more.logits(&case.tokens).unwrap_err();
    assert!(refused.contains("as many as the layer has whose keys and values are shared"), "{refused}");
    // Queries of layer 4 in one tensor with keys and values that nobody uses.
    let query = gguf.tensor("blk.4.attn_q.weight").unwrap();
    let mut data = gguf.tensor_data(query).unwrap().to_vec();
    data.resize(2 * data.len(), 0);
    let mut fused = *query;
    fused.dims[1] *= 2;
    let fused = Edited::new(&file)
        .without_tensor("4.attn_q.weight")
        .tensor("blk.4.attn_qkv.weight", &fused, data)
        .logits(&case.tokens);
    assert_eq!(fused, Edited::new(&file).logits(&case.tokens));
}

#[test]
fn a_model_that_embeds_by_its_output_matrix_has_no_other() {
    let case = case("codeshell");
    let file = case.file();
    let gguf = file.gguf();
    let output = gguf.tensor("output.weight").unwrap();
    let data = gguf.tensor_data(output).unwrap().to_vec();
    let expected = Edited::new(&file).tensor("token_embd.weight", output, data).logits(&case.tokens);
    assert_eq!(Edited::new(&file).without_tensor("token_embd.weight").logits(&case.tokens), expected);
}

#[test]
fn what_scores_texts_is_not_needed_to_continue_them() {
    for (name, extra) in
        [("qwen3", "cls.output.weight"), ("bert", "cls.weight"), ("gemma3", "dense_2.weight")]
    {
        let case = case(name);
        let file = case.file();
        let gguf = file.gguf();
        // One row: as many as there are scores in a file that does not name any.
        let mut row = *gguf.tensor("token_embd.weight").unwrap();
        (row.dims[1], row.n_dims) = (1, 2);
        let data = gguf.tensor_data(gguf.tensor("token_embd.weight").unwrap()).unwrap();
        let data = data[..2 * row.dims[0] as usize].to_vec();
        let with = Edited::new(&file).tensor(extra, &row, data).logits(&case.tokens);
        assert_eq!(with, Edited::new(&file).logits(&case.tokens), "{name}");
    }
}

#[test]
fn a_pattern_can_be_numbers() {
    let case = case("cohere2-pattern");
    let file = case.file();
    let with = |numbers: &[i32]| {
        let numbers = Set::Numbers(numbers.to_vec());
        Edited::new(&file).set("attention.sliding_window_pattern", numbers).logits(&case.tokens)
    };
    let expected = Edited::new(&file).logits(&case.tokens);
    assert_eq!(with(&[0, 1, 0]), expected);
    // Layers behind its end have no window.
    assert_eq!(with(&[0, 1]), expected);
    assert_ne!(with(&[0]), expected);
}

#[test]
fn an_indexers_keys_have_room_for_what_is_turned() {
    // Without a key that says how much of a head is turned, it is all of it.
    let case = case("qwen4exp");
    let file = case.file();
    let edited = Edited::new(&file).without("rope.dimension_count");
    let short = edited.number("attention.key_length").unwrap() - 2;
    let error = edited.set("attention.indexer.key_length", Set::U32(short)).logits(&case.tokens).unwrap_err();
    assert!(
        error.contains(&format!("attention.indexer.key_length is {short}, expected at least")),
        "{error}"
    );
}

#[test]
fn sections_make_glm_a_model_that_sees_images() {
    // Then its pairs are halves; the default of no sections is zeros.
    let case = case("glm4");
    let file = case.file();
    let expected = Edited::new(&file).logits(&case.tokens).unwrap();
    let sections = |lens: [i32; 4]| {
        Edited::new(&file).set("rope.dimension_sections", Set::Numbers(lens.into())).logits(&case.tokens)
    };
    assert_eq!(sections([0; 4]).unwrap(), expected);
    assert_ne!(sections([1, 1, 0, 0]).unwrap(), expected);
}

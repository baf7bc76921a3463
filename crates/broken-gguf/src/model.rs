//! Files that follow the format, but are no model that could be run.

use alloc::vec::Vec;

use llm::gguf::Value;
use llm::quant::GgmlType;

use crate::file::{Entry, File};

pub(crate) fn kinds(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    [keys(file), tensors(file)].concat()
}

/// Hyper-parameters that are missing or impossible.
fn keys(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let without = |key: &str| {
        file.with(|file| {
            file.entry(key);
            file.remove(key);
        })
    };
    let set = |key: &str, value| file.with(|file| file.set(key, value));
    let u32 = |key: &str, value| set(key, Value::U32(value));
    let f32 = |key: &str, value| set(key, Value::F32(value));
    let text = |key: &str, value: &'static str| set(key, Value::String(value.into()));
    [
        ("no-metadata", file.with(|file| file.metadata.clear())),
        ("no-architecture", without("general.architecture")),
        ("architecture-unknown", text("general.architecture", "perceptron")),
        ("architecture-number", u32("general.architecture", 7)),
        ("architecture-of-another-family", text("general.architecture", "gpt2")),
        ("architecture-not-utf8", { file.with(|file| file.entry("general.architecture").value[8] = 0xff) }),
        ("no-context-length", without("llama.context_length")),
        ("no-embedding-length", without("llama.embedding_length")),
        ("no-block-count", without("llama.block_count")),
        ("no-feed-forward-length", without("llama.feed_forward_length")),
        ("no-head-count", without("llama.attention.head_count")),
        ("no-epsilon", without("llama.attention.layer_norm_rms_epsilon")),
        ("context-length-zero", u32("llama.context_length", 0)),
        ("embedding-length-huge", u32("llama.embedding_length", u32::MAX)),
        ("embedding-length-text", text("llama.embedding_length", "32")),
        ("embedding-length-float", f32("llama.embedding_length", 32.0)),
        ("embedding-length-negative", set("llama.embedding_length", Value::I32(-32))),
        ("embedding-length-beyond-32-bits", set("llama.embedding_length", Value::U64((1 << 32) + 32))),
        ("block-count-zero", u32("llama.block_count", 0)),
        ("block-count-one-more", u32("llama.block_count", 3)),
        ("block-count-one-less", u32("llama.block_count", 1)),
        ("block-count-huge", u32("llama.block_count", u32::MAX)),
        ("head-count-zero", u32("llama.attention.head_count", 0)),
        ("head-count-no-divisor", u32("llama.attention.head_count", 5)),
        ("head-count-kv-zero", u32("llama.attention.head_count_kv", 0)),
        ("head-count-kv-no-divisor", u32("llama.attention.head_count_kv", 3)),
        ("head-count-array", {
            let array = Entry::array("llama.attention.head_count", 10, 0, &[]);
            file.with(|file| *file.entry("llama.attention.head_count") = array)
        }),
        ("epsilon-negative", f32("llama.attention.layer_norm_rms_epsilon", -1e-5)),
        ("epsilon-not-a-number", f32("llama.attention.layer_norm_rms_epsilon", f32::NAN)),
        ("epsilon-integer", u32("llama.attention.layer_norm_rms_epsilon", 1)),
        ("rope-dimensions-odd", u32("llama.rope.dimension_count", 7)),
        ("rope-dimensions-beyond-head", u32("llama.rope.dimension_count", 16)),
        ("rope-base-zero", f32("llama.rope.freq_base", 0.0)),
        ("rope-base-infinite", f32("llama.rope.freq_base", f32::INFINITY)),
        ("rope-scaling-unknown", text("llama.rope.scaling.type", "spiral")),
    ]
    .into()
}

/// Tensors that are missing, superfluous or of the wrong kind.
fn tensors(file: &File) -> Vec<(&'static str, Vec<u8>)> {
    let without = |name: &str| {
        file.with(|file| {
            file.tensor(name);
            file.remove_tensor(name);
        })
    };
    let transposed = |name: &str| file.with(|file| file.tensor(name).dims.reverse());
    [
        ("no-tensors", file.with(|file| file.tensors.clear())),
        ("no-embedding", without("token_embd.weight")),
        ("no-query-matrix", without("blk.1.attn_q.weight")),
        ("no-norm", without("blk.0.ffn_norm.weight")),
        ("no-output-norm", without("output_norm.weight")),
        ("tensor-renamed", {
            file.with(|file| file.tensor("blk.1.ffn_up.weight").name = "blk.1.ffn_upp.weight".into())
        }),
        ("tensor-of-no-layer", {
            file.with(|file| {
                let mut extra = file.tensor("output_norm.weight").clone();
                extra.name = "blk.0.attn_mystery.weight".into();
                extra.offset = file.data.len().next_multiple_of(32) as u64;
                file.data.resize(extra.offset as usize + 32 * 4, 0);
                file.tensors.push(extra);
            })
        }),
        ("embedding-transposed", transposed("token_embd.weight")),
        ("key-matrix-transposed", transposed("blk.0.attn_k.weight")),
        ("feed-forward-transposed", transposed("blk.0.ffn_down.weight")),
        ("norm-too-short", file.with(|file| file.tensor("output_norm.weight").dims[0] -= 8)),
        ("norm-of-two-dimensions", {
            file.with(|file| file.tensor("output_norm.weight").dims = [8, 4].into())
        }),
        ("norm-of-integers", file.with(|file| file.tensor("output_norm.weight").ty = GgmlType::I32.id())),
        ("matrix-of-integers", file.with(|file| file.tensor("blk.0.attn_q.weight").ty = GgmlType::I32.id())),
        ("fewer-tokens-than-rows", {
            let tokens = Entry::array("tokenizer.ggml.tokens", 8, 1, &[1, 0, 0, 0, 0, 0, 0, 0, b'a']);
            file.with(|file| *file.entry("tokenizer.ggml.tokens") = tokens)
        }),
    ]
    .into()
}

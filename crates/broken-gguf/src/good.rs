//! A whole model of a few dozen kilobytes.

use alloc::{format, string::String, vec::Vec};

use llm::gguf::GgufWriter;
use llm::quant::GgmlType;

const N_LAYER: u32 = 2;
const N_EMBD: u64 = 32;
const N_HEAD: u32 = 4;
const N_HEAD_KV: u32 = 2;
const N_EMBD_KV: u64 = N_EMBD / N_HEAD as u64 * N_HEAD_KV as u64;
const N_FF: u64 = 64;
const N_CTX: u32 = 64;

/// A llama model with random weights and a vocabulary of bytes and small letters. Always the same.
pub fn good() -> Vec<u8> {
    let tokens = tokens();
    let mut writer = GgufWriter::new();
    let mut tensors: Vec<(String, Vec<u64>)> = Vec::new();
    let n_vocab = tokens.len() as u64;
    tensors.push(("token_embd.weight".into(), [N_EMBD, n_vocab].into()));
    for layer in 0..N_LAYER {
        for (part, dims) in [
            ("attn_norm", &[N_EMBD][..]),
            ("attn_q", &[N_EMBD, N_EMBD]),
            ("attn_k", &[N_EMBD, N_EMBD_KV]),
            ("attn_v", &[N_EMBD, N_EMBD_KV]),
            ("attn_output", &[N_EMBD, N_EMBD]),
            ("ffn_norm", &[N_EMBD]),
            ("ffn_gate", &[N_EMBD, N_FF]),
            ("ffn_up", &[N_EMBD, N_FF]),
            ("ffn_down", &[N_FF, N_EMBD]),
        ] {
            tensors.push((format!("blk.{layer}.{part}.weight"), dims.into()));
        }
    }
    tensors.push(("output_norm.weight".into(), [N_EMBD].into()));
    tensors.push(("output.weight".into(), [N_EMBD, n_vocab].into()));

    let mut put_all = || {
        writer.put_str("general.architecture", "llama")?;
        writer.put_str("general.name", "good")?;
        writer.put_u32("llama.context_length", N_CTX)?;
        writer.put_u32("llama.embedding_length", N_EMBD as u32)?;
        writer.put_u32("llama.block_count", N_LAYER)?;
        writer.put_u32("llama.feed_forward_length", N_FF as u32)?;
        writer.put_u32("llama.attention.head_count", N_HEAD)?;
        writer.put_u32("llama.attention.head_count_kv", N_HEAD_KV)?;
        writer.put_f32("llama.attention.layer_norm_rms_epsilon", 1e-5)?;
        writer.put_f32("llama.rope.freq_base", 10_000.0)?;
        writer.put_u32("llama.rope.dimension_count", N_EMBD as u32 / N_HEAD)?;
        writer.put_str("tokenizer.ggml.model", "llama")?;
        writer.put_strings("tokenizer.ggml.tokens", tokens.iter().map(|token| &token.text))?;
        let scores: Vec<f32> = tokens.iter().map(|token| token.score).collect();
        writer.put_f32s("tokenizer.ggml.scores", &scores)?;
        let types: Vec<i32> = tokens.iter().map(|token| token.ty).collect();
        writer.put_i32s("tokenizer.ggml.token_type", &types)?;
        writer.put_u32("tokenizer.ggml.unknown_token_id", 0)?;
        writer.put_u32("tokenizer.ggml.bos_token_id", 1)?;
        writer.put_u32("tokenizer.ggml.eos_token_id", 2)?;
        tensors.iter().try_for_each(|(name, dims)| writer.declare_tensor(name, GgmlType::F32, dims))
    };
    put_all().expect("memory for a small header");

    let mut file = Vec::new();
    let mut random = Random(1);
    let write = || {
        let mut out = writer.write_header(|bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok::<(), llm::gguf::GgufError>(())
        })?;
        for (name, dims) in &tensors {
            let is_norm = name.contains("norm");
            for _ in 0..dims.iter().product() {
                let weight = if is_norm { 1.0 } else { random.next() };
                out.write(&weight.to_le_bytes())?;
            }
        }
        out.finish()
    };
    write().expect("a good file");
    file
}

struct Token {
    text: String,
    score: f32,
    /// `llama_token_type`: 1 normal, 2 unknown, 3 control, 6 byte.
    ty: i32,
}

fn tokens() -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut add = |text: String, score, ty| tokens.push(Token { text, score, ty });
    add("<unk>".into(), 0.0, 2);
    add("<s>".into(), 0.0, 3);
    add("</s>".into(), 0.0, 3);
    for byte in 0..=255u8 {
        add(format!("<0x{byte:02X}>"), 0.0, 6);
    }
    for (rank, letter) in ('a'..='z').chain(['▁']).enumerate() {
        add(letter.into(), -(rank as f32), 1);
    }
    tokens
}

/// A linear congruential generator (Knuth's MMIX constants): weights need no better.
struct Random(u64);

impl Random {
    /// From -0.25 to 0.25.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5) / 2.0
    }
}

//! Converts checkpoints. scripts/golden/checkpoints.py, family_checkpoints.py and encoder_checkpoints.py made them and the
//! expected values.

use std::path::{Path, PathBuf};

use llm::gguf::Gguf;
use llm::quant::{GgmlType, dequantize};

use crate::{fail_saying, scratch_file, succeed, text_path};

/// From phi3 on, the logits or hidden states come from the package transformers, except Nomic's and Jina's.
const PLAIN: [&str; 34] = [
    "llama-plain",
    "qwen2-plain",
    "qwen3-plain",
    "qwen3_moe-plain",
    "granite-plain",
    "smollm3-plain",
    "olmo2-plain",
    "bert-plain",
    "phi3-plain",
    "phi3-longrope-plain",
    "gemma2-plain",
    "gemma3-plain",
    "gemma3-linear-plain",
    "qwen3_5-plain",
    "qwen3_5_moe-plain",
    "lfm2-plain",
    "xlm-roberta-plain",
    "xlm-roberta-model-plain",
    "modernbert-plain",
    "roberta-plain",
    "roberta-classifier-plain",
    "camembert-plain",
    "distilbert-plain",
    "bert-classifier-plain",
    "xlm-roberta-classifier-plain",
    "modernbert-classifier-plain",
    "t5-plain",
    "t5-relu-plain",
    "nomic_bert-plain",
    "nomic_bert_moe-plain",
    "jina-bert-v2-plain",
    "jina-bert-v2-code-plain",
    "jina-bert-v3-plain",
    "eurobert-plain",
];
/// Those for which the scores of a text are known too.
const CLASSIFIERS: [&str; 4] = [
    "roberta-classifier-plain",
    "bert-classifier-plain",
    "xlm-roberta-classifier-plain",
    "modernbert-classifier-plain",
];
/// The first has its inputs in the order of their activations; the last has the zeros of the format's second version.
const GPTQ: [&str; 3] = ["llama-gptq-4-act", "qwen2-gptq-8-symmetric", "qwen3_moe-gptq-4"];
/// Each with the number of matrices that are quantised; all experts of a layer count as one.
const AWQ: [(&str, usize); 4] =
    [("llama-awq-32", 14), ("llama-awq-128-symmetric", 14), ("qwen2-awq-64", 14), ("qwen3_moe-awq-32", 14)];

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn read_text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// The sum of squared differences divided by the sum of squares, for the logits of a converted file.
fn logits_nmse(name: &str, file: &str) -> f64 {
    let floats = |path: &Path| -> Vec<f64> {
        let bytes = std::fs::read(path).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
    };
    // Beside the model: several tests ask for those of one checkpoint at the same time.
    let output = format!("{file}.logits");
    let tokens = read_text(&checkpoint(name).join("tokens"));
    succeed(&[
        "logits",
        "--model",
        file,
        "--tokens",
        &tokens,
        "--kv-type",
        "f32",
        "--exact",
        "--output",
        &output,
    ]);
    let (got, want) = (floats(Path::new(&output)), floats(&checkpoint(name).join("logits")));
    assert_eq!(got.len(), want.len());
    let error: f64 = got.iter().zip(&want).map(|(got, want)| (got - want).powi(2)).sum();
    error / want.iter().map(|want| want * want).sum::<f64>()
}

#[test]
fn plain_checkpoints_give_the_logits_of_the_original_model() {
    for name in PLAIN {
        let file = scratch_file(&format!("{name}.gguf"));
        succeed(&["convert", "--hf", &text_path(&checkpoint(name)), &file]);
        let nmse = logits_nmse(name, &file);
        assert!(nmse < 1e-9, "{name}: {nmse:e}");
    }
}

#[test]
fn classifiers_give_the_scores_of_the_original_model() {
    for name in CLASSIFIERS {
        let file = scratch_file(&format!("{name}-scores.gguf"));
        succeed(&["convert", "--hf", &text_path(&checkpoint(name)), &file, "--type", "F32"]);
        let text = read_text(&checkpoint(name).join("text"));
        let shown = succeed(&["embed", "--model", &file, "--pooling", "rank", "--no-normalise", &text]);
        let numbers =
            |line: &str| line.split_whitespace().map(|n| n.parse::<f64>().unwrap()).collect::<Vec<_>>();
        let (got, want) = (numbers(&shown), numbers(&read_text(&checkpoint(name).join("scores"))));
        assert_eq!(got.len(), want.len(), "{name}");
        // Activations are rounded to 8 bits before each product.
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-3, "{name}: {got}, expected {want}");
        }
    }
}

#[test]
fn awq_checkpoints_give_the_logits_of_the_weights_they_stand_for() {
    for (name, n_quantized) in AWQ {
        let file = scratch_file(&format!("{name}.gguf"));
        succeed(&["convert", "--awq", &text_path(&checkpoint(name)), &file]);
        let nmse = logits_nmse(name, &file);
        // All that is lost is the rounding of `zero · scale` to f16: 2^-11 of it at most.
        assert!(nmse < 1e-5, "{name}: {nmse:e}");
        assert!(succeed(&["info", "--model", &file]).contains(&format!("{n_quantized} of Q4_1")), "{name}");
    }
}

#[test]
fn gptq_checkpoints_give_the_logits_of_the_weights_they_stand_for() {
    for name in GPTQ {
        let file = scratch_file(&format!("{name}.gguf"));
        succeed(&["convert", "--hf", &text_path(&checkpoint(name)), &file, "--type", "F32"]);
        let nmse = logits_nmse(name, &file);
        assert!(nmse < 1e-9, "{name}: {nmse:e}");
        // Products of a scale and a whole number, rounded to F16.
        succeed(&["convert", "--hf", &text_path(&checkpoint(name)), &file]);
        let nmse = logits_nmse(name, &file);
        assert!(nmse < 1e-5, "{name}: {nmse:e}");
    }
}

#[test]
fn converted_vocabularies_give_the_ids_of_the_original_tokenizer() {
    for (name, flag) in [
        ("bert-plain", "--hf"),
        ("llama-plain", "--hf"),
        ("qwen2-plain", "--hf"),
        ("phi3-plain", "--hf"),
        ("gemma2-plain", "--hf"),
        ("lfm2-plain", "--hf"),
        ("xlm-roberta-plain", "--hf"),
        ("xlm-roberta-model-plain", "--hf"),
        ("modernbert-plain", "--hf"),
        ("roberta-plain", "--hf"),
        ("camembert-plain", "--hf"),
        ("distilbert-plain", "--hf"),
        ("t5-plain", "--hf"),
        ("nomic_bert_moe-plain", "--hf"),
        ("jina-bert-v2-code-plain", "--hf"),
        ("qwen2-awq-64", "--awq"),
    ] {
        let file = scratch_file(&format!("{name}-vocabulary.gguf"));
        succeed(&["convert", flag, &text_path(&checkpoint(name)), &file]);
        let text = text_path(&checkpoint(name).join("text"));
        let ids = succeed(&["tokenize", "--model", &file, "--no-bos", "--file", &text]);
        assert_eq!(ids.trim_end(), read_text(&checkpoint(name).join("ids")), "{name}");
    }
}

#[test]
fn matrices_can_be_written_in_another_type() {
    let directory = text_path(&checkpoint("llama-plain"));
    let file = scratch_file("llama-q8_0.gguf");
    succeed(&["convert", "--hf", &directory, &file, "--type", "Q8_0"]);
    assert!(succeed(&["info", "--model", &file]).contains("16 of Q8_0"));
    // 8 bits of each weight: an error of some 1e-4.
    let nmse = logits_nmse("llama-plain", &file);
    assert!(nmse > 1e-9 && nmse < 1e-3, "{nmse:e}");
}

/// Rows of 64 and 128 weights are not a whole number of K blocks, so they get the types that llama.cpp uses instead.
#[test]
fn k_types_fall_back_where_their_blocks_do_not_fit() {
    let directory = text_path(&checkpoint("qwen2-plain"));
    let plain = scratch_file("to-mixture.gguf");
    succeed(&["convert", "--hf", &directory, &plain]);
    for (name, file_type, base, line) in [
        (
            "Q4_K_M",
            15,
            GgmlType::Q5_0,
            "15 matrices have rows that are no whole number of blocks: 3 in Q8_0 instead of Q6_K, 12 in Q5_0 instead of Q4_K\n",
        ),
        ("q4_k", 15, GgmlType::Q5_0, "15 matrices"),
        ("q4_k_s", 14, GgmlType::Q5_0, "12 in Q5_0 instead of Q4_K, 2 in Q5_1 instead of Q5_K"),
        ("Q5_K_M", 17, GgmlType::Q5_1, "Q5_1 instead of Q5_K"),
        ("Q6_K", 18, GgmlType::Q8_0, "Q8_0 instead of Q6_K"),
    ] {
        let converted = scratch_file(&format!("converted-{name}.gguf"));
        let told = succeed(&["convert", "--hf", &directory, &converted, "--type", name]);
        assert!(told.contains(line), "{name}: {told}");
        let quantized = scratch_file(&format!("quantized-{name}.gguf"));
        assert_eq!(succeed(&["quantize", &plain, &quantized, name]), told);
        for file in [converted, quantized] {
            let bytes = std::fs::read(&file).unwrap();
            let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
            assert_eq!(gguf.u32_value("general.file_type"), Ok(Some(file_type)), "{name}");
            let ty = |tensor: &str| gguf.tensor(tensor).unwrap().ty;
            assert_eq!(ty("token_embd.weight"), GgmlType::Q8_0, "{name}");
            assert_eq!(ty("blk.0.attn_q.weight"), base, "{name}");
            assert!(gguf.tensors().iter().all(|tensor| tensor.ty != GgmlType::F16), "{name}");
            let nmse = logits_nmse("qwen2-plain", &file);
            assert!(nmse > 1e-9 && nmse < 1e-2, "{name}: {nmse:e}");
        }
    }
}

#[test]
fn mistakes_are_explained() {
    let out = scratch_file("never.gguf");
    let plain = text_path(&checkpoint("llama-plain"));
    let awq = text_path(&checkpoint("llama-awq-32"));
    let gptq = text_path(&checkpoint("llama-gptq-4-act"));
    fail_saying(&["convert", &out], &["--awq <DIR>"]);
    fail_saying(&["convert", "--hf", "/nowhere", &out], &["/nowhere: config.json: there is no such file"]);
    fail_saying(&["convert", "--hf", &awq, &out], &["--awq"]);
    fail_saying(&["convert", "--awq", &plain, &out], &["--hf"]);
    fail_saying(&["convert", "--awq", &gptq, &out], &["GPTQ", "--hf"]);
    for name in ["IQ1_S", "IQ3_M"] {
        fail_saying(
            &["convert", "--hf", &plain, &out, "--type", name],
            &[name, "expected one of", "Q8_0", "Q4_K_M"],
        );
    }
    assert!(!Path::new(&out).exists(), "half a file is left behind");
}

#[test]
fn broken_checkpoints_are_refused_by_name() {
    let source = checkpoint("qwen2-plain");
    let broken = |name: &str, file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let directory = PathBuf::from(scratch_file(name));
        std::fs::create_dir_all(&directory).unwrap();
        for entry in ["config.json", "tokenizer.json", "model.safetensors"] {
            let bytes = std::fs::read(source.join(entry)).unwrap();
            std::fs::write(directory.join(entry), if entry == file { change(bytes) } else { bytes }).unwrap();
        }
        text_path(&directory)
    };
    let replaced = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replacen(from, to, 1).into_bytes()
    };
    let out = scratch_file("never-2.gguf");
    for (name, file, change, parts) in [
        (
            "other-family",
            "config.json",
            &replaced("qwen2", "mamba") as &dyn Fn(Vec<u8>) -> Vec<u8>,
            ["model_type", "mamba"],
        ),
        (
            "other-width",
            "config.json",
            &replaced(r#""intermediate_size": 128"#, r#""intermediate_size": 96"#),
            ["gate_proj", "96"],
        ),
        ("no-json", "config.json", &|_| b"{".to_vec(), ["config.json", "EOF"]),
        (
            "truncated",
            "model.safetensors",
            &|bytes| bytes[..bytes.len() / 2].to_vec(),
            ["model.safetensors", ""],
        ),
        ("empty", "model.safetensors", &|_| Vec::new(), ["model.safetensors", ""]),
        ("no-tokenizer", "tokenizer.json", &|_| b"[]".to_vec(), ["tokenizer.json", ""]),
    ] {
        let directory = broken(name, file, change);
        fail_saying(&["convert", "--hf", &directory, &out], &parts);
    }
}

#[test]
fn quantize_changes_the_matrices_only() {
    let plain = scratch_file("to-quantize.gguf");
    succeed(&["convert", "--hf", &text_path(&checkpoint("qwen2-plain")), &plain, "--type", "F32"]);
    let quantized = scratch_file("quantized.gguf");
    succeed(&["quantize", &plain, &quantized, "Q5_1"]);

    let (before, after) = (std::fs::read(&plain).unwrap(), std::fs::read(&quantized).unwrap());
    let before = Gguf::parse(&before, before.len() as u64).unwrap();
    let after = Gguf::parse(&after, after.len() as u64).unwrap();
    assert_eq!(before.metadata().len(), after.metadata().len());
    assert_eq!(before.tensors().len(), after.tensors().len());
    for (from, to) in before.tensors().iter().zip(after.tensors()) {
        assert_eq!((from.name, from.dims), (to.name, to.dims));
        let (from_bytes, to_bytes) = (before.tensor_data(from).unwrap(), after.tensor_data(to).unwrap());
        if from.dims[1] == 1 {
            assert_eq!((to.ty, from_bytes), (GgmlType::F32, to_bytes), "{}", from.name);
            continue;
        }
        assert_eq!(to.ty, GgmlType::Q5_1, "{}", from.name);
        let values = |ty, bytes| {
            let mut values = vec![0.0_f32; from.n_elements() as usize];
            dequantize(ty, bytes, &mut values);
            values
        };
        let (want, got) = (values(from.ty, from_bytes), values(to.ty, to_bytes));
        let error: f32 = got.iter().zip(&want).map(|(got, want)| (got - want).powi(2)).sum();
        let square: f32 = want.iter().map(|want| want * want).sum();
        assert!(error / square < 2e-3, "{}: {}", from.name, error / square);
    }
    fail_saying(&["quantize", &plain, &plain, "Q4_0"], &["read and written at once"]);
    fail_saying(&["quantize", &plain, &quantized, "Q9_9"], &["Q9_9"]);
}

#[test]
fn importances_are_used_and_named() {
    let plain = scratch_file("to-weigh.gguf");
    succeed(&["synth", "--shape", "n_embd=256,n_ff=256,n_ctx=64", "--type", "F32", "-o", &plain]);
    let bytes = std::fs::read(&plain).unwrap();
    let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
    let is_measured =
        |name: &str| name.starts_with("blk.") && name.ends_with("weight") && !name.contains("norm");
    let tensors = gguf.tensors().iter().filter(|tensor| is_measured(tensor.name));
    let entries: Vec<_> = tensors.map(|tensor| (tensor.name, tensor.dims[0])).collect();
    // The older format: a name, in how many calls it was measured, and the sums over them.
    let mut list = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, n_cols) in &entries {
        list.extend((name.len() as i32).to_le_bytes());
        list.extend(name.as_bytes());
        list.extend(2_i32.to_le_bytes());
        list.extend((*n_cols as i32).to_le_bytes());
        list.extend((0..*n_cols).flat_map(|column| (0.5 + (column % 7) as f32).to_le_bytes()));
    }
    list.extend(9_i32.to_le_bytes());
    list.extend(5_i32.to_le_bytes());
    list.extend(b"a.txt");
    let imatrix = scratch_file("importances.dat");
    std::fs::write(&imatrix, &list).unwrap();

    let [weighed, unweighed] = ["weighed.gguf", "unweighed.gguf"].map(scratch_file);
    let told = succeed(&["quantize", &plain, &weighed, "Q3_K_S", "--imatrix", &imatrix]);
    assert!(told.starts_with(&format!("{imatrix} has no importances for ")), "{told}");
    assert!(told.contains("token_embd.weight") && told.lines().count() == 1, "{told}");
    succeed(&["quantize", &plain, &unweighed, "Q3_K_S"]);
    let [weighed, unweighed] = [weighed, unweighed].map(|path| std::fs::read(path).unwrap());
    let weighed = Gguf::parse(&weighed, weighed.len() as u64).unwrap();
    let unweighed = Gguf::parse(&unweighed, unweighed.len() as u64).unwrap();
    assert_eq!(weighed.str_value("quantize.imatrix.file").unwrap(), Some(&imatrix[..]));
    assert_eq!(weighed.str_value("quantize.imatrix.dataset").unwrap(), Some("a.txt"));
    assert_eq!(weighed.u32_value("quantize.imatrix.entries_count").unwrap(), Some(entries.len() as u32));
    assert_eq!(weighed.u32_value("quantize.imatrix.chunks_count").unwrap(), Some(9));
    assert_eq!(weighed.u32_value("general.file_type").unwrap(), Some(11));
    assert!(unweighed.get("quantize.imatrix.file").is_none());
    for (a, b) in weighed.tensors().iter().zip(unweighed.tensors()) {
        assert_eq!((a.name, a.ty), (b.name, b.ty));
        let differ = weighed.tensor_data(a).unwrap() != unweighed.tensor_data(b).unwrap();
        assert_eq!(differ, is_measured(a.name), "{}", a.name);
    }

    let out = scratch_file("not-written.gguf");
    fail_saying(&["quantize", &plain, &out, "Q2_K_S"], &["Q2_K needs the importance", "--imatrix FILE"]);
    succeed(&["quantize", &plain, &out, "Q2_K_S", "--imatrix", &imatrix]);
    std::fs::write(&imatrix, &list[..list.len() / 2]).unwrap();
    fail_saying(
        &["quantize", &plain, &out, "Q4_K_M", "--imatrix", &imatrix],
        &["importances.dat", "within entry"],
    );
    fail_saying(&["quantize", &plain, &out, "Q4_K_M", "--imatrix", &plain], &["expected imatrix"]);
}

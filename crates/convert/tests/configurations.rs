//! The older and newer forms of config.json, and the other files that can hold its contents.

use std::collections::BTreeMap;

use convert::Matrices;
use llm::gguf::Gguf;
use llm::quant::GgmlType;
use serde_json::{Value, json};

mod common;

use common::{F16, change_header, checkpoint, converted, refused};

/// The keys that begin with `qwen2.rope`: numbers and texts.
fn rope_keys(keys: Value) -> BTreeMap<String, String> {
    let (file, _) = converted(&checkpoint("qwen2-plain", keys), F16);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let rope =
        gguf.metadata().filter_map(|(key, value)| Some((key.strip_prefix("qwen2.rope.scaling.")?, value)));
    rope.map(|(key, value)| (key.to_owned(), value.to_string())).collect()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_kind_of_rope_has_two_names() {
    let linear = map(&[("factor", "2"), ("type", "linear")]);
    for scaling in [
        json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }),
        json!({ "rope_scaling": { "rope_type": "linear", "factor": 2.0 } }),
        json!({ "rope_scaling": { "type": "linear", "rope_type": "linear", "factor": 2.0 } }),
        // The newer name counts, as in transformers.
        json!({ "rope_scaling": { "type": "su", "rope_type": "linear", "factor": 2.0 } }),
        json!({ "rope_parameters": { "type": "linear", "rope_type": "linear", "factor": 2, "rope_theta": 5000.0 } }),
        json!({ "rope_scaling": null, "rope_parameters": { "full_attention": { "rope_type": "linear", "factor": 2.0 } } }),
    ] {
        assert_eq!(rope_keys(scaling.clone()), linear, "{scaling}");
    }
    for scaling in [json!({ "type": "default" }), json!({ "rope_type": "default" }), Value::Null] {
        assert_eq!(rope_keys(json!({ "rope_scaling": scaling })), map(&[]), "{scaling}");
    }
    for kind in ["dynamic", "longrope", "su"] {
        let keys = json!({ "rope_scaling": { "type": kind, "factor": 2.0 } });
        refused(&checkpoint("qwen2-plain", keys), F16, &["rope_scaling", kind, "yarn"]);
    }
    let partial = json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.5 } });
    refused(&checkpoint("qwen2-plain", partial), F16, &["partial_rotary_factor is 0.5"]);
}

#[test]
fn yarn_keeps_its_factors() {
    let yarn = |keys: Value| {
        let mut scaling =
            json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64 });
        scaling.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        rope_keys(json!({ "rope_scaling": scaling }))
    };
    let plain = map(&[("factor", "4"), ("original_context_length", "64"), ("type", "yarn")]);
    assert_eq!(yarn(json!({})), plain);
    let with =
        |entries: &[(&str, &str)]| plain.clone().into_iter().chain(map(entries)).collect::<BTreeMap<_, _>>();
    assert_eq!(
        yarn(json!({ "beta_fast": 16, "beta_slow": 2.0 })),
        with(&[("yarn_beta_fast", "16"), ("yarn_beta_slow", "2")])
    );
    // What the engine and llama.cpp read is relative to 1 + 0.1 ln 4.
    for keys in [
        json!({ "attention_factor": 1.0 }),
        json!({ "attn_factor": 1.0 }),
        json!({ "mscale": 0.7, "mscale_all_dim": 0.7 }),
    ] {
        assert_eq!(yarn(keys), with(&[("yarn_attn_factor", "1"), ("attn_factor", "0.8782489")]));
    }
    assert_eq!(yarn(json!({ "mscale": 1.0, "mscale_all_dim": 0.0 })), plain);
    let scaling = json!({ "rope_scaling": { "type": "yarn", "factor": 4.0, "truncate": false } });
    refused(&checkpoint("qwen2-plain", scaling), F16, &["truncate"]);
    // Beside the scaling, or above it.
    let above =
        json!({ "original_max_position_embeddings": 64, "rope_scaling": { "type": "yarn", "factor": 4.0 } });
    assert_eq!(rope_keys(above), plain);
}

#[test]
fn mistral_is_of_the_llama_family() {
    let files = |window: Value| {
        checkpoint(
            "llama-awq-32",
            json!({ "model_type": "mistral", "sliding_window": window, "head_dim": null }),
        )
    };
    for window in [Value::Null, json!(4096)] {
        let (file, notes) = converted(&files(window), Matrices::Awq);
        assert_eq!(notes, [""; 0]);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        assert_eq!(gguf.str_value("general.architecture"), Ok(Some("llama")));
        assert_eq!(gguf.u32_value("llama.attention.head_count"), Ok(Some(4)));
        let llama = converted(&checkpoint("llama-awq-32", json!({})), Matrices::Awq).0;
        assert!(file == llama, "rows of queries and keys change places as in llama");
    }
    let (_, notes) = converted(&files(json!(64)), Matrices::Awq);
    assert!(matches!(&notes[..], [note] if note.contains("sliding_window 64")), "{notes:?}");
}

/// The keys that Granite's scales are written to.
#[test]
fn scales_have_keys_of_their_own() {
    let (file, _) = converted(&checkpoint("granite-plain", json!({ "embedding_multiplier": 12 })), F16);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    for (key, value) in
        [("attention.scale", 0.25), ("embedding_scale", 12.0), ("residual_scale", 0.5), ("logit_scale", 2.0)]
    {
        assert_eq!(gguf.f32_value(format!("granite.{key}").as_str()), Ok(Some(value)), "{key}");
    }
}

#[test]
fn what_a_family_has_no_way_to_say_is_refused() {
    for (name, keys, parts) in [
        ("qwen2-plain", json!({ "model_type": "gemma9" }), &["gemma9", "qwen3_moe", "olmo2"][..]),
        ("bert-plain", json!({ "position_embedding_type": "relative_key" }), &["position_embedding_type"]),
        ("bert-plain", json!({ "layer_norm_eps": null }), &["layer_norm_eps is missing"]),
        ("bert-plain", json!({ "hidden_act": "silu" }), &["hidden_act", "expected gelu"]),
        ("bert-plain", json!({ "type_vocab_size": 3 }), &["token_type_embeddings", "[3, 32]"]),
        ("bert-plain", json!({ "vocab_size": 99 }), &["word_embeddings", "[99, 32]"]),
        ("smollm3-plain", json!({ "no_rope_layers": [1, 0, 1, 0] }), &["no_rope_layers", "layer 1"]),
        ("qwen3_moe-plain", json!({ "norm_topk_prob": false }), &["norm_topk_prob"]),
        ("qwen3_moe-plain", json!({ "norm_topk_prob": null }), &["norm_topk_prob"]),
        ("qwen3_moe-plain", json!({ "mlp_only_layers": [0] }), &["mlp_only_layers"]),
        ("qwen3_moe-plain", json!({ "decoder_sparse_step": 2 }), &["decoder_sparse_step is 2"]),
        ("qwen3_moe-plain", json!({ "num_experts": 0 }), &["num_experts"]),
        ("qwen3_moe-plain", json!({ "num_experts": 5 }), &["mlp.gate.weight", "[5, 32]"]),
        ("qwen3_moe-plain", json!({ "num_experts_per_tok": 9 }), &["num_experts_per_tok"]),
        ("qwen3_moe-plain", json!({ "moe_intermediate_size": 31 }), &["experts.0.gate_proj"]),
    ] {
        refused(&checkpoint(name, keys), F16, parts);
    }
}

#[test]
fn an_encoder_says_how_texts_become_one_vector() {
    let with = |files: &[(&str, &str)]| {
        let mut all = checkpoint("bert-plain", json!({}));
        all.extend(files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
        all
    };
    let modules =
        r#"[{ "path": "", "type": "T.Transformer" }, { "path": "1_Pooling", "type": "T.Pooling" }]"#;
    for (pooling, expected) in [
        (r#"{ "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false }"#, Some(1)),
        (r#"{ "pooling_mode_cls_token": true }"#, Some(2)),
        (r#"{ "pooling_mode": "lasttoken" }"#, Some(3)),
    ] {
        let files = with(&[("modules.json", modules), ("1_Pooling/config.json", pooling)]);
        let (file, _) = converted(&files, F16);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        assert_eq!(gguf.u32_value("bert.pooling_type"), Ok(expected), "{pooling}");
    }
    let (file, _) = converted(&with(&[]), F16);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    assert_eq!(gguf.u32_value("bert.pooling_type"), Ok(None));
    assert_eq!(gguf.bool_value("bert.attention.causal"), Ok(Some(false)));

    let max = r#"{ "pooling_mode_max_tokens": true }"#;
    refused(&with(&[("modules.json", modules), ("1_Pooling/config.json", max)]), F16, &["1_Pooling", "mean"]);
    refused(&with(&[("modules.json", modules)]), F16, &["1_Pooling/config.json"]);
    let outside = r#"[{ "path": "../x", "type": "T.Pooling" }]"#;
    refused(&with(&[("modules.json", outside)]), F16, &["modules.json", "../x"]);
    let mut vocabulary: Value = serde_json::from_slice(&with(&[])["tokenizer.json"]).unwrap();
    vocabulary["normalizer"]["strip_accents"] = json!(false);
    refused(&with(&[("tokenizer.json", &vocabulary.to_string())]), F16, &["strip_accents"]);
    vocabulary["pre_tokenizer"] = Value::Null;
    refused(
        &with(&[("tokenizer.json", &vocabulary.to_string())]),
        F16,
        &["pre_tokenizer", "BertPreTokenizer"],
    );
}

#[test]
fn awq_is_told_by_any_of_its_names() {
    let config =
        |quantization: Value| checkpoint("llama-awq-32", json!({ "quantization_config": quantization }));
    let reference = converted(&checkpoint("llama-awq-32", json!({})), Matrices::Awq).0;
    for quantization in [
        json!({ "quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": true }),
        json!({ "w_bit": 4, "q_group_size": 32, "version": "GEMM" }),
        json!({ "quant_method": "awq", "bits": 4, "w_bit": 4, "group_size": 32, "q_group_size": 32 }),
    ] {
        assert!(converted(&config(quantization.clone()), Matrices::Awq).0 == reference, "{quantization}");
        let mut files = config(Value::Null);
        refused(&files, Matrices::Awq, &["quantization_config"]);
        files.insert("quant_config.json".to_owned(), quantization.to_string().into_bytes());
        assert!(converted(&files, Matrices::Awq).0 == reference, "{quantization}");
        refused(&files, F16, &["--awq"]);
    }
    let twice = json!({ "bits": 4, "w_bit": 3, "group_size": 32 });
    refused(&config(twice), Matrices::Awq, &["bits 4", "w_bit 3"]);
    let broken = {
        let mut files = config(Value::Null);
        files.insert("quant_config.json".to_owned(), b"[".to_vec());
        files
    };
    refused(&broken, Matrices::Awq, &["quant_config.json"]);
}

#[test]
fn experts_that_autoawq_quantised_are_one_tensor() {
    let files = checkpoint("qwen3_moe-awq-32", json!({}));
    let file = converted(&files, Matrices::Awq).0;
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let down = gguf.tensor("blk.1.ffn_down_exps.weight").unwrap();
    assert_eq!((down.ty, down.dims), (GgmlType::Q4_1, [32, 128, 4, 1]));
    for (part, expected) in [("qweight", "is missing"), ("scales", "is missing"), ("qzeros", "has no place")]
    {
        let mut files = files.clone();
        change_header(&mut files, |header| {
            let name = "model.layers.1.mlp.experts.2.up_proj.";
            let tensor = header.remove(&format!("{name}{part}")).unwrap();
            header.insert(format!("{name}other"), tensor);
        });
        refused(&files, Matrices::Awq, &["layers.1.mlp.experts.2.up_proj", expected]);
    }
    let narrow = checkpoint("qwen3_moe-awq-32", json!({ "moe_intermediate_size": 64 }));
    refused(&narrow, Matrices::Awq, &["experts.0.gate_proj", "[32, 128]", "[64, 128]"]);
}

#[test]
fn gptq_is_described_here_or_beside() {
    let described =
        json!({ "quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq" });
    let config =
        |quantization: Value| checkpoint("llama-gptq-4-act", json!({ "quantization_config": quantization }));
    let reference = converted(&checkpoint("llama-gptq-4-act", json!({})), F16).0;
    assert!(converted(&config(described), F16).0 == reference);
    // What AutoGPTQ wrote, without a method and a version.
    let beside = json!({ "bits": 4, "group_size": 32, "desc_act": true, "sym": false });
    let mut files = config(Value::Null);
    files.insert("quantize_config.json".to_owned(), beside.to_string().into_bytes());
    assert!(converted(&files, F16).0 == reference);
    let second =
        json!({ "quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2" });
    assert!(converted(&config(second), F16).0 != reference, "zeros are one less");
    for (key, value, parts) in [
        ("bits", json!(3), ["bits Some(3)", "2, 4 or 8"]),
        ("bits", Value::Null, ["bits None", "2, 4 or 8"]),
        ("bits", json!(8), ["model.layers.0.self_attn.q_proj.qzeros", "expected [2, 16]"]),
        ("group_size", json!(0), ["group_size 0", "-1"]),
        ("checkpoint_format", json!("marlin"), ["marlin", "gptq_v2"]),
        ("is_marlin_format", json!(true), ["marlin", "gptq_v2"]),
        ("quant_method", json!("bitsandbytes"), ["bitsandbytes", "--hf with --type"]),
    ] {
        let mut quantization = json!({ "quant_method": "gptq", "bits": 4, "group_size": 32 });
        quantization[key] = value;
        refused(&config(quantization), F16, &parts);
    }
}

#[test]
fn of_a_model_that_sees_the_part_for_texts_is_taken() {
    for (name, model_type, prefix) in [
        ("gemma3-plain", "gemma3", "language_model.model."),
        ("gemma3-plain", "gemma3", "model.language_model."),
        ("qwen3_5-plain", "qwen3_5", "model.language_model."),
    ] {
        let plain = checkpoint(name, json!({}));
        let reference = converted(&plain, F16).0;
        let mut files = plain;
        let text: Value = serde_json::from_slice(&files["config.json"]).unwrap();
        let whole = json!({
            "model_type": model_type, "_name_or_path": text["_name_or_path"], "hidden_size": 7,
            "tie_word_embeddings": text["tie_word_embeddings"], "text_config": text, "vision_config": {},
        });
        files.insert("config.json".to_owned(), whole.to_string().into_bytes());
        change_header(&mut files, |header| {
            let names: Vec<String> =
                header.keys().filter(|name| name.starts_with("model.")).cloned().collect();
            for name in names {
                let tensor = header.remove(&name).unwrap();
                header.insert(name.replacen("model.", prefix, 1), tensor);
            }
        });
        assert!(converted(&files, F16).0 == reference, "{name} {prefix}");
    }
}

#[test]
fn what_gemma_leaves_out_has_its_usual_value() {
    let reference = converted(&checkpoint("gemma3-plain", json!({})), F16).0;
    let usual = json!({
        "tie_word_embeddings": null, "layer_types": null, "hidden_activation": null, "use_bidirectional_attention": null,
        "sliding_window_pattern": 6,
    });
    assert!(converted(&checkpoint("gemma3-plain", usual), F16).0 == reference);
    for (name, keys, parts) in [
        (
            "gemma3-plain",
            json!({ "query_pre_attn_scalar": 16 }),
            ["query_pre_attn_scalar is 16", "expected 8"],
        ),
        (
            "gemma3-plain",
            json!({ "query_pre_attn_scalar": null }),
            ["query_pre_attn_scalar is 256", "expected 8"],
        ),
        (
            "gemma3-plain",
            json!({ "sliding_window_pattern": 5 }),
            ["sliding_window_pattern is 5", "expected 6"],
        ),
        (
            "gemma3-plain",
            json!({ "layer_types": ["full_attention"] }),
            ["layer 0", "expected sliding_attention"],
        ),
        ("gemma3-plain", json!({ "attn_logit_softcapping": 50.0 }), ["attn_logit_softcapping is 50", "none"]),
        (
            "gemma3-plain",
            json!({ "use_bidirectional_attention": true }),
            ["use_bidirectional_attention", "false"],
        ),
        ("gemma2-plain", json!({ "hidden_activation": "silu" }), ["silu", "gelu_pytorch_tanh"]),
    ] {
        refused(&checkpoint(name, keys), F16, &parts);
    }
}

#[test]
fn rotary_embeddings_for_long_texts_have_two_sets_of_factors() {
    let with = |changes: Value| {
        let mut rope = json!({
            "rope_type": "longrope", "long_factor": [1.5, 2.0, 3.0, 4.0], "short_factor": [1.0, 1.0, 1.0, 1.0],
        });
        rope.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        checkpoint("phi3-longrope-plain", json!({ "rope_parameters": null, "rope_scaling": rope }))
    };
    let factor = |changes| {
        let file = converted(&with(changes), F16).0;
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        assert!(gguf.tensor("rope_factors_long.weight").is_some());
        gguf.f32_value("phi3.rope.scaling.attn_factor").unwrap().unwrap()
    };
    // Of 128 positions, 64 were first: sqrt(1 + ln 2 / ln 64), and 0.1 ln 2 + 1.
    assert_eq!(factor(json!({})), 1.080_123_4);
    assert_eq!(factor(json!({ "rope_type": null, "type": "su" })), 1.080_123_4);
    assert_eq!(factor(json!({ "rope_type": "yarn" })), 1.069_314_7);
    assert_eq!(factor(json!({ "original_max_position_embeddings": 256 })), 1.0);
    for (changes, parts) in [
        (json!({ "long_factor": [1.0] }), ["1 numbers in long_factor", "expected 4"]),
        (json!({ "short_factor": [] }), ["0 numbers in short_factor", "expected 4"]),
        (json!({ "short_factor": null }), ["long_factor", "no short_factor"]),
        (json!({ "rope_type": "dynamic" }), ["dynamic", "expected longrope"]),
        (
            json!({ "original_max_position_embeddings": 0 }),
            ["original_max_position_embeddings is 0", "longer"],
        ),
        (json!({ "partial_rotary_factor": 0.1 }), ["partial_rotary_factor", "even part of 8"]),
        (json!({ "partial_rotary_factor": 1e30 }), ["partial_rotary_factor", "even part of 8"]),
        (json!({ "partial_rotary_factor": 2.0 }), ["partial_rotary_factor", "even part of 8"]),
    ] {
        refused(&with(changes), F16, &parts);
    }
}

#[test]
fn mixers_of_layers_are_those_that_are_known() {
    let all = json!(["linear_attention", "linear_attention", "linear_attention", "full_attention"]);
    let reference = converted(&checkpoint("qwen3_5-plain", json!({ "layer_types": all })), F16).0;
    let derived = json!({ "layer_types": null, "full_attention_interval": 4 });
    assert!(converted(&checkpoint("qwen3_5-plain", derived), F16).0 == reference);
    let by_index = json!({ "layer_types": null, "full_attn_idxs": [1] });
    let lfm2 = converted(&checkpoint("lfm2-plain", json!({})), F16).0;
    assert!(converted(&checkpoint("lfm2-plain", by_index), F16).0 == lfm2);
    for (name, keys, parts) in [
        ("qwen3_5-plain", json!({ "layer_types": ["full_attention"] }), ["layer_types has 1 entries", "4"]),
        ("qwen3_5-plain", json!({ "layer_types": ["mamba", "", "", ""] }), ["mamba", "linear_attention"]),
        ("qwen3_5-plain", json!({ "layer_types": ["conv", "", "", ""] }), ["conv", "linear_attention"]),
        ("qwen3_5-plain", json!({ "layer_types": null, "full_attention_interval": 0 }), ["interval", "0"]),
        ("qwen3_5-plain", json!({ "linear_num_key_heads": 3 }), ["linear_num_key_heads", "divisor"]),
        ("qwen3_5-plain", json!({ "linear_num_key_heads": 0 }), ["linear_num_key_heads is Some(0)", "1 to"]),
        ("qwen3_5-plain", json!({ "linear_value_head_dim": u32::MAX }), ["linear_value_head_dim", "1 to"]),
        ("qwen3_5-plain", json!({ "linear_conv_kernel_dim": 5 }), ["conv1d", "[64, 5]"]),
        ("qwen3_5-plain", json!({ "head_dim": 4_294_967_292_u32 }), ["q_proj", "config.json says"]),
        ("qwen3_5_moe-plain", json!({ "num_experts": 3 }), ["mlp.gate.weight has shape [4, 32]", "[3, 32]"]),
        (
            "qwen3_5_moe-plain",
            json!({ "moe_intermediate_size": 4_294_967_295_u32 }),
            ["gate_up_proj", "says"],
        ),
        (
            "qwen3_5_moe-plain",
            json!({ "shared_expert_intermediate_size": null }),
            ["shared_expert", "[0, 32]"],
        ),
        ("lfm2-plain", json!({ "conv_L_cache": 0 }), ["conv_L_cache", "positive"]),
        ("lfm2-plain", json!({ "block_multiple_of": 0 }), ["block_multiple_of", "0"]),
        ("lfm2-plain", json!({ "block_multiple_of": u32::MAX }), ["feed_forward.w1", "says"]),
        ("lfm2-plain", json!({ "block_ffn_dim_multiplier": 1e300 }), ["feed_forward.w1", "says"]),
        (
            "lfm2-plain",
            json!({ "full_attn_idxs": [0], "layer_types": null }),
            ["layers.0.self_attn", "missing"],
        ),
    ] {
        refused(&checkpoint(name, keys), F16, &parts);
    }
}

#[test]
fn filters_and_stacks_have_three_dimensions() {
    for (name, tensor, shape, part) in [
        (
            "lfm2-plain",
            "model.layers.0.conv.conv.weight",
            json!([1, 32, 3]),
            "has 3 dimensions, expected 1 or 2",
        ),
        ("lfm2-plain", "model.layers.0.conv.conv.weight", json!([3, 1, 32]), "has shape [3, 32]"),
        (
            "qwen3_5_moe-plain",
            "model.layers.0.mlp.experts.down_proj",
            json!([128, 16]),
            "2 dimensions, expected 3",
        ),
        (
            "qwen3_5_moe-plain",
            "model.layers.0.mlp.experts.down_proj",
            json!([4, 16, 32]),
            "has shape [4, 16, 32]",
        ),
    ] {
        let mut files = checkpoint(name, json!({}));
        change_header(&mut files, |header| header[tensor]["shape"] = shape.clone());
        refused(&files, F16, &[tensor, part]);
    }
}

#[test]
fn added_tokens_that_take_spaces_are_known_by_name_or_refused() {
    let with = |name: &str| {
        let mut files = checkpoint(name, json!({}));
        let mut settings: Value = serde_json::from_slice(&files["tokenizer_config.json"]).unwrap();
        settings["added_tokens_decoder"]["317"]["rstrip"] = true.into();
        files.insert("tokenizer_config.json".to_owned(), settings.to_string().into_bytes());
        files
    };
    let notes = converted(&with("phi3-plain"), F16).1;
    assert!(notes.iter().any(|note| note.contains("rstrip of added tokens is left out")), "{notes:?}");
    refused(&with("gemma2-plain"), F16, &["<|turn|>", "rstrip"]);
}

#[test]
fn unigram_vocabularies_that_do_otherwise_are_refused_by_name() {
    for (pointer, value, parts) in [
        ("/model/vocab", json!({}), ["tokenizer.json", "no vocab"]),
        ("/model/vocab/4", json!(["a"]), ["token 4", "a text and a score"]),
        ("/model/vocab", json!(vec![("a", 0.0); 41]), ["41 tokens", "vocab_size is 40"]),
        ("/normalizer", json!({ "type": "NFKC" }), ["NFKC", "expected Precompiled"]),
        ("/normalizer/precompiled_charsmap", json!("?"), ["precompiled_charsmap", "base64"]),
        ("/pre_tokenizer", json!({ "type": "WhitespaceSplit" }), ["pre-tokenizer", "Metaspace"]),
        ("/pre_tokenizer", json!([]), ["pre-tokenizer", "Metaspace"]),
        ("/added_tokens/0/id", json!(4_000_000_000_u32), ["<s>", "4000000000"]),
        ("/added_tokens/0/rstrip", json!(true), ["<s>", "rstrip"]),
    ] {
        let mut files = checkpoint("xlm-roberta-plain", json!({}));
        let mut file: Value = serde_json::from_slice(&files["tokenizer.json"]).unwrap();
        *file.pointer_mut(pointer).unwrap() = value;
        files.insert("tokenizer.json".to_owned(), file.to_string().into_bytes());
        refused(&files, F16, &parts);
    }
    // Beyond the model's tokens an added one is one all the same; what is no id of a token is none.
    let mut files = checkpoint("xlm-roberta-plain", json!({}));
    let mut file: Value = serde_json::from_slice(&files["tokenizer.json"]).unwrap();
    file["model"]["unk_id"] = json!(4_000_000_000_u32);
    file["added_tokens"][4]["id"] = json!(39);
    files.insert("tokenizer.json".to_owned(), file.to_string().into_bytes());
    converted(&files, F16);
    let mut files = checkpoint("xlm-roberta-model-plain", json!({}));
    files.insert("sentencepiece.bpe.model".to_owned(), vec![0xff; 9]);
    refused(&files, F16, &["sentencepiece.bpe.model", "no SentencePiece model"]);
}

#[test]
fn learned_positions_begin_behind_the_padding() {
    for (keys, parts) in [
        (
            json!({ "max_position_embeddings": 65 }),
            ["position_embeddings", "[66, 32], config.json says [65, 32]"],
        ),
        (json!({ "pad_token_id": u32::MAX }), ["position_embeddings", "config.json says"]),
        (json!({ "position_embedding_type": "relative_key" }), ["relative_key", "absolute"]),
    ] {
        refused(&checkpoint("xlm-roberta-plain", keys), F16, &parts);
    }
    for (pad, n_positions) in [(1, 64), (0, 65)] {
        let file = converted(&checkpoint("xlm-roberta-plain", json!({ "pad_token_id": pad })), F16).0;
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        assert_eq!(gguf.u32_value("bert.context_length"), Ok(Some(n_positions)));
        assert_eq!(gguf.tensor("position_embd.weight").unwrap().dims[1], u64::from(n_positions));
    }
}

#[test]
fn layers_that_see_all_are_every_nth_from_the_first_on() {
    let plain = converted(&checkpoint("modernbert-plain", json!({})), F16).0;
    let derived = json!({ "layer_types": null, "rope_parameters": null, "hidden_activation": null });
    assert!(converted(&checkpoint("modernbert-plain", derived), F16).0 == plain);
    for (keys, parts) in [
        (json!({ "global_attn_every_n_layers": 0 }), ["global_attn_every_n_layers is 0", ""]),
        (json!({ "layer_types": ["sliding_attention"] }), ["layer 0", "expected full_attention"]),
        (json!({ "hidden_activation": "relu" }), ["relu", "expected gelu or silu"]),
        (json!({ "num_hidden_layers": 3 }), ["layers.3.", "has no place"]),
    ] {
        refused(&checkpoint("modernbert-plain", keys), F16, &parts);
    }
}

#[test]
fn chat_templates_are_found_where_gguf_py_finds_them() {
    let templates = |more: &[(&str, &str)]| {
        let mut files = checkpoint("qwen2-plain", json!({}));
        files.extend(more.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
        let (file, _) = converted(&files, F16);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let of = |(key, value): (&str, llm::gguf::Value<'_>)| {
            let text = match value.as_array().and_then(|array| array.strings()) {
                Some(strings) => strings
                    .map(|text| String::from_utf8_lossy(text).into_owned())
                    .collect::<Vec<_>>()
                    .join(" "),
                None => value.to_string(),
            };
            Some((key.strip_prefix("tokenizer.chat_template")?.to_owned(), text))
        };
        gguf.metadata().filter_map(of).collect::<BTreeMap<_, _>>()
    };
    let named = r#"{ "chat_template": [{ "name": "tool-use", "template": "T" }, { "name": "default", "template": "D" }] }"#;
    let text = r#"{ "chat_template": "C" }"#;
    for (files, want) in [
        (&[][..], &[][..]),
        (&[("chat_template.jinja", "J")], &[("", "J")]),
        (&[("chat_template.json", r#"{ "chat_template": "S" }"#)], &[("", "S")]),
        (
            &[("chat_template.jinja", "J"), ("chat_template.json", r#"{ "chat_template": "S" }"#)],
            &[("", "J")],
        ),
        (&[("tokenizer_config.json", text), ("chat_template.jinja", "J")], &[("", "C")]),
        (&[("tokenizer_config.json", "{}"), ("chat_template.jinja", "J")], &[("", "J")]),
        (&[("tokenizer_config.json", named)], &[("", "D"), (".tool_use", "T"), ("s", "tool_use")]),
        (&[("chat_template.json", named)], &[("", "D"), (".tool_use", "T"), ("s", "tool_use")]),
        (
            &[
                ("chat_template.jinja", "J"),
                ("additional_chat_templates/rag.jinja", "R"),
                ("additional_chat_templates/tools.jinja", "T"),
                ("additional_chat_templates/README.md", "no template"),
            ],
            &[("", "J"), (".rag", "R"), (".tools", "T"), ("s", "rag tools")],
        ),
        // An empty one is none.
        (&[("chat_template.jinja", " \n")], &[]),
        (&[("tokenizer_config.json", r#"{ "chat_template": "" }"#)], &[]),
        (
            &[("tokenizer_config.json", r#"{ "chat_template": "" }"#), ("chat_template.jinja", "J")],
            &[("", "J")],
        ),
        (&[("tokenizer_config.json", r#"{ "chat_template": null }"#)], &[]),
    ] {
        assert_eq!(templates(files), map(want), "{files:?}");
    }
    let mut files = checkpoint("qwen2-plain", json!({}));
    files.insert("tokenizer_config.json".to_owned(), br#"{ "chat_template": 7 }"#.to_vec());
    refused(&files, F16, &["tokenizer_config.json", "chat_template is 7"]);
    files.insert("tokenizer_config.json".to_owned(), b"{}".to_vec());
    files.insert("chat_template.jinja".to_owned(), vec![0xff]);
    refused(&files, F16, &["chat_template.jinja"]);
}

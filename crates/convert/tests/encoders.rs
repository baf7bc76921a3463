//! Checkpoints of encoders: the names that their config.json uses, and which of their parts are converted.

mod common;

use std::collections::BTreeMap;

use common::{F16, change_header, checkpoint, converted, refused};
use convert::{Matrices, MatrixTypes, Mixture};
use llm::gguf::Gguf;
use llm::quant::GgmlType;
use serde_json::{Value, json};

/// The labels in a file.
fn labels(file: &[u8]) -> Option<Vec<String>> {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let labels = gguf.array_value("bert.classifier.output_labels").unwrap()?;
    Some(labels.strings().unwrap().map(|label| String::from_utf8_lossy(label).into_owned()).collect())
}

/// Replaces a part of tensor names.
fn rename(files: &mut BTreeMap<String, Vec<u8>>, from: &str, to: &str) {
    change_header(files, |header| {
        let names: Vec<String> = header.keys().filter(|name| name.contains(from)).cloned().collect();
        assert!(!names.is_empty(), "{from}");
        for name in names {
            let tensor = header.remove(&name).unwrap();
            header.insert(name.replace(from, to), tensor);
        }
    });
}

#[test]
fn norms_have_older_names() {
    let mut files = checkpoint("bert-plain", json!({}));
    let plain = converted(&files, F16).0;
    rename(&mut files, "LayerNorm.weight", "LayerNorm.gamma");
    rename(&mut files, "LayerNorm.bias", "LayerNorm.beta");
    assert!(converted(&files, F16).0 == plain);
}

#[test]
fn a_classifier_has_a_score_for_each_label() {
    for (name, keys, expected) in [
        ("roberta-classifier-plain", json!({}), Some(&["good", "bad", "neither"][..])),
        // In the order of their numbers.
        (
            "roberta-classifier-plain",
            json!({ "id2label": { "10": "c", "9": "b", "0": "a" } }),
            Some(&["a", "b", "c"]),
        ),
        ("bert-classifier-plain", json!({}), Some(&["LABEL_0"])),
        // Any model has these two.
        ("roberta-plain", json!({ "id2label": { "0": "LABEL_0", "1": "LABEL_1" } }), None),
        ("roberta-plain", json!({}), None),
        ("roberta-plain", json!({ "id2label": ["odd"] }), None),
    ] {
        let found = labels(&converted(&checkpoint(name, keys.clone()), F16).0);
        let expected =
            expected.map(|labels| labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{name} {keys}");
    }
    let two = json!({ "id2label": null });
    refused(
        &checkpoint("roberta-classifier-plain", two),
        F16,
        &["classifier.out_proj", "[3, 32]", "[2, 32]"],
    );
    let of_tokens = json!({ "architectures": ["RobertaForTokenClassification"] });
    refused(
        &checkpoint("roberta-classifier-plain", of_tokens),
        F16,
        &["ForTokenClassification", "ForSequenceClassification"],
    );
    converted(&checkpoint("roberta-classifier-plain", json!({ "architectures": null })), F16);
    // Without the last part there is no classifier, and the others have no place.
    let mut files = checkpoint("roberta-classifier-plain", json!({}));
    rename(&mut files, "classifier.out_proj", "classifier.other");
    refused(&files, F16, &["classifier.", "has no place"]);
}

#[test]
fn what_gguf_cannot_say_of_an_encoder_is_refused() {
    for (name, keys, parts) in [
        ("nomic_bert-plain", json!({ "prenorm": true }), ["prenorm is true", "[false]"]),
        ("nomic_bert-plain", json!({ "rotary_emb_scale_base": 512 }), ["rotary_emb_scale_base is 512", "[]"]),
        ("nomic_bert-plain", json!({ "n_positions": 4096 }), ["n_positions is 4096", "[8192,2048]"]),
        ("nomic_bert-plain", json!({ "activation_function": "gelu" }), ["hidden_act", "swiglu"]),
        ("nomic_bert_moe-plain", json!({ "moe_top_k": 5 }), ["moe_top_k", "num_experts"]),
        ("nomic_bert_moe-plain", json!({ "num_experts": 0 }), ["num_experts", "positive"]),
        ("nomic_bert_moe-plain", json!({ "num_experts": 8 }), ["mlp.router.layer", "[8, 32]"]),
        ("nomic_bert_moe-plain", json!({ "moe_every_n_layers": 1 }), ["mlp.fc1", "missing"]),
        ("nomic_bert_moe-plain", json!({ "moe_normalize_expert_weights": true }), ["normalize", "[false]"]),
        ("jina-bert-v2-plain", json!({ "feed_forward_type": "reglu" }), ["feed_forward_type", "geglu"]),
        ("t5-plain", json!({ "feed_forward_proj": "gated-silu" }), ["feed_forward_proj", "gated-gelu"]),
        ("t5-plain", json!({ "relative_attention_max_distance": 64 }), ["max_distance is 64", "128"]),
        ("t5-plain", json!({ "relative_attention_num_buckets": 16 }), ["relative_attention_bias", "[16, 4]"]),
    ] {
        refused(&checkpoint(name, keys), F16, &parts);
    }
    // Whole numbers are numbers with a point, too.
    converted(&checkpoint("nomic_bert-plain", json!({ "rotary_emb_fraction": 1 })), F16);
}

#[test]
fn nomic_has_the_positions_that_it_was_trained_for() {
    for (name, key, expected) in
        [("nomic_bert-plain", "nomic-bert", 2048), ("nomic_bert_moe-plain", "nomic-bert-moe", 512)]
    {
        let file = converted(&checkpoint(name, json!({})), F16).0;
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        assert_eq!(gguf.u32_value(format!("{key}.context_length").as_str()), Ok(Some(expected)));
    }
}

#[test]
fn parts_that_are_left_out_are_told() {
    let told = |name: &str| converted(&checkpoint(name, json!({})), F16).1.join("\n");
    assert!(told("jina-bert-v3-plain").contains("lora_adaptations"));
    assert!(told("nomic_bert_moe-plain").contains("bias of experts"));
    let mut files = checkpoint("t5-plain", json!({}));
    rename(&mut files, "encoder.block.1.", "decoder.block.1.");
    let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
    config["num_layers"] = json!(1);
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    let (file, notes) = converted(&files, F16);
    assert!(notes.iter().any(|note| note.contains("the decoder is left out")), "{notes:?}");
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    assert_eq!(gguf.u32_value("t5encoder.block_count"), Ok(Some(1)));
    assert!(gguf.tensor("enc.blk.1.attn_q.weight").is_none());
}

#[test]
fn t5_has_its_embedding_under_either_name() {
    let mut files = checkpoint("t5-plain", json!({}));
    let plain = converted(&files, F16).0;
    rename(&mut files, "shared.", "encoder.embed_tokens.");
    assert!(converted(&files, F16).0 == plain);
    // Its tokens are in either file, too.
    let model = files.remove("spiece.model").unwrap();
    refused(&files, F16, &["there is no tokenizer.json, nor tokenizer.model, nor spiece.model"]);
    files.insert("tokenizer.model".to_owned(), model);
    assert!(converted(&files, F16).0 == plain);
    files.insert("added_tokens.json".to_owned(), br#"{ "<sep>": 38, "<far>": 999 }"#.to_vec());
    let file = converted(&files, F16).0;
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokens = gguf.require_array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.strings().unwrap().nth(38).unwrap(), b"<sep>");
}

#[test]
fn scores_of_distances_stay_in_floats() {
    for (types, expected) in [
        (MatrixTypes::All(GgmlType::F32), GgmlType::F32),
        (MatrixTypes::All(GgmlType::Q8_0), GgmlType::F16),
        (MatrixTypes::Mixture(Mixture::Q6K), GgmlType::F16),
    ] {
        let file = converted(&checkpoint("t5-plain", json!({})), Matrices::Plain(types)).0;
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        assert_eq!(gguf.tensor("enc.blk.0.attn_rel_b.weight").unwrap().ty, expected);
    }
}

#[test]
fn camembert_has_its_tokens_in_tokenizer_json_alone() {
    let mut files = checkpoint("camembert-plain", json!({}));
    files.insert("sentencepiece.bpe.model".to_owned(), vec![0xff; 9]);
    converted(&files, F16);
    files.remove("tokenizer.json");
    refused(&files, F16, &["there is no tokenizer.json"]);
}

//! Golden models: a folder of small GGUF files, the logits that llama.cpp computes for them, and `manifest.json` with the
//! tokens and bounds of each. `scripts/golden` makes them. And the models of `test_models`, with llama.cpp's answers.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::{Model, ModelError};
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::session::{Logits, Session, SessionOptions};
use llm::simd::Kernels;
use serde_json::Value;
use zerocopy::IntoBytes;

/// With exact arithmetic, the only differences come from rounding in f32 sums.
const EXACT_LIMIT: f64 = 1e-9;

/// How much larger than llama.cpp's own error the error of quantised activations may be, for a model of `test_models`.
const TIMES_THE_REFERENCE: f64 = 2.0;

/// One model with its expected logits.
pub struct Case {
    folder: PathBuf,
    /// Where the expected logits are.
    answers: PathBuf,
    pub name: String,
    pub architecture: String,
    pub tokens: Vec<u32>,
    /// The bound for quantised activations.
    limit: f64,
    /// Keys and tensors without which llama.cpp refuses the file.
    pub required: Vec<String>,
}

/// All cases of a folder of `tests/golden`.
pub fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let case = |entry: &Value| Case {
        folder: folder.clone(),
        answers: folder.clone(),
        name: entry["name"].as_str().unwrap().to_owned(),
        architecture: entry["architecture"].as_str().unwrap().to_owned(),
        tokens: ids(&entry["tokens"]),
        limit: entry["limit"].as_f64().unwrap(),
        required: match entry["required"].as_array() {
            Some(names) => names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
            None => Vec::new(),
        },
    };
    manifest.as_array().unwrap().iter().map(case).collect()
}

/// A model of `test_models`, and all of llama.cpp's answers for it: test_models/README.md describes them.
pub fn test_model(name: &str) -> (Case, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models");
    let answers = folder.join("golden");
    let golden = fs::read_to_string(answers.join(format!("{name}.json"))).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let logits = &golden["logits"];
    let case = Case {
        folder,
        answers,
        name: name.to_owned(),
        architecture: "llama".to_owned(),
        tokens: ids(&logits["tokens"]),
        limit: TIMES_THE_REFERENCE * logits["nmse_of_quantised_run"].as_f64().unwrap(),
        required: Vec::new(),
    };
    (case, golden)
}

/// A list of token ids.
pub fn ids(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The byte range of a file in which an F32 tensor can be.
pub struct FileBytes {
    words: Vec<u64>,
    len: usize,
}

impl FileBytes {
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        FileBytes { words, len: bytes.len() }
    }

    /// The bytes, with a static lifetime.
    pub fn leak(self) -> &'static [u8] {
        &self.words.leak().as_bytes()[..self.len]
    }

    pub fn gguf(&self) -> Gguf<'_> {
        Gguf::parse(&self.words.as_bytes()[..self.len], self.len as u64).unwrap()
    }

    pub fn model(&self) -> Result<Model<'_>, ModelError> {
        let gguf = self.gguf();
        Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes()))
    }
}

impl Case {
    pub fn file(&self) -> FileBytes {
        FileBytes::new(&fs::read(self.folder.join(format!("{}.gguf", self.name))).unwrap())
    }

    fn expected(&self) -> Vec<f32> {
        let bytes = fs::read(self.answers.join(format!("{}.logits", self.name))).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// Runs the model with every instruction set that this CPU supports, and describes each run that is out of bounds.
    pub fn check(&self) -> Vec<String> {
        let file = self.file();
        let expected = self.expected();
        let mut failures = Vec::new();
        for kernels in Kernels::available() {
            for (precision, limit) in [(Precision::Quantized, self.limit), (Precision::Exact, EXACT_LIMIT)] {
                let error = match self.logits(&file.gguf(), kernels, precision) {
                    Ok(logits) => nmse(&logits, &expected),
                    Err(error) => {
                        failures.push(format!("{}: {error}", self.name));
                        return failures;
                    }
                };
                // Not `>`: a NaN is no success.
                let passes = error <= limit;
                if !passes {
                    let set = kernels.name();
                    failures.push(format!(
                        "{}, {set}, {precision:?}: NMSE {error:.2e}, limit {limit:.2e}",
                        self.name
                    ));
                }
            }
        }
        failures
    }

    /// The logits of all tokens.
    pub fn logits(
        &self,
        gguf: &Gguf<'_>,
        kernels: &'static Kernels,
        precision: Precision,
    ) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
        let n_tokens = self.tokens.len();
        let options = SessionOptions {
            n_ctx: n_tokens,
            n_batch: n_tokens,
            n_logits: n_tokens,
            kv_type: KvType::F32,
            precision,
        };
        let model = Model::load(gguf, ModelBytes::as_in_file(gguf.bytes()))?;
        let mut memory = vec![0; Session::required_bytes(model.config(), &options)? + llm::arena::ALIGN];
        let mut session = Session::new(model, options, kernels, &Serial, &mut memory)?;
        Ok(session.forward(&self.tokens, Logits::All)?.to_vec())
    }
}

/// The sum of squared differences divided by the sum of squares.
pub fn nmse(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let (mut difference, mut square) = (0.0, 0.0);
    for (&got, &expected) in got.iter().zip(expected) {
        let (got, expected) = (f64::from(got), f64::from(expected));
        difference += (got - expected) * (got - expected);
        square += expected * expected;
    }
    difference / square
}

//! Compares texts by their vectors: how near each one is to the first, from -1 to 1. Any model gives vectors; one that was
//! trained to embed texts gives good ones.
//!
//!     cargo run --release -p llm --example embed -- test_models/tiny.gguf "a small robot" "a little robot" "turn off the machine"

use std::{error::Error, io::Write, ops::ControlFlow};

use llm::arena::ALIGN;
use llm::front::embedding::EmbeddingWish;
use llm::front::{PROMPT_ENCODING, Prompt, Prompter, Responder};
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;

/// Writes the cosine of the angle between each text's vector and the first one's.
pub fn run(path: &str, texts: &[&str], out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let gguf = Gguf::parse(&file, file.len() as u64)?;
    let model = Model::load(&gguf, ModelBytes::as_in_file(&file))?;
    let options = RunnerOptions::new(model.config(), model.config().n_ctx_train.min(512), 1);
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options)? + ALIGN];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory)?;
    let mut responder = Responder::new(Prompter::new(gguf)?, runner, 0)?;

    // How the tokens' vectors become one is left to the model's file; the vectors have length 1.
    let wish = EmbeddingWish::default();
    let mut vector = |text: &&str| {
        let prompt = Prompt::Text(text, PROMPT_ENCODING);
        responder.embed(&prompt, wish, &mut || ControlFlow::Continue(()))
    };
    let vectors = texts.iter().map(&mut vector).collect::<Result<Vec<_>, _>>()?;
    for (text, vector) in texts.iter().zip(&vectors) {
        let cosine: f32 = vectors[0].values.iter().zip(&vector.values).map(|(a, b)| a * b).sum();
        writeln!(out, "{cosine:6.3}  {text}")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, texts @ ..] = &arguments[..] else { return Err("expected a GGUF file and texts".into()) };
    run(path, &texts.iter().map(String::as_str).collect::<Vec<_>>(), &mut std::io::stdout())
}

//! Continues a prompt by the likeliest tokens, printing the text as it comes.
//!
//!     cargo run --release -p llm --example generate -- test_models/tiny.gguf "What is Ferrite?"

use std::{error::Error, io::Write};

use llm::arena::ALIGN;
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{Session, SessionOptions, Step};
use llm::simd::Kernels;
use llm::tokenizer::{EncodeOptions, Tokenizer};

/// Writes the text after `prompt` and why it ended.
pub fn run(path: &str, prompt: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let gguf = Gguf::parse(&file, file.len() as u64)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let model = Model::load(&gguf, ModelBytes::as_in_file(&file))?;

    // What cache and scratch take is known before anything is allocated.
    let options = SessionOptions::generate(model.config().n_ctx_train.min(2048));
    let mut memory = vec![0; Session::required_bytes(model.config(), &options)? + ALIGN];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory)?;

    let mut ids = Vec::new();
    tokenizer.encode(prompt, EncodeOptions { add_special: true, parse_special: false }, &mut ids)?;
    let mut sampler = Sampler::new(SamplingConfig::greedy(), tokenizer.n_vocab())?;
    let mut generation = session.generate(&tokenizer, &mut sampler, &ids, 64, &[])?;
    loop {
        match generation.step()? {
            Step::Token { text, .. } => write!(out, "{text}")?,
            Step::Finished { text, reason } => return Ok(writeln!(out, "{text}\n[{reason}]")?),
        }
        out.flush()?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, prompt] = &arguments[..] else { return Err("expected a GGUF file and a prompt".into()) };
    run(path, prompt, &mut std::io::stdout())
}

//! Continues many prompts together. Each gets the text that it would get alone, to the last bit.
//!
//!     cargo run --release -p llm --example batch -- test_models/tiny.gguf "Hello" "Once upon a time" "What is Ferrite?"

use std::{error::Error, io::Write, ops::ControlFlow};

use llm::arena::ALIGN;
use llm::front::batch::{self, Batch, BatchEvent};
use llm::front::{PROMPT_ENCODING, Prompt, Prompter, Request, Responder, Task};
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;

/// Writes the text after each prompt, in the prompts' order, whichever is ready first.
pub fn run(path: &str, prompts: &[&str], out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let gguf = Gguf::parse(&file, file.len() as u64)?;
    let model = Model::load(&gguf, ModelBytes::as_in_file(&file))?;
    // Four prompts at a time; the others wait for their turn.
    let options = RunnerOptions::new(model.config(), model.config().n_ctx_train.min(512), 4);
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options)? + ALIGN];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory)?;
    let mut responder = Responder::new(Prompter::new(gguf)?, runner, 4)?;

    let request = Request::new(Prompt::Ids(&[]), 24);
    let batch = Batch { prompts, task: Task::Continue(PROMPT_ENCODING), request };
    batch::run(&mut responder, &batch, || 0, &mut |event| {
        let written = match event {
            BatchEvent::Text { text, .. } => write!(out, "{text}"),
            BatchEvent::End { index, result: Ok(_) } => writeln!(out, " [{index}]"),
            BatchEvent::End { index, result: Err(error) } => writeln!(out, " [{index}: {error}]"),
            BatchEvent::Computing => Ok(()),
        };
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, prompts @ ..] = &arguments[..] else {
        return Err("expected a GGUF file and prompts".into());
    };
    run(path, &prompts.iter().map(String::as_str).collect::<Vec<_>>(), &mut std::io::stdout())
}

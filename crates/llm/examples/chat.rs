//! Holds a conversation in the chat format that the model's file brings. Each line of the input is a message.
//!
//!     cargo run --release -p llm --example chat -- test_models/tiny.gguf

use std::{error::Error, io::BufRead, io::Write, ops::ControlFlow};

use llm::arena::ALIGN;
use llm::chat::Dialogue;
use llm::front::{ChatFormat, Prompt, Prompter, Request, Responder};
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;

/// Answers each line of `input`. What was said before is kept in the cache and not computed again.
pub fn run(path: &str, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let gguf = Gguf::parse(&file, file.len() as u64)?;
    let model = Model::load(&gguf, ModelBytes::as_in_file(&file))?;
    let options = RunnerOptions::new(model.config(), model.config().n_ctx_train.min(2048), 1);
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options)? + ALIGN];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory)?;
    let mut responder = Responder::new(Prompter::new(gguf)?, runner, 0)?;

    let mut dialogue = Dialogue::default();
    for message in input.lines() {
        dialogue.ask(&message?)?;
        let request = Request::new(Prompt::Chat(&mut dialogue, ChatFormat::default()), 64);
        // No clock: the report's times are 0.
        let report = responder.generate(request, || 0, &mut |event| {
            let written = write!(out, "{}", event.text()).and_then(|()| out.flush());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        writeln!(out)?;
        dialogue.answer(&report.output, report.format.unwrap_or_default())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path] = &arguments[..] else { return Err("expected a GGUF file".into()) };
    run(path, &mut std::io::stdin().lock(), &mut std::io::stdout())
}

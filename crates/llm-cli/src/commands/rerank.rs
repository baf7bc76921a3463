//! `llm rerank`: ranks documents by how well they match a query.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use llm::front::embedding::{EmbeddingWish, Pooling};
use llm::front::vectors::ranking;

use super::embed::{Texts, compute};
use crate::engine::{EngineArguments, n_texts};

/// Rank documents by how they suit a query, by a model with a classifier.
///
/// A line per document has its score, its place among the documents from 1, and the document; the best comes first.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    #[arg(value_name = "QUERY", hide = true, allow_negative_numbers = true)]
    query: String,

    #[arg(
        value_name = "DOCUMENT",
        hide = true,
        allow_negative_numbers = true,
        conflicts_with = "texts",
        required_unless_present = "texts"
    )]
    documents: Vec<String>,

    #[arg(long)]
    texts: Option<PathBuf>,

    #[arg(long, value_parser = n_texts)]
    parallel: Option<usize>,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let documents = Texts::read(arguments.texts.as_deref(), &arguments.documents)?;
    let opened = arguments.engine.open(&arguments.model)?;
    let prompter = opened.prompter()?;
    let mut ids = Vec::new();
    for document in documents.iter() {
        let mut of_pair = Vec::new();
        prompter.encode_pair(&arguments.query, document, &mut of_pair)?;
        ids.push(of_pair);
    }
    let wish = EmbeddingWish { pooling: Some(Pooling::Rank), normalise: None, max_tokens: None };
    let mut scores = Vec::new();
    compute(&arguments.engine, &opened, prompter, &ids, arguments.parallel, wish, &mut |_, _, embedding| {
        scores.push(embedding.values.first().copied().unwrap_or(f32::NAN));
        Ok(())
    })?;
    let documents: Vec<&str> = documents.iter().collect();
    let mut output = BufWriter::new(stdout().lock());
    for place in ranking(&scores)? {
        let place = place as usize;
        writeln!(output, "{:.6} [{}] {}", scores[place], place + 1, documents[place])?;
    }
    Ok(output.flush()?)
}

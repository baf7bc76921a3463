//! Prompts that ask a model to fill a gap in code, in the form that models are trained on: first other files, then the text
//! before and the text after the gap, each preceded by a token that says which it is, then the token of the gap itself.
//!
//! Source: llama.cpp's server for the shares of the context, and Qwen2.5-Coder's report (arXiv 2409.12186), figure 3.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use llm::tokenizer::{EncodeOptions, InfillTokens, Tokenizer};

use crate::api::wish::{Asked, Gap, Wish};
use crate::engine::Engine;
use crate::error::ApiError;

/// Most tokens around the gap. Three quarters of them are for the text before it.
const MAX_AROUND: usize = 2048;

/// Separates texts if the vocabulary has no token for that.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// Turns the gap that a request asks to fill, if any, into ids, for a prompt and an answer of at most `context` tokens together.
///
/// # Errors
/// If the vocabulary has no tokens for gaps or cannot spell the texts, or if there is no memory.
pub(super) fn encode<E: Engine>(
    engine: &E,
    model: &str,
    wish: &mut Wish<'_>,
    context: Option<usize>,
) -> Result<(), ApiError> {
    let Some(Asked::Gap(gap)) = wish.prompts.first() else { return Ok(()) };
    let n_ctx = engine.responder(Some(model))?.scheduler().n_positions();
    let n_ctx = context.map_or(n_ctx, |context| context.min(n_ctx));
    let n_answer = wish.max_tokens.min(n_ctx / 4);
    let ids = prompt(engine.tokenizer(Some(model))?, gap, n_ctx.saturating_sub(n_answer))?;
    wish.prompts[0] = Asked::Ids(Cow::Owned(ids));
    Ok(())
}

/// The prompt for a gap. It has up to `room` tokens, unless the text that begins the gap is long.
fn prompt(tokenizer: &Tokenizer<'_>, gap: &Gap<'_>, room: usize) -> Result<Vec<u32>, ApiError> {
    let InfillTokens { prefix: Some(before), suffix: Some(behind), middle: Some(middle), repository, file } =
        tokenizer.infill()
    else {
        return Err(ApiError::bad(
            "the model's vocabulary has no tokens for a gap in a text, which /infill needs",
        ));
    };
    let encode = |field: &str, text: &str, parse_special: bool, out: &mut Vec<u32>| {
        let options = EncodeOptions { add_special: false, parse_special };
        tokenizer.encode(text, options, out).map_err(|error| ApiError::field(field, error))
    };
    let (mut ids, mut prefix, mut suffix, mut begun) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    encode("input_prefix", gap.prefix, false, &mut prefix)?;
    encode("input_suffix", gap.suffix, false, &mut suffix)?;
    encode("prompt", gap.prompt, true, &mut begun)?;
    let extra = "input_extra";
    if let Some(repository) = repository {
        push(&mut ids, &[repository])?;
        encode(extra, "myproject\n", false, &mut ids)?;
    }
    let name_of = |name: &str, out: &mut Vec<u32>| {
        let Some(file) = file else { return Ok(()) };
        push(out, &[file])?;
        let mut line = String::new();
        line.try_reserve_exact(name.len() + 1).map_err(|_| ApiError::out_of_memory())?;
        line.push_str(name);
        line.push('\n');
        encode(extra, &line, false, out)
    };
    for text in gap.extra {
        match file {
            Some(_) => name_of(text.filename.as_ref().map_or("tmp", |name| &name.0), &mut ids)?,
            None => encode(extra, SNIPPET, false, &mut ids)?,
        }
        encode(extra, &text.text.0, false, &mut ids)?;
    }
    name_of("filename", &mut ids)?;

    // The token that begins a text and the token of the first text are not counted in the shares.
    let room = room.saturating_sub(2);
    let n_around = MAX_AROUND.min(room);
    let n_prefix = prefix.len().min(3 * (n_around / 4));
    // One token says what comes next, and one marks the gap.
    let n_suffix = suffix.len().min((n_around / 4).saturating_sub(2 + begun.len()));
    let bos = tokenizer.bos_id().filter(|_| tokenizer.add_bos());
    // The text farthest from the gap is cut.
    let n_extra = ids.len().min(room - n_around);
    ids.drain(..ids.len() - n_extra);
    push(&mut ids, bos.as_slice())?;
    for part in
        [&[before], &prefix[prefix.len() - n_prefix..], &begun, &[behind], &suffix[..n_suffix], &[middle]]
    {
        push(&mut ids, part)?;
    }
    Ok(ids)
}

fn push(ids: &mut Vec<u32>, more: &[u32]) -> Result<(), ApiError> {
    ids.try_reserve(more.len()).map_err(|_| ApiError::out_of_memory())?;
    ids.extend_from_slice(more);
    Ok(())
}

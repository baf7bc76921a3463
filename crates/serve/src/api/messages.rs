//! Answers in the shape of Anthropic's Messages. Source: <https://platform.claude.com/docs/en/api/messages>.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::session::FinishReason;

use super::blocks::{Block, Kind, close_object};
use super::json::{Value, append, fill};
use super::told::{End, Name, Step, close_event, open_event};
use super::usage::Usage;

/// Writes the events of a step.
pub fn tell(out: &mut Vec<u8>, name: &Name, step: &Step<'_>) -> fmt::Result {
    match *step {
        Step::Begin(counts) => {
            open_event(out, "message", "_start")?;
            append(out, ",\"message\":")?;
            message(out, name, None, counts)?;
        }
        Step::Open(index, opened) => {
            open_event(out, "content_block", "_start")?;
            fill(out, ",\"index\":$,\"content_block\":", &[index.into()])?;
            block(out, opened, "")?;
        }
        Step::More(index, block, text) => {
            open_event(out, "content_block", "_delta")?;
            let (kind, key) = match block.kind {
                Kind::Text => ("text_delta", "text"),
                Kind::Reasoning => ("thinking_delta", "thinking"),
                Kind::Call { .. } => ("input_json_delta", "partial_json"),
            };
            let values = [index.into(), kind.into(), key.into(), text.into()];
            fill(out, ",\"index\":$,\"delta\":{\"type\":$,$:$}", &values)?;
        }
        Step::Close(index, block, _) => {
            if block.kind == Kind::Reasoning {
                open_event(out, "content_block", "_delta")?;
                let delta = ",\"index\":$,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"\"}";
                fill(out, delta, &[index.into()])?;
                close_event(out)?;
            }
            open_event(out, "content_block", "_stop")?;
            fill(out, ",\"index\":$", &[index.into()])?;
        }
        Step::End(end, counts) => {
            open_event(out, "message", "_delta")?;
            fill(out, ",\"delta\":{\"stop_reason\":$,\"stop_sequence\":$},\"usage\":", &ending(Some(end)))?;
            usage(out, counts)?;
            close_event(out)?;
            open_event(out, "message", "_stop")?;
        }
    }
    close_event(out)
}

/// Writes a whole answer, or the beginning of a stream: an answer without an end.
pub fn message(out: &mut Vec<u8>, name: &Name, end: Option<&End<'_>>, counts: Usage) -> fmt::Result {
    let names = [(&*name.id).into(), (&*name.model).into()];
    fill(out, r#"{"id":$,"type":"message","role":"assistant","model":$,"content":["#, &names)?;
    for (index, whole) in end.map_or(&[][..], |end| end.blocks.all()).iter().enumerate() {
        append(out, if index > 0 { "," } else { "" })?;
        block(out, whole, &whole.text)?;
    }
    fill(out, r#"],"stop_reason":$,"stop_sequence":$,"usage":"#, &ending(end))?;
    usage(out, counts)?;
    append(out, "}")
}

/// Why an answer ended, and which stop text ended it.
fn ending<'e>(end: Option<&End<'e>>) -> [Value<'e>; 2] {
    let Some(end) = end else { return [Value::Text(None); 2] };
    let reason = match end.reason {
        FinishReason::ContextFull => "model_context_window_exceeded",
        FinishReason::MaxTokens | FinishReason::Cancelled => "max_tokens",
        _ if end.blocks.has_calls() => "tool_use",
        FinishReason::StopString => return ["stop_sequence".into(), end.stop.into()],
        FinishReason::EndOfText => "end_turn",
    };
    [reason.into(), Value::Text(None)]
}

fn block(out: &mut Vec<u8>, block: &Block, text: &str) -> fmt::Result {
    match &block.kind {
        Kind::Text => fill(out, r#"{"type":"text","text":$}"#, &[text.into()]),
        // A signature would prove that the model itself had this thought; nobody here checks it.
        Kind::Reasoning => fill(out, r#"{"type":"thinking","thinking":$,"signature":""}"#, &[text.into()]),
        Kind::Call { id, name } => {
            let mut closed = String::new();
            let input = match text {
                "" => "{}",
                text if block.is_broken => {
                    close_object(text, &mut closed).map_err(|_| fmt::Error)?;
                    &closed
                }
                text => text,
            };
            let values = [(&**id).into(), (&**name).into(), Value::Json(input)];
            fill(out, r#"{"type":"tool_use","id":$,"name":$,"input":$}"#, &values)
        }
    }
}

fn usage(out: &mut Vec<u8>, counts: Usage) -> fmt::Result {
    let cached = counts.prompt_tokens_details.cached_tokens;
    let computed = counts.prompt_tokens.saturating_sub(cached);
    let values = [computed.into(), cached.into(), counts.completion_tokens.into()];
    fill(
        out,
        r#"{"input_tokens":$,"cache_creation_input_tokens":0,"cache_read_input_tokens":$,"output_tokens":$}"#,
        &values,
    )
}

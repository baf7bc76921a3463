//! Answers in the shape of OpenAI's responses. Source: <https://platform.openai.com/docs/api-reference/responses>.

use alloc::vec::Vec;
use core::fmt;

use llm::session::FinishReason;

use super::blocks::{Block, Kind};
use super::json::{Value, append, fill};
use super::told::{End, Name, Step, close_event, open_event};
use super::usage::Usage;

/// Writes the events of a step; they go on with the number that is next.
pub fn tell(out: &mut Vec<u8>, name: &Name, step: &Step<'_>, next: &mut usize) -> fmt::Result {
    let mut event = |out: &mut Vec<u8>, kind: &str, action: &str| {
        let number = Value::from(*next);
        *next += 1;
        open_event(out, kind, action)?;
        fill(out, ",\"sequence_number\":$", &[number])
    };
    match *step {
        Step::Begin(_) => {
            for action in ["created", "in_progress"] {
                event(out, "response.", action)?;
                append(out, ",\"response\":")?;
                response(out, name, None)?;
                close_event(out)?;
            }
        }
        Step::Open(index, block) => {
            event(out, "response.output_item.", "added")?;
            fill(out, ",\"output_index\":$,\"item\":", &[index.into()])?;
            item(out, name, index, block, None)?;
            close_event(out)?;
            if let Some(kind) = part_kind(block) {
                event(out, "response.content_part.", "added")?;
                place(out, name, index, block)?;
                append(out, ",\"part\":")?;
                part(out, kind, "")?;
                close_event(out)?;
            }
        }
        Step::More(index, block, text) => {
            event(out, of(block).stream, "delta")?;
            place(out, name, index, block)?;
            fill(out, ",\"delta\":$", &[text.into()])?;
            close_event(out)?;
        }
        Step::Close(index, block) => {
            event(out, of(block).stream, "done")?;
            place(out, name, index, block)?;
            match &block.kind {
                Kind::Call { name, .. } => {
                    fill(out, ",\"name\":$,\"arguments\":$", &[(&**name).into(), (&*block.text).into()])?;
                }
                Kind::Text | Kind::Reasoning => fill(out, ",\"text\":$", &[(&*block.text).into()])?,
            }
            close_event(out)?;
            if let Some(kind) = part_kind(block) {
                event(out, "response.content_part.", "done")?;
                place(out, name, index, block)?;
                append(out, ",\"part\":")?;
                part(out, kind, &block.text)?;
                close_event(out)?;
            }
            event(out, "response.output_item.", "done")?;
            fill(out, ",\"output_index\":$,\"item\":", &[index.into()])?;
            item(out, name, index, block, Some(&block.text))?;
            close_event(out)?;
        }
        Step::End(end, counts) => {
            event(out, "response.", if is_complete(end) { "completed" } else { "incomplete" })?;
            append(out, ",\"response\":")?;
            response(out, name, Some((end, counts)))?;
            close_event(out)?;
        }
    }
    Ok(())
}

/// Writes a whole response, or one that has just begun.
pub fn response(out: &mut Vec<u8>, name: &Name, end: Option<(&End<'_>, Usage)>) -> fmt::Result {
    let (status, details) = match end {
        None => ("in_progress", "null"),
        Some((end, _)) if is_complete(end) => ("completed", "null"),
        Some(_) => ("incomplete", r#"{"reason":"max_output_tokens"}"#),
    };
    let values = [
        (&*name.id).into(),
        Value::Number(name.created),
        status.into(),
        Value::Json(details),
        (&*name.model).into(),
    ];
    fill(
        out,
        r#"{"id":$,"object":"response","created_at":$,"status":$,"background":false,"error":null,"incomplete_details":$,"instructions":null,"max_output_tokens":null,"metadata":{},"model":$,"output":["#,
        &values,
    )?;
    for (index, block) in end.map_or(&[][..], |(end, _)| end.blocks.all()).iter().enumerate() {
        append(out, if index > 0 { "," } else { "" })?;
        item(out, name, index, block, Some(&block.text))?;
    }
    append(
        out,
        r#"],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":false,"temperature":null,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled","usage":"#,
    )?;
    match end {
        None => append(out, "null")?,
        Some((_, counts)) => {
            let Usage {
                prompt_tokens,
                completion_tokens,
                total_tokens,
                prompt_tokens_details,
                reasoning_tokens,
            } = counts;
            let cached = prompt_tokens_details.cached_tokens;
            let values =
                [prompt_tokens, cached, completion_tokens, reasoning_tokens, total_tokens].map(Value::from);
            fill(
                out,
                r#"{"input_tokens":$,"input_tokens_details":{"cached_tokens":$},"output_tokens":$,"output_tokens_details":{"reasoning_tokens":$},"total_tokens":$}"#,
                &values,
            )?;
        }
    }
    append(out, "}")
}

/// Whether an answer has come to its own end.
fn is_complete(end: &End<'_>) -> bool {
    matches!(end.reason, FinishReason::EndOfText | FinishReason::StopString)
}

/// What a kind of block is called.
struct Names {
    /// What its name begins with.
    prefix: &'static str,
    /// What its events' names begin with.
    stream: &'static str,
}

fn of(block: &Block) -> Names {
    let (prefix, stream) = match block.kind {
        Kind::Text => ("msg", "response.output_text."),
        Kind::Reasoning => ("rs", "response.reasoning_text."),
        Kind::Call { .. } => ("fc", "response.function_call_arguments."),
    };
    Names { prefix, stream }
}

/// The type of the part that a block has, if it has one.
fn part_kind(block: &Block) -> Option<&'static str> {
    match block.kind {
        Kind::Text => Some("output_text"),
        Kind::Reasoning => Some("reasoning_text"),
        Kind::Call { .. } => None,
    }
}

fn part(out: &mut Vec<u8>, kind: &str, text: &str) -> fmt::Result {
    let more = if kind == "output_text" { r#","annotations":[],"logprobs":[]"# } else { "" };
    fill(out, r#"{"type":$,"text":$$}"#, &[kind.into(), text.into(), Value::Json(more)])
}

/// The name of a block: its kind, that of the answer, and its number.
fn block_id<'n>(name: &'n Name, index: usize, block: &Block) -> [Value<'n>; 3] {
    let of_answer = name.id.split_once('_').map_or("", |(_, id)| id);
    [Value::Json(of(block).prefix), Value::Json(of_answer), index.into()]
}

/// Where the text of a block stands.
fn place(out: &mut Vec<u8>, name: &Name, index: usize, block: &Block) -> fmt::Result {
    let [prefix, id, number] = block_id(name, index, block);
    fill(out, ",\"item_id\":\"$_$_$\",\"output_index\":$", &[prefix, id, number, index.into()])?;
    match block.kind {
        Kind::Text => append(out, ",\"content_index\":0,\"logprobs\":[]"),
        Kind::Reasoning => append(out, ",\"content_index\":0"),
        Kind::Call { .. } => Ok(()),
    }
}

/// A block as an item; one that has just begun has no text yet.
fn item(out: &mut Vec<u8>, name: &Name, index: usize, block: &Block, text: Option<&str>) -> fmt::Result {
    let status = match text {
        None => "in_progress",
        Some(_) if block.is_broken => "incomplete",
        Some(_) => "completed",
    };
    fill(out, "{\"id\":\"$_$_$\"", &block_id(name, index, block))?;
    fill(out, ",\"status\":$", &[status.into()])?;
    match &block.kind {
        Kind::Text => append(out, r#","type":"message","role":"assistant","content":["#)?,
        Kind::Reasoning => append(out, r#","type":"reasoning","summary":[],"content":["#)?,
        Kind::Call { id, name } => {
            let values = [(&**id).into(), (&**name).into(), text.unwrap_or("").into()];
            return fill(out, r#","type":"function_call","call_id":$,"name":$,"arguments":$}"#, &values);
        }
    }
    if let (Some(text), Some(kind)) = (text, part_kind(block)) {
        part(out, kind, text)?;
    }
    append(out, "]}")
}

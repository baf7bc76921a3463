//! Answers in the shape of OpenAI's responses. Source: <https://platform.openai.com/docs/api-reference/responses>.

use alloc::vec::Vec;
use core::fmt;

use super::blocks::{Block, Blocks, Kind};
use super::json::{Value, append, fill};
use super::told::{End, Name, Step, close_event, open_event};
use super::usage::Usage;
use crate::error::ApiError;

/// Writes the events of a step, numbered from `next` on.
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
                response(out, name, State::Begun)?;
                close_event(out)?;
            }
        }
        Step::Open(index, block) => {
            event(out, "response.output_item.", "added")?;
            fill(out, ",\"output_index\":$,\"item\":", &[index.into()])?;
            item(out, name, index, block, None, false)?;
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
        Step::Close(index, block, is_whole) => {
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
            item(out, name, index, block, Some(&block.text), is_whole)?;
            close_event(out)?;
        }
        Step::End(end, counts) => {
            event(out, "response.", if end.is_complete() { "completed" } else { "incomplete" })?;
            append(out, ",\"response\":")?;
            response(out, name, State::Ended(end, counts))?;
            close_event(out)?;
        }
    }
    Ok(())
}

/// Writes the event that ends a response with an error, with number `next`.
pub fn fail(
    out: &mut Vec<u8>,
    name: &Name,
    blocks: &Blocks,
    error: &ApiError,
    next: &mut usize,
) -> fmt::Result {
    open_event(out, "response.", "failed")?;
    fill(out, ",\"sequence_number\":$,\"response\":", &[Value::from(*next)])?;
    *next += 1;
    response(out, name, State::Failed(blocks, error))?;
    close_event(out)
}

/// The state of a response.
#[derive(Clone, Copy)]
pub enum State<'s> {
    /// It has begun.
    Begun,
    /// It has ended.
    Ended(&'s End<'s>, Usage),
    /// It ends with this error.
    Failed(&'s Blocks, &'s ApiError),
}

impl<'s> State<'s> {
    /// `Ended` if the answer has ended, else `Begun`.
    pub fn of(end: Option<&'s End<'s>>, counts: Usage) -> Self {
        end.map_or(Self::Begun, |end| Self::Ended(end, counts))
    }
}

/// Writes a whole response, or one that has just begun or failed.
pub fn response(out: &mut Vec<u8>, name: &Name, state: State<'_>) -> fmt::Result {
    let (status, details, blocks) = match state {
        State::Begun => ("in_progress", "null", &[][..]),
        State::Ended(end, _) if end.is_complete() => ("completed", "null", end.blocks.all()),
        State::Ended(end, _) => ("incomplete", r#"{"reason":"max_output_tokens"}"#, end.blocks.all()),
        State::Failed(blocks, _) => ("failed", "null", blocks.all()),
    };
    let values = [(&*name.id).into(), Value::Number(name.created), status.into()];
    fill(
        out,
        r#"{"id":$,"object":"response","created_at":$,"status":$,"background":false,"error":"#,
        &values,
    )?;
    match state {
        State::Failed(_, error) => {
            let code = error.code.unwrap_or("server_error");
            fill(out, r#"{"code":$,"message":$}"#, &[code.into(), (&*error.message).into()])?;
        }
        _ => append(out, "null")?,
    }
    fill(
        out,
        r#","incomplete_details":$,"instructions":null,"max_output_tokens":null,"metadata":{},"model":$,"output":["#,
        &[Value::Json(details), (&*name.model).into()],
    )?;
    for (index, block) in blocks.iter().enumerate() {
        append(out, if index > 0 { "," } else { "" })?;
        let is_whole = status == "completed" || index + 1 < blocks.len();
        item(out, name, index, block, Some(&block.text), is_whole)?;
    }
    append(
        out,
        r#"],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":false,"temperature":null,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":null,"truncation":"disabled","usage":"#,
    )?;
    match state {
        State::Begun | State::Failed(..) => append(out, "null")?,
        State::Ended(_, counts) => {
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
                r#"{"input_tokens":$,"input_tokens_details":{"cached_tokens":$,"cache_write_tokens":0},"output_tokens":$,"output_tokens_details":{"reasoning_tokens":$},"total_tokens":$}"#,
                &values,
            )?;
        }
    }
    append(out, "}")
}

/// The names for a kind of block.
struct Names {
    /// The prefix of its ids.
    prefix: &'static str,
    /// The prefix of its events' names.
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

/// The type of the part in which a block has its text, if it has one.
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

/// The id of a block: its kind, the answer's name, and its number.
fn block_id<'n>(name: &'n Name, index: usize, block: &Block) -> [Value<'n>; 3] {
    let of_answer = name.id.split_once('_').map_or("", |(_, id)| id);
    [Value::Json(of(block).prefix), Value::Json(of_answer), index.into()]
}

/// The position of a block's text in the response.
fn place(out: &mut Vec<u8>, name: &Name, index: usize, block: &Block) -> fmt::Result {
    let [prefix, id, number] = block_id(name, index, block);
    fill(out, ",\"item_id\":\"$_$_$\",\"output_index\":$", &[prefix, id, number, index.into()])?;
    match block.kind {
        Kind::Text => append(out, ",\"content_index\":0,\"logprobs\":[]"),
        Kind::Reasoning => append(out, ",\"content_index\":0"),
        Kind::Call { .. } => Ok(()),
    }
}

/// A block as an item. A block that has just begun has no text yet; an incomplete one was cut.
fn item(
    out: &mut Vec<u8>,
    name: &Name,
    index: usize,
    block: &Block,
    text: Option<&str>,
    is_whole: bool,
) -> fmt::Result {
    let status = match text {
        None => "in_progress",
        Some(_) if block.is_broken || !is_whole => "incomplete",
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

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    #[test]
    fn a_response_that_fails_says_why() {
        let name = Name { id: String::from("resp_1"), created: 1, model: String::from("m") };
        let mut blocks = Blocks::new(false);
        blocks.say("One").unwrap();
        let (mut out, mut next) = (Vec::new(), 7);
        fail(&mut out, &name, &blocks, &ApiError::out_of_memory(), &mut next).unwrap();
        let text = core::str::from_utf8(&out).unwrap();
        let json = text.strip_prefix("event: response.failed\ndata: ").unwrap();
        let event: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&event["type"], &event["sequence_number"]), (&"response.failed".into(), &7.into()));
        assert_eq!(next, 8);
        let response = &event["response"];
        assert_eq!((&response["status"], &response["usage"]), (&"failed".into(), &serde_json::Value::Null));
        assert_eq!(response["error"]["code"], "server_error");
        assert_eq!(response["error"]["message"], crate::error::NO_MEMORY);
        let item = &response["output"][0];
        assert_eq!((&item["status"], &item["content"][0]["text"]), (&"incomplete".into(), &"One".into()));
    }
}

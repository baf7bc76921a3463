//! Fills in chat templates with tools, to compare them with another Jinja: reads lines of JSON
//! `{"template": …, "messages": […], "tools": […], "now": seconds}`, in the shapes of OpenAI's API, and answers each with
//! a line that has `text` or `error`, the form in which the model calls tools, and whether what was asked is said `in_words`.

use std::io::{BufRead, Write};

use llm::chat::{ChatTemplate, Conversation, Message, Tool, ToolCall};
use llm::gguf::Gguf;
use llm::tokenizer::Tokenizer;
use serde_json::Value;

fn main() -> std::io::Result<()> {
    let file = broken_gguf::good();
    let gguf = Gguf::parse(&file, file.len() as u64).expect("it is a good file");
    let tokenizer = Tokenizer::from_gguf(&gguf).expect("it has a vocabulary");
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(&request, &tokenizer))?;
    }
    Ok(())
}

fn answer(request: &Value, tokenizer: &Tokenizer<'_>) -> Value {
    let chat = match ChatTemplate::new(text(&request["template"]), tokenizer) {
        Ok(chat) => chat,
        Err(error) => return serde_json::json!({ "error": error.to_string() }),
    };
    let turns = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let calls: Vec<_> = turns.iter().map(calls).collect();
    let messages: Vec<_> = turns
        .iter()
        .zip(&calls)
        .map(|(turn, calls)| Message {
            role: text(&turn["role"]),
            content: text(&turn["content"]),
            reasoning_content: text(&turn["reasoning_content"]),
            tool_calls: calls,
            tool_call_id: text(&turn["tool_call_id"]),
            name: text(&turn["name"]),
        })
        .collect();
    let tools = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let parameters: Vec<_> = tools.iter().map(|tool| tool["parameters"].to_string()).collect();
    let tools: Vec<_> = tools
        .iter()
        .zip(&parameters)
        .map(|(tool, parameters)| Tool {
            name: text(&tool["name"]),
            description: text(&tool["description"]),
            parameters,
        })
        .collect();
    let conversation =
        Conversation { tools: &tools, now_seconds: request["now"].as_u64(), ..Conversation::new(&messages) };
    let format = chat.format();
    let mut answer = serde_json::json!({
        "form": format.form.name,
        "reasoning": format.reasoning.map(|reasoning| reasoning.open),
    });
    match chat.render(&conversation) {
        Ok(text) => {
            if text.contains("You can call these tools") || text.contains("<tool_response>\n") {
                answer["in_words"] = true.into();
            }
            answer["text"] = text.into();
        }
        Err(error) => answer["error"] = error.to_string().into(),
    }
    answer
}

fn text(json: &Value) -> &str {
    json.as_str().unwrap_or("")
}

fn calls(turn: &Value) -> Vec<ToolCall<'_>> {
    let calls = turn["tool_calls"].as_array().map_or(&[][..], Vec::as_slice).iter();
    calls
        .map(|call| ToolCall {
            id: text(&call["id"]),
            name: text(&call["function"]["name"]),
            arguments: text(&call["function"]["arguments"]),
        })
        .collect()
}

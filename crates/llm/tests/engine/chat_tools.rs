//! Conversations with tools, as templates render them.

use llm::chat::{ChatError, ChatTemplate, Conversation, Format, Message, Tool, ToolCall};
use llm::gguf::Gguf;
use llm::tokenizer::Tokenizer;
use serde_json::Value;

/// A template with the small vocabulary.
fn chat(template: &str) -> ChatTemplate {
    let file = broken_gguf::good();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    ChatTemplate::new(template, &Tokenizer::from_gguf(&gguf).unwrap()).unwrap()
}

/// A message of OpenAI's API, with its tool calls in `calls`.
fn message<'m>(json: &'m Value, calls: &'m [ToolCall<'m>]) -> Message<'m> {
    let text = |key: &str| json[key].as_str().unwrap_or("");
    Message {
        role: text("role"),
        content: text("content"),
        reasoning_content: text("reasoning_content"),
        tool_calls: calls,
        tool_call_id: text("tool_call_id"),
        name: text("name"),
    }
}

fn calls(json: &Value) -> Vec<ToolCall<'_>> {
    let calls = json["tool_calls"].as_array().map_or(&[][..], Vec::as_slice).iter();
    calls
        .map(|call| ToolCall {
            id: call["id"].as_str().unwrap(),
            name: call["function"]["name"].as_str().unwrap(),
            arguments: call["function"]["arguments"].as_str().unwrap(),
        })
        .collect()
}

#[test]
fn templates_show_tools_calls_and_results() {
    let golden: Value = serde_json::from_str(include_str!("../golden/chat_tools.json")).unwrap();
    let parameters: Vec<_> = golden["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["parameters"].to_string())
        .collect();
    let tools: Vec<_> = golden["tools"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&parameters)
        .map(|(tool, parameters)| Tool {
            name: tool["function"]["name"].as_str().unwrap(),
            description: tool["function"]["description"].as_str().unwrap(),
            parameters,
        })
        .collect();
    let templates = golden["templates"].as_array().unwrap();
    assert!(templates.len() >= 11);
    for template in templates {
        let name = template["name"].as_str().unwrap();
        let chat = chat(template["template"].as_str().unwrap());
        assert!(name.starts_with(chat.format().form.name), "{name}");
        assert_eq!(chat.takes_parallel_calls(), template["parallel"].as_bool().unwrap(), "{name}");
        let cases = template["cases"].as_array().unwrap();
        assert!(cases.len() >= 8);
        for case in cases {
            let turns =
                golden["conversations"][case["conversation"].as_u64().unwrap() as usize].as_array().unwrap();
            let calls: Vec<_> = turns.iter().map(calls).collect();
            let messages: Vec<_> =
                turns.iter().zip(&calls).map(|(json, calls)| message(json, calls)).collect();
            let conversation = Conversation {
                tools: if case["tools"].as_bool().unwrap() { &tools } else { &[] },
                ..Conversation::new(&messages)
            };
            let text = chat.render(&conversation).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{name}: {messages:?}");
        }
    }
}

/// How the answer to a question is parsed.
fn format_of(template: &str, tools: &[Tool<'_>]) -> Format {
    let file = broken_gguf::good();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let messages = [Message::new("user", "Hi")];
    let conversation = Conversation { tools, ..Conversation::new(&messages) };
    ChatTemplate::new(template, &tokenizer).unwrap().encode(&tokenizer, &conversation, &mut vec![]).unwrap()
}

#[test]
fn an_answer_is_read_as_the_template_and_the_prompt_have_it() {
    let plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
    assert_eq!(format_of(plain, &[]), Format::default().without_calls());
    assert_eq!(format_of(plain, &[CLOCK]), Format::default());
    // It cannot show tools: they are asked for in words, whatever marks it has.
    let marks = format!("{plain}{{# [TOOL_CALLS] #}}");
    assert_eq!(format_of(&marks, &[CLOCK]).form.name, "generic");
    let opens = format!("{plain}<think>\n");
    assert!(format_of(&opens, &[]).starts_open);
    assert_eq!(format_of(&opens, &[]).reasoning.unwrap().close, "</think>");
    let closes = format!("{plain}<think>\n\n</think>\n\n");
    assert!(!format_of(&closes, &[]).starts_open && format_of(&closes, &[]).reasoning.is_some());
}

#[test]
fn the_chat_models_template_shows_tools_calls_and_results_in_the_form_of_hermes() {
    let chat = chat(include_str!("../../../../scripts/train/chat/template.jinja"));
    assert_eq!(chat.format().form.name, "hermes");
    assert!(chat.takes_parallel_calls());
    let parameters = r#"{"type": "object", "properties": {"model": {"type": "string"}}}"#;
    let tools = [CLOCK, Tool { name: "info", description: "Tells facts.", parameters }];
    let calls = [CALL[0], ToolCall { id: "2", name: "info", arguments: r#"{"model": "tiny"}"# }];
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", "When? And what?"),
        Message { tool_calls: &calls, ..Message::new("assistant", "") },
        Message { tool_call_id: "call00001", name: "clock", ..Message::new("tool", "12:00\n") },
        Message { tool_call_id: "2", name: "info", ..Message::new("tool", "small") },
        Message::new("assistant", "At noon. It is small."),
        Message::new("user", "Thanks"),
    ];
    let text = chat.render(&Conversation { tools: &tools, ..Conversation::new(&messages) }).unwrap();
    let expected = r#"<|im_start|>system
Be brief.
Tools:
clock: Tells the time.
info(model): Tells facts.<|im_end|>
<|im_start|>user
When? And what?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "clock", "arguments": {}}
</tool_call><tool_call>
{"name": "info", "arguments": {"model": "tiny"}}
</tool_call><|im_end|>
<|im_start|>tool
12:00<|im_end|>
<|im_start|>tool
small<|im_end|>
<|im_start|>assistant
At noon. It is small.<|im_end|>
<|im_start|>user
Thanks<|im_end|>
<|im_start|>assistant
"#;
    assert_eq!(text.trim_start_matches("<s>"), expected);
    let plain = chat.render(&Conversation::new(&[Message::new("user", "Hi")])).unwrap();
    assert!(plain.ends_with("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"), "{plain}");
    assert!(!plain.contains("system"), "{plain}");
}

const CALL: [ToolCall<'_>; 1] = [ToolCall { id: "call00001", name: "clock", arguments: "" }];
const CLOCK: Tool<'_> = Tool { name: "clock", description: "Tells the time.", parameters: "" };

#[test]
fn a_template_that_knows_no_tools_is_told_of_them_in_words() {
    let chat = chat("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>");
    let messages = [
        Message::new("user", "When?"),
        Message { tool_calls: &CALL, ..Message::new("assistant", "") },
        Message { tool_call_id: "call00001", name: "clock", ..Message::new("tool", "12:00") },
    ];
    let text = chat.render(&Conversation { tools: &[CLOCK], ..Conversation::new(&messages) }).unwrap();
    let (tools, turns) = text.split_once("<user>").unwrap();
    let line = r#"{"name": "clock", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}}}"#;
    assert!(tools.starts_with("<system>You can call these tools") && tools.contains(line), "{tools}");
    assert_eq!(
        turns,
        "When?<assistant><tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>\
         <user><tool_response>\n12:00\n</tool_response><assistant>"
    );
    assert!(chat.takes_parallel_calls());
}

#[test]
fn arguments_and_parameters_that_are_no_objects_are_refused_by_name() {
    let chat = chat(
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}\
         {% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}",
    );
    for arguments in ["{", "[]", "x", "{} {}"] {
        let calls = [ToolCall { arguments, ..CALL[0] }];
        let messages = [Message { tool_calls: &calls, ..Message::new("assistant", "") }];
        let error = chat.render(&Conversation::new(&messages)).unwrap_err();
        assert_eq!(error, ChatError::Arguments("clock".into()), "{arguments}");
        assert_eq!(
            error.to_string(),
            "the arguments of a call of \"clock\" are no JSON object, or nest too deep"
        );
        let tools = [Tool { parameters: arguments, ..CLOCK }];
        let error = chat.render(&Conversation { tools: &tools, ..Conversation::new(&[]) }).unwrap_err();
        assert_eq!(error, ChatError::Parameters("clock".into()), "{arguments}");
    }
    let messages = [Message { tool_calls: &CALL, ..Message::new("assistant", "") }];
    assert_eq!(chat.render(&Conversation::new(&messages)).unwrap(), "clock{}");
    // All that a model's calls can have.
    let nested = |n: usize| format!("{}1{}", "{\"a\": ".repeat(n), "}".repeat(n));
    let render = |arguments: &str| {
        let calls = [ToolCall { arguments, ..CALL[0] }];
        let messages = [Message { tool_calls: &calls, ..Message::new("assistant", "") }];
        chat.render(&Conversation::new(&messages))
    };
    let deepest = nested(toolcalls::MAX_DEPTH as usize);
    assert_eq!(render(&deepest).unwrap(), format!("clock{deepest}"));
    assert!(render(&nested(65)).is_err());
}

#[test]
fn developers_are_system_where_the_template_knows_none() {
    let messages = [Message::new("developer", "Be brief."), Message::new("user", "Hi")];
    let text = |template: &str| chat(template).render(&Conversation::new(&messages)).unwrap();
    let any_role = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    assert_eq!(text(any_role), "<system>Be brief.<user>Hi");
    let known = format!("{any_role}{{# system or developer #}}");
    assert_eq!(text(&known), "<developer>Be brief.<user>Hi");
}

#[test]
fn effort_is_told_where_it_is_asked() {
    let messages = [Message::new("user", "Hi")];
    let chat = chat(
        "{{ messages[0].content }} {{ reasoning_effort | default('none') }} {{ reasoning_strength is defined }}",
    );
    let of = |reasoning_effort| {
        chat.render(&Conversation { reasoning_effort, ..Conversation::new(&messages) }).unwrap()
    };
    assert_eq!(of(None), "Hi none False");
    assert_eq!(of(Some("low")), "Hi low True");
}

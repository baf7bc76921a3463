//! Chat templates of files, from a conversation to ids. How templates are rendered is tested in the
//! crate `jinja`.

use llm::chat::{ChatError, ChatTemplate, Conversation, FAMILIES, Message};
use llm::gguf::{Gguf, GgufWriter};
use llm::tokenizer::Tokenizer;

/// A vocabulary (`<s>` is 1, `</s>` is 2) with a chat template.
fn file(template: Option<&str>) -> Vec<u8> {
    let good = broken_gguf::good();
    let good = Gguf::parse(&good, good.len() as u64).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in good.metadata() {
        writer.put(key, value).unwrap();
    }
    if let Some(template) = template {
        writer.put_str("tokenizer.chat_template", template).unwrap();
    }
    let mut file = Vec::new();
    let tensors = writer.write_header(|bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok::<(), std::fmt::Error>(())
    });
    tensors.unwrap().finish().unwrap();
    file
}

const MESSAGES: [Message<'_>; 3] = [
    Message { role: "user", content: "ab" },
    Message { role: "assistant", content: "c</s>" },
    Message { role: "user", content: " d " },
];

const CONVERSATION: Conversation<'_> = Conversation {
    messages: &MESSAGES,
    add_generation_prompt: true,
    enable_thinking: None,
    now_seconds: None,
};

fn render(template: &str, conversation: &Conversation<'_>) -> Result<(String, Vec<u32>), ChatError> {
    let file = file(Some(template));
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let chat = ChatTemplate::from_gguf(&gguf, &tokenizer)?;
    let text = chat.render(conversation)?;
    let mut ids = Vec::new();
    chat.encode(&tokenizer, conversation, &mut ids)?;
    Ok((text, ids))
}

#[test]
fn templates_see_what_they_expect() {
    let template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}|{{ m['content'] | trim }}]{% endfor %}\
        {{ eos_token }}{{ add_generation_prompt }}{{ tools is none }}{{ enable_thinking is defined }}\
        {{ strftime_now('%F') }}";
    let (text, _) = render(template, &CONVERSATION).unwrap();
    assert_eq!(text, "<s>[user|ab][assistant|c</s>][user|d]</s>TrueTrueFalse2024-07-26");
    let asked = Conversation {
        add_generation_prompt: false,
        enable_thinking: Some(false),
        now_seconds: Some(0),
        ..CONVERSATION
    };
    let (text, _) =
        render("{{ add_generation_prompt }} {{ enable_thinking }} {{ strftime_now('%Y') }}", &asked).unwrap();
    assert_eq!(text, "False False 1970");
}

#[test]
fn every_way_to_tell_the_date_tells_the_same_one() {
    let template =
        "{{ messages[0].content }} {{ strftime_now('%d %B %Y') }}, {{ date_string }}, {{ datetime }}";
    let at = |now_seconds| render(template, &Conversation { now_seconds, ..CONVERSATION }).unwrap().0;
    assert_eq!(at(Some(1_900_000_000)), "ab 17 March 2030, 17 Mar 2030, Mar 17 2030");
    assert_eq!(at(None), "ab 26 July 2024, 26 Jul 2024, Jul 26 2024");
}

#[test]
fn a_text_begins_with_one_bos() {
    let (_, written) = render("{{ bos_token }}ab{{ eos_token }}", &CONVERSATION).unwrap();
    let (_, added) = render("ab{{ eos_token }}", &CONVERSATION).unwrap();
    assert_eq!(written[0], 1);
    assert_eq!(written.iter().filter(|&&id| id == 1).count(), 1);
    assert_eq!(added[0], 1);
    assert_eq!((written.last(), added.last()), (Some(&2), Some(&2)));
}

#[test]
fn a_file_without_a_template_can_have_one_by_name() {
    let file = file(None);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    assert_eq!(ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap_err(), ChatError::NoTemplate);
    let chat = ChatTemplate::by_name("chatml", &tokenizer).unwrap();
    assert_eq!(
        chat.render(&CONVERSATION).unwrap(),
        "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\nc</s><|im_end|>\n\
         <|im_start|>user\n d <|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn formats_with_a_name_are_those_that_models_bring() {
    // 2024-07-26: the date that the golden texts have.
    const NOW_SECONDS: u64 = 1_721_995_200;
    let file = file(None);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/chat_families.json")).unwrap();
    assert_eq!(golden.as_object().unwrap().len(), FAMILIES.len());
    for family in FAMILIES {
        let chat = ChatTemplate::by_name(family.name, &tokenizer).unwrap();
        let cases = golden[family.name].as_array().unwrap();
        assert!(cases.len() > 2);
        for case in cases {
            let turns = case["messages"].as_array().unwrap().iter();
            let messages: Vec<_> = turns
                .map(|turn| Message { role: turn[0].as_str().unwrap(), content: turn[1].as_str().unwrap() })
                .collect();
            let conversation = Conversation {
                messages: &messages,
                add_generation_prompt: true,
                enable_thinking: case["enable_thinking"].as_bool(),
                now_seconds: Some(NOW_SECONDS),
            };
            let text = chat.render(&conversation).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{}: {messages:?}", family.name);
        }
    }
    let unknown = ChatTemplate::by_name("chatgml", &tokenizer).unwrap_err().to_string();
    assert!(unknown.contains("\"chatgml\"") && unknown.contains("chatml, command-r"), "{unknown}");
}

#[test]
fn a_broken_or_refusing_template_is_an_error_of_one_line() {
    let message = |template| render(template, &CONVERSATION).unwrap_err().to_string();
    assert_eq!(
        message("{% for m in messages %}"),
        "chat template: line 1 of the template: a block without an end"
    );
    assert_eq!(
        message("\n{{ raise_exception('Roles must\nalternate') }}"),
        "chat template: line 2 of the template: the template refuses: Roles must\\nalternate"
    );
}

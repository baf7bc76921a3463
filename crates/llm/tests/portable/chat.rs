//! Chat templates in files, from a conversation to ids. The tests of rendering itself are in the crate `jinja`.

use llm::chat::{ChatError, ChatTemplate, Conversation, Dialogue, FAMILIES, Format, Message, Room};
use llm::gguf::{Gguf, GgufWriter};
use llm::tokenizer::Tokenizer;

/// A vocabulary (`<s>` is 1, `</s>` is 2) with a chat template.
fn file(template: Option<&str>) -> Vec<u8> {
    file_with("tokenizer.chat_template", template)
}

/// The same with the template under another key.
fn file_with(key: &str, template: Option<&str>) -> Vec<u8> {
    let good = broken_gguf::good();
    let good = Gguf::parse(&good, good.len() as u64).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in good.metadata() {
        writer.put(key, value).unwrap();
    }
    if let Some(template) = template {
        writer.put_str(key, template).unwrap();
    }
    let mut file = Vec::new();
    let tensors = writer.write_header(|bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok::<(), std::fmt::Error>(())
    });
    tensors.unwrap().finish().unwrap();
    file
}

const MESSAGES: [Message<'_>; 3] =
    [Message::new("user", "ab"), Message::new("assistant", "c</s>"), Message::new("user", " d ")];

const CONVERSATION: Conversation<'_> = Conversation::new(&MESSAGES);

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
        {{ eos_token }}{{ add_generation_prompt }}{{ tools is none }}{{ enable_thinking }}\
        {{ thinking is defined }}{{ strftime_now('%F') }}";
    let (text, _) = render(template, &CONVERSATION).unwrap();
    assert_eq!(text, "<s>[user|ab][assistant|c</s>][user|d]</s>TrueTrueTrueFalse2024-07-26");
    let asked = Conversation {
        add_generation_prompt: false,
        enable_thinking: Some(false),
        now_seconds: Some(0),
        ..CONVERSATION
    };
    let template = "{{ messages[2].content }}{{ add_generation_prompt }} {{ enable_thinking }} {{ thinking }} \
        {{ strftime_now('%Y') }}";
    let (text, _) = render(template, &asked).unwrap();
    assert_eq!(text, " d False False False 1970");
}

#[test]
fn every_way_to_tell_the_date_tells_the_same_one() {
    let template =
        "{{ messages[2].content }}{{ strftime_now('%d %B %Y') }}, {{ date_string }}, {{ datetime }}";
    let at = |now_seconds| render(template, &Conversation { now_seconds, ..CONVERSATION }).unwrap().0;
    assert_eq!(at(Some(1_900_000_000)), " d 17 March 2030, 17 Mar 2030, Mar 17 2030");
    assert_eq!(at(None), " d 26 July 2024, 26 Jul 2024, Jul 26 2024");
}

#[test]
fn a_text_begins_with_one_bos() {
    let said = "{{ messages[2].content }}{{ eos_token }}";
    let (_, written) = render(&format!("{{{{ bos_token }}}}{said}"), &CONVERSATION).unwrap();
    let (_, added) = render(said, &CONVERSATION).unwrap();
    assert_eq!(written[0], 1);
    assert_eq!(written.iter().filter(|&&id| id == 1).count(), 1);
    assert_eq!(added[0], 1);
    assert_eq!((written.last(), added.last()), (Some(&2), Some(&2)));
}

#[test]
fn an_empty_template_is_none() {
    for template in ["", " \n"] {
        assert_eq!(render(template, &CONVERSATION).unwrap_err(), ChatError::NoTemplate);
    }
}

#[test]
fn a_template_for_tools_stands_in_for_one_that_is_missing() {
    let file = file_with("tokenizer.chat_template.tool_use", Some("<{{ messages[2].content }}>"));
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let chat = ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap();
    assert_eq!(chat.render(&CONVERSATION).unwrap(), "< d >");
}

/// A conversation of these messages, each a role and a content.
fn text_of(template: &str, messages: &[(&str, &str)]) -> Result<String, ChatError> {
    let messages: Vec<_> = messages.iter().map(|&(role, content)| Message::new(role, content)).collect();
    render(template, &Conversation { messages: &messages, ..CONVERSATION }).map(|(text, _)| text)
}

#[test]
fn messages_come_in_the_form_that_a_template_reads() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../golden/chat_forms.json")).unwrap();
    for case in golden.as_array().unwrap() {
        let turns = case["messages"].as_array().unwrap().iter();
        let messages: Vec<_> =
            turns.map(|turn| (turn[0].as_str().unwrap(), turn[1].as_str().unwrap())).collect();
        let text = text_of(case["template"].as_str().unwrap(), &messages).unwrap();
        assert_eq!(text, case["text"].as_str().unwrap(), "{}: {messages:?}", case["name"]);
    }
}

#[test]
fn what_the_user_says_is_never_left_out_without_a_word() {
    let message = |template| text_of(template, &[("user", "Hello")]).unwrap_err();
    for template in ["Hi!", "{% for m in messages %}{{ m.role }}{% endfor %}", "{{ messages[0].text }}"] {
        assert_eq!(message(template), ChatError::MessageLost);
    }
    assert!(message("Hi!").is_about_the_template());
    assert!(message("Hi!").to_string().contains("leaves out what the user says"));
    // Changed is not left out.
    assert_eq!(text_of("{{ messages[0].content | upper }}", &[("user", "Hello")]).unwrap(), "HELLO");
    assert_eq!(text_of("nothing", &[("user", " ")]).unwrap(), "nothing");
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
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../golden/chat_families.json")).unwrap();
    assert_eq!(golden.as_object().unwrap().len(), FAMILIES.len());
    for family in FAMILIES {
        let chat = ChatTemplate::by_name(family.name, &tokenizer).unwrap();
        let cases = golden[family.name].as_array().unwrap();
        assert!(cases.len() > 2);
        for case in cases {
            let turns = case["messages"].as_array().unwrap().iter();
            let messages: Vec<_> = turns
                .map(|turn| Message::new(turn[0].as_str().unwrap(), turn[1].as_str().unwrap()))
                .collect();
            let conversation = Conversation {
                enable_thinking: case["enable_thinking"].as_bool(),
                now_seconds: Some(NOW_SECONDS),
                ..Conversation::new(&messages)
            };
            let text = chat.render(&conversation).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{}: {messages:?}", family.name);
        }
    }
    let unknown = ChatTemplate::by_name("chatgml", &tokenizer).unwrap_err().to_string();
    assert!(unknown.contains("\"chatgml\"") && unknown.contains("chatml, command-r"), "{unknown}");
}

/// A dialogue whose turns get longer and longer.
fn long_dialogue(system: Option<&str>, n_turns: usize) -> Dialogue {
    let mut dialogue = Dialogue::default();
    dialogue.begin(system).unwrap();
    for turn in 0..n_turns {
        dialogue.ask(&"ab".repeat(turn + 1)).unwrap();
        if turn + 1 < n_turns {
            dialogue.answer("c", Format::default()).unwrap();
        }
    }
    dialogue
}

#[test]
fn a_dialogue_longer_than_the_context_loses_its_oldest_turns() {
    let file = file(Some("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"));
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let chat = ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap();
    let settings = Conversation { messages: &[], ..CONVERSATION };
    let encode = |dialogue: &Dialogue| {
        let mut ids = vec![];
        let messages = dialogue.messages(&[]).unwrap();
        chat.encode(&tokenizer, &Conversation { messages: &messages, ..settings }, &mut ids).unwrap();
        ids
    };
    for (system, n_turns) in [(None, 1), (None, 2), (Some("abc"), 2), (None, 9), (Some("abc"), 9)] {
        let whole = long_dialogue(system, n_turns);
        let n_first = usize::from(system.is_some());
        // The dialogue without its oldest turns, for each number of them, and its ids.
        let shortened: Vec<_> = (0..n_turns)
            .map(|n_forgotten| {
                let mut dialogue = Dialogue::default();
                dialogue.begin(system).unwrap();
                for message in &whole.messages(&[]).unwrap()[n_first + 2 * n_forgotten..] {
                    match message.role {
                        "user" => dialogue.ask(message.content).unwrap(),
                        _ => dialogue.answer(message.content, Format::default()).unwrap(),
                    }
                }
                let ids = encode(&dialogue);
                (dialogue, ids)
            })
            .collect();
        let lens: Vec<_> = shortened.iter().map(|(_, ids)| ids.len()).collect();
        for n_ctx in 1..=lens[0] + 20 {
            for max_tokens in [1, 5, usize::MAX] {
                let mut dialogue = whole.clone();
                let mut ids = vec![7];
                let room = Room { n_ctx, max_tokens };
                let result = chat.encode_dialogue(&tokenizer, &dialogue, &settings, room, &mut ids);
                let case = format!("{lens:?}, {room:?}: {result:?}");
                let shortest = *lens.last().unwrap();
                if shortest > n_ctx {
                    let error = ChatError::MessageTooLong { n_tokens: shortest, n_ctx };
                    assert_eq!((result, &dialogue), (Err(error), &whole), "{case}");
                    continue;
                }
                let (_, forgotten) = result.unwrap();
                let n_forgotten = forgotten.map_or(0, |forgotten| forgotten.n_turns);
                dialogue.forget(n_forgotten);
                assert!(forgotten.is_none_or(|forgotten| forgotten.n_turns > 0 && forgotten.n_ctx == n_ctx));
                let (expected, expected_ids) = &shortened[n_forgotten];
                assert_eq!((&dialogue, &ids[1..]), (expected, &expected_ids[..]), "{case}");
                // An answer has room, and nothing is forgotten without need.
                let answer = max_tokens.min(n_ctx / 4);
                assert!(lens[n_forgotten] + answer <= n_ctx || n_forgotten + 1 == n_turns, "{case}");
                if n_forgotten > 0 {
                    assert!(lens[0] + answer > n_ctx, "{case}");
                    assert!(lens[n_forgotten - 1] > n_ctx / 2, "{case}");
                }
            }
        }
    }
}

#[test]
fn what_is_forgotten_is_said_in_a_line() {
    let line = |n_turns| llm::chat::Forgotten { n_turns, n_ctx: 512 }.to_string();
    assert_eq!(line(1), "the context of 512 tokens is full: the oldest turn is forgotten");
    assert_eq!(line(3), "the context of 512 tokens is full: the oldest 3 turns are forgotten");
    let too_long = ChatError::MessageTooLong { n_tokens: 700, n_ctx: 512 }.to_string();
    assert!(too_long.contains("prompt of 700 tokens, the context has 512 positions"), "{too_long}");
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

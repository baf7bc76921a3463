//! What a template supports, determined by trying it: [`Capabilities`].
//!
//! Most templates take the content of a message as a text. Some take a list of parts, `[{"type": "text", "text":
//! "…"}]`, and show nothing of a text, or fail. Some do not support system messages: they refuse them or leave them
//! out. Some show tools, calls and results; of these, some take the arguments of a call only as a dict, some only as
//! text. No template states what it supports. But if a template is filled in with a conversation of markers, its output
//! contains the markers that it can read.
//!
//! Source: llama.cpp probes templates for the same properties (`common/jinja/caps.cpp`).

use alloc::string::String;

use super::{Message, Tool, ToolCall};

/// The form in which a template takes the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentForm {
    /// As a text.
    Text,
    /// As a list of parts; one of them is the text.
    Parts,
}

/// The form in which a template takes the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentsForm {
    /// As a dict.
    Object,
    /// As the text of a JSON object.
    Text,
}

/// What a template supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// The form of the user's messages.
    pub user: ContentForm,
    /// The form of the model's messages.
    pub assistant: ContentForm,
    /// The form of system messages; `None` if they are not supported.
    pub system: Option<ContentForm>,
    /// Whether it iterates over the tools without checking that there are some. It then needs an empty list.
    pub needs_tools: bool,
    /// Whether it shows tools.
    pub tools: bool,
    /// The form of the arguments of calls; `None` if it does not show both calls and results.
    pub tool_calls: Option<ArgumentsForm>,
    /// Whether it shows several calls of one message.
    pub parallel_calls: bool,
    /// The form of results.
    pub result: ContentForm,
    /// Whether it distinguishes a developer's message from a system message.
    pub developer: bool,
    /// Whether it reads thoughts under the key `thinking`, as gpt-oss calls them.
    pub thinking_key: bool,
}

const SYSTEM: Message<'_> = Message::new("system", "FerriteProbeSystem");
const DEVELOPER: Message<'_> = Message::new("developer", "FerriteProbeDeveloper");
const QUESTION: Message<'_> = Message::new("user", "FerriteProbeQuestion");
const ANSWER: Message<'_> = Message::new("assistant", "FerriteProbeAnswer");
const NEXT_QUESTION: Message<'_> = Message::new("user", "FerriteProbeNext");

const TOOL: Tool<'_> = Tool {
    name: "ferrite_probe_tool",
    description: "FerriteProbeDescription",
    parameters: r#"{"type": "object", "properties": {"ferrite_key": {"type": "string", "description": "a"}},
        "required": ["ferrite_key"]}"#,
};
const CALLS: [ToolCall<'_>; 2] = [
    ToolCall {
        id: "call00001",
        name: "ferrite_probe_call",
        arguments: r#"{"ferrite_argument": "FerriteProbeValue"}"#,
    },
    ToolCall {
        id: "call00002",
        name: "ferrite_probe_other",
        arguments: r#"{"ferrite_argument": "FerriteProbeMore"}"#,
    },
];
const RESULT: Message<'_> =
    Message { tool_call_id: CALLS[0].id, name: CALLS[0].name, ..Message::new("tool", "FerriteProbeResult") };
const OTHER_RESULT: Message<'_> =
    Message { tool_call_id: CALLS[1].id, name: CALLS[1].name, ..Message::new("tool", "FerriteProbeOther") };

/// The text that replaces the last user message of a conversation, to see whether the output changes.
pub(super) const OTHER_QUESTION: &str = QUESTION.content;

/// Fills in a template as if it had some capabilities.
type Render<'r> = &'r dyn Fn(&[Message<'_>], &[Tool<'_>], Capabilities) -> Option<String>;

impl Capabilities {
    /// The capabilities of a template that takes every message as a text.
    pub const TEXT: Self = Self {
        user: ContentForm::Text,
        assistant: ContentForm::Text,
        system: Some(ContentForm::Text),
        needs_tools: false,
        tools: false,
        tool_calls: None,
        parallel_calls: false,
        result: ContentForm::Text,
        developer: false,
        thinking_key: false,
    };

    /// Determines what a template with this source supports. `render` fills it in as if it had the given capabilities;
    /// it returns `None` if the template fails.
    pub fn probe(source: &str, render: Render<'_>) -> Self {
        let found = Self::probe_texts(render);
        let found = Self {
            // Most templates that show this message would show any unknown role, so their source must name this one.
            developer: source.contains("developer") && {
                let tried = Self { developer: true, ..found };
                let text = render(&[DEVELOPER, QUESTION], &[], tried);
                text.is_some_and(|text| shows(&text, DEVELOPER.content))
            },
            thinking_key: source.contains("message.thinking") && source.contains("<|channel|>"),
            ..found
        };
        found.probe_tools(render)
    }

    /// Probes messages of plain text.
    fn probe_texts(render: Render<'_>) -> Self {
        use ContentForm::{Parts, Text};
        // How many of the messages are shown.
        let shown = |messages: &[Message<'_>], capabilities| match render(messages, &[], capabilities) {
            Some(text) => messages.iter().filter(|message| shows(&text, message.content)).count(),
            None => 0,
        };

        // The other conversations are for a template that refuses the first one for a reason other than its form.
        let conversations =
            [&[QUESTION, ANSWER, NEXT_QUESTION][..], &[QUESTION], &[SYSTEM, QUESTION, ANSWER, NEXT_QUESTION]];
        let mut found = Self::TEXT;
        let circumstances = [false, true].into_iter().flat_map(|needs_tools| {
            conversations.into_iter().map(move |conversation| (needs_tools, conversation))
        });
        for (needs_tools, conversation) in circumstances {
            let mut most_shown = 0;
            for (user, assistant) in [(Text, Text), (Parts, Parts), (Parts, Text), (Text, Parts)] {
                if most_shown == conversation.len() {
                    break;
                }
                let tried = Self { user, assistant, system: Some(user), needs_tools, ..Self::TEXT };
                let n_shown = shown(conversation, tried);
                if n_shown > most_shown {
                    (found, most_shown) = (tried, n_shown);
                }
            }
            if most_shown > 0 {
                break;
            }
        }

        let forms = if found.user == Text { [Text, Parts] } else { [Parts, Text] };
        let with_system = forms.map(|form| Self { system: Some(form), ..found });
        let conversation = [SYSTEM, QUESTION];
        let known = with_system.into_iter().find(|&tried| shown(&conversation, tried) == conversation.len());
        known.unwrap_or(Self { system: None, ..found })
    }

    /// Probes tools, calls and results.
    fn probe_tools(self, render: Render<'_>) -> Self {
        let shows_tools = |conversation: &[Message<'_>]| {
            let text = render(conversation, &[TOOL], Self { tools: true, ..self });
            text.is_some_and(|text| text.contains(TOOL.name))
        };
        let mut found = self;
        found.tools = shows_tools(&[QUESTION]) || shows_tools(&[SYSTEM, QUESTION]);
        let called = |calls| Message { tool_calls: calls, ..Message::new("assistant", "") };
        let conversation = [QUESTION, called(&CALLS[..1]), RESULT];
        'forms: for form in [ArgumentsForm::Object, ArgumentsForm::Text] {
            for result in [ContentForm::Text, ContentForm::Parts] {
                let tried = Self { tools: true, tool_calls: Some(form), result, ..found };
                if render(&conversation, &[TOOL], tried).is_some_and(|text| {
                    shows_call(&text, CALLS[0].name, "FerriteProbeValue") && text.contains(RESULT.content)
                }) {
                    found = Self { tools: found.tools, ..tried };
                    break 'forms;
                }
            }
        }
        let conversation = [QUESTION, called(&CALLS), RESULT, OTHER_RESULT];
        found.parallel_calls = found.tool_calls.is_none()
            || render(&conversation, &[TOOL], Self { tools: true, ..found })
                .is_some_and(|text| shows_call(&text, CALLS[1].name, "FerriteProbeMore"));
        found
    }

    /// Renders a conversation with a call of a tool.
    pub fn call_conversation(render: impl FnOnce(&[Message<'_>], &[Tool<'_>]) -> String) -> String {
        let call = Message { tool_calls: &CALLS[..1], ..Message::new("assistant", "") };
        render(&[QUESTION, call, RESULT], &[TOOL])
    }

    /// The form of a message with this role.
    pub fn form_of(&self, role: &str) -> ContentForm {
        match role {
            "system" => self.system.unwrap_or(self.user),
            "assistant" => self.assistant,
            "tool" => self.result,
            _ => self.user,
        }
    }
}

/// Whether `content` is shown, but not as part of a list in Python's notation.
fn shows(text: &str, content: &str) -> bool {
    text.match_indices(content).any(|(at, _)| !text[..at].ends_with(['\'', '"']))
}

/// Whether a call is shown properly with its argument: neither as a JSON string inside JSON nor as a dict in Python's
/// notation.
fn shows_call(text: &str, name: &str, value: &str) -> bool {
    text.contains(name)
        && text.contains(value)
        && !text.contains("\\\"ferrite_argument")
        && !text.contains("'ferrite_argument'")
}

//! What a template can read, found out by trying: [`Capabilities`].
//!
//! Most templates take the content of a message as a text. Some take a list of parts,
//! `[{"type": "text", "text": "…"}]`, and of a text show nothing, or fail. Some know no system messages:
//! they refuse them or leave them out. No template says so; but from one that is filled in with a
//! conversation of markers, the markers that it can read come out.
//!
//! Source: llama.cpp tries templates out for the same properties (`common/jinja/caps.cpp`).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::{ChatError, Message};

/// How a template takes the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentForm {
    /// As a text.
    Text,
    /// As a list of parts, one of which is the text.
    Parts,
}

/// What a template can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// The form of what the user says.
    pub user: ContentForm,
    /// The form of what the model says.
    pub assistant: ContentForm,
    /// The form of system messages; `None` if there can be none.
    pub system: Option<ContentForm>,
    /// Whether it goes through a list of tools without asking if there is one: it then gets an empty list.
    pub needs_tools: bool,
}

const SYSTEM: Message<'_> = Message { role: "system", content: "FerriteProbeSystem" };
const QUESTION: Message<'_> = Message { role: "user", content: "FerriteProbeQuestion" };
const ANSWER: Message<'_> = Message { role: "assistant", content: "FerriteProbeAnswer" };
const NEXT_QUESTION: Message<'_> = Message { role: "user", content: "FerriteProbeNext" };

/// What the last user message of a conversation is replaced by, to see whether that makes a difference.
pub(super) const OTHER_QUESTION: &str = QUESTION.content;

impl Capabilities {
    /// Those of a template that takes every message as a text.
    pub const TEXT: Self = Self {
        user: ContentForm::Text,
        assistant: ContentForm::Text,
        system: Some(ContentForm::Text),
        needs_tools: false,
    };

    /// Finds out what a template can read. `render` fills it in as if it had these capabilities; `None`
    /// if it fails.
    pub fn probe(render: impl Fn(&[Message<'_>], Self) -> Option<String>) -> Self {
        use ContentForm::{Parts, Text};
        // Whether all messages are shown, or else how many.
        let shown = |messages: &[Message<'_>], capabilities| match render(messages, capabilities) {
            Some(text) => messages.iter().filter(|message| shows(&text, message.content)).count(),
            None => 0,
        };

        // The others for a template that refuses the first for another reason than its form.
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
                let tried = Self { user, assistant, system: Some(user), needs_tools };
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

    /// The form of a message with this role.
    pub fn form_of(&self, role: &str) -> ContentForm {
        match role {
            "system" => self.system.unwrap_or(self.user),
            "assistant" => self.assistant,
            _ => self.user,
        }
    }
}

/// Whether a content is shown, and not as part of a list that was printed as Python writes it.
fn shows(text: &str, content: &str) -> bool {
    text.match_indices(content).any(|(at, _)| !text[..at].ends_with(['\'', '"']))
}

/// The messages, with those of the system in front of the user's next.
///
/// # Errors
/// [`ChatError::OutOfMemory`].
pub(super) fn without_system<'m>(
    messages: &[Message<'m>],
) -> Result<Vec<(&'m str, Cow<'m, str>)>, ChatError> {
    let mut merged: Vec<(&str, Cow<'_, str>)> = Vec::new();
    let needed_bytes = messages.len().saturating_mul(size_of::<(&str, Cow<'_, str>)>());
    merged.try_reserve(messages.len()).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
    let mut system: Option<Cow<'_, str>> = None;
    for &Message { role, content } in messages {
        let in_front = match role {
            "system" | "user" => system.take(),
            _ => None,
        };
        let content = match in_front {
            Some(before) => Cow::Owned(joined(&before, content)?),
            None => Cow::Borrowed(content),
        };
        match role {
            "system" => system = Some(content),
            _ => merged.push((role, content)),
        }
    }
    // Nothing that was said is lost.
    if let Some(system) = system {
        merged.push(("user", system));
    }
    Ok(merged)
}

/// Two texts as two lines.
fn joined(first: &str, second: &str) -> Result<String, ChatError> {
    let needed_bytes = first.len().saturating_add(second.len()).saturating_add(1);
    let mut text = String::new();
    text.try_reserve_exact(needed_bytes).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
    text.extend([first, "\n", second]);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_messages_go_before_what_the_user_says_next() {
        let message = |(role, content)| Message { role, content };
        let merged = |messages: &[(&'static str, &'static str)]| {
            let messages: Vec<_> = messages.iter().copied().map(message).collect();
            let merged = without_system(&messages).unwrap();
            merged.into_iter().map(|(role, text)| (role, text.into_owned())).collect::<Vec<_>>()
        };
        let said = |role, text: &str| (role, String::from(text));
        assert_eq!(merged(&[("system", "s"), ("user", "u")]), [said("user", "s\nu")]);
        assert_eq!(
            merged(&[("system", "a"), ("system", "b"), ("assistant", "c"), ("user", "d"), ("user", "e")]),
            [said("assistant", "c"), said("user", "a\nb\nd"), said("user", "e")]
        );
        assert_eq!(merged(&[("user", "u"), ("system", "s")]), [said("user", "u"), said("user", "s")]);
        assert_eq!(merged(&[]), []);
    }
}

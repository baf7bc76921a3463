//! [`Prompter`] turns texts and dialogues into prompts.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ::grammar::Vocabulary;

use super::guide::Kept;
use super::{ChatFormat, FrontError, Prompt, grammar};
use crate::chat::{ChatError, ChatTemplate, Conversation, Forgotten, Format, Message, Room};
use crate::gguf::Gguf;
use crate::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};

/// The chat format that was used last, and its name if it is not the file's own.
type NamedFormat = (Option<String>, ChatTemplate);

/// Facts about a prompt that was encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The turns of a dialogue that did not fit.
    pub forgotten: Option<Forgotten>,
    /// How to parse the answer, if a chat format made the prompt.
    pub format: Option<Format>,
}

/// The vocabulary and the chat format of a model. If the vocabulary cannot be used, prompts must be given as token ids.
pub struct Prompter<'m> {
    gguf: Gguf<'m>,
    pub(super) tokenizer: Result<Tokenizer<'m>, TokenizerError>,
    chat: Option<NamedFormat>,
    /// The tree of the tokens, made when a grammar first needs it.
    tree: Option<Arc<Vocabulary>>,
    /// The grammar rules that recent requests used.
    pub(super) kept: Kept,
}

impl<'m> Prompter<'m> {
    /// The prompter for a file. If the file's vocabulary cannot be used, only requests that need it fail, at the time
    /// they need it.
    ///
    /// # Errors
    /// [`FrontError::Tokenizer`] if there is no memory for the vocabulary's tables.
    pub fn new(gguf: Gguf<'m>) -> Result<Self, FrontError> {
        match Tokenizer::from_gguf(&gguf) {
            Err(error @ TokenizerError::OutOfMemory { .. }) => Err(error.into()),
            tokenizer => Ok(Self { gguf, tokenizer, chat: None, tree: None, kept: Kept::default() }),
        }
    }

    /// The file.
    pub fn gguf(&self) -> &Gguf<'m> {
        &self.gguf
    }

    /// The vocabulary.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn tokenizer(&self) -> Result<&Tokenizer<'m>, TokenizerError> {
        usable(&self.tokenizer)
    }

    /// The vocabulary in the form that grammars need, for a model with logits for `n_vocab` tokens. Made at the first call.
    ///
    /// # Errors
    /// Why the vocabulary cannot be used, or that the heap has no room.
    pub fn grammar_vocabulary(&mut self, n_vocab: usize) -> Result<Arc<Vocabulary>, FrontError> {
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => Arc::new(grammar::vocabulary(usable(&self.tokenizer)?, n_vocab)?),
        };
        Ok(self.tree.insert(tree).clone())
    }

    /// Prepares the chat format of this name, or the file's own without a name, unless it is the one used last. Thus an
    /// unusable format is refused before a conversation begins.
    ///
    /// # Errors
    /// [`FrontError::FileTemplate`] if the file has no format or a broken one, [`FrontError::Chat`] if there is none of
    /// this name.
    pub fn prepare_chat(&mut self, name: Option<&str>) -> Result<(), FrontError> {
        ready(&mut self.chat, &self.gguf, usable(&self.tokenizer)?, name).map(drop)
    }

    /// Appends the ids of a prompt to `out`, and returns how to parse the answer. Turns of a dialogue that do not fit are left out and
    /// counted; a caller that uses the prompt must have the dialogue [forget](crate::chat::Dialogue::forget) them.
    ///
    /// # Errors
    /// [`FrontError::Tokenizer`], [`FrontError::Chat`] and [`FrontError::FileTemplate`].
    pub fn encode(
        &mut self,
        prompt: &Prompt<'_>,
        room: Room,
        out: &mut Vec<u32>,
    ) -> Result<Encoded, FrontError> {
        match prompt {
            Prompt::Text(text, options) => self.tokenizer()?.encode(text, *options, out)?,
            Prompt::Ids(ids) => {
                let needed_bytes = size_of_val(*ids);
                out.try_reserve(ids.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
                out.extend_from_slice(ids);
            }
            Prompt::Pair(query, document) => self.encode_pair(query, document, out)?,
            Prompt::Encoded(ids, format, _) => {
                self.encode(&Prompt::Ids(ids), room, out)?;
                return Ok(Encoded { forgotten: None, format: *format });
            }
            Prompt::Chat(dialogue, format) => {
                let tokenizer = usable(&self.tokenizer)?;
                let chat = ready(&mut self.chat, &self.gguf, tokenizer, format.template)?;
                let (format, forgotten) = chat
                    .encode_dialogue(tokenizer, dialogue, &conversation(&[], format), room, out)
                    .map_err(of_format(format.template))?;
                return Ok(Encoded { forgotten, format: Some(format) });
            }
            Prompt::Messages(messages, format) => {
                let tokenizer = usable(&self.tokenizer)?;
                let chat = ready(&mut self.chat, &self.gguf, tokenizer, format.template)?;
                let format = chat
                    .encode(tokenizer, &conversation(messages, format), out)
                    .map_err(of_format(format.template))?;
                return Ok(Encoded { forgotten: None, format: Some(format) });
            }
        }
        Ok(Encoded::default())
    }

    /// Appends the ids of a query and of a document to be ranked by it, in the form that the model was trained on: by the file's format
    /// `tokenizer.chat_template.rerank` if there is one; otherwise one after the other, with the tokens between and around them that the
    /// file asks for.
    ///
    /// # Errors
    /// [`FrontError::Tokenizer`]; [`FrontError::Gguf`] if a key has another type; [`FrontError::OutOfHeap`].
    pub fn encode_pair(&self, query: &str, document: &str, out: &mut Vec<u32>) -> Result<(), FrontError> {
        let tokenizer = self.tokenizer()?;
        let plain = EncodeOptions { add_special: false, parse_special: false };
        if let Some(format) = self.gguf.str_value("tokenizer.chat_template.rerank")? {
            let pair = replaced(&replaced(format, "{query}", query)?, "{document}", document)?;
            tokenizer.encode(&pair, EncodeOptions { parse_special: true, ..plain }, out)?;
            return Ok(());
        }
        let adds_separator = match self.gguf.bool_value("tokenizer.ggml.add_sep_token")? {
            Some(adds_separator) => adds_separator,
            None => tokenizer.ends_with_separator(),
        };
        let end = tokenizer.eos_id().or(tokenizer.separator_id());
        let end = end.filter(|_| tokenizer.add_eos());
        let begin = tokenizer.bos_id().filter(|_| tokenizer.add_bos());
        let separator = tokenizer.separator_id().filter(|_| adds_separator);
        out.try_reserve(4).map_err(|_| FrontError::OutOfHeap { needed_bytes: 4 * size_of::<u32>() })?;
        out.extend(begin);
        tokenizer.encode(query, plain, out)?;
        out.try_reserve(2).map_err(|_| FrontError::OutOfHeap { needed_bytes: 2 * size_of::<u32>() })?;
        out.extend(end);
        out.extend(separator);
        tokenizer.encode(document, plain, out)?;
        out.try_reserve(1).map_err(|_| FrontError::OutOfHeap { needed_bytes: size_of::<u32>() })?;
        out.extend(end);
        Ok(())
    }

    /// The text of the prompt that [`Prompt::Messages`] makes from a conversation.
    ///
    /// # Errors
    /// [`FrontError::Chat`] and [`FrontError::FileTemplate`].
    pub fn render(
        &mut self,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, FrontError> {
        let chat = ready(&mut self.chat, &self.gguf, usable(&self.tokenizer)?, format.template)?;
        chat.render(&conversation(messages, format)).map_err(of_format(format.template))
    }
}

/// The text with each `old` replaced by `new`.
fn replaced(text: &str, old: &str, new: &str) -> Result<String, FrontError> {
    let n = text.matches(old).count();
    let needed_bytes = n.saturating_mul(new.len()).saturating_add(text.len() - n * old.len());
    let mut replaced = String::new();
    replaced.try_reserve_exact(needed_bytes).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    for (index, piece) in text.split(old).enumerate() {
        replaced.push_str(if index > 0 { new } else { "" });
        replaced.push_str(piece);
    }
    Ok(replaced)
}

fn usable<'t, 'm>(
    tokenizer: &'t Result<Tokenizer<'m>, TokenizerError>,
) -> Result<&'t Tokenizer<'m>, TokenizerError> {
    tokenizer.as_ref().map_err(|error| *error)
}

/// A conversation that ends where the model answers.
fn conversation<'c>(messages: &'c [Message<'c>], format: &ChatFormat<'c>) -> Conversation<'c> {
    let &ChatFormat { template: _, enable_thinking, reasoning_effort, tools, now_seconds } = format;
    Conversation {
        messages,
        tools,
        add_generation_prompt: true,
        enable_thinking,
        reasoning_effort,
        now_seconds,
    }
}

/// The chat format of this name, or the file's own without a name: the one in `kept` if it matches, else a new one that
/// replaces it.
fn ready<'c>(
    kept: &'c mut Option<NamedFormat>,
    gguf: &Gguf<'_>,
    tokenizer: &Tokenizer<'_>,
    name: Option<&str>,
) -> Result<&'c ChatTemplate, FrontError> {
    // A format with another name is dropped before the new one is parsed, to free its memory.
    let known = kept.take().filter(|(known, _)| known.as_deref() == name);
    let format = match (known, name) {
        (Some(format), _) => format,
        (None, Some(name)) => (Some(name.into()), ChatTemplate::by_name(name, tokenizer)?),
        (None, None) => (None, ChatTemplate::from_gguf(gguf, tokenizer).map_err(of_format(None))?),
    };
    Ok(&kept.insert(format).1)
}

/// The error about the chat format of this name, or about the file's own without a name.
fn of_format(name: Option<&str>) -> impl FnOnce(ChatError) -> FrontError {
    let may_name_another = name.is_none();
    move |error| match may_name_another && error.is_about_the_template() {
        true => FrontError::FileTemplate(error),
        false => FrontError::Chat(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_text_takes_the_place_of_another_wherever_that_stands() {
        for text in ["", "q", "aqq{d}q", "qaq"] {
            for new in ["", "q", "long"] {
                let made = replaced(text, "q", new).unwrap();
                assert_eq!(made, text.replace('q', new));
                assert_eq!(made.capacity(), made.len());
            }
        }
        let pair =
            replaced(&replaced("{query} {document}", "{query}", "a {document}").unwrap(), "{document}", "b");
        assert_eq!(pair.unwrap(), "a b b");
    }

    #[test]
    fn who_has_named_a_format_is_not_told_to_name_one() {
        let advice = "--template NAME";
        assert!(of_format(None)(ChatError::MessageLost).to_string().contains(advice));
        assert!(!of_format(Some("chatml"))(ChatError::MessageLost).to_string().contains(advice));
        let too_long = ChatError::MessageTooLong { n_tokens: 2, n_ctx: 1 };
        assert!(!of_format(None)(too_long).to_string().contains(advice));
    }
}

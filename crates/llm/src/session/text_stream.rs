//! Tokens in, text out: [`TextStream`].

use toolcalls::Format;

use super::SessionError;
use super::stop_text::StopText;
use crate::tokenizer::{StreamDecoder, Tokenizer};

/// The text of an answer as its tokens come: whole characters, and nothing that may still become part of a stop string.
///
/// All buffers are allocated at the start and suffice for every token.
pub(crate) struct TextStream {
    decoder: StreamDecoder,
    text: StopText,
    /// The format whose marks appear in the text even where their tokens have no text.
    marks: Option<Format>,
}

impl TextStream {
    /// A new text, which will end before the first of the `stop` strings. Tokens without a text of their own appear as
    /// their names if these are among the `marks` of the format.
    pub fn new(
        tokenizer: &Tokenizer<'_>,
        stop: &[&str],
        marks: Option<Format>,
    ) -> Result<Self, SessionError> {
        let decoder = StreamDecoder::new(tokenizer)?;
        Ok(Self { decoder, text: StopText::new(stop, tokenizer.longest_piece_bytes())?, marks })
    }

    /// Adds a token. Returns whether a stop string is complete.
    pub fn push(&mut self, tokenizer: &Tokenizer<'_>, id: u32) -> Result<bool, SessionError> {
        self.text.push(self.decoder.push(tokenizer, id)?.unwrap_or(""));
        if !tokenizer.kind(id)?.has_text() {
            let name = tokenizer.piece(id)?;
            let mark = self
                .marks
                .and_then(|format| core::str::from_utf8(name).ok().filter(|name| format.has_mark(name)));
            match mark {
                Some(mark) => self.text.push_more(mark),
                None => self.text.push_name(name),
            }
        }
        Ok(self.text.is_stopped())
    }

    /// Ends the text: the text held back becomes certain.
    pub fn finish(&mut self) {
        self.text.push(self.decoder.finish().unwrap_or(""));
        self.text.release();
    }

    /// The stop string that the text ended before, if it did.
    pub fn stopped_by(&self) -> Option<&str> {
        self.text.stopped_by()
    }

    /// The text that has become certain since the last token was added.
    pub fn take(&mut self) -> &str {
        self.text.take()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use toolcalls::{Form, GENERIC};

    use super::*;
    use crate::gguf::Gguf;

    #[test]
    fn names_of_tokens_without_text_come_if_they_are_marks() {
        static FORM: Form = Form {
            name: "",
            evidence: &[],
            before: "</s>",
            also_before: "",
            open: "call",
            name_end: "",
            close: "",
            separator: "",
            after: "",
            each: false,
            bare: false,
            arguments: toolcalls::Arguments::Json,
        };
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let mut ids = std::vec::Vec::new();
        let options = crate::tokenizer::EncodeOptions { add_special: true, parse_special: true };
        tokenizer.encode("ab</s>c", options, &mut ids).unwrap();
        assert_eq!((ids[0], ids.contains(&2)), (1, true));
        let text = |form: Option<&'static Form>, stop: &[&str]| {
            let marks = form.map(|form| Format { form, ..Format::default() });
            let mut stream = TextStream::new(&tokenizer, stop, marks).unwrap();
            let mut text = String::new();
            for &id in &ids {
                let stopped = stream.push(&tokenizer, id).unwrap();
                text += stream.take();
                if stopped {
                    return text + "!";
                }
            }
            stream.finish();
            text + stream.take()
        };
        let named = text(Some(&FORM), &[]);
        assert_eq!(named, " ab</s> c");
        assert_eq!(text(None, &[]), named.replace("</s>", ""));
        assert_eq!(text(Some(&GENERIC), &[]), text(None, &[]));
        assert_eq!(text(Some(&FORM), &["/s>"]), " ab<!");
        assert_eq!(text(None, &["b</s>"]), " a!");
    }
}

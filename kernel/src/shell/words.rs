//! [`split`]: turns the input into the words of commands. [`unfinished`]: the word that a text ends in, which [`quoted`] adds to.
//!
//! Quotes and backslashes work as in bash, including the escapes of `$'...'`. A command ends at the end of the line, unless a
//! quotation is open or a backslash precedes it. Nothing is expanded. `#` begins a comment only where a command could begin,
//! because it is common in prompts.

use alloc::{string::String, vec::Vec};

/// The text ends within a quotation or after a backslash: more lines are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomplete {
    /// How it begins: these bytes alone are incomplete in the same way.
    pub opening: &'static [u8],
}

/// The text ends before its quotation does.
struct Open;

/// The words of one command.
pub type Words = Vec<Vec<u8>>;

/// Splits text into commands, and commands into words. Commands without words are left out.
///
/// # Errors
/// [`Incomplete`].
pub fn split(text: &[u8]) -> Result<Vec<Words>, Incomplete> {
    let mut commands = Vec::new();
    let (mut words, last) = read(text, &mut |words| commands.push(words));
    match last {
        Last::Nothing | Last::Comment => {}
        Last::Word(word) => words.push(word),
        Last::Open(_, incomplete) => return Err(incomplete),
    }
    if !words.is_empty() {
        commands.push(words);
    }
    Ok(commands)
}

/// The word that a text ends in, to be completed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The words before it, of the same command.
    pub before: Words,
    /// What there is of it; empty if the text ends with a blank.
    pub word: Vec<u8>,
    /// What the quotation at the end begins with: empty if there is none.
    pub opening: &'static [u8],
}

/// The word that a text ends in; `None` in a comment, or within an escape.
pub fn unfinished(text: &[u8]) -> Option<Unfinished> {
    let (before, last) = read(text, &mut drop);
    let (word, opening) = match last {
        Last::Nothing => (Vec::new(), &b""[..]),
        Last::Word(word) => (word, &b""[..]),
        Last::Comment | Last::Open(_, Incomplete { opening: b"\\" }) => return None,
        Last::Open(word, Incomplete { opening }) => {
            // An escape at the end may go on with what is typed next: a digit shows that.
            let (_, Last::Open(longer, _)) = read(&[text, b"0"].concat(), &mut drop) else { return None };
            if longer != [&*word, b"0"].concat() {
                return None;
            }
            (word, opening)
        }
    };
    Some(Unfinished { before, word, opening })
}

/// What a text ends in.
enum Last {
    /// No word has begun: the text is empty, or ends with a blank or a newline.
    Nothing,
    /// A word that the text can end with.
    Word(Vec<u8>),
    /// A word that needs more: as much of it as there is.
    Open(Vec<u8>, Incomplete),
    /// A comment.
    Comment,
}

/// Passes the words of each command that a newline ends to `on_command`. Returns the other words of the last command, and what the
/// text ends in.
fn read(text: &[u8], on_command: &mut dyn FnMut(Words)) -> (Words, Last) {
    let mut words = Words::new();
    let mut input = Input { rest: text };
    loop {
        match input.peek() {
            None => return (words, Last::Nothing),
            Some(b'\n') => {
                input.next();
                if !words.is_empty() {
                    on_command(core::mem::take(&mut words));
                }
            }
            Some(b' ' | b'\t' | b'\r') => {
                input.next();
            }
            Some(b'#') if words.is_empty() => loop {
                match input.peek() {
                    None => return (words, Last::Comment),
                    Some(b'\n') => break,
                    Some(_) => input.next(),
                };
            },
            // A line continuation, which does not begin a word.
            Some(b'\\') if input.rest.get(1) == Some(&b'\n') => input.rest = &input.rest[2..],
            Some(_) => {
                let mut word = Vec::new();
                match input.word(&mut word) {
                    Err(incomplete) => return (words, Last::Open(word, incomplete)),
                    Ok(()) if input.rest.is_empty() => return (words, Last::Word(word)),
                    Ok(()) => words.push(word),
                }
            }
        }
    }
}

/// What is typed to add `text` to a word within a quotation with this [opening](Unfinished::opening); `None` if that cannot be done.
pub fn quoted(text: &str, opening: &[u8]) -> Option<String> {
    let special: &[char] = match opening {
        b"'" if text.contains('\'') => return None,
        b"'" => &[],
        b"\"" => &['"', '\\', '$', '`'],
        b"$'" => &['\'', '\\'],
        // A backslash before a newline is a line continuation.
        _ if text.contains('\n') => return None,
        _ => &[' ', '\t', '\r', '\'', '"', '\\', '$', '#'],
    };
    let mut typed = String::new();
    for c in text.chars() {
        if special.contains(&c) {
            typed.push('\\');
        }
        typed.push(c);
    }
    Some(typed)
}

struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Reads a word, or as much of it as there is.
    fn word(&mut self, word: &mut Vec<u8>) -> Result<(), Incomplete> {
        while let Some(byte) = self.peek() {
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                break;
            }
            self.next();
            match byte {
                b'\'' => self.literal(word).map_err(|Open| Incomplete { opening: b"'" })?,
                b'"' => self.double_quoted(word).map_err(|Open| Incomplete { opening: b"\"" })?,
                b'$' if self.peek() == Some(b'\'') => {
                    self.next();
                    self.with_escapes(word).map_err(|Open| Incomplete { opening: b"$'" })?;
                }
                b'\\' => match self.next().ok_or(Incomplete { opening: b"\\" })? {
                    b'\n' => {}
                    byte => word.push(byte),
                },
                byte => word.push(byte),
            }
        }
        Ok(())
    }

    /// Reads up to the next `'`.
    fn literal(&mut self, word: &mut Vec<u8>) -> Result<(), Open> {
        loop {
            match self.next().ok_or(Open)? {
                b'\'' => return Ok(()),
                byte => word.push(byte),
            }
        }
    }

    /// Reads up to the next `"`. A backslash is special only before characters that would otherwise be special (POSIX shell, 2.2.3).
    fn double_quoted(&mut self, word: &mut Vec<u8>) -> Result<(), Open> {
        loop {
            match self.next().ok_or(Open)? {
                b'"' => return Ok(()),
                b'\\' => match self.next().ok_or(Open)? {
                    b'\n' => {}
                    byte @ (b'"' | b'\\' | b'$' | b'`') => word.push(byte),
                    byte => word.extend([b'\\', byte]),
                },
                byte => word.push(byte),
            }
        }
    }

    /// Reads up to the next `'`, with C's escapes (bash's manual, "ANSI-C Quoting").
    fn with_escapes(&mut self, word: &mut Vec<u8>) -> Result<(), Open> {
        loop {
            match self.next().ok_or(Open)? {
                b'\'' => return Ok(()),
                b'\\' => self.escape(word)?,
                byte => word.push(byte),
            }
        }
    }

    fn escape(&mut self, word: &mut Vec<u8>) -> Result<(), Open> {
        let letter = self.next().ok_or(Open)?;
        let byte = match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 0x07,
            b'b' => 0x08,
            b'e' | b'E' => 0x1b,
            b'f' => 0x0c,
            b'v' => 0x0b,
            b'\\' | b'\'' | b'"' | b'?' => letter,
            b'c' if self.peek().is_some_and(|byte| byte != b'\'') => self.next().ok_or(Open)? & 0x1f,
            b'0'..=b'7' => {
                let first = u32::from(letter - b'0');
                self.digits(first, 8, 2).0 as u8
            }
            b'x' | b'u' | b'U' => return self.escape_of_digits(letter, word),
            _ => {
                word.extend([b'\\', letter]);
                return Ok(());
            }
        };
        word.push(byte);
        Ok(())
    }

    /// `\x41` is a byte, `\u00e9` and `\U0001f600` are characters; invalid escapes stay as written.
    fn escape_of_digits(&mut self, letter: u8, word: &mut Vec<u8>) -> Result<(), Open> {
        let written = self.rest;
        let max_digits = match letter {
            b'x' => 2,
            b'u' => 4,
            _ => 8,
        };
        let (value, n_digits) = self.digits(0, 16, max_digits);
        let written = &written[..n_digits];
        match char::from_u32(value) {
            Some(_) if n_digits > 0 && letter == b'x' => word.push(value as u8),
            Some(c) if n_digits > 0 => word.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                word.extend([b'\\', letter]);
                word.extend(written);
            }
        }
        Ok(())
    }

    /// Reads up to `max` digits into `value`, and returns how many there were.
    fn digits(&mut self, mut value: u32, radix: u32, max: usize) -> (u32, usize) {
        let mut n_digits = 0;
        while n_digits < max
            && let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(radix))
        {
            self.next();
            value = value * radix + digit;
            n_digits += 1;
        }
        (value, n_digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn words(text: &str) -> Vec<String> {
        let mut commands = split(text.as_bytes()).unwrap_or_else(|_| panic!("{text:?} is incomplete"));
        assert!(commands.len() <= 1, "{commands:?}");
        let words = commands.pop().unwrap_or_default();
        words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    // The output of `bash -c 'for word in TEXT; do printf "%q\n" "$word"; done'`, except for `#`.
    #[test]
    fn words_are_bashs() {
        for (text, expected) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("a b", &["a", "b"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            ("a\"b c\"'d e'f", &["ab cd ef"]),
            ("'' \"\" a", &["", "", "a"]),
            (r"a\ b \'c", &["a b", "'c"]),
            (r#""a\"b\\c\d\$e""#, &[r#"a"b\c\d$e"#]),
            (r"'a\nb'", &[r"a\nb"]),
            (r"$'a\nb\tc'", &["a\nb\tc"]),
            (r"x$'\''y", &["x'y"]),
            (r#"$'\\ \" \? \q'"#, &["\\ \" ? \\q"]),
            (r"$'\a\b\e\f\v\r'", &["\x07\x08\x1b\x0c\x0b\r"]),
            (r"$'\101\60x\x41\x4Az\cA'", &["A0xAJz\x01"]),
            (r"$'\u00e9\U0001f600\u41'", &["é😀A"]),
            (r"$'\uD800\xzz\u'", &[r"\uD800\xzz\u"]),
            (r#"$"a" $ a$b "$'a'""#, &["$a", "$", "a$b", "$'a'"]),
            ("a\\\nb 'c\nd' \"e\nf\\\ng\"", &["ab", "c\nd", "e\nfg"]),
            ("\\\n a \\\n", &["a"]),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_number_sign_is_kept_in_a_command_and_begins_a_comment_before_one() {
        assert_eq!(words("llm infer # x"), ["llm", "infer", "#", "x"]);
        assert_eq!(words("llm infer '#' a#b #c"), ["llm", "infer", "#", "a#b", "#c"]);
        assert_eq!(words("# llm infer 'x"), [""; 0]);
        assert_eq!(words("  #\n mem # x\n#y"), ["mem", "#", "x"]);
    }

    #[test]
    fn each_line_is_a_command() {
        let commands = split(b"\nmem\r\n\nlog 'a\nb'\n#c\nuptime").unwrap();
        assert_eq!(
            commands,
            [vec![b"mem".to_vec()], vec![b"log".to_vec(), b"a\nb".to_vec()], vec![b"uptime".to_vec()]]
        );
    }

    #[test]
    fn the_last_word_is_found_and_added_to_within_its_quotes() {
        for (text, before, word, opening) in [
            ("", &[][..], "", ""),
            ("mem", &[], "mem", ""),
            ("mem ", &["mem"], "", ""),
            ("mem\nllm load  fer", &["llm", "load"], "fer", ""),
            ("llm load 'my mo", &["llm", "load"], "my mo", "'"),
            ("llm load my\\ \"mo", &["llm", "load"], "my mo", "\""),
            ("llm load x$'a\\tb", &["llm", "load"], "xa\tb", "$'"),
            ("llm --model='a b'", &["llm"], "--model=a b", ""),
            ("# x\nlo", &[], "lo", ""),
            ("a \\\n", &["a"], "", ""),
        ] {
            let found = unfinished(text.as_bytes()).unwrap();
            let strings = |words: &[Vec<u8>]| -> Vec<String> {
                words.iter().map(|word| String::from_utf8(word.clone()).unwrap()).collect()
            };
            assert_eq!(strings(&found.before), before, "{text:?}");
            assert_eq!((&*found.word, found.opening), (word.as_bytes(), opening.as_bytes()), "{text:?}");
            let more = [text, &quoted("a b$\"\\c", found.opening).unwrap(), opening.trim_start_matches('$')]
                .concat();
            let whole = words(&more.replace("# x\n", "").replace("mem\n", ""));
            assert_eq!(*whole.last().unwrap(), std::format!("{word}a b$\"\\c"), "{more:?}");
        }
        for text in ["# llm", "llm \\", "llm \"a\\", r"llm $'a\", r"llm $'\x4", r"llm $'\u61", r"llm $'\c"] {
            assert_eq!(unfinished(text.as_bytes()), None, "{text:?}");
        }
        for text in [r"llm $'\x41", r"llm $'\u0041", r"llm $'\101"] {
            assert_eq!(unfinished(text.as_bytes()).unwrap().word, b"A", "{text:?}");
        }
        assert_eq!(quoted("it's", b"'"), None);
        assert_eq!(quoted("a\nb", b""), None);
        assert_eq!(words(&quoted("a\r\tb", b"").unwrap()), ["a\r\tb"]);
    }

    #[test]
    fn what_is_open_asks_for_more() {
        for text in ["'", "a 'b", "\"a", "\"a\\", "$'a", r"$'a\'", r"$'\", "a\\", "mem\n'", "\"$'a'"] {
            let Err(Incomplete { opening }) = split(text.as_bytes()) else {
                panic!("{text:?} is complete");
            };
            assert_eq!(split(opening), Err(Incomplete { opening }), "{text:?}");
        }
        assert_eq!(split(b"a\xff '\xfe'").unwrap(), [[b"a\xff".to_vec(), b"\xfe".to_vec()]]);
    }
}

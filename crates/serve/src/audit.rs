//! [`Audit`]: a log of who asked for what and how each request ended, never of what was said. It is a ring of lines;
//! each line holds the hash of the one before it.
//!
//! A line is an object in canonical JSON (RFC 8785). `seq` counts lines from 0. `prev` is the SHA-256 of the line
//! before, in hexadecimal digits, and all zeros in the first line. Anyone who got a line's hash from elsewhere can
//! therefore tell whether any line up to it was changed or left out. [`Chain`] checks this.
//!
//! A request that a model has accepted, or that changes the models, gets its own line when it is over. Requests that
//! were refused before that are only counted, separately for each key and for requests without a key. A minute after
//! the first of them, one line reports the counts: a client that is refused adds at most one line a minute, however
//! often it asks, so it cannot push other lines out of the ring.

use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use trust::canonical::Writer;
use trust::hex::Hex;
use trust::sha256;

use crate::error::ApiError;
use crate::keys::Keys;

/// Number of lines that are kept.
pub const N_LINES: usize = 1024;

/// Most bytes in a line.
const LINE_BYTES: usize = 544;

/// Most bytes of a model's name in a line.
const NAME_BYTES: usize = 64;

/// How long refusals are counted before a line reports them.
const RUN_US: u64 = 60_000_000;

/// HTTP statuses of the refusals that are counted.
const STATUSES: [u16; 17] =
    [400, 401, 403, 404, 405, 408, 413, 415, 417, 422, 429, 431, 500, 501, 503, 504, 505];

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds on the caller's clock.
    pub now_us: u64,
    /// Seconds since 1970, if known.
    pub unix_s: Option<u64>,
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'e> {
    /// The number of the request's key, if the server requires keys.
    pub key: Option<usize>,
    /// Its path.
    pub route: &'e str,
    /// The model that it asked for.
    pub model: &'e str,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// Whether a receipt of it is kept.
    pub receipt: bool,
    /// The status of the answer; 499 if the client hung up before the answer ended.
    pub status: u16,
    /// Why the answer ended.
    pub finish: Option<&'static str>,
    /// How many tokens were computed for it, and how many were found in the cache.
    pub used: Used,
    /// Time from the end of the request to the end of the answer.
    pub duration_us: u64,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Tokens of the prompts.
    pub prompt: usize,
    /// Prompt tokens that were found in the cache and not computed.
    pub cached: usize,
    /// Tokens generated.
    pub completion: usize,
}

/// The lines, and the counts that the next lines will report.
#[derive(Debug)]
pub struct Audit {
    /// Memory for all lines.
    bytes: Vec<u8>,
    lens: Vec<usize>,
    /// Number of lines so far.
    n: u64,
    /// The hash of the last one.
    head: [u8; 32],
    /// Counts of refusals: first for requests without a key, then for each key.
    runs: Vec<Run>,
    /// When the oldest count has run for long enough to be reported.
    due_us: u64,
    /// Lines lost for lack of memory since the last line.
    n_lost: u64,
}

/// Counts of refusals.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    counts: [u32; STATUSES.len()],
    since_us: u64,
}

impl Run {
    fn is_empty(&self) -> bool {
        self.counts == [0; STATUSES.len()]
    }
}

/// A value in a line.
enum Value<'v> {
    /// The fields of every line: the time on either clock, the hash of the line before, and the line's number.
    Created,
    Prev,
    Seq,
    Uptime,
    /// How many lines before this one were lost for lack of memory, if any.
    Lost,
    Text(Option<&'v str>),
    Number(u64),
    Bool(bool),
    Counts(&'v Run),
}

impl Audit {
    /// An audit whose only line says that a server with these keys has started.
    ///
    /// # Errors
    /// If there is no memory for the lines.
    pub fn new(keys: &Keys, at: Moment) -> Result<Self, ApiError> {
        let (mut bytes, mut lens, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        let n_runs = keys.all().len() + 1;
        bytes.try_reserve_exact(N_LINES * LINE_BYTES).map_err(|_| ApiError::out_of_memory())?;
        bytes.resize(N_LINES * LINE_BYTES, 0);
        runs.try_reserve_exact(n_runs).map_err(|_| ApiError::out_of_memory())?;
        runs.resize(n_runs, Run::default());
        lens.try_reserve_exact(N_LINES).map_err(|_| ApiError::out_of_memory())?;
        lens.resize(N_LINES, 0);
        let mut audit = Self { bytes, lens, n: 0, head: [0; 32], runs, due_us: u64::MAX, n_lost: 0 };
        let server = concat!("ferrite-", env!("CARGO_PKG_VERSION"));
        audit.append(
            at,
            &[
                ("created", Value::Created),
                ("event", Value::Text(Some("start"))),
                ("prev", Value::Prev),
                ("seq", Value::Seq),
                ("server", Value::Text(Some(server))),
                ("uptime_ms", Value::Uptime),
            ],
        );
        Ok(audit)
    }

    /// Adds a line for a request that is over.
    pub fn add(&mut self, keys: &Keys, entry: &Entry<'_>, at: Moment) {
        let Entry { key, route, model, stream, receipt, status, finish, used, duration_us } = *entry;
        // An escaped character may take up to six bytes.
        let is_plain = model.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        let most = if is_plain { NAME_BYTES } else { NAME_BYTES / 6 };
        let end = (0..=most.min(model.len())).rfind(|&end| model.is_char_boundary(end)).unwrap_or(0);
        let model = Some(&model[..end]).filter(|model| !model.is_empty());
        let number = |n: usize| Value::Number(n as u64);
        self.append(
            at,
            &[
                ("cached_tokens", number(used.cached)),
                ("completion_tokens", number(used.completion)),
                ("created", Value::Created),
                ("duration_ms", Value::Number(duration_us / 1000)),
                ("event", Value::Text(Some("request"))),
                ("finish", Value::Text(finish)),
                ("key", Value::Text(name_of(keys, key))),
                ("lost", Value::Lost),
                ("model", Value::Text(model)),
                ("prev", Value::Prev),
                ("prompt_tokens", number(used.prompt)),
                ("receipt", Value::Bool(receipt)),
                ("route", Value::Text(Some(route))),
                ("seq", Value::Seq),
                ("status", number(status.into())),
                ("stream", Value::Bool(stream)),
                ("uptime_ms", Value::Uptime),
            ],
        );
    }

    /// Counts a request that was refused with `status`.
    pub fn refused(&mut self, key: Option<usize>, status: u16, now_us: u64) {
        let index = key.map_or(0, |key| key + 1);
        let status = STATUSES.iter().position(|known| *known == status);
        let (Some(run), Some(status)) = (self.runs.get_mut(index), status) else { return };
        if run.is_empty() {
            run.since_us = now_us;
            self.due_us = self.due_us.min(now_us.saturating_add(RUN_US));
        }
        run.counts[status] = run.counts[status].saturating_add(1);
    }

    /// Adds a line for each count of refusals that has run for long enough.
    pub fn settle(&mut self, keys: &Keys, at: Moment) {
        if at.now_us < self.due_us {
            return;
        }
        self.due_us = u64::MAX;
        for index in 0..self.runs.len() {
            let run = self.runs[index];
            let due_us = run.since_us.saturating_add(RUN_US);
            if run.is_empty() || at.now_us < due_us {
                self.due_us = self.due_us.min(if run.is_empty() { u64::MAX } else { due_us });
                continue;
            }
            self.runs[index] = Run::default();
            self.append(
                at,
                &[
                    ("counts", Value::Counts(&run)),
                    ("created", Value::Created),
                    ("event", Value::Text(Some("refused"))),
                    ("from_ms", Value::Number(run.since_us / 1000)),
                    ("key", Value::Text(name_of(keys, index.checked_sub(1)))),
                    ("lost", Value::Lost),
                    ("prev", Value::Prev),
                    ("seq", Value::Seq),
                    ("uptime_ms", Value::Uptime),
                ],
            );
        }
    }

    /// Adds a line with these members, which are in the order of their names.
    fn append(&mut self, at: Moment, members: &[(&'static str, Value<'_>)]) {
        let mut writer = Writer::new();
        writer.object(|writer| {
            for (name, value) in members {
                if !matches!(value, Value::Lost) || self.n_lost > 0 {
                    writer.key(name);
                    self.write(value, at, writer);
                }
            }
        });
        let line = writer.finish().ok().filter(|line| line.len() <= LINE_BYTES);
        let Some(line) = line else {
            self.n_lost += 1;
            return;
        };
        let slot = self.n as usize % N_LINES;
        self.bytes[slot * LINE_BYTES..][..line.len()].copy_from_slice(&line);
        self.lens[slot] = line.len();
        self.head = sha256::digest(sha256::PORTABLE, &line);
        self.n += 1;
        self.n_lost = 0;
    }

    /// The number of lines so far, and the hash of the last one. A signature of that hash covers all lines.
    pub fn head(&self) -> (u64, [u8; 32]) {
        (self.n, self.head)
    }

    /// The lines from number `first` on that are still kept.
    pub fn lines(&self, first: u64) -> impl Iterator<Item = &str> {
        let first = first.max(self.n.saturating_sub(N_LINES as u64));
        (first..self.n).map(|n| {
            let slot = n as usize % N_LINES;
            let line = &self.bytes[slot * LINE_BYTES..][..self.lens[slot]];
            str::from_utf8(line).unwrap_or_default()
        })
    }
}

impl Audit {
    fn write(&self, value: &Value<'_>, at: Moment, writer: &mut Writer) {
        let number = |writer: &mut Writer, number: Option<u64>| writer.option(number, Writer::number);
        match *value {
            Value::Created => number(writer, at.unix_s),
            Value::Prev => writer.hex(&self.head),
            Value::Seq => number(writer, Some(self.n)),
            Value::Uptime => number(writer, Some(at.now_us / 1000)),
            Value::Lost => number(writer, Some(self.n_lost)),
            Value::Text(text) => writer.option(text, Writer::text),
            Value::Number(n) => number(writer, Some(n)),
            Value::Bool(value) => writer.bool(value),
            Value::Counts(run) => writer.object(|writer| {
                for (status, &count) in STATUSES.iter().zip(&run.counts).filter(|(_, count)| **count > 0) {
                    let digits =
                        [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
                    writer.key(str::from_utf8(&digits).unwrap_or_default()).number(count.into());
                }
            }),
        }
    }
}

fn name_of(keys: &Keys, key: Option<usize>) -> Option<&str> {
    keys.all().get(key?).map(|key| &*key.name)
}

/// Checks that lines follow one another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chain {
    /// Number of lines so far.
    pub n: u64,
    /// The number of the first one.
    pub first_seq: u64,
    /// The number of the last one, and its hash.
    pub last: Option<(u64, [u8; 32])>,
}

/// How a line fails to follow the one before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// This is not a line of an audit.
    #[error("expected an object with seq and prev (64 hexadecimal digits)")]
    NoLine,
    /// The line has the wrong number.
    #[error("seq is {found}, expected {expected}: lines are missing or moved")]
    Seq {
        /// Its number.
        found: u64,
        /// The number that the line should have.
        expected: u64,
    },
    /// The hash in this line is not the hash of the line before: one of them was changed.
    #[error(fmt = wrong_prev)]
    Prev {
        /// The number of this line.
        seq: u64,
    },
}

fn wrong_prev(seq: &u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match seq {
        0 => f.write_str("prev of the first line is not all zeros: it was changed"),
        _ => write!(f, "prev of seq {seq} is not the SHA-256 of the line before: one of them was changed"),
    }
}

#[derive(Deserialize)]
struct Link<'l> {
    prev: &'l str,
    seq: u64,
}

impl Chain {
    /// Takes the next line, without its line end. The first line may have any number; its `prev` cannot be checked
    /// unless the number is 0.
    ///
    /// # Errors
    /// If the line does not follow the last one.
    pub fn take(&mut self, line: &str) -> Result<(), ChainError> {
        let Link { prev, seq } = serde_json::from_str(line).map_err(|_| ChainError::NoLine)?;
        let expected = match self.last {
            Some((last, hash)) => {
                let expected = last.wrapping_add(1);
                if seq != expected {
                    return Err(ChainError::Seq { found: seq, expected });
                }
                Some(hash)
            }
            None => {
                self.first_seq = seq;
                (seq == 0).then_some([0; 32])
            }
        };
        let digits = alloc::format!("{}", Hex(&expected.unwrap_or_default()));
        if prev.len() != digits.len() {
            return Err(ChainError::NoLine);
        }
        if expected.is_some() && prev != digits {
            return Err(ChainError::Prev { seq });
        }
        self.n += 1;
        self.last = Some((seq, sha256::digest(sha256::PORTABLE, line.as_bytes())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;

    fn at(now_us: u64) -> Moment {
        Moment { now_us, unix_s: Some(1_700_000_000 + now_us / 1_000_000) }
    }

    fn entry(model: &str) -> Entry<'_> {
        Entry {
            key: Some(0),
            route: "/v1/completions",
            model,
            stream: false,
            receipt: true,
            status: 200,
            finish: Some("stop"),
            used: Used { prompt: 3, cached: 2, completion: 11 },
            duration_us: 12_345,
        }
    }

    fn audit(file: &str) -> (Keys, Audit) {
        let keys = Keys::parse(file).unwrap();
        let audit = Audit::new(&keys, at(0)).unwrap();
        (keys, audit)
    }

    fn check(audit: &Audit) -> Chain {
        let mut chain = Chain::default();
        audit.lines(0).for_each(|line| chain.take(line).unwrap());
        let (n, head) = audit.head();
        assert_eq!(chain.last, Some((n - 1, head)));
        chain
    }

    #[test]
    fn lines_are_canonical_json_and_each_has_the_hash_of_the_one_before() {
        let (keys, mut audit) = audit("k name=ci\nk2");
        audit.add(&keys, &entry("tiny"), at(7_000_000));
        audit.add(
            &keys,
            &Entry { finish: None, key: None, ..entry("") },
            Moment { now_us: 8_000_000, unix_s: None },
        );
        let lines: Vec<&str> = audit.lines(0).collect();
        let zeros = "0".repeat(64);
        let start = alloc::format!(
            r#"{{"created":1700000000,"event":"start","prev":"{zeros}","seq":0,"server":"ferrite-{}","uptime_ms":0}}"#,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(lines[0], start);
        let prev = Hex(&sha256::digest(sha256::PORTABLE, lines[0].as_bytes())).to_string();
        assert_eq!(
            lines[1],
            alloc::format!(
                r#"{{"cached_tokens":2,"completion_tokens":11,"created":1700000007,"duration_ms":12,"event":"request","finish":"stop","key":"ci","model":"tiny","prev":"{prev}","prompt_tokens":3,"receipt":true,"route":"/v1/completions","seq":1,"status":200,"stream":false,"uptime_ms":7000}}"#
            )
        );
        assert!(lines[2].contains(r#""created":null"#) && lines[2].contains(r#""key":null"#), "{}", lines[2]);
        audit.n_lost = 2;
        audit.add(&keys, &entry("tiny"), at(9_000_000));
        audit.add(&keys, &entry("tiny"), at(9_000_000));
        let lines: Vec<&str> = audit.lines(0).collect();
        assert!(lines[3].contains(r#""lost":2,"model""#) && !lines[4].contains("lost"), "{}", lines[3]);
        for line in lines {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            // serde_json's maps are sorted.
            assert_eq!(serde_json::to_string(&value).unwrap(), line);
        }
        check(&audit);
    }

    #[test]
    fn the_ring_keeps_the_last_lines_and_says_which_they_are() {
        let (keys, mut audit) = audit("k");
        for n in 1..3000 {
            audit.add(&keys, &entry("tiny"), at(n));
        }
        let chain = check(&audit);
        assert_eq!((chain.n, chain.first_seq, audit.head().0), (N_LINES as u64, 3000 - N_LINES as u64, 3000));
        assert_eq!(audit.lines(2998).count(), 2);
        assert_eq!(audit.lines(3000).count() + audit.lines(u64::MAX).count(), 0);
    }

    #[test]
    fn a_flood_of_refusals_is_a_line_in_a_minute_for_each_key_and_nobody() {
        let (keys, mut audit) = audit("k name=ci\nk2 name=desk");
        for second in 0..600 {
            let now_us = second * 1_000_000;
            for n in 0..50 {
                audit.refused(None, [401, 404][n % 2], now_us);
                audit.refused(Some(0), 429, now_us);
            }
            audit.settle(&keys, at(now_us));
        }
        audit.refused(Some(1), 400, 599_000_000);
        audit.settle(&keys, at(658_999_999));
        let lines: Vec<&str> = audit.lines(1).collect();
        assert_eq!(lines.len(), 2 * 10, "{lines:#?}");
        assert!(lines[0].starts_with(r#"{"counts":{"401":1525,"404":1525},"created":1700000060,"event":"refused","from_ms":0,"key":null,"#), "{}", lines[0]);
        assert!(
            lines[1].starts_with(
                r#"{"counts":{"429":3050},"created":1700000060,"event":"refused","from_ms":0,"key":"ci","#
            ),
            "{}",
            lines[1]
        );
        audit.settle(&keys, at(659_000_000));
        let last = audit.lines(0).last().unwrap().to_string();
        assert!(
            last.starts_with(r#"{"counts":{"400":1},"#) && last.contains(r#""from_ms":599000,"key":"desk""#),
            "{last}"
        );
        // Nothing is left.
        audit.settle(&keys, at(u64::MAX));
        assert_eq!(audit.head().0, 1 + 2 * 10 + 1);
        check(&audit);
    }

    #[test]
    fn the_longest_lines_have_room() {
        let (keys, mut audit) = audit(&alloc::format!("k name={}\nk2", "n".repeat(32)));
        let many = u32::MAX as usize;
        let used = Used { prompt: many, cached: many, completion: many };
        for model in ["\u{1}".repeat(99), "\u{e4}".repeat(99), "m".repeat(99)] {
            let entry = Entry {
                used,
                duration_us: 1 << 50,
                stream: true,
                finish: Some("tool_calls"),
                ..entry(&model)
            };
            audit.add(&keys, &Entry { route: "/v1/messages/count_tokens", ..entry }, at(1 << 52));
        }
        for status in STATUSES {
            audit.refused(Some(0), status, 1 << 52);
        }
        audit.runs[1].counts = [u32::MAX; STATUSES.len()];
        audit.settle(&keys, at(1 << 53));
        assert_eq!((audit.head().0, audit.n_lost), (5, 0));
        let lines: Vec<&str> = audit.lines(1).collect();
        assert!(lines[1].contains(&alloc::format!("\"model\":\"{}\"", "\u{e4}".repeat(32))), "{}", lines[1]);
        assert!(lines.iter().any(|line| line.len() > LINE_BYTES - 64), "there is more room than is needed");
        check(&audit);
    }

    #[test]
    fn any_change_breaks_the_chain_where_it_is() {
        let (keys, mut audit) = audit("k");
        (1..6).for_each(|n| audit.add(&keys, &entry("tiny"), at(n)));
        let lines: Vec<String> = audit.lines(0).map(ToString::to_string).collect();
        let broken_at = |lines: &[String]| {
            let mut chain = Chain::default();
            lines.iter().position(|line| chain.take(line).is_err())
        };
        assert_eq!(broken_at(&lines), None);
        assert_eq!(broken_at(&lines[3..]), None, "the first ones may have gone");
        for index in 0..lines.len() - 1 {
            let mut changed = lines.clone();
            changed[index] = changed[index].replacen("ferrite-", "ferrite_", 1).replacen("tiny", "tini", 1);
            assert_eq!(broken_at(&changed), Some(index + 1));
            let mut without = lines.clone();
            without.remove(index);
            assert_eq!(broken_at(&without), if index == 0 { None } else { Some(index) });
            let mut swapped = lines.clone();
            swapped.swap(index, index + 1);
            assert_eq!(broken_at(&swapped), Some(if index == 0 { 1 } else { index }));
        }
        let mut first = lines[..1].to_vec();
        first[0] = first[0].replacen("\"prev\":\"0", "\"prev\":\"1", 1);
        assert_eq!(broken_at(&first), Some(0));
        for line in ["", "{}", "7", r#"{"prev":"00","seq":1}"#, r#"{"prev":"","seq":-1}"#] {
            assert_eq!(Chain::default().take(line), Err(ChainError::NoLine), "{line}");
        }
        let end = alloc::format!(r#"{{"prev":"{}","seq":{}}}"#, "0".repeat(64), u64::MAX);
        let mut chain = Chain::default();
        chain.take(&end).unwrap();
        assert!(chain.take(&end).is_err());
    }
}

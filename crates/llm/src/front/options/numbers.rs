//! Numbers that options take as values.

use core::num::ParseIntError;
use core::ops::RangeInclusive;
use core::str::FromStr;

use crate::front::MAX_LOGPROBS;
use crate::scheduler::MAX_RUNNING;

/// A number of tokens. As in llama.cpp, -1 or -2 means as many as there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxTokens(pub usize);

impl MaxTokens {
    /// The values that [`FromStr`] accepts.
    pub const EXPECTED: &'static str = "a number of tokens, or -1";

    /// The number as a limit, `None` if there is no limit.
    pub fn limit(self) -> Option<usize> {
        Some(self.0).filter(|n| *n < usize::MAX)
    }
}

impl FromStr for MaxTokens {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "-1" | "-2" => Ok(Self(usize::MAX)),
            _ => text.parse().map(Self),
        }
    }
}

/// A number of likeliest tokens whose log-probabilities are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NLogprobs(pub usize);

impl NLogprobs {
    /// The values that [`FromStr`] accepts.
    pub const EXPECTED: &'static str = "a number of tokens, 0 to 20";
}

impl FromStr for NLogprobs {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        within(text, 0..=MAX_LOGPROBS).map(Self)
    }
}

/// A number of texts that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NParallel(pub usize);

impl NParallel {
    /// The values that [`FromStr`] accepts.
    pub const EXPECTED: &'static str = "a number of texts, 1 to 64";
}

impl FromStr for NParallel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        within(text, 1..=MAX_RUNNING).map(Self)
    }
}

fn within(text: &str, range: RangeInclusive<usize>) -> Result<usize, ()> {
    text.parse().ok().filter(|n| range.contains(n)).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::options::LOGPROBS;

    #[test]
    fn numbers_of_texts_are_those_that_can_be_computed_together() {
        assert_eq!("1".parse(), Ok(NParallel(1)));
        assert_eq!("64".parse(), Ok(NParallel(MAX_RUNNING)));
        assert!(NParallel::EXPECTED.ends_with(&alloc::format!(" {MAX_RUNNING}")));
        for wrong in ["", "0", "65", "-1", "x"] {
            assert!(wrong.parse::<NParallel>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_of_log_probabilities_are_those_that_can_be_told() {
        assert_eq!("0".parse(), Ok(NLogprobs(0)));
        assert_eq!("20".parse(), Ok(NLogprobs(MAX_LOGPROBS)));
        assert!(NLogprobs::EXPECTED.ends_with(&alloc::format!(" {MAX_LOGPROBS}")));
        assert!(LOGPROBS.help.contains(&alloc::format!(" {MAX_LOGPROBS} at most")));
        for wrong in ["", "21", "-1", "x"] {
            assert!(wrong.parse::<NLogprobs>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_of_tokens_are_whole_or_minus_one() {
        assert_eq!("7".parse(), Ok(MaxTokens(7)));
        for wrong in ["", "-3", "x", "1.5"] {
            assert!(wrong.parse::<MaxTokens>().is_err(), "{wrong}");
        }
    }
}

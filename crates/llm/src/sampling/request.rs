//! [`SamplingRequest`]: what a person asks of sampling, in the words of command lines.
//!
//! Every program that lets people choose makes its [`SamplingConfig`] here, so that the same options mean the same
//! everywhere.

use core::num::ParseIntError;
use core::str::FromStr;

use super::{SamplingConfig, SamplingError};

/// The options that somebody gave; `None` is one that they did not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SamplingRequest {
    /// `--temp`.
    pub temperature: Option<f32>,
    /// `--top-k`; 0 or less keeps all tokens.
    pub top_k: Option<i64>,
    /// `--top-p`.
    pub top_p: Option<f32>,
    /// `--min-p`.
    pub min_p: Option<f32>,
    /// `--repeat-penalty`.
    pub repeat_penalty: Option<f32>,
    /// `--frequency-penalty`.
    pub frequency_penalty: Option<f32>,
    /// `--presence-penalty`.
    pub presence_penalty: Option<f32>,
    /// `--repeat-last-n`; -1 is the whole context.
    pub repeat_last_n: Option<i64>,
    /// `--seed`.
    pub seed: Option<Seed>,
}

/// A seed, or -1 for a random one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// This one.
    Fixed(u64),
    /// One that is not known beforehand.
    Random,
}

impl FromStr for Seed {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match text {
            "-1" => Ok(Self::Random),
            _ => text.parse().map(Self::Fixed),
        }
    }
}

impl SamplingRequest {
    /// The configuration that the options ask for: the most likely token each time, unless one of `--temp`, `--top-k`,
    /// `--top-p`, `--min-p` and `--seed` was given; the temperature is then that of [`SamplingConfig::creative`] if it
    /// was not. `random_seed` is called if the seed is to be random, which the caller should show, so that the text can
    /// be had again.
    ///
    /// # Errors
    /// [`SamplingError::Parameter`] for the first option that is out of its range, by its name on the command line.
    pub fn config(&self, random_seed: impl FnOnce() -> u64) -> Result<SamplingConfig, SamplingError> {
        let plain = SamplingConfig::greedy();
        let varies =
            self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some() || self.seed.is_some();
        let temperature = if varies { SamplingConfig::creative().temperature } else { plain.temperature };
        let config = SamplingConfig {
            temperature: self.temperature.unwrap_or(temperature),
            top_k: self.top_k.map_or(plain.top_k, |k| k.clamp(0, u32::MAX.into()) as u32),
            top_p: self.top_p.unwrap_or(plain.top_p),
            min_p: self.min_p.unwrap_or(plain.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(plain.repeat_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(plain.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(plain.presence_penalty),
            repeat_last_n: match self.repeat_last_n {
                None => plain.repeat_last_n,
                Some(-1) => SamplingConfig::WHOLE_CONTEXT,
                Some(n @ 0..) => u32::try_from(n).unwrap_or(SamplingConfig::WHOLE_CONTEXT),
                Some(n) => {
                    let (name, expected) = ("--repeat-last-n", "-1 or more");
                    return Err(SamplingError::Parameter { name, value: n as f32, expected });
                }
            },
            seed: plain.seed,
        };
        config.validate().map_err(by_option)?;
        let seed = match self.seed {
            None => plain.seed,
            Some(Seed::Fixed(seed)) => seed,
            Some(Seed::Random) => random_seed(),
        };
        Ok(SamplingConfig { seed, ..config })
    }
}

/// The error with the name that the parameter has on command lines.
fn by_option(error: SamplingError) -> SamplingError {
    let SamplingError::Parameter { name, value, expected } = error else {
        return error;
    };
    let name = match name {
        "temperature" => "--temp",
        "top_p" => "--top-p",
        "min_p" => "--min-p",
        "repeat_penalty" => "--repeat-penalty",
        "frequency_penalty" => "--frequency-penalty",
        "presence_penalty" => "--presence-penalty",
        name => name,
    };
    SamplingError::Parameter { name, value, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn config(request: SamplingRequest) -> SamplingConfig {
        request.config(|| 4711).unwrap()
    }

    #[test]
    fn nothing_asked_for_is_greedy_and_one_option_lets_tokens_vary() {
        let none = SamplingRequest::default();
        assert_eq!(config(none), SamplingConfig::greedy());
        let creative = SamplingConfig::creative().temperature;
        for request in [
            SamplingRequest { top_k: Some(40), ..none },
            SamplingRequest { top_p: Some(0.9), ..none },
            SamplingRequest { min_p: Some(0.1), ..none },
            SamplingRequest { seed: Some(Seed::Fixed(0)), ..none },
        ] {
            assert_eq!(config(request).temperature, creative, "{request:?}");
            assert_eq!(config(SamplingRequest { temperature: Some(0.0), ..request }).temperature, 0.0);
        }
        let penalty = SamplingRequest { repeat_penalty: Some(1.2), repeat_last_n: Some(8), ..none };
        assert_eq!(
            config(penalty),
            SamplingConfig { repeat_penalty: 1.2, repeat_last_n: 8, ..SamplingConfig::greedy() }
        );
        let penalties =
            SamplingRequest { frequency_penalty: Some(0.5), presence_penalty: Some(-1.5), ..none };
        assert_eq!(
            config(penalties),
            SamplingConfig { frequency_penalty: 0.5, presence_penalty: -1.5, ..SamplingConfig::greedy() }
        );
    }

    #[test]
    fn minus_one_means_all_or_random() {
        let none = SamplingRequest::default();
        for top_k in [-1, 0, i64::MIN] {
            assert_eq!(config(SamplingRequest { top_k: Some(top_k), ..none }).top_k, 0);
        }
        let whole = config(SamplingRequest { repeat_last_n: Some(-1), ..none });
        assert_eq!(whole.within_context(300).repeat_last_n, 300);
        assert_eq!(
            config(SamplingRequest { repeat_last_n: Some(64), ..none }).within_context(300).repeat_last_n,
            64
        );
        let seed = |text: &str| config(SamplingRequest { seed: Some(text.parse().unwrap()), ..none }).seed;
        assert_eq!((seed("-1"), seed("7"), seed("18446744073709551615")), (4711, 7, u64::MAX));
        for no_seed in ["-2", "x", "", "18446744073709551616"] {
            assert!(no_seed.parse::<Seed>().is_err(), "{no_seed}");
        }
    }

    #[test]
    fn errors_name_the_options() {
        let none = SamplingRequest::default();
        for (request, said) in [
            (SamplingRequest { temperature: Some(-1.0), ..none }, "--temp is -1, but must be 0 or more"),
            (SamplingRequest { top_p: Some(2.0), ..none }, "--top-p is 2, but must be from 0 to 1"),
            (SamplingRequest { min_p: Some(-1.0), ..none }, "--min-p is -1, but must be from 0 to 1"),
            (
                SamplingRequest { repeat_penalty: Some(0.0), ..none },
                "--repeat-penalty is 0, but must be above 0",
            ),
            (
                SamplingRequest { frequency_penalty: Some(f32::NAN), ..none },
                "--frequency-penalty is NaN, but must be a finite number",
            ),
            (
                SamplingRequest { presence_penalty: Some(f32::INFINITY), ..none },
                "--presence-penalty is inf, but must be a finite number",
            ),
            (
                SamplingRequest { repeat_last_n: Some(-2), ..none },
                "--repeat-last-n is -2, but must be -1 or more",
            ),
        ] {
            assert_eq!(request.config(|| 0).unwrap_err().to_string(), said);
        }
    }
}

//! [`SamplingRequest`]: the sampling options that a person gives on a command line.
//!
//! Every program with such options makes its [`SamplingConfig`] here, so that the same options mean the same
//! everywhere.

use alloc::vec::Vec;
use core::num::ParseIntError;
use core::str::FromStr;

use super::config::{Kind, MIROSTAT, Negative, PARAMETERS, Parameter};
use super::{SamplingConfig, SamplingError, Stages};

/// The options that were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplingRequest<'t> {
    config: SamplingConfig,
    /// The options of the table that were given, one bit for each.
    given: u32,
    seed: Option<Seed>,
    /// All values of `--dry-sequence-breaker`; empty if one of them was `none`.
    breakers: Option<Vec<&'t str>>,
    ignore_eos: bool,
}

/// The default texts across which DRY finds no repetitions.
pub const DRY_BREAKERS: &[&str] = &["\n", ":", "\"", "*"];

/// A seed, or -1 for a random one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// This seed.
    Fixed(u64),
    /// A random seed.
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

impl<'t> SamplingRequest<'t> {
    /// Sets an option by its name without hyphens. If an option is given again, the last value counts, except that
    /// `dry-sequence-breaker` collects all values.
    ///
    /// # Errors
    /// If the value cannot be parsed; the error says what is expected. [`config`](Self::config) checks the range.
    pub fn set(&mut self, option: &str, value: &'t str) -> Result<(), &'static str> {
        match option {
            "seed" => self.seed = Some(value.parse().map_err(|_| "a whole number, or -1 for a random one")?),
            "samplers" => self.config.stages = value.parse().map_err(|()| Stages::EXPECTED)?,
            "ignore-eos" => self.ignore_eos = true,
            "dry-sequence-breaker" => {
                let breakers = self.breakers.get_or_insert_default();
                match value {
                    "none" => breakers.clear(),
                    _ => breakers.push(value),
                }
            }
            _ => return self.set_parameter(option, value),
        }
        Ok(())
    }

    fn set_parameter(&mut self, option: &str, value: &str) -> Result<(), &'static str> {
        let is_it = |parameter: &Parameter| parameter.option.strip_prefix("--") == Some(option);
        let Some(index) = PARAMETERS.iter().position(is_it) else { return Err("an option of sampling") };
        match PARAMETERS[index].kind {
            Kind::Number(at, _) => *at(&mut self.config) = value.parse().map_err(|_| "a number")?,
            Kind::Whole(at, negative, most) => {
                let expected = match negative {
                    Negative::Zero => "a whole number",
                    Negative::Whole => "a number of tokens, or -1 for the whole context",
                    Negative::Nothing if most == u32::MAX => "a number of tokens",
                    Negative::Nothing => MIROSTAT,
                };
                let number: i64 = value.parse().map_err(|_| expected)?;
                let number = negative.meaning(number).ok_or(expected)?;
                *at(&mut self.config) = Some(number).filter(|number| *number <= most).ok_or(expected)?;
            }
        }
        self.given |= 1 << index;
        Ok(())
    }

    /// The configuration that the options ask for: the most likely token each time, unless an option was given that makes tokens vary
    /// (`--temp` and the options of the filters, of mirostat and of the seed). In that case, without `--temp`, the temperature is that of
    /// [`SamplingConfig::creative`]. `random_seed` is called if the seed should be random; the caller should show that seed, so that the
    /// text can be reproduced.
    ///
    /// # Errors
    /// [`SamplingError::Parameter`] for the first option that is out of its range, with its name on the command line.
    pub fn config(&self, random_seed: impl FnOnce() -> u64) -> Result<SamplingConfig, SamplingError> {
        let mut config = self.config;
        let is_given = |(index, _): &(usize, &Parameter)| self.given >> index & 1 == 1;
        let mut given = PARAMETERS.iter().enumerate().filter(is_given).map(|(_, parameter)| parameter);
        let has_temperature = given.clone().any(|parameter| parameter.field == "temperature");
        if !has_temperature && (self.seed.is_some() || given.any(|parameter| parameter.varies)) {
            config.temperature = SamplingConfig::creative().temperature;
        }
        config.validate().map_err(by_option)?;
        config.seed = match self.seed {
            None => config.seed,
            Some(Seed::Fixed(seed)) => seed,
            Some(Seed::Random) => random_seed(),
        };
        Ok(config)
    }

    /// Whether the seed should be random.
    pub fn is_random(&self) -> bool {
        self.seed == Some(Seed::Random)
    }

    /// If true, tokens that end a text are never chosen.
    pub fn ignores_eos(&self) -> bool {
        self.ignore_eos
    }

    /// Texts across which DRY finds no repetitions; [`DRY_BREAKERS`] by default.
    pub fn breakers(&self) -> &[&'t str] {
        self.breakers.as_deref().unwrap_or(DRY_BREAKERS)
    }
}

impl Negative {
    /// The value that a number stands for; `None` if the number is not allowed.
    pub fn meaning(self, number: i64) -> Option<u32> {
        match (self, number) {
            (Self::Zero, ..0) => Some(0),
            (Self::Whole, -1) => Some(SamplingConfig::WHOLE_CONTEXT),
            (_, ..0) => None,
            (_, number) => Some(u32::try_from(number).unwrap_or(u32::MAX)),
        }
    }
}

/// The same error with the parameter's name on the command line.
fn by_option(error: SamplingError) -> SamplingError {
    let SamplingError::Parameter { name, value, expected } = error else {
        return error;
    };
    let parameter = PARAMETERS.iter().find(|parameter| parameter.field == name);
    SamplingError::Parameter { name: parameter.map_or(name, |parameter| parameter.option), value, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn request<'t>(options: &[(&str, &'t str)]) -> SamplingRequest<'t> {
        let mut request = SamplingRequest::default();
        options.iter().for_each(|(option, value)| request.set(option, value).unwrap());
        request
    }

    fn config(options: &[(&str, &str)]) -> SamplingConfig {
        request(options).config(|| 4711).unwrap()
    }

    #[test]
    fn nothing_asked_for_is_greedy_and_one_option_lets_tokens_vary() {
        let greedy = SamplingConfig::greedy();
        assert_eq!(config(&[]), greedy);
        let creative = SamplingConfig::creative().temperature;
        for option in [
            ("top-k", "40"),
            ("top-p", "0.9"),
            ("min-p", "0.1"),
            ("typical", "0.9"),
            ("top-nsigma", "1"),
            ("xtc-probability", "0.5"),
            ("xtc-threshold", "0.2"),
            ("dynatemp-range", "0.5"),
            ("dynatemp-exp", "2"),
            ("mirostat", "2"),
            ("mirostat-ent", "4"),
            ("mirostat-lr", "0.2"),
            ("seed", "0"),
        ] {
            assert_eq!(config(&[option]).temperature, creative, "{option:?}");
            assert_eq!(config(&[option, ("temp", "0")]).temperature, 0.0);
        }
        let penalty = [("repeat-penalty", "1.2"), ("repeat-last-n", "8")];
        assert_eq!(config(&penalty), SamplingConfig { repeat_penalty: 1.2, repeat_last_n: 8, ..greedy });
        let penalties = [("frequency-penalty", "0.5"), ("presence-penalty", "-1.5")];
        let expected = SamplingConfig { frequency_penalty: 0.5, presence_penalty: -1.5, ..greedy };
        assert_eq!(config(&penalties), expected);
        let dry = [("dry-multiplier", "0.8"), ("dry-base", "2"), ("dry-allowed-length", "3")];
        let expected = SamplingConfig { dry_multiplier: 0.8, dry_base: 2.0, dry_allowed_length: 3, ..greedy };
        assert_eq!(config(&dry), expected);
        let stages = "top_k;temperature".parse().unwrap();
        assert_eq!(config(&[("samplers", "top_k;temperature")]), SamplingConfig { stages, ..greedy });
    }

    #[test]
    fn breakers_add_up_and_none_forgets_them() {
        let breaker = "dry-sequence-breaker";
        assert_eq!(request(&[]).breakers(), ["\n", ":", "\"", "*"]);
        assert_eq!(request(&[(breaker, "."), (breaker, "!")]).breakers(), [".", "!"]);
        assert!(request(&[(breaker, "."), (breaker, "none")]).breakers().is_empty());
        assert!(request(&[("ignore-eos", "")]).ignores_eos() && !request(&[]).ignores_eos());
    }

    #[test]
    fn minus_one_means_all_or_random() {
        for top_k in ["-1", "0", "-9223372036854775808"] {
            assert_eq!(config(&[("top-k", top_k)]).top_k, 0);
        }
        let whole = config(&[("repeat-last-n", "-1"), ("dry-penalty-last-n", "-1")]).within_context(300);
        assert_eq!((whole.repeat_last_n, whole.dry_penalty_last_n), (300, 300));
        let short = config(&[("repeat-last-n", "64"), ("dry-penalty-last-n", "9")]).within_context(300);
        assert_eq!((short.repeat_last_n, short.dry_penalty_last_n), (64, 9));
        let seed = |text: &str| config(&[("seed", text)]).seed;
        assert_eq!((seed("-1"), seed("7"), seed("18446744073709551615")), (4711, 7, u64::MAX));
        assert!(request(&[("seed", "-1")]).is_random() && !request(&[("seed", "1")]).is_random());
        for no_seed in ["-2", "x", "", "18446744073709551616"] {
            assert!(no_seed.parse::<Seed>().is_err(), "{no_seed}");
        }
    }

    #[test]
    fn errors_name_the_options() {
        for (option, value, said) in [
            ("temp", "-1", "--temp is -1, but must be 0 or more"),
            ("top-p", "2", "--top-p is 2, but must be from 0 to 1"),
            ("min-p", "-1", "--min-p is -1, but must be from 0 to 1"),
            ("repeat-penalty", "0", "--repeat-penalty is 0, but must be above 0"),
            ("frequency-penalty", "NaN", "--frequency-penalty is NaN, but must be a finite number"),
            ("presence-penalty", "inf", "--presence-penalty is inf, but must be a finite number"),
            ("dry-base", "0.5", "--dry-base is 0.5, but must be 1 or more"),
            ("mirostat-lr", "-1", "--mirostat-lr is -1, but must be 0 or more"),
            ("typical", "1.5", "--typical is 1.5, but must be from 0 to 1"),
        ] {
            assert_eq!(request(&[(option, value)]).config(|| 0).unwrap_err().to_string(), said);
        }
        for (option, value, expected) in [
            ("temp", "hot", "a number"),
            ("repeat-last-n", "-2", "a number of tokens, or -1 for the whole context"),
            ("dry-allowed-length", "-1", "a number of tokens"),
            ("mirostat", "3", "0, 1 or 2"),
            ("samplers", "top_k;infill", Stages::EXPECTED),
            ("seed", "-2", "a whole number, or -1 for a random one"),
            ("min-keep", "1", "an option of sampling"),
        ] {
            assert_eq!(SamplingRequest::default().set(option, value), Err(expected), "{option} {value}");
        }
    }
}

//! [`ChainLines`] shows the chain to people.

use core::fmt;

use super::{SamplingConfig, SamplingRequest, Stage};

/// Shows the stages of a configuration in order, one line for each; a stage that changes nothing is `off`.
pub struct ChainLines<'c> {
    /// The configuration.
    pub config: &'c SamplingConfig,
    /// The request that it was made from, which has the settings that are not numbers.
    pub request: &'c SamplingRequest<'c>,
}

impl fmt::Display for ChainLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { config, request } = self;
        if request.ignores_eos() {
            line(f, "logit_bias", format_args!("tokens that end a text are never chosen"))?;
        }
        if config.mirostat == 0 {
            config.stages.as_slice().iter().try_for_each(|&stage| self.stage(f, stage))?;
        } else {
            self.stage(f, Stage::Temperature)?;
            let SamplingConfig { mirostat, mirostat_tau, mirostat_eta, .. } = config;
            line(f, "mirostat", format_args!("version {mirostat}, tau {mirostat_tau}, eta {mirostat_eta}"))?;
        }
        line(f, "dist", format_args!("seed {}", config.seed))
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{name:<12} {text}")
}

/// Shows the length of a window.
struct Last(u32);

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SamplingConfig::WHOLE_CONTEXT => f.write_str("all tokens"),
            n => write!(f, "the last {n} tokens"),
        }
    }
}

impl ChainLines<'_> {
    fn stage(&self, f: &mut fmt::Formatter<'_>, stage: Stage) -> fmt::Result {
        let c = self.config;
        let mut show = |text| line(f, stage.name(), text);
        match stage {
            _ if !c.has(stage) && stage != Stage::Temperature => show(format_args!("off")),
            Stage::Penalties => show(format_args!(
                "repeat {}, frequency {}, presence {}, of {}",
                c.repeat_penalty,
                c.frequency_penalty,
                c.presence_penalty,
                Last(c.repeat_last_n)
            )),
            Stage::Dry => {
                let (multiplier, base, allowed) = (c.dry_multiplier, c.dry_base, c.dry_allowed_length);
                let last = Last(c.dry_penalty_last_n);
                show(format_args!(
                    "multiplier {multiplier}, base {base}, allowed length {allowed}, of {last}, breakers {:?}",
                    self.request.breakers()
                ))
            }
            Stage::TopNSigma => show(format_args!("{}", c.top_n_sigma)),
            Stage::TopK => show(format_args!("{}", c.top_k)),
            Stage::TypicalP => show(format_args!("{}", c.typical_p)),
            Stage::TopP => show(format_args!("{}", c.top_p)),
            Stage::MinP => show(format_args!("{}", c.min_p)),
            Stage::Xtc => {
                show(format_args!("probability {}, threshold {}", c.xtc_probability, c.xtc_threshold))
            }
            Stage::Temperature if c.is_greedy() => {
                show(format_args!("{}: the likeliest token", c.temperature))
            }
            Stage::Temperature if c.dynatemp_range > 0.0 && c.mirostat == 0 => show(format_args!(
                "{}, range {}, exponent {}",
                c.temperature, c.dynatemp_range, c.dynatemp_exponent
            )),
            Stage::Temperature => show(format_args!("{}", c.temperature)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn lines(options: &[(&str, &str)]) -> String {
        let mut request = SamplingRequest::default();
        options.iter().for_each(|(option, value)| request.set(option, value).unwrap());
        let config = request.config(|| 0).unwrap();
        ChainLines { config: &config, request: &request }.to_string()
    }

    #[test]
    fn each_stage_has_a_line_in_its_order() {
        assert_eq!(
            lines(&[("top-k", "40"), ("xtc-probability", "0.5"), ("dry-multiplier", "0.8"), ("seed", "7")]),
            "penalties    off\n\
             dry          multiplier 0.8, base 1.75, allowed length 2, of the last 64 tokens, breakers [\"\\n\", \":\", \"\\\"\", \"*\"]\n\
             top_n_sigma  off\n\
             top_k        40\n\
             typ_p        off\n\
             top_p        off\n\
             min_p        off\n\
             xtc          probability 0.5, threshold 0.1\n\
             temperature  0.8\n\
             dist         seed 7\n"
        );
        assert_eq!(
            lines(&[("samplers", "temp;penalties"), ("repeat-penalty", "2"), ("repeat-last-n", "-1")]),
            "temperature  0: the likeliest token\n\
             penalties    repeat 2, frequency 0, presence 0, of all tokens\n\
             dist         seed 0\n"
        );
        assert_eq!(
            lines(&[("mirostat", "2"), ("ignore-eos", ""), ("dynatemp-range", "0.5")]),
            "logit_bias   tokens that end a text are never chosen\n\
             temperature  0.8\n\
             mirostat     version 2, tau 5, eta 0.1\n\
             dist         seed 0\n"
        );
    }
}

//! The parameters of sampling: [`SamplingConfig`], and the table of their allowed values.

use super::{SamplingError, Stage, Stages};

/// How tokens are chosen. [`SamplingConfig::greedy`] and [`SamplingConfig::creative`] are the usual
/// starting points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingConfig {
    /// Divides the logits before the draw: values below 1 favour likely tokens, values above 1 unlikely ones. 0 always
    /// takes the most likely token, unless `dynatemp_range` is set. Finite and not negative.
    pub temperature: f32,
    /// How far the temperature varies below and above `temperature`, depending on the entropy of the candidates; 0
    /// keeps it constant. Finite and not negative.
    /// Source: kalomaze, "Dynamic temperature sampling", in llama.cpp's form.
    pub dynatemp_range: f32,
    /// The temperature varies with this power of the entropy, relative to its maximum. Finite and not negative.
    pub dynatemp_exponent: f32,
    /// The number of most likely tokens to keep; 0 keeps all.
    /// Source: Fan, Lewis, Dauphin, "Hierarchical Neural Story Generation", 2018.
    pub top_k: u32,
    /// Keeps the most likely tokens until their probabilities reach this sum; 1 keeps all, 0 only the first. 0 to 1.
    /// Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019.
    pub top_p: f32,
    /// Keeps the tokens whose surprise is nearest to the entropy, until their probabilities exceed this sum; 1 keeps
    /// all. 0 to 1.
    /// Source: Meister et al., "Locally Typical Sampling", 2022.
    pub typical_p: f32,
    /// Excludes tokens whose logits are more than this many standard deviations below the highest; 0 or less excludes
    /// none. Finite.
    /// Source: Tang et al., "Top-nσ: Not All Logits Are You Need", 2024.
    pub top_n_sigma: f32,
    /// If several tokens are likely, the chance that all but the least likely of them are removed; 0 means never.
    /// 0 to 1.
    /// Source: p-e-w, "Exclude Top Choices", text-generation-webui pull request 6335.
    pub xtc_probability: f32,
    /// The least probability of a token that counts as likely for `xtc_probability`; above 0.5 there is never more than one. 0 to 1.
    pub xtc_threshold: f32,
    /// Keeps tokens whose probability is at least this fraction of the highest one; 0 keeps all. 0 to 1.
    /// Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.
    pub min_p: f32,
    /// Divides the positive logits of tokens in the repetition window and multiplies the negative
    /// ones; 1 changes nothing. Finite and above 0.
    /// Source: Keskar et al., "CTRL", 2019, in llama.cpp's form.
    pub repeat_penalty: f32,
    /// Subtracted from a token's logit for each of its occurrences in the repetition window; 0 changes nothing. Finite.
    /// Source: OpenAI's API, in llama.cpp's form.
    pub frequency_penalty: f32,
    /// Subtracted once from the logits of tokens in the repetition window; 0 changes nothing. Finite.
    /// Source: OpenAI's API, in llama.cpp's form.
    pub presence_penalty: f32,
    /// Length of the window of the three penalties in tokens; 0 turns the penalties off. [`SamplingConfig::WHOLE_CONTEXT`] must be
    /// made a number by [`SamplingConfig::within_context`].
    pub repeat_last_n: u32,
    /// A token that would continue a repetition loses `dry_multiplier` × `dry_base` to the power of the repetition's
    /// length beyond `dry_allowed_length`; 0 turns this off. Finite and not negative.
    /// Source: p-e-w, "DRY: a modern repetition penalty", text-generation-webui pull request 5677.
    pub dry_multiplier: f32,
    /// See `dry_multiplier`. Finite and at least 1.
    pub dry_base: f32,
    /// Number of tokens in a row that may repeat without a penalty for the next one.
    pub dry_allowed_length: u32,
    /// Length in tokens of the window in which repetitions are searched; 0 turns this off. May be [`SamplingConfig::WHOLE_CONTEXT`].
    pub dry_penalty_last_n: u32,
    /// 1 or 2 chooses tokens by that version of mirostat, which replaces all stages except the temperature; 0
    /// turns it off.
    /// Source: Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity", 2021.
    pub mirostat: u32,
    /// The surprise in bits that mirostat aims at, τ. Finite and not negative.
    pub mirostat_tau: f32,
    /// How fast mirostat learns, η. Finite and not negative.
    pub mirostat_eta: f32,
    /// The least number of candidates that typical-p, top-p, min-p and XTC leave.
    pub min_keep: u32,
    /// The stages, in their order.
    pub stages: Stages,
    /// Seed of the generator. The same seed gives the same tokens.
    pub seed: u64,
}

impl SamplingConfig {
    /// A repetition window as long as the context.
    pub const WHOLE_CONTEXT: u32 = u32::MAX;

    /// The same with windows limited to a context of `n_ctx` tokens.
    pub fn within_context(self, n_ctx: usize) -> Self {
        let n_ctx = u32::try_from(n_ctx).unwrap_or(u32::MAX);
        let (repeat_last_n, dry_penalty_last_n) =
            (self.repeat_last_n.min(n_ctx), self.dry_penalty_last_n.min(n_ctx));
        Self { repeat_last_n, dry_penalty_last_n, ..self }
    }

    /// The most likely token each time.
    pub const fn greedy() -> Self {
        Self {
            temperature: 0.0,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 0,
            top_p: 1.0,
            typical_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            min_p: 0.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_last_n: 64,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: 64,
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            min_keep: 0,
            stages: Stages::USUAL,
            seed: 0,
        }
    }

    /// Varied yet coherent text: llama.cpp's defaults with a slight repetition penalty.
    pub const fn creative() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.1, ..Self::greedy() }
    }

    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`SamplingError::Parameter`] for the first one that is not.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let mut config = *self;
        PARAMETERS.iter().try_for_each(|parameter| {
            let (value, expected) = match parameter.kind {
                Kind::Number(at, range) => (*at(&mut config), range.expected(*at(&mut config))),
                Kind::Whole(at, _, most) => {
                    (*at(&mut config) as f32, (*at(&mut config) > most).then_some(MIROSTAT))
                }
            };
            let name = parameter.field;
            expected.map_or(Ok(()), |expected| Err(SamplingError::Parameter { name, value, expected }))
        })
    }

    /// Whether the temperature is such that only the most likely token remains.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && (self.dynatemp_range == 0.0 || self.mirostat != 0)
    }

    /// Whether the stage changes anything.
    pub(super) fn has(&self, stage: Stage) -> bool {
        match stage {
            Stage::Penalties => {
                self.repeat_last_n > 0
                    && (self.repeat_penalty != 1.0
                        || self.frequency_penalty != 0.0
                        || self.presence_penalty != 0.0)
            }
            Stage::Dry => self.dry_multiplier > 0.0 && self.dry_penalty_last_n > 0,
            Stage::TopNSigma => self.top_n_sigma > 0.0,
            Stage::TopK => self.top_k > 0,
            Stage::TypicalP => self.typical_p < 1.0,
            Stage::TopP => self.top_p < 1.0,
            Stage::MinP => self.min_p > 0.0,
            Stage::Xtc => self.xtc_probability > 0.0 && self.xtc_threshold <= 0.5,
            Stage::Temperature => self.temperature != 1.0 || self.dynatemp_range > 0.0,
        }
    }

    /// The stages to run, without those that change nothing.
    pub(super) fn plan(&self) -> Stages {
        let usual = [Stage::Temperature];
        let asked = if self.mirostat == 0 { self.stages.as_slice() } else { &usual };
        let end = asked.iter().position(|&stage| stage == Stage::Temperature).filter(|_| self.is_greedy());
        // A temperature of 0 leaves one token. Stages before it matter only up to the last one that can change which token is the most
        // likely; stages after it do not matter.
        let before = end.map_or(asked, |end| {
            let can_change = |stage: &Stage| {
                matches!(stage, Stage::Penalties | Stage::Dry | Stage::TypicalP | Stage::Xtc)
                    && self.has(*stage)
            };
            &asked[..asked[..end].iter().rposition(can_change).map_or(0, |last| last + 1)]
        });
        let mut plan = Stages::NONE;
        for &stage in before.iter().chain(end.map(|_| &Stage::Temperature)) {
            if self.has(stage) {
                // Cannot fail: there are no more stages than in the configuration.
                let _ = plan.push(stage);
            }
        }
        plan
    }
}

/// The allowed range of a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    Finite,
    Positive,
    AtLeast0,
    AtLeast1,
    Fraction,
}

impl Range {
    /// A description of the range, if the value is outside of it.
    fn expected(self, value: f32) -> Option<&'static str> {
        let (is_good, expected) = match self {
            Self::Finite => (true, "a finite number"),
            Self::Positive => (value > 0.0, "above 0"),
            Self::AtLeast0 => (value >= 0.0, "0 or more"),
            Self::AtLeast1 => (value >= 1.0, "1 or more"),
            Self::Fraction => ((0.0..=1.0).contains(&value), "from 0 to 1"),
        };
        (!is_good || !value.is_finite()).then_some(expected)
    }
}

/// The allowed values of [`SamplingConfig::mirostat`].
pub(super) const MIROSTAT: &str = "0, 1 or 2";

/// A parameter: its field here and in requests, its option, and how to access it.
pub(super) struct Parameter {
    pub field: &'static str,
    pub option: &'static str,
    pub kind: Kind,
    /// Whether giving this option without a temperature means that tokens should vary.
    pub varies: bool,
}

impl Parameter {
    const fn varying(self) -> Self {
        Self { varies: true, ..self }
    }
}

pub(super) enum Kind {
    /// A number in a range.
    Number(fn(&mut SamplingConfig) -> &mut f32, Range),
    /// A whole number, the meaning of a negative one, and the largest.
    Whole(fn(&mut SamplingConfig) -> &mut u32, Negative, u32),
}

/// What a negative number means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Negative {
    /// The same as 0.
    Zero,
    /// -1 is the whole context.
    Whole,
    /// Nothing.
    Nothing,
}

const fn number(
    field: &'static str,
    option: &'static str,
    range: Range,
    at: fn(&mut SamplingConfig) -> &mut f32,
) -> Parameter {
    Parameter { field, option, kind: Kind::Number(at, range), varies: false }
}

const fn whole(
    field: &'static str,
    option: &'static str,
    negative: Negative,
    most: u32,
    at: fn(&mut SamplingConfig) -> &mut u32,
) -> Parameter {
    Parameter { field, option, kind: Kind::Whole(at, negative, most), varies: false }
}

/// All numeric parameters except the seed. Fields are named as in llama.cpp's server, options as in its programs; `min_keep` has no option.
pub(super) const PARAMETERS: &[Parameter] = &[
    number("temperature", "--temp", Range::AtLeast0, |config| &mut config.temperature),
    number("dynatemp_range", "--dynatemp-range", Range::AtLeast0, |config| &mut config.dynatemp_range)
        .varying(),
    number("dynatemp_exponent", "--dynatemp-exp", Range::AtLeast0, |config| &mut config.dynatemp_exponent)
        .varying(),
    whole("top_k", "--top-k", Negative::Zero, u32::MAX, |config| &mut config.top_k).varying(),
    number("top_p", "--top-p", Range::Fraction, |config| &mut config.top_p).varying(),
    number("min_p", "--min-p", Range::Fraction, |config| &mut config.min_p).varying(),
    number("typical_p", "--typical", Range::Fraction, |config| &mut config.typical_p).varying(),
    number("top_n_sigma", "--top-nsigma", Range::Finite, |config| &mut config.top_n_sigma).varying(),
    number("xtc_probability", "--xtc-probability", Range::Fraction, |config| &mut config.xtc_probability)
        .varying(),
    number("xtc_threshold", "--xtc-threshold", Range::Fraction, |config| &mut config.xtc_threshold).varying(),
    number("repeat_penalty", "--repeat-penalty", Range::Positive, |config| &mut config.repeat_penalty),
    number("frequency_penalty", "--frequency-penalty", Range::Finite, |config| &mut config.frequency_penalty),
    number("presence_penalty", "--presence-penalty", Range::Finite, |config| &mut config.presence_penalty),
    whole("repeat_last_n", "--repeat-last-n", Negative::Whole, u32::MAX, |config| &mut config.repeat_last_n),
    number("dry_multiplier", "--dry-multiplier", Range::AtLeast0, |config| &mut config.dry_multiplier),
    number("dry_base", "--dry-base", Range::AtLeast1, |config| &mut config.dry_base),
    whole("dry_allowed_length", "--dry-allowed-length", Negative::Nothing, u32::MAX, |config| {
        &mut config.dry_allowed_length
    }),
    whole("dry_penalty_last_n", "--dry-penalty-last-n", Negative::Whole, u32::MAX, |config| {
        &mut config.dry_penalty_last_n
    }),
    whole("mirostat", "--mirostat", Negative::Nothing, 2, |config| &mut config.mirostat).varying(),
    number("mirostat_tau", "--mirostat-ent", Range::AtLeast0, |config| &mut config.mirostat_tau).varying(),
    number("mirostat_eta", "--mirostat-lr", Range::AtLeast0, |config| &mut config.mirostat_eta).varying(),
    whole("min_keep", "", Negative::Nothing, u32::MAX, |config| &mut config.min_keep),
];

impl Default for SamplingConfig {
    /// [`SamplingConfig::greedy`], so that text is reproducible unless variety is requested.
    fn default() -> Self {
        Self::greedy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_out_of_range_are_named() {
        let good = SamplingConfig::creative();
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(SamplingConfig::greedy().validate(), Ok(()));
        let cases = [
            ("temperature", SamplingConfig { temperature: -0.1, ..good }),
            ("temperature", SamplingConfig { temperature: f32::NAN, ..good }),
            ("temperature", SamplingConfig { temperature: f32::INFINITY, ..good }),
            ("top_p", SamplingConfig { top_p: 1.1, ..good }),
            ("top_p", SamplingConfig { top_p: f32::NAN, ..good }),
            ("min_p", SamplingConfig { min_p: -0.1, ..good }),
            ("repeat_penalty", SamplingConfig { repeat_penalty: 0.0, ..good }),
            ("repeat_penalty", SamplingConfig { repeat_penalty: f32::NAN, ..good }),
            ("frequency_penalty", SamplingConfig { frequency_penalty: f32::INFINITY, ..good }),
            ("presence_penalty", SamplingConfig { presence_penalty: f32::NAN, ..good }),
        ];
        for (field, config) in cases {
            match config.validate() {
                Err(SamplingError::Parameter { name, .. }) => assert_eq!(name, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}

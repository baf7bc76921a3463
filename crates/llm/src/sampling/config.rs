//! The parameters of sampling.

use super::SamplingError;

/// How tokens are chosen. [`SamplingConfig::greedy`] and [`SamplingConfig::creative`] are the usual
/// starting points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingConfig {
    /// Divides the logits before the draw: below 1 the likely tokens gain, above 1 the unlikely.
    /// 0 always takes the most likely token. Finite and not negative.
    pub temperature: f32,
    /// The number of most likely tokens that stay; 0 keeps all.
    /// Source: Fan, Lewis, Dauphin, "Hierarchical Neural Story Generation", 2018.
    pub top_k: u32,
    /// The most likely tokens stay, as many as it takes for their probabilities to reach this sum;
    /// 1 keeps all, 0 only the first. 0 to 1.
    /// Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019.
    pub top_p: f32,
    /// Tokens stay whose probability is at least this fraction of the highest; 0 keeps all. 0 to 1.
    /// Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.
    pub min_p: f32,
    /// Divides the positive logits of tokens in the repetition window and multiplies the negative
    /// ones; 1 changes nothing. Finite and above 0.
    /// Source: Keskar et al., "CTRL", 2019, in llama.cpp's form.
    pub repeat_penalty: f32,
    /// Taken from the logit of a token for each time that it is in the repetition window; 0 changes nothing. Finite.
    /// Source: OpenAI's API, in llama.cpp's form.
    pub frequency_penalty: f32,
    /// Taken once from the logits of tokens in the repetition window; 0 changes nothing. Finite.
    /// Source: as above.
    pub presence_penalty: f32,
    /// Length of the repetition window in tokens; 0 turns the penalties off. [`SamplingConfig::WHOLE_CONTEXT`] must be
    /// made a number by [`SamplingConfig::within_context`].
    pub repeat_last_n: u32,
    /// Seed of the generator. The same seed gives the same tokens.
    pub seed: u64,
}

impl SamplingConfig {
    /// A repetition window as long as the context.
    pub const WHOLE_CONTEXT: u32 = u32::MAX;

    /// The same with a repetition window that is no longer than a context of `n_ctx` tokens.
    pub fn within_context(self, n_ctx: usize) -> Self {
        let n_ctx = u32::try_from(n_ctx).unwrap_or(u32::MAX);
        Self { repeat_last_n: self.repeat_last_n.min(n_ctx), ..self }
    }

    /// The most likely token each time.
    pub const fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_last_n: 64,
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
    /// [`SamplingError::Parameter`] for the first that is not.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |name, value, good, expected| match good {
            true => Ok(()),
            false => Err(SamplingError::Parameter { name, value, expected }),
        };
        let fraction = 0.0..=1.0;
        let &Self { temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty, .. } =
            self;
        check("temperature", temperature, temperature.is_finite() && temperature >= 0.0, "0 or more")?;
        check("top_p", top_p, fraction.contains(&top_p), "from 0 to 1")?;
        check("min_p", min_p, fraction.contains(&min_p), "from 0 to 1")?;
        check(
            "repeat_penalty",
            repeat_penalty,
            repeat_penalty.is_finite() && repeat_penalty > 0.0,
            "above 0",
        )?;
        check("frequency_penalty", frequency_penalty, frequency_penalty.is_finite(), "a finite number")?;
        check("presence_penalty", presence_penalty, presence_penalty.is_finite(), "a finite number")
    }

    pub(super) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    pub(super) fn penalizes(&self) -> bool {
        let &Self { repeat_penalty, frequency_penalty, presence_penalty, repeat_last_n, .. } = self;
        repeat_last_n > 0 && (repeat_penalty != 1.0 || frequency_penalty != 0.0 || presence_penalty != 0.0)
    }
}

impl Default for SamplingConfig {
    /// [`SamplingConfig::greedy`], so that text can be reproduced unless variety is asked for.
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

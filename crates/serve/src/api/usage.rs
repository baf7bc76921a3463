//! Counts and times of an answer.

use llm::front::Report;
use serde::Serialize;

/// Token counts of all answers to a request, in OpenAI's format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Their sum.
    pub total_tokens: usize,
    /// Details about the prompts' tokens.
    pub prompt_tokens_details: PromptDetails,
    /// Generated tokens that are thoughts, for shapes that report them.
    #[serde(skip)]
    pub reasoning_tokens: usize,
}

/// Details about the prompts' tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PromptDetails {
    /// Tokens that were in the cache and were not computed for any of the answers.
    pub cached_tokens: usize,
}

impl Usage {
    /// Adds a prompt, which is computed once for all its answers, and how many of its tokens were in the cache.
    pub fn start(&mut self, prompt_tokens: usize, cached_tokens: usize) {
        self.prompt_tokens += prompt_tokens;
        self.prompt_tokens_details.cached_tokens += cached_tokens;
        self.total_tokens += prompt_tokens;
    }

    /// Adds the tokens of an answer.
    pub fn add(&mut self, n_tokens: usize) {
        self.completion_tokens += n_tokens;
        self.total_tokens += n_tokens;
    }
}

/// Times, in the format of llama.cpp's server. Time spent waiting for other requests counts as the prompt's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Prompt tokens that were in the cache and not computed.
    pub cache_n: usize,
    /// Prompt tokens that were computed.
    pub prompt_n: usize,
    /// The time of the prompt.
    pub prompt_ms: f64,
    /// The time per computed token.
    pub prompt_per_token_ms: f64,
    /// Computed tokens per second.
    pub prompt_per_second: f64,
    /// Tokens generated.
    pub predicted_n: usize,
    /// The time from the first of them to the end.
    pub predicted_ms: f64,
    /// The time per generated token.
    pub predicted_per_token_ms: f64,
    /// Generated tokens per second.
    pub predicted_per_second: f64,
}

impl Timings {
    /// The times of an answer.
    pub fn new(report: &Report) -> Self {
        let prompt_us = if report.tokens_emitted == 0 { report.latency_us } else { report.first_token_us };
        let prompt = (report.prompt_tokens, report.cached_tokens, prompt_us);
        Self::of(prompt, (report.tokens_emitted, report.latency_us.saturating_sub(prompt_us)))
    }

    /// The times of an answer. The arguments are: tokens of its prompt, how many of them were in the cache, the time until the
    /// first token of the answer, tokens of the answer, and the time from then on. Times are in microseconds.
    pub fn of(
        (prompt_tokens, cache_n, prompt_us): (usize, usize, u64),
        (predicted_n, predicted_us): (usize, u64),
    ) -> Self {
        let prompt_n = prompt_tokens.saturating_sub(cache_n);
        let prompt_ms = prompt_us as f64 / 1e3;
        let predicted_ms = predicted_us as f64 / 1e3;
        // The rate is 0 if nothing was counted, because JSON has no infinity.
        let ratio = |dividend: f64, divisor: f64| if divisor > 0.0 { dividend / divisor } else { 0.0 };
        Self {
            cache_n,
            prompt_n,
            prompt_ms,
            prompt_per_token_ms: ratio(prompt_ms, prompt_n as f64),
            prompt_per_second: ratio(1e3 * prompt_n as f64, prompt_ms),
            predicted_n,
            predicted_ms,
            predicted_per_token_ms: ratio(predicted_ms, predicted_n as f64),
            predicted_per_second: ratio(1e3 * predicted_n as f64, predicted_ms),
        }
    }
}

/// Number of computed tokens, for requests that generate none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Counted {
    /// Counts `n_tokens` tokens.
    pub fn new(n_tokens: usize) -> Self {
        Self { prompt_tokens: n_tokens, total_tokens: n_tokens }
    }
}

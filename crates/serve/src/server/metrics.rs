//! [`Metrics`]: figures in the format that Prometheus reads.
//!
//! Names are those of llama.cpp's server if the meaning is the same, with the prefix `ferrite_`. Source: Prometheus, "Exposition
//! formats".

use alloc::vec::Vec;
use core::fmt::{self, Write};

use llm::front::{Event, Histogram, Report};

use crate::engine::EngineStatus;

/// Number of late answers that are kept.
const N_OVERDUE: usize = 8;

/// What the server has done so far.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Number of connections that were opened.
    pub n_connections: u64,
    /// Number of requests that arrived completely.
    pub n_requests: u64,
    /// Number of requests that were refused, including those that did not arrive completely.
    pub n_refused: u64,
    /// Number of prompt tokens that were computed.
    n_prompt_tokens: u64,
    /// Number of prompt tokens that were found in the cache.
    n_cached_tokens: u64,
    /// Total time from requests to their first tokens.
    prompt_us: u64,
    /// Number of tokens generated.
    n_generated_tokens: u64,
    /// Total time from first tokens to the ends of answers.
    generation_us: u64,
    /// Time from each token of an answer to the next.
    token_us: Histogram,
    /// Answers that missed their deadline.
    pub overdue: Overdue,
    /// The engine's status when it was last asked.
    pub status: EngineStatus,
}

/// Answers that missed their deadline.
#[derive(Debug, Default)]
pub struct Overdue {
    /// Number of such answers.
    pub n: u64,
    /// The most recent of them: the number of the request, with which the name of its answer ends, and the delay in
    /// microseconds.
    last: [(u64, u64); N_OVERDUE],
}

impl Overdue {
    /// Counts one answer.
    pub(super) fn add(&mut self, number: u64, by_us: u64) {
        self.last[self.n as usize % N_OVERDUE] = (number, by_us);
        self.n += 1;
    }

    /// The most recent ones, oldest first.
    pub fn last(&self) -> impl Iterator<Item = (u64, u64)> {
        let first = self.n.saturating_sub(N_OVERDUE as u64);
        (first..self.n).map(|n| self.last[n as usize % N_OVERDUE])
    }
}

impl Metrics {
    /// Adds an event of the engine to the figures.
    pub fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::Token { gap_us, .. } => {
                self.n_generated_tokens += 1;
                gap_us.iter().for_each(|&gap_us| self.token_us.add(gap_us));
            }
            Event::Finished { report, .. } => self.add_report(report),
            Event::Embedding(embedding) => self.n_prompt_tokens += embedding.n_tokens as u64,
            _ => {}
        }
    }

    fn add_report(&mut self, report: &Report) {
        self.n_cached_tokens += report.cached_tokens as u64;
        self.n_prompt_tokens += report.prompt_tokens.saturating_sub(report.cached_tokens) as u64;
        let prompt_us = if report.tokens_emitted == 0 { report.latency_us } else { report.first_token_us };
        self.prompt_us += prompt_us;
        self.generation_us += report.latency_us.saturating_sub(prompt_us);
    }

    /// Writes the figures.
    pub fn write(&self, out: &mut Vec<u8>, n_open: usize) -> fmt::Result {
        let seconds = |us: u64| us as f64 / 1e6;
        let mut out = Fallible(out);
        let token_us = &self.token_us;
        write!(
            out,
            "# HELP ferrite_token_seconds Time from each token of an answer to the next.\n\
             # TYPE ferrite_token_seconds summary\n\
             ferrite_token_seconds{{quantile=\"0.5\"}} {}\n\
             ferrite_token_seconds{{quantile=\"0.99\"}} {}\n\
             ferrite_token_seconds_sum {}\n\
             ferrite_token_seconds_count {}\n",
            seconds(token_us.percentile_us(50)),
            seconds(token_us.percentile_us(99)),
            seconds(token_us.sum_us()),
            token_us.n(),
        )?;
        let mut figure = |name, kind, help, value: f64| {
            write!(
                out,
                "# HELP ferrite_{name} {help}\n# TYPE ferrite_{name} {kind}\nferrite_{name} {value}\n"
            )
        };
        figure("prompt_tokens_total", "counter", "Prompt tokens computed.", self.n_prompt_tokens as f64)?;
        figure(
            "prompt_tokens_cached_total",
            "counter",
            "Prompt tokens found and not computed again.",
            self.n_cached_tokens as f64,
        )?;
        figure(
            "prompt_seconds_total",
            "counter",
            "Time from requests to their first tokens, waiting included.",
            seconds(self.prompt_us),
        )?;
        figure("tokens_predicted_total", "counter", "Tokens generated.", self.n_generated_tokens as f64)?;
        figure(
            "tokens_predicted_seconds_total",
            "counter",
            "Time from first tokens to the ends of answers.",
            seconds(self.generation_us),
        )?;
        figure("token_seconds_max", "gauge", "The longest of these times.", seconds(token_us.max_us()))?;
        figure(
            "deadlines_missed_total",
            "counter",
            "Answers that ended after timeout_ms.",
            self.overdue.n as f64,
        )?;
        figure("requests_total", "counter", "Requests that arrived whole.", self.n_requests as f64)?;
        figure("requests_refused_total", "counter", "Requests that were refused.", self.n_refused as f64)?;
        figure("connections_total", "counter", "Connections that were opened.", self.n_connections as f64)?;
        figure("connections", "gauge", "Connections that are open.", n_open as f64)?;
        let EngineStatus { n_running, n_waiting, n_pages, n_used_pages, .. } = self.status;
        let EngineStatus { n_prefix_hits, n_preempted, memory_bytes, memory_used_bytes, .. } = self.status;
        figure("requests_processing", "gauge", "Texts being generated.", n_running as f64)?;
        figure("requests_deferred", "gauge", "Texts waiting for their turn.", n_waiting as f64)?;
        figure("prefix_hits_total", "counter", "Texts whose beginning was known.", n_prefix_hits as f64)?;
        figure(
            "preemptions_total",
            "counter",
            "Times that a text made room for others.",
            n_preempted as f64,
        )?;
        figure("kv_pages", "gauge", "Pages of positions.", n_pages as f64)?;
        figure("kv_pages_used", "gauge", "Pages that running texts hold.", n_used_pages as f64)?;
        let ratio = if n_pages == 0 { 0.0 } else { n_used_pages as f64 / n_pages as f64 };
        figure("kv_cache_usage_ratio", "gauge", "The same as a part of 1.", ratio)?;
        if memory_bytes > 0 {
            figure("memory_bytes", "gauge", "Bytes for models and texts.", memory_bytes as f64)?;
            figure("memory_used_bytes", "gauge", "Those that are taken.", memory_used_bytes as f64)?;
        }
        Ok(())
    }
}

/// Bytes to which text is added as long as there is memory.
struct Fallible<'v>(&'v mut Vec<u8>);

impl Write for Fallible<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

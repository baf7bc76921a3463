//! Status lines: how far something is that takes long, be it a model that is read ([`ProgressDisplay`]) or a long prompt that is
//! computed ([`PromptStatus`]).

use core::{cell::Cell, fmt, ops::ControlFlow};

use llm::front::{
    Event,
    units::{Rate, Size, per_second},
};

use super::terminal::Terminal;
use crate::llm::Progress;

/// Minimum time between two updates.
const INTERVAL_US: u64 = 200_000;

/// A prompt that takes less time than this has no status.
const PATIENCE_US: u64 = 500_000;

/// Shows from time to time how much was read.
pub struct ProgressDisplay {
    doing: &'static str,
    last: Option<Progress>,
    /// When it was last shown, by the clock of the progress reports.
    shown_us: Option<u64>,
}

impl ProgressDisplay {
    /// Nothing is shown yet.
    pub fn new(doing: &'static str) -> Self {
        Self { doing, last: None, shown_us: None }
    }

    /// Shows this progress if it is time to. Breaks if Ctrl-C was typed.
    pub fn update(&mut self, terminal: &mut Terminal<'_>, progress: Progress) -> ControlFlow<()> {
        self.last = Some(progress);
        let is_due = progress.elapsed_us >= self.shown_us.unwrap_or(0) + INTERVAL_US;
        if is_due || progress.done_bytes == progress.total_bytes {
            self.shown_us = Some(progress.elapsed_us);
            let Progress { done_bytes, total_bytes, elapsed_us } = progress;
            let left = TimeLeft { done: done_bytes, total: total_bytes, elapsed_us };
            match terminal.is_screen() {
                true => terminal.progress(format_args!("{}: {}{left}", self.doing, ProgressLine(progress))),
                false => terminal.progress(format_args!("{}: {}", self.doing, ProgressLine(progress))),
            }
        }
        terminal.check_interrupt()
    }

    /// Ends the line.
    pub fn finish(self, terminal: &mut Terminal<'_>) {
        if self.shown_us.is_some() {
            terminal.end_progress();
        }
        if let Some(last) = self.last {
            log::debug!("{}: {}", self.doing, ProgressLine(last));
        }
    }
}

struct ProgressLine(Progress);

impl fmt::Display for ProgressLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { done_bytes, total_bytes, elapsed_us } = self.0;
        let megabytes_per_second = per_second(done_bytes, elapsed_us).map(|rate| rate / 1e6);
        write!(f, "{} of {}, {} MB/s", Size(done_bytes), Size(total_bytes), Rate(megabytes_per_second))
    }
}

/// The time left at the same rate, with a comma before it; nothing if it is not known or less than a second.
struct TimeLeft {
    done: u64,
    total: u64,
    elapsed_us: u64,
}

impl fmt::Display for TimeLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rate) = per_second(self.done, self.elapsed_us) else { return Ok(()) };
        let seconds = self.total.saturating_sub(self.done) as f64 / rate;
        match seconds as u64 {
            0 => Ok(()),
            seconds @ 1..120 => write!(f, ", {seconds} s left"),
            seconds => write!(f, ", {} min left", seconds.div_ceil(60)),
        }
    }
}

/// How much of a prompt is computed. All of it is in cells, because it is told from two callbacks at once.
pub struct PromptStatus {
    clock_us: fn() -> u64,
    /// How often a batch reports: twice in each layer.
    n_reports: u64,
    /// Most tokens of a batch.
    n_batch: u64,
    /// Tokens of the prompt that are to be computed, and those that are; `None` before and after that.
    tokens: Cell<Option<(u64, u64)>>,
    /// Reports of the batch so far.
    n_reported: Cell<u64>,
    begin_us: Cell<u64>,
    shown_us: Cell<u64>,
}

impl PromptStatus {
    /// Before the prompt, for a model of so many layers that takes so many tokens at a time.
    pub fn new(clock_us: fn() -> u64, n_layer: usize, n_batch: usize) -> Self {
        Self {
            clock_us,
            n_reports: 2 * n_layer as u64,
            n_batch: n_batch as u64,
            tokens: Cell::new(None),
            n_reported: Cell::new(0),
            begin_us: Cell::new(0),
            shown_us: Cell::new(0),
        }
    }

    /// Takes note of what has happened to the request.
    pub fn take(&self, event: &Event<'_>, terminal: &mut Terminal<'_>) {
        match event {
            Event::Started { prompt_tokens, cached_tokens } => {
                self.tokens.set(Some((prompt_tokens.saturating_sub(*cached_tokens) as u64, 0)));
                let now_us = (self.clock_us)();
                self.begin_us.set(now_us);
                self.shown_us.set(now_us);
            }
            Event::Forgotten(_) | Event::Prompt => {}
            _ => {
                if self.tokens.take().is_some() {
                    terminal.clear_status();
                }
            }
        }
    }

    /// Other texts have a part in the batches: how far this prompt is cannot be told any more.
    pub fn share(&self, terminal: &mut Terminal<'_>) {
        if self.tokens.take().is_some() {
            terminal.clear_status();
        }
    }

    /// A batch with so many tokens has been computed.
    pub fn end_batch(&self, n_tokens: usize) {
        let tokens = self.tokens.get();
        self.tokens.set(tokens.map(|(total, done)| (total, total.min(done + n_tokens as u64))));
        self.n_reported.set(0);
    }

    /// A half of a layer of a batch has been computed: shows how far the prompt is, if it is time to.
    pub fn report(&self, terminal: &mut Terminal<'_>) {
        self.n_reported.set(self.n_reported.get() + 1);
        let Some((total, done)) = self.tokens.get() else { return };
        let now_us = (self.clock_us)();
        let elapsed_us = now_us.saturating_sub(self.begin_us.get());
        if elapsed_us < PATIENCE_US || now_us < self.shown_us.get() + INTERVAL_US {
            return;
        }
        self.shown_us.set(now_us);
        let of_batch = self.n_batch.min(total - done);
        let done = done + of_batch * self.n_reported.get().min(self.n_reports) / self.n_reports.max(1);
        terminal.status(format_args!(
            "prompt: {done} of {total} tokens, {} tokens/s{}",
            Rate(per_second(done, elapsed_us)),
            TimeLeft { done, total, elapsed_us }
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::Screen;
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};
    use std::string::{String, ToString};

    #[test]
    fn the_time_left_is_told_in_whole_seconds_or_minutes() {
        for (done, total, elapsed_us, expected) in [
            (0, 10, 1_000_000, ""),
            (5, 10, 0, ""),
            (5, 10, 5_000_000, ", 5 s left"),
            (10, 10, 5_000_000, ""),
            (9, 10, 5_000_000, ""),
            (1, 1000, 1_000_000, ", 17 min left"),
        ] {
            assert_eq!(TimeLeft { done, total, elapsed_us }.to_string(), expected, "{done} of {total}");
        }
    }

    #[test]
    fn a_long_prompt_has_a_status_that_is_gone_before_the_answer() {
        static NOW_US: AtomicU64 = AtomicU64::new(0);
        let clock_us = || NOW_US.load(Ordering::Relaxed);
        let mut screen = Screen::new(80, 10);
        let shown = |screen: &Screen| screen.row(0).iter().collect::<String>().trim_end().to_string();
        let status = PromptStatus::new(clock_us, 4, 512);
        let report = |screen: &mut Screen, seconds: u64| {
            NOW_US.store(seconds * 1_000_000, Ordering::Relaxed);
            let mut terminal = Terminal::new(screen, clock_us, true, Some(80), None);
            status.report(&mut terminal);
        };
        report(&mut screen, 0);
        let started = Event::Started { prompt_tokens: 1100, cached_tokens: 100 };
        status.take(&started, &mut Terminal::new(&mut screen, clock_us, true, Some(80), None));
        status.end_batch(0);
        report(&mut screen, 0);
        assert_eq!(shown(&screen), "", "not at once");
        for _ in 0..3 {
            report(&mut screen, 2);
        }
        // The second of eight reports of a batch of 512.
        assert_eq!(shown(&screen), "prompt: 128 of 1000 tokens, 64.0 tokens/s, 13 s left");
        status.end_batch(512);
        report(&mut screen, 4);
        assert_eq!(shown(&screen), "prompt: 573 of 1000 tokens, 143.2 tokens/s, 2 s left");
        for _ in 0..100 {
            report(&mut screen, 8);
        }
        let mut terminal = Terminal::new(&mut screen, clock_us, true, Some(80), None);
        terminal.status(format_args!("prompt"));
        terminal.print(format_args!("Yes."));
        assert_eq!(shown(&screen), "Yes.");
        let mut file = Screen::new(80, 10);
        Terminal::new(&mut file, clock_us, true, Some(0), None).status(format_args!("prompt"));
        assert_eq!(shown(&file), "");
    }
}

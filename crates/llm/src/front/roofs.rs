//! Upper bounds of a machine's speed, as lines for people: how fast one, two and more cores read memory, and how fast
//! one core multiplies Q4_0 weights that stay in its caches.

use core::fmt;
use core::ops::ControlFlow;

use super::bench::median;
use super::units::{Rate, Size, per_second};
use crate::parallel::Workers;
use crate::roofline;
use crate::simd::Kernels;

/// How often each thing is measured; the median is shown.
const RUNS: usize = 5;

/// Tokens of a batch that shares each reading of the weights.
const MANY_TOKENS: usize = 64;

/// What is measured.
pub struct RoofPlan<'p> {
    /// The cores that read the memory.
    pub workers: &'p dyn Workers,
    /// The inner loops that multiply.
    pub kernels: &'p Kernels,
    /// The memory to read: whole words of eight bytes, many times the size of the caches, and already written to.
    pub memory: &'p [u8],
    /// How often the weights are multiplied with one token between two readings of the clock.
    pub n_times: usize,
    /// Microseconds since some moment in the past.
    pub clock_us: fn() -> u64,
}

/// Measures. `on_line` receives each line as soon as it is known, and `None` after each run; it may break off.
pub fn run(
    plan: &RoofPlan<'_>,
    on_line: &mut dyn FnMut(Option<fmt::Arguments<'_>>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let &RoofPlan { workers, kernels, memory, n_times, clock_us } = plan;
    let size_bytes = memory.len() as u64;
    on_line(Some(format_args!("read {}", Size(size_bytes))))?;
    for n_cores in 1..=workers.count() {
        let read = || {
            roofline::read(workers, n_cores, memory);
            size_bytes
        };
        let rate = median_rate(clock_us, read, &mut || on_line(None))?;
        let name = if n_cores == 1 { "core" } else { "cores" };
        on_line(Some(format_args!("  {n_cores} {name:<5}    {rate} GB/s")))?;
    }
    on_line(Some(format_args!("multiply Q4_0 on 1 core with {}", kernels.name())))?;
    for n_tokens in [1, MANY_TOKENS] {
        let n_times = (n_times / n_tokens).max(1);
        let multiply = || roofline::multiply(kernels, n_tokens, n_times);
        let rate = median_rate(clock_us, multiply, &mut || on_line(None))?;
        let name = if n_tokens == 1 { "token" } else { "tokens" };
        on_line(Some(format_args!("  {n_tokens:<2} {name:<7} {rate} billion products/s")))?;
    }
    ControlFlow::Continue(())
}

/// Billions of operations per second; `work` returns how many it did.
fn median_rate(
    clock_us: fn() -> u64,
    work: impl Fn() -> u64,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> ControlFlow<(), Rate> {
    let mut times_us = [0; RUNS];
    let mut done = 0;
    for time_us in &mut times_us {
        let start_us = clock_us();
        done = work();
        *time_us = clock_us().saturating_sub(start_us);
        go_on()?;
    }
    let elapsed_us = median(&mut times_us).unwrap_or(0);
    ControlFlow::Continue(Rate(per_second(done, elapsed_us).map(|rate| rate / 1e9)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Serial;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicU64, Ordering};
    use zerocopy::IntoBytes;

    /// A clock that advances by a millisecond at each reading.
    fn clock_us() -> u64 {
        static NOW: AtomicU64 = AtomicU64::new(0);
        NOW.fetch_add(1000, Ordering::Relaxed)
    }

    #[test]
    fn lines_come_as_they_are_known_until_they_are_enough() {
        let words = alloc::vec![1_u64; 1024];
        let memory = words.as_bytes();
        let plan = RoofPlan { workers: &Serial, kernels: Kernels::scalar(), memory, n_times: 2, clock_us };
        let mut lines: Vec<String> = Vec::new();
        let mut n_runs = 0;
        let all = run(&plan, &mut |line| {
            n_runs += usize::from(line.is_none());
            lines.extend(line.map(|line| line.to_string()));
            ControlFlow::Continue(())
        });
        assert!(all.is_continue());
        assert_eq!(n_runs, 3 * RUNS);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(
            (lines[0].as_str(), lines[2].as_str()),
            ("read 8.0 KiB", "multiply Q4_0 on 1 core with scalar")
        );
        assert!(lines[1].starts_with("  1 core ") && lines[4].starts_with("  64 tokens "), "{lines:?}");
        for n_calls in 1..n_runs + lines.len() {
            let mut n_left = n_calls;
            let ended = run(&plan, &mut |_| {
                n_left -= 1;
                if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert!(ended.is_break() && n_left == 0);
        }
    }
}

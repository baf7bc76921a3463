//! Penalties for tokens that came lately: repeat, frequency, presence.

use alloc::vec::Vec;

use super::SamplingConfig;
use super::candidates::{Candidates, finite};
use super::recent::Recent;

/// A token and a number, the token first, so that they sort by it.
pub(super) fn pair(id: u32, number: u32) -> u64 {
    u64::from(id) << 32 | u64::from(number)
}

/// Makes the tokens of the window less likely, each once. `counts` has room for as many as the window has.
pub(super) fn apply(
    candidates: &mut Candidates,
    recent: &Recent,
    config: &SamplingConfig,
    counts: &mut Vec<u64>,
) {
    let &SamplingConfig { repeat_penalty, frequency_penalty, presence_penalty, repeat_last_n, .. } = config;
    counts.clear();
    counts.extend(recent.newest_first().take(repeat_last_n as usize).map(|id| pair(id, 1)));
    counts.sort_unstable();
    // Neighbours are the same token: the first of them gets how many there are.
    counts.dedup_by(|next, first| {
        let is_same = *next >> 32 == *first >> 32;
        *first += u64::from(is_same);
        is_same
    });
    candidates.change(counts, &mut |logit, count| {
        let scaled = if logit > 0.0 { logit / repeat_penalty } else { logit * repeat_penalty };
        finite(finite(scaled) - (count as f32 * frequency_penalty + presence_penalty))
    });
}

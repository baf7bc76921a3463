//! Penalties for recent tokens: repeat, frequency, presence.

use alloc::vec::Vec;

use super::SamplingConfig;
use super::candidates::{Candidates, finite};
use super::recent::Recent;

/// A token and a number in one integer; the token is in the high bits, so that pairs sort by it.
pub(super) fn pair(id: u32, number: u32) -> u64 {
    u64::from(id) << 32 | u64::from(number)
}

/// Makes the tokens of the window less likely, each once. `counts` must have room for as many entries as the window.
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
    // Adjacent entries of the same token: the first one gets their number.
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

//! How the memory of a machine is divided among its tables.

use super::ROW_BITS;
use super::closure::Closure;
use super::members::MemberSets;
use super::sets::{Entry, Sets};
use crate::program::Grammar;

/// Least number of states in addition to those for the longest token. From a state of free text, the bytes of all characters lead
/// to fewer states, so all of them can be known at once.
const MIN_STATES: usize = 64;

/// Sizes of a machine's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub sets: usize,
    pub entries: usize,
    pub rows: usize,
    /// Most states that must be kept.
    pub kept: usize,
    /// Most rows in a path.
    pub path: usize,
}

impl Sizes {
    /// Divides `bytes` among the tables for a grammar.
    pub fn divided(grammar: &Grammar, bytes: usize, kept: usize, path: usize) -> Self {
        let per_set = Sets::BYTES_PER_SET + if has_members(grammar) { MemberSets::BYTES_PER_SET } else { 0 };
        let rest = bytes.saturating_sub(Closure::BYTES + 4 * (kept + path));
        Self {
            // Half for the rows, a quarter for entries, the rest for sets.
            sets: (rest / 4 / per_set).max(path + MIN_STATES),
            entries: (rest / 4 / size_of::<Entry>()).max(4 * (path + MIN_STATES)),
            rows: (rest / 2 / row_bytes(grammar)).min(most_rows(grammar)).max(path + MIN_STATES),
            kept,
            path,
        }
    }

    /// The memory of a machine with these tables.
    pub fn bytes(&self, grammar: &Grammar) -> usize {
        Closure::BYTES
            + 4 * (self.kept + self.path)
            + self.sets * Sets::BYTES_PER_SET
            + if has_members(grammar) { self.sets * MemberSets::BYTES_PER_SET } else { 0 }
            + self.entries * size_of::<Entry>()
            + self.rows * row_bytes(grammar)
    }
}

pub(super) fn has_members(grammar: &Grammar) -> bool {
    !grammar.interleaves.is_empty()
}

fn row_bytes(grammar: &Grammar) -> usize {
    // The row, its kinds and its state; then the costs of the row.
    4 * (grammar.representatives.len() + 2) + 2 * (grammar.representatives.len() + 1)
}

/// The largest number of rows for which none begins beyond [`ROW_BITS`].
fn most_rows(grammar: &Grammar) -> usize {
    ROW_BITS as usize / (grammar.representatives.len() + 1)
}

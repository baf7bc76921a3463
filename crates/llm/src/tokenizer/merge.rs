//! The loop that both kinds of merging tokenizers share: join the best pair of neighbours until no
//! pair can be joined.
//!
//! Among pairs with the same priority the leftmost is joined first. There are three methods with the same result: short
//! words are scanned for the best pair each time; in long words a pair that occurs often, as in a line of dashes, is
//! joined everywhere in one sweep; otherwise a heap finds the best pair, so that no word costs more than n log n.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::error::{TokenizerError, push, reserve};
use super::vocabulary::Vocabulary;

/// Stands for a symbol without a token, or for no symbol.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// Words of at most this many symbols are scanned.
const MAX_SCANNED: usize = 24;

/// A pair is joined in a sweep if its share of the word is at least one in this many.
const MIN_SWEPT_PART: usize = 64;

/// Number of sweeps that may join rarer pairs, such as those at the ends of a run.
const MAX_RARE_SWEEPS: usize = 2;

/// Two neighbours that can be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Joint {
    /// Pairs with a smaller number are joined first. Below `u32::MAX`.
    pub(super) priority: u32,
    /// The resulting token.
    pub(super) id: u32,
}

impl Joint {
    const NONE: Self = Self { priority: u32::MAX, id: NO_TOKEN };
}

/// A part of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// Where it begins in the word. It ends where the next begins.
    pub(super) start: u32,
    /// Its token, or [`NO_TOKEN`].
    pub(super) id: u32,
    /// The result of joining it with its right neighbour.
    joint: Joint,
}

/// The symbols of one word, and the buffers to join them in. Reused from word to word.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    /// Links to the neighbours, used with the heap. Symbols that were absorbed by others stay in place.
    links: Vec<Link>,
    /// Priority in the upper half, index in the lower half.
    heap: BinaryHeap<Reverse<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// No neighbour.
const NO_LINK: u32 = u32::MAX;

impl Merger {
    /// Takes the symbols of a word up to the first boundary across which nothing can be joined, often its end, and
    /// returns that part. `id` gives the token of a symbol. The word must not be empty.
    pub(super) fn fill<'t>(
        &mut self,
        vocabulary: &Vocabulary<'_>,
        word: &'t [u8],
        id: impl Fn(&[u8]) -> u32,
    ) -> Result<&'t [u8], TokenizerError> {
        self.symbols.clear();
        let mut start = 0;
        while start < word.len() {
            let end = start + vocabulary.spelling().symbol_len(&word[start..]);
            let symbol = &word[start..end];
            if start > 0 && !vocabulary.may_join(word[start - 1], symbol) {
                break;
            }
            push(&mut self.symbols, Symbol { start: start as u32, id: id(symbol), joint: Joint::NONE })?;
            start = end;
        }
        Ok(&word[..start])
    }

    /// The symbols, with the end of each in a word of `len` bytes.
    pub(super) fn symbols(&self, len: usize) -> impl Iterator<Item = (Symbol, usize)> {
        let ends = self.symbols.iter().skip(1).map(|next| next.start as usize);
        self.symbols.iter().copied().zip(ends.chain([len]))
    }

    /// Joins neighbours until none can be joined.
    ///
    /// `joint` gives the result of joining two neighbours; its third argument is where the right one ends in the word
    /// of `len` bytes.
    pub(super) fn merge(
        &mut self,
        len: usize,
        joint: impl Fn(Symbol, Symbol, usize) -> Option<Joint>,
    ) -> Result<(), TokenizerError> {
        let joint = |left, right, end| joint(left, right, end).unwrap_or(Joint::NONE);
        let n = self.symbols.len();
        for place in 1..n {
            let end = start_of(&self.symbols, place + 1, len);
            self.symbols[place - 1].joint = joint(self.symbols[place - 1], self.symbols[place], end);
        }
        if n <= MAX_SCANNED {
            self.merge_by_scanning(len, joint);
            return Ok(());
        }
        let mut n_rare = 0;
        while let Some((priority, count)) = self.best() {
            n_rare += usize::from(count < self.symbols.len() / MIN_SWEPT_PART);
            if n_rare > MAX_RARE_SWEEPS || !self.sweep(priority, len, joint) {
                return self.merge_by_heap(len, joint);
            }
        }
        Ok(())
    }

    /// The best priority, and how many pairs have it.
    fn best(&self) -> Option<(u32, usize)> {
        let mut best = (u32::MAX, 0);
        for symbol in &self.symbols {
            let priority = symbol.joint.priority;
            if priority < best.0 {
                best = (priority, 0);
            }
            best.1 += usize::from(priority == best.0);
        }
        Some(best).filter(|&(priority, _)| priority != u32::MAX)
    }

    /// Joins all pairs of the best priority from left to right.
    ///
    /// Stops and returns false if the result could be joined again with a better priority before the next pair.
    fn sweep(&mut self, priority: u32, len: usize, joint: impl Fn(Symbol, Symbol, usize) -> Joint) -> bool {
        let symbols = &mut self.symbols;
        let mut in_order = true;
        let mut kept = 0;
        let mut place = 0;
        while place < symbols.len() {
            let mut symbol = symbols[place];
            place += 1;
            while symbol.joint.priority == priority && in_order {
                symbol.id = symbol.joint.id;
                place += 1;
                // With the same priority, the pair further left goes first.
                while kept > 0 {
                    let behind = joint(symbols[kept - 1], symbol, start_of(symbols, place, len));
                    if behind.priority != priority {
                        symbols[kept - 1].joint = behind;
                        in_order = behind.priority > priority;
                        break;
                    }
                    kept -= 1;
                    symbol = Symbol { id: behind.id, ..symbols[kept] };
                }
                symbol.joint = match symbols.get(place) {
                    Some(&next) => joint(symbol, next, start_of(symbols, place + 1, len)),
                    None => Joint::NONE,
                };
                in_order &= symbol.joint.priority >= priority;
            }
            symbols[kept] = symbol;
            kept += 1;
        }
        symbols.truncate(kept);
        in_order
    }

    fn merge_by_scanning(&mut self, len: usize, joint: impl Fn(Symbol, Symbol, usize) -> Joint) {
        let symbols = &mut self.symbols;
        loop {
            let mut best = 0;
            let mut best_priority = u32::MAX;
            for (place, symbol) in symbols.iter().enumerate() {
                if symbol.joint.priority < best_priority {
                    best_priority = symbol.joint.priority;
                    best = place;
                }
            }
            if best_priority == u32::MAX {
                return;
            }
            symbols[best].id = symbols[best].joint.id;
            symbols.remove(best + 1);
            for left in best.saturating_sub(1)..=best {
                symbols[left].joint = match symbols.get(left + 1) {
                    None => Joint::NONE,
                    Some(&right) => joint(symbols[left], right, start_of(symbols, left + 2, len)),
                };
            }
        }
    }

    fn merge_by_heap(
        &mut self,
        len: usize,
        joint: impl Fn(Symbol, Symbol, usize) -> Joint,
    ) -> Result<(), TokenizerError> {
        let n = self.symbols.len();
        self.links.clear();
        reserve(&mut self.links, n)?;
        self.links.extend((0..n as u32).map(|place| Link {
            previous: place.checked_sub(1).unwrap_or(NO_LINK),
            next: if place as usize + 1 < n { place + 1 } else { NO_LINK },
        }));

        let mut entries = core::mem::take(&mut self.heap).into_vec();
        entries.clear();
        reserve(&mut entries, n)?;
        entries.extend(
            (0u32..)
                .zip(&self.symbols)
                .filter(|(_, symbol)| symbol.joint != Joint::NONE)
                .map(|(place, symbol)| entry(symbol.joint.priority, place)),
        );
        self.heap = BinaryHeap::from(entries);

        while let Some(Reverse(best)) = self.heap.pop() {
            let (priority, place) = ((best >> 32) as u32, best as u32);
            let left = self.symbols[place as usize];
            // The heap may contain outdated entries of pairs that have changed.
            if left.joint.priority != priority {
                continue;
            }
            let swallowed = self.links[place as usize].next;
            let next = self.links[swallowed as usize].next;
            self.symbols[place as usize].id = left.joint.id;
            self.symbols[swallowed as usize].joint = Joint::NONE;
            self.links[place as usize].next = next;
            if next != NO_LINK {
                self.links[next as usize].previous = place;
            }
            let previous = self.links[place as usize].previous;
            if previous != NO_LINK {
                self.renew_joint(previous, len, &joint)?;
            }
            self.renew_joint(place, len, &joint)?;
        }
        self.drop_swallowed();
        Ok(())
    }

    /// Computes again the result of joining a symbol with its right neighbour.
    fn renew_joint(
        &mut self,
        place: u32,
        len: usize,
        joint: &impl Fn(Symbol, Symbol, usize) -> Joint,
    ) -> Result<(), TokenizerError> {
        let right = self.links[place as usize].next;
        let new = if right == NO_LINK {
            Joint::NONE
        } else {
            let end = match self.links[right as usize].next {
                NO_LINK => len,
                behind => self.symbols[behind as usize].start as usize,
            };
            joint(self.symbols[place as usize], self.symbols[right as usize], end)
        };
        self.symbols[place as usize].joint = new;
        if new != Joint::NONE {
            if self.heap.len() == self.heap.capacity() {
                self.heap.try_reserve(1).map_err(|_| TokenizerError::OutOfMemory {
                    needed_bytes: self.heap.len().saturating_mul(size_of::<u64>()),
                })?;
            }
            self.heap.push(entry(new.priority, place));
        }
        Ok(())
    }

    /// Closes the gaps that absorbed symbols left.
    fn drop_swallowed(&mut self) {
        let mut kept = 0;
        let mut place = 0;
        while place != NO_LINK {
            self.symbols[kept] = self.symbols[place as usize];
            kept += 1;
            place = self.links[place as usize].next;
        }
        self.symbols.truncate(kept);
    }
}

/// Where a symbol begins, or a word of `len` bytes ends.
fn start_of(symbols: &[Symbol], place: usize, len: usize) -> usize {
    symbols.get(place).map_or(len, |symbol| symbol.start as usize)
}

fn entry(priority: u32, place: u32) -> Reverse<u64> {
    Reverse(u64::from(priority) << 32 | u64::from(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of joining pairs of ids, in the simplest form.
    struct Rules {
        joints: Vec<(u32, u32, Joint)>,
    }

    impl Rules {
        fn find(&self, left: u32, right: u32) -> Option<Joint> {
            self.joints.iter().find(|&&(l, r, _)| (l, r) == (left, right)).map(|&(_, _, joint)| joint)
        }

        /// Joins the best pair, the leftmost among equals, until no pair can be joined.
        fn merge(&self, ids: &mut Vec<u32>) {
            loop {
                let pairs = ids.windows(2).enumerate();
                let joints = pairs.filter_map(|(place, pair)| Some((self.find(pair[0], pair[1])?, place)));
                let Some((joint, place)) = joints.min_by_key(|&(joint, place)| (joint.priority, place))
                else {
                    return;
                };
                ids[place] = joint.id;
                ids.remove(place + 1);
            }
        }
    }

    fn merged(ids: &[u32], rules: &Rules, how: fn(&mut Merger, usize, &Rules)) -> Vec<u32> {
        let mut merger = Merger::default();
        for (start, &id) in (0..).zip(ids) {
            merger.symbols.push(Symbol { start, id, joint: Joint::NONE });
        }
        for place in 1..ids.len() {
            merger.symbols[place - 1].joint = rules.find(ids[place - 1], ids[place]).unwrap_or(Joint::NONE);
        }
        how(&mut merger, ids.len(), rules);
        let symbols: Vec<_> = merger.symbols(ids.len()).collect();
        let mut end = 0;
        for (symbol, symbol_end) in &symbols {
            assert_eq!(symbol.start as usize, end);
            assert!(*symbol_end > end);
            end = *symbol_end;
        }
        assert_eq!(end, ids.len());
        symbols.iter().map(|(symbol, _)| symbol.id).collect()
    }

    fn or_none(rules: &Rules) -> impl Fn(Symbol, Symbol, usize) -> Joint {
        |left, right, _| rules.find(left.id, right.id).unwrap_or(Joint::NONE)
    }

    #[test]
    fn all_ways_give_what_the_plain_loop_gives() {
        let mut state = 1u32;
        let mut below = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % n
        };
        for round in 0..300 {
            let n_letters = 1 + below(4);
            // Priorities in order, like those of merges; in any order; and with many equal ones, like scores.
            let mut rules = Rules { joints: Vec::new() };
            for number in 0..below(30) {
                let n_ids = n_letters + number;
                let (left, right) = (below(n_ids), below(n_ids));
                let priority = match round % 3 {
                    0 => number,
                    1 => below(1 << 30),
                    _ => below(4),
                };
                if rules.find(left, right).is_none() {
                    rules.joints.push((left, right, Joint { priority, id: n_ids }));
                }
            }
            let n = 1 + below(200);
            let ids: Vec<u32> = (0..n).map(|_| below(n_letters)).collect();
            let mut expected = ids.clone();
            rules.merge(&mut expected);

            let scanned = merged(&ids, &rules, |merger, len, rules| {
                merger.merge_by_scanning(len, or_none(rules));
            });
            assert_eq!(scanned, expected, "scanning, round {round}");
            let by_heap = merged(&ids, &rules, |merger, len, rules| {
                merger.merge_by_heap(len, or_none(rules)).unwrap();
            });
            assert_eq!(by_heap, expected, "heap, round {round}");
            let chosen = merged(&ids, &rules, |merger, len, rules| {
                merger.merge(len, |left, right, _| rules.find(left.id, right.id)).unwrap();
            });
            assert_eq!(chosen, expected, "the chosen way, round {round}");
        }
    }
}

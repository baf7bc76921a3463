//! The tokens that may come, as one bit each, found by walking the tree of the vocabulary.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::machine::{DEAD_ROW, Machine, Stop, Tables, UNKNOWN, WALK_SHIFT};
use crate::tokens::{HAS_TWINS, N_SPARE_WORDS, Node, Vocabulary};

/// A set of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask<'a> {
    words: &'a [u64],
}

impl<'a> Mask<'a> {
    /// The set of tokens whose bits are set: 64 tokens to a word, the first in the lowest bit.
    pub fn of(words: &'a [u64]) -> Self {
        Self { words }
    }

    /// Whether the token may come.
    pub fn allows(&self, token: u32) -> bool {
        self.words.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// The bits, 64 tokens to a word, the first in the lowest bit. Bits beyond the last token are 0.
    pub fn words(&self) -> &'a [u64] {
        self.words
    }

    /// How many tokens may come.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The tokens that may come, in ascending order.
    pub fn tokens(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let rest = core::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            rest.take_while(|&word| word != 0).map(move |word| 64 * i as u32 + word.trailing_zeros())
        })
    }
}

/// A cache of the masks that were used last.
#[derive(Debug)]
pub(crate) struct Masks {
    words: Vec<u64>,
    /// For each mask: its state, if any, and when it was used last.
    keys: Vec<(Option<u32>, u64)>,
    n_words: usize,
    now: u64,
    /// The collection count for which these state numbers are valid: each collection renumbers states.
    n_collections: u64,
}

impl Masks {
    /// Bytes that `n` masks take.
    pub fn bytes(n: usize, n_vocab: u32) -> usize {
        n * (8 * n_words(n_vocab) + size_of::<(Option<u32>, u64)>()) + 8 * N_SPARE_WORDS as usize
    }

    /// A cache with room for `n` masks.
    pub fn new(n: usize, n_vocab: u32) -> Result<Self, TryReserveError> {
        let n_words = n_words(n_vocab);
        let mut masks = Self { words: Vec::new(), keys: Vec::new(), n_words, now: 0, n_collections: 0 };
        // The words after a mask under construction are spare: they belong to the next mask, whose words are saved meanwhile, or
        // to the end.
        let n_all = n * n_words + N_SPARE_WORDS as usize;
        masks.words.try_reserve_exact(n_all)?;
        masks.words.resize(n_all, 0);
        masks.keys.try_reserve_exact(n)?;
        masks.keys.resize(n, (None, 0));
        Ok(masks)
    }

    /// Forgets all masks.
    pub fn forget(&mut self) {
        self.keys.fill((None, 0));
    }

    /// The mask of the machine's current state.
    pub fn get(&mut self, machine: &mut Machine, vocabulary: &Vocabulary) -> Result<Mask<'_>, Stop> {
        self.now += 1;
        if self.n_collections != machine.n_collections() {
            self.keys.fill((None, 0));
        }
        let found = self.keys.iter().position(|&(state, _)| state == Some(machine.state()));
        let slot = match found {
            Some(slot) => slot,
            None => {
                let oldest = self.keys.iter().enumerate().min_by_key(|(_, (_, used))| *used);
                let slot = oldest.map_or(0, |(slot, _)| slot);
                self.keys[slot].0 = None;
                let words = &mut self.words[slot * self.n_words..][..self.n_words + N_SPARE_WORDS as usize];
                let mut next = [0; N_SPARE_WORDS as usize];
                next.copy_from_slice(&words[self.n_words..]);
                let filled = fill(machine, vocabulary, words);
                words[self.n_words..].copy_from_slice(&next);
                filled?;
                if self.n_collections != machine.n_collections() {
                    self.n_collections = machine.n_collections();
                    self.keys.fill((None, 0));
                }
                slot
            }
        };
        self.keys[slot] = (Some(machine.state()), self.now);
        Ok(Mask { words: &self.words[slot * self.n_words..][..self.n_words] })
    }
}

fn n_words(n_vocab: u32) -> usize {
    n_vocab.div_ceil(64) as usize
}

/// Sets the bits of the tokens that may come.
fn fill(machine: &mut Machine, vocabulary: &Vocabulary, words: &mut [u64]) -> Result<(), Stop> {
    words.fill(0);
    let state = machine.state();
    if machine.tokens(state).any(|(_, negated)| negated) {
        allow_others(machine, vocabulary, words);
    }
    walk(machine, vocabulary, words)?;
    // The walk may have renumbered the state.
    let state = machine.state();
    machine.tokens(state).filter(|(_, negated)| !negated).for_each(|(id, _)| set(words, id));
    if machine.can_end(state) {
        vocabulary.ends().iter().for_each(|&token| set(words, token));
    }
    Ok(())
}

/// Sets the bits of all tokens, except those that end the text and the one that the grammar excludes. If different readings
/// exclude different tokens, none is excluded.
fn allow_others(machine: &Machine, vocabulary: &Vocabulary, words: &mut [u64]) {
    let mut left_out = machine.tokens(machine.state()).filter(|(_, negated)| *negated).map(|(id, _)| id);
    let first = left_out.next();
    for token in 0..vocabulary.n_vocab() {
        set(words, token);
    }
    let clear = |words: &mut [u64], token: u32| words[token as usize / 64] &= !(1 << (token % 64));
    vocabulary.ends().iter().for_each(|&token| clear(words, token));
    if let Some(first) = first
        && left_out.all(|other| other == first)
    {
        clear(words, first);
    }
}

#[inline(always)]
fn set(words: &mut [u64], token: u32) {
    words[token as usize / 64] |= 1 << (token % 64);
}

/// Sets the bits of the tokens whose bytes may come.
fn walk(machine: &mut Machine, vocabulary: &Vocabulary, words: &mut [u64]) -> Result<(), Stop> {
    let (n_collections, n_steps) = (machine.n_collections(), machine.steps());
    machine.begin_walk()?;
    let (mut at, mut is_again) = (0, false);
    loop {
        at = walk_known(machine.tables(), vocabulary, at, words);
        match vocabulary.nodes().get(at) {
            None => return Ok(()),
            Some(node) => machine.learn(usize::from(node.depth), node.byte)?,
        }
        if !is_again && machine.n_collections() != n_collections {
            // Earlier contents of the tables must not matter: the walk starts again with empty tables, as it would after another
            // text.
            machine.allow_steps(n_steps);
            machine.begin_walk()?;
            (at, is_again) = (0, true);
        }
    }
}

/// Walks from a node to the end, or to a byte whose transition is not known yet or cannot be paid for. Each node costs one
/// look-up.
fn walk_known(tables: Tables<'_>, vocabulary: &Vocabulary, mut at: usize, words: &mut [u64]) -> usize {
    let Tables { next, costs, steps, mark, byte_class, n_classes, path } = tables;
    // If this walk was there before, only the row is left after removing the mark.
    let is_paid = |next: u32| next ^ mark < 1 << WALK_SHIFT;
    let nodes = vocabulary.nodes();
    while let Some(&Node { token, end, depth, byte }) = nodes.get(at) {
        let depth = usize::from(depth);
        let from = path[depth];
        let place = from as usize + usize::from(byte_class[usize::from(byte)]);
        if !is_paid(next[place]) {
            let Some(left) = steps.checked_sub(costs[place].steps()).filter(|_| next[place] != UNKNOWN)
            else {
                break;
            };
            *steps = left;
            next[place] = next[place] & ((1 << WALK_SHIFT) - 1) | mark;
        }
        let to = next[place] ^ mark;
        if to == DEAD_ROW {
            at = end as usize;
            continue;
        }
        if to == from && end as usize > at + 1 {
            let breaking = next[to as usize + n_classes];
            if !is_paid(breaking) {
                break;
            }
            if breaking & u32::from(vocabulary.kinds()[at]) == 0 {
                // All bytes below it lead back here, too.
                for node in &nodes[at..end as usize] {
                    allow(vocabulary, node.token, words);
                }
                at = end as usize;
                continue;
            }
        }
        path[depth + 1] = to;
        allow(vocabulary, token, words);
        at += 1;
    }
    at
}

/// Sets the bits of the tokens that end at a node.
#[inline(always)]
fn allow(vocabulary: &Vocabulary, token: u32, words: &mut [u64]) {
    set(words, token & !HAS_TWINS);
    if token & HAS_TWINS != 0 {
        allow_twins(vocabulary, token & !HAS_TWINS, words);
    }
}

#[cold]
fn allow_twins(vocabulary: &Vocabulary, token: u32, words: &mut [u64]) {
    vocabulary.twins(token).for_each(|twin| set(words, twin));
}

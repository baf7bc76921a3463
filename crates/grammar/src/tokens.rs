//! The vocabulary of a model as a tree of bytes, so that tokens with the same beginning are judged together.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::kinds::Below;

/// What a token means to a grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A part of the text. A character may be divided among several tokens.
    Text(&'a [u8]),
    /// It ends the text.
    End,
    /// Not text, like the markers of a chat format. It comes only where a grammar refers to it.
    Mark,
}

/// Why there is no [`Vocabulary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// A token is too long.
    #[error("token {token} has {n_bytes} bytes, {limit} are possible")]
    TooLong {
        /// The token.
        token: u32,
        /// Its length in bytes.
        n_bytes: usize,
        /// Most bytes that a token may have.
        limit: usize,
    },
    /// All tokens together have more bytes than can be counted.
    #[error("the tokens have more than 2^31 bytes")]
    TooLarge,
    /// No memory is left for it.
    #[error("no memory is left for the tree of tokens")]
    OutOfMemory,
}

impl From<TryReserveError> for VocabularyError {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

/// Longest token in bytes.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// Set in the token of a node if further tokens have the same bytes.
pub(crate) const HAS_TWINS: u32 = 1 << 31;
/// Words after those of the tokens in a mask under construction; their bits are set for nodes without a token.
pub(crate) const N_SPARE_WORDS: u32 = 16;

/// A node of the tree. Nodes are in depth-first order, each before its children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The token that ends here, possibly with [`HAS_TWINS`]. A node without a token has a number beyond all tokens. The
    /// corresponding bit, in one of the spare words of a mask, has no meaning: setting it is cheaper than checking whether there
    /// is a token.
    pub token: u32,
    /// The first node after it that is not a descendant.
    pub end: u32,
    /// Number of bytes before this one.
    pub depth: u16,
    pub byte: u8,
}

/// All tokens of a model, shared by all constraints on its texts.
#[derive(Debug)]
pub struct Vocabulary {
    n_vocab: u32,
    nodes: Vec<Node>,
    /// For each node, the kinds of all bytes below it.
    kinds: Vec<u16>,
    /// The bytes of all tokens, and where the bytes of each token begin, followed by the end.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    /// Tokens that end the text, sorted.
    ends: Vec<u32>,
    /// Tokens with the same bytes as a token in the tree: that token and the other one, sorted.
    twins: Vec<(u32, u32)>,
    longest: usize,
}

impl Vocabulary {
    /// Builds the tree of the tokens 0 to `n_vocab`; `piece_of` returns the bytes of a token.
    ///
    /// It takes 14 bytes for each node, and 8 bytes plus the token's own bytes for each token. A usual vocabulary has two to
    /// three nodes for each token.
    ///
    /// # Errors
    /// [`VocabularyError::TooLong`] for a token of more than [`MAX_TOKEN_BYTES`]; the other errors if there is no room.
    pub fn new<'a>(n_vocab: u32, piece_of: &dyn Fn(u32) -> Piece<'a>) -> Result<Self, VocabularyError> {
        let mut vocabulary = Self {
            n_vocab,
            nodes: Vec::new(),
            kinds: Vec::new(),
            bytes: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            twins: Vec::new(),
            longest: 0,
        };
        let mut n_bytes = 0_usize;
        for token in 0..n_vocab {
            if let Piece::Text(piece) = piece_of(token) {
                if piece.len() > MAX_TOKEN_BYTES {
                    return Err(VocabularyError::TooLong {
                        token,
                        n_bytes: piece.len(),
                        limit: MAX_TOKEN_BYTES,
                    });
                }
                n_bytes += piece.len();
            }
        }
        if n_bytes >= HAS_TWINS as usize || n_vocab >= HAS_TWINS / 2 {
            return Err(VocabularyError::TooLarge);
        }
        vocabulary.bytes.try_reserve_exact(n_bytes)?;
        vocabulary.starts.try_reserve_exact(n_vocab as usize + 1)?;
        let mut sorted = Vec::new();
        sorted.try_reserve_exact(n_vocab as usize)?;
        for token in 0..n_vocab {
            vocabulary.starts.push(vocabulary.bytes.len() as u32);
            match piece_of(token) {
                // A function that returns something else the second time is the caller's mistake, but must do no further harm.
                Piece::Text(piece) if vocabulary.bytes.len() + piece.len() <= n_bytes => {
                    vocabulary.bytes.extend_from_slice(piece);
                    if !piece.is_empty() {
                        sorted.push(token);
                    }
                }
                Piece::Text(_) | Piece::Mark => {}
                Piece::End => {
                    vocabulary.ends.try_reserve(1)?;
                    vocabulary.ends.push(token);
                }
            }
        }
        vocabulary.starts.push(vocabulary.bytes.len() as u32);
        sorted.sort_unstable_by(|&a, &b| vocabulary.bytes(a).cmp(vocabulary.bytes(b)).then(a.cmp(&b)));
        vocabulary.build(&sorted)?;
        Ok(vocabulary)
    }

    fn build(&mut self, sorted: &[u32]) -> Result<(), VocabularyError> {
        let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let (mut n_nodes, mut n_twins) = (0, 0);
        let mut before: &[u8] = &[];
        for &token in sorted {
            let bytes = self.bytes(token);
            n_nodes += bytes.len() - common(before, bytes);
            n_twins += usize::from(before == bytes);
            self.longest = self.longest.max(bytes.len());
            before = self.bytes(token);
        }
        self.nodes.try_reserve_exact(n_nodes)?;
        self.twins.try_reserve_exact(n_twins)?;
        // The nodes on the path to the last token.
        let mut path: Vec<u32> = Vec::new();
        path.try_reserve_exact(self.longest)?;
        for (i, &token) in sorted.iter().enumerate() {
            let bytes =
                &self.bytes[self.starts[token as usize] as usize..self.starts[token as usize + 1] as usize];
            let before = if i == 0 { &[] } else { self.bytes(sorted[i - 1]) };
            let n_common = common(before, bytes);
            if bytes == before {
                // The first of them is in the tree, as the last node.
                let last = path[path.len() - 1] as usize;
                self.twins.push((self.nodes[last].token & !HAS_TWINS, token));
                self.nodes[last].token |= HAS_TWINS;
                continue;
            }
            let end = self.nodes.len() as u32;
            path.drain(n_common..).for_each(|node| self.nodes[node as usize].end = end);
            for (depth, &byte) in bytes.iter().enumerate().skip(n_common) {
                path.push(self.nodes.len() as u32);
                let is_last = depth + 1 == bytes.len();
                // Different words are used because a store to the same word would wait for the one before.
                let spare = 64 * (self.n_words() + self.nodes.len() as u32 % N_SPARE_WORDS);
                let token = if is_last { token } else { spare };
                self.nodes.push(Node { token, end: 0, depth: depth as u16, byte });
            }
        }
        let end = self.nodes.len() as u32;
        path.iter().for_each(|&node| self.nodes[node as usize].end = end);
        sort::sort(&mut self.twins);
        self.find_kinds()
    }

    /// From the last node to the first, so that children come before their parents.
    fn find_kinds(&mut self) -> Result<(), VocabularyError> {
        self.kinds.try_reserve_exact(self.nodes.len())?;
        self.kinds.resize(self.nodes.len(), 0);
        // For each depth, the summary of the children seen so far of the next node above it.
        let mut gathered = Vec::new();
        gathered.try_reserve_exact(self.longest + 2)?;
        gathered.resize(self.longest + 2, Below::NOTHING);
        for (node, kinds) in self.nodes.iter().zip(&mut self.kinds).rev() {
            let depth = usize::from(node.depth);
            let below = core::mem::replace(&mut gathered[depth + 1], Below::NOTHING);
            *kinds = below.kinds();
            gathered[depth] = gathered[depth].with_child(node.byte, below);
        }
        Ok(())
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> u32 {
        self.n_vocab
    }

    /// Number of 64-bit words in a mask.
    pub(crate) fn n_words(&self) -> u32 {
        self.n_vocab.div_ceil(64)
    }

    /// The text of a token; empty if it has none.
    pub fn bytes(&self, token: u32) -> &[u8] {
        let [start, end] = [token, token + 1].map(|i| self.starts[i as usize] as usize);
        &self.bytes[start..end]
    }

    /// The tokens that end a text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether the token ends a text.
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// Length of the longest token in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.nodes)
            + size_of_val(&*self.kinds)
            + self.bytes.len()
            + size_of_val(&*self.starts)
            + size_of_val(&*self.ends)
            + size_of_val(&*self.twins)
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// For each node, the kinds of all bytes below it, for a reader between characters.
    pub(crate) fn kinds(&self) -> &[u16] {
        &self.kinds
    }

    /// The other tokens with the same bytes as this one.
    pub(crate) fn twins(&self, token: u32) -> impl Iterator<Item = u32> {
        let first = self.twins.partition_point(|&(of, _)| of < token);
        self.twins[first..].iter().take_while(move |&&(of, _)| of == token).map(|&(_, twin)| twin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tokens_with_the_same_bytes_are_found_whatever_the_order_of_their_numbers() {
        let pieces = ["b", "b", "a", "a", "c", "b"];
        let vocabulary = Vocabulary::new(6, &|token| Piece::Text(pieces[token as usize].as_bytes())).unwrap();
        assert!(vocabulary.twins(0).eq([1, 5]));
        assert!(vocabulary.twins(2).eq([3]));
        assert_eq!(vocabulary.twins(4).count(), 0);
    }
}

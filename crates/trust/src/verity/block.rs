//! [`BlockHash`]: digests of blocks; [`Mismatch`]: a block that has another one than it should.

use super::{DIGEST_BYTES, Superblock};
use crate::{
    Root,
    sha256::{Compress, Sha256},
};

/// Computes the digests of blocks: the salt has been worked in already.
#[derive(Clone)]
pub struct BlockHash {
    salted: Sha256,
    data_block_bytes: usize,
}

impl BlockHash {
    /// For the blocks of a tree with this superblock, and of its file.
    pub fn new(superblock: &Superblock, compress: Compress) -> Self {
        let mut salted = Sha256::new(compress);
        salted.update(&superblock.salt);
        Self { salted, data_block_bytes: superblock.data_block_bytes as usize }
    }

    /// Size of the file's blocks.
    pub fn data_block_bytes(&self) -> usize {
        self.data_block_bytes
    }

    /// The digest of a block of the file; what is missing of it counts as zero.
    pub fn data(&self, block: &[u8]) -> [u8; DIGEST_BYTES] {
        const ZEROS: [u8; 64] = [0; 64];
        let mut hash = self.salted.clone();
        hash.update(block);
        let mut missing = self.data_block_bytes.saturating_sub(block.len());
        while missing > 0 {
            let n_bytes = missing.min(ZEROS.len());
            hash.update(&ZEROS[..n_bytes]);
            missing -= n_bytes;
        }
        hash.finish()
    }

    /// The digest of a whole block of the tree.
    pub(super) fn tree(&self, block: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut hash = self.salted.clone();
        hash.update(block);
        hash.finish()
    }

    /// Checks blocks of the file, the first of which has the number `first`, by their digests. Of the last one there may be less.
    ///
    /// # Errors
    /// The first block that is not as it should be.
    ///
    /// # Panics
    /// If there are fewer digests than blocks.
    pub fn check(&self, first: u64, blocks: &[u8], digests: &[[u8; DIGEST_BYTES]]) -> Result<(), Mismatch> {
        assert!(blocks.len().div_ceil(self.data_block_bytes) <= digests.len(), "a digest for each block");
        let blocks = blocks.chunks(self.data_block_bytes).zip(first..);
        for ((block, number), expected) in blocks.zip(digests) {
            let actual = self.data(block);
            if actual != *expected {
                let offset_bytes = number * self.data_block_bytes as u64;
                let block_bytes = block.len();
                let [actual, expected] = [actual, *expected].map(Root);
                return Err(Mismatch { in_tree: false, number, offset_bytes, block_bytes, actual, expected });
            }
        }
        Ok(())
    }
}

/// A block that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {number}{} (bytes {offset_bytes} to {}) was changed: its digest is {actual}; expected {expected}",
    if *.in_tree { " of the verity tree" } else { "" },
    .offset_bytes + *.block_bytes as u64 - 1
)]
pub struct Mismatch {
    /// Whether it is one of the tree, and not of the file.
    pub in_tree: bool,
    /// Its number, from 0.
    pub number: u64,
    /// Where it begins, in the file or the tree.
    pub offset_bytes: u64,
    /// Its length.
    pub block_bytes: usize,
    /// Its digest.
    pub actual: Root,
    /// What its digest should be.
    pub expected: Root,
}

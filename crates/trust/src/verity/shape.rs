//! [`Shape`]: where what lies in a tree.

use super::{DIGEST_BYTES, SUPERBLOCK_BYTES, Superblock};
use alloc::vec::Vec;

/// Where what lies in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Size of the tree's blocks.
    pub hash_block_bytes: usize,
    /// Where in the tree the blocks of each level begin, and how many there are: first the level with the digests of the file's
    /// blocks, last the one block whose digest is the root. None if the file has one block only: then its digest is the root.
    pub levels: Vec<Level>,
    /// Length of the tree, its superblock included.
    pub length_bytes: u64,
}

/// The blocks of the tree that have digests of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Where in the tree the first one is.
    pub start_bytes: u64,
    /// How many there are.
    pub n_blocks: u64,
}

impl Shape {
    /// The shape of the tree with this superblock.
    pub fn new(superblock: &Superblock) -> Self {
        let hash_block_bytes = superblock.hash_block_bytes as usize;
        let per_block = (hash_block_bytes / DIGEST_BYTES) as u64;
        let mut levels = Vec::new();
        let mut n_blocks = superblock.n_data_blocks;
        while n_blocks > 1 {
            n_blocks = n_blocks.div_ceil(per_block);
            levels.push(Level { start_bytes: 0, n_blocks });
        }
        // Of at most 2^40 digests, blocks of at most 2^19 bytes: no sum is beyond 64 bits.
        let mut end_bytes = SUPERBLOCK_BYTES.next_multiple_of(hash_block_bytes) as u64;
        for level in levels.iter_mut().rev() {
            level.start_bytes = end_bytes;
            end_bytes += level.n_blocks * hash_block_bytes as u64;
        }
        Self { hash_block_bytes, levels, length_bytes: end_bytes }
    }

    /// How many digests a block has.
    pub fn digests_per_block(&self) -> u64 {
        (self.hash_block_bytes / DIGEST_BYTES) as u64
    }
}

//! [`Builder`]: a tree that is made while a file goes by.

use super::{BlockHash, Shape, Superblock};
use crate::{Root, sha256::Compress};
use alloc::{vec, vec::Vec};

/// Takes a byte position in the tree and what belongs there.
pub type Write<'w> = dyn FnMut(u64, &[u8]) + 'w;

/// A tree that is made while a file goes by, with a block of memory for each of its levels.
pub struct Builder {
    superblock: Superblock,
    shape: Shape,
    hash: BlockHash,
    /// The bytes of the file that fill no block yet.
    rest: Vec<u8>,
    /// Of each level the block that is being filled, and its number.
    levels: Vec<(Vec<u8>, u64)>,
    root: Option<Root>,
}

impl Builder {
    /// A tree with this superblock.
    pub fn new(superblock: Superblock, compress: Compress) -> Self {
        let (shape, hash) = (Shape::new(&superblock), BlockHash::new(&superblock, compress));
        let levels = vec![(Vec::new(), 0); shape.levels.len()];
        Self { superblock, shape, hash, rest: Vec::new(), levels, root: None }
    }

    /// Takes the file's next bytes, and gives `write` what is complete of the tree.
    pub fn update(&mut self, bytes: &[u8], write: &mut Write<'_>) {
        let block_bytes = self.hash.data_block_bytes();
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            let missing = (block_bytes - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.rest.len() < block_bytes {
                return;
            }
            let block = core::mem::take(&mut self.rest);
            self.add(self.hash.data(&block), write);
        }
        let mut blocks = bytes.chunks_exact(block_bytes);
        for block in &mut blocks {
            self.add(self.hash.data(block), write);
        }
        self.rest.extend_from_slice(blocks.remainder());
    }

    /// Adds a digest to the lowest level, and to the one above for each block that gets full.
    fn add(&mut self, digest: [u8; 32], write: &mut Write<'_>) {
        let mut digest = digest;
        for (level, (block, number)) in self.levels.iter_mut().enumerate() {
            block.extend_from_slice(&digest);
            if block.len() < self.shape.hash_block_bytes {
                return;
            }
            digest = finish(&self.shape, &self.hash, level, block, number, write);
        }
        self.root = Some(Root(digest));
    }

    /// Writes the rest of the tree and its superblock, which gets a UUID of the root. The file's end counts as zeros.
    ///
    /// # Panics
    /// If there was not as much of the file as the superblock says.
    pub fn finish(mut self, write: &mut Write<'_>) -> Root {
        let is_empty = self.rest.is_empty() && self.root.is_none();
        let is_empty = is_empty && self.levels.iter().all(|(block, number)| block.is_empty() && *number == 0);
        if !self.rest.is_empty() || is_empty {
            self.add(self.hash.data(&self.rest), write);
        }
        for level in 0..self.levels.len() {
            let (block, number) = &mut self.levels[level];
            if block.is_empty() {
                continue;
            }
            let digest = finish(&self.shape, &self.hash, level, block, number, write);
            match self.levels.get_mut(level + 1) {
                Some((above, _)) => above.extend_from_slice(&digest),
                None => self.root = Some(Root(digest)),
            }
        }
        let counts = self.levels.iter().map(|(_, number)| *number);
        assert!(
            counts.eq(self.shape.levels.iter().map(|level| level.n_blocks)),
            "another length than the superblock has"
        );
        let root = self.root.expect("at least one block");
        self.superblock.uuid.copy_from_slice(&root.0[..16]);
        // RFC 9562, 5.8: a UUID of one's own making.
        self.superblock.uuid[6] = self.superblock.uuid[6] & 0x0f | 0x80;
        self.superblock.uuid[8] = self.superblock.uuid[8] & 0x3f | 0x80;
        let mut first = vec![0; self.shape.length_bytes.min(self.shape.hash_block_bytes as u64) as usize];
        let bytes = self.superblock.to_bytes();
        first[..bytes.len()].copy_from_slice(&bytes);
        write(0, &first);
        root
    }
}

/// Writes a block of a level, with zeros where it is not full, and returns its digest.
fn finish(
    shape: &Shape,
    hash: &BlockHash,
    level: usize,
    block: &mut Vec<u8>,
    number: &mut u64,
    write: &mut Write<'_>,
) -> [u8; 32] {
    block.resize(shape.hash_block_bytes, 0);
    let digest = hash.tree(block);
    write(shape.levels[level].start_bytes + *number * shape.hash_block_bytes as u64, block);
    block.clear();
    *number += 1;
    digest
}

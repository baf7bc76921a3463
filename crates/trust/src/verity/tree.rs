//! [`Tree`]: what blocks of a file are checked by, itself checked up to the root.

use super::{BlockHash, DIGEST_BYTES, Mismatch, Shape, Superblock};
use crate::{Root, sha256::Compress};
use alloc::{collections::TryReserveError, vec::Vec};
use core::ops::Range;

/// Why digests cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerityError {
    /// The tree could not be read; who reads it knows why.
    Read,
    /// A block of the tree is not as it should be.
    Mismatch(Mismatch),
    /// Blocks that the file does not have.
    OutOfRange {
        /// The end of what was asked for.
        end: u64,
        /// How many blocks there are.
        n_blocks: u64,
    },
    /// The tree has digests of another number of blocks than its superblock says.
    Blocks {
        /// How many blocks there should be.
        n_blocks: u64,
    },
    /// The heap has no room.
    OutOfMemory,
}

impl From<TryReserveError> for VerityError {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

/// Fills a buffer from a byte position of the tree on; false if that failed.
pub type Read<'r> = dyn FnMut(u64, &mut [u8]) -> bool + 'r;

/// A tree of which a block of each level is in memory, checked.
pub struct Tree {
    superblock: Superblock,
    shape: Shape,
    hash: BlockHash,
    root: Root,
    /// As the levels of the shape.
    levels: Vec<CheckedBlock>,
}

/// A block of a level that was checked, and its number; none before the first.
#[derive(Default)]
struct CheckedBlock {
    number: Option<u64>,
    bytes: Vec<u8>,
}

impl Tree {
    /// A tree with this superblock and this root.
    ///
    /// # Errors
    /// If the heap has no room for a block of each level.
    pub fn new(superblock: Superblock, root: Root, compress: Compress) -> Result<Self, VerityError> {
        let (shape, hash) = (Shape::new(&superblock), BlockHash::new(&superblock, compress));
        let mut levels = Vec::new();
        for _ in &shape.levels {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(shape.hash_block_bytes)?;
            bytes.resize(shape.hash_block_bytes, 0);
            levels.push(CheckedBlock { number: None, bytes });
        }
        Ok(Self { superblock, shape, hash, root, levels })
    }

    /// The tree with this superblock and the root that it has if nothing of it was changed: whether that is the right one is for
    /// the caller to check. `None` if the tree cannot be read, is of one block only, or the heap has no room.
    pub fn open(superblock: Superblock, compress: Compress, read: &mut Read<'_>) -> Option<Self> {
        let root = Self::read_root(&superblock, compress, &mut Vec::new(), read)?;
        Self::new(superblock, root, compress).ok()
    }

    /// The root that the tree with this superblock has if nothing of it was changed. `buffer` becomes its top block: who looks at many
    /// trees that nobody vouches for needs the memory for one. `None` as for [`open`](Self::open).
    pub fn read_root(
        superblock: &Superblock,
        compress: Compress,
        buffer: &mut Vec<u8>,
        read: &mut Read<'_>,
    ) -> Option<Root> {
        let shape = Shape::new(superblock);
        let start_bytes = shape.levels.last()?.start_bytes;
        buffer.clear();
        buffer.try_reserve_exact(shape.hash_block_bytes).ok()?;
        buffer.resize(shape.hash_block_bytes, 0);
        read(start_bytes, buffer).then(|| Root(BlockHash::new(superblock, compress).tree(buffer)))
    }

    /// What the tree says of itself.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What computes the digests of blocks.
    pub fn hash(&self) -> &BlockHash {
        &self.hash
    }

    /// The root that it is checked by.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Appends the digests of a range of the file's blocks to `digests`. All that is read of the tree is checked up to the root;
    /// where blocks follow each other, once.
    ///
    /// # Errors
    /// If the tree cannot be read or is not that of the root, the file does not have these blocks, or the heap has no room.
    pub fn digests(
        &mut self,
        blocks: Range<u64>,
        read: &mut Read<'_>,
        digests: &mut Vec<[u8; DIGEST_BYTES]>,
    ) -> Result<(), VerityError> {
        let n_blocks = self.superblock.n_data_blocks;
        if blocks.end > n_blocks {
            return Err(VerityError::OutOfRange { end: blocks.end, n_blocks });
        }
        let length = usize::try_from(blocks.end.saturating_sub(blocks.start));
        digests.try_reserve(length.map_err(|_| VerityError::OutOfMemory)?)?;
        if self.levels.is_empty() {
            digests.extend(blocks.map(|_| self.root.0));
            return Ok(());
        }
        let per_block = self.shape.digests_per_block();
        let mut next = blocks.start;
        while next < blocks.end {
            self.check_path(next / per_block, read)?;
            let block_end = (next / per_block + 1) * per_block;
            let end = blocks.end.min(block_end);
            let (checked, _) = self.levels[0].bytes.as_chunks();
            let first = (next % per_block) as usize;
            digests.extend_from_slice(&checked[first..first + (end - next) as usize]);
            next = end;
        }
        Ok(())
    }

    /// Checks that the tree has digests of as many blocks as its superblock says. Where nothing but the root of a file is known, nothing
    /// else tells how long it is: a superblock with fewer blocks would make a file of its beginning that has the same root.
    ///
    /// # Errors
    /// [`VerityError::Blocks`], or as [`digests`](Self::digests).
    pub fn check_end(&mut self, read: &mut Read<'_>) -> Result<(), VerityError> {
        let n_blocks = self.superblock.n_data_blocks;
        let per_block = self.shape.digests_per_block();
        let mut last = n_blocks - 1;
        self.check_path(last / per_block, read)?;
        // Behind the last digest of each level are zeros, as `veritysetup` writes them. No block that anyone can find has that digest.
        for level in &self.levels {
            let (digests, _) = level.bytes.as_chunks::<DIGEST_BYTES>();
            let mut digests = digests[(last % per_block) as usize..].iter();
            let is_there = |digest: &[u8; DIGEST_BYTES]| *digest != [0; DIGEST_BYTES];
            if !digests.next().is_some_and(is_there) || digests.any(is_there) {
                return Err(VerityError::Blocks { n_blocks });
            }
            last /= per_block;
        }
        Ok(())
    }

    /// Has the block with this number of the lowest level, and those above it, in memory and checked.
    fn check_path(&mut self, lowest: u64, read: &mut Read<'_>) -> Result<(), VerityError> {
        let bits_per_level = self.shape.digests_per_block().ilog2();
        let block_bytes = self.shape.hash_block_bytes;
        let mut expected = self.root;
        for level in (0..self.levels.len()).rev() {
            let number = lowest >> (bits_per_level * level as u32);
            let block = &mut self.levels[level];
            if block.number != Some(number) {
                block.number = None;
                let offset_bytes = self.shape.levels[level].start_bytes + number * block_bytes as u64;
                if !read(offset_bytes, &mut block.bytes) {
                    return Err(VerityError::Read);
                }
                let actual = Root(self.hash.tree(&block.bytes));
                if actual != expected {
                    let (in_tree, number) = (true, offset_bytes / block_bytes as u64);
                    let mismatch = Mismatch { in_tree, number, offset_bytes, block_bytes, actual, expected };
                    return Err(VerityError::Mismatch(mismatch));
                }
                block.number = Some(number);
            }
            if level > 0 {
                let below = lowest >> (bits_per_level * (level as u32 - 1));
                let (digests, _) = block.bytes.as_chunks();
                expected = Root(digests[(below % self.shape.digests_per_block()) as usize]);
            }
        }
        Ok(())
    }
}

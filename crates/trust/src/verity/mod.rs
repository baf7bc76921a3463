//! dm-verity's tree of digests over a file, whose root stands for the file: format version 1, as `veritysetup` writes it.
//!
//! The file is cut into blocks, of which each has a digest: SHA-256 of the salt and the block. The digests fill blocks of
//! their own, which have digests in turn, until one block is left; its digest is the [`Root`](crate::Root). A block of the
//! file is checked by its digest, that by the digest of the block that it is in, and so on up to the root, so that blocks
//! can be read in any order and nothing has to be read that is not needed. The tree is a file of its own: a superblock,
//! then the levels, the one below the root first.
//!
//! A [`Builder`] writes a tree, a [`Tree`] checks by one. What is behind the end of a file in its last block counts as zero.
//! `veritysetup` leaves out a last block that is not whole: it has to be given the file with zeros up to the end of the block.
//!
//! Sources: Linux, Documentation/admin-guide/device-mapper/verity.rst; cryptsetup's wiki, DMVerity, "Verity superblock format".
//!
//! # Layers
//! From the top down; each uses only those below it.
//!
//! | module | what it is |
//! |---|---|
//! | `builder`, `tree` | a tree being made; one that is checked by |
//! | `block` | digests of blocks |
//! | `shape` | where what lies in a tree |
//! | `superblock` | what a tree says of itself |

mod block;
mod builder;
mod shape;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;

pub use block::{BlockHash, Mismatch};
pub use builder::Builder;
pub use shape::{Level, Shape};
pub use superblock::{SUPERBLOCK_BYTES, Superblock, SuperblockError};
pub use tree::{Tree, VerityError};

/// Size of a digest.
pub const DIGEST_BYTES: usize = 32;

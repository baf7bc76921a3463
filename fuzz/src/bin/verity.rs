//! Any bytes as a tree of dm-verity: an error of one line, or a superblock that is written as it was read, and digests that the tree's root
//! vouches for.
#![no_main]

use fuzz::assert_line;
use libfuzzer_sys::fuzz_target;
use trust::sha256::PORTABLE;
use trust::verity::{SUPERBLOCK_BYTES, Superblock, Tree, VerityError};

/// With larger blocks only SHA-256 is tested.
const MAX_BLOCK_BYTES: u32 = 1024;

fuzz_target!(|input: &[u8]| {
    let mut start = [0; SUPERBLOCK_BYTES];
    let (head, tree) = input.split_at(input.len().min(128));
    start[..head.len()].copy_from_slice(head);
    let superblock = match Superblock::parse(&start) {
        Ok(superblock) => superblock,
        Err(error) => return assert_line(&error.to_string()),
    };
    assert_eq!(Superblock::parse(&superblock.to_bytes()).as_ref(), Ok(&superblock));
    if superblock.hash_block_bytes > MAX_BLOCK_BYTES {
        return;
    }
    // Behind what is given all blocks are zeros; behind the tree's end there is nothing to read.
    let end = trust::verity::Shape::new(&superblock).length_bytes;
    let mut read = |at: u64, buffer: &mut [u8]| {
        assert!(at.checked_add(buffer.len() as u64).is_some_and(|read_end| read_end <= end));
        let at = (at as usize).saturating_sub(SUPERBLOCK_BYTES).min(tree.len());
        let known = buffer.len().min(tree.len() - at);
        buffer[..known].copy_from_slice(&tree[at..at + known]);
        buffer[known..].fill(0);
        true
    };
    let Some(mut opened) = Tree::open(superblock, PORTABLE, &mut read) else { return };
    let n_blocks = opened.superblock().n_data_blocks;
    for blocks in [0..n_blocks.min(3), n_blocks - 1..n_blocks, n_blocks..n_blocks.saturating_add(1)] {
        let mut digests = Vec::new();
        match opened.digests(blocks.clone(), &mut read, &mut digests) {
            Ok(()) => assert_eq!(digests.len() as u64, blocks.end - blocks.start),
            Err(VerityError::OutOfRange { .. }) => assert!(blocks.end > n_blocks),
            Err(VerityError::Mismatch(mismatch)) => {
                assert!(mismatch.actual != mismatch.expected && mismatch.in_tree);
                assert_line(&mismatch.to_string());
            }
            Err(error) => panic!("{error:?}"),
        }
    }
});

//! Trees against `veritysetup`'s, and against what is changed.

use super::*;
use crate::{
    Root, hex,
    sha256::{PORTABLE, digest},
};
use std::{format, string::String, vec, vec::Vec};

/// Bytes that differ from block to block.
fn data(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn build(superblock: &Superblock, data: &[u8], piece: usize) -> (Vec<u8>, Root) {
    let mut tree = vec![0; Shape::new(superblock).length_bytes as usize];
    let mut written = 0;
    let mut write = |at: u64, bytes: &[u8]| {
        tree[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        written += bytes.len();
    };
    let mut builder = Builder::new(superblock.clone(), PORTABLE);
    data.chunks(piece.max(1)).for_each(|piece| builder.update(piece, &mut write));
    let root = builder.finish(&mut write);
    assert_eq!(written, tree.len(), "all of the tree is written once");
    (tree, root)
}

/// A line of the golden file: the length of the data, block sizes, salt, root, and SHA-256 of the tree with a UUID of zeros.
#[test]
fn trees_are_those_of_veritysetup() {
    let golden = include_str!("../../tests/golden/verity.txt");
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut n_cases = 0;
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let [length, data_block, hash_block, salt, root, tree_digest] = words[..] else { panic!("{line}") };
        let data = data(length.parse().unwrap());
        let mut superblock = Superblock {
            data_block_bytes: data_block.parse().unwrap(),
            hash_block_bytes: hash_block.parse().unwrap(),
            ..Superblock::new(0)
        };
        superblock.n_data_blocks = (data.len() as u64).div_ceil(superblock.data_block_bytes.into());
        if salt != "-" {
            superblock.salt = vec![0; salt.len() / 2];
            assert!(hex::parse(salt, &mut superblock.salt));
        }
        for piece in [1000, 4096, 1 << 20] {
            let (mut tree, built) = build(&superblock, &data, piece);
            assert_eq!(built.to_string(), root, "{line}");
            assert_ne!(tree[16..32], [0; 16]);
            tree[16..32].fill(0);
            assert_eq!(Root(digest(PORTABLE, &tree)).to_string(), tree_digest, "{line}");
            let parsed = Superblock::parse(tree.first_chunk().unwrap()).unwrap();
            assert_eq!(parsed, superblock);
        }
        n_cases += 1;
    }
    assert!(n_cases >= 10);
}

/// Reads all blocks in an order, checked; how often the tree was read.
fn check_all(tree: &[u8], root: Root, data: &[u8], order: &[u64]) -> Result<usize, String> {
    let superblock = Superblock::parse(tree.first_chunk().unwrap()).map_err(|error| format!("{error}"))?;
    let block_bytes = superblock.data_block_bytes as usize;
    let mut checked = Tree::new(superblock, root, PORTABLE).unwrap();
    let mut n_reads = 0;
    for &block in order {
        let mut digests = Vec::new();
        let mut read = |at: u64, buffer: &mut [u8]| {
            n_reads += 1;
            let bytes = tree.get(at as usize..at as usize + buffer.len());
            bytes.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
        };
        checked.digests(block..block + 1, &mut read, &mut digests).map_err(|error| format!("{error:?}"))?;
        let start = block as usize * block_bytes;
        let bytes = &data[start..data.len().min(start + block_bytes)];
        checked.hash().check(block, bytes, &digests).map_err(|error| format!("{error}"))?;
    }
    Ok(n_reads)
}

#[test]
fn blocks_are_checked_in_any_order_and_the_tree_is_read_once_where_they_follow_each_other() {
    let data = data(300 * 512 - 7);
    let superblock = Superblock {
        data_block_bytes: 512,
        hash_block_bytes: 512,
        n_data_blocks: 300,
        salt: vec![7; 32],
        ..Superblock::new(0)
    };
    let (tree, root) = build(&superblock, &data, 999);
    let in_order: Vec<u64> = (0..300).collect();
    // 300 digests in blocks of 16, 19 of these, 2, and 1.
    assert_eq!(check_all(&tree, root, &data, &in_order), Ok(19 + 2 + 1));
    let scattered: Vec<u64> = in_order.iter().map(|i| i * 7 % 300).collect();
    assert!(check_all(&tree, root, &data, &scattered).is_ok());
    let all = |tree: &[u8], root| {
        let superblock = Superblock::parse(tree.first_chunk().unwrap()).unwrap();
        let mut read = |at: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&tree[at as usize..at as usize + buffer.len()]);
            true
        };
        let mut digests = Vec::new();
        let mut checked = Tree::new(superblock, root, PORTABLE).unwrap();
        checked.digests(0..300, &mut read, &mut digests).unwrap();
        checked.hash().check(0, &data, &digests).unwrap();
        let past = checked.digests(300..301, &mut read, &mut digests);
        assert_eq!(past, Err(VerityError::OutOfRange { end: 301, n_blocks: 300 }));
        let failed = checked.digests(0..1, &mut |_, _| false, &mut digests);
        assert_eq!(failed, Err(VerityError::Read));
    };
    all(&tree, root);
}

#[test]
fn a_file_of_one_block_has_no_levels_and_an_empty_one_has_a_block() {
    for length in [0, 1, 4096] {
        let data = data(length);
        let (tree, root) = build(&Superblock::new(length as u64), &data, 4096);
        assert_eq!(tree.len(), 4096);
        let mut padded = data.clone();
        padded.resize(4096, 0);
        assert_eq!(root, Root(digest(PORTABLE, &padded)));
        assert_eq!(check_all(&tree, root, &data, &[0]), Ok(0));
    }
}

/// Whatever bit changes in file, tree or root, somebody says so, and where.
#[test]
fn every_changed_bit_is_found() {
    let data = data(40 * 512 + 100);
    let superblock = Superblock {
        data_block_bytes: 512,
        hash_block_bytes: 512,
        n_data_blocks: 41,
        salt: vec![9; 5],
        ..Superblock::new(0)
    };
    let (tree, root) = build(&superblock, &data, 512);
    let order: Vec<u64> = (0..41).collect();
    assert!(check_all(&tree, root, &data, &order).is_ok());
    let mut random = 1_u64;
    for round in 0..600 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (mut data, mut tree, mut root) = (data.clone(), tree.clone(), root);
        let bit = (random >> 20) as usize;
        let flip = |bytes: &mut [u8]| {
            let bit = bit % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            bit / 8
        };
        match round % 3 {
            0 => {
                let at = flip(&mut data);
                let error = check_all(&tree, root, &data, &order).unwrap_err();
                assert!(error.starts_with(&format!("block {} (bytes ", at / 512)), "{at}: {error}");
            }
            1 => {
                let at = flip(&mut tree);
                let uuid_and_padding =
                    (16..32).contains(&at) || (82..88).contains(&at) || (88 + 5..512).contains(&at);
                let checked = check_all(&tree, root, &data, &order);
                assert_eq!(checked.is_ok(), uuid_and_padding, "byte {at}: {checked:?}");
            }
            _ => {
                flip(&mut root.0);
                assert!(check_all(&tree, root, &data, &order).is_err());
            }
        }
    }
}

#[test]
fn superblocks_that_are_not_supported_are_refused_by_their_field() {
    let bytes = Superblock::new(10_000).to_bytes();
    let error = |at: usize, byte: u8| {
        let mut bytes = bytes;
        bytes[at] = byte;
        Superblock::parse(&bytes).unwrap_err()
    };
    for (at, byte, expected) in [
        (0, b'V', "its signature"),
        (8, 2, "version 1"),
        (12, 0, "hash type 1"),
        (32, b'b', "hash algorithm sha256"),
        (38, b'2', "hash algorithm sha256"),
        (64, 1, "blocks of a power of two from 512 to 524288 bytes"),
        (70, 16, "blocks of a power of two from 512 to 524288 bytes"),
        (79, 0x80, "1 to 2^40 data blocks"),
        (81, 2, "a salt of up to 256 bytes"),
    ] {
        assert_eq!(error(at, byte), SuperblockError(expected), "byte {at}");
    }
    assert_eq!(error(12, 0).to_string(), "verity superblock: expected hash type 1");
}

#[test]
#[should_panic = "a digest for each block"]
fn no_block_is_passed_over_for_want_of_a_digest() {
    let hash = BlockHash::new(&Superblock::new(8192), PORTABLE);
    let _ = hash.check(0, &[0; 4097], &[hash.data(&[0; 4096])]);
}

/// Whoever makes the superblock cannot make another file of the same root, neither a shorter one nor a longer one.
#[test]
fn the_root_says_how_many_blocks_there_are() {
    for n_blocks in [2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 300, 5000] {
        let superblock = Superblock {
            data_block_bytes: 512,
            hash_block_bytes: 512,
            n_data_blocks: n_blocks,
            ..Superblock::new(0)
        };
        let (tree, root) = build(&superblock, &data(n_blocks as usize * 512 - 7), 4096);
        let shape = Shape::new(&superblock);
        for claimed in (1..n_blocks + 20).chain([n_blocks * 15, n_blocks * 16]) {
            let claim = Superblock { n_data_blocks: claimed, ..superblock.clone() };
            let levels = Shape::new(&claim).levels;
            let mut read = |at: u64, buffer: &mut [u8]| {
                // The blocks of each level from the top are where the claim has them, as far as there are any.
                let from_top =
                    levels.len() - 1 - levels.iter().position(|level| level.start_bytes <= at).unwrap();
                let number = (at - levels[levels.len() - 1 - from_top].start_bytes) / 512;
                let Some(level) = shape.levels.len().checked_sub(1 + from_top) else { return false };
                let at = (shape.levels[level].start_bytes + number * 512) as usize;
                let Some(bytes) = tree.get(at..at + 512) else { return false };
                buffer.copy_from_slice(bytes);
                true
            };
            let checked = Tree::new(claim.clone(), root, PORTABLE).unwrap().check_end(&mut read);
            // The blocks of the tree's own levels are blocks of a file with this root: one of digests.
            let is_level = shape.levels.iter().any(|level| level.n_blocks == claimed);
            assert_eq!(
                checked.is_ok(),
                claimed == n_blocks || is_level,
                "{claimed} of {n_blocks}: {checked:?}"
            );
        }
    }
}

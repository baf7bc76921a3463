//! [`Superblock`]: what a tree says of itself.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Size of the superblock; the tree begins at the next whole block.
pub const SUPERBLOCK_BYTES: usize = 512;

/// The sizes of blocks that `veritysetup` takes.
const BLOCK_BYTES: RangeInclusive<u32> = 512..=512 << 10;

const SIGNATURE: &[u8; 8] = b"verity\0\0";
const VERSION: u32 = 1;
/// The salt goes before the block, digests lie at powers of two.
const HASH_TYPE: u32 = 1;
const ALGORITHM: &[u8] = b"sha256";
const MAX_SALT_BYTES: usize = 256;
const SALT_EXPECTED: SuperblockError = SuperblockError("a salt of up to 256 bytes");
/// With digests of so many no sum is beyond 64 bits.
const MAX_DATA_BLOCKS: u64 = 1 << 40;

// Where the fields begin.
const VERSION_AT: usize = 8;
const HASH_TYPE_AT: usize = 12;
const UUID_AT: usize = 16;
const ALGORITHM_AT: usize = 32;
const DATA_BLOCK_AT: usize = 64;
const HASH_BLOCK_AT: usize = 68;
const DATA_BLOCKS_AT: usize = 72;
const SALT_LENGTH_AT: usize = 80;
const SALT_AT: usize = 88;

/// What a tree says of itself. Nothing vouches for it: the root is checked with what it says, and does not come out if that is
/// wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Tells trees apart, for people.
    pub uuid: [u8; 16],
    /// Size of the file's blocks: a power of two, of 512 bytes to 512 KiB.
    pub data_block_bytes: u32,
    /// Size of the tree's blocks: a power of two, of 512 bytes to 512 KiB.
    pub hash_block_bytes: u32,
    /// How many blocks the file has: at least one.
    pub n_data_blocks: u64,
    /// What is before each block when its digest is computed: up to 256 bytes.
    pub salt: Vec<u8>,
}

/// Why a superblock is none that can be used: what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("verity superblock: expected {0}")]
pub struct SuperblockError(pub &'static str);

impl Superblock {
    /// Of a file of this length: blocks of 4096 bytes, no salt. An empty file has one block, of zeros.
    pub fn new(file_bytes: u64) -> Self {
        const USUAL_BYTES: u32 = 4096;
        Self {
            uuid: [0; 16],
            data_block_bytes: USUAL_BYTES,
            hash_block_bytes: USUAL_BYTES,
            n_data_blocks: file_bytes.div_ceil(USUAL_BYTES.into()).max(1),
            salt: Vec::new(),
        }
    }

    /// Whether a tree is made in the same way, of a file with as many blocks.
    pub fn is_same(&self, other: &Self) -> bool {
        [self.data_block_bytes, self.hash_block_bytes] == [other.data_block_bytes, other.hash_block_bytes]
            && self.n_data_blocks == other.n_data_blocks
            && self.salt == other.salt
    }

    /// Whether a file of this length has as many blocks.
    pub fn is_for(&self, file_bytes: u64) -> bool {
        file_bytes.div_ceil(self.data_block_bytes.into()).max(1) == self.n_data_blocks
    }

    /// Reads a superblock.
    ///
    /// # Errors
    /// If it is none, or one that is not supported.
    pub fn parse(bytes: &[u8; SUPERBLOCK_BYTES]) -> Result<Self, SuperblockError> {
        fn array<const N: usize>(bytes: &[u8; SUPERBLOCK_BYTES], at: usize) -> [u8; N] {
            let mut array = [0; N];
            array.copy_from_slice(&bytes[at..at + N]);
            array
        }
        let number = |at| u32::from_le_bytes(array(bytes, at));
        let mut algorithm = [0; DATA_BLOCK_AT - ALGORITHM_AT];
        algorithm[..ALGORITHM.len()].copy_from_slice(ALGORITHM);
        let expected = [
            (bytes.starts_with(SIGNATURE), "its signature"),
            (number(VERSION_AT) == VERSION, "version 1"),
            (number(HASH_TYPE_AT) == HASH_TYPE, "hash type 1"),
            (bytes[ALGORITHM_AT..DATA_BLOCK_AT] == algorithm, "hash algorithm sha256"),
        ];
        if let Some((_, expected)) = expected.into_iter().find(|(is_so, _)| !is_so) {
            return Err(SuperblockError(expected));
        }
        let salt_bytes = u16::from_le_bytes(array(bytes, SALT_LENGTH_AT)).into();
        let salt = bytes[SALT_AT..].get(..salt_bytes).ok_or(SALT_EXPECTED)?;
        let superblock = Self {
            uuid: array(bytes, UUID_AT),
            data_block_bytes: number(DATA_BLOCK_AT),
            hash_block_bytes: number(HASH_BLOCK_AT),
            n_data_blocks: u64::from_le_bytes(array(bytes, DATA_BLOCKS_AT)),
            salt: salt.into(),
        };
        superblock.check().map(|()| superblock)
    }

    /// Whether there can be a tree of these sizes.
    ///
    /// # Errors
    /// The first field that cannot be what it is.
    pub fn check(&self) -> Result<(), SuperblockError> {
        let is_block = |bytes: u32| bytes.is_power_of_two() && BLOCK_BYTES.contains(&bytes);
        if !is_block(self.data_block_bytes) || !is_block(self.hash_block_bytes) {
            return Err(SuperblockError("blocks of a power of two from 512 to 524288 bytes"));
        }
        match (self.n_data_blocks, self.salt.len()) {
            (1..=MAX_DATA_BLOCKS, ..=MAX_SALT_BYTES) => Ok(()),
            (1..=MAX_DATA_BLOCKS, _) => Err(SALT_EXPECTED),
            _ => Err(SuperblockError("1 to 2^40 data blocks")),
        }
    }

    /// Its bytes.
    ///
    /// # Panics
    /// If the salt is longer than 256 bytes.
    pub fn to_bytes(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        assert!(self.salt.len() <= MAX_SALT_BYTES, "a salt of {} bytes", self.salt.len());
        put(0, SIGNATURE);
        put(VERSION_AT, &VERSION.to_le_bytes());
        put(HASH_TYPE_AT, &HASH_TYPE.to_le_bytes());
        put(UUID_AT, &self.uuid);
        put(ALGORITHM_AT, ALGORITHM);
        put(DATA_BLOCK_AT, &self.data_block_bytes.to_le_bytes());
        put(HASH_BLOCK_AT, &self.hash_block_bytes.to_le_bytes());
        put(DATA_BLOCKS_AT, &self.n_data_blocks.to_le_bytes());
        put(SALT_LENGTH_AT, &(self.salt.len() as u16).to_le_bytes());
        put(SALT_AT, &self.salt);
        bytes
    }
}

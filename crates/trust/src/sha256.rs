//! SHA-256 (FIPS 180-4) over whichever compression function suits the CPU.
//!
//! The compression is crate `sha2`'s, or in the kernel one of its own with the CPU's instructions: `sha2` has that too, but
//! finds out by asking an operating system. Here is what is around it: blocks, padding, the digest.

/// Works whole blocks into the state.
pub type Compress = fn(state: &mut [u32; 8], blocks: &[Block]);

/// What is compressed at once.
pub type Block = [u8; BLOCK_BYTES];

const BLOCK_BYTES: usize = 64;

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;

/// The compression function for every CPU.
pub const PORTABLE: Compress = sha2::block_api::compress256;

/// FIPS 180-4, 5.3.3.
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The digest of `bytes`.
pub fn digest(compress: Compress, bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new(compress);
    hash.update(bytes);
    hash.finish()
}

/// A digest in the making.
#[derive(Clone)]
pub struct Sha256 {
    compress: Compress,
    state: [u32; 8],
    /// Bytes that do not fill a block yet.
    rest: Block,
    length_bytes: u64,
}

impl Sha256 {
    /// The digest of nothing, so far.
    pub fn new(compress: Compress) -> Self {
        Self { compress, state: INITIAL_STATE, rest: [0; BLOCK_BYTES], length_bytes: 0 }
    }

    fn rest_bytes(&self) -> usize {
        (self.length_bytes % BLOCK_BYTES as u64) as usize
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let start = self.rest_bytes();
        self.length_bytes += bytes.len() as u64;
        let mut bytes = bytes;
        if start > 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK_BYTES - start));
            self.rest[start..start + head.len()].copy_from_slice(head);
            if start + head.len() < BLOCK_BYTES {
                return;
            }
            (self.compress)(&mut self.state, &[self.rest]);
            bytes = tail;
        }
        let (blocks, tail) = bytes.as_chunks();
        (self.compress)(&mut self.state, blocks);
        self.rest[..tail.len()].copy_from_slice(tail);
    }

    /// The digest of all that was appended.
    pub fn finish(mut self) -> [u8; DIGEST_BYTES] {
        // FIPS 180-4, 5.1.1: a one bit, zero bits, and the length in bits to the end of a block.
        const LENGTH_BYTES: usize = 8;
        let length_bits = self.length_bytes.wrapping_mul(8);
        let used = self.rest_bytes();
        let mut padded = [[0; BLOCK_BYTES]; 2];
        let flat = padded.as_flattened_mut();
        flat[..used].copy_from_slice(&self.rest[..used]);
        flat[used] = 0x80;
        let end = (used + 1 + LENGTH_BYTES).next_multiple_of(BLOCK_BYTES);
        flat[end - LENGTH_BYTES..end].copy_from_slice(&length_bits.to_be_bytes());
        (self.compress)(&mut self.state, &padded[..end / BLOCK_BYTES]);

        let mut digest = [0; DIGEST_BYTES];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;

    #[test]
    fn every_length_and_any_division_give_the_reference_s_digest() {
        let bytes: Vec<u8> = (0..1000_u32).map(|i| (i * 37 + i / 7) as u8).collect();
        for length in (0..200).chain([511, 512, 513, 1000]) {
            let expected: [u8; DIGEST_BYTES] = sha2::Sha256::digest(&bytes[..length]).into();
            for piece in [1, 3, 63, 64, 65, 1000] {
                let mut hash = Sha256::new(PORTABLE);
                bytes[..length].chunks(piece).for_each(|piece| hash.update(piece));
                assert_eq!(hash.finish(), expected, "{length} bytes in pieces of {piece}");
            }
        }
    }
}

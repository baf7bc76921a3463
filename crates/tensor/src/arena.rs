//! Typed buffers carved from the memory that a caller lends.
//!
//! [`Arena`] hands out slices one after the other, never frees one and never runs a destructor. The code that carves a buffer
//! also measures it: an arena made by [`Arena::measuring`] has no memory, returns empty slices and counts. A plan can therefore
//! not differ from the later allocation.
//!
//! # Example
//!
//! ```
//! use tensor::arena::{ALIGN, Arena, OutOfMemory};
//!
//! fn carve<'m>(arena: &mut Arena<'m>) -> Result<(&'m mut [f32], &'m mut [u8]), OutOfMemory> {
//!     Ok((arena.take(3)?, arena.take(65)?))
//! }
//!
//! let mut measuring = Arena::measuring();
//! carve(&mut measuring).unwrap();
//! // Each buffer begins at a multiple of 64 bytes: 12 bytes take 64, and 65 bytes take 128.
//! assert_eq!(measuring.used_bytes(), 192);
//!
//! // Memory that begins anywhere has as much as is needed from its first multiple of 64 on.
//! let mut memory = vec![0; measuring.used_bytes() + ALIGN - 1];
//! let mut arena = Arena::new(&mut memory);
//! let (sums, flags) = carve(&mut arena).unwrap();
//! assert_eq!((sums.len(), flags.len()), (3, 65));
//! assert_eq!(arena.used_bytes(), measuring.used_bytes());
//!
//! assert_eq!(
//!     carve(&mut Arena::new(&mut [])).unwrap_err(),
//!     OutOfMemory { needed_bytes: 64, available_bytes: 0 }
//! );
//! ```

use zerocopy::{FromBytes, IntoBytes};

/// Every buffer starts at a multiple of this many bytes: a cache line, and the widest vector register.
pub const ALIGN: usize = 64;

/// A bump allocator over borrowed memory.
#[derive(Debug)]
pub struct Arena<'m> {
    /// What is still free; `None` while measuring.
    rest: Option<&'m mut [u8]>,
    used_bytes: usize,
}

/// The borrowed memory is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("needs {needed_bytes} bytes of memory, {available_bytes} are available")]
pub struct OutOfMemory {
    /// How many bytes the whole arena would need, up to and including the refused buffer.
    pub needed_bytes: usize,
    /// How many bytes it has.
    pub available_bytes: usize,
}

impl<'m> Arena<'m> {
    /// An arena over `memory`. If `memory` does not begin at a multiple of [`ALIGN`], the bytes before the first such address are
    /// not used.
    pub fn new(memory: &'m mut [u8]) -> Self {
        let skipped = memory.as_ptr().align_offset(ALIGN).min(memory.len());
        Arena { rest: Some(&mut memory[skipped..]), used_bytes: 0 }
    }

    /// An arena without memory that only counts what is taken from it.
    pub fn measuring() -> Self {
        Arena { rest: None, used_bytes: 0 }
    }

    /// The memory that no buffer was taken from; empty while measuring.
    pub fn into_rest(self) -> &'m mut [u8] {
        self.rest.unwrap_or_default()
    }

    /// Bytes taken so far, padding included.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// The next `len` elements; an empty slice while measuring.
    ///
    /// They hold whatever was in the memory before.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the memory, or while measuring the address space, is too small.
    #[inline(always)]
    pub fn take<T: FromBytes + IntoBytes>(&mut self, len: usize) -> Result<&'m mut [T], OutOfMemory> {
        let available_bytes = self.used_bytes + self.rest.as_ref().map_or(0, |rest| rest.len());
        let exhausted = OutOfMemory { needed_bytes: usize::MAX, available_bytes };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(exhausted)?;
        let padded = bytes.checked_next_multiple_of(ALIGN).ok_or(exhausted)?;
        let used_bytes = self.used_bytes.checked_add(padded).ok_or(exhausted)?;
        let Some(rest) = self.rest.take() else {
            self.used_bytes = used_bytes;
            return Ok(&mut []);
        };
        match rest.split_at_mut_checked(padded) {
            Some((taken, rest)) => {
                self.rest = Some(rest);
                self.used_bytes = used_bytes;
                Ok(<[T]>::mut_from_bytes(&mut taken[..bytes])
                    .expect("a multiple of 64 suits every element type"))
            }
            None => Err(OutOfMemory { needed_bytes: used_bytes, available_bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned([u8; 256]);

    fn carve(arena: &mut Arena<'_>) -> Result<(usize, usize), OutOfMemory> {
        let a = arena.take::<f32>(3)?;
        let b = arena.take::<u8>(65)?;
        assert!(b.is_empty() || b.as_ptr().align_offset(ALIGN) == 0);
        Ok((a.len(), b.len()))
    }

    #[test]
    fn measuring_and_carving_agree_to_the_byte() {
        let mut measuring = Arena::measuring();
        carve(&mut measuring).unwrap();
        assert_eq!(measuring.used_bytes(), 64 + 128);

        let mut memory = Aligned([0; 256]);
        let mut arena = Arena::new(&mut memory.0[..measuring.used_bytes()]);
        assert_eq!(carve(&mut arena), Ok((3, 65)));
        assert_eq!(arena.used_bytes(), measuring.used_bytes());
        assert!(arena.into_rest().is_empty());

        let mut arena = Arena::new(&mut memory.0);
        carve(&mut arena).unwrap();
        assert_eq!(arena.into_rest().len(), 256 - measuring.used_bytes());
        assert!(Arena::measuring().into_rest().is_empty());
    }

    #[test]
    fn too_little_memory_names_what_is_needed() {
        let mut memory = Aligned([0; 256]);
        let mut arena = Arena::new(&mut memory.0[..191]);
        assert_eq!(carve(&mut arena), Err(OutOfMemory { needed_bytes: 192, available_bytes: 191 }));
    }

    #[test]
    fn sizes_past_the_address_space_are_refused_while_measuring_too() {
        assert!(Arena::measuring().take::<f32>(usize::MAX / 2).is_err());
        let mut arena = Arena::measuring();
        arena.take::<u8>(usize::MAX - 127).unwrap();
        assert!(arena.take::<u8>(128).is_err());
    }

    #[test]
    fn an_unaligned_start_is_skipped() {
        let mut memory = Aligned([0; 256]);
        let mut arena = Arena::new(&mut memory.0[1..]);
        assert_eq!(arena.take::<u8>(1).unwrap().as_ptr().align_offset(ALIGN), 0);
    }
}

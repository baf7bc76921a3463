//! Checks whether bytes are a flattened device tree that can be read (Devicetree Specification 0.4, 5).
//!
//! It checks only what the reader relies on. Names may have any length and any characters: the trees of real boards have names
//! longer than the specification's limit of 31 characters, and Linux accepts them.

use super::MAGIC;
use core::{ops::Range, str};
use dtoolkit::fdt::Fdt;

const HEADER_BYTES: usize = 40;
const TOKEN_BYTES: usize = 4;
const RESERVATION_BYTES: usize = 16;

/// The format version in which the header has all fields.
const VERSION: u32 = 17;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why bytes are not a device tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at offset {offset:#x}")]
pub struct StructureError {
    /// What is wrong.
    pub kind: StructureErrorKind,
    /// Where, in bytes from the beginning of the tree.
    pub offset: usize,
}

/// What is wrong with a device tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StructureErrorKind {
    /// The first word is this instead of the magic number.
    #[error("it begins with {0:#010x} instead of {MAGIC:#x}", MAGIC = MAGIC)]
    Magic(u32),
    /// The tree has this version, which is incompatible with readers of version 17.
    #[error("its format has version {0}, expected one that is compatible with {VERSION}", VERSION = VERSION)]
    Version(u32),
    /// The size in the header differs from the number of bytes.
    #[error("its header tells {0} bytes")]
    Size(usize),
    /// A block exceeds the tree, or is not aligned.
    #[error("the {0} block is outside of it or not aligned")]
    Block(&'static str),
    /// The tree ends here, where something should follow.
    #[error("{0} does not end within it")]
    Truncated(&'static str),
    /// A name is not UTF-8.
    #[error("a name is not UTF-8")]
    Name,
    /// This token is not allowed here.
    #[error("there must be no token {0:#x}")]
    Token(u32),
}

/// Checks `bytes` and returns them as a device tree.
///
/// # Errors
/// [`StructureError`] if the tree could not be read completely.
pub fn open(bytes: &[u8]) -> Result<Fdt<'_>, StructureError> {
    Reader { bytes }.check()?;
    Ok(Fdt::new_unchecked(bytes))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

fn error<T>(kind: StructureErrorKind, offset: usize) -> Result<T, StructureError> {
    Err(StructureError { kind, offset })
}

impl Reader<'_> {
    fn check(&self) -> Result<(), StructureError> {
        if self.bytes.len() < HEADER_BYTES {
            return error(StructureErrorKind::Truncated("the header"), self.bytes.len());
        }
        let field = |index: usize| self.word(index * 4, "the header");
        let magic = field(0)?;
        if magic != MAGIC {
            return error(StructureErrorKind::Magic(magic), 0);
        }
        let (version, last_compatible) = (field(5)?, field(6)?);
        if !(last_compatible..=version).contains(&VERSION) {
            return error(StructureErrorKind::Version(version), 5 * 4);
        }
        let size_bytes = field(1)? as usize;
        if size_bytes != self.bytes.len() {
            return error(StructureErrorKind::Size(size_bytes), 4);
        }
        let (structure, strings, reservations) = (field(2)? as usize, field(3)? as usize, field(4)? as usize);
        let strings_bytes = field(8)? as usize;
        if strings.checked_add(strings_bytes).is_none_or(|end| end > size_bytes) {
            return error(StructureErrorKind::Block("strings"), 3 * 4);
        }
        if !structure.is_multiple_of(TOKEN_BYTES) {
            return error(StructureErrorKind::Block("structure"), 2 * 4);
        }
        self.check_reservations(reservations)?;
        self.check_nodes(structure, strings..strings + strings_bytes)
    }

    fn check_reservations(&self, mut offset: usize) -> Result<(), StructureError> {
        loop {
            let Some(reservation) = self.bytes.get(offset..).and_then(|rest| rest.get(..RESERVATION_BYTES))
            else {
                return error(StructureErrorKind::Truncated("the memory reservation block"), offset);
            };
            if reservation.iter().all(|&byte| byte == 0) {
                return Ok(());
            }
            offset += RESERVATION_BYTES;
        }
    }

    /// In a node, the properties come first, then the children.
    fn check_nodes(&self, mut offset: usize, strings: Range<usize>) -> Result<(), StructureError> {
        let mut depth = 0_usize;
        let (mut has_root, mut may_be_property) = (false, false);
        loop {
            let token = self.word(offset, "the structure block")?;
            let start = offset;
            offset += TOKEN_BYTES;
            match token {
                BEGIN_NODE if depth > 0 || !has_root => {
                    has_root = true;
                    offset += self.name(offset..self.bytes.len())? + 1;
                    depth += 1;
                    may_be_property = true;
                }
                PROPERTY if may_be_property => {
                    let length = self.word(offset, "a property")? as usize;
                    let name = self.word(offset + 4, "a property")? as usize;
                    self.name(strings.start.saturating_add(name)..strings.end)?;
                    offset += 8;
                    if length > self.bytes.len() - offset {
                        return error(StructureErrorKind::Truncated("a property"), offset);
                    }
                    offset += length;
                }
                END_NODE if depth > 0 => {
                    depth -= 1;
                    may_be_property = false;
                }
                // The reader assumes that the first token begins the root.
                NOP if depth > 0 || has_root => {}
                END if depth == 0 && has_root => return Ok(()),
                _ => return error(StructureErrorKind::Token(token), start),
            }
            offset = offset.next_multiple_of(TOKEN_BYTES);
        }
    }

    /// The length of the name that begins at the start of `range` and ends with a NUL within it.
    fn name(&self, range: Range<usize>) -> Result<usize, StructureError> {
        let start = range.start;
        let rest = self.bytes.get(range).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == 0) else {
            return error(StructureErrorKind::Truncated("a name"), start);
        };
        match str::from_utf8(&rest[..length]) {
            Ok(_) => Ok(length),
            Err(_) => error(StructureErrorKind::Name, start),
        }
    }

    fn word(&self, offset: usize, of: &'static str) -> Result<u32, StructureError> {
        match self.bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
            Some(&bytes) => Ok(u32::from_be_bytes(bytes)),
            None => error(StructureErrorKind::Truncated(of), offset),
        }
    }
}

//! [`Verified`]: the file on a disk, which is checked as it is read, before any other code gets the data.

use super::{Disks, Distrust, MIN_PIECES_BYTES, Mode, ReadError, Standing, Trust};
use ::llm::parallel::for_each;
use ::trust::{
    Root,
    minisign::KeyId,
    verity::{Mismatch, Tree},
};
use alloc::{boxed::Box, string::String, vec::Vec};
use core::{
    fmt,
    ops::{ControlFlow, Range},
};
use log::warn;
use spin::Mutex;

/// The number of blocks whose digests are in memory at once. They are checked up to the root before the blocks are read.
const WINDOW_BLOCKS: u64 = 8192;

/// How many bytes a core checks at a time.
const CLAIMED_BYTES: usize = 32 << 10;

/// A statement that vouches for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The name under which it was signed.
    pub name: String,
    /// The file's root hash.
    pub root: Root,
    /// Its version; 0 if a root was given at boot.
    pub version: u64,
    /// The key of the signature that vouches for it; `None` if a root was given at boot.
    pub key: Option<KeyId>,
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, root, version, key } = self;
        write!(f, "{name}, root {root}")?;
        match key {
            Some(key) => write!(f, ", version {version}, signed with key {key}"),
            None => f.write_str(", as told at boot"),
        }
    }
}

/// A file that is checked as it is read.
pub struct Verified {
    seal: Seal,
    tree: Tree,
    /// [Identity](super::Disk::identity) of the disk with the tree.
    tree_disk: u64,
    bytes: u64,
    /// Digests of the blocks to be read next.
    digests: Vec<[u8; 32]>,
    /// A block of which only a part has been read; there is room for one block.
    block: Vec<u8>,
}

impl Verified {
    /// A file of `bytes` whose hash tree is on the disk with the identity `tree_disk`; `None` if the heap has no room for a block.
    pub fn new(seal: Seal, tree: Tree, tree_disk: u64, bytes: u64) -> Option<Self> {
        let mut block = Vec::new();
        block.try_reserve_exact(tree.hash().data_block_bytes()).ok()?;
        Some(Self { seal, tree, tree_disk, bytes, digests: Vec::new(), block })
    }

    /// The statement that vouches for it.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Length of the file.
    pub fn length_bytes(&self) -> u64 {
        self.bytes
    }

    fn block_bytes(&self) -> usize {
        self.tree.hash().data_block_bytes()
    }

    /// Checks whole blocks on all cores. Their digests are in memory from index `skip` on.
    ///
    /// # Panics
    /// If there are fewer digests than blocks.
    fn check(&self, trust: &Trust, first: u64, skip: usize, blocks: &[u8]) -> Result<(), Mismatch> {
        let (hash, block_bytes) = (self.tree.hash(), self.block_bytes());
        let per_claim = (CLAIMED_BYTES / block_bytes).max(1);
        let digests = self.digests[skip..][..blocks.len().div_ceil(block_bytes)].chunks(per_claim);
        let claims = blocks.chunks(per_claim * block_bytes).zip(digests).zip((first..).step_by(per_claim));
        let wrong: Mutex<Option<Mismatch>> = Mutex::new(None);
        for_each(trust.workers, claims, |((blocks, digests), first)| {
            if let Err(mismatch) = hash.check(first, blocks, digests) {
                let mut wrong = wrong.lock();
                if wrong.is_none_or(|wrong| mismatch.number < wrong.number) {
                    *wrong = Some(mismatch);
                }
            }
        });
        wrong.into_inner().map_or(Ok(()), Err)
    }

    /// Takes the next piece of the file. Its digests are in memory, and `done` bytes since the block `first` have been taken before.
    fn take(
        &mut self,
        trust: &Trust,
        first: u64,
        done: usize,
        piece: &[u8],
        is_end: bool,
    ) -> Result<(), Mismatch> {
        let block_bytes = self.block_bytes();
        let (mut done, mut piece) = (done, piece);
        if !self.block.is_empty() {
            let missing = (block_bytes - self.block.len()).min(piece.len());
            self.block.extend_from_slice(&piece[..missing]);
            (done, piece) = (done + missing, &piece[missing..]);
            if self.block.len() < block_bytes && !(is_end && piece.is_empty()) {
                return Ok(());
            }
            let index = (done - 1) / block_bytes;
            self.check(trust, first + index as u64, index, &self.block)?;
            self.block.clear();
        }
        let whole = if is_end { piece.len() } else { piece.len() / block_bytes * block_bytes };
        let index = done / block_bytes;
        self.check(trust, first + index as u64, index, &piece[..whole])?;
        self.block.extend_from_slice(&piece[whole..]);
        Ok(())
    }
}

impl Disks {
    /// Handles an error of a check. In the mode `report` it is logged once, and the disk is then read unchecked.
    fn distrust(&mut self, trust: &Trust, place: usize, distrust: Distrust) -> Result<(), ReadError> {
        let disk = &mut self.list[place];
        let is_used = trust.settings.mode == Mode::Report;
        if is_used {
            warn!("disk {}: {distrust}; it is used all the same", disk.index());
        }
        disk.standing = Standing::Distrusted(Box::new(distrust));
        if is_used { Ok(()) } else { Err(ReadError::Distrusted) }
    }

    /// Takes out the data that a disk is checked with; `None` if the disk is read unchecked.
    ///
    /// # Errors
    /// If the disk must not be read.
    fn take_verified(&mut self, trust: &Trust, place: usize) -> Result<Option<Box<Verified>>, ReadError> {
        match core::mem::take(&mut self.list[place].standing) {
            Standing::Verified(verified) => return Ok(Some(verified)),
            other => self.list[place].standing = other,
        }
        match self.list[place].standing {
            Standing::Unread(_) | Standing::Unchecked if trust.settings.mode == Mode::Report => {
                self.distrust(trust, place, Distrust::Unread).map(|()| None)
            }
            _ if trust.settings.mode == Mode::Report => Ok(None),
            Standing::Unread(error) => Err(error),
            _ => Err(ReadError::Distrusted),
        }
    }

    /// Loads the digests of blocks, and checks them up to the root.
    fn load_digests(&mut self, verified: &mut Verified, blocks: Range<u64>) -> Result<(), Distrust> {
        verified.digests.clear();
        let tree_disk = self.list.iter_mut().find(|disk| disk.identity() == verified.tree_disk);
        let tree_disk = tree_disk.ok_or(Distrust::TreeUnread)?;
        let mut read = |at: u64, buffer: &mut [u8]| tree_disk.read_raw_at(at, buffer).is_ok();
        Ok(verified.tree.digests(blocks, &mut read, &mut verified.digests)?)
    }

    /// Fills `buffer` from `offset_bytes` of the file on the disk with this index in the list, and checks the data.
    ///
    /// # Errors
    /// Those of [`BlockDevice::read_at`](super::BlockDevice::read_at), and [`ReadError::Distrusted`].
    pub fn read_at(&mut self, place: usize, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.list[place].seal().is_none() && !self.requires_trust() {
            if let Some(trust) = self.checking() {
                self.take_verified(&trust, place)?;
            }
            return self.list[place].read_raw_at(offset_bytes, buffer);
        }
        let mut through = Vec::new();
        through.try_reserve(MIN_PIECES_BYTES * 2).map_err(|_| ReadError::NoRoom)?;
        through.resize(MIN_PIECES_BYTES * 2, 0);
        let (end, mut done) = (offset_bytes.saturating_add(buffer.len() as u64), 0);
        self.read_pieces(place, offset_bytes..end, &mut through, &mut |piece| {
            buffer[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
            ControlFlow::Continue(())
        })
    }

    /// Which signers and roots are trusted, if anything is to be checked.
    pub(super) fn checking(&self) -> Option<Trust> {
        self.trust.filter(|trust| trust.settings.mode != Mode::Off)
    }

    /// Whether files without a trusted signature or root must not be used.
    pub fn requires_trust(&self) -> bool {
        self.trust.is_some_and(|trust| trust.settings.mode == Mode::Require)
    }

    /// Reads a range of the file on the disk with this index piece by piece and checks the data, like
    /// [`BlockDevice::read_pieces`](super::BlockDevice::read_pieces). A piece may end within a block; that part is passed on at
    /// once, and checked when the rest of the block has been read. What was read may therefore be used only if there is no error
    /// up to the end.
    ///
    /// # Errors
    /// Those of [`BlockDevice::read_pieces`](super::BlockDevice::read_pieces), and [`ReadError::Distrusted`].
    ///
    /// # Panics
    /// Those of [`BlockDevice::read_pieces`](super::BlockDevice::read_pieces).
    pub fn read_pieces(
        &mut self,
        place: usize,
        range: Range<u64>,
        buffer: &mut [u8],
        use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let Some(trust) = self.checking() else {
            return self.list[place].read_raw_pieces(range, buffer, use_piece);
        };
        let mut next = range.start;
        let mut flow = ControlFlow::Continue(());
        while next < range.end && flow.is_continue() {
            let Some(mut verified) = self.take_verified(&trust, place)? else {
                return self.list[place].read_raw_pieces(next..range.end, buffer, use_piece);
            };
            let block_bytes = verified.block_bytes() as u64;
            let (first, file_end) = (next / block_bytes, verified.bytes);
            // Up to the end of a block, so that the block can be checked.
            let last = range.end.div_ceil(block_bytes).min(first + WINDOW_BLOCKS);
            let start = first * block_bytes;
            let end = (last * block_bytes).min(file_end);
            let wanted = (next - start) as usize..(range.end.min(end) - start) as usize;
            let mut wrong = None;
            let mut done = 0;
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let read = ReadError::check_range(range.start, length, file_end).and_then(|()| {
                if let Err(distrust) = self.load_digests(&mut verified, first..last) {
                    wrong = Some(distrust);
                    return Ok(());
                }
                self.list[place].read_raw_pieces(start..end, buffer, &mut |piece| {
                    let is_end = start + (done + piece.len()) as u64 == end;
                    if wrong.is_none()
                        && let Err(mismatch) = verified.take(&trust, first, done, piece, is_end)
                    {
                        wrong = Some(Distrust::Changed(mismatch));
                        if trust.settings.mode == Mode::Require {
                            return ControlFlow::Break(());
                        }
                    }
                    let of_piece =
                        wanted.start.saturating_sub(done)..wanted.end.saturating_sub(done).min(piece.len());
                    done += piece.len();
                    if let Some(piece) = piece.get(of_piece).filter(|piece| !piece.is_empty()) {
                        next += piece.len() as u64;
                        flow = use_piece(piece);
                    }
                    flow
                })
            });
            verified.block.clear();
            match wrong {
                None => self.list[place].standing = Standing::Verified(verified),
                Some(distrust) => self.distrust(&trust, place, distrust)?,
            }
            read?;
        }
        Ok(())
    }
}

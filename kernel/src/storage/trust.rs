//! [`Trust`]: who is believed that a file is the one it should be, and [`Standing`]: what that comes to for a disk.
//!
//! The tree of digests (crate `trust`, `verity`) of the file on a disk is on the disk behind it, or the partition behind it, and the
//! signed manifests on any. They are told by how they begin. Whatever is taken for a file's tree wrongly does not pass when the file
//! is read.

use super::{Disk, Disks, ReadError, Seal, Verified};
use ::llm::parallel::Workers;
use ::trust::{
    Manifests, Root,
    manifest::{FIRST_LINE, MAX_BYTES, ManifestFault, Refusal},
    minisign::PublicKey,
    sha256::Compress,
    verity::{Mismatch, SUPERBLOCK_BYTES, Superblock, Tree, VerityError},
};
use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;
use log::{info, warn};

/// What is done with a file that nobody vouches for, or that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing is checked.
    #[default]
    Off,
    /// It is said, and the file is used.
    Report,
    /// Nothing of it is used.
    Require,
}

/// Who is believed, as the boot arguments say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustSettings {
    /// What is done with other files.
    pub mode: Mode,
    /// Files by name and root.
    pub roots: Vec<(String, Root)>,
    /// Keys of those who may sign a manifest.
    pub keys: Vec<PublicKey>,
}

/// Who is believed, and what it takes to check.
#[derive(Clone, Copy)]
pub struct Trust {
    /// Who is believed.
    pub settings: &'static TrustSettings,
    /// The compression function of SHA-256.
    pub compress: Compress,
    /// The cores that check.
    pub workers: &'static dyn Workers,
}

/// Why a file is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// A block of it or of its tree is not as it was signed.
    #[error("not trusted: {0}")]
    Changed(Mismatch),
    /// Nobody vouches for it.
    #[error(fmt = unknown_root)]
    Unknown {
        /// The root of its tree.
        root: Root,
        /// What is wrong with a manifest, if anything.
        manifest: Option<ManifestFault>,
    },
    /// It is in a manifest, but not to be trusted any more.
    #[error("not trusted: {0}")]
    Refused(Refusal),
    /// There is no tree on the disk behind it.
    #[error("not trusted: on the disk behind it is no verity tree")]
    NoTree,
    /// The disk is shorter than the file.
    #[error("not trusted: it has {bytes} bytes; expected {expected}")]
    Short {
        /// What the disk holds.
        bytes: u64,
        /// The file's length.
        expected: u64,
    },
    /// It could not be read when disks were looked at, or has not been looked at.
    #[error("not trusted: it could not be read when disks were looked at")]
    Unread,
    /// Its tree, of which the root alone was told, has another number of blocks than it says.
    #[error("not trusted: its root is that of a file of another length than {n_blocks} blocks")]
    Blocks {
        /// What it says.
        n_blocks: u64,
    },
    /// Its tree cannot be read.
    #[error("not trusted: its verity tree cannot be read")]
    TreeUnread,
    /// The heap has no room to check it.
    #[error("not trusted: the heap has no room for digests")]
    NoMemory,
}

impl From<VerityError> for Distrust {
    fn from(error: VerityError) -> Self {
        match error {
            VerityError::Mismatch(mismatch) => Self::Changed(mismatch),
            VerityError::Blocks { n_blocks } => Self::Blocks { n_blocks },
            VerityError::OutOfMemory => Self::NoMemory,
            VerityError::Read | VerityError::OutOfRange { .. } => Self::TreeUnread,
        }
    }
}

fn unknown_root(root: &Root, manifest: &Option<ManifestFault>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "not trusted: nobody vouches for its root {root}")?;
    manifest.as_ref().map_or(Ok(()), |fault| write!(f, "; {fault}"))
}

/// What is known of a disk's contents.
#[derive(Default)]
pub enum Standing {
    /// Nothing is checked, or has been.
    #[default]
    Unchecked,
    /// It is checked as it is read.
    Verified(Box<Verified>),
    /// It is not to be trusted.
    Distrusted(Box<Distrust>),
    /// It could not be read when it was looked at.
    Unread(ReadError),
    /// It holds a tree, or the manifest, and no model.
    Proof,
}

/// For how long a disk may be silent when it is looked at.
const PATIENCE_US: u64 = 1_000_000;

impl Disks {
    /// Has the disks checked from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = Some(trust);
    }

    /// Looks which disks hold what, and who vouches for it. Does nothing if nothing is to be checked.
    #[inline(never)]
    pub fn establish_trust(&mut self) {
        let Some(trust) = self.checking() else { return };
        for disk in &mut self.list {
            disk.set_patience(PATIENCE_US);
            disk.standing = Standing::Unchecked;
        }
        let (trees, manifests) = self.find_proofs(&trust);
        if let Some(fault) = manifests.fault()
            && (trust.settings.roots.is_empty() || fault.may_hide_restriction())
        {
            warn!("{fault}");
        }
        for place in 0..self.list.len() {
            let Some((disk, behind)) = self.list[place..].split_first_mut() else { break };
            disk.set_patience(super::PATIENCE_US);
            if let Standing::Unchecked = disk.standing {
                let standing = match (trees.get(place + 1), behind.first_mut()) {
                    (Some(Some(tree)), Some(tree_disk)) => {
                        verified(disk, tree_disk, tree, &trust, &manifests)
                    }
                    _ => Err(Distrust::NoTree),
                };
                disk.standing = match standing {
                    Ok(verified) => {
                        info!("disk {}: {}", disk.index(), verified.seal());
                        Standing::Verified(verified)
                    }
                    Err(distrust) => {
                        warn!("disk {}: {distrust}", disk.index());
                        Standing::Distrusted(Box::new(distrust))
                    }
                };
            }
        }
        self.manifests = manifests;
    }

    /// Whether somebody who is believed has signed a file under this name, which may be on no disk.
    pub fn is_signed_name(&self, name: &str) -> bool {
        self.manifests.names(name)
    }

    /// The names of roots that were told.
    pub fn told_names(&self) -> impl Iterator<Item = &str> {
        self.trust.iter().flat_map(|trust| trust.settings.roots.iter().map(|(name, _)| &**name))
    }

    /// The tree that each disk holds, if it holds one, and the manifests. Nobody vouches for these trees yet, and there may be many:
    /// of each only the root is kept.
    #[inline(never)]
    fn find_proofs(&mut self, trust: &Trust) -> (Vec<Option<Found>>, Manifests) {
        let (mut trees, mut manifests) = (Vec::new(), Manifests::default());
        let mut block = Vec::new();
        for disk in &mut self.list {
            let mut start = [0; SUPERBLOCK_BYTES];
            let known = disk.capacity_bytes().min(SUPERBLOCK_BYTES as u64) as usize;
            let mut tree = None;
            if let Err(error) = disk.read_raw_at(0, &mut start[..known]) {
                disk.standing = Standing::Unread(error);
            } else if !is_proof(&start) {
            } else if start[0] == FIRST_LINE.as_bytes()[0] {
                disk.standing = Standing::Proof;
                match read_manifest(disk) {
                    // What is wrong with it is noted there.
                    Ok(bytes) => drop(manifests.add(&bytes, &trust.settings.keys)),
                    Err(fault) => manifests.note(fault),
                }
            } else {
                disk.standing = Standing::Proof;
                let identity = disk.identity();
                match Superblock::parse(&start) {
                    Ok(superblock) => {
                        let mut read = |at: u64, buffer: &mut [u8]| disk.read_raw_at(at, buffer).is_ok();
                        let root = Tree::read_root(&superblock, trust.compress, &mut block, &mut read);
                        tree = root.map(|root| Found { superblock, root, identity });
                    }
                    Err(error) => warn!("disk {}: {error}", disk.index()),
                }
            }
            trees.push(tree);
        }
        (trees, manifests)
    }
}

/// A tree on a disk.
struct Found {
    superblock: Superblock,
    /// The root that it has if nothing of it was changed.
    root: Root,
    /// The disk's identity.
    identity: u64,
}

/// Whether a disk that begins like this has a tree or a manifest.
pub fn is_proof(start: &[u8]) -> bool {
    start.starts_with(FIRST_LINE.as_bytes()) || start.starts_with(b"verity\0\0")
}

/// What a disk is checked by whose tree, on `tree_disk`, this is.
#[inline(never)]
fn verified(
    disk: &Disk,
    tree_disk: &mut Disk,
    Found { superblock, root, identity }: &Found,
    trust: &Trust,
    manifests: &Manifests,
) -> Result<Box<Verified>, Distrust> {
    let root = *root;
    let told = trust.settings.roots.iter().find(|(_, told)| *told == root);
    let (seal, expected) = if let Some((name, _)) = told {
        if manifests.revokes_root(root) {
            return Err(Distrust::Refused(Refusal::Revoked(root)));
        }
        // A root says nothing of the length within the last block; the host may.
        let bytes = disk.length_bytes();
        let all_bytes = superblock.n_data_blocks * u64::from(superblock.data_block_bytes);
        let bytes = if superblock.is_for(bytes) { bytes } else { all_bytes };
        (Seal { name: name.clone(), root, version: 0, key: None }, bytes)
    } else {
        let unknown = |manifest| Distrust::Unknown { root, manifest };
        let found = manifests.find(root, superblock);
        let (entry, key) =
            found.map_err(|refusal| refusal.map_or(unknown(manifests.fault()), Distrust::Refused))?;
        (Seal { name: entry.name.clone(), root, version: entry.version, key: Some(key) }, entry.bytes)
    };
    let bytes = disk.capacity_bytes();
    if bytes < expected {
        return Err(Distrust::Short { bytes, expected });
    }
    let mut tree = Tree::new(superblock.clone(), root, trust.compress)?;
    if told.is_some() {
        tree.check_end(&mut |at, buffer| tree_disk.read_raw_at(at, buffer).is_ok())?;
    }
    Verified::new(seal, tree, *identity, expected).map(Box::new).ok_or(Distrust::NoMemory)
}

/// The manifest on a disk, and what is behind it: one byte more than may be there, so that one that is too long is told.
fn read_manifest(disk: &mut Disk) -> Result<Vec<u8>, ManifestFault> {
    let length = disk.capacity_bytes().min(MAX_BYTES as u64 + 1) as usize;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| ManifestFault::NoMemory)?;
    bytes.resize(length, 0);
    disk.read_raw_at(0, &mut bytes).map_err(|_| ManifestFault::Unread)?;
    Ok(bytes)
}

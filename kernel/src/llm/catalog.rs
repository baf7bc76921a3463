//! Disks as named models.
//!
//! Every disk is a file, `/models/<name>.gguf`. The name is the one that it was signed under, a partition's label, or else the model's own, `general.name`, in
//! lower-case letters, digits and `. _ -`, or the disk's serial where there is none to be read; a name that
//! is taken gets `-2`, `-3`. Each name that files were signed under is given to one of them first, so that nothing else is called so,
//! not even what was signed under another name; and a file is asked for by its whole name. Finding the names reads no more of a
//! disk than the GGUF header. A model may be on several disks, each with a part of it.

mod headers;
mod parts;
mod texts;

pub use headers::Header;
pub use parts::PartError;

use alloc::{borrow::ToOwned, boxed::Box, format, string::String, vec::Vec};
use core::{cmp::Reverse, ops::ControlFlow};

use llm::quoted::beginning;
use trust::{
    Root,
    sha256::{Compress, Sha256},
};

use super::{BackendError, Progress, error::Sha256Digest};
use crate::{
    memory::pool::{GRANULE_BYTES, Pool, Region},
    storage::{Change, Disk, Disks, MIN_PIECES_BYTES},
};

/// The folder that all models are in.
pub const FOLDER: &str = "/models/";

/// What paths end in.
pub const EXTENSION: &str = ".gguf";

/// The machine's disks and what they hold.
#[derive(Debug)]
pub struct Catalog {
    disks: Disks,
    pool: &'static Pool,
    sha256: Compress,
    /// One entry a disk, in the order of the disks; empty until asked for.
    files: Vec<ModelFile>,
}

/// Which disks are waited for that do not answer at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Those that have answered until now.
    WithNews,
    /// All of them.
    WithAll,
}

/// What a disk holds.
#[derive(Debug)]
pub struct ModelFile {
    /// `/models/<name>.gguf`.
    pub path: String,
    /// Number of the disk.
    pub disk: usize,
    /// [Identity](Disk::identity) of the disk; of several, the highest.
    pub disk_identity: u64,
    /// Length of the file, or of all parts of the model.
    pub length_bytes: u64,
    /// The places among the [files](Catalog::files) of the disks that the model is on, in the order of its parts: for most
    /// its own alone.
    pub parts: Vec<usize>,
    /// What stands for it, if somebody vouches for it, and for all of its parts as parts of one model, so that it is checked as it
    /// is read.
    pub root: Option<Root>,
    /// What the header says, or what is wrong with it.
    pub header: Result<Header, BackendError>,
    /// The name that the path was made of.
    stem: String,
    /// The disk's serial number.
    serial: String,
}

impl ModelFile {
    /// Whether its header is sound, and a model's.
    pub fn is_model(&self) -> bool {
        self.header.as_ref().is_ok_and(|header| !header.is_adapter)
    }

    /// Whether its header is sound, and an adapter's.
    pub fn is_adapter(&self) -> bool {
        self.header.as_ref().is_ok_and(|header| header.is_adapter)
    }

    /// True if the disk has not answered, or there was no memory for what it says.
    fn is_unread(&self) -> bool {
        self.header.as_ref().is_err_and(BackendError::is_not_read)
    }
}

impl Catalog {
    /// A catalog of these disks; `pool` lends the memory to read headers into, `sha256` computes checksums.
    pub fn new(disks: Disks, pool: &'static Pool, sha256: Compress) -> Self {
        Self { disks, pool, sha256, files: Vec::new() }
    }

    /// The disks.
    pub fn disks(&self) -> &Disks {
        &self.disks
    }

    /// Looks again at what is plugged in, and reads the headers anew. Loaded models stay as they are.
    pub fn rescan(&mut self) -> Vec<Change> {
        let changes = self.disks.rescan();
        self.scan();
        changes
    }

    /// Starts the disk with this number anew.
    ///
    /// # Errors
    /// [`BackendError::NoDisk`], or if the disk does not start.
    pub fn reset_disk(&mut self, number: usize) -> Result<(), BackendError> {
        let disk = self.disks.iter_mut().find(|disk| disk.index() == number);
        let disk = disk.ok_or(BackendError::NoDisk { number })?;
        disk.reset().map_err(|error| BackendError::read(number, error))
    }

    /// The memory that headers are read into.
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// All disks, as files. The headers are read when this is first called.
    pub fn files(&mut self) -> &[ModelFile] {
        if self.files.is_empty() {
            self.scan();
        }
        &self.files
    }

    /// Reads headers again if some could not be read because disks did not answer.
    fn ask_silent_disks(&mut self, patience: Patience) {
        if self.files.iter().any(ModelFile::is_unread) {
            self.read_headers(patience);
        }
    }

    /// Reads all headers again. A disk keeps its path as long as its model has the same name, or it does not answer, or
    /// there is no memory to read its header into; what was known of it then stays known. But a name that files were signed under is
    /// always the path of one of these: of one that was told at boot, or else of the newest.
    pub fn scan(&mut self) {
        self.read_headers(Patience::WithNews);
    }

    fn read_headers(&mut self, patience: Patience) {
        let headers = self.headers(patience);
        let mut old = core::mem::take(&mut self.files);
        let mut take_old = |disk: &Disk, stem: Option<&str>| {
            let same = |file: &ModelFile| {
                file.disk == disk.index()
                    && file.serial == disk.serial()
                    && stem.is_none_or(|stem| stem == file.stem)
            };
            Some(old.swap_remove(old.iter().position(same)?))
        };
        let mut named = Vec::new();
        for (disk, header) in self.disks.iter().zip(headers) {
            let name = header.as_ref().ok().and_then(|header| header.name.as_deref());
            let sealed = disk.seal().map_or("", |seal| &seal.name);
            let stem = [sealed, disk.label(), name.unwrap_or_default(), disk.serial()]
                .into_iter()
                .map(path_safe)
                .find(|stem| !stem.is_empty())
                .unwrap_or_else(|| format!("disk{}", disk.index()));
            // Under which name it was signed is known without its header.
            let is_named = disk.seal().is_some() || !header.as_ref().is_err_and(BackendError::is_not_read);
            let before = take_old(disk, is_named.then_some(&*stem));
            let (header, stem, path) = match (before, header) {
                (None, header) => (header, stem, None),
                // What is known of several disks together is not known of one.
                (Some(file), Err(BackendError::NoBuffer(_)))
                    if file.disk_identity == disk.identity() && file.parts.len() == 1 =>
                {
                    (file.header, file.stem, Some(file.path))
                }
                (Some(file), header) => (header, file.stem, Some(file.path)),
            };
            named.push((disk, header, stem, path));
        }
        // What was told at boot comes first, then the newest version, then what has its name already.
        let rank = |place: usize| {
            let (disk, _, stem, path) = &named[place];
            let has_own = path.as_ref().is_some_and(|path| *path == path_of(stem, 1));
            disk.seal().map(|seal| (seal.key.is_some(), Reverse(seal.version), !has_own, place))
        };
        let places = 0..named.len();
        let own_path = |place: usize| {
            let stem = &named[place].2;
            let same = places.clone().filter(|&other| named[other].2 == *stem);
            let is_first = rank(place).is_some() && same.filter_map(rank).min() == rank(place);
            if is_first { path_of(stem, 1) } else { String::new() }
        };
        let mut paths: Vec<String> = places.clone().map(own_path).collect();
        // Then, of what somebody vouches for and then of the rest, come paths that stay, then new ones.
        let mut order: Vec<usize> = places.collect();
        sort::short_by_key(&mut order, |&place| {
            let rank = rank(place);
            (rank.is_none(), rank)
        });
        for is_vouched_for in [true, false] {
            let is_next = |&place: &usize| rank(place).is_some() == is_vouched_for;
            for place in order.iter().copied().filter(is_next) {
                let (_, _, stem, path) = &named[place];
                if let Some(path) = path
                    && paths[place].is_empty()
                    && !paths.contains(path)
                    && !self.is_of_another(stem, path, is_vouched_for)
                {
                    paths[place] = path.clone();
                }
            }
            for place in order.iter().copied().filter(is_next) {
                if paths[place].is_empty() {
                    paths[place] = self.unused_path(&named[place].2, &paths, is_vouched_for);
                }
            }
        }
        let files = named.into_iter().zip(paths).map(|((disk, header, stem, _), path)| {
            let (serial, length_bytes) = (disk.serial().to_owned(), disk.length_bytes());
            let (disk, disk_identity) = (disk.index(), disk.identity());
            let (parts, root) = (Vec::new(), None);
            ModelFile { path, disk, disk_identity, length_bytes, parts, root, header, stem, serial }
        });
        self.files = files.collect();
        parts::join(&mut self.files, &self.disks, self.sha256);
    }

    /// The path of a model with this name that none of `paths` is, and that no other file was signed under.
    fn unused_path(&self, stem: &str, paths: &[String], is_vouched_for: bool) -> String {
        let mut all = (1..).map(|n| path_of(stem, n));
        let is_free =
            |path: &String| !paths.contains(path) && !self.is_of_another(stem, path, is_vouched_for);
        all.find(is_free).expect("there are more numbers than disks and signed names")
    }

    /// Whether somebody vouches for another file under this path than the model with this name: if somebody vouches for that one too, it
    /// may have the path that has no number behind it.
    fn is_of_another(&self, stem: &str, path: &str, is_vouched_for: bool) -> bool {
        let name = name_of(path);
        let is_told = || self.disks.told_names().any(|told| path_safe(told) == name);
        (name != stem || !is_vouched_for) && (self.disks.is_signed_name(name) || is_told())
    }

    /// The place in [`files`](Self::files) of the model with this path. The folder and the extension
    /// may be left out.
    ///
    /// # Errors
    /// [`BackendError::UnknownPath`] with the names that there are.
    pub fn find(&mut self, path: &str) -> Result<usize, BackendError> {
        let name = name_of(path);
        let is_it = |file: &ModelFile| name_of(&file.path) == name;
        self.ask_silent_disks(Patience::WithNews);
        if let Some(found) = self.files().iter().position(is_it) {
            return Ok(found);
        }
        // It may be on a disk that has not said so yet.
        self.ask_silent_disks(Patience::WithAll);
        self.files.iter().position(is_it).ok_or_else(|| self.unknown(path))
    }

    /// The place in [`files`](Self::files) of the file that was read from the disk, or the disks, of this
    /// [identity](ModelFile::disk_identity), whatever it is called now. `None` if something else is there, or nothing, or the disk does
    /// not answer when it is asked again.
    pub fn of_identity(&mut self, disk_identity: u64) -> Option<usize> {
        self.ask_silent_disks(Patience::WithNews);
        // A later part of a model has no header of its own.
        let is_it = |file: &ModelFile| file.disk_identity == disk_identity && file.header.is_ok();
        self.files().iter().position(is_it)
    }

    /// What is wrong with a path that no disk has.
    pub fn unknown(&self, path: &str) -> BackendError {
        let known = self.files.iter().map(|file| name_of(&file.path).to_owned());
        BackendError::UnknownPath { path: beginning(path).to_owned(), known: known.collect() }
    }

    /// The place in [`files`](Self::files) of the first model with a sound header.
    ///
    /// # Errors
    /// [`BackendError::NoDisks`], or [`BackendError::NoModel`] with what is wrong on the first disk.
    pub fn first(&mut self) -> Result<usize, BackendError> {
        self.ask_silent_disks(Patience::WithNews);
        if let Some(first) = self.files().iter().position(ModelFile::is_model) {
            return Ok(first);
        }
        let n_disks = self.files.len();
        // What is handed out here is read anew when the catalog is next asked.
        match core::mem::take(&mut self.files).into_iter().next() {
            None => Err(BackendError::NoDisks { undriven: self.disks.undriven().to_vec() }),
            Some(ModelFile { path, header, .. }) => Err(BackendError::NoModel {
                n_disks,
                path,
                cause: Box::new(header.err().unwrap_or(BackendError::IsAdapter)),
            }),
        }
    }

    /// The path of a file.
    pub fn path(&mut self, file: usize) -> String {
        self.files()[file].path.clone()
    }

    /// Fills `buffer` with the beginning of what is on the disk at this place: a file, or its part.
    ///
    /// # Errors
    /// If the disk fails, or what it holds is not trusted.
    pub fn read_at(&mut self, file: usize, buffer: &mut [u8]) -> Result<(), BackendError> {
        let read = self.disks.read_at(file, 0, buffer);
        read.map_err(|error| BackendError::of_disk(&self.disks[file], error))
    }

    /// The disks, of which that at a file's place has the file, or its part.
    pub fn disks_mut(&mut self) -> &mut Disks {
        &mut self.disks
    }

    /// What stands for a file, or for all parts of a model, after what has been read of it; `None` if nothing is checked, or one of
    /// them is not trusted, or not as a part of this model.
    pub fn root(&mut self, file: usize) -> Option<Root> {
        self.files();
        let file = &mut self.files[file];
        file.root = file.root.and_then(|_| root_of(&file.parts, &self.disks, self.sha256));
        file.root
    }

    /// SHA-256 of what is on the disk at this place: a file, or its part.
    ///
    /// # Errors
    /// If the disk fails, there is no memory for a buffer, or `progress` breaks off.
    pub fn sha256(
        &mut self,
        file: usize,
        clock_us: fn() -> u64,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Sha256Digest, BackendError> {
        const BUFFER_BYTES: u64 = 4 << 20;
        let total_bytes = self.disks[file].length_bytes();
        let mut buffer = reserve(self.pool, total_bytes.clamp(MIN_PIECES_BYTES as u64, BUFFER_BYTES))?;
        let mut hash = Sha256::new(self.sha256);
        let start_us = clock_us();
        let mut done_bytes = 0;
        let mut end = ControlFlow::Continue(());
        let read = self.disks.read_pieces(file, 0..total_bytes, &mut buffer, &mut |piece| {
            hash.update(piece);
            done_bytes += piece.len() as u64;
            let elapsed_us = clock_us().saturating_sub(start_us);
            end = progress(Progress { done_bytes, total_bytes, elapsed_us });
            end
        });
        read.map_err(|error| BackendError::of_disk(&self.disks[file], error))?;
        if end.is_break() {
            return Err(BackendError::Cancelled);
        }
        Ok(Sha256Digest(hash.finish()))
    }

    /// Compares the SHA-256 of what is on the disk at this place, a file or its part, with the one that travels beside it.
    ///
    /// # Errors
    /// As [`sha256`](Self::sha256); if they differ, or there is nothing to compare with.
    pub fn verify(
        &mut self,
        file: usize,
        clock_us: fn() -> u64,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Sha256Digest, BackendError> {
        let expected = self.disks[file].file().and_then(|facts| facts.sha256);
        let actual = self.sha256(file, clock_us, progress)?;
        match expected.map(Sha256Digest) {
            Some(expected) if expected == actual => Ok(actual),
            Some(expected) => Err(BackendError::ChecksumMismatch { actual, expected }),
            None => Err(BackendError::NoChecksum { actual }),
        }
    }
}

/// The name in a path: what is left without [`FOLDER`] and [`EXTENSION`], both of which may be missing.
pub fn name_of(path: &str) -> &str {
    let name = path.strip_prefix(FOLDER).unwrap_or(path);
    match name.split_at_checked(name.len().saturating_sub(EXTENSION.len())) {
        Some((name, extension)) if extension.eq_ignore_ascii_case(EXTENSION) => name,
        _ => name,
    }
}

/// What stands for these parts, if somebody vouches for each.
fn root_of(parts: &[usize], disks: &Disks, sha256: Compress) -> Option<Root> {
    let roots: Option<Vec<_>> = parts.iter().map(|&part| disks[part].seal().map(|seal| seal.root)).collect();
    roots.map(|roots| Root::of_parts(sha256, &roots))
}

/// The path of the `n`th model with this name.
fn path_of(stem: &str, n: usize) -> String {
    match n {
        1 => format!("{FOLDER}{stem}{EXTENSION}"),
        _ => format!("{FOLDER}{stem}-{n}{EXTENSION}"),
    }
}

fn reserve(pool: &'static Pool, size_bytes: u64) -> Result<Region, BackendError> {
    // A size beyond the address space is refused by the pool like any other that is too large.
    let size_bytes = usize::try_from(size_bytes).unwrap_or(usize::MAX);
    pool.reserve(size_bytes, GRANULE_BYTES).map_err(BackendError::NoBuffer)
}

/// `name` as the stem of a path: letters in lower case, digits, `.`, `_` and `-`, anything else a
/// single hyphen; no dots or hyphens at the ends.
fn path_safe(name: &str) -> String {
    let mut stem = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => stem.push(c),
            _ if stem.ends_with('-') => {}
            _ => stem.push('-'),
        }
    }
    stem.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests;

//! Errors of the backend: why it could not do what was requested.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt::{self, Display};

use llm::chat::ChatError;
use llm::front::FrontError;
use llm::gguf::GgufError;
use llm::sampling::SamplingError;
use llm::session::SessionError;
use llm::tokenizer::TokenizerError;

use super::catalog::{FOLDER, PartError};
use crate::memory::pool::Shortage;
use crate::storage::{Disk, Distrust, ReadError, Standing, Undriven};

/// Why the backend could not do what was requested. Each error is shown as one line: what is wrong and, if it helps, what is expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A receipt was requested, but there is no key to sign it.
    #[error(
        "no receipt can be signed: the machine has no source of random numbers for a key; give it a virtio-rng-device, \
         or a key by fw_cfg, opt/ferrite/receipt_key"
    )]
    NoReceiptKey,
    /// A nonce that is too long for a receipt.
    #[error("a nonce can have {} bytes", trust::receipt::MAX_NONCE_BYTES)]
    NonceTooLong,
    /// The machine has no disk.
    #[error(fmt = no_disks)]
    NoDisks {
        /// Devices that may have disks but have no driver here.
        undriven: Vec<Undriven>,
    },
    /// No disk holds a model that can be loaded.
    #[error(fmt = no_model)]
    NoModel {
        /// How many disks were examined.
        n_disks: usize,
        /// The path of the first of them.
        path: String,
        /// What is wrong with it.
        cause: Box<BackendError>,
    },
    /// No disk has this number.
    #[error("there is no disk {number}; `disks` shows the disks")]
    NoDisk {
        /// The number.
        number: usize,
    },
    /// No disk has this serial number.
    #[error(fmt = no_text_disk)]
    NoTextDisk {
        /// The number.
        serial: String,
        /// The existing serial numbers.
        serials: Vec<String>,
    },
    /// The disk holds more than the maximum length of a text.
    #[error("disk {serial} holds {length_bytes} bytes, expected a text of at most {most_bytes}")]
    TextTooLong {
        /// Its serial number.
        serial: String,
        /// Its length.
        length_bytes: u64,
        /// The maximum length of a text.
        most_bytes: u64,
    },
    /// The disk does not hold a text.
    #[error("disk {serial} holds no text: byte {offset_bytes} is not UTF-8")]
    NotText {
        /// Its serial number.
        serial: String,
        /// Where the first bytes are that are not UTF-8.
        offset_bytes: usize,
    },
    /// Some of several prompts were not answered; each failure has been reported.
    #[error("{n_failed} of {n_prompts} prompts were not answered")]
    Unanswered {
        /// How many were not answered.
        n_failed: usize,
        /// How many there were.
        n_prompts: usize,
    },
    /// No disk has this path.
    #[error(fmt = unknown_path)]
    UnknownPath {
        /// The path that was given.
        path: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// Something is wrong with this model.
    #[error("{path}: {cause}")]
    InFile {
        /// The model's path.
        path: String,
        /// What is wrong.
        cause: Box<BackendError>,
    },
    /// The disk is empty.
    #[error("the disk is empty, expected a GGUF file")]
    EmptyDisk,
    /// The disk holds a manifest or a hash tree, which other disks are checked against.
    #[error("no model: it holds what models are checked by")]
    Proof,
    /// The file is an adapter, not a model.
    #[error("the file is an adapter, expected a model; `--lora NAME` changes a model by it")]
    IsAdapter,
    /// The file is not an adapter.
    #[error("{path} is no adapter; `llm lora` lists those that there are")]
    NotAdapter {
        /// Its path.
        path: String,
    },
    /// The adapter cannot be used with the model.
    #[error("{path}: {reason}")]
    AdapterRefused {
        /// Its path.
        path: String,
        /// Why, in a line.
        reason: String,
    },
    /// The file is not an adapter of the model.
    #[cfg(feature = "llm-transformer")]
    #[error("{0}")]
    Adapter(llm::model::AdapterError),
    /// The disk could not be read.
    #[error(fmt = not_read)]
    Read {
        /// Number of the disk.
        disk: usize,
        /// Why.
        error: ReadError,
    },
    /// What the disk holds is not trusted.
    #[error("{0}")]
    Distrusted(Box<Distrust>),
    /// The disk holds only a part of a model.
    #[error("{0}")]
    Part(PartError),
    /// The file's format is broken.
    #[error("{0}")]
    Gguf(GgufError),
    /// The heap has no room to rearrange the weights.
    #[cfg(feature = "llm-transformer")]
    #[error("{0}")]
    Pack(llm::quant::PackError),
    /// The file's format is valid, but the model in it is not.
    #[cfg(feature = "llm-transformer")]
    #[error("{0}")]
    Model(llm::model::ModelError),
    /// The model cannot do what was requested.
    #[error("{0}")]
    Front(FrontError),
    /// A model does not fit into the memory.
    #[error(fmt = out_of_memory)]
    OutOfMemory {
        /// Bytes of weights and inference memory together.
        needed_bytes: usize,
        /// Bytes that are free.
        available_bytes: usize,
        /// The longest contiguous piece of them.
        longest_bytes: usize,
        /// The context length that the inference memory was computed for.
        n_ctx: usize,
    },
    /// There is too little memory in addition to the models that are loaded.
    #[error(fmt = beside)]
    Beside {
        /// The error without them.
        cause: Box<BackendError>,
        /// The memory that other models use.
        others: Vec<Taken>,
    },
    /// The buffer for a header or a checksum does not fit into the memory.
    #[error("{0}")]
    NoBuffer(crate::memory::pool::OutOfMemory),
    /// A context length that the model does not have.
    #[error(
        "a context of {n_ctx} tokens is not possible, expected 1 to {n_ctx_train}, the model's own length"
    )]
    ContextLength {
        /// The requested length.
        n_ctx: usize,
        /// The longest that the model was trained for.
        n_ctx_train: usize,
    },
    /// A command needs a model, and none is loaded.
    #[error("no model is loaded; `llm load PATH` loads one")]
    NotLoaded,
    /// The model of this name is not loaded, but others are.
    #[error(fmt = not_among_loaded)]
    NotAmongLoaded {
        /// The name that was given.
        name: String,
        /// The names of the loaded models.
        loaded: Vec<String>,
    },
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
    /// The file differs from the one that its checksum was computed of.
    #[error("SHA-256 is {actual}, expected {expected}: the file is damaged or another one")]
    ChecksumMismatch {
        /// SHA-256 of the bytes on the disk.
        actual: Sha256Digest,
        /// The SHA-256 that was supplied with the file.
        expected: Sha256Digest,
    },
    /// There is no checksum to compare with.
    #[error("SHA-256 is {actual}, but no checksum came with the file; expected a .sha256 file beside it")]
    NoChecksum {
        /// SHA-256 of the bytes on the disk.
        actual: Sha256Digest,
    },
    /// This kernel was built without inference.
    #[error("this kernel was built without inference; build it with the feature llm-transformer")]
    NoInference,
}

/// The memory that a loaded model uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The model's name, as `llm unload` takes it.
    pub name: String,
    /// The memory that is freed when the model is unloaded and its requests have ended.
    pub size_bytes: usize,
    /// Requests that it has.
    pub n_requests: usize,
    /// Whether the model has been unloaded already and only finishes its requests.
    pub is_retiring: bool,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, size_bytes, n_requests, is_retiring } = self;
        match is_retiring {
            true => write!(f, "{size_bytes} of the old {name} come back")?,
            false => write!(f, "`llm unload {name}` frees {size_bytes}")?,
        }
        match n_requests {
            0 => Ok(()),
            1 => f.write_str(" when its request is answered"),
            _ => write!(f, " when its {n_requests} requests are answered"),
        }
    }
}

/// The most names that are shown.
const MAX_NAMES: usize = 8;

/// Shows names, and how many more there are.
fn names(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    for (index, name) in names.iter().take(MAX_NAMES).enumerate() {
        write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
    }
    match names.len().saturating_sub(MAX_NAMES) {
        0 => Ok(()),
        n_more => write!(f, " and {n_more} more, which `llm list` shows"),
    }
}

/// 32 bytes, displayed in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256Digest(pub [u8; 32]);

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&trust::hex::Hex(&self.0), f)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl BackendError {
    /// The error of a read of a disk, whether its contents are checked or not.
    pub fn of_disk(disk: &Disk, error: ReadError) -> Self {
        match disk.standing() {
            Standing::Distrusted(distrust) if matches!(error, ReadError::Distrusted) => {
                Self::Distrusted(Box::new(**distrust))
            }
            _ => Self::read(disk.index(), error),
        }
    }

    /// The error of a read of the disk with this number.
    pub fn read(disk: usize, error: ReadError) -> Self {
        match error {
            ReadError::Interrupted => Self::Cancelled,
            error => Self::Read { disk, error },
        }
    }

    /// A model with a context of this length does not fit.
    pub fn out_of_memory(shortage: Shortage, n_ctx: usize) -> Self {
        let Shortage { needed_bytes, free_bytes, longest_free_bytes } = shortage;
        Self::OutOfMemory {
            needed_bytes,
            available_bytes: free_bytes,
            longest_bytes: longest_free_bytes,
            n_ctx,
        }
    }

    /// Adds what other models use, if the error is about too little memory.
    pub fn beside(self, others: Vec<Taken>) -> Self {
        match self {
            Self::OutOfMemory { .. } | Self::NoBuffer(_) if !others.is_empty() => {
                Self::Beside { cause: Box::new(self), others }
            }
            error => error,
        }
    }

    /// True if the only problem is that there is too little memory at the moment.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } | Self::NoBuffer(_) | Self::Gguf(GgufError::OutOfMemory { .. }) => true,
            #[cfg(feature = "llm-transformer")]
            Self::Pack(_) | Self::Model(llm::model::ModelError::OutOfHeap { .. }) => true,
            Self::Beside { cause, .. } | Self::InFile { cause, .. } | Self::NoModel { cause, .. } => {
                cause.is_out_of_memory()
            }
            Self::Front(error) => error.is_out_of_memory(),
            _ => false,
        }
    }

    /// True if the error is about more memory than this, so that waiting for others to give theirs back does not help.
    pub fn needs_more_than(&self, total_bytes: usize) -> bool {
        match self {
            Self::OutOfMemory { needed_bytes, .. } => *needed_bytes > total_bytes,
            Self::NoBuffer(error) => error.needed_bytes > total_bytes,
            Self::Beside { cause, .. } | Self::InFile { cause, .. } | Self::NoModel { cause, .. } => {
                cause.needs_more_than(total_bytes)
            }
            _ => false,
        }
    }

    /// True if the contents of the disk have not been examined because of this error, so that a later attempt may tell more.
    pub fn is_not_read(&self) -> bool {
        self.is_no_answer() || matches!(self, Self::NoBuffer(_) | Self::Gguf(GgufError::OutOfMemory { .. }))
    }

    /// True if a disk has not responded, which it may do later.
    pub fn is_no_answer(&self) -> bool {
        use ReadError::{Broken, Lost, NoAnswer};
        matches!(self, Self::Read { error: NoAnswer { .. } | Broken | Lost { .. }, .. })
    }

    /// Adds the path of the file that the error is about.
    pub fn in_file(self, path: &str) -> Self {
        match self {
            // A path is left out if there is one already, or if the error is not about the file but the user's doing.
            Self::InFile { .. } | Self::Cancelled => self,
            _ => Self::InFile { path: path.into(), cause: Box::new(self) },
        }
    }
}

fn no_disks(undriven: &[Undriven], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if undriven.is_empty() {
        return f.write_str("there is no model: the machine has no disk; attach a GGUF file as one");
    }
    write!(f, "there is no model, {FOLDER} is empty")?;
    undriven.iter().try_for_each(|undriven| write!(f, "; {undriven}"))
}

fn no_model(n_disks: &usize, path: &str, cause: &BackendError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match n_disks {
        1 => write!(f, "there is no model to load: {path}: {cause}"),
        _ => write!(f, "there is no model to load on any of {n_disks} disks; the first, {path}: {cause}"),
    }
}

fn no_text_disk(serial: &str, serials: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "no disk has the serial number {serial:?}; ")?;
    if serials.is_empty() {
        return f.write_str("there is no disk");
    }
    f.write_str("expected ")?;
    names(f, serials)
}

fn unknown_path(path: &str, known: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "no model is called {path:?}; ")?;
    if known.is_empty() {
        return f.write_str("there is none on any disk");
    }
    f.write_str("expected ")?;
    names(f, known)
}

fn not_among_loaded(name: &str, loaded: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "no loaded model is called {name:?}; expected ")?;
    names(f, loaded)
}

fn not_read(disk: &usize, error: &ReadError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        ReadError::NoAnswer { waited_us } => {
            let (s, tenths) = (waited_us / 1_000_000, waited_us / 100_000 % 10);
            write!(f, "disk {disk} has not answered for {s}.{tenths} s")
        }
        ReadError::Broken => write!(f, "disk {disk} has failed and had to be reset"),
        ReadError::Lost { lent_bytes } => {
            match lent_bytes {
                0 => write!(f, "disk {disk} does not start again")?,
                _ => write!(
                    f,
                    "disk {disk} does not confirm a reset, so {lent_bytes} bytes of memory stay lent to it"
                )?,
            }
            f.write_str("; `disks rescan` tries it anew")
        }
        error => error.fmt(f),
    }
}

fn out_of_memory(
    needed_bytes: &usize,
    available_bytes: &usize,
    longest_bytes: &usize,
    n_ctx: &usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "not enough memory: {needed_bytes} bytes needed for the weights and a context of {n_ctx} tokens, \
         {available_bytes} available"
    )?;
    if needed_bytes <= available_bytes {
        write!(f, " in pieces of {longest_bytes} at most")?;
    }
    Ok(())
}

fn beside(cause: &BackendError, others: &[Taken], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    cause.fmt(f)?;
    let mut separator = ";";
    others.iter().try_for_each(|taken| write!(f, "{} {taken}", core::mem::replace(&mut separator, ",")))
}

impl From<PartError> for BackendError {
    fn from(error: PartError) -> Self {
        Self::Part(error)
    }
}

impl From<GgufError> for BackendError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(error)
    }
}

#[cfg(feature = "llm-transformer")]
impl From<llm::quant::PackError> for BackendError {
    fn from(error: llm::quant::PackError) -> Self {
        Self::Pack(error)
    }
}

#[cfg(feature = "llm-transformer")]
impl From<llm::model::ModelError> for BackendError {
    fn from(error: llm::model::ModelError) -> Self {
        Self::Model(error)
    }
}

#[cfg(feature = "llm-transformer")]
impl From<llm::model::AdapterError> for BackendError {
    fn from(error: llm::model::AdapterError) -> Self {
        Self::Adapter(error)
    }
}

impl From<FrontError> for BackendError {
    fn from(error: FrontError) -> Self {
        match error {
            FrontError::Session(SessionError::Stopped) => Self::Cancelled,
            error => Self::Front(error),
        }
    }
}

impl From<ChatError> for BackendError {
    fn from(error: ChatError) -> Self {
        FrontError::from(error).into()
    }
}

impl From<SamplingError> for BackendError {
    fn from(error: SamplingError) -> Self {
        FrontError::from(error).into()
    }
}

impl From<SessionError> for BackendError {
    fn from(error: SessionError) -> Self {
        FrontError::from(error).into()
    }
}

impl From<TokenizerError> for BackendError {
    fn from(error: TokenizerError) -> Self {
        FrontError::from(error).into()
    }
}

//! [`UnreliableDisk`]: a disk whose reads fail at random; a seed determines when and how.

use super::{BlockDevice, PATIENCE_US, ReadError};
use alloc::{string::String, sync::Arc, vec::Vec};
use spin::Mutex;

/// A way in which a read can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// The disk reports an error.
    Error,
    /// The disk reports an error after half of the data has been read.
    Short,
    /// The disk does not answer in time. It stays silent until it has been asked several more times.
    Silence,
    /// The disk needs a reset, which succeeds.
    Reset,
    /// The disk flips a bit of the data without reporting it.
    WrongBit,
    /// The disk's size is halved from now on.
    Shrinks,
    /// The disk is gone from now on, until a search finds it again.
    Goes,
}

/// The faults that the disk reports.
pub const TOLD: &[DiskFault] = &[
    DiskFault::Error,
    DiskFault::Short,
    DiskFault::Silence,
    DiskFault::Reset,
    DiskFault::Shrinks,
    DiskFault::Goes,
];

/// A random number generator (Marsaglia, "Xorshift RNGs").
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, which is below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

/// Determines when disks fail, and how; several disks may share a plan.
#[derive(Debug)]
pub struct DiskPlan {
    chance: Chance,
    /// One in this many reads fails; none if it is 0.
    pub one_in: u64,
    /// The possible faults.
    pub kinds: &'static [DiskFault],
    /// The faults that have happened.
    pub happened: Vec<DiskFault>,
}

impl DiskPlan {
    /// A plan with this seed.
    pub fn new(seed: u64, one_in: u64, kinds: &'static [DiskFault]) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { chance: Chance::new(seed), one_in, kinds, happened: Vec::new() }))
    }

    /// The fault of the next read, if it fails.
    fn next(&mut self) -> Option<DiskFault> {
        if self.one_in == 0 || self.chance.below(self.one_in) != 0 {
            return None;
        }
        let fault = *self.kinds.get(self.chance.below(self.kinds.len() as u64) as usize)?;
        self.happened.push(fault);
        Some(fault)
    }
}

/// A disk whose reads fail according to a plan.
pub struct UnreliableDisk<D> {
    inner: D,
    plan: Arc<Mutex<DiskPlan>>,
    capacity_bytes: u64,
    /// How many more times it will not answer.
    n_silent: u64,
    is_gone: bool,
}

impl<D: BlockDevice> UnreliableDisk<D> {
    /// `inner`, with faults according to this plan.
    pub fn new(inner: D, plan: &Arc<Mutex<DiskPlan>>) -> Self {
        let capacity_bytes = inner.capacity_bytes();
        Self { inner, plan: plan.clone(), capacity_bytes, n_silent: 0, is_gone: false }
    }
}

impl<D: BlockDevice> BlockDevice for UnreliableDisk<D> {
    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    fn serial(&self) -> &str {
        self.inner.serial()
    }

    fn label(&self) -> &str {
        self.inner.label()
    }

    fn transport(&self) -> &str {
        self.inner.transport()
    }

    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }

    fn is_silent(&self) -> bool {
        self.n_silent > 0 || self.is_gone
    }

    fn is_lost(&self) -> bool {
        self.is_gone
    }

    /// If nothing fails at this moment, the disk is found as it was.
    fn refresh(&mut self) {
        if self.plan.lock().one_in == 0 {
            (self.capacity_bytes, self.is_gone, self.n_silent) = (self.inner.capacity_bytes(), false, 0);
        }
    }

    fn reset(&mut self) -> Result<(), ReadError> {
        if self.is_gone {
            return Err(ReadError::Lost { lent_bytes: 0 });
        }
        self.n_silent = 0;
        Ok(())
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        const N_SILENT: u64 = 3;
        if self.is_gone {
            return Err(ReadError::Lost { lent_bytes: 0 });
        }
        if self.n_silent > 0 {
            self.n_silent -= 1;
            return Err(ReadError::NoAnswer { waited_us: PATIENCE_US });
        }
        ReadError::check_range(offset_bytes, buffer.len(), self.capacity_bytes)?;
        let length_bytes = buffer.len();
        let fault = self.plan.lock().next();
        let failed = Err(ReadError::Device { offset_bytes, length_bytes });
        match fault {
            None => self.inner.read_at(offset_bytes, buffer),
            Some(DiskFault::Error) => {
                buffer.fill(0xa5);
                failed
            }
            Some(DiskFault::Short) => {
                self.inner.read_at(offset_bytes, &mut buffer[..length_bytes / 2])?;
                failed
            }
            Some(DiskFault::Silence) => {
                self.n_silent = N_SILENT;
                Err(ReadError::NoAnswer { waited_us: PATIENCE_US })
            }
            Some(DiskFault::Reset) => Err(ReadError::Broken),
            Some(DiskFault::WrongBit) => {
                self.inner.read_at(offset_bytes, buffer)?;
                let bit = self.plan.lock().chance.below(8 * length_bytes as u64) as usize;
                if let Some(byte) = buffer.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                Ok(())
            }
            Some(DiskFault::Shrinks) => {
                self.capacity_bytes /= 2;
                Err(ReadError::Changed)
            }
            Some(DiskFault::Goes) => {
                self.is_gone = true;
                Err(ReadError::Lost { lent_bytes: 0 })
            }
        }
    }
}

/// The error as users see it: it must be one line.
pub fn line_of(error: &dyn core::fmt::Display) -> String {
    let line = alloc::format!("{error}");
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
    line
}

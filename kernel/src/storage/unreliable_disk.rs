//! [`UnreliableDisk`]: a disk whose reads go wrong by chance, of which a seed says when and how.

use super::{BlockDevice, PATIENCE_US, ReadError};
use alloc::{string::String, sync::Arc, vec::Vec};
use spin::Mutex;

/// What a read can end in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// The disk reports an error.
    Error,
    /// It reports one when half of what was asked for has come.
    Short,
    /// It does not answer in time. It is silent then until it has been asked some times more.
    Silence,
    /// It asks for a reset, which it gets.
    Reset,
    /// A bit of what it has read is another one, and it says nothing of that.
    WrongBit,
    /// From now on it has half of what it had.
    Shrinks,
    /// From now on it is not there, until somebody looks for it anew.
    Goes,
}

/// All of which the reader is told.
pub const TOLD: &[DiskFault] = &[
    DiskFault::Error,
    DiskFault::Short,
    DiskFault::Silence,
    DiskFault::Reset,
    DiskFault::Shrinks,
    DiskFault::Goes,
];

/// A generator of numbers (Marsaglia, "Xorshift RNGs").
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Numbers that follow from this one.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

/// When disks go wrong, and how: several may share it.
#[derive(Debug)]
pub struct DiskPlan {
    chance: Chance,
    /// One read in so many goes wrong; none if that is 0.
    pub one_in: u64,
    /// How it does.
    pub kinds: &'static [DiskFault],
    /// What has happened.
    pub happened: Vec<DiskFault>,
}

impl DiskPlan {
    /// A plan that follows from a seed.
    pub fn new(seed: u64, one_in: u64, kinds: &'static [DiskFault]) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { chance: Chance::new(seed), one_in, kinds, happened: Vec::new() }))
    }

    /// What the next read ends in, if it goes wrong.
    fn next(&mut self) -> Option<DiskFault> {
        if self.one_in == 0 || self.chance.below(self.one_in) != 0 {
            return None;
        }
        let fault = *self.kinds.get(self.chance.below(self.kinds.len() as u64) as usize)?;
        self.happened.push(fault);
        Some(fault)
    }
}

/// Another disk, whose reads go wrong by a plan.
pub struct UnreliableDisk<D> {
    inner: D,
    plan: Arc<Mutex<DiskPlan>>,
    capacity_bytes: u64,
    /// How often it will not answer.
    n_silent: u64,
    is_gone: bool,
}

impl<D: BlockDevice> UnreliableDisk<D> {
    /// `inner`, which goes wrong by this plan.
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

    /// Whoever looks at it anew while nothing goes wrong finds it as it was.
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

/// What people are told of an error: a line.
pub fn line_of(error: &dyn core::fmt::Display) -> String {
    let line = alloc::format!("{error}");
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
    line
}

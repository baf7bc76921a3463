//! What the kernel gives the service, made up on the host for tests.

use std::{boxed::Box, sync::OnceLock, time::Instant, vec, vec::Vec};

use llm::{parallel::Serial, simd::Kernels};

use super::Platform;
use crate::{
    memory::pool::{GRANULE_BYTES, Pool},
    sha256,
    storage::{BlockDevice, Disk, MemoryDisk},
};

/// A pool of this size, for ever.
pub fn pool(size_bytes: usize) -> &'static Pool {
    let pool = Box::leak(Box::new(Pool::new()));
    let memory = vec![0; size_bytes + GRANULE_BYTES].leak();
    let skip = memory.as_ptr().align_offset(GRANULE_BYTES);
    pool.add(&mut memory[skip..skip + size_bytes]);
    pool
}

/// Microseconds since this was first called.
pub fn clock_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// A platform with these files as disks, their serials before them.
pub fn platform(pool: &'static Pool, files: Vec<(&str, Vec<u8>)>) -> Platform {
    let disks = files.into_iter().enumerate().map(|(index, (serial, bytes))| {
        let device: Box<dyn BlockDevice> = Box::new(MemoryDisk::new(serial, bytes));
        Disk::new(index, device, None)
    });
    Platform {
        disks: disks.collect::<Vec<_>>().into(),
        pool,
        clock_us,
        instructions_retired: || None,
        kernels: Kernels::detect(),
        sha256: sha256::PORTABLE,
        workers: &Serial,
        offload: None,
    }
}

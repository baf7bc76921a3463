//! Replacements on a host for what the kernel provides to the service; for tests and fuzzers. Not compiled for bare metal.

use std::{boxed::Box, sync::OnceLock, time::Instant, vec, vec::Vec};

use llm::{parallel::Serial, simd::Kernels};
use trust::sha256;

use super::Resources;
use crate::{
    cpu::{CpuModel, InstructionSets},
    memory::{
        heap::HeapUsage,
        pool::{GRANULE_BYTES, Pool},
        regions::{Finding, Use},
    },
    storage::{BlockDevice, Disk, MemoryDisk},
    system::{Core, CoreState, Machine, Protections},
};

/// A pool of this size, which is never freed.
pub fn pool(size_bytes: usize) -> &'static Pool {
    let pool = Box::leak(Box::new(Pool::new()));
    let memory = vec![0; size_bytes + GRANULE_BYTES].leak();
    let skip = memory.as_ptr().align_offset(GRANULE_BYTES);
    pool.add(&mut memory[skip..skip + size_bytes]);
    pool
}

/// Microseconds since the first call.
pub fn clock_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// A machine with this memory.
pub fn machine(pool: &'static Pool) -> Machine {
    Machine {
        clock_us,
        now_seconds: || None,
        random_seed: || 4_294_967_291,
        secret: || Some([42; 32]),
        image_sha256: Some([7; 32]),
        instructions_retired: || None,
        cpu_model: CpuModel::from_midr(0x410f_d083),
        instruction_sets: InstructionSets { dotprod: true, ..InstructionSets::default() },
        kernels: Kernels::detect(),
        all_kernels: Kernels::all().collect::<Vec<_>>().leak(),
        sha256: sha256::PORTABLE,
        cores: || {
            let states = [CoreState::Online, CoreState::Off];
            states.into_iter().zip(0..).map(|(state, mpidr)| Core { mpidr, state }).collect()
        },
        workers: &Serial,
        meanwhile: |_, run| run(),
        n_interrupts: || 0,
        turn: None,
        interrupt_count: u64::from,
        balloon: || None,
        memory_map: |visit| {
            let heap =
                Finding { range: 0x4000..0x8000, access: Use::Heap.access(), purpose: Some(Use::Heap) };
            visit(Finding { range: 0x3000..0x4000, access: None, purpose: Some(Use::Guard) });
            visit(heap);
            Ok(3)
        },
        protections: || Protections { wxn: true, stack_alignment: true, pan: None },
        heap_usage: || HeapUsage { used_bytes: 1 << 20, size_bytes: 16 << 20 },
        is_heap_low: || false,
        pool,
    }
}

/// The resources of such a machine, with these files as disks; each file comes with its serial number.
pub fn resources(pool: &'static Pool, files: Vec<(&str, Vec<u8>)>) -> Resources {
    let disks = files.into_iter().enumerate().map(|(index, (serial, bytes))| {
        let device: Box<dyn BlockDevice> = Box::new(MemoryDisk::new(serial, bytes));
        Disk::new(index, device, None)
    });
    Resources { machine: machine(pool), disks: disks.collect::<Vec<_>>().into(), offload: None }
}

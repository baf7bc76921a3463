//! Checks of the running machine that the boot arguments ask for: faults raised on purpose, so that
//! tests see what the kernel makes of them, and what no host test can reach.

use crate::{
    arch,
    boot_args::SelfTest,
    console::Console,
    memory::pool::Pool,
    storage::{Disk, ReadError},
};
use alloc::vec::Vec;
use core::hint::black_box;
use log::info;

/// Runs `test`. Returns if it is one that can succeed and it did; faults and panics otherwise.
pub fn run(test: SelfTest, console: &mut dyn Console, pool: &'static Pool, disks: &mut [Disk]) {
    match test {
        SelfTest::Fault => read_unmapped(),
        SelfTest::Panic => panic!("self-test"),
        SelfTest::Stack => {
            black_box(overflow(1));
        }
        SelfTest::HeapExhaustion => {
            black_box(Vec::<u8>::with_capacity(1 << 40));
        }
        SelfTest::WriteText => write_text(),
        SelfTest::ExecuteData => execute_data(),
        SelfTest::Simd => arch::vector_test::run(),
        SelfTest::MemoryFunctions => check_memory_functions(),
        SelfTest::Echo => echo(console),
        SelfTest::Disks => disks.iter_mut().for_each(|disk| {
            check_disk(disk, pool).unwrap_or_else(|error| panic!("{disk:?}: {error}"));
        }),
    }
}

fn read_unmapped() {
    const UNMAPPED: usize = 0xdead_0000;
    let pointer = core::ptr::with_exposed_provenance::<u32>(UNMAPPED);
    // SAFETY: not sound, on purpose: the read faults and the kernel ends.
    black_box(unsafe { pointer.read_volatile() });
}

#[expect(unconditional_recursion, reason = "the overflow is the purpose")]
fn overflow(depth: u64) -> u64 {
    let page = black_box([depth; 512]);
    overflow(depth + 1) + page[0]
}

fn write_text() {
    let code = core::ptr::with_exposed_provenance_mut::<u32>(arch::image::text().start as usize);
    // SAFETY: not sound, on purpose: the write faults and the kernel ends.
    unsafe { code.write_volatile(0) };
}

fn execute_data() {
    static RETURN_INSTRUCTION: u32 = 0xd65f_03c0;
    let data = black_box(&raw const RETURN_INSTRUCTION);
    // SAFETY: not sound, on purpose: the fetch faults and the kernel ends.
    let function: extern "C" fn() = unsafe { core::mem::transmute(data) };
    function();
}

/// Every length up to some loops' worth, at every alignment of source and destination.
fn check_memory_functions() {
    const LONGEST: usize = 200;
    const BYTES: usize = LONGEST + 32;
    let source: [u8; BYTES] = core::array::from_fn(|index| (index * 7 + 1) as u8);
    for length in 0..=LONGEST {
        for (from, to) in (0..16).flat_map(|from| (0..16).map(move |to| (from, to))) {
            let mut copied = black_box([0; BYTES]);
            copied[to..to + length].copy_from_slice(&source[from..from + length]);
            let mut filled = black_box([0; BYTES]);
            filled[to..to + length].fill(black_box(0xa5));
            for index in 0..BYTES {
                let inside = (to..to + length).contains(&index);
                let expected = if inside { source[index - to + from] } else { 0 };
                assert_eq!(copied[index], expected, "memcpy {length} bytes {from} to {to}");
                let expected = if inside { 0xa5 } else { 0 };
                assert_eq!(filled[index], expected, "memset {length} bytes at {to}");
            }
        }
    }
    info!("memory functions: lengths up to {LONGEST} at every alignment");
}

/// Sleeps through a second of input, then writes back all that came, until end of transmission.
fn echo(console: &mut dyn Console) {
    const END_OF_TRANSMISSION: u8 = 0x04;
    const NAP_US: u64 = 1_000_000;
    console.write_bytes(b"echo\n");
    let start_us = arch::time::now_us();
    while arch::time::now_us() - start_us < NAP_US {
        core::hint::spin_loop();
    }
    loop {
        match console.wait_for_byte() {
            END_OF_TRANSMISSION => break,
            byte => console.write_bytes(&[byte]),
        }
    }
}

/// Reads a disk in one piece and in crooked ones, and logs a checksum of what it holds.
fn check_disk(disk: &mut Disk, pool: &'static Pool) -> Result<(), ReadError> {
    const CROOKED_BYTES: usize = 1003;
    let length = disk.length_bytes() as usize;
    let mut whole = pool.reserve(length, 4096).unwrap_or_else(|error| panic!("{disk:?}: {error}"));
    disk.read_at(0, &mut whole)?;
    let mut piece = [0; CROOKED_BYTES];
    // The ends are where mistakes would be.
    for start in [0, 1, 511, length / 2, length.saturating_sub(CROOKED_BYTES)] {
        let Some(expected) = whole.get(start..) else {
            continue;
        };
        let expected = &expected[..expected.len().min(CROOKED_BYTES)];
        let piece = &mut piece[..expected.len()];
        disk.read_at(start as u64, piece)?;
        assert_eq!(piece, expected, "disk {} at byte {start}", disk.index());
    }
    let sum = whole.iter().fold(0_u32, |sum, &byte| sum.rotate_left(5) ^ u32::from(byte));
    info!(
        "disk {} {:?} on {}: {length} bytes, checksum {sum:08x}",
        disk.index(),
        disk.serial(),
        disk.transport()
    );
    Ok(())
}

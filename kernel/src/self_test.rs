//! Checks of the running machine that the boot arguments request: faults raised on purpose, so that tests see how the kernel
//! handles them, and checks of things that no host test can reach.

use crate::{
    arch,
    boot_args::SelfTest,
    console::Console,
    cores::start::{TEAM, states},
    drivers::interrupts,
    memory::pool::Pool,
    storage::{Disk, MIN_PIECES_BYTES, ReadError},
    system::CoreState,
};
use alloc::vec::Vec;
use core::{
    hint::{black_box, spin_loop},
    ops::ControlFlow,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};
use llm::parallel::Workers;
use log::info;
use trust::sha256::{self, Sha256};

/// Runs `test`. Returns only if the test can succeed and did; otherwise faults or panics.
pub fn run(test: SelfTest, console: &mut dyn Console, pool: &'static Pool, disks: &mut [Disk]) {
    match test {
        SelfTest::Fault => read_unmapped(),
        SelfTest::Panic => panic!("self-test"),
        SelfTest::Stack => overflow_stack(),
        SelfTest::SecondaryPanic => on_another_core(|| panic!("self-test")),
        SelfTest::SecondaryFault => on_another_core(read_unmapped),
        SelfTest::SecondaryStack => on_another_core(overflow_stack),
        SelfTest::SecondaryStop => on_another_core(|| arch::cpu::stop()),
        SelfTest::Cores => check_cores(),
        SelfTest::HeapExhaustion => {
            black_box(Vec::<u8>::with_capacity(1 << 40));
        }
        SelfTest::WriteText => write_text(),
        SelfTest::ExecuteData => execute_data(),
        SelfTest::MemoryMap => check_memory_map(),
        SelfTest::Simd => arch::vector_test::run(|interrupt, handler| {
            interrupts::enable(interrupt, handler, 0)
                .unwrap_or_else(|error| panic!("vector self-test: {error}"));
        }),
        SelfTest::Sha256 => check_sha256(),
        SelfTest::MemoryFunctions => check_memory_functions(),
        SelfTest::Instructions => check_instructions(),
        SelfTest::Echo => echo(console),
        SelfTest::Disks => disks.iter_mut().for_each(|disk| {
            check_disk(disk, pool).unwrap_or_else(|error| panic!("{disk:?}: {error}"));
        }),
    }
}

fn read_unmapped() {
    const UNMAPPED: usize = 0xdead_0000;
    let pointer = core::ptr::with_exposed_provenance::<u32>(UNMAPPED);
    // SAFETY: this is unsound on purpose: the read faults, and the kernel ends.
    black_box(unsafe { pointer.read_volatile() });
}

fn overflow_stack() {
    black_box(overflow(1));
}

/// Runs `end`, which does not return, on a core other than the boot core.
fn on_another_core(end: impl Fn() + Sync) {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    wait_for_all_cores();
    TEAM.run(&|| match arch::cpu::number() {
        0 => wait_until("another core", || HAS_BEGUN.load(Ordering::Relaxed)),
        _ => {
            HAS_BEGUN.store(true, Ordering::Relaxed);
            end();
        }
    });
}

fn wait_for_all_cores() {
    assert!(TEAM.count() > 1, "this self-test needs a second core");
    wait_until("all cores", || states().iter().all(|core| core.state == CoreState::Online));
}

/// # Panics
/// If it takes more than five minutes; that long because an emulator may run its cores one after another.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    const PATIENCE_US: u64 = 300_000_000;
    let start_us = arch::time::now_us();
    while !is_so() {
        assert!(arch::time::now_us() - start_us < PATIENCE_US, "waited in vain for {what}");
        spin_loop();
    }
}

/// Runs work on all cores and checks that each item is done once. Some runs start after a pause in which the cores fall asleep.
fn check_cores() {
    const RUNS: usize = 3_000;
    const RUNS_BETWEEN_NAPS: usize = 100;
    const NAP_US: u64 = 2_000;
    const ITEMS: usize = 64;
    wait_for_all_cores();
    let by_others = AtomicUsize::new(0);
    let run_once = |run: usize| {
        let next = AtomicUsize::new(0);
        let done: [AtomicUsize; ITEMS] = [const { AtomicUsize::new(0) }; ITEMS];
        TEAM.run(&|| {
            while let Some(item) = done.get(next.fetch_add(1, Ordering::Relaxed)) {
                item.fetch_add(1, Ordering::Relaxed);
                // Gives the other cores time to join.
                (0..200).for_each(|_| spin_loop());
                if arch::cpu::number() != 0 {
                    by_others.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        assert!(done.iter().all(|item| item.load(Ordering::Relaxed) == 1), "run {run}");
    };
    for run in 0..RUNS {
        run_once(run);
        if run % RUNS_BETWEEN_NAPS == 0 {
            let start_us = arch::time::now_us();
            wait_until("a nap's end", || arch::time::now_us() - start_us > NAP_US);
        }
    }
    // The boot core may have finished before the others woke.
    wait_until("help by another core", || {
        run_once(RUNS);
        by_others.load(Ordering::Relaxed) > 0
    });
    let by_others = by_others.into_inner();
    info!("cores self-test: {} cores, {RUNS} runs, {by_others} items done by others", TEAM.count());
}

#[expect(unconditional_recursion, reason = "the overflow is the purpose")]
fn overflow(depth: u64) -> u64 {
    let page = black_box([depth; 512]);
    overflow(depth + 1) + page[0]
}

fn write_text() {
    let code = core::ptr::with_exposed_provenance_mut::<u32>(arch::image::text().start as usize);
    // SAFETY: this is unsound on purpose: the write faults, and the kernel ends.
    unsafe { code.write_volatile(0) };
}

fn execute_data() {
    static RETURN_INSTRUCTION: u32 = 0xd65f_03c0;
    let data = black_box(&raw const RETURN_INSTRUCTION);
    // SAFETY: this is unsound on purpose: the fetch faults, and the kernel ends.
    let function: extern "C" fn() = unsafe { core::mem::transmute(data) };
    function();
}

/// Checks that all cores use the same tables and have all their protections on.
fn check_memory_map() {
    let start_us = arch::time::now_us();
    arch::paging::check();
    let took_us = arch::time::now_us() - start_us;
    if TEAM.count() > 1 {
        wait_for_all_cores();
    }
    let tables = arch::paging::active_tables();
    let n_checked = AtomicUsize::new(0);
    TEAM.run(&|| {
        assert!(arch::protection::active().are_on());
        assert_eq!(arch::paging::active_tables(), tables);
        n_checked.fetch_add(1, Ordering::Relaxed);
        wait_until("all cores", || n_checked.load(Ordering::Relaxed) == TEAM.count());
    });
    info!("memory map self-test: {} cores, {took_us} us", TEAM.count());
}

/// Checks every length up to a few iterations of the loops, at every alignment of source and destination.
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

/// Compares digests of many lengths at many addresses, computed with and without the CPU's instructions.
fn check_sha256() {
    const LONGEST: usize = 300;
    // SAFETY: `features` reads the features of this core, which runs the code.
    let Some(compress) = (unsafe { arch::sha256::compression(&arch::cpu::features()) }) else {
        info!("sha256 self-test: this CPU has no instructions for it");
        return;
    };
    let bytes: [u8; LONGEST + 16] = core::array::from_fn(|index| (index * 13 + index / 11) as u8);
    for length in 0..=LONGEST {
        let bytes = &bytes[length % 16..][..length];
        let digest = |compress| {
            let mut hash = Sha256::new(compress);
            hash.update(bytes);
            hash.finish()
        };
        assert_eq!(digest(compress), digest(sha256::PORTABLE), "{length} bytes");
    }
    info!("sha256 self-test: lengths up to {LONGEST}");
}

/// Retires more instructions than fit into a 32-bit counter: once between two reads of the counter, and once with many reads.
fn check_instructions() {
    const ROUND: u64 = 1024;
    const INSTRUCTIONS: u64 = (1 << 33) + (1 << 31);
    /// Upper bound for the extra instructions of the reads and of interrupts.
    const SLACK: u64 = 1 << 20;
    let count =
        || arch::counters::instructions_retired().expect("instruction self-test: nothing counts them");
    for n_looks in [1, 64] {
        let start = count();
        for _ in 0..n_looks {
            arch::counters::retire(INSTRUCTIONS / n_looks / ROUND);
            count();
        }
        let counted = count() - start;
        assert!(
            (INSTRUCTIONS..INSTRUCTIONS + SLACK).contains(&counted),
            "instruction self-test: {counted} counted of {INSTRUCTIONS}, with {n_looks} looks"
        );
    }
    info!("instruction self-test: twice {INSTRUCTIONS} counted");
}

/// Sleeps for a second while input arrives, then echoes everything up to the end-of-transmission character.
fn echo(console: &mut dyn Console) {
    const END_OF_TRANSMISSION: u8 = 0x04;
    const NAP_US: u64 = 1_000_000;
    console.write_bytes(b"echo\n");
    let start_us = arch::time::now_us();
    while arch::time::now_us() - start_us < NAP_US {
        core::hint::spin_loop();
    }
    loop {
        match console.wait_for_byte(&mut |_| u64::MAX) {
            None | Some(END_OF_TRANSMISSION) => break,
            Some(byte) => console.write_bytes(&[byte]),
        }
    }
}

/// Reads a disk once in one piece and once in unaligned pieces, and logs a checksum of its contents.
fn check_disk(disk: &mut Disk, pool: &'static Pool) -> Result<(), ReadError> {
    const CROOKED_BYTES: usize = 1003;
    let length = disk.length_bytes() as usize;
    let mut whole = pool.reserve(length, 4096).unwrap_or_else(|error| panic!("{disk:?}: {error}"));
    disk.read_raw_at(0, &mut whole)?;
    let mut piece = [0; CROOKED_BYTES];
    // Mistakes are most likely at the ends.
    for start in [0, 1, 511, length / 2, length.saturating_sub(CROOKED_BYTES)] {
        let Some(expected) = whole.get(start..) else {
            continue;
        };
        let expected = &expected[..expected.len().min(CROOKED_BYTES)];
        let piece = &mut piece[..expected.len()];
        disk.read_raw_at(start as u64, piece)?;
        assert_eq!(piece, expected, "disk {} at byte {start}", disk.index());
    }
    // The shortest possible buffer, so that its parts are reused many times.
    const SHOWN_BYTES: usize = 300_001;
    let mut buffer = [0; MIN_PIECES_BYTES];
    for start in [0, 1.min(length), length / 2, length.saturating_sub(SHOWN_BYTES)] {
        let mut expected = &whole[start..];
        expected = &expected[..expected.len().min(SHOWN_BYTES)];
        let range = start as u64..(start + expected.len()) as u64;
        disk.read_raw_pieces(range.clone(), &mut buffer, &mut |piece| {
            let Some(rest) = expected.strip_prefix(piece) else { panic!("pieces of bytes {range:?} differ") };
            expected = rest;
            ControlFlow::Continue(())
        })?;
        assert!(expected.is_empty(), "{} bytes of {range:?} did not come", expected.len());
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

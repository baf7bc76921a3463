//! Faults raised on purpose, so that tests see what the kernel makes of them.

use crate::{arch, boot_args::SelfTest};
use alloc::vec::Vec;
use core::hint::black_box;

/// Raises the fault that `test` names; [`SelfTest::Simd`] returns if all is well.
pub fn run(test: SelfTest) {
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

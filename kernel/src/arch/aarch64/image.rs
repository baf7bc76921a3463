//! Where the linker script put the parts of the kernel image.

use crate::memory::regions::Use;
use core::ops::Range;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __main_stack_guard: u8;
    static __main_stack_top: u8;
    static __exception_stack_guard: u8;
    static __exception_stack_top: u8;
    static __image_end: u8;
    static image_digest: [u8; 32];
}

/// Size of the unmapped page below a stack.
pub const GUARD_BYTES: u64 = 4096;

/// The address of a linker symbol.
macro_rules! address {
    ($symbol:ident) => {
        (&raw const $symbol).addr() as u64
    };
}

/// The whole image, with what the file does not hold.
pub fn whole() -> Range<u64> {
    address!(__image_start)..address!(__image_end)
}

/// The SHA-256 of the Image with zeros in the place where this is noted, which `scripts/kernel` does; `None` in one that was built
/// otherwise.
pub fn digest() -> Option<[u8; 32]> {
    // SAFETY: it is part of the header, which nothing writes to. The linker knows nothing of what was noted: it is read as it is
    // in memory.
    let digest = unsafe { (&raw const image_digest).read_volatile() };
    (digest != [0; 32]).then_some(digest)
}

/// Code.
pub fn text() -> Range<u64> {
    address!(__image_start)..address!(__text_end)
}

/// The stack of everything but exception handlers, without its guard page.
pub fn main_stack() -> Range<u64> {
    address!(__main_stack_guard) + GUARD_BYTES..address!(__main_stack_top)
}

/// The stack of exception handlers, without its guard page.
pub fn exception_stack() -> Range<u64> {
    address!(__exception_stack_guard) + GUARD_BYTES..address!(__exception_stack_top)
}

/// Gives all that the image consists of to `add`, without a gap.
pub fn regions(add: &mut dyn FnMut(Range<u64>, Use)) {
    let (main, exception) = (main_stack(), exception_stack());
    let mut start = whole().start;
    for (purpose, end) in [
        (Use::Text, text().end),
        (Use::Constants, address!(__rodata_end)),
        (Use::Data, address!(__main_stack_guard)),
        (Use::Guard, main.start),
        (Use::Stack(0), main.end),
        (Use::Guard, exception.start),
        (Use::ExceptionStack(0), exception.end),
    ] {
        add(start..end, purpose);
        start = end;
    }
}

//! The addresses of the parts of the kernel image, as the linker script arranges them.

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

/// The whole image, including the parts that the file does not contain.
pub fn whole() -> Range<u64> {
    address!(__image_start)..address!(__image_end)
}

/// The SHA-256 of the Image, computed with zeros in place of this digest. `scripts/kernel` writes it into the Image; `None` if
/// the Image was built in another way.
pub fn digest() -> Option<[u8; 32]> {
    // SAFETY: the digest is part of the header, which nothing writes to. The read is volatile because the digest is written after
    // linking, so the compiler must not assume the linked value.
    let digest = unsafe { (&raw const image_digest).read_volatile() };
    (digest != [0; 32]).then_some(digest)
}

/// The code.
pub fn text() -> Range<u64> {
    address!(__image_start)..address!(__text_end)
}

/// The main stack, which is used outside of exception handlers, without its guard page.
pub fn main_stack() -> Range<u64> {
    address!(__main_stack_guard) + GUARD_BYTES..address!(__main_stack_top)
}

/// The stack of exception handlers, without its guard page.
pub fn exception_stack() -> Range<u64> {
    address!(__exception_stack_guard) + GUARD_BYTES..address!(__exception_stack_top)
}

/// Passes all parts of the image to `add`, without gaps between them.
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

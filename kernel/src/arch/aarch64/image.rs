//! Where the linker script put the parts of the kernel image.

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

/// Code.
pub fn text() -> Range<u64> {
    address!(__image_start)..address!(__text_end)
}

/// Constants.
pub fn rodata() -> Range<u64> {
    address!(__text_end)..address!(__rodata_end)
}

/// Variables, initialised or not.
pub fn data() -> Range<u64> {
    address!(__rodata_end)..address!(__main_stack_guard)
}

/// The stack of everything but exception handlers, without its guard page.
pub fn main_stack() -> Range<u64> {
    address!(__main_stack_guard) + GUARD_BYTES..address!(__main_stack_top)
}

/// The stack of exception handlers, without its guard page.
pub fn exception_stack() -> Range<u64> {
    address!(__exception_stack_guard) + GUARD_BYTES..address!(__exception_stack_top)
}

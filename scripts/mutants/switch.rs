//! Says at run time which of the mutants compiled into a program is switched on.
//!
//! The variable `FERRITE_MUTANT` has its number. With `FERRITE_MUTANTS_REACHED`, the name of a file, none is switched on, and the
//! file gets the first number of each place that is reached: 4 bytes, little-endian, written at once, so that they are there
//! however the program ends. Nothing is allocated, because some tests count allocations.
use std::ffi::{c_char, c_int, c_void, CStr};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};
use std::sync::Once;

extern "C" {
    fn getenv(name: *const c_char) -> *const c_char;
    fn creat(path: *const c_char, mode: u32) -> c_int;
    fn write(file: c_int, bytes: *const c_void, n_bytes: usize) -> isize;
}

const RECORDING: u32 = u32::MAX - 1;
const UNREAD: u32 = u32::MAX;

/// The number of the mutant, 0 for none, or one of the above.
static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
static READ: Once = Once::new();
static REACHED: [AtomicBool; 1 << 16] = [const { AtomicBool::new(false) }; 1 << 16];
static FILE: AtomicI32 = AtomicI32::new(-1);

/// Which of `count` mutants from number `first` on is switched on, counted from 1; 0 if none of them is.
#[inline]
pub fn switch(first: u32, count: u32) -> u32 {
    let active = ACTIVE.load(Relaxed);
    if active >= RECORDING {
        return first_or_recorded(first, count);
    }
    chosen(active, first, count)
}

#[inline]
fn chosen(active: u32, first: u32, count: u32) -> u32 {
    let place = active.wrapping_sub(first);
    if place < count { place + 1 } else { 0 }
}

#[cold]
#[inline(never)]
fn first_or_recorded(first: u32, count: u32) -> u32 {
    READ.call_once(read);
    let active = ACTIVE.load(Relaxed);
    if active != RECORDING {
        return chosen(active, first, count);
    }
    if !REACHED[first as usize].swap(true, Relaxed) {
        let bytes = first.to_le_bytes();
        // SAFETY: the pointer is to as many bytes.
        let written = unsafe { write(FILE.load(Relaxed), bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(written, 4, "cannot write down what is reached");
    }
    0
}

fn read() {
    // SAFETY: the names end with a zero, as what the environment has does, and nothing changes the environment meanwhile.
    unsafe {
        let file = getenv(c"FERRITE_MUTANTS_REACHED".as_ptr());
        if !file.is_null() {
            FILE.store(creat(file, 0o644), Relaxed);
            return ACTIVE.store(RECORDING, Relaxed);
        }
        let number = getenv(c"FERRITE_MUTANT".as_ptr());
        let number = if number.is_null() { c"0" } else { CStr::from_ptr(number) };
        ACTIVE.store(number.to_str().unwrap().parse().expect("FERRITE_MUTANT must be a number"), Relaxed);
    }
}

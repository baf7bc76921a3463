//! Loads and stores of vectors at any address.
//!
//! On `aarch64-unknown-none` the compiler assumes strict alignment and turns `vld1q_*` into sixteen byte loads. Normal memory
//! under the MMU allows unaligned accesses, and blocks of 18 bytes need them, so the instructions are written in assembly.

use core::arch::{aarch64::*, asm};

/// Evaluates to the vector, or the array of vectors, that the instructions load from the named pointers. After `moves` comes a
/// place with one pointer, `{p}`, which an instruction advances.
macro_rules! load {
    ($($line:literal),+; moves $p:expr => $($one:ident)? $([$($v:ident),+])?) => {{
        let ($($one,)? $($($v,)+)?);
        core::arch::asm!(
            $($line,)+
            $($one = lateout(vreg) $one,)?
            $($($v = lateout(vreg) $v,)+)?
            p = inout(reg) $p,
            options(pure, readonly, nostack, preserves_flags)
        );
        $($one)? $([$($v),+])?
    }};
    ($($line:literal),+; $($p:ident = $from:expr),+ $(; offset $offset:expr)? => $($one:ident)? $([$($v:ident),+])?) => {{
        let ($($one,)? $($($v,)+)?);
        core::arch::asm!(
            $($line,)+
            $($one = lateout(vreg) $one,)?
            $($($v = lateout(vreg) $v,)+)?
            $($p = in(reg) $from,)+
            $(offset = const $offset,)?
            options(pure, readonly, nostack, preserves_flags)
        );
        $($one)? $([$($v),+])?
    }};
}
pub(super) use load;

/// Stores vectors to the named pointers or, after `moves`, to a pointer that an instruction advances.
macro_rules! store {
    ($($line:literal),+; $($v:ident = $value:expr),+ => moves $p:expr) => {
        core::arch::asm!(
            $($line,)+
            $($v = in(vreg) $value,)+
            p = inout(reg) $p,
            options(nostack, preserves_flags)
        )
    };
    ($($line:literal),+; $($v:ident = $value:expr),+ => $($p:ident = $to:expr),+) => {
        core::arch::asm!(
            $($line,)+
            $($v = in(vreg) $value,)+
            $($p = in(reg) $to,)+
            options(nostack, preserves_flags)
        )
    };
}
pub(super) use store;

/// Functions of one `load!` or `store!` each.
macro_rules! accesses {
    ($(
        $(#[$doc:meta])*
        $name:ident$(<const $const:ident: $number:ty>)?($($argument:ident: $ty:ty),+) $(-> $result:ty)? $access:block
    )+) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Memory that is read must be readable, memory that is written writable.
        #[inline(always)]
        pub unsafe fn $name$(<const $const: $number>)?($($argument: $ty),+) $(-> $result)? {
            // SAFETY: accesses only the memory that the caller guarantees.
            unsafe { $access }
        }
    )+};
}

accesses! {
    /// The 16 bytes at `p + OFFSET`; `OFFSET` is in -256..=255.
    load_16<const OFFSET: i32>(p: *const u8) -> uint8x16_t {
        load!("ldur {v:q}, [{p}, #{offset}]"; p = p; offset OFFSET => v)
    }

    /// The 32 bytes at `p`.
    load_32(p: *const u8) -> [uint8x16_t; 2] { load!("ldp {a:q}, {b:q}, [{p}]"; p = p => [a, b]) }

    /// The eight f32 values at `p`.
    load_f32x8(p: *const f32) -> [float32x4_t; 2] { load!("ldp {a:q}, {b:q}, [{p}]"; p = p => [a, b]) }

    /// The eight f16 values at `p`, converted to f32.
    load_f16x8(p: *const u8) -> [float32x4_t; 2] {
        load!("ldr {b:q}, [{p}]", "fcvtl {a:v}.4s, {b:v}.4h", "fcvtl2 {b:v}.4s, {b:v}.8h"; p = p => [a, b])
    }

    /// The two f32 values at `a` and the two at `b`.
    load_pair(a: *const f32, b: *const f32) -> float32x4_t {
        load!("ldr {v:d}, [{a}]", "ld1 {{{v:v}.d}}[1], [{b}]"; a = a, b = b => v)
    }

    /// The f16 values at `OFFSET` bytes after each pointer, converted to f32.
    load_halves<const OFFSET: usize>(p: [*const u8; 4]) -> float32x4_t {
        let [a, b, c, d] = p.map(|p| p.add(OFFSET));
        load!(
            "ldr {v:h}, [{a}]",
            "ld1 {{{v:v}.h}}[1], [{b}]",
            "ld1 {{{v:v}.h}}[2], [{c}]",
            "ld1 {{{v:v}.h}}[3], [{d}]",
            "fcvtl {v:v}.4s, {v:v}.4h";
            a = a, b = b, c = c, d = d => v
        )
    }

    /// The 8 bytes at `p`. All functions `next_*` advance the pointer past what they read.
    next_8(p: &mut *const u8) -> uint8x8_t { load!("ldr {v:d}, [{p}], #8"; moves *p => v) }

    /// The 16 bytes at `p`.
    next_16(p: &mut *const u8) -> uint8x16_t { load!("ldr {v:q}, [{p}], #16"; moves *p => v) }

    /// The 32 bytes at `p`.
    next_32(p: &mut *const u8) -> [uint8x16_t; 2] { load!("ldp {a:q}, {b:q}, [{p}], #32"; moves *p => [a, b]) }

    /// The value at `p`, in the first lane.
    next_f32(p: &mut *const f32) -> float32x4_t { load!("ldr {v:s}, [{p}], #4"; moves *p => v) }

    /// The integer at `p`, in the first lane.
    next_i32(p: &mut *const i32) -> int32x4_t { load!("ldr {v:s}, [{p}], #4"; moves *p => v) }

    /// The eight f16 values at `p`, converted to f32.
    next_f16x8(p: &mut *const u8) -> [float32x4_t; 2] {
        load!("ldr {b:q}, [{p}], #16", "fcvtl {a:v}.4s, {b:v}.4h", "fcvtl2 {b:v}.4s, {b:v}.8h"; moves *p => [a, b])
    }

    /// Writes two f32 values to `a` and two to `b`.
    store_pair(a: *mut f32, b: *mut f32, v: float32x4_t) {
        store!("str {v:d}, [{a}]", "st1 {{{v:v}.d}}[1], [{b}]"; v = v => a = a, b = b)
    }

    /// Writes 16 bytes to `p`. All functions `append_*` advance the pointer past what they write.
    append_16(p: &mut *mut u8, v: uint8x16_t) { store!("str {v:q}, [{p}], #16"; v = v => moves *p) }

    /// Writes 32 bytes to `p`.
    append_32(p: &mut *mut u8, v: [uint8x16_t; 2]) {
        store!("stp {a:q}, {b:q}, [{p}], #32"; a = v[0], b = v[1] => moves *p)
    }

    /// Writes eight f32 values to `p`.
    append_f32x8(p: &mut *mut u8, v: [float32x4_t; 2]) {
        store!("stp {a:q}, {b:q}, [{p}], #32"; a = v[0], b = v[1] => moves *p)
    }

    /// Writes eight i32 values to `p`.
    append_i32x8(p: &mut *mut u8, v: [int32x4_t; 2]) {
        store!("stp {a:q}, {b:q}, [{p}], #32"; a = v[0], b = v[1] => moves *p)
    }
}

/// The 128 bytes at `p`, which is advanced past them.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn next_128(p: &mut *const u8) -> [uint8x16_t; 8] {
    let (a, b, c, d, e, f, g, h);
    // SAFETY: reads only the bytes, which the caller guarantees to be readable.
    unsafe {
        asm!(
            // `LD1` takes consecutive registers.
            "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{p}], #64",
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{p}], #64",
            out("v16") a, out("v17") b, out("v18") c, out("v19") d,
            out("v20") e, out("v21") f, out("v22") g, out("v23") h,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b, c, d, e, f, g, h]
}

/// The little-endian u32 at `p`.
///
/// # Safety
///
/// Its four bytes must be readable.
#[inline(always)]
pub unsafe fn load_u32(p: *const u8) -> u32 {
    let v: u32;
    // SAFETY: reads only the bytes, which the caller guarantees to be readable.
    unsafe {
        asm!(
            "ldr {v:w}, [{p}]",
            v = lateout(reg) v,
            p = in(reg) p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    u32::from_le(v)
}

/// Four f32 values.
#[inline(always)]
pub fn load_f32x4(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: both types hold four floats, and every bit pattern is valid.
    unsafe { core::mem::transmute::<[f32; 4], float32x4_t>(*x) }
}

/// Four i32 values.
#[inline(always)]
pub fn load_i32x4(x: &[i32; 4]) -> int32x4_t {
    // SAFETY: both types hold four integers, and every bit pattern is valid.
    unsafe { core::mem::transmute::<[i32; 4], int32x4_t>(*x) }
}

/// Writes eight f32 values.
#[inline(always)]
pub fn store_f32x8(out: &mut [f32; 8], v: [float32x4_t; 2]) {
    // SAFETY: writes only the 32 bytes of `out`.
    unsafe { store!("stp {a:q}, {b:q}, [{p}]"; a = v[0], b = v[1] => p = out.as_mut_ptr()) }
}

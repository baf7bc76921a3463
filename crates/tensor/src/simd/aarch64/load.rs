//! Vectors to and from memory at any address.
//!
//! On `aarch64-unknown-none` the compiler assumes that the CPU refuses unaligned accesses and turns
//! `vld1q_*` into sixteen byte loads. Normal memory under the MMU takes unaligned vectors, and
//! blocks of 18 bytes have no other, so these instructions are written out.

use core::arch::{aarch64::*, asm};

/// The 16 bytes at `p + OFFSET`.
///
/// # Safety
///
/// They must be readable; `OFFSET` is in -256..=255.
#[inline(always)]
pub unsafe fn load_16<const OFFSET: i32>(p: *const u8) -> uint8x16_t {
    let v;
    // SAFETY: reads 16 bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldur {v:q}, [{p}, #{offset}]",
            v = lateout(vreg) v,
            p = in(reg) p,
            offset = const OFFSET,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    v
}

/// The 32 bytes at `p`.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn load_32(p: *const u8) -> [uint8x16_t; 2] {
    let (a, b);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{p}]",
            a = lateout(vreg) a,
            b = lateout(vreg) b,
            p = in(reg) p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b]
}

/// The 8 bytes at `p`, which is moved behind them.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn next_8(p: &mut *const u8) -> uint8x8_t {
    let v;
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {v:d}, [{p}], #8",
            v = out(vreg) v,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    v
}

/// The 16 bytes at `p`, which is moved behind them.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn next_16(p: &mut *const u8) -> uint8x16_t {
    let v;
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {v:q}, [{p}], #16",
            v = lateout(vreg) v,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    v
}

/// The 32 bytes at `p`, which is moved behind them.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn next_32(p: &mut *const u8) -> [uint8x16_t; 2] {
    let (a, b);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{p}], #32",
            a = lateout(vreg) a,
            b = lateout(vreg) b,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b]
}

/// The 128 bytes at `p`, which is moved behind them.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn next_128(p: &mut *const u8) -> [uint8x16_t; 8] {
    let (a, b, c, d, e, f, g, h);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            // The instruction takes registers that follow each other.
            "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{p}], #64",
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{p}], #64",
            out("v16") a,
            out("v17") b,
            out("v18") c,
            out("v19") d,
            out("v20") e,
            out("v21") f,
            out("v22") g,
            out("v23") h,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b, c, d, e, f, g, h]
}

/// The value at `p`, which is moved behind it, in the first lane.
///
/// # Safety
///
/// It must be readable.
#[inline(always)]
pub unsafe fn next_f32(p: &mut *const f32) -> float32x4_t {
    let v;
    // SAFETY: reads the value that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {v:s}, [{p}], #4",
            v = lateout(vreg) v,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    v
}

/// The integer at `p`, which is moved behind it, in the first lane.
///
/// # Safety
///
/// It must be readable.
#[inline(always)]
pub unsafe fn next_i32(p: &mut *const i32) -> int32x4_t {
    let mut bits = (*p).cast::<f32>();
    // SAFETY: the integer is readable, as is asked of the caller, and NEON is part of every target that this is built for.
    unsafe {
        let v = next_f32(&mut bits);
        *p = bits.cast();
        vreinterpretq_s32_f32(v)
    }
}

/// Four little-endian bytes.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn load_u32(p: *const u8) -> u32 {
    let v: u32;
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
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

/// Four f16 values at `p[i] + OFFSET`, converted to f32.
///
/// # Safety
///
/// Two bytes must be readable at each of them.
#[inline(always)]
pub unsafe fn load_halves<const OFFSET: usize>(p: [*const u8; 4]) -> float32x4_t {
    let v;
    // SAFETY: reads the four values that the caller vouches for and nothing else.
    unsafe {
        let p = p.map(|p| p.add(OFFSET));
        asm!(
            "ldr {v:h}, [{p0}]",
            "ld1 {{{v:v}.h}}[1], [{p1}]",
            "ld1 {{{v:v}.h}}[2], [{p2}]",
            "ld1 {{{v:v}.h}}[3], [{p3}]",
            "fcvtl {v:v}.4s, {v:v}.4h",
            v = out(vreg) v,
            p0 = in(reg) p[0],
            p1 = in(reg) p[1],
            p2 = in(reg) p[2],
            p3 = in(reg) p[3],
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    v
}

/// Four f32 values.
#[inline(always)]
pub fn load_f32x4(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: four floats are as large as the vector, and every pattern of bits is one.
    unsafe { core::mem::transmute::<[f32; 4], float32x4_t>(*x) }
}

/// Four i32 values.
#[inline(always)]
pub fn load_i32x4(x: &[i32; 4]) -> int32x4_t {
    // SAFETY: four integers are as large as the vector, and every pattern of bits is one.
    unsafe { core::mem::transmute::<[i32; 4], int32x4_t>(*x) }
}

/// Sixteen f32 values.
#[inline(always)]
pub fn load_f32x16(x: &[f32; 16]) -> [float32x4_t; 4] {
    let (a, b, c, d);
    // SAFETY: reads the 64 bytes of `x` and nothing else.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{p}]",
            "ldp {c:q}, {d:q}, [{p}, #32]",
            a = out(vreg) a,
            b = out(vreg) b,
            c = lateout(vreg) c,
            d = lateout(vreg) d,
            p = in(reg) x.as_ptr(),
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

/// Eight f32 values.
///
/// # Safety
///
/// 32 bytes must be readable at `p`.
#[inline(always)]
pub unsafe fn load_f32x8(p: *const u8) -> [float32x4_t; 2] {
    let (a, b);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldp {a:q}, {b:q}, [{p}]",
            a = lateout(vreg) a,
            b = lateout(vreg) b,
            p = in(reg) p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [a, b]
}

/// Writes eight f32 values.
#[inline(always)]
pub fn store_f32x8(out: &mut [f32; 8], v: [float32x4_t; 2]) {
    // SAFETY: writes the 32 bytes of `out` and nothing else.
    unsafe {
        asm!(
            "stp {a:q}, {b:q}, [{p}]",
            a = in(vreg) v[0],
            b = in(vreg) v[1],
            p = in(reg) out.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
}

/// Writes 16 bytes.
#[inline(always)]
pub fn store_16(out: &mut [i8; 16], v: int8x16_t) {
    // SAFETY: writes the 16 bytes of `out` and nothing else.
    unsafe {
        asm!(
            "str {v:q}, [{p}]",
            v = in(vreg) v,
            p = in(reg) out.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
}

/// The two f32 values at `a` and the two at `b`.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn load_pair(a: *const f32, b: *const f32) -> float32x4_t {
    let v;
    // SAFETY: reads the values that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {v:d}, [{a}]",
            "ld1 {{{v:v}.d}}[1], [{b}]",
            v = out(vreg) v,
            a = in(reg) a,
            b = in(reg) b,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    v
}

/// Writes two f32 values to `a` and two to `b`.
///
/// # Safety
///
/// They must be writable.
#[inline(always)]
pub unsafe fn store_pair(a: *mut f32, b: *mut f32, v: float32x4_t) {
    // SAFETY: writes the values that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "str {v:d}, [{a}]",
            "st1 {{{v:v}.d}}[1], [{b}]",
            v = in(vreg) v,
            a = in(reg) a,
            b = in(reg) b,
            options(nostack, preserves_flags)
        );
    }
}

/// Writes 16 bytes to `p`, which is moved behind them.
///
/// # Safety
///
/// They must be writable.
#[inline(always)]
pub unsafe fn append_16(p: &mut *mut u8, v: uint8x16_t) {
    // SAFETY: writes the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "str {v:q}, [{p}], #16",
            v = in(vreg) v,
            p = inout(reg) *p,
            options(nostack, preserves_flags)
        );
    }
}

/// Writes 32 bytes to `p`, which is moved behind them.
///
/// # Safety
///
/// They must be writable.
#[inline(always)]
pub unsafe fn append_32(p: &mut *mut u8, v: [uint8x16_t; 2]) {
    // SAFETY: writes the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "stp {a:q}, {b:q}, [{p}], #32",
            a = in(vreg) v[0],
            b = in(vreg) v[1],
            p = inout(reg) *p,
            options(nostack, preserves_flags)
        );
    }
}

/// As [`append_32`] for f32 values.
///
/// # Safety
///
/// As for [`append_32`].
#[inline(always)]
pub unsafe fn append_f32x8(p: &mut *mut u8, v: [float32x4_t; 2]) {
    // SAFETY: 32 bytes are writable, as is asked of the caller, and NEON is part of every target that this is built for.
    unsafe { append_32(p, v.map(|v| vreinterpretq_u8_f32(v))) }
}

/// As [`append_32`] for i32 values.
///
/// # Safety
///
/// As for [`append_32`].
#[inline(always)]
pub unsafe fn append_i32x8(p: &mut *mut u8, v: [int32x4_t; 2]) {
    // SAFETY: 32 bytes are writable, as is asked of the caller, and NEON is part of every target that this is built for.
    unsafe { append_32(p, v.map(|v| vreinterpretq_u8_s32(v))) }
}

/// Eight f16 values, converted to f32.
///
/// # Safety
///
/// 16 bytes must be readable at `p`.
#[inline(always)]
pub unsafe fn load_f16x8(p: *const u8) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {high:q}, [{p}]",
            "fcvtl {low:v}.4s, {high:v}.4h",
            "fcvtl2 {high:v}.4s, {high:v}.8h",
            low = lateout(vreg) low,
            high = out(vreg) high,
            p = in(reg) p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [low, high]
}

/// Eight f16 values at `p`, which is moved behind them, converted to f32.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
pub unsafe fn next_f16x8(p: &mut *const u8) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {high:q}, [{p}], #16",
            "fcvtl {low:v}.4s, {high:v}.4h",
            "fcvtl2 {high:v}.4s, {high:v}.8h",
            low = out(vreg) low,
            high = out(vreg) high,
            p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [low, high]
}

/// Eight bf16 values, converted to f32.
///
/// # Safety
///
/// 16 bytes must be readable at `p`.
#[inline(always)]
pub unsafe fn load_bf16x8(p: *const u8) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: reads the bytes that the caller vouches for and nothing else.
    unsafe {
        asm!(
            "ldr {high:q}, [{p}]",
            "shll {low:v}.4s, {high:v}.4h, #16",
            "shll2 {high:v}.4s, {high:v}.8h, #16",
            low = lateout(vreg) low,
            high = out(vreg) high,
            p = in(reg) p,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    [low, high]
}

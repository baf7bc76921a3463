//! Reads addresses where there may be nothing.

/// The result of `probe_load` in probe.s.
#[repr(C)]
struct Loaded {
    value: u64,
    is_loaded: u64,
}

unsafe extern "C" {
    fn probe_load(address: usize) -> Loaded;
    fn probe_failed();
}

/// The 32-bit word at `address`, or `None` if the read causes an exception because the address is not mapped, or there is no
/// device and no memory. Only for the boot core, and not in exception handlers.
pub fn read_u32(address: usize) -> Option<u32> {
    // SAFETY: if the read fails, the probe reports that. If the address is that of a register with side effects, that is the
    // caller's responsibility; it does not affect memory safety.
    let loaded = unsafe { probe_load(address) };
    (loaded.is_loaded != 0).then_some(loaded.value as u32)
}

/// Where to continue after an exception at `address`, if that is the probe's instruction.
pub(super) fn recovery(address: u64) -> Option<u64> {
    let of = |function: usize| function as u64;
    (address == of(probe_load as *const () as usize)).then_some(of(probe_failed as *const () as usize))
}

//! Reading where nothing may answer.

/// What `probe_load` in probe.s returns.
#[repr(C)]
struct Loaded {
    value: u64,
    is_loaded: u64,
}

unsafe extern "C" {
    fn probe_load(address: usize) -> Loaded;
    fn probe_failed();
}

/// The 32-bit word at `address`, or `None` if the read ends in an exception: the address is not mapped, or no
/// device and no memory answers there. For the boot core, outside exception handlers.
pub fn read_u32(address: usize) -> Option<u32> {
    // SAFETY: a read that cannot be made comes back as such; registers that mind being read are the caller's
    // concern, not memory's.
    let loaded = unsafe { probe_load(address) };
    (loaded.is_loaded != 0).then_some(loaded.value as u32)
}

/// Where to continue after an exception taken at `address`, if that is the probe's instruction.
pub(super) fn recovery(address: u64) -> Option<u64> {
    let of = |function: usize| function as u64;
    (address == of(probe_load as *const () as usize)).then_some(of(probe_failed as *const () as usize))
}

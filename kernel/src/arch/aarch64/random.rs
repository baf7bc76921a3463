//! Numbers that nobody could have told beforehand, as far as the machine has any.
//!
//! What there is, is mixed: the CPU's random numbers (`RNDR`, where it has `FEAT_RNG`), the seed that the boot loader put
//! into the device tree, what a virtio entropy device and the firmware give, and the time to the tick at which somebody asks, which
//! depends on when keys were pressed. Without the others the last one is all, and on a machine without anybody at its keys it is little: good enough for texts
//! that differ, and not for secrets, of which there are none then.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aarch64_cpu::registers::{ID_AA64ISAR0_EL1, Readable};

use super::time;
use crate::entropy::Entropy;
use spin::Mutex;

static STATE: AtomicU64 = AtomicU64::new(0);

/// What secrets are made of.
static ENTROPY: Mutex<Entropy> = Mutex::new(Entropy::new());

/// Whether somebody has given a number.
static IS_STIRRED: AtomicBool = AtomicBool::new(false);

/// Whether there is more than the time.
pub fn has_source() -> bool {
    IS_STIRRED.load(Ordering::Relaxed) || has_rng()
}

/// Mixes in bytes that nobody could have told beforehand.
pub fn stir(bytes: &[u8]) {
    IS_STIRRED.store(true, Ordering::Relaxed);
    advance(bytes);
    ENTROPY.lock().stir(bytes);
}

/// Says that the machine was restored from a snapshot: secrets are made of what comes from here on.
pub fn begin_anew() {
    ENTROPY.lock().begin_anew();
}

/// Mixes in bytes that differ from those of other machines, but that others may know.
pub fn mix_in(bytes: &[u8]) {
    advance(bytes);
    ENTROPY.lock().mix(bytes);
}

fn advance(bytes: &[u8]) {
    for chunk in bytes.chunks(size_of::<u64>()) {
        let number = chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        STATE.store(mix(STATE.load(Ordering::Relaxed) ^ number), Ordering::Relaxed);
    }
}

/// Bytes that nobody can guess, for a key; `None` if no source has given enough random numbers since the machine was started or
/// restored from a snapshot.
pub fn secret() -> Option<[u8; 32]> {
    let mut entropy = ENTROPY.lock();
    for number in (0..4).map_while(|_| cpu_number()) {
        entropy.stir(&number.to_le_bytes());
    }
    entropy.secret(&time::ticks().to_le_bytes())
}

/// A number below 2^32, another one each time.
pub fn seed() -> u64 {
    let mut state = mix(STATE.load(Ordering::Relaxed) ^ time::ticks());
    if let Some(number) = cpu_number() {
        state = mix(state ^ number);
    }
    STATE.store(state, Ordering::Relaxed);
    state >> 32
}

/// The next number of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A number by `RNDR` (Arm ARM, C5.2.20), if the CPU has it and has one at hand.
fn cpu_number() -> Option<u64> {
    const TRIES: usize = 16;
    let has_rng = has_rng();
    (0..TRIES).filter(|_| has_rng).find_map(|_| {
        let number: u64;
        let is_valid: u64;
        // SAFETY: the CPU has FEAT_RNG; reading this register changes nothing but the flags.
        unsafe {
            core::arch::asm!(
                "mrs {number}, s3_3_c2_c4_0",
                "cset {is_valid}, ne",
                number = out(reg) number,
                is_valid = out(reg) is_valid,
                options(nomem, nostack),
            );
        }
        (is_valid != 0).then_some(number)
    })
}

fn has_rng() -> bool {
    ID_AA64ISAR0_EL1.get() >> 60 >= 1
}

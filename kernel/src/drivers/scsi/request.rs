//! Virtio's encoding of SCSI commands and their results (VIRTIO 1.2, 5.6.6.1).

use super::{Address, Cdb, Refusal, Sense};

/// The part that the device reads: logical unit, identifier, attributes, and the command in a field of the default size.
pub type Request = [u8; 19 + 32];

/// The part that the device writes before the data: lengths, status, response, and sense data in a field of the default size.
pub type Response = [u8; 12 + 96];

/// The value of a response that has not been written.
pub const NO_RESPONSE: Response = [0xff; _];

/// Encodes the request for a unit to carry out a command.
pub fn request(unit: Address, command: &Cdb) -> Request {
    let mut request = [0; _];
    // A single-level structure, in flat space addressing.
    let [high, low] = unit.lun.to_be_bytes();
    request[..4].copy_from_slice(&[1, unit.target, 0x40 | high & 0x3f, low]);
    request[19..19 + command.len()].copy_from_slice(command);
    request
}

/// The result of a command for `n_bytes`: how many bytes were transferred.
///
/// # Errors
/// Why the command failed.
#[inline(never)]
pub fn outcome(response: &Response, n_bytes: usize) -> Result<usize, Refusal> {
    const BAD_TARGET: u8 = 3;
    const GOOD: u8 = 0;
    const CHECK_CONDITION: u8 = 2;
    const BUSY: u8 = 8;
    const TASK_SET_FULL: u8 = 0x28;
    let half =
        |start: usize| u32::from_le_bytes(core::array::from_fn(|index| response[start + index])) as usize;
    let (sense_bytes, residual) = (half(0), half(4));
    match (response[11], response[10]) {
        (0, GOOD) => n_bytes.checked_sub(residual).ok_or(Refusal::Failed),
        (0, CHECK_CONDITION) => {
            let sense = &response[12..];
            Err(Refusal::Check(Sense::new(&sense[..sense.len().min(sense_bytes)])))
        }
        // Includes what the device itself reports as reset or busy.
        (0, BUSY | TASK_SET_FULL) | (4 | 5, _) => Err(Refusal::Busy),
        (BAD_TARGET, _) => Err(Refusal::NoUnit),
        _ => Err(Refusal::Failed),
    }
}

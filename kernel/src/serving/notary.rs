//! The signer of receipts for this machine's answers.

use trust::{fixed::Fixed, notary::Notary, receipt::Maker};

use crate::system::Machine;

/// A notary with the key derived from the given seed or, without one, from a new random one; `None` on a machine without a source
/// of random numbers, whose keys could be guessed.
pub(super) fn notary(machine: &Machine, given: Option<[u8; 32]>) -> Option<Notary> {
    let seed = given.or_else(machine.secret)?;
    let maker = Maker {
        image_sha256: machine.image_sha256.map(Fixed),
        program: concat!("ferrite ", env!("CARGO_PKG_VERSION")).into(),
    };
    Some(Notary::new(seed, given.is_none(), maker, machine.sha256))
}

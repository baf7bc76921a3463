//! Who signs receipts of this machine's answers.

use trust::{fixed::Fixed, notary::Notary, receipt::Maker};

use crate::system::Machine;

/// A notary by the key that follows from the seed that was given or, unless one was, from one that is made now; `None` on a machine
/// without a source of random numbers, whose keys others could guess.
pub(super) fn notary(machine: &Machine, given: Option<[u8; 32]>) -> Option<Notary> {
    let seed = given.or_else(machine.secret)?;
    let maker = Maker {
        image_sha256: machine.image_sha256.map(Fixed),
        program: concat!("ferrite ", env!("CARGO_PKG_VERSION")).into(),
    };
    Some(Notary::new(seed, given.is_none(), maker, machine.sha256))
}

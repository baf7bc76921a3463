//! The cost of a transition, in two bytes.

/// How many steps it took to find out where a byte leads, rounded up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost(u16);

impl Cost {
    const SCALED: u16 = 1 << 15;
    const SHIFT: u32 = 5;
    /// The largest cost that can be stored; it also stands for all higher costs.
    pub const LIMIT: u64 = (Self::SCALED as u64 - 1) << Self::SHIFT;

    /// The cost of this many steps, at most [`Cost::LIMIT`].
    pub fn new(steps: u64) -> Self {
        match steps {
            0..0x8000 => Self(steps as u16),
            _ => Self(Self::SCALED | (steps.div_ceil(1 << Self::SHIFT) as u16).min(Self::SCALED - 1)),
        }
    }

    /// How many steps.
    pub fn steps(self) -> u64 {
        match self.0 & Self::SCALED {
            0 => self.0.into(),
            _ => u64::from(self.0 & !Self::SCALED) << Self::SHIFT,
        }
    }
}

//! Arm's PL061: eight lines of general-purpose input and output (Arm DDI 0190).
//!
//! Also compiled for the host, where a test replaces the device.

/// The register block, by byte offset.
pub trait RegisterBlock {
    /// Reads a register.
    fn read(&self, offset: usize) -> u8;

    /// Writes a register.
    fn write(&mut self, offset: usize, value: u8);
}

const DIRECTION: usize = 0x400;
/// A set bit means level, otherwise edge.
const SENSE: usize = 0x404;
const BOTH_EDGES: usize = 0x408;
/// A set bit means rising edge or high level.
const EVENT: usize = 0x40c;
const INTERRUPTS: usize = 0x410;
const MASKED_STATUS: usize = 0x418;
const CLEAR: usize = 0x41c;

/// The controller. Each line is a bit.
pub struct Pl061<R>(R);

impl<R: RegisterBlock> Pl061<R> {
    /// The controller with these registers, unchanged.
    pub fn new(registers: R) -> Self {
        Self(registers)
    }

    /// Makes the lines `rising | falling` inputs that interrupt when they become active, that is, high or low. From now on no
    /// other line interrupts.
    pub fn watch(&mut self, rising: u8, falling: u8) {
        let lines = rising | falling;
        self.0.write(INTERRUPTS, 0);
        self.change(DIRECTION, lines, 0);
        self.change(SENSE, lines, 0);
        self.change(BOTH_EDGES, lines, 0);
        self.change(EVENT, lines, rising);
        self.0.write(CLEAR, u8::MAX);
        self.0.write(INTERRUPTS, lines);
    }

    fn change(&mut self, offset: usize, lines: u8, value: u8) {
        let others = self.0.read(offset) & !lines;
        self.0.write(offset, others | value & lines);
    }

    /// The lines that have become active since the last call.
    pub fn take_events(&mut self) -> u8 {
        let lines = self.0.read(MASKED_STATUS);
        self.0.write(CLEAR, lines);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct State {
        /// The state of the lines, and the registers.
        lines: u8,
        direction: u8,
        sense: u8,
        both: u8,
        event: u8,
        enabled: u8,
        raw: u8,
    }

    struct Device(RefCell<State>);

    impl Device {
        fn set(&self, lines: u8) {
            let mut state = self.0.borrow_mut();
            let (rising, falling) = (lines & !state.lines, !lines & state.lines);
            let edges = rising & (state.event | state.both) | falling & (!state.event | state.both);
            state.raw |= edges & !state.sense & !state.direction;
            state.lines = lines;
        }
    }

    impl RegisterBlock for &Device {
        fn read(&self, offset: usize) -> u8 {
            let state = self.0.borrow();
            match offset {
                DIRECTION => state.direction,
                SENSE => state.sense,
                BOTH_EDGES => state.both,
                EVENT => state.event,
                MASKED_STATUS => state.raw & state.enabled,
                _ => panic!("offset {offset:#x} is read"),
            }
        }

        fn write(&mut self, offset: usize, value: u8) {
            let mut state = self.0.borrow_mut();
            match offset {
                DIRECTION => state.direction = value,
                SENSE => state.sense = value,
                BOTH_EDGES => state.both = value,
                EVENT => state.event = value,
                INTERRUPTS => state.enabled = value,
                CLEAR => state.raw &= !value,
                _ => panic!("offset {offset:#x} is written"),
            }
        }
    }

    #[test]
    fn lines_are_heard_when_they_become_active() {
        let device = Device(RefCell::new(State {
            lines: 0b0100,
            direction: 0xff,
            raw: 0xff,
            sense: 0xff,
            ..State::default()
        }));
        let mut gpio = Pl061::new(&device);
        gpio.watch(0b1000, 0b0100);
        assert_eq!(gpio.take_events(), 0);
        // Line 0 is not one of our inputs, and stays an output.
        device.set(0b1101);
        assert_eq!(gpio.take_events(), 0b1000);
        assert_eq!(gpio.take_events(), 0);
        device.set(0b0101);
        assert_eq!(gpio.take_events(), 0);
        device.set(0b1001);
        assert_eq!(gpio.take_events(), 0b1100);
        assert_eq!(device.0.borrow().direction, 0xf3);
    }
}

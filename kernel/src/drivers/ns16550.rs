//! National Semiconductor's 16550 UART and its descendants (PC16550D data sheet, section 8).
//!
//! This only handles registers; `uart.rs` makes a console of them. Also compiled for the host, where a test replaces the device.

/// The registers, numbered from 0, wherever they are in memory.
pub trait RegisterBlock {
    /// Reads the register with this number.
    fn read(&self, register: u8) -> u8;

    /// Writes the register with this number.
    fn write(&mut self, register: u8, value: u8);
}

/// Received and sent bytes; with [`LINE_DIVISOR`], the low half of the divisor.
const DATA: u8 = 0;
/// Which interrupts are enabled; with [`LINE_DIVISOR`], the high half of the divisor.
const INTERRUPTS: u8 = 1;
/// When read: which interrupt is pending.
const IDENTIFICATION: u8 = 2;
/// When written: controls the FIFOs.
const FIFO: u8 = 2;
const LINE: u8 = 3;
const MODEM: u8 = 4;
const STATUS: u8 = 5;
/// Only on Synopsys' UARTs: reading it clears the interrupt that means "busy when the line was set".
const DESIGNWARE_STATUS: u8 = 31;

const RECEIVE_INTERRUPT: u8 = 1 << 0;
/// FIFOs enabled, cleared, and interrupting when half full.
const FIFO_ON: u8 = 0x87;
/// Eight bits, no parity, one stop bit.
const LINE_8N1: u8 = 0x03;
const LINE_DIVISOR: u8 = 1 << 7;
/// Ready to send and receive; also sets the second output, which on many boards lets interrupts through.
const MODEM_READY: u8 = 0x0b;
const STATUS_RECEIVED: u8 = 1 << 0;
/// A parity or framing error, or a break.
const STATUS_BROKEN: u8 = 0x1c;
const STATUS_CAN_SEND: u8 = 1 << 5;
const IDENTIFICATION_BITS: u8 = 0xf;
const BUSY: u8 = 0x7;
/// Bytes below the FIFO's trigger level have been waiting for a while.
const TIMEOUT: u8 = 0xc;

/// The UART.
pub struct Ns16550<B>(B);

impl<B: RegisterBlock> Ns16550<B> {
    /// The UART with these registers, unchanged.
    pub fn new(registers: B) -> Self {
        Self(registers)
    }

    /// Sets up the UART, without interrupts. The speed stays as the firmware has set it if `clock_hz` or `baud_rate` is missing,
    /// or if that speed cannot be derived from that clock.
    pub fn init(&mut self, clock_hz: Option<u32>, baud_rate: Option<u32>) {
        self.0.write(INTERRUPTS, 0);
        let divisor = clock_hz.zip(baud_rate).and_then(|(clock_hz, baud_rate)| divisor(clock_hz, baud_rate));
        if let Some(divisor) = divisor {
            let [low, high] = divisor.to_le_bytes();
            self.0.write(LINE, LINE_8N1 | LINE_DIVISOR);
            self.0.write(DATA, low);
            self.0.write(INTERRUPTS, high);
            self.0.write(LINE, LINE_8N1);
        }
        self.0.write(FIFO, FIFO_ON);
        self.0.write(MODEM, MODEM_READY);
        self.acknowledge();
    }

    /// Enables or disables the interrupt for received bytes.
    pub fn set_receive_interrupt(&mut self, enabled: bool) {
        self.0.write(INTERRUPTS, if enabled { RECEIVE_INTERRUPT } else { 0 });
    }

    /// Clears interrupts that are not cleared by reading bytes.
    pub fn acknowledge(&mut self) {
        match self.0.read(IDENTIFICATION) & IDENTIFICATION_BITS {
            BUSY => {
                self.0.read(DESIGNWARE_STATUS);
            }
            // Synopsys' UARTs can report this for an empty FIFO.
            TIMEOUT if self.0.read(STATUS) & STATUS_RECEIVED == 0 => {
                self.0.read(DATA);
            }
            _ => {}
        }
    }

    /// The next byte received: `None` if there is none, an error if it was damaged.
    pub fn read(&mut self) -> Option<Result<u8, Broken>> {
        let status = self.0.read(STATUS);
        // If there is no device, all bits read as one.
        if status & STATUS_RECEIVED == 0 || status == u8::MAX {
            return None;
        }
        let byte = self.0.read(DATA);
        Some(if status & STATUS_BROKEN == 0 { Ok(byte) } else { Err(Broken) })
    }

    /// Whether a byte can be written.
    pub fn can_send(&self) -> bool {
        self.0.read(STATUS) & STATUS_CAN_SEND != 0
    }

    /// Sends a byte.
    pub fn send(&mut self, byte: u8) {
        self.0.write(DATA, byte);
    }
}

/// A byte that was received with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// The divisor of the clock: sixteen times the speed, rounded to the nearest.
fn divisor(clock_hz: u32, baud_rate: u32) -> Option<u16> {
    let per_bit = u64::from(baud_rate) * 16;
    let divisor = (u64::from(clock_hz) + per_bit / 2).checked_div(per_bit)?;
    u16::try_from(divisor).ok().filter(|&divisor| divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::VecDeque, vec::Vec};

    /// A simulated UART that works as the data sheet says.
    #[derive(Default)]
    struct Device(RefCell<State>);

    #[derive(Default)]
    struct State {
        received: VecDeque<(u8, u8)>,
        sent: Vec<u8>,
        interrupts: u8,
        line: u8,
        divisor: u16,
        modem: u8,
        fifo: u8,
        is_busy_pending: bool,
        is_timeout_pending: bool,
    }

    impl RegisterBlock for &Device {
        fn read(&self, register: u8) -> u8 {
            let mut state = self.0.borrow_mut();
            match register {
                DATA => {
                    state.is_timeout_pending = false;
                    state.received.pop_front().map_or(0, |(byte, _)| byte)
                }
                IDENTIFICATION if state.is_busy_pending => 0xc7,
                IDENTIFICATION if state.is_timeout_pending => 0xcc,
                IDENTIFICATION if !state.received.is_empty() && state.interrupts & 1 != 0 => 0xc4,
                IDENTIFICATION => 0xc1,
                STATUS => 0x60 | state.received.front().map_or(0, |(_, broken)| STATUS_RECEIVED | broken),
                DESIGNWARE_STATUS => {
                    state.is_busy_pending = false;
                    0x06
                }
                _ => panic!("register {register} is read"),
            }
        }

        fn write(&mut self, register: u8, value: u8) {
            let mut state = self.0.borrow_mut();
            let sets_divisor = state.line & LINE_DIVISOR != 0;
            match register {
                DATA if sets_divisor => state.divisor = state.divisor & 0xff00 | u16::from(value),
                INTERRUPTS if sets_divisor => state.divisor = state.divisor & 0xff | u16::from(value) << 8,
                DATA => state.sent.push(value),
                INTERRUPTS => state.interrupts = value,
                FIFO => state.fifo = value,
                LINE => state.line = value,
                MODEM => state.modem = value,
                _ => panic!("register {register} is written"),
            }
        }
    }

    #[test]
    fn bytes_go_out_and_come_in() {
        let device = Device::default();
        let mut uart = Ns16550::new(&device);
        uart.init(Some(1_843_200), Some(9600));
        {
            let state = device.0.borrow();
            assert_eq!((state.divisor, state.line, state.interrupts), (12, 0x03, 0));
            assert_eq!((state.fifo & 1, state.modem & 0x3), (1, 0x3));
        }
        assert!(uart.can_send());
        uart.send(b'a');
        assert_eq!(uart.read(), None);
        device.0.borrow_mut().received.extend([(b'x', 0), (0, 0x10), (b'y', 0)]);
        uart.set_receive_interrupt(true);
        assert_eq!(device.0.borrow().interrupts, 1);
        assert_eq!(uart.read(), Some(Ok(b'x')));
        assert_eq!(uart.read(), Some(Err(Broken)));
        assert_eq!(uart.read(), Some(Ok(b'y')));
        assert_eq!(uart.read(), None);
        assert_eq!(device.0.borrow().sent, [b'a']);
    }

    #[test]
    fn without_clock_or_speed_the_line_stays_as_it_is() {
        for (clock_hz, baud_rate) in
            [(None, Some(115_200)), (Some(24_000_000), None), (Some(9600), Some(9600))]
        {
            let device = Device::default();
            device.0.borrow_mut().divisor = 7;
            device.0.borrow_mut().line = 0x1b;
            Ns16550::new(&device).init(clock_hz, baud_rate);
            assert_eq!((device.0.borrow().divisor, device.0.borrow().line), (7, 0x1b));
        }
        assert_eq!(divisor(24_000_000, 115_200), Some(13));
        assert_eq!(divisor(u32::MAX, 1), None);
    }

    #[test]
    fn interrupts_without_a_byte_are_taken_back() {
        let device = Device::default();
        device.0.borrow_mut().is_busy_pending = true;
        Ns16550::new(&device).acknowledge();
        assert!(!device.0.borrow().is_busy_pending);
        device.0.borrow_mut().is_timeout_pending = true;
        Ns16550::new(&device).acknowledge();
        assert!(!device.0.borrow().is_timeout_pending);
        device.0.borrow_mut().is_timeout_pending = true;
        device.0.borrow_mut().received.push_back((b'x', 0));
        let mut uart = Ns16550::new(&device);
        uart.acknowledge();
        assert_eq!(uart.read(), Some(Ok(b'x')));
    }
}

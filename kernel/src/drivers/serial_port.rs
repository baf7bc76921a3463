//! The registers of a UART of any [kind](UartKind), or a virtio console; sends and receives single bytes.

use super::{
    ns16550::{Ns16550, RegisterBlock},
    virtio::console::VirtioConsole,
};
use crate::{
    arch,
    machine::{self, UartKind},
};
use alloc::boxed::Box;
use arm_pl011_uart::{DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart};
use core::ptr::NonNull;
use safe_mmio::UniqueMmioPointer;

/// The default speed in bits per second.
const BAUD_RATE: u32 = 115_200;

/// The assumed clock of a PL011 that has not been set up, if the device tree does not give it.
const PL011_CLOCK_HZ: u32 = 24_000_000;

/// A serial port.
pub enum SerialPort {
    /// A PL011, or the subset of it in an SBSA UART.
    Pl011(Uart<'static>),
    /// A 16550. If its status cannot be read, bytes are written at the pace of [`BYTE_US`].
    Ns16550 {
        /// The registers.
        uart: Ns16550<Mmio>,
        /// Whether the UART has not become ready for a long time.
        is_ready_unseen: bool,
    },
    /// A virtio console, which is polled.
    Virtio(Box<VirtioConsole>),
}

/// The longest time that a 16550 needs to send the contents of its FIFO: more than sixteen bytes at 9600 bits per second.
const PATIENCE_US: u64 = 30_000;

/// The time for a byte at [`BAUD_RATE`].
const BYTE_US: u64 = 90;

impl SerialPort {
    /// The UART at `address`, unchanged; `None` if the address is null.
    ///
    /// # Safety
    /// The registers of a UART of this kind must be mapped there as device memory. Other code that uses them must either have
    /// stopped for good, or be stopped from running while this is used.
    pub unsafe fn new(kind: UartKind, address: usize) -> Option<Self> {
        Some(match kind {
            UartKind::Pl011 | UartKind::Sbsa => {
                let registers = core::ptr::with_exposed_provenance_mut::<PL011Registers>(address);
                // SAFETY: the caller promises mapped registers that nothing else uses.
                Self::Pl011(Uart::new(unsafe { UniqueMmioPointer::new(NonNull::new(registers)?) }))
            }
            UartKind::Ns16550 { register_shift, access_bytes } => {
                let first = NonNull::new(core::ptr::with_exposed_provenance_mut(address))?;
                let uart = Ns16550::new(Mmio { first, register_shift, access_bytes });
                Self::Ns16550 { uart, is_ready_unseen: false }
            }
        })
    }

    /// Sets up the UART, without interrupts. A line that the firmware has set up keeps its speed unless the device tree asks for
    /// another one.
    pub fn init(&mut self, device: &machine::Uart) {
        match self {
            Self::Pl011(uart) => {
                if device.kind == UartKind::Pl011 && !keeps_line(device) {
                    let line = LineConfig {
                        data_bits: DataBits::Bits8,
                        parity: Parity::None,
                        stop_bits: StopBits::One,
                    };
                    // If the clock is too slow for the speed, the line stays as the firmware has set it.
                    let _ = uart.enable(
                        line,
                        device.baud_rate.unwrap_or(BAUD_RATE),
                        device.clock_hz.unwrap_or(PL011_CLOCK_HZ),
                    );
                }
                if device.kind == UartKind::Pl011 {
                    uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes16);
                }
                uart.set_interrupt_masks(Interrupts::empty());
            }
            Self::Ns16550 { uart, .. } => uart.init(device.clock_hz, device.baud_rate),
            Self::Virtio(_) => {}
        }
    }

    /// Enables or disables the interrupt for received bytes.
    pub fn set_receive_interrupt(&mut self, enabled: bool) {
        match self {
            Self::Pl011(uart) => {
                // RTI: bytes below the FIFO's trigger level have been waiting for a while.
                let masks = match enabled {
                    true => Interrupts::RXI | Interrupts::RTI,
                    false => Interrupts::empty(),
                };
                uart.set_interrupt_masks(masks);
            }
            Self::Ns16550 { uart, .. } => uart.set_receive_interrupt(enabled),
            Self::Virtio(_) => {}
        }
    }

    /// Clears a pending interrupt. Must be called before the received bytes are read, so that a byte that arrives in between
    /// interrupts again.
    pub fn acknowledge(&mut self) {
        match self {
            Self::Pl011(uart) => uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI),
            Self::Ns16550 { uart, .. } => uart.acknowledge(),
            Self::Virtio(_) => {}
        }
    }

    /// The next byte received, if there is one; damaged bytes are skipped.
    pub fn read(&mut self) -> Option<u8> {
        loop {
            match self {
                Self::Pl011(uart) => match uart.read_word() {
                    Ok(byte) => return byte,
                    // The read has removed it from the FIFO.
                    Err(_broken) => {}
                },
                Self::Ns16550 { uart, .. } => match uart.read()? {
                    Ok(byte) => return Some(byte),
                    Err(_broken) => {}
                },
                Self::Virtio(console) => return console.read(),
            }
        }
    }

    /// Whether the UART did not become ready for the last byte.
    pub fn is_unready(&self) -> bool {
        matches!(self, Self::Ns16550 { is_ready_unseen: true, .. })
    }

    /// Sends a byte as soon as there is room for it.
    pub fn write(&mut self, byte: u8) {
        match self {
            Self::Pl011(uart) => {
                while uart.is_tx_fifo_full() {
                    core::hint::spin_loop();
                }
                uart.write_word(byte);
            }
            Self::Ns16550 { uart, is_ready_unseen } => {
                let patience_us = if *is_ready_unseen { BYTE_US } else { PATIENCE_US };
                let begin_us = arch::time::now_us();
                *is_ready_unseen = loop {
                    if uart.can_send() {
                        break false;
                    }
                    if arch::time::now_us() - begin_us >= patience_us {
                        break true;
                    }
                };
                uart.send(byte);
            }
            Self::Virtio(console) => console.write(byte),
        }
    }

    /// Sends the buffered bytes of a virtio console; a UART buffers none.
    pub fn flush(&mut self) {
        if let Self::Virtio(console) = self {
            console.flush();
        }
    }
}

/// Whether the firmware has set up the line of a PL011, and no other possible speed is requested.
fn keeps_line(device: &machine::Uart) -> bool {
    const INTEGER_DIVISOR: usize = 0x24;
    const CONTROL: usize = 0x30;
    const UART_ENABLE: u32 = 1;
    let read = |offset: usize| {
        let address = device.registers.address as usize + offset;
        // SAFETY: the caller of `SerialPort::new` promised that the registers of a PL011 are mapped; reading these has no side effect.
        unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
    };
    let is_set_up = read(CONTROL) & UART_ENABLE != 0 && read(INTEGER_DIVISOR) != 0;
    is_set_up && (device.baud_rate.is_none() || device.clock_hz.is_none())
}

/// Registers in memory, whose spacing and access size differ between boards.
pub struct Mmio {
    first: NonNull<u8>,
    register_shift: u8,
    access_bytes: u8,
}

// SAFETY: the registers can be accessed from every core in the same way.
unsafe impl Send for Mmio {}

impl Mmio {
    fn register<T>(&self, register: u8) -> *mut T {
        // SAFETY: the device tree's parser has checked that the block holds eight registers; the only register beyond them is
        // read only on the device whose block includes it.
        unsafe { self.first.add(usize::from(register) << self.register_shift) }.as_ptr().cast()
    }
}

impl RegisterBlock for Mmio {
    fn read(&self, register: u8) -> u8 {
        // SAFETY: the caller of `SerialPort::new` promised mapped registers, and their addresses are multiples of the access size.
        unsafe {
            match self.access_bytes {
                1 => self.register::<u8>(register).read_volatile(),
                2 => self.register::<u16>(register).read_volatile() as u8,
                _ => self.register::<u32>(register).read_volatile() as u8,
            }
        }
    }

    fn write(&mut self, register: u8, value: u8) {
        // SAFETY: the caller of `SerialPort::new` promised mapped registers, and their addresses are multiples of the access size.
        unsafe {
            match self.access_bytes {
                1 => self.register::<u8>(register).write_volatile(value),
                2 => self.register::<u16>(register).write_volatile(value.into()),
                _ => self.register::<u32>(register).write_volatile(value.into()),
            }
        }
    }
}

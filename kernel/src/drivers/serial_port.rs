//! The registers of a UART of any [kind](UartKind), or a virtio console, one byte at a time.

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

/// The speed where nobody asks for another, in bits per second.
const BAUD_RATE: u32 = 115_200;

/// The clock of a PL011 that nobody has set up, where the device tree does not name it.
const PL011_CLOCK_HZ: u32 = 24_000_000;

/// A UART.
pub enum SerialPort {
    /// A PL011, or what is left of it in an SBSA UART.
    Pl011(Uart<'static>),
    /// A 16550. Its status may be unreadable, and then bytes are written at the pace of [`BYTE_US`].
    Ns16550 {
        /// The registers.
        uart: Ns16550<Mmio>,
        /// Whether the UART has failed to become ready for long.
        is_ready_unseen: bool,
    },
    /// A virtio console, which is no UART and is polled.
    Virtio(Box<VirtioConsole>),
}

/// How long a 16550 may take to send what its FIFO holds: sixteen bytes at 9600 bits per second, and more.
const PATIENCE_US: u64 = 30_000;

/// A byte at [`BAUD_RATE`].
const BYTE_US: u64 = 90;

impl SerialPort {
    /// The UART at `address`, as it is; `None` if the address is null.
    ///
    /// # Safety
    /// The registers of a UART of this kind must be mapped there as device memory. What else uses them must have
    /// stopped for good, or let this one alone.
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

    /// Sets the UART up, without interrupts. A line that the firmware has set up keeps its speed unless the device
    /// tree asks for another.
    pub fn init(&mut self, device: &machine::Uart) {
        match self {
            Self::Pl011(uart) => {
                if device.kind == UartKind::Pl011 && !keeps_line(device) {
                    let line = LineConfig {
                        data_bits: DataBits::Bits8,
                        parity: Parity::None,
                        stop_bits: StopBits::One,
                    };
                    // A clock too slow for the speed leaves the line as the firmware has set it.
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

    /// Lets received bytes interrupt, or not.
    pub fn set_receive_interrupt(&mut self, enabled: bool) {
        match self {
            Self::Pl011(uart) => {
                // RTI: bytes have been waiting below the FIFO's trigger level for a while.
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

    /// Takes a pending interrupt back. To be called before what has been received is read: a byte that comes in
    /// between must interrupt again.
    pub fn acknowledge(&mut self) {
        match self {
            Self::Pl011(uart) => uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI),
            Self::Ns16550 { uart, .. } => uart.acknowledge(),
            Self::Virtio(_) => {}
        }
    }

    /// The next byte received, if there is one; what has arrived broken is passed over.
    pub fn read(&mut self) -> Option<u8> {
        loop {
            match self {
                Self::Pl011(uart) => match uart.read_word() {
                    Ok(byte) => return byte,
                    // Reading it has taken it out of the FIFO.
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

    /// Sends a byte, as soon as there is room for it.
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

    /// Sends what has been written: a UART has done so already.
    pub fn flush(&mut self) {
        if let Self::Virtio(console) = self {
            console.flush();
        }
    }
}

/// Whether the firmware has set the line of a PL011 up, and nobody asks for another speed that could be set.
fn keeps_line(device: &machine::Uart) -> bool {
    const INTEGER_DIVISOR: usize = 0x24;
    const CONTROL: usize = 0x30;
    const UART_ENABLE: u32 = 1;
    let read = |offset: usize| {
        let address = device.registers.address as usize + offset;
        // SAFETY: registers of a PL011 that `SerialPort::new` was promised to be mapped; reading them does nothing.
        unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
    };
    let is_set_up = read(CONTROL) & UART_ENABLE != 0 && read(INTEGER_DIVISOR) != 0;
    is_set_up && (device.baud_rate.is_none() || device.clock_hz.is_none())
}

/// Registers in memory, at a distance and with an access size that differ between boards.
pub struct Mmio {
    first: NonNull<u8>,
    register_shift: u8,
    access_bytes: u8,
}

// SAFETY: the registers are the same on every core.
unsafe impl Send for Mmio {}

impl Mmio {
    fn register<T>(&self, register: u8) -> *mut T {
        // SAFETY: the device tree's reader has seen that the block holds eight registers; the one beyond them is in
        // the block of the one device for which it is read.
        unsafe { self.first.add(usize::from(register) << self.register_shift) }.as_ptr().cast()
    }
}

impl RegisterBlock for Mmio {
    fn read(&self, register: u8) -> u8 {
        // SAFETY: `SerialPort::new` was promised mapped registers, and their addresses are multiples of the size.
        unsafe {
            match self.access_bytes {
                1 => self.register::<u8>(register).read_volatile(),
                2 => self.register::<u16>(register).read_volatile() as u8,
                _ => self.register::<u32>(register).read_volatile() as u8,
            }
        }
    }

    fn write(&mut self, register: u8, value: u8) {
        // SAFETY: as in `read`.
        unsafe {
            match self.access_bytes {
                1 => self.register::<u8>(register).write_volatile(value),
                2 => self.register::<u16>(register).write_volatile(value.into()),
                _ => self.register::<u32>(register).write_volatile(value.into()),
            }
        }
    }
}

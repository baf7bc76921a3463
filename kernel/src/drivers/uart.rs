//! The console on an Arm PL011.
//!
//! The interrupt handler moves received bytes into a queue, so that nothing is lost while the core
//! computes. When the queue is full the receive interrupt is masked and bytes wait in the UART's
//! FIFO, where the sender's flow control sees them, until the reader has made room.

use crate::{arch, console::Console, device_tree, drivers::interrupts};
use arm_pl011_uart::{DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart};
use core::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
};
use heapless::Deque;
use log::warn;
use safe_mmio::UniqueMmioPointer;
use spin::Mutex;

const BAUD_RATE: u32 = 115_200;
const QUEUE_BYTES: usize = 4096;

struct Port {
    uart: Uart<'static>,
    received: Deque<u8, QUEUE_BYTES>,
    /// False where the device tree names no interrupt: the reader polls then.
    has_interrupt: bool,
}

static PORT: Mutex<Option<Port>> = Mutex::new(None);

/// Where QEMU's `virt` machine has its PL011.
const QEMU_VIRT_ADDRESS: usize = 0x0900_0000;

/// Address of the registers, for [`write_in_emergency`]; 0 if there is no UART. Until a device tree could be
/// read, a guess that is right on the one machine that has been tried: a kernel that finds no tree has no
/// other way to say so.
static REGISTERS: AtomicUsize = AtomicUsize::new(QEMU_VIRT_ADDRESS);

/// Runs `use_port` with the port, interrupts masked so that the handler cannot want it meanwhile.
/// `None` before [`init`].
fn with_port<R>(use_port: impl FnOnce(&mut Port) -> R) -> Option<R> {
    arch::interrupts::masked(|| PORT.lock().as_mut().map(use_port))
}

/// Lets [`write_in_emergency`] use these registers, or none. They must be mapped as device memory, and those
/// of a PL011.
pub fn set_emergency_registers(registers: Option<device_tree::Registers>) {
    let address = registers.map_or(0, |registers| registers.address as usize);
    REGISTERS.store(address, Ordering::Relaxed);
}

/// Sets the UART up; output works from here on.
///
/// # Safety
/// `device` must describe a PL011 whose registers are mapped and used by nothing else. To be called
/// once.
pub unsafe fn init(device: &device_tree::Uart) {
    let address = device.registers.address as usize;
    let registers = core::ptr::with_exposed_provenance_mut::<PL011Registers>(address);
    let Some(registers) = NonNull::new(registers) else {
        return;
    };
    // SAFETY: the caller promises mapped registers that nothing else uses.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
    // A clock too slow for the baud rate leaves the line as the firmware set it.
    let _ = uart.enable(line, BAUD_RATE, device.clock_hz);
    uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes16);
    uart.set_interrupt_masks(Interrupts::empty());
    REGISTERS.store(address, Ordering::Relaxed);
    let port = Port { uart, received: Deque::new(), has_interrupt: false };
    arch::interrupts::masked(|| *PORT.lock() = Some(port));
}

/// Lets received bytes interrupt the core from here on.
pub fn enable_interrupt(interrupt: u32) {
    match interrupts::enable(interrupt, on_interrupt) {
        Ok(()) => {
            with_port(|port| {
                port.has_interrupt = true;
                port.set_receive_interrupt(true);
                port.drain_fifo();
            });
        }
        Err(error) => warn!("console input is polled: {error}"),
    }
}

fn on_interrupt() {
    with_port(Port::drain_fifo);
}

impl Port {
    fn set_receive_interrupt(&mut self, enabled: bool) {
        // RTI: bytes have been waiting below the FIFO's trigger level for a while.
        let masks = match enabled {
            true => Interrupts::RXI | Interrupts::RTI,
            false => Interrupts::empty(),
        };
        self.uart.set_interrupt_masks(masks);
    }

    /// Moves what the FIFO holds into the queue; if that fills up, masks the receive interrupt.
    fn drain_fifo(&mut self) {
        // Before reading, not after: a byte that comes in between must interrupt again.
        self.uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI);
        while !self.received.is_full() {
            match self.uart.read_word() {
                Ok(Some(byte)) => {
                    let _ = self.received.push_back(byte);
                }
                Ok(None) => return,
                // A byte that arrived broken; reading it has taken it out of the FIFO.
                Err(_) => {}
            }
        }
        self.set_receive_interrupt(false);
    }

    fn read_byte(&mut self) -> Option<u8> {
        let was_full = self.received.is_full();
        let byte = self.received.pop_front();
        if self.has_interrupt && was_full {
            // What the FIFO holds has had its interrupt, so it is fetched here.
            self.set_receive_interrupt(true);
            self.drain_fifo();
        } else if !self.has_interrupt && byte.is_none() {
            self.drain_fifo();
            return self.received.pop_front();
        }
        byte
    }

    fn write_byte(&mut self, byte: u8) {
        while self.uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        self.uart.write_word(byte);
    }
}

/// Writes `bytes` as they are.
pub fn write_raw(bytes: &[u8]) {
    with_port(|port| bytes.iter().for_each(|&byte| port.write_byte(byte)));
}

/// Writes text for a terminal: a line feed is preceded by a carriage return.
pub fn write_text(bytes: &[u8]) {
    with_port(|port| {
        for &byte in bytes {
            if byte == b'\n' {
                port.write_byte(b'\r');
            }
            port.write_byte(byte);
        }
    });
}

/// Writes `bytes` past the lock, for a kernel that is about to stop and may hold it.
pub fn write_in_emergency(bytes: &[u8]) {
    let address = REGISTERS.load(Ordering::Relaxed);
    let registers = core::ptr::with_exposed_provenance_mut::<PL011Registers>(address);
    let Some(registers) = NonNull::new(registers) else {
        return;
    };
    // SAFETY: `init` was promised mapped registers, and before it the boot map has them. The other owner, if it was interrupted half
    // way, never runs again: whoever calls this ends the machine.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    for &byte in bytes {
        while uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        uart.write_word(byte);
    }
}

/// The UART as a [`Console`].
#[derive(Debug)]
pub struct SerialConsole {
    /// True if a terminal listens, which wants a carriage return before each line feed; false
    /// where output must be exactly what was written.
    pub is_terminal: bool,
}

impl Console for SerialConsole {
    fn read_byte(&mut self) -> Option<u8> {
        with_port(Port::read_byte).flatten()
    }

    fn wait_for_byte(&mut self) -> Option<u8> {
        loop {
            // Masked between the check and the WFI, which wakes for a masked interrupt too: a byte
            // that comes in between is not slept over.
            let byte = arch::interrupts::masked(|| {
                let byte = self.read_byte();
                let may_sleep = with_port(|port| port.has_interrupt) == Some(true);
                if byte.is_none() && may_sleep {
                    arch::interrupts::wait();
                }
                byte
            });
            if byte.is_some() {
                return byte;
            }
        }
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        match self.is_terminal {
            true => write_text(bytes),
            false => write_raw(bytes),
        }
    }
}

impl fmt::Write for SerialConsole {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes());
        Ok(())
    }
}

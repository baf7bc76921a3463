//! The console on a [serial port](SerialPort).
//!
//! If there is no serial port at first, output is kept until devices have been found, and a [virtio console](attach) writes it.
//!
//! The interrupt handler moves received bytes into a queue, so that none are lost while the core computes. When the queue is
//! full, the receive interrupt is masked, and bytes wait in the UART's FIFO, where the sender's flow control notices them, until
//! the reader has made room.

use super::{
    interrupts, power_keys, received::Received, serial_port::SerialPort, virtio::console::VirtioConsole,
};
use crate::{
    arch,
    console::{Background, Console},
    machine::{Interrupt, KeyAction, Uart, UartKind},
    memory::boot_map::Kind,
};
use alloc::boxed::Box;
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};
use log::warn;
use spin::Mutex;

/// The most received bytes that are kept for the reader.
const QUEUE_BYTES: usize = 64 * 1024;

struct Port {
    uart: SerialPort,
    received: Received,
    /// Whether a person types: see [`Console::expect_person`].
    is_person: bool,
    /// The interrupt whose handler takes the received bytes, if there is one: see [`has_interrupt`](Self::has_interrupt).
    interrupt: Option<u32>,
    /// The interrupt that wakes the core when bytes arrive, used once it is known to work.
    wakes: Option<u32>,
}

static PORT: Mutex<Option<Port>> = Mutex::new(None);

/// How much of the output is kept while there is no port.
const EARLY_BYTES: usize = 4096;

static EARLY: Mutex<heapless::Vec<u8, EARLY_BYTES>> = Mutex::new(heapless::Vec::new());

/// How often a console without an interrupt is polled.
const POLL_US: u64 = 1000;

/// The address of the PL011 of QEMU's `virt` machine.
const QEMU_VIRT_ADDRESS: usize = 0x0900_0000;

/// The value until a device tree has been read.
const UNKNOWN_ADDRESS: usize = usize::MAX;

/// A value that stands for the port itself instead of an address.
const PORT_ADDRESS: usize = usize::MAX - 1;

/// The UART of [`write_in_emergency`]: the address of its registers, or 0 if there is none, and its kind.
static REGISTERS: AtomicUsize = AtomicUsize::new(UNKNOWN_ADDRESS);
static KIND: AtomicUsize = AtomicUsize::new(PL011);

/// The kinds as numbers.
const PL011: usize = 0;

fn kind_to_raw(kind: UartKind) -> usize {
    match kind {
        UartKind::Pl011 | UartKind::Sbsa => PL011,
        UartKind::Ns16550 { register_shift, access_bytes } => {
            usize::from(register_shift) << 8 | usize::from(access_bytes)
        }
    }
}

fn kind_from_raw(raw: usize) -> UartKind {
    match raw {
        PL011 => UartKind::Pl011,
        _ => UartKind::Ns16550 { register_shift: (raw >> 8) as u8, access_bytes: raw as u8 },
    }
}

/// Runs `use_port` with the port, with interrupts masked so that the handler cannot try to use it at the same time. `None` before
/// [`init`].
fn with_port<R>(use_port: impl FnOnce(&mut Port) -> R) -> Option<R> {
    arch::interrupts::masked(|| PORT.lock().as_mut().map(use_port))
}

/// Sets the UART that [`write_in_emergency`] uses, if any. Its registers must be mapped as device memory.
pub fn set_emergency_uart(uart: Option<&Uart>) {
    if let Some(uart) = uart {
        KIND.store(kind_to_raw(uart.kind), Ordering::Relaxed);
    }
    REGISTERS.store(uart.map_or(0, |uart| uart.registers.address as usize), Ordering::Relaxed);
}

/// Sets up the UART; output works from here on.
///
/// # Safety
/// `device` must describe a UART whose registers are mapped and used by nothing else. It must be called only once.
pub unsafe fn init(device: &Uart) {
    // SAFETY: the caller promises mapped registers that nothing else uses.
    let Some(mut uart) = (unsafe { SerialPort::new(device.kind, device.registers.address as usize) }) else {
        return;
    };
    uart.init(device);
    set_emergency_uart(Some(device));
    set_port(uart, None);
}

fn set_port(uart: SerialPort, wakes: Option<u32>) {
    let received = Received::new(QUEUE_BYTES);
    let port = Port { uart, received, is_person: false, interrupt: None, wakes };
    arch::interrupts::masked(|| *PORT.lock() = Some(port));
}

/// Whether there is a console.
pub fn is_there() -> bool {
    with_port(|_| ()).is_some()
}

/// Makes a virtio console the console if there is no other. `wakes` is its interrupt.
pub fn attach(console: VirtioConsole, wakes: Option<u32>) {
    set_port(SerialPort::Virtio(Box::new(console)), wakes);
    REGISTERS.store(PORT_ADDRESS, Ordering::Relaxed);
    let early = core::mem::take(&mut *EARLY.lock());
    write_text(&early);
}

/// Whether the UART has never reported that it can take a byte; bytes are then written anyway.
pub fn is_unready() -> bool {
    with_port(|port| port.uart.is_unready()) == Some(true)
}

/// Enables the interrupt for received bytes.
pub fn enable_interrupt(interrupt: Interrupt) {
    match interrupts::enable(interrupt, on_interrupt, 0) {
        Ok(()) => {
            with_port(|port| {
                port.interrupt = Some(interrupt.number);
                port.uart.set_receive_interrupt(true);
                port.drain_fifo();
            });
        }
        Err(error) => warn!("console input is polled: {error}"),
    }
}

fn on_interrupt(_context: usize) {
    with_port(Port::drain_fifo);
}

impl Port {
    /// Whether an interrupt handler takes received bytes. If not, because there is no interrupt or because it did not stop and
    /// was disabled, the reader polls.
    fn has_interrupt(&self) -> bool {
        self.interrupt.is_some_and(interrupts::is_handled)
    }

    /// Moves the FIFO's bytes into the queue; if that gets full, masks the receive interrupt.
    fn drain_fifo(&mut self) {
        self.uart.acknowledge();
        self.received.fill(|| self.uart.read());
        if self.received.is_full() {
            self.uart.set_receive_interrupt(false);
        }
    }

    /// True while a Ctrl-C waits to be read.
    fn is_interrupted(&mut self) -> bool {
        if !self.has_interrupt() {
            self.drain_fifo();
        }
        if self.is_person && self.received.is_full() && !self.received.holds_interrupt() {
            self.received.look_beyond(|| self.uart.read());
            if self.has_interrupt() && !self.received.is_full() {
                self.uart.set_receive_interrupt(true);
                self.drain_fifo();
            }
        }
        self.received.holds_interrupt()
    }

    fn read_byte(&mut self) -> Option<u8> {
        let was_full = self.received.is_full();
        let byte = self.received.pop();
        if self.has_interrupt() && was_full {
            // The bytes in the FIFO will not interrupt again, so they are fetched here.
            self.uart.set_receive_interrupt(true);
            self.drain_fifo();
        } else if byte.is_none() && !self.has_interrupt() {
            self.drain_fifo();
            return self.received.pop();
        }
        byte
    }
}

/// True while a Ctrl-C waits to be read.
pub fn is_interrupted() -> bool {
    with_port(Port::is_interrupted) == Some(true)
}

/// Writes `bytes` unchanged.
pub fn write_raw(bytes: &[u8]) {
    write(bytes, false);
}

/// Writes text for a terminal: each line feed is preceded by a carriage return.
pub fn write_text(bytes: &[u8]) {
    write(bytes, true);
}

fn write(bytes: &[u8], is_text: bool) {
    let written = with_port(|port| {
        for &byte in bytes {
            if byte == b'\n' && is_text {
                port.uart.write(b'\r');
            }
            port.uart.write(byte);
        }
        port.uart.flush();
    });
    if written.is_none() {
        let mut early = EARLY.lock();
        let room = early.capacity() - early.len();
        let _ = early.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Writes `bytes` without taking the lock, for a kernel that is about to stop and may hold it.
pub fn write_in_emergency(bytes: &[u8]) {
    let mut address = REGISTERS.load(Ordering::Relaxed);
    if address == UNKNOWN_ADDRESS {
        // First make sure that this is not used again, in case the guess below faults and the fault handler comes back here.
        set_emergency_uart(None);
        address = guess_address().unwrap_or(0);
        REGISTERS.store(address, Ordering::Relaxed);
    }
    if address == PORT_ADDRESS {
        // SAFETY: if this core holds the lock, the interrupted code never continues, because the caller ends the machine. If
        // another core holds it, the worst result is a line that is garbled or missing: buffers and rings stay where they are.
        unsafe { PORT.force_unlock() };
        return write_raw(bytes);
    }
    let kind = kind_from_raw(KIND.load(Ordering::Relaxed));
    // SAFETY: the caller of `init` promised mapped registers; before `init`, the boot map contains them. If another user of them
    // was interrupted, it never runs again, because the caller ends the machine.
    if let Some(mut uart) = unsafe { SerialPort::new(kind, address) } {
        bytes.iter().for_each(|&byte| uart.write(byte));
    }
}

/// A kernel that finds no device tree has no other way to report that. If the identification registers at the address of the
/// `virt` machine's PL011 are those of a PL011 (PL011 Technical Reference Manual, 3.3.15), this is used as the console.
fn guess_address() -> Option<usize> {
    const IDENTIFICATION: [(usize, u32); 7] = [
        (0xfe0, 0x11),
        (0xfe4, 0x10),
        (0xfec, 0x00),
        (0xff0, 0x0d),
        (0xff4, 0xf0),
        (0xff8, 0x05),
        (0xffc, 0xb1),
    ];
    let start = QEMU_VIRT_ADDRESS as u64;
    arch::boot_map::map(start..start + 0x1000, Kind::Device).ok()?;
    let is_pl011 = IDENTIFICATION.iter().all(|&(offset, value)| {
        arch::probe::read_u32(QEMU_VIRT_ADDRESS + offset).map(|read| read & 0xff) == Some(value)
    });
    is_pl011.then_some(QEMU_VIRT_ADDRESS)
}

/// The UART as a [`Console`].
#[derive(Debug)]
pub struct SerialConsole {
    /// True if a terminal reads the output and needs a carriage return before each line feed; false if the output must be exactly
    /// what was written.
    pub is_terminal: bool,
}

impl Console for SerialConsole {
    fn read_byte(&mut self) -> Option<u8> {
        with_port(Port::read_byte).flatten()
    }

    fn wait_for_byte(&mut self, background: &mut Background<'_>) -> Option<u8> {
        loop {
            let n_interrupts = interrupts::count();
            if let Some(byte) = self.read_byte() {
                return Some(byte);
            }
            if power_keys::request().is_some() {
                return None;
            }
            let until_us = background(self);
            // Must not sleep through something that has come since the count was read, be it a byte or something for the
            // background. With interrupts masked, nothing comes between the comparison and the WFI, which even a masked interrupt
            // ends.
            arch::interrupts::masked(|| {
                // If there is no console, there is nothing to wait for.
                let is_woken =
                    with_port(|port| port.has_interrupt() || interrupts::has_come(port.wakes)) != Some(false);
                if interrupts::count() == n_interrupts {
                    let poll_us = if is_woken { u64::MAX } else { arch::time::now_us() + POLL_US };
                    arch::time::sleep_until(until_us.min(poll_us));
                }
            });
        }
    }

    fn is_interrupted(&mut self) -> bool {
        is_interrupted()
    }

    fn expect_person(&mut self) {
        with_port(|port| port.is_person = true);
    }

    fn take_loss(&mut self) -> bool {
        with_port(|port| port.received.take_loss()) == Some(true)
    }

    fn shutdown_request(&self) -> Option<KeyAction> {
        power_keys::request()
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

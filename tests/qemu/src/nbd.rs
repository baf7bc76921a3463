//! A disk that answers slowly, or not at all, when a test requests it: a network block device server.
//!
//! It implements the part of the protocol that QEMU's client uses: fixed new-style negotiation, simple replies, and reads
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>).

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// The export has flags, and is read-only.
const TRANSMISSION_FLAGS: u16 = 0b11;
const COMMAND_READ: u16 = 0;
const COMMAND_DISCONNECT: u16 = 2;

/// A server with one export.
#[derive(Debug)]
pub struct NbdServer {
    socket: PathBuf,
    gate: Arc<Gate>,
}

/// The gate at which answers wait.
#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
    delay: Duration,
}

impl Gate {
    fn pass(&self) {
        let shut = self.is_shut.lock().expect("no holder panics");
        drop(self.changed.wait_while(shut, |shut| *shut).expect("no holder panics"));
        thread::sleep(self.delay);
    }

    fn set(&self, is_shut: bool) {
        *self.is_shut.lock().expect("no holder panics") = is_shut;
        self.changed.notify_all();
    }
}

impl NbdServer {
    /// Serves `bytes`, whose length must be a multiple of 512, at a socket in `directory`.
    pub fn start(directory: &Path, bytes: Vec<u8>) -> Self {
        Self::start_slow(directory, bytes, Duration::ZERO)
    }

    /// The same, with a delay of at least `delay` for each answer; requests are answered one after the other.
    pub fn start_slow(directory: &Path, bytes: Vec<u8>, delay: Duration) -> Self {
        let socket = directory.join("nbd");
        let listener = UnixListener::bind(&socket).expect("a socket in the temporary directory");
        let gate = Arc::new(Gate { delay, ..Gate::default() });
        let (bytes, server_gate) = (Arc::new(bytes), gate.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (bytes, gate) = (bytes.clone(), server_gate.clone());
                // A client that has gone is an error as good as any.
                thread::spawn(move || serve(client, &bytes, &gate));
            }
        });
        Self { socket, gate }
    }

    /// Arguments for QEMU: the export as a block node with this name.
    pub fn blockdev(&self, node: &str) -> String {
        let path = self.socket.display();
        format!("-blockdev driver=nbd,node-name={node},read-only=on,server.type=unix,server.path={path}")
    }

    /// Stops answering.
    pub fn stop_answering(&self) {
        self.gate.set(true);
    }

    /// Answers again, including the requests that came meanwhile.
    pub fn answer_again(&self) {
        self.gate.set(false);
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.answer_again();
    }
}

fn bytes<const N: usize>(client: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(client: &mut UnixStream) -> io::Result<u32> {
    Ok(u32::from_be_bytes(bytes(client)?))
}

fn serve(mut client: UnixStream, export: &[u8], gate: &Gate) -> io::Result<()> {
    negotiate(&mut client, export.len() as u64)?;
    loop {
        let header: [u8; 28] = bytes(&mut client)?;
        let field = |start: usize, end: usize| {
            header[start..end].iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
        };
        let (command, offset, length) = (field(6, 8) as u16, field(16, 24) as usize, field(24, 28) as usize);
        if command == COMMAND_DISCONNECT {
            return Ok(());
        }
        gate.pass();
        let mut reply = 0x6744_6698_u32.to_be_bytes().to_vec();
        let error: u32 = if command == COMMAND_READ { 0 } else { 22 };
        reply.extend(error.to_be_bytes());
        reply.extend(&header[8..16]);
        if command == COMMAND_READ {
            reply.extend(&export[offset..offset + length]);
        }
        client.write_all(&reply)?;
    }
}

fn negotiate(client: &mut UnixStream, export_bytes: u64) -> io::Result<()> {
    client.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    let _flags = number(client)?;
    loop {
        let _magic: [u8; 8] = bytes(client)?;
        let (option, length) = (number(client)?, number(client)?);
        let mut data = vec![0; length as usize];
        client.read_exact(&mut data)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let mut reply = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
            for field in [option, kind, data.len() as u32] {
                reply.extend(field.to_be_bytes());
            }
            reply.extend(data);
            client.write_all(&reply)
        };
        let mut facts = export_bytes.to_be_bytes().to_vec();
        facts.extend(TRANSMISSION_FLAGS.to_be_bytes());
        match option {
            OPTION_EXPORT_NAME => return client.write_all(&facts),
            OPTION_INFO | OPTION_GO => {
                reply(REPLY_INFO, &[&[0, 0], &*facts].concat())?;
                reply(REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(());
                }
            }
            _ => reply(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

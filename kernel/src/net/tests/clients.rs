//! Tests of connections from real clients: `smoltcp` is also at the other end of the cable.

use super::*;
use serve::{Limits, Server, Settings};
use smoltcp::{
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{Socket, SocketBuffer},
};
use std::rc::Rc;

const PORT: u16 = 80;
const SECOND_US: u64 = 1_000_000;
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The other end of the cable.
pub struct TheirEnd(pub(crate) Rc<RefCell<Cable>>);

pub struct Came(Vec<u8>);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

impl TxToken for &mut TheirEnd {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length_bytes: usize, fill: F) -> R {
        let mut frame = vec![0; length_bytes];
        let result = fill(&mut frame);
        self.0.borrow_mut().to_us.push_back(frame);
        result
    }
}

impl Device for TheirEnd {
    type RxToken<'a> = Came;
    type TxToken<'a> = &'a mut TheirEnd;

    fn receive(&mut self, _: Instant) -> Option<(Came, &mut TheirEnd)> {
        let mut cable = self.0.borrow_mut();
        let frame = (!cable.from_us.is_empty()).then(|| cable.from_us.remove(0));
        drop(cable);
        frame.map(|frame| (Came(frame), self))
    }

    fn transmit(&mut self, _: Instant) -> Option<&mut TheirEnd> {
        Some(self)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME_BYTES;
        capabilities
    }
}

/// A server and clients.
struct Clients {
    ends: Ends,
    ours: Sockets,
    server: Server<u32>,
    interface: Interface,
    device: TheirEnd,
    sockets: SocketSet<'static>,
    last_port: u16,
}

impl Clients {
    fn new() -> Self {
        let mut ends = Ends::new("10.0.2.15/24,gateway=10.0.2.2");
        let mut ours = Sockets::new(&mut ends.network, 4096, PORT);
        ours.listen(&mut ends.network, true);
        let settings = Settings {
            limits: Limits::default(),
            max_connections: Sockets::COUNT * 3 / 4,
            keys: serve::Keys::default(),
            admin: false,
            start_unix_s: None,
            nonce: 0,
            notary: None,
            secret: || None,
            sealed_only: false,
            speculate: 0,
            random: || 0,
            is_memory_low: || false,
        };
        let server = Server::new(settings, 0).unwrap();
        let mut device = TheirEnd(ends.cable.clone());
        let hardware = HardwareAddress::Ethernet(EthernetAddress(THEIR_MAC));
        let mut interface = Interface::new(Config::new(hardware), &mut device, instant(0));
        let [a, b, c, d] = THEIRS;
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(a, b, c, d), 24)).unwrap();
        });
        let sockets = SocketSet::new(Vec::new());
        let mut clients = Self { ends, ours, server, interface, device, sockets, last_port: 49_152 };
        clients.pass(0);
        clients
    }

    /// Opens a connection.
    fn connect(&mut self) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 1024]);
        let mut socket = Socket::new(buffer(), buffer());
        self.last_port += 1;
        let [a, b, c, d] = OURS;
        let remote = (IpAddress::v4(a, b, c, d), PORT);
        socket.connect(self.interface.context(), remote, self.last_port).unwrap();
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Lets time pass.
    fn pass(&mut self, us: u64) {
        let end_us = self.ends.now_us + us;
        loop {
            let Self { ends: Ends { network, now_us, .. }, ours, server, interface, device, sockets, .. } =
                self;
            interface.poll(instant(*now_us), device, sockets);
            network.receive(*now_us);
            server.check_time(*now_us);
            ours.exchange(network, server, true, *now_us);
            network.transmit(*now_us);
            interface.poll(instant(*now_us), device, sockets);
            if *now_us >= end_us {
                return;
            }
            *now_us += SECOND_US / 100;
        }
    }

    /// The answer that a new client gets within a second.
    fn ask(&mut self, request: &[u8]) -> String {
        let handle = self.connect();
        let (mut n_sent, mut answer) = (0, Vec::new());
        for _ in 0..100 {
            self.pass(SECOND_US / 100);
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            if socket.can_send() && n_sent < request.len() {
                n_sent += socket.send_slice(&request[n_sent..]).unwrap();
            }
            answer.extend(read(socket));
        }
        self.socket(handle).abort();
        self.pass(0);
        String::from_utf8(answer).unwrap()
    }
}

fn read(socket: &mut Socket<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while socket.can_recv() {
        let _ = socket.recv(|new| {
            bytes.extend(&*new);
            (new.len(), ())
        });
    }
    bytes
}

#[test]
fn many_slow_clients_keep_nobody_out() {
    let mut clients = Clients::new();
    let slow: Vec<SocketHandle> = (0..2 * Sockets::COUNT).map(|_| clients.connect()).collect();
    clients.pass(SECOND_US / 10);
    let mut answers = vec![String::new(); slow.len()];
    let request = b"POST /v1/chat/completions HTTP/1.1\r\n";
    for second in 0..20 {
        for (&handle, answer) in slow.iter().zip(&mut answers) {
            let socket = clients.socket(handle);
            let _ = socket.send_slice(&request[second..=second]);
            answer.push_str(&String::from_utf8(read(socket)).unwrap());
        }
        let answer = clients.ask(HEALTH);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "second {second}: {answer:?}");
    }
    // Some had to make room. The others were told that they take too long, and nothing else.
    let n_told = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 408 ")).count();
    assert!(n_told > Sockets::COUNT / 2, "{answers:?}");
    assert!(
        slow.iter().all(|&handle| !clients.socket(handle).may_send() || !clients.socket(handle).may_recv())
    );
    assert_eq!(clients.ours.n_open(), 0);
}

#[test]
fn who_keeps_connections_open_that_are_over_keeps_nobody_out() {
    let mut clients = Clients::new();
    for round in 0..4 {
        // These clients do not close their side, whatever the server does.
        for _ in 0..Sockets::COUNT / 2 {
            clients.connect();
        }
        clients.pass(SECOND_US / 10);
        let answer = clients.ask(HEALTH);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "round {round}: {answer:?}");
    }
}

/// The sequence number with which a network answers the same client at the same time.
fn sequence_number(seed: Option<u64>) -> [u8; 4] {
    let mut clients = Clients::new();
    if let Some(seed) = seed {
        let before = clients.ends.network.status();
        clients.ends.network.reseed(seed, clients.ends.now_us);
        assert_eq!(clients.ends.network.status(), before);
    }
    clients.connect();
    for _ in 0..100 {
        let Clients {
            ends: Ends { network, now_us, cable }, ours, server, interface, device, sockets, ..
        } = &mut clients;
        interface.poll(instant(*now_us), device, sockets);
        network.receive(*now_us);
        ours.exchange(network, server, true, *now_us);
        network.transmit(*now_us);
        *now_us += SECOND_US / 100;
        let is_answer = |frame: &&Vec<u8>| frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] == 0x12;
        if let Some(answer) = cable.borrow().from_us.iter().find(is_answer) {
            return answer[38..42].try_into().unwrap();
        }
    }
    panic!("no answer");
}

#[test]
fn a_restored_machine_answers_with_numbers_of_its_own() {
    assert_eq!(sequence_number(None), sequence_number(None));
    let restored = [1, 2].map(|seed| sequence_number(Some(seed)));
    assert_ne!(restored[0], restored[1]);
    // The initial seed.
    assert_eq!(restored[0], sequence_number(None));
    // Existing connections continue, and new ones are accepted.
    let mut clients = Clients::new();
    clients.ends.network.reseed(7, clients.ends.now_us);
    assert!(clients.ask(HEALTH).starts_with("HTTP/1.1 200 OK"));
}

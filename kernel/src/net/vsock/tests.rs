//! Tests with a host that obeys the rules, and with others that do not.

use super::*;
use crate::net::Buffer;
use serve::{Limits, Settings};
use std::{cell::RefCell, collections::VecDeque, rc::Rc};

const PORT: u32 = 80;
const CID: u64 = 3;
const HOST: u64 = 2;
const ROOM: u32 = 1 << 16;
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[derive(Default)]
struct Wire {
    to_us: VecDeque<Vec<u8>>,
    from_us: VecDeque<Vec<u8>>,
    is_full: bool,
    is_reset: bool,
    cid: u64,
    n_lent: usize,
}

struct TestDevice(Rc<RefCell<Wire>>);

impl VsockDevice for TestDevice {
    fn name(&self) -> &str {
        "a wire"
    }
    fn cid(&mut self) -> u64 {
        self.0.borrow().cid
    }
    fn failure(&self) -> Option<&str> {
        None
    }
    fn has_interrupt(&self) -> bool {
        true
    }
    fn take_reset(&mut self) -> bool {
        core::mem::take(&mut self.0.borrow_mut().is_reset)
    }
    fn receive(&mut self) -> Option<Frame> {
        let packet = self.0.borrow_mut().to_us.pop_front()?;
        self.0.borrow_mut().n_lent += 1;
        let mut buffer: Box<Buffer> = Box::new([0; 2048]);
        buffer[..packet.len()].copy_from_slice(&packet);
        Some(Frame { buffer, range: 0..packet.len() })
    }
    fn recycle(&mut self, _: Frame) {
        self.0.borrow_mut().n_lent -= 1;
    }
    fn can_send(&mut self) -> bool {
        !self.0.borrow().is_full
    }
    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        assert!(length_bytes <= MAX_PACKET_BYTES);
        let mut packet = vec![0; length_bytes];
        fill(&mut packet);
        self.0.borrow_mut().from_us.push_back(packet);
    }
}

/// The machine's end, and the packets that the host sees.
struct Ends {
    vsock: Vsock,
    server: Server<u32>,
    wire: Rc<RefCell<Wire>>,
    now_us: u64,
}

impl Ends {
    fn new() -> Self {
        let wire = Rc::new(RefCell::new(Wire { cid: CID, ..Wire::default() }));
        let mut vsock = Vsock::new(Box::new(TestDevice(wire.clone())), PORT, || 0);
        vsock.listen(true);
        let settings = Settings {
            limits: Limits::default(),
            max_connections: 96,
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
        Self { vsock, server: Server::new(settings, 0).unwrap(), wire, now_us: 0 }
    }

    /// A packet from this port of the host.
    fn packet(port: u32, operation: u16, data: &[u8]) -> (Header, Vec<u8>) {
        let header = Header {
            source: (HOST, port),
            destination: (CID, PORT),
            length: data.len() as u32,
            kind: STREAM,
            operation,
            flags: 0,
            room: ROOM,
            forwarded: 0,
        };
        (header, data.to_vec())
    }

    fn give(&mut self, (header, data): (Header, Vec<u8>)) {
        let mut packet = vec![0; HEADER_BYTES];
        header.write(&mut packet);
        packet.extend(data);
        self.wire.borrow_mut().to_us.push_back(packet);
    }

    /// Gives the machine its turns, and returns what it sends.
    fn turn(&mut self) -> Vec<(Header, Vec<u8>)> {
        for _ in 0..8 {
            self.now_us += 1000;
            self.server.check_time(self.now_us);
            self.vsock.exchange(&mut self.server, true, self.now_us);
        }
        let packets = core::mem::take(&mut self.wire.borrow_mut().from_us);
        assert_eq!(self.wire.borrow().n_lent, 0);
        packets
            .into_iter()
            .map(|packet| (Header::read(&packet).unwrap(), packet[HEADER_BYTES..].to_vec()))
            .collect()
    }

    fn send(&mut self, port: u32, operation: u16, data: &[u8]) -> Vec<(Header, Vec<u8>)> {
        self.give(Self::packet(port, operation, data));
        self.turn()
    }
}

fn operations(packets: &[(Header, Vec<u8>)]) -> Vec<u16> {
    packets.iter().map(|(header, _)| header.operation).collect()
}

fn text(packets: &[(Header, Vec<u8>)]) -> String {
    let bytes: Vec<u8> = packets.iter().flat_map(|(_, data)| data.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn headers_are_what_the_specification_says() {
    let header = Header {
        source: (0x0102_0304_0506_0708, 0x1112_1314),
        destination: (0x2122_2324_2526_2728, 0x3132_3334),
        length: 0x4142_4344,
        kind: 0x5152,
        operation: 0x6162,
        flags: 0x7172_7374,
        room: 0x8182_8384,
        forwarded: 0x9192_9394,
    };
    let mut bytes = [0; HEADER_BYTES];
    header.write(&mut bytes);
    assert_eq!((bytes[0], bytes[7], bytes[8], bytes[16], bytes[20]), (8, 1, 0x28, 0x14, 0x34));
    assert_eq!(
        (bytes[24], bytes[28], bytes[30], bytes[32], bytes[36], bytes[40]),
        (0x44, 0x52, 0x62, 0x74, 0x84, 0x94)
    );
    assert_eq!(Header::read(&bytes), Some(header));
    assert_eq!(Header::read(&bytes[1..]), None);
}

#[test]
fn a_request_is_answered_and_the_connection_ends() {
    let mut ends = Ends::new();
    let accepted = ends.send(1025, operation::REQUEST, b"");
    assert_eq!(operations(&accepted), [operation::RESPONSE]);
    let (header, _) = accepted[0];
    assert_eq!((header.source, header.destination, header.room), ((CID, PORT), (HOST, 1025), ROOM_BYTES));
    // In several pieces.
    assert_eq!(ends.send(1025, operation::DATA, &HEALTH[..20]), []);
    let answer = ends.send(1025, operation::DATA, &HEALTH[20..]);
    assert!(text(&answer).starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    assert_eq!(answer[0].0.forwarded as usize, HEALTH.len());
    let (last, _) = answer.last().unwrap();
    assert_eq!((last.operation, last.flags), (operation::SHUTDOWN, NO_RECEIVE | NO_SEND));
    assert_eq!((ends.vsock.n_open(), ends.server.n_connections()), (1, 0));
    assert_eq!(ends.send(1025, operation::RESET, b""), []);
    assert_eq!(ends.vsock.n_open(), 0);
    // A side that does not agree to the end is reset after a while.
    ends.send(1026, operation::REQUEST, b"");
    ends.send(1026, operation::DATA, HEALTH);
    ends.now_us += READ_US;
    assert_eq!(operations(&ends.turn()), [operation::RESET]);
    assert_eq!(ends.vsock.n_open(), 0);
}

#[test]
fn who_reads_slowly_gets_all_of_an_answer() {
    let mut ends = Ends::new();
    ends.send(7, operation::REQUEST, b"");
    let answer = ends.send(7, operation::DATA, HEALTH);
    assert_eq!(answer.last().unwrap().0.operation, operation::SHUTDOWN);
    let n_bytes = text(&answer).len() as u32;
    let (mut header, _) = Ends::packet(7, operation::CREDIT_UPDATE, b"");
    // It reads in eight parts, and reports that only when asked.
    for n_read in (1..=8).map(|part| n_bytes * part / 8) {
        ends.now_us += READ_US - CHECK_US;
        assert_eq!(operations(&ends.turn()), [operation::CREDIT_REQUEST]);
        header.forwarded = n_read;
        ends.give((header, Vec::new()));
        assert_eq!(ends.turn(), []);
    }
    // It is not asked any more, and only has to agree.
    ends.now_us += LINGER_US - CHECK_US;
    assert_eq!(ends.turn(), []);
    ends.now_us += CHECK_US;
    assert_eq!(operations(&ends.turn()), [operation::RESET]);
    // Reporting less than before, or more than was sent, does not count as progress.
    ends.send(8, operation::REQUEST, b"");
    ends.send(8, operation::DATA, HEALTH);
    for forwarded in [1, 0, n_bytes + 1, 1, 0, u32::MAX, 1] {
        header.source.1 = 8;
        header.forwarded = forwarded;
        ends.give((header, Vec::new()));
        assert!(!operations(&ends.turn()).contains(&operation::RESET));
        ends.now_us += READ_US / 8;
    }
    ends.now_us += READ_US / 4;
    assert_eq!(operations(&ends.turn()), [operation::RESET]);
    // Byte by byte, it would occupy a place for half an hour.
    ends.send(9, operation::REQUEST, b"");
    ends.send(9, operation::DATA, HEALTH);
    header.source.1 = 9;
    for n_read in 1.. {
        ends.now_us += READ_US - CHECK_US;
        header.forwarded = n_read;
        ends.give((header, Vec::new()));
        let is_reset = operations(&ends.turn()).contains(&operation::RESET);
        let is_late = u64::from(n_read) * (READ_US - CHECK_US) >= ALL_READ_US;
        assert_eq!(is_reset, is_late, "{n_read}");
        if is_late {
            break;
        }
    }
}

#[test]
fn nothing_is_sent_that_there_is_no_room_for() {
    let mut ends = Ends::new();
    let (mut header, _) = Ends::packet(7, operation::REQUEST, b"");
    header.room = 10;
    ends.give((header, Vec::new()));
    ends.turn();
    let (mut header, data) = Ends::packet(7, operation::DATA, HEALTH);
    header.room = 10;
    ends.give((header, data));
    let mut received = ends.turn();
    assert_eq!(operations(&received), [operation::DATA, operation::CREDIT_REQUEST]);
    let mut answer = text(&received);
    for _ in 0..1000 {
        assert!(received.iter().map(|(_, data)| data.len()).sum::<usize>() <= 10);
        let (mut header, _) = Ends::packet(7, operation::CREDIT_UPDATE, b"");
        (header.room, header.forwarded) = (10, answer.len() as u32);
        ends.give((header, Vec::new()));
        received = ends.turn();
        answer += &text(&received);
        if operations(&received).contains(&operation::SHUTDOWN) {
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with('}'), "{answer}");
            return;
        }
    }
    panic!("{answer}");
}

#[test]
fn who_has_no_room_is_asked_now_and_then() {
    let mut ends = Ends::new();
    let packet = |operation, data: &[u8], room| {
        let (header, data) = Ends::packet(7, operation, data);
        (Header { room, ..header }, data)
    };
    ends.give(packet(operation::REQUEST, b"", 10));
    ends.turn();
    ends.give(packet(operation::DATA, HEALTH, 10));
    let mut received = ends.turn();
    assert_eq!(operations(&received), [operation::DATA, operation::CREDIT_REQUEST]);
    let start_us = ends.now_us;
    let mut n_asked = 1;
    while ends.now_us < start_us + 5 * CHECK_US {
        // It always answers at once that nothing has been read.
        for _ in received {
            ends.give(packet(operation::CREDIT_UPDATE, b"", 10));
        }
        received = ends.turn();
        assert!(operations(&received).iter().all(|&operation| operation == operation::CREDIT_REQUEST));
        n_asked += received.len();
    }
    // If an answer is lost, the question is repeated.
    assert_eq!(n_asked, 6);
    ends.turn();
    ends.now_us += CHECK_US;
    assert_eq!(operations(&ends.turn()), [operation::CREDIT_REQUEST]);
}

#[test]
fn room_is_given_again_as_it_is_read() {
    let mut ends = Ends::new();
    ends.send(9, operation::REQUEST, b"");
    let body = vec![b' '; 40_000];
    let head = format!("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    ends.send(9, operation::DATA, head.as_bytes());
    let (mut n_sent, mut n_told) = (head.len(), head.len());
    for piece in body.chunks(2000) {
        assert!(n_sent + piece.len() <= n_told + ROOM_BYTES as usize, "{n_sent} {n_told}");
        n_sent += piece.len();
        for (header, _) in ends.send(9, operation::DATA, piece) {
            assert_ne!(header.operation, operation::RESET);
            n_told = n_told.max(header.forwarded as usize);
        }
    }
    let asked = ends.send(9, operation::CREDIT_REQUEST, b"");
    assert_eq!((asked[0].0.operation, asked[0].0.forwarded as usize), (operation::CREDIT_UPDATE, n_sent));
}

#[test]
fn who_breaks_the_rules_is_reset() {
    let cases: [fn(&mut Header); 6] = [
        |header| header.length += 1,
        |header| header.length = u32::MAX,
        |header| header.operation = 0,
        |header| header.operation = 99,
        |header| header.operation = operation::REQUEST,
        |header| header.operation = operation::RESPONSE,
    ];
    for case in cases {
        let mut ends = Ends::new();
        ends.send(5, operation::REQUEST, b"");
        let (mut header, data) = Ends::packet(5, operation::DATA, b"GET");
        case(&mut header);
        ends.give((header, data));
        assert_eq!(operations(&ends.turn()), [operation::RESET]);
        assert_eq!((ends.vsock.n_open(), ends.server.n_connections()), (0, 0));
    }
    let mut ends = Ends::new();
    // Sends more than there is room for, while nothing is read.
    ends.send(5, operation::REQUEST, b"");
    for _ in 0..5 {
        ends.give(Ends::packet(5, operation::DATA, &[b'x'; 2000]));
    }
    assert!(operations(&ends.turn()).contains(&operation::RESET));
    // Sends packets for connections that do not exist.
    assert_eq!(operations(&ends.send(6, operation::DATA, b"x")), [operation::RESET]);
    assert_eq!(ends.send(6, operation::RESET, b""), []);
    let elsewhere: [fn(&mut Header); 2] = [|header| header.destination.1 = 81, |header| header.kind = 2];
    for change in elsewhere {
        let (mut header, data) = Ends::packet(6, operation::REQUEST, b"");
        change(&mut header);
        ends.give((header, data));
        let answer = ends.turn();
        assert_eq!(operations(&answer), [operation::RESET]);
        assert_eq!((answer[0].0.source, answer[0].0.kind), (header.destination, header.kind));
    }
    let (mut header, data) = Ends::packet(6, operation::REQUEST, b"");
    header.destination.0 = CID + 1;
    ends.give((header, data));
    assert_eq!(ends.turn(), []);
}

#[test]
fn half_a_close_is_told_and_a_whole_one_ends_it() {
    let mut ends = Ends::new();
    ends.send(5, operation::REQUEST, b"");
    let (mut header, _) = Ends::packet(5, operation::SHUTDOWN, b"");
    header.flags = NO_SEND;
    ends.give(Ends::packet(5, operation::DATA, HEALTH));
    ends.give((header, Vec::new()));
    assert!(text(&ends.turn()).starts_with("HTTP/1.1 200 OK"));
    ends.send(6, operation::REQUEST, b"");
    header.source.1 = 6;
    header.flags = NO_SEND | NO_RECEIVE;
    ends.give((header, Vec::new()));
    assert_eq!(operations(&ends.turn()), [operation::RESET]);
    assert_eq!(ends.server.n_connections(), 0);
}

#[test]
fn who_comes_too_many_waits_for_room() {
    let mut ends = Ends::new();
    for port in 0..200 {
        ends.give(Ends::packet(port, operation::REQUEST, b""));
    }
    let answers = ends.turn();
    let count = |operation| answers.iter().filter(|(header, _)| header.operation == operation).count();
    // 96 at a time are allowed: idle ones make room.
    let n_over = Sockets::COUNT - 96;
    assert_eq!((count(operation::RESPONSE), count(operation::SHUTDOWN)), (Sockets::COUNT, n_over));
    assert_eq!((count(operation::RESET), ends.server.n_connections()), (200 - Sockets::COUNT, 96));
    ends.now_us += LINGER_US;
    assert_eq!(operations(&ends.turn()), vec![operation::RESET; n_over]);
    let next = ends.send(300, operation::REQUEST, b"");
    assert_eq!(operations(&next), [operation::SHUTDOWN, operation::RESPONSE]);
    // After the machine was restored there is no connection, and the machine has another number.
    (ends.wire.borrow_mut().is_reset, ends.wire.borrow_mut().cid) = (true, 9);
    ends.turn();
    assert_eq!((ends.vsock.n_open(), ends.server.n_connections()), (0, 0));
    let (mut header, data) = Ends::packet(1, operation::REQUEST, b"");
    header.destination.0 = 9;
    ends.give((header, data));
    assert_eq!(ends.turn()[0].0.source, (9, PORT));
    // New connections are not accepted any more.
    ends.vsock.listen(false);
    header.source.1 = 2;
    ends.give((header, Vec::new()));
    assert_eq!(operations(&ends.turn()), [operation::RESET]);
}

#[test]
fn what_cannot_be_sent_now_is_sent_later() {
    let mut ends = Ends::new();
    ends.wire.borrow_mut().is_full = true;
    assert_eq!(ends.send(5, operation::REQUEST, b""), []);
    assert_eq!(ends.vsock.exchange(&mut ends.server, true, 77), 77 + SOON_US);
    ends.wire.borrow_mut().is_full = false;
    assert_eq!(operations(&ends.turn()), [operation::RESPONSE]);
    assert_eq!(ends.vsock.exchange(&mut ends.server, true, 77), 77 + CHECK_US);
}

#[test]
fn no_packet_kills_it() {
    let mut ends = Ends::new();
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    for _ in 0..20_000 {
        let data = &HEALTH[..next(HEALTH.len())];
        let (header, data) = Ends::packet(next(4) as u32, next(9) as u16, data);
        let mut packet = vec![0; HEADER_BYTES];
        header.write(&mut packet);
        packet.extend(data);
        for _ in 0..next(3) {
            let place = next(packet.len());
            packet[place] = [0, 0xff, next(256) as u8][next(3)];
        }
        packet.truncate(packet.len() - if next(8) == 0 { next(packet.len()) } else { 0 });
        ends.wire.borrow_mut().to_us.push_back(packet);
        ends.turn();
    }
    ends.give(Ends::packet(99, operation::REQUEST, b""));
    ends.turn();
    assert!(text(&ends.send(99, operation::DATA, HEALTH)).starts_with("HTTP/1.1 200 OK"));
}

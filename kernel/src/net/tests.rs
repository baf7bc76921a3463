use super::*;

mod clients;
#[cfg_attr(not(feature = "llm-transformer"), allow(dead_code, reason = "who asks a model is a client"))]
pub(crate) mod unreliable;

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

const OUR_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const THEIR_MAC: [u8; 6] = [0x52, 0x55, 0x0a, 0, 2, 2];
const OURS: [u8; 4] = [10, 0, 2, 15];
const THEIRS: [u8; 4] = [10, 0, 2, 2];

/// The frames in transit, in both directions.
#[derive(Default)]
pub(crate) struct Cable {
    to_us: VecDeque<Vec<u8>>,
    from_us: Vec<Vec<u8>>,
    is_full: bool,
}

pub(crate) struct TestLink(pub Rc<RefCell<Cable>>);

impl Link for TestLink {
    fn name(&self) -> &str {
        "a cable"
    }
    fn mac(&self) -> [u8; 6] {
        OUR_MAC
    }
    fn is_up(&self) -> bool {
        true
    }
    fn has_interrupt(&self) -> bool {
        true
    }
    fn failure(&self) -> Option<&str> {
        None
    }
    fn buffer_bytes(&self) -> usize {
        0
    }
    fn receive(&mut self) -> Option<Frame> {
        let frame = self.0.borrow_mut().to_us.pop_front()?;
        let mut buffer = Box::new([0; 2048]);
        buffer[12..12 + frame.len()].copy_from_slice(&frame);
        Some(Frame { buffer, range: 12..12 + frame.len() })
    }
    fn recycle(&mut self, _: Box<Buffer>) {}
    fn can_send(&mut self) -> bool {
        !self.0.borrow().is_full
    }
    fn send(&mut self, length_bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut frame = vec![0; length_bytes];
        fill(&mut frame);
        self.0.borrow_mut().from_us.push(frame);
    }
}

/// A network at one end of a cable.
struct Ends {
    network: Network,
    cable: Rc<RefCell<Cable>>,
    now_us: u64,
}

impl Ends {
    fn new(addressing: &str) -> Self {
        let cable = Rc::new(RefCell::new(Cable::default()));
        let link = Box::new(TestLink(cable.clone()));
        // Each read of the count counts as another interrupt.
        let n_interrupts = || {
            static COUNT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
            COUNT.fetch_add(1, core::sync::atomic::Ordering::Relaxed)
        };
        let network = Network::new(link, addressing.parse().unwrap(), 1, n_interrupts, 0);
        Self { network, cable, now_us: 0 }
    }

    /// The frames that are sent in answer to these frames.
    fn send(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.cable.borrow_mut().to_us.extend(frames.iter().cloned());
        while !self.cable.borrow().to_us.is_empty() {
            self.now_us += 1000;
            self.network.poll(self.now_us);
        }
        core::mem::take(&mut self.cable.borrow_mut().from_us)
    }
}

fn ethernet(kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&OUR_MAC[..], &THEIR_MAC, &kind, payload].concat()
}

fn arp_request() -> Vec<u8> {
    let payload = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &THEIR_MAC, &THEIRS, &[0; 6], &OURS].concat();
    ethernet([8, 6], &payload)
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn ipv4(source: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let mut header =
        [&[0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0][..], &source, &OURS].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    ethernet([8, 0], &[&header[..], payload].concat())
}

fn echo_request(source: [u8; 4]) -> Vec<u8> {
    let mut echo = [&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], b"are you there?"].concat();
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum);
    ipv4(source, 1, &echo)
}

#[test]
fn it_answers_arp_and_echo() {
    let mut ends = Ends::new("10.0.2.15/24,gateway=10.0.2.2");
    let answers = ends.send(&[arp_request(), echo_request(THEIRS)]);
    let arp = answers
        .iter()
        .find(|frame| frame[12..14] == [8, 6])
        .expect("an answer to the question whose address it is");
    assert_eq!((&arp[..6], &arp[22..28], &arp[28..32]), (&THEIR_MAC[..], &OUR_MAC[..], &OURS[..]));
    let echo = answers.iter().find(|frame| frame[12..14] == [8, 0] && frame[23] == 1).expect("an echo");
    assert_eq!(echo[34], 0, "an echo reply");
    assert!(echo.ends_with(b"are you there?"));
    assert_eq!(ends.network.traffic().frames_in, 2);
    assert_eq!(ends.network.status().gateways.len(), 1);
}

#[test]
fn it_asks_for_an_address() {
    let mut ends = Ends::new("dhcp");
    let asked = ends.send(&[arp_request()]);
    let is_discover =
        |frame: &&Vec<u8>| frame[12..14] == [8, 0] && frame[23] == 17 && frame[36..38] == [0, 67];
    assert!(asked.iter().any(|frame| is_discover(&frame)));
    // Only a router can send what was asked for.
    assert_eq!(ends.network.status().addresses.len(), 1);
}

#[test]
fn without_a_router_it_does_not_stay_awake() {
    let mut ends = Ends::new("10.0.2.15/24");
    let mut n_polls = 0;
    while ends.now_us < 100_000_000 {
        let next_us = ends.network.poll(ends.now_us);
        assert!(next_us > ends.now_us);
        ends.now_us = next_us;
        n_polls += 1;
    }
    assert!(n_polls < 1500, "{n_polls} times awake in 100 s");
    // An address and a router were asked for three times.
    assert_eq!(ends.cable.borrow().from_us.len(), 3);
}

#[test]
fn what_cannot_be_sent_is_sent_later() {
    let mut ends = Ends::new("10.0.2.15/24");
    ends.cable.borrow_mut().is_full = true;
    ends.cable.borrow_mut().to_us.push_back(arp_request());
    let next_us = ends.network.poll(1000);
    assert_eq!(next_us, 1000 + SOON_US);
    ends.cable.borrow_mut().is_full = false;
    assert!(!ends.send(&[]).is_empty() || !ends.send(&[arp_request()]).is_empty());
}

/// A random number generator (Marsaglia, "Xorshift RNGs").
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    }
}

/// A router advertisement to all nodes, with a correct checksum.
fn advertisement(prefix: u8) -> Vec<u8> {
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut icmp = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend([3, 4, 64, 0xc0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, prefix, 1, 0xd, 0xb8, 0, 0, 0, 0]);
    icmp.extend([0; 8]);
    let pseudo = [&source[..], &all, &[0, 0, 0, icmp.len() as u8, 0, 0, 0, 58], &icmp].concat();
    let sum = checksum(&pseudo);
    icmp[2..4].copy_from_slice(&sum);
    let header = [0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255];
    ethernet([0x86, 0xdd], &[&header[..], &source, &all, &icmp].concat())
}

#[test]
fn routers_give_addresses_that_are_addresses() {
    let mut ends = Ends::new("10.0.2.15/24");
    ends.send(&[advertisement(0xff), advertisement(0x20), arp_request()]);
    let addresses = ends.network.status().addresses;
    assert!(addresses.iter().any(|address| address.to_string().starts_with("2001:db8")), "{addresses:?}");
    assert_eq!(addresses.len(), 3);
    assert_eq!(ends.network.traffic().refused, 1);
}

#[test]
fn no_frame_kills_it() {
    let tcp = [0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    let udp = [0, 67, 0, 68, 0, 40, 0, 0, 2, 1, 6, 0, 1, 2, 3, 4];
    let valid = [
        arp_request(),
        echo_request(THEIRS),
        echo_request([0; 4]),
        ipv4(THEIRS, 6, &tcp),
        ipv4([0; 4], 6, &tcp),
        ipv4(THEIRS, 17, &udp),
        advertisement(0x20),
        advertisement(0xff),
    ];
    let mut ends = Ends::new("10.0.2.15/24,gateway=10.0.2.2");
    let mut dhcp = Ends::new("dhcp");
    let mut next = numbers(0x1234_5678_9abc_def1);
    for round in 0..20_000 {
        let mut frame = valid[round % valid.len()].clone();
        for _ in 0..next(6) {
            let place = next(frame.len());
            frame[place] = [0, 0xff, next(256) as u8][next(3)];
        }
        frame.truncate(14 + next(frame.len()));
        if frame.len() > 34 && next(2) == 0 && frame[12..14] == [8, 0] {
            frame[24..26].fill(0);
            let sum = checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum);
        }
        ends.send(&[frame.clone()]);
        dhcp.send(&[frame]);
    }
    // It still answers.
    assert!(!ends.send(&[arp_request(), echo_request(THEIRS)]).is_empty());
}

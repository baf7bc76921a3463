//! [`Shuffled`]: a cable on which frames overtake each other, arrive twice, or arrive late. `smoltcp`'s own fault injector,
//! wrapped around it, loses and changes frames.

use super::*;
use crate::storage::unreliable_disk::Chance;
use smoltcp::phy::{Device, DeviceCapabilities, FaultInjector, RxToken, TxToken};

/// A device whose incoming and outgoing frames are shuffled at random.
pub struct Shuffled<D> {
    lower: D,
    chance: Chance,
    /// One frame in this many is late or arrives twice; none if it is 0.
    pub one_in: u64,
    /// Frames that have arrived, and frames on their way out.
    coming: Vec<Vec<u8>>,
    going: Vec<Vec<u8>>,
}

/// A received frame.
pub struct Came(Vec<u8>);

/// Permission to send a frame.
pub struct ToSend<'d, D>(&'d mut Shuffled<D>, Instant);

impl<D: Device> Shuffled<D> {
    /// `lower`, shuffled according to this seed.
    pub fn new(lower: D, seed: u64, one_in: u64) -> Self {
        Self { lower, chance: Chance::new(seed), one_in, coming: Vec::new(), going: Vec::new() }
    }

    /// `lower` with all possible faults: one frame in `one_in` is shuffled, and `lost` and `changed` percent are lost and changed.
    pub fn with_losses(lower: D, seed: u64, one_in: u64, lost: u8, changed: u8) -> FaultInjector<Self> {
        let mut injector = FaultInjector::new(Self::new(lower, seed, one_in), seed as u32 | 1);
        injector.set_drop_chance(lost);
        injector.set_corrupt_chance(changed);
        injector
    }

    /// Puts a frame behind the others, before some of them, or into the queue twice.
    fn put(chance: &mut Chance, one_in: u64, queue: &mut Vec<Vec<u8>>, frame: Vec<u8>) {
        let is_odd = |chance: &mut Chance| one_in > 0 && chance.below(one_in) == 0;
        if is_odd(chance) {
            let place = chance.below(queue.len() as u64 + 1) as usize;
            queue.insert(place, frame.clone());
        }
        let place = if is_odd(chance) { chance.below(queue.len() as u64 + 1) as usize } else { queue.len() };
        queue.insert(place, frame);
    }

    /// Sends all frames on their way out, except for a late one.
    fn flush(&mut self, now: Instant) {
        let is_late = self.one_in > 0 && self.chance.below(self.one_in) == 0;
        let n_late = usize::from(is_late && self.going.len() > 1);
        while self.going.len() > n_late {
            let Some(token) = self.lower.transmit(now) else { return };
            let frame = self.going.remove(0);
            token.consume(frame.len(), |place| place.copy_from_slice(&frame));
        }
    }
}

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

impl<D: Device> TxToken for ToSend<'_, D> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length_bytes: usize, fill: F) -> R {
        let Self(device, now) = self;
        let mut frame = vec![0; length_bytes];
        let result = fill(&mut frame);
        let Shuffled { chance, one_in, going, .. } = device;
        Shuffled::<D>::put(chance, *one_in, going, frame);
        device.flush(now);
        result
    }
}

impl<D: Device> Device for Shuffled<D> {
    type RxToken<'a>
        = Came
    where
        D: 'a;
    type TxToken<'a>
        = ToSend<'a, D>
    where
        D: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Came, ToSend<'_, D>)> {
        self.flush(now);
        while let Some((token, _)) = self.lower.receive(now) {
            let frame = token.consume(<[u8]>::to_vec);
            let Self { chance, one_in, coming, .. } = self;
            Self::put(chance, *one_in, coming, frame);
        }
        let frame = (!self.coming.is_empty()).then(|| self.coming.remove(0))?;
        Some((Came(frame), ToSend(self, now)))
    }

    fn transmit(&mut self, now: Instant) -> Option<ToSend<'_, D>> {
        Some(ToSend(self, now))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.lower.capabilities()
    }
}

/// The client's side, at the other end of the cable.
pub struct Client {
    interface: Interface,
    device: FaultInjector<Shuffled<clients::TheirEnd>>,
    sockets: SocketSet<'static>,
    last_port: u16,
}

impl Client {
    /// A client on a network that shuffles one frame in `one_in`, and loses and changes these percentages.
    pub fn new(cable: &Rc<RefCell<Cable>>, seed: u64, (one_in, lost, changed): (u64, u8, u8)) -> Self {
        let mut device = Shuffled::with_losses(clients::TheirEnd(cable.clone()), seed, one_in, lost, changed);
        let hardware = HardwareAddress::Ethernet(EthernetAddress(THEIR_MAC));
        let mut config = Config::new(hardware);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, instant(0));
        let [a, b, c, d] = THEIRS;
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(a, b, c, d), 24)).unwrap();
        });
        Self { interface, device, sockets: SocketSet::new(Vec::new()), last_port: 49_152 }
    }

    /// Makes the network work without faults from now on.
    pub fn heal(self, cable: &Rc<RefCell<Cable>>) -> Self {
        let mut healed = Self::new(cable, 0, (0, 0, 0));
        healed.last_port = self.last_port;
        healed
    }

    /// Opens a connection from a port that has not been used yet.
    pub fn connect(&mut self, port: u16) -> SocketHandle {
        use smoltcp::socket::tcp::{Socket, SocketBuffer};
        let buffer = || SocketBuffer::new(vec![0; 4096]);
        let mut socket = Socket::new(buffer(), buffer());
        // A peer that is silent for this long is considered gone.
        socket.set_timeout(Some(smoltcp::time::Duration::from_secs(90)));
        socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(20)));
        self.last_port = self.last_port.checked_add(1).unwrap_or(49_152);
        let [a, b, c, d] = OURS;
        socket.connect(self.interface.context(), (IpAddress::v4(a, b, c, d), port), self.last_port).unwrap();
        self.sockets.add(socket)
    }

    /// Sends and receives.
    pub fn poll(&mut self, now_us: u64) {
        self.interface.poll(instant(now_us), &mut self.device, &mut self.sockets);
    }

    /// The socket of a connection.
    pub fn socket(&mut self, handle: SocketHandle) -> &mut smoltcp::socket::tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Forgets a connection that has ended.
    pub fn forget(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }
}

#[test]
fn what_a_cable_shuffles_comes_all_the_same() {
    let cable = Rc::new(RefCell::new(Cable::default()));
    let mut device = Shuffled::new(clients::TheirEnd(cable.clone()), 7, 3);
    for number in 0..200_u8 {
        device.transmit(instant(0)).unwrap().consume(20, |frame| frame.fill(number));
    }
    device.one_in = 0;
    device.flush(instant(0));
    let sent: Vec<u8> = cable.borrow().to_us.iter().map(|frame| frame[0]).collect();
    assert!(
        (0..200).all(|number| sent.contains(&number)) && !sent.is_sorted() && sent.len() > 220,
        "{sent:?}"
    );
    cable.borrow_mut().from_us = (0..200_u8).map(|number| vec![number; 20]).collect();
    device.one_in = 3;
    let mut came = Vec::new();
    while let Some((frame, _)) = device.receive(instant(0)) {
        came.push(frame.consume(|frame| frame[0]));
    }
    assert!(
        (0..200).all(|number| came.contains(&number)) && !came.is_sorted() && came.len() > 220,
        "{came:?}"
    );
}

/// Frames that must not be processed take turns with the others, and do not block other work.
#[test]
fn frames_that_are_refused_without_an_end_are_looked_at_in_turns() {
    let mut ends = Ends::new("10.0.2.15/24");
    ends.send(&[arp_request()]);
    let flood = 10_000;
    let refused = advertisement(0xff);
    ends.cable.borrow_mut().to_us.extend(core::iter::repeat_n(refused, flood));
    ends.now_us += 1000;
    let next_us = ends.network.poll(ends.now_us);
    assert_eq!(ends.cable.borrow().to_us.len(), flood - MAX_FRAMES_IN_A_ROW);
    assert_eq!(next_us, ends.now_us, "there is more to look at");
    assert!(!ends.send(&[arp_request(), echo_request(THEIRS)]).is_empty());
    assert_eq!(ends.network.traffic().refused, flood as u64);
}

//! The network: a card, its addresses, and the connections over it.
//!
//! `smoltcp` implements the protocols: ARP, IPv4, IPv6 with neighbour discovery and router advertisements, ICMP echo, TCP, DHCP.
//! There is no background activity: the owner of a [`Network`] must call [`poll`](Network::poll) whenever something may have
//! arrived, and at the latest at the time that the last call returned.
//!
//! | part | what it is |
//! |---|---|
//! | [`Link`] | a network card; drivers and tests implement it |
//! | `phy` | makes a link usable by `smoltcp`, and counts its traffic |
//! | `guard` | rejects frames that must not be processed |
//! | [`Addressing`] | how the interface gets its addresses |
//! | [`Sockets`] | listening TCP sockets, which connect clients to a server |
//! | [`Vsock`] | the same for connections from the host through a vsock device, without a network |

mod addresses;
mod guard;
mod link;
mod phy;
mod sockets;
mod vsock;

pub use addresses::Addressing;
pub use link::{Buffer, Frame, Link, MAX_FRAME_BYTES};
pub use phy::Traffic;
pub use smoltcp::wire::IpAddress;
pub use sockets::Sockets;
pub use vsock::{HEADER_BYTES as VSOCK_HEADER_BYTES, Vsock, VsockDevice};

use self::phy::Phy;
use alloc::{boxed::Box, string::String, vec::Vec};
use log::{info, warn};
use smoltcp::{
    iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet},
    socket::dhcpv4,
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr, Ipv6Address, Ipv6Cidr},
};

/// The time of an event that will not occur.
pub const NEVER_US: u64 = u64::MAX;

/// Frames that are processed in a row before other work gets its turn.
const MAX_FRAMES_IN_A_ROW: usize = 64;

/// How soon to poll a card that does not interrupt, or that has no room for what is to be sent.
const SOON_US: u64 = 1_000;

/// How soon to retry something that is due now but could not be done. `smoltcp` 0.14 reports router solicitations that it will
/// not repeat as due now.
const LATER_US: u64 = 100_000;

/// The longest sleep. If nothing else is due, `smoltcp` 0.14 does not say when routers must be solicited or forgotten.
const LONGEST_US: u64 = 4_000_000;

/// A card, and the protocols that use it.
pub struct Network {
    phy: Phy,
    interface: Interface,
    sockets: SocketSet<'static>,
    addressing: Addressing,
    dhcp: Option<SocketHandle>,
    /// Returns the number of interrupts so far.
    n_interrupts: fn() -> u64,
    /// The number of interrupts when the card was last checked.
    seen_interrupts: u64,
    /// Whether more frames had arrived than are processed in a row.
    has_more: bool,
    /// When there is something to do even without an interrupt.
    wake_us: u64,
    /// The addresses that have been logged.
    told: Vec<IpCidr>,
    is_failure_told: bool,
}

impl Network {
    /// Starts to use a card. `seed` is an unpredictable number; `n_interrupts` returns the number of interrupts so far.
    pub fn new(
        link: Box<dyn Link>,
        addressing: Addressing,
        seed: u64,
        n_interrupts: fn() -> u64,
        now_us: u64,
    ) -> Self {
        let mac = EthernetAddress(link.mac());
        let mut phy = Phy::new(link);
        let mut interface = interface(mac, &mut phy, seed, now_us);
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = match addressing {
            Addressing::Dhcp => Some(sockets.add(dhcpv4::Socket::new())),
            Addressing::Static { .. } => None,
        };
        interface.update_ip_addrs(|addresses| {
            let link_local = IpCidr::Ipv6(link_local(mac));
            addresses.push(link_local).expect("there is room for four");
            if let Addressing::Static { address, .. } = addressing {
                addresses.push(IpCidr::Ipv4(address)).expect("there is room for four");
            }
        });
        if let Addressing::Static { gateway: Some(gateway), .. } = addressing {
            let added = interface.routes_mut().add_default_ipv4_route(gateway);
            added.expect("there is room for four");
        }
        Self {
            phy,
            interface,
            sockets,
            addressing,
            dhcp,
            n_interrupts,
            // Something may have arrived before.
            seen_interrupts: u64::MAX,
            has_more: false,
            wake_us: 0,
            told: Vec::new(),
            is_failure_told: false,
        }
    }

    /// Continues with another seed, so that its random numbers differ from those of a copy of this machine. Addresses, routes and
    /// connections stay; neighbours are discovered again.
    pub fn reseed(&mut self, seed: u64, now_us: u64) {
        let mac = self.phy.with_link(|link| EthernetAddress(link.mac()));
        let mut interface = interface(mac, &mut self.phy, seed, now_us);
        interface.update_ip_addrs(|addresses| addresses.extend(self.interface.ip_addrs().iter().copied()));
        interface
            .routes_mut()
            .update(|routes| self.interface.routes_mut().update(|old| routes.clone_from(old)));
        self.interface = interface;
        self.wake_us = now_us;
    }

    /// Handles everything that has arrived or is due. Returns when to call it again unless there is an interrupt earlier.
    pub fn poll(&mut self, now_us: u64) -> u64 {
        match self.receive(now_us) {
            true => self.transmit(now_us),
            false => self.wake_us,
        }
    }

    /// Whether something may have arrived or be due.
    pub fn is_due(&self, now_us: u64) -> bool {
        (self.n_interrupts)() != self.seen_interrupts || now_us >= self.wake_us
    }

    /// Handles what has arrived, if there has been an interrupt or it is time to. If it returns true, or if there is something to
    /// send, [`transmit`](Self::transmit) must be called next.
    pub fn receive(&mut self, now_us: u64) -> bool {
        if !self.is_due(now_us) {
            return false;
        }
        self.seen_interrupts = (self.n_interrupts)();
        let now = instant(now_us);
        let Self { interface, phy, sockets, .. } = self;
        let mut one = || interface.poll_ingress_single(now, phy, sockets) != PollIngressSingleResult::None;
        let n_frames = (0..MAX_FRAMES_IN_A_ROW).take_while(|_| one()).count();
        self.has_more = n_frames == MAX_FRAMES_IN_A_ROW;
        self.interface.poll_maintenance(now);
        self.follow_dhcp();
        self.tell();
        true
    }

    /// Sends what is waiting to be sent; returns the same as [`poll`](Self::poll).
    pub fn transmit(&mut self, now_us: u64) -> u64 {
        let now = instant(now_us);
        let Self { interface, phy, sockets, .. } = self;
        while interface.poll_egress(now, phy, sockets) != PollResult::None {}
        self.wake_us = if self.has_more { now_us } else { self.next_us(now_us) };
        self.wake_us
    }

    fn next_us(&mut self, now_us: u64) -> u64 {
        let Self { interface, phy, sockets, .. } = self;
        let (is_used, can_send, has_interrupt) =
            phy.with_link(|link| (link.failure().is_none(), link.can_send(), link.has_interrupt()));
        if !is_used {
            return NEVER_US;
        }
        let due = interface.poll_at(instant(now_us), sockets);
        let due_us = due.map_or(NEVER_US, |due| due.total_micros().max(0) as u64);
        let wait_us = match due_us.saturating_sub(now_us) {
            _ if !can_send || !has_interrupt => SOON_US,
            // Everything that is possible has been done.
            0 => LATER_US,
            wait_us => wait_us.min(LONGEST_US),
        };
        now_us + wait_us
    }

    fn follow_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let (address, gateway) = match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => (None, None),
            Some(dhcpv4::Event::Configured(lease)) => (Some(lease.address), lease.router),
        };
        let is_unicast = |address: &Ipv4Cidr| {
            let address = address.address();
            !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
        };
        let address = address.filter(is_unicast);
        self.interface.update_ip_addrs(|addresses| {
            addresses.retain(|address| matches!(address, IpCidr::Ipv6(_)));
            if let Some(address) = address {
                // Addresses from routers may have taken all the room.
                addresses.truncate(addresses.capacity() - 1);
                let _ = addresses.push(IpCidr::Ipv4(address));
            }
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            let _ = routes.add_default_ipv4_route(gateway);
        }
    }

    /// Logs what has changed.
    fn tell(&mut self) {
        if self.told != self.interface.ip_addrs() {
            let addresses = self.interface.ip_addrs();
            let is_new = |address: &&IpCidr| !is_link_local(address) && !self.told.contains(address);
            addresses.iter().filter(is_new).for_each(|address| info!("address {address}"));
            self.told = addresses.to_vec();
        }
        self.is_failure_told = self.phy.with_link(|link| match link.failure() {
            Some(failure) if !self.is_failure_told => {
                warn!("{} is not used any more: {failure}", link.name());
                true
            }
            _ => self.is_failure_told,
        });
    }

    /// The current state, for display.
    pub fn status(&self) -> Status {
        let routes = self.interface.routes();
        let gateways = [routes.get_default_ipv4_route(), routes.get_default_ipv6_route()];
        let gateways = gateways.into_iter().flatten().map(|route| route.via_router).collect();
        self.phy.with_link(|link| Status {
            name: link.name().into(),
            mac: link.mac(),
            is_up: link.is_up(),
            has_interrupt: link.has_interrupt(),
            failure: link.failure().map(Into::into),
            addressing: self.addressing,
            addresses: self.interface.ip_addrs().to_vec(),
            gateways,
            buffer_bytes: link.buffer_bytes(),
        })
    }

    /// Counts of the card's traffic.
    pub fn traffic(&self) -> Traffic {
        self.phy.traffic()
    }
}

fn interface(mac: EthernetAddress, phy: &mut Phy, seed: u64, now_us: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(mac));
    config.random_seed = seed;
    config.slaac = true;
    Interface::new(config, phy, instant(now_us))
}

/// The current state of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How the card is attached.
    pub name: String,
    /// The card's address.
    pub mac: [u8; 6],
    /// Whether a cable is plugged in.
    pub is_up: bool,
    /// Whether the card has interrupted. Until it has, it is polled a thousand times a second.
    pub has_interrupt: bool,
    /// Why the card is not used any more.
    pub failure: Option<String>,
    /// How the interface gets its IPv4 address.
    pub addressing: Addressing,
    /// The current addresses.
    pub addresses: Vec<IpCidr>,
    /// The routers to other networks.
    pub gateways: Vec<IpAddress>,
    /// Heap memory of the frame buffers.
    pub buffer_bytes: usize,
}

fn instant(now_us: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_us).unwrap_or(i64::MAX))
}

/// The link-local address derived from the card's address (RFC 4291, 2.5.6).
fn link_local(mac: EthernetAddress) -> Ipv6Cidr {
    let prefix = Ipv6Cidr::new(Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);
    let address = Ipv6Cidr::from_link_prefix(&prefix, HardwareAddress::Ethernet(mac));
    address.expect("an Ethernet address makes the second half of one")
}

fn is_link_local(address: &IpCidr) -> bool {
    matches!(address, IpCidr::Ipv6(address) if address.address().octets()[..2] == [0xfe, 0x80])
}

#[cfg(test)]
pub(crate) mod tests;

//! [`Addressing`]: how the network interface gets its addresses.

use core::{fmt, str::FromStr};
use smoltcp::wire::{IpCidr, Ipv4Address, Ipv4Cidr};

/// How the interface gets its IPv4 address. IPv6 addresses are always derived from the card's address and from what routers advertise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// From the boot arguments.
    Static {
        /// The address, and the length of its network prefix.
        address: Ipv4Cidr,
        /// The router to other networks.
        gateway: Option<Ipv4Address>,
    },
}

impl Addressing {
    /// Its format.
    pub const EXPECTED: &str = "dhcp or ADDRESS/LENGTH, with ,gateway=ADDRESS behind it if there is one, as in 10.0.2.15/24,gateway=10.0.2.2";
}

/// The text does not have the format of [`Addressing::EXPECTED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddressing;

impl FromStr for Addressing {
    type Err = BadAddressing;

    fn from_str(text: &str) -> Result<Self, BadAddressing> {
        if text == "dhcp" {
            return Ok(Self::Dhcp);
        }
        let (address, gateway) = match text.split_once(',') {
            Some((address, rest)) => (address, Some(rest.strip_prefix("gateway=").ok_or(BadAddressing)?)),
            None => (text, None),
        };
        let (address, length) = address.split_once('/').ok_or(BadAddressing)?;
        let length = length.parse().ok().filter(|length| (1..=32).contains(length)).ok_or(BadAddressing)?;
        let address = Ipv4Cidr::new(unicast(address)?, length);
        let gateway = gateway.map(unicast).transpose()?;
        Ok(Self::Static { address, gateway })
    }
}

fn unicast(text: &str) -> Result<Ipv4Address, BadAddressing> {
    let address: Ipv4Address = text.parse().map_err(|_| BadAddressing)?;
    let is_unicast = !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified();
    is_unicast.then_some(address).ok_or(BadAddressing)
}

impl fmt::Display for Addressing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("address by DHCP"),
            Self::Static { address, .. } => write!(f, "address {}", IpCidr::Ipv4(*address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_mistakes_refused() {
        assert_eq!("dhcp".parse(), Ok(Addressing::Dhcp));
        let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24);
        assert_eq!("10.0.2.15/24".parse(), Ok(Addressing::Static { address, gateway: None }));
        let gateway = Some(Ipv4Address::new(10, 0, 2, 2));
        assert_eq!("10.0.2.15/24,gateway=10.0.2.2".parse(), Ok(Addressing::Static { address, gateway }));
        for text in [
            "",
            "10.0.2.15",
            "10.0.2.15/",
            "10.0.2.15/33",
            "10.0.2.15/0",
            "10.0.2.256/24",
            "224.0.0.1/24",
            "0.0.0.0/8",
            "255.255.255.255/32",
            "10.0.2.15/24,",
            "10.0.2.15/24,10.0.2.2",
            "10.0.2.15/24,gateway=",
            "10.0.2.15/24,gateway=10.0.2.2,",
            "fe80::1/64",
            "DHCP",
        ] {
            assert_eq!(text.parse::<Addressing>(), Err(BadAddressing), "{text:?}");
        }
    }
}

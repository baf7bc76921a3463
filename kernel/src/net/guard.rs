//! Frames that `smoltcp` 0.14 must not see: it panics where a router advertises an IPv6 prefix that makes an address which is
//! not unicast, and where an answer would go to nobody's address.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, NdiscOption,
    NdiscOptionType,
};

/// Whether a frame may be looked at. IPv6 packets with options for every router on their way are refused too: nobody sends such to
/// this kernel, and what stands behind the options would have to be looked for.
pub fn is_harmless(frame: &[u8]) -> bool {
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload());
            packet.is_ok_and(|packet| !packet.src_addr().is_unspecified())
        }
        EthernetProtocol::Ipv6 => {
            let Ok(packet) = Ipv6Packet::new_checked(frame.payload()) else { return false };
            match packet.next_header() {
                IpProtocol::HopByHop => false,
                IpProtocol::Icmpv6 => is_harmless_icmp(packet.payload()),
                _ => true,
            }
        }
        _ => true,
    }
}

fn is_harmless_icmp(packet: &[u8]) -> bool {
    let Ok(packet) = Icmpv6Packet::new_checked(packet) else { return false };
    if !packet.msg_type().is_ndisc() {
        return true;
    }
    let mut rest = packet.payload();
    while !rest.is_empty() {
        let Ok(option) = NdiscOption::new_checked(rest) else { return false };
        let length_bytes = usize::from(option.data_len()) * 8;
        let is_multicast =
            || option.option_type() == NdiscOptionType::PrefixInformation && option.prefix().is_multicast();
        // Who believed a length of zero would never come to the end (RFC 4861, 4.6).
        if length_bytes == 0 || is_multicast() {
            return false;
        }
        rest = rest.get(length_bytes..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A router's advertisement of a prefix.
    fn advertisement(next_header: u8, prefix: [u8; 2], option_length: u8) -> Vec<u8> {
        let mut option = vec![3, option_length, 64, 0xc0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0];
        option.extend(prefix);
        option.extend([0; 14]);
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16 + option.len() as u8, next_header, 255]);
        frame.extend([0; 32]);
        frame.extend([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(option);
        frame
    }

    #[test]
    fn prefixes_that_make_no_address_are_refused() {
        assert!(is_harmless(&advertisement(58, [0x20, 0x01], 4)));
        assert!(!is_harmless(&advertisement(58, [0xff, 0x02], 4)));
        assert!(!is_harmless(&advertisement(58, [0x20, 0x01], 0)));
        assert!(!is_harmless(&advertisement(0, [0x20, 0x01], 4)));
        let ipv4 = |source: u8| {
            let mut frame = vec![0; 12];
            frame.extend([8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, source, 0, 0, 0, 10, 0, 2, 15]);
            is_harmless(&frame)
        };
        assert_eq!((ipv4(10), ipv4(0)), (true, false));
        let whole = advertisement(58, [0x20, 0x01], 4);
        for length in 0..whole.len() {
            let _ = is_harmless(&whole[..length]);
        }
    }
}

//! Rejects frames that `smoltcp` 0.14 must not see because it panics: when a router advertises an IPv6 prefix that results in an
//! address that is not unicast, and when an answer would go to an unspecified address.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, NdiscOption,
    NdiscOptionType,
};

/// Whether a frame may be processed. IPv6 packets with hop-by-hop options are rejected too: no legitimate sender uses them with
/// this kernel, and the code would have to look for the headers after the options.
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
        // Treating a length of zero as valid would lead to an endless loop (RFC 4861, 4.6).
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

    /// A router advertisement with a prefix.
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

//! Which addresses are not those of public machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is not that of one machine in the public internet: loopback, private, link-local (also that of the metadata of cloud
/// machines), shared, multicast, reserved, or an IPv6 address that stands for such an IPv4 address.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // This network, private, loopback: RFC 1122, RFC 1918.
        (0 | 10 | 127, _, _) | (192, 168, _) => true,
        (172, b, _) => (16..=31).contains(&b),
        // Shared by the customers of a provider: RFC 6598.
        (100, b, _) => (64..=127).contains(&b),
        // Link-local: RFC 3927. Clouds serve the credentials of a machine at 169.254.169.254.
        (169, 254, _) => true,
        // Protocol assignments, documentation, the former relays of 6to4, benchmarks: RFC 6890, RFC 5737, RFC 7526, RFC 2544.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved and broadcast.
        (a, _, _) => a >= 224,
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Unspecified, loopback, and addresses of IPv4 in their former notation.
        [0, 0, 0, 0, 0, 0, _, _] => true,
        // Mapped and translated IPv4: RFC 4291, RFC 2765, RFC 6052.
        [0, 0, 0, 0, 0, 0xFFFF, high, low]
        | [0, 0, 0, 0, 0xFFFF, 0, high, low]
        | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => embedded(high, low),
        // Translation by a local prefix: RFC 8215.
        [0x64, 0xFF9B, 1, ..] => true,
        // 6to4: RFC 3056.
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments with Teredo, and documentation: RFC 2928, RFC 3849, RFC 9637.
        [0x2001, second, ..] if second < 0x200 || second == 0xDB8 => true,
        [0x3FFF, second, ..] if second < 0x1000 => true,
        // All public machines are in 2000::/3; unique local, link-local, site-local and multicast addresses are not.
        [first, ..] => first & 0xE000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str) -> bool {
        is_private(address.parse().unwrap())
    }

    #[test]
    fn addresses_inside_of_networks_are_private() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(judged(address), "{address}");
        }
    }

    #[test]
    fn addresses_of_public_machines_are_not() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
        ] {
            assert!(!judged(address), "{address}");
        }
    }
}

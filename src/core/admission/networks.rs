//! Lists of networks.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// Networks, sorted and without overlaps: a look costs a few comparisons, however long the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks, separated by commas or blanks: `10.0.0.0/8, 2001:db8::/32`. An address alone is a network of one.
    ///
    /// # Errors
    /// What is wrong with the first that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let each = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        let networks = each.map(parse).collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() {
            return Err("names no network".to_owned());
        }
        // It sorts by itself, but not across families.
        let mut networks = IpNet::aggregate(&networks);
        networks.sort();
        Ok(Self(networks))
    }

    /// Whether one of them has that address.
    pub fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let behind = self.0.partition_point(|network| network.network() <= ip);
        behind.checked_sub(1).is_some_and(|at| self.0[at].contains(&ip))
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn parse(word: &str) -> Result<IpNet, String> {
    let network = match word.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(word.parse::<IpAddr>().map_err(|_| format!("{word:?} is not a network"))?),
    };
    if network.trunc() != network {
        return Err(format!("{word:?} has bits set behind its prefix; its network is {}", network.trunc()));
    }
    // Clients of IPv4 are known by their IPv4 address, whatever socket they come through.
    if let IpAddr::V6(v6) = network.network()
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(format!("{word:?} is IPv4 in the form of IPv6; write it as IPv4"));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks_and_addresses_are_read_and_written_back() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::/32 10.0.0.0/8", "10.0.0.0/8, 2001:db8::/32"),
            ("0.0.0.0/0, ::/0", "0.0.0.0/0, ::/0"),
            ("::1", "::1/128"),
        ] {
            let read = Networks::parse(text).map(|networks| networks.to_string());
            assert_eq!(read.as_deref(), Ok(written), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for (text, why) in [
            ("", "names no network"),
            ("10.0.0.0/8, example.com", "\"example.com\" is not a network"),
            ("10.0.0.0/33", "\"10.0.0.0/33\" is not a network"),
            ("10.0.0.1/8", "its network is 10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
            ("[::1]", "\"[::1]\" is not a network"),
            ("10.0.0.0/8;10.1.0.0/16", "is not a network"),
        ] {
            let wrong = Networks::parse(text).unwrap_err();
            assert!(wrong.contains(why), "{text}: {wrong}");
        }
    }

    proptest! {
        /// The search beside a look at each.
        #[test]
        fn an_address_is_found_in_the_list(
            list in prop::collection::vec((any::<u32>(), 0_u8..=32, any::<bool>()), 1..20),
            picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 20),
        ) {
            let networks: Vec<IpNet> = list.iter().map(|&(bits, prefix, v6)| {
                let ip = if v6 {
                    IpAddr::from((u128::from(bits) << 96).to_be_bytes())
                } else {
                    IpAddr::from(bits.to_be_bytes())
                };
                IpNet::new(ip, prefix).unwrap().trunc()
            }).filter(|network| !matches!(network.network(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())).collect();
            prop_assume!(!networks.is_empty());
            let text = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let read = Networks::parse(&text).unwrap();
            for (pick, offset) in picks {
                let ip = match pick.get(&networks).broadcast() {
                    IpAddr::V4(v4) => IpAddr::from((u32::from(v4).wrapping_add(u32::from(offset)).wrapping_sub(128)).to_be_bytes()),
                    IpAddr::V6(v6) => IpAddr::from((u128::from(v6).wrapping_add(u128::from(offset)).wrapping_sub(128)).to_be_bytes()),
                };
                prop_assume!(ip.to_canonical() == ip);
                prop_assert_eq!(read.contain(ip), networks.iter().any(|network| network.contains(&ip)), "{}", ip);
            }
        }
    }
}

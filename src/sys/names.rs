//! Names of hosts are looked up as the host is set up to: `getaddrinfo(3)`, which may take many seconds.

use super::{Aside, Os};
use crate::net::{Answers, Fatal, HostName};
use std::net::{SocketAddr, ToSocketAddrs as _};

/// Look-ups beside the loop.
pub(super) struct Resolver {
    aside: Aside<Vec<HostName>, Answers>,
    /// What was asked for, in case that nothing comes of it.
    asked: Vec<HostName>,
}

impl Os {
    pub(super) fn begin_resolving(&mut self, names: Vec<HostName>) -> Result<(), Fatal> {
        if self.resolver.is_none() {
            let aside = self.aside("linger-names", |names: Vec<HostName>| resolve_all(&names))?;
            self.resolver = Some(Resolver { aside, asked: Vec::new() });
        }
        if let Some(resolver) = &mut self.resolver {
            resolver.asked.clone_from(&names);
            resolver.aside.request(names);
        }
        Ok(())
    }
}

impl Resolver {
    /// What has come of it, once it is there.
    pub(super) fn take(&mut self) -> Option<Answers> {
        let done = self.aside.take()?;
        let asked = std::mem::take(&mut self.asked);
        Some(done.unwrap_or_else(|fatal| {
            asked.into_iter().map(|name| (name, Err(format!("cannot {fatal}")))).collect()
        }))
    }
}

/// Looks them up, one after the other.
pub(super) fn resolve_all(names: &[HostName]) -> Answers {
    names.iter().map(|name| (name.clone(), resolve(name))).collect()
}

/// The addresses that a name has now, in order.
///
/// # Errors
/// Why it has none, in words.
pub fn resolve(name: &HostName) -> Result<Vec<SocketAddr>, String> {
    let found = (name.host.as_str(), name.port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses: Vec<_> = found.collect();
    // Name servers turn their answers round; one in another order is the same.
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Kernel as _, Token};

    fn name(host: &str) -> HostName {
        HostName { host: host.to_owned(), port: 9 }
    }

    #[test]
    fn a_name_has_its_addresses_in_order_and_an_unknown_one_a_reason() {
        let mut os = Os::without_signals().expect("an epoll set");
        let names = vec![name("localhost"), name("nowhere.invalid")];
        let at_once = os.resolve(&names);
        assert!(at_once[0].1.as_ref().is_ok_and(|found| found.iter().all(|it| it.ip().is_loopback())));
        assert!(at_once[1].1.is_err(), "RFC 6761 6.4: no name ends in .invalid");
        assert!(os.resolved().is_none(), "nobody has asked");
        os.start_resolving(names).expect("a waker");
        let beside = loop {
            let mut ready = Vec::new();
            os.poll(None, &mut ready).expect("a poll");
            assert!(ready.iter().all(|event| event.token == Token::ASIDE));
            if let Some(answers) = os.resolved() {
                break answers;
            }
        };
        assert_eq!(beside[0], at_once[0]);
        assert!(beside[1].1.is_err() && os.resolved().is_none());
    }
}

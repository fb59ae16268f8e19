//! Which web pages may have a browser send requests here: those of this interface alone.
//!
//! A page of another site can have a browser on this host send almost any request. It cannot hide where it comes from
//! (`Origin`, `Sec-Fetch-Site`), and it cannot use another name than its own, to whatever address it has that name resolve
//! (DNS rebinding).

use super::Door;
use crate::protocol::Hosts;
use crate::protocol::http::{Method, Request};
use std::net::{IpAddr, Ipv6Addr};

/// The answer to a POST is not needed to do harm, and neither is that to a GET which takes a place for long.
impl Door<'_> {
    /// Whether a request may be answered that a browser has sent, or that no browser has.
    pub(super) fn trusts_sender(self, request: &Request) -> bool {
        let is_own = request.origin.as_deref().is_none_or(|origin| self.is_own(origin, &request.host));
        let is_near = match request.fetch_site.as_deref() {
            // No browser, or one that sends it only to hosts that it trusts. Of what it sends to others, a GET that a page does not
            // read the answer to cannot be told from one of a program.
            // "none": a person has typed the address, or has it among the bookmarks.
            None | Some("same-origin" | "none") => true,
            // A link may lead here from elsewhere: the site that it stands on sees nothing of the answer. But one that has no
            // end would hold a place.
            Some(_) => request.navigates && request.method != Method::Post && request.path != "/events",
        };
        is_own && is_near
    }

    /// Whether a page of that origin came from here: by the same scheme, and for the same host. Where every name is
    /// answered, that of the page may still be one that was made to resolve to this host: then only names count that
    /// nobody else can have.
    fn is_own(self, origin: &str, host: &str) -> bool {
        let scheme = if self.tls { "https://" } else { "http://" };
        let is_same = origin.strip_prefix(scheme).is_some_and(|of| of.eq_ignore_ascii_case(host));
        let named = if *self.hosts == Hosts::Any { &Hosts::Named(Vec::new()) } else { self.hosts };
        is_same && !host.is_empty() && answers_to(named, host)
    }
}

/// Whether a request for `host` is meant for us. An address cannot be made to resolve to another one.
pub(super) fn answers_to(hosts: &Hosts, host: &str) -> bool {
    let Hosts::Named(names) = hosts else { return true };
    // Only HTTP/1.0 has none, which no browser speaks.
    if host.is_empty() {
        return true;
    }
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is = |own: &str| own.eq_ignore_ascii_case(name);
    matches!(name.parse(), Ok(IpAddr::V4(_))) || is("localhost") || names.iter().any(|own| is(own))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::admin::tests::asked;
    use crate::protocol::admin::{Serves, Status};

    /// A door with these names.
    fn door(hosts: &Hosts) -> Door<'_> {
        Door { hosts, ..Door::OPEN }
    }

    fn post(host: &str, origin: &str) -> Request {
        Request { origin: Some(origin.to_owned()), ..asked("POST", "/connections/1-1/end", host) }
    }

    #[test]
    fn a_page_of_this_interface_may_send_what_it_likes() {
        let named = Hosts::Named(vec!["linger.example".to_owned()]);
        for host in ["localhost:7070", "127.0.0.1:7070", "[::1]:7070", "linger.example", "linger.example:80"]
        {
            assert!(door(&named).trusts_sender(&post(host, &format!("http://{host}"))), "{host}");
        }
        assert!(door(&named).trusts_sender(&post("LocalHost:7070", "http://localhost:7070")));
        let tls = Door { tls: true, ..door(&named) };
        assert!(tls.trusts_sender(&post("localhost:7070", "https://localhost:7070")));
    }

    #[test]
    fn a_page_of_any_other_origin_may_not() {
        let named = Hosts::Named(Vec::new());
        for origin in [
            "http://evil.example",
            "http://localhost",
            "http://localhost:7071",
            "http://127.0.0.1:7070",
            "https://localhost:7070",
            "http://localhost:70700",
            "http://localhost:7070.evil.example",
            "http://evil.localhost:7070",
            "http://localhost:7070/",
            "localhost:7070",
            "null",
            "",
        ] {
            assert!(!door(&named).trusts_sender(&post("localhost:7070", origin)), "{origin:?}");
        }
        let tls = Door { tls: true, ..door(&named) };
        assert!(!tls.trusts_sender(&post("localhost:7070", "http://localhost:7070")));
        // HTTP/1.0 without a host has no page.
        assert!(!door(&named).trusts_sender(&post("", "http://")));
    }

    #[test]
    fn a_name_that_was_made_to_resolve_to_this_host_is_no_origin_of_ours_even_where_every_name_is_answered() {
        let rebound = post("evil.example:7070", "http://evil.example:7070");
        assert!(!door(&Hosts::Any).trusts_sender(&rebound));
        assert!(door(&Hosts::Any).trusts_sender(&post("localhost:7070", "http://localhost:7070")));
        let refused = door(&Hosts::Named(Vec::new())).admit(&rebound, Serves::One).unwrap_err();
        assert_eq!(refused.status, Status::Misdirected);
    }

    #[test]
    fn what_the_browser_says_of_the_page_counts_also_where_it_tells_no_origin() {
        let sent = |method: &str, site: Option<&str>, navigates: bool| {
            let request = asked(method, "/connections/1-1/end", "localhost");
            let request = Request { fetch_site: site.map(str::to_owned), navigates, ..request };
            door(&Hosts::Any).trusts_sender(&request)
        };
        for method in ["GET", "HEAD", "POST"] {
            for near in [None, Some("same-origin"), Some("none")] {
                assert!(sent(method, near, false) && sent(method, near, true), "{method} {near:?}");
            }
            for far in [Some("cross-site"), Some("same-site"), Some("")] {
                assert!(!sent(method, far, false), "{method} {far:?}");
                assert_eq!(sent(method, far, true), method != "POST", "a link leads here: {method} {far:?}");
            }
        }
        // An answer without end would hold a place.
        let events = Request {
            fetch_site: Some("cross-site".to_owned()),
            navigates: true,
            ..asked("GET", "/events", "localhost")
        };
        assert!(!door(&Hosts::Any).trusts_sender(&events));
        // Both have to be right.
        let own = post("localhost", "http://localhost");
        assert!(door(&Hosts::Any).trusts_sender(&own));
        let far = Request { fetch_site: Some("cross-site".to_owned()), ..own };
        assert!(!door(&Hosts::Any).trusts_sender(&far));
    }
}

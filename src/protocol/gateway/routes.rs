//! Routes: the upstream that a client of TLS is relayed to by what it asks for, the name of a host (SNI) or a protocol (ALPN).
//! Whether TLS ends here or only passes through is no concern of theirs.

use super::servers::is_name;
use crate::core::secured::Secured;
use crate::core::server_name;
use crate::core::setting::{Default, Key, Kind, Value, Values};

/// The keys, which say what is asked for.
pub const BY_SERVER_NAME: &str = "route.server_name";
/// See [`BY_SERVER_NAME`].
pub const BY_ALPN: &str = "route.alpn";

/// What a listener can say of routes.
pub(in crate::protocol) const KEYS: [Key; 2] = [
    Key {
        name: BY_SERVER_NAME,
        kind: Kind::List {
            words: &["off"],
            read: read_server_names,
            expects: "names of hosts with the NAME of an [upstream.NAME] each, as \"a.example=web, *.iot.example=devices\" or \
                      in an array, or \"off\"",
        },
        default: Default::Same("off"),
        doc: "Upstreams by the name of the host that a client asks for in TLS (SNI); \"*.\" at the front stands for one label, \
              and the first that is for it counts. Without a certificate here TLS is not terminated: the first message is \
              read, and every byte is passed on unchanged. A client that no route is for goes to upstream, or is refused, \
              protocol.no_route.",
        why: "Most gateways have one upstream.",
    },
    Key {
        name: BY_ALPN,
        kind: Kind::List {
            words: &["off"],
            read: read_protocols,
            expects: "protocols with the NAME of an [upstream.NAME] each, as \"mqtt=devices, h2=web\" or in an array, or \"off\"",
        },
        default: Default::Same("off"),
        doc: "Upstreams by the protocol that a client offers in TLS (ALPN), or where TLS ends here that was agreed on; the first \
              that is among them counts. For those that no route.server_name is for.",
        why: "As above.",
    },
];

/// The routes of a listener.
#[derive(Clone, PartialEq, Eq, Debug, std::default::Default)]
pub struct Routes {
    /// Patterns in lower case, each with the name of an upstream.
    server_names: Vec<(String, String)>,
    /// Protocols, the same.
    alpn: Vec<(String, String)>,
}

impl Routes {
    /// Those that the values say.
    pub(in crate::protocol) fn new(own: &Values) -> Self {
        let list = |key| own.value(key).and_then(Value::text).map_or_else(Vec::new, pairs_of);
        Self { server_names: list(BY_SERVER_NAME), alpn: list(BY_ALPN) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.server_names.is_empty() && self.alpn.is_empty()
    }

    /// Whether names of hosts are routed.
    pub fn are_by_name(&self) -> bool {
        !self.server_names.is_empty()
    }

    /// The name of the upstream for a client. `None`: no route is for it.
    pub fn choose(&self, client: &Secured) -> Option<&str> {
        let name = client.server_name.as_deref();
        let by_name =
            self.server_names.iter().find(|(of, _)| name.is_some_and(|name| server_name::is_for(of, name)));
        let offers = |protocol: &str| client.alpn.0.iter().any(|offered| offered == protocol.as_bytes());
        by_name.or_else(|| self.alpn.iter().find(|(of, _)| offers(of))).map(|(_, upstream)| &**upstream)
    }

    /// All of them: the key, what is asked for, and the name of the upstream.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str, &str)> {
        let by_name = self.server_names.iter().map(|(of, to)| (BY_SERVER_NAME, &**of, &**to));
        by_name.chain(self.alpn.iter().map(|(of, to)| (BY_ALPN, &**of, &**to)))
    }
}

/// The pairs of a list that was found sound.
fn pairs_of(list: &str) -> Vec<(String, String)> {
    let pairs = list.split(',').filter_map(|pair| pair.rsplit_once('='));
    pairs.map(|(of, to)| (of.to_owned(), to.to_owned())).collect()
}

fn read_server_names(list: &str) -> Result<String, String> {
    let pairs = read_pairs(list, |given| {
        let name = given.strip_suffix('.').unwrap_or(given).to_ascii_lowercase();
        let host = name.strip_prefix("*.").unwrap_or(&name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        if host == "*" {
            return Err("\"*\" is everybody; what no route is for goes to upstream".to_owned());
        }
        if !given.is_ascii() {
            return Err(format!("{given:?} is not how it is asked for, which is in ASCII: xn--..."));
        }
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(format!("{given:?} is not the name of a host"));
        }
        if host.rsplit('.').next().is_some_and(is_number) {
            return Err(format!("{given:?} is an address, which no client asks for by SNI (RFC 6066)"));
        }
        Ok(name)
    })?;
    for (at, (name, _)) in pairs.iter().enumerate() {
        let before = pairs[..at].iter().find(|(before, _)| server_name::is_for(before, name));
        if let Some((before, _)) = before {
            return Err(format!("{name:?} is never looked at, behind {before:?}, which is for it, too"));
        }
    }
    Ok(text_of(&pairs))
}

fn read_protocols(list: &str) -> Result<String, String> {
    let pairs = read_pairs(list, |name| {
        let is_name = (1..=255).contains(&name.len());
        is_name.then(|| name.to_owned()).ok_or_else(|| format!("{name:?} is no name of a protocol"))
    })?;
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(before, _)| before == name) {
            return Err(format!("{name:?} is there twice"));
        }
    }
    Ok(text_of(&pairs))
}

/// The pairs of a list, where `read` reads what stands before the upstream.
fn read_pairs(
    list: &str,
    read: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let pair = |given: &str| {
        let given = given.trim();
        let Some((of, to)) = given.rsplit_once('=') else {
            return Err(format!("{given:?} does not say where to, as \"{}=NAME\" does", given.trim()));
        };
        let (of, to) = (of.trim(), to.trim());
        if !is_name(to) {
            return Err(format!("{to:?} cannot be the name of an upstream, in {given:?}"));
        }
        Ok((read(of)?, to.to_owned()))
    };
    list.split(',').map(pair).collect()
}

fn text_of(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(of, to)| format!("{of}={to}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::secured::Alpn;

    fn routes(names: &str, alpn: &str) -> Routes {
        Routes {
            server_names: pairs_of(&read_server_names(names).unwrap()),
            alpn: pairs_of(&read_protocols(alpn).unwrap()),
        }
    }

    fn client(name: Option<&str>, alpn: &[&str]) -> Secured {
        let alpn = Alpn(alpn.iter().map(|name| name.as_bytes().to_vec()).collect());
        Secured { server_name: name.map(str::to_owned), alpn, version: None }
    }

    #[test]
    fn the_first_name_counts_and_then_the_first_protocol() {
        let routes = routes(
            "A.example=web, b.iot.example = one, *.iot.example=devices",
            "mqtt=devices,h2=web,http/1.1=old",
        );
        for (name, alpn, expected) in [
            (Some("a.example"), &["mqtt"][..], Some("web")),
            (Some("b.iot.example"), &[], Some("one")),
            (Some("c.iot.example"), &["h2"], Some("devices")),
            (Some("iot.example"), &["http/1.1", "h2"], Some("web")),
            (Some("other"), &["http/1.0"], None),
            (None, &["http/1.1"], Some("old")),
            (None, &[], None),
        ] {
            assert_eq!(routes.choose(&client(name, alpn)), expected, "{name:?} {alpn:?}");
        }
    }

    #[test]
    fn each_mistake_in_a_list_has_a_sentence() {
        assert_eq!(read_server_names("a.example. = b").as_deref(), Ok("a.example=b"));
        for (list, part) in [
            ("a.example", "does not say where to"),
            ("a.example=10.0.0.1:1", "cannot be the name of an upstream"),
            ("=web", "\"\" is not the name of a host"),
            ("a.example=web,", "\"\" does not say where to"),
            ("*=web", "is everybody"),
            ("a.*.example=web", "is not the name of a host"),
            ("192.0.2.1=web", "is an address"),
            ("bücher.example=web", "xn--"),
            ("*.example=a, A.example=b", "\"a.example\" is never looked at, behind \"*.example\""),
            ("a.example=a,a.example=a", "is never looked at"),
        ] {
            let said = read_server_names(list).expect_err(list);
            assert!(said.contains(part), "{list}: {said}");
        }
        assert!(read_protocols("h2=a, h2=b").unwrap_err().contains("is there twice"));
        assert!(read_protocols("=a").unwrap_err().contains("no name of a protocol"));
    }
}

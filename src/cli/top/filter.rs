//! Whose connections are shown, and what the one who watches asks of the server.

use super::super::admin::encoded;
use super::super::admin::readings;
use ipnet::IpNet;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// Whose connections, events and endings are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Filter {
    /// The parameter of the admin interface.
    name: &'static str,
    /// How that is called.
    pub(super) what: &'static str,
    pub(super) text: String,
}

impl Filter {
    /// What a text means, read as a key or address first; `None`: it is empty.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, what) = readings(text)[0];
        (!text.is_empty()).then(|| Self { name, what, text: text.to_owned() })
    }

    /// As a parameter of a request.
    pub(super) fn parameter(&self) -> String {
        format!("{}={}", self.name, encoded(&self.text))
    }

    /// Whether what has happened, has happened to one of them.
    pub(super) fn wants(&self, event: &Value) -> bool {
        let is = |field: &str| event[field].as_str() == Some(&self.text);
        match self.name {
            "key" => is("key"),
            "peer" => event["peer"]
                .as_str()
                .and_then(|peer| peer.parse().ok())
                .is_some_and(|peer| self.is_peer(peer)),
            _ => is("identity"),
        }
    }

    fn is_peer(&self, peer: SocketAddr) -> bool {
        let address = peer.ip();
        if let Ok(network) = self.text.parse::<IpNet>() {
            return network.contains(&address);
        }
        match self.text.parse::<IpAddr>() {
            Ok(wanted) => wanted == address,
            Err(_) => self.text.parse() == Ok(peer),
        }
    }
}

/// What is asked of the server, beside what is asked again and again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// Only these connections from now on.
    Filter(Option<Filter>),
    /// This one, too, each time; `None`: no longer.
    Watch(Option<String>),
    /// The last endings: some may have been missed.
    Endings,
    /// This connection is to be ended.
    End(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_pass_as_the_server_would_let_them_pass() {
        let event = json!({"key": "2-1", "peer": "10.1.2.3:80", "identity": "dev1"});
        let wants = |text: &str| Filter::of(text).unwrap().wants(&event);
        for text in ["dev1", " dev1 ", "2-1", "10.1.2.3", "10.1.2.3:80", "10.0.0.0/8"] {
            assert!(wants(text), "{text}");
        }
        for text in ["dev", "2-2", "10.1.2.4", "10.1.2.3:81", "11.0.0.0/8", "::1"] {
            assert!(!wants(text), "{text}");
        }
        // What befalls the server as a whole befalls none of them.
        assert!(!Filter::of("dev1").unwrap().wants(&json!({"event": "reload"})));
        assert!(!Filter::of("10.0.0.0/8").unwrap().wants(&json!({"peer": "unix"})));
    }

    #[test]
    fn a_filter_is_a_parameter_of_a_request() {
        assert_eq!(Filter::of("  "), None);
        assert_eq!(Filter::of("a b&c").unwrap().parameter(), "identity=a%20b%26c");
        assert_eq!(Filter::of("10.0.0.0/8").unwrap().parameter(), "peer=10.0.0.0%2F8");
    }
}

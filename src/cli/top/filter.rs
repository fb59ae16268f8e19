//! Whose connections are shown, and what the one who watches asks of the server.

use super::super::admin::{encoded, readings};
use crate::protocol::admin::PeerFilter;
use serde_json::Value;

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
            "peer" => PeerFilter::read(&self.text)
                .is_ok_and(|wanted| event["peer"].as_str().is_some_and(|peer| wanted.is(peer.parse().ok()))),
            _ => is("identity"),
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

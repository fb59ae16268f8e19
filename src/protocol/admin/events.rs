//! Which events are to be told to who watches.

use super::{Cursor, Filter, Serves, check_known};
use crate::core::event::Kind;
use crate::core::nearest::did_you_mean;
use crate::protocol::http::{Request, Response, Status};

const KNOWN: [&str; 7] = ["event", "listener", "identity", "peer", "key", "reason", "after"];

/// What happens, by what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventsQuery {
    /// Of these connections. If it names any, nothing is told of the server as a whole.
    pub filter: Filter,
    /// These kinds: one bit for each.
    pub kinds: u32,
    /// Only those with higher numbers; `None`: only what happens from now on.
    pub after: Option<Cursor>,
}

impl EventsQuery {
    pub(super) fn read(request: &Request, serves: Serves) -> Result<Self, Response<'static>> {
        let wrong = |text: String| Response::text(Status::BadRequest, text);
        check_known(request, &KNOWN)?;
        let filter = Filter::read(request)?;
        let mut kinds = 0;
        for name in request.query_value("event").into_iter().flat_map(|names| names.split(',')) {
            let kind = Kind::ALL.iter().find(|kind| kind.name() == name);
            kinds |= bit(*kind.ok_or_else(|| wrong(no_event(name)))?);
        }
        // A browser that was cut off says by this header what it had last, and asks by the address that it had before.
        let after = request.last_event_id.as_deref().map(|id| ("Last-Event-ID", id));
        let after = after.or_else(|| request.query_value("after").map(|text| ("after", text)));
        let after = after.map(|(name, text)| Cursor::read(name, text, serves).map_err(wrong));
        Ok(Self { filter, kinds: if kinds == 0 { u32::MAX } else { kinds }, after: after.transpose()? })
    }

    /// Whether events of that kind are to be told.
    pub fn wants_kind(&self, kind: Kind) -> bool {
        let is_meant = self.kinds & bit(kind) != 0;
        is_meant
            && (kind.is_of_connection() || self.filter.is_everything())
            && (kind == Kind::Ended || self.filter.reason.is_none())
    }
}

const fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

fn no_event(name: &str) -> String {
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let meant = did_you_mean(name, &names);
    format!(
        "no event is called {name:?}; {meant}they are {}; several with commas between them\n",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::end::Reason;
    use crate::protocol::admin::tests::asked;
    use crate::protocol::admin::{Asked, Hosts, Route, route};

    fn query(text: &str, last: Option<&str>, serves: Serves) -> Result<EventsQuery, String> {
        let mut request = asked("GET", &format!("/events?{text}"), "localhost");
        request.last_event_id = last.map(str::to_owned);
        let route = route(&request, &Hosts::Any, serves).map_err(|refused| refused.body.into_owned())?;
        let Route::Asked(Asked::Events(query)) = route else { panic!("{route:?}") };
        Ok(query)
    }

    fn wanted(text: &str) -> Vec<&'static str> {
        let query = query(text, None, Serves::One).unwrap();
        Kind::ALL.iter().filter(|kind| query.wants_kind(**kind)).map(|kind| kind.name()).collect()
    }

    #[test]
    fn events_are_told_by_kind_and_those_of_the_server_only_where_no_connection_is_meant() {
        assert_eq!(wanted("").len(), Kind::ALL.len());
        assert_eq!(wanted("event=ended,server_down"), ["ended", "server_down"]);
        let of_connections = ["opened", "identified", "suspect", "verdict", "revived", "replaced", "ended"];
        for filter in ["listener=a", "identity=a", "peer=10.0.0.1", "key=1-1"] {
            assert_eq!(wanted(filter), of_connections, "{filter}");
        }
        assert_eq!(wanted("reason=lost.*"), ["ended"]);
        assert_eq!(wanted("event=opened&reason=lost.*"), [""; 0]);
        let query = query("reason=lost.*&listener=a", None, Serves::One).unwrap();
        assert!(query.filter.wants("a", Some(Reason::LostHeartbeat), None));
        assert!(!query.filter.wants("a", Some(Reason::PeerFin), None));
    }

    #[test]
    fn the_last_event_that_a_browser_had_comes_before_the_address_that_it_had() {
        let after = |text: &str, last| query(text, last, Serves::One).unwrap().after;
        let one = |number| Some(Cursor(vec![(None, number)]));
        assert_eq!(after("", None), None);
        assert_eq!(after("after=7", None), one(7));
        assert_eq!(after("after=7", Some("9")), one(9));
        let several = query("", Some("0.5,1.7"), Serves::Several).unwrap();
        assert_eq!(several.after, Some(Cursor(vec![(Some(0), 5), (Some(1), 7)])));
    }

    #[test]
    fn what_cannot_be_watched_is_said_in_a_sentence() {
        for (text, last, said) in [
            ("event=closed", None, "no event is called \"closed\"; they are opened, identified, "),
            ("event=endd", None, "no event is called \"endd\"; did you mean ended? they are opened, "),
            ("event=", None, "no event is called \"\"; they are "),
            ("limit=3", None, "unknown parameter limit: known are event, "),
            ("after=x", None, "after must be a cursor of an answer before"),
            ("", Some("1.5"), "Last-Event-ID must be a cursor of an answer before"),
            ("reason=lots", None, "no reason is called \"lots\""),
        ] {
            let refused = query(text, last, Serves::One).unwrap_err();
            assert!(refused.starts_with(said) && refused.ends_with('\n'), "{text}: {refused}");
        }
    }
}

//! Which of the last endings are to be listed.

use super::filter::Filter;
use super::{Serves, limit_of, time_of};
use crate::core::time::Duration;
use crate::protocol::http::{Request, Response, Status};

const KNOWN: [&str; 10] =
    ["limit", "listener", "identity", "peer", "key", "pair", "reason", "last", "before", "after"];

/// Most pairs that are asked for at once: each record is compared with them.
pub const PAIRS_MAX: usize = 100;

/// The last endings, by what they were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndsQuery {
    /// At most so many.
    pub limit: usize,
    /// Of these connections, for these reasons.
    pub filter: Filter,
    /// Of both legs of these pairs, by the keys of their clients; empty: of all connections.
    pub pairs: Vec<String>,
    /// In so many nanoseconds before now.
    pub last_ns: Option<u64>,
    /// Only those with lower numbers.
    pub before: Option<Cursor>,
    /// Only those with higher numbers.
    pub after: Option<Cursor>,
}

/// Numbers of endings, each with its worker: `500`, or `1.500,2.730` where there are several. Each worker counts by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cursor(pub Vec<(Option<u32>, u64)>);

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text.split_once('.') {
            Some((worker, number)) => Some((Some(worker.parse().ok()?), number.parse().ok()?)),
            None => Some((None, text.parse().ok()?)),
        };
        text.split(',').map(number).collect::<Option<_>>().map(Self)
    }

    /// The one that a request gives.
    ///
    /// # Errors
    /// What it must be.
    pub(super) fn read(name: &str, text: &str, serves: Serves) -> Result<Self, String> {
        let form = "a cursor of an answer before, as 500, or 1.500,2.730 of workers";
        let cursor = Self::parse(text).filter(|cursor| cursor.is_of(serves));
        cursor.ok_or_else(|| format!("{name} must be {form}\n"))
    }

    /// Whether it has the form that such a server gives out.
    fn is_of(&self, serves: Serves) -> bool {
        match serves {
            Serves::One => matches!(self.0[..], [(None, _)]),
            Serves::Several => self.0.iter().all(|(worker, _)| worker.is_some()),
        }
    }

    /// The number of that worker, or of the only process.
    pub fn of(&self, worker: Option<u32>) -> Option<u64> {
        self.0.iter().find(|(of, _)| *of == worker).map(|(_, number)| *number)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (worker, number)) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            worker.map_or(Ok(()), |worker| write!(f, "{worker}."))?;
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

impl EndsQuery {
    pub(super) fn read(request: &Request, serves: Serves) -> Result<Self, Response<'static>> {
        let wrong = |text: String| Response::text(Status::BadRequest, text);
        let limit = limit_of(request, &KNOWN)?;
        let cursor =
            |name| request.query_value(name).map(|text| Cursor::read(name, text, serves).map_err(wrong));
        Ok(Self {
            limit,
            filter: Filter::read(request)?,
            pairs: request.query_value("pair").map_or(Ok(Vec::new()), read_pairs).map_err(wrong)?,
            last_ns: time_of(request, "last", "1h")?.map(nanos),
            before: cursor("before").transpose()?,
            after: cursor("after").transpose()?,
        })
    }
}

fn read_pairs(text: &str) -> Result<Vec<String>, String> {
    let pairs: Vec<_> = text.split(',').map(str::to_owned).collect();
    if pairs.len() <= PAIRS_MAX && !pairs.iter().any(String::is_empty) {
        Ok(pairs)
    } else {
        Err(format!(
            "pair must be the keys of at most {PAIRS_MAX} clients of a gateway, with commas between them\n"
        ))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::end::Reason;
    use crate::protocol::admin::tests::asked;
    use crate::protocol::admin::{Asked, Hosts, LIST_DEFAULT, Route, Serves, route};
    use std::net::SocketAddr;

    fn query(text: &str) -> Result<EndsQuery, Response<'static>> {
        query_of(text, Serves::One)
    }

    fn query_of(text: &str, serves: Serves) -> Result<EndsQuery, Response<'static>> {
        let request = asked("GET", &format!("/ends?{text}"), "localhost");
        let route = route(&request, &Hosts::Any, serves)?;
        let Route::Asked(Asked::Ends(query)) = route else { panic!("{route:?}") };
        Ok(*query)
    }

    #[test]
    fn endings_are_filtered_by_all_that_is_asked() {
        let peer: SocketAddr = "10.1.2.3:80".parse().unwrap();
        let wants =
            |text: &str| query(text).unwrap().filter.wants("resp", Some(Reason::LostHeartbeat), Some(peer));
        for text in
            ["", "peer=10.1.2.3", "peer=10.1.2.3:80", "peer=10.1.0.0/16", "reason=lost.*", "listener=resp"]
        {
            assert!(wants(text), "{text}");
        }
        for text in ["peer=10.1.2.4", "peer=10.2.0.0/16", "peer=unix", "reason=peer.*", "listener=echo"] {
            assert!(!wants(text), "{text}");
        }
        assert!(query("identity=a").unwrap().filter.wants_identity(b"a"));
        assert!(
            !query("identity=a").unwrap().filter.wants_identity(b"")
                && query("").unwrap().filter.wants_identity(b"")
        );
        assert_eq!(query("pair=3-9,2.17-4711").unwrap().pairs, ["3-9", "2.17-4711"]);
        assert_eq!(query("last=1h").unwrap().last_ns, Some(3_600_000_000_000));
        assert_eq!(query("").unwrap().limit, LIST_DEFAULT);
    }

    #[test]
    fn a_cursor_names_each_worker_and_reads_back() {
        for (text, serves) in
            [("500", Serves::One), ("1.500,2.730", Serves::Several), ("2.0", Serves::Several)]
        {
            let cursor = query_of(&format!("before={text}"), serves).unwrap().before.unwrap();
            assert_eq!(cursor.to_string(), text);
        }
        let after = query_of("after=1.500,2.730", Serves::Several).unwrap().after.unwrap();
        assert_eq!(
            [Some(2), Some(1), Some(3), None].map(|of| after.of(of)),
            [Some(730), Some(500), None, None]
        );
    }

    #[test]
    fn a_cursor_of_another_kind_of_server_is_refused() {
        for (text, serves) in [
            ("500", Serves::Several),
            ("1.500,730", Serves::Several),
            ("1.500", Serves::One),
            ("1.500,2.730", Serves::One),
            ("500,730", Serves::One),
            ("", Serves::One),
            ("", Serves::Several),
        ] {
            for name in ["before", "after"] {
                let refused = query_of(&format!("{name}={text}"), serves).unwrap_err();
                let said = format!(
                    "{name} must be a cursor of an answer before, as 500, or 1.500,2.730 of workers\n"
                );
                assert_eq!((refused.status, &*refused.body), (Status::BadRequest, &*said), "{text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_asked_is_said_in_a_sentence() {
        for (text, said) in [
            ("state=open", "unknown parameter state: known are limit, "),
            ("limit=-1", "limit must be a number up to 10000"),
            ("limit=10001", "limit must be a number"),
            ("last=1", "last must be a time, as 1h: \"1\" has no unit"),
            (
                "reason=lots.*",
                "no reason is called \"lots.*\"; a pattern such as lost.* means several. They are peer.",
            ),
            (
                "reason=frozen",
                "no reason is called \"frozen\"; did you mean stuck.frozen? a pattern such as ",
            ),
            ("reason=peer.goodby", "no reason is called \"peer.goodby\"; did you mean peer.goodbye? "),
            ("peer=10.0.0.0/33", "peer must be an address (192.0.2.7), address:port, a network"),
            ("pair=", "pair must be the keys of at most 100 clients"),
            (
                &format!("pair=1-1{}", ",1-1".repeat(PAIRS_MAX)),
                "pair must be the keys of at most 100 clients",
            ),
            ("before=x", "before must be a cursor of an answer before"),
            ("after=1.2.3", "after must be a cursor"),
        ] {
            let refused = query(text).unwrap_err();
            assert_eq!(refused.status, Status::BadRequest, "{text}");
            assert!(
                refused.body.starts_with(said) && refused.body.ends_with('\n'),
                "{text}: {}",
                refused.body
            );
        }
    }
}

//! Many connections that are to be ended.

use super::list::flag;
use super::{ListQuery, check_known, time_of};
use crate::core::time::Duration;
use crate::protocol::http::{Request, Response, Status};

const KNOWN: [&str; 8] = ["listener", "state", "identity", "peer", "age_over", "all", "over", "stop"];

/// Which, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndMany {
    /// Those that are there now and pass the filters, spread over a time.
    Begin {
        /// The filters that a connection has to pass.
        query: ListQuery,
        /// The time.
        over: Duration,
    },
    /// No more than were ended so far.
    Stop,
}

impl EndMany {
    pub(super) fn read(request: &Request) -> Result<Self, Response<'static>> {
        let wrong = |text: String| Response::text(Status::BadRequest, text);
        check_known(request, &KNOWN)?;
        if flag(request, "stop")? {
            let text = "stop stands alone: it ends all that was begun\n";
            return if request.query.len() == 1 { Ok(Self::Stop) } else { Err(wrong(text.to_owned())) };
        }
        let over = match request.query_value("over") {
            Some("0" | "0s") => Duration::ZERO,
            _ => time_of(request, "over", "60s")?.unwrap_or_default(),
        };
        let query = ListQuery { clients: true, ..ListQuery::of(request, 0)? };
        match (query.is_everything(), flag(request, "all")?) {
            (true, false) => Err(wrong(
                "that would end everybody: say listener=, state=, identity=, peer= or age_over=, or all=true\n"
                    .to_owned(),
            )),
            (false, true) => Err(wrong("all=true and a filter cannot both be meant\n".to_owned())),
            (true, true) | (false, false) => Ok(Self::Begin { query, over }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::admin::tests::asked;
    use crate::protocol::admin::{Asked, Hosts, Route, Serves, route};

    fn read(text: &str) -> Result<EndMany, String> {
        let request = asked("POST", &format!("/connections/end?{text}"), "localhost");
        let routed =
            route(&request, &Hosts::Any, Serves::One).map_err(|refused| refused.body.into_owned())?;
        let Route::Asked(Asked::EndMany(many)) = routed else { panic!("{routed:?}") };
        Ok(many)
    }

    #[test]
    fn who_is_meant_and_how_fast_is_read() {
        let EndMany::Begin { query, over } =
            read("listener=a&identity=b&peer=10.0.0.0/8&age_over=1h&over=60s").unwrap()
        else {
            panic!("it begins")
        };
        assert_eq!(over, Duration::from_secs(60));
        assert_eq!(query.to_string(), "listener=a identity=b peer=10.0.0.0/8 age_over=3600s");
        let EndMany::Begin { query, over } = read("all=true").unwrap() else { panic!("it begins") };
        assert!(query.is_everything() && over.is_zero());
        assert_eq!(query.to_string(), "all");
        assert_eq!(read("stop=true"), Ok(EndMany::Stop));
    }

    #[test]
    fn what_is_not_clear_ends_nobody() {
        for (text, said) in [
            ("", "that would end everybody: say listener=, "),
            ("over=60s", "that would end everybody"),
            ("all=yes", "all must be true, or not be there"),
            ("all=true&listener=a", "all=true and a filter cannot both be meant"),
            ("stop=true&listener=a", "stop stands alone"),
            ("listener=a&over=60", "over must be a time, as 60s: \"60\" has no unit"),
            ("age_over=x", "age_over must be a time, as 1h: "),
            ("key=1-1", "unknown parameter key: known are listener, "),
            ("peer=x", "peer must be an address"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.starts_with(said) && refused.ends_with('\n'), "{text}: {refused}");
        }
    }
}

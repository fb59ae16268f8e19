//! What the operator says of an upstream server, as a request says it.

use crate::core::health::Word;
use crate::protocol::http::{Request, Response, Status};

/// What the operator says of an upstream server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spoken {
    /// The name of its upstream.
    pub upstream: String,
    /// Its address.
    pub server: String,
    /// What is said.
    pub word: Word,
}

/// The upstream and the server that a path is about. The path of a unix socket goes on to the end.
pub(super) fn server_of(path: &str) -> Option<(&str, &str)> {
    let (upstream, server) = path.strip_prefix("/upstreams/")?.split_once('/')?;
    (!upstream.is_empty() && !server.is_empty()).then_some((upstream, server))
}

/// What the operator says of it.
pub(super) fn word_of(request: &Request) -> Result<Word, Response<'static>> {
    let wrong = |text: String| Err(Response::text(Status::BadRequest, text));
    match request.query.as_slice() {
        [(name, value)] if name == "state" => match Word::from_name(value) {
            Some(word) => Ok(word),
            None => wrong(format!("{value:?} is no state: say ready, drain or down\n")),
        },
        _ => {
            wrong("say what state it is to have, and nothing else: ?state=ready, drain or down\n".to_owned())
        }
    }
}

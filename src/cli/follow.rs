//! What happens at a running server, as its admin interface tells it: messages as they come, over connections that are made anew
//! where one was cut, each from behind what the one before had brought.

use super::admin::{AdminArgs, NOT_LINGER};
use crate::core::time::Duration;
use crate::sys::admin_client::{Answer, Followed};
use serde_json::Value;
use std::io::{self, BufRead};
use std::ops::ControlFlow;

/// How long to wait before it is tried again to reach a server that was there.
const RETRY: Duration = Duration::from_secs(2);

/// What a server tells.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Message {
    /// What it is.
    pub(super) name: String,
    /// What more is to say, an object.
    pub(super) data: Value,
}

/// What comes to somebody who follows a server.
pub(super) enum News {
    /// It tells something.
    Message(Message),
    /// It cannot be reached any more, for this reason, and is tried again.
    Lost(String),
}

/// Why it is at an end.
pub(super) enum Ended {
    /// The one who follows has enough.
    Enough,
    /// The server refuses to tell.
    Refused(Answer),
    /// There was no server from the beginning.
    Unreachable(String),
}

/// Follows a server for as long as `on` goes on. `query`: of the request.
pub(super) fn follow(admin: &AdminArgs, query: &str, mut on: impl FnMut(News) -> ControlFlow<()>) -> Ended {
    let mut last: Option<String> = None;
    loop {
        let why = match admin.follow(&format!("/events{query}"), last.as_deref()) {
            Ok(Followed::Refused(answer)) => return Ended::Refused(answer),
            Ok(Followed::Stream(mut stream)) => loop {
                match next(&mut stream, &mut last) {
                    Ok(Some(message)) => {
                        if on(News::Message(message)).is_break() {
                            return Ended::Enough;
                        }
                    }
                    Ok(None) => break "the server has closed the connection".to_owned(),
                    Err(error) => break error.to_string(),
                }
            },
            Err(why) if last.is_none() => return Ended::Unreachable(why),
            Err(why) => why,
        };
        if on(News::Lost(why)).is_break() {
            return Ended::Enough;
        }
        wait();
    }
}

/// Waits before it is tried again.
#[expect(clippy::disallowed_methods, reason = "who follows a server has nothing else to do meanwhile")]
pub(super) fn wait() {
    std::thread::sleep(RETRY);
}

/// The next message; `None`: there are no more. `last` becomes the id behind which to go on.
fn next(stream: &mut impl BufRead, last: &mut Option<String>) -> io::Result<Option<Message>> {
    let (mut name, mut data) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        // An empty line ends a message; without data it was none.
        if line.is_empty() {
            if data.is_empty() {
                continue;
            }
            let data = serde_json::from_str(&data)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, NOT_LINGER))?;
            return Ok(Some(Message { name, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => *last = Some(value.to_owned()),
            "event" => value.clone_into(&mut name),
            "data" => data.push_str(value),
            // A remark, or what is for browsers.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_read_and_remarks_are_passed_over() {
        let text = "retry: 2000\nid: 5\nevent: start\ndata: {\"missed\":0}\n\n: nothing\nid: 6\n\nid: 7\r\nevent: \
                    ended\r\ndata: {\"key\":\"1-1\"}\r\n\r\nid: 8\nevent: cut";
        let (mut stream, mut last) = (text.as_bytes(), None);
        let mut read = || next(&mut stream, &mut last).unwrap().map(|message| (message.name, message.data));
        assert_eq!(read(), Some(("start".to_owned(), json!({"missed": 0}))));
        assert_eq!(read(), Some(("ended".to_owned(), json!({"key": "1-1"}))));
        assert_eq!(read(), None);
        assert_eq!(last.as_deref(), Some("8"));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(next(&mut "data: x\n\n".as_bytes(), &mut None).is_err());
    }
}

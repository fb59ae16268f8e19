//! A client of the admin interface, for commands that ask one question and wait for the answer.

use crate::core::time::Duration;
use crate::net::Address;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// How long the interface may take. It answers for workers after two seconds, whether they do or not.
const ANSWER: Duration = Duration::from_secs(10);

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks the interface at `address`, by a method and the target of a request, and with a token where it wants one.
///
/// # Errors
/// When there is no answer, or it is none of HTTP.
#[expect(clippy::disallowed_types, reason = "a command that asks has nothing else to do meanwhile")]
pub fn ask(address: &Address, method: &str, target: &str, token: Option<&str>) -> io::Result<Answer> {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("{method} {target} HTTP/1.0\r\nContent-Length: 0\r\n{bearer}\r\n");
    let page = match address {
        Address::Tcp { socket, .. } => {
            let stream = std::net::TcpStream::connect_timeout(socket, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            converse(&stream, &request, || stream.shutdown(Shutdown::Write))?
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            converse(&stream, &request, || stream.shutdown(Shutdown::Write))?
        }
    };
    parse(&page).ok_or_else(|| Error::new(ErrorKind::InvalidData, "what answers there does not speak HTTP"))
}

fn converse<S: Copy + Read + Write>(
    mut stream: S,
    request: &str,
    finish: impl Fn() -> io::Result<()>,
) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    // Closing first spares the server the wait for that. If it was quicker, and has cut its end (ENOTCONN), the answer is
    // here all the same; whatever else is wrong, reading tells.
    let _ = finish();
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// The answer that a whole response is.
fn parse(page: &str) -> Option<Answer> {
    let (head, body) = page.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let page = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nthere is none\n";
        assert_eq!(parse(page), Some(Answer { status: 404, body: "there is none\n".to_owned() }));
        for strange in ["", "+PONG\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 OK\r\n\r\n"] {
            assert_eq!(parse(strange), None, "{strange:?}");
        }
    }
}

//! A client of the admin interface, for commands that ask one question and wait for the answer.

use crate::core::time::Duration;
use crate::net::Address;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// How long the interface may take. It answers for workers after two seconds, whether they do or not.
const ANSWER: Duration = Duration::from_secs(10);
/// How long an answer without end may be silent: three times as long as the interface may be.
const SILENCE: Duration = Duration::from_secs(45);

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// An answer that has no end.
pub enum Followed {
    /// It is refused.
    Refused(Answer),
    /// It comes here. A read fails when nothing has come for three times as long as the interface may be silent.
    Stream(Box<dyn BufRead>),
}

/// Asks the interface at `address`, by a method and the target of a request, and with a token where it wants one.
///
/// # Errors
/// When there is no answer, or it is none of HTTP.
pub fn ask(address: &Address, method: &str, target: &str, token: Option<&str>) -> io::Result<Answer> {
    let bearer = bearer(token);
    let mut stream = Stream::connect(address, ANSWER)?;
    // In one piece: who is answered behind the first of several could not send the others.
    let request = format!("{method} {target} HTTP/1.0\r\nContent-Length: 0\r\n{bearer}\r\n");
    stream.write_all(request.as_bytes())?;
    // Closing first spares the server the wait for that. If it was quicker, and has cut its end (ENOTCONN), the answer is
    // here all the same; whatever else is wrong, reading tells.
    let _ = stream.finish();
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    parse(&page).ok_or_else(no_http)
}

/// Asks for an answer that has no end. `last`: what the one before had told last, if there was one.
///
/// # Errors
/// When there is no answer, or it is none of HTTP.
pub fn follow(
    address: &Address,
    target: &str,
    token: Option<&str>,
    last: Option<&str>,
) -> io::Result<Followed> {
    let bearer = bearer(token);
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    let mut stream = Stream::connect(address, SILENCE)?;
    stream.write_all(format!("GET {target} HTTP/1.0\r\n{bearer}{last}\r\n").as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(no_http());
        }
    }
    let mut answer = parse(&head).ok_or_else(no_http)?;
    if answer.status == 200 {
        return Ok(Followed::Stream(Box::new(stream)));
    }
    stream.read_to_string(&mut answer.body)?;
    Ok(Followed::Refused(answer))
}

fn bearer(token: Option<&str>) -> String {
    token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
}

fn no_http() -> Error {
    Error::new(ErrorKind::InvalidData, "what answers there does not speak HTTP")
}

/// A connection to the interface.
#[expect(clippy::disallowed_types, reason = "a command that asks has nothing else to do meanwhile")]
enum Stream {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects; each read may take so long.
    #[expect(clippy::disallowed_types, reason = "a command that asks has nothing else to do meanwhile")]
    fn connect(address: &Address, patience: Duration) -> io::Result<Self> {
        match address {
            Address::Tcp { socket, .. } => {
                let stream = std::net::TcpStream::connect_timeout(socket, ANSWER)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(ANSWER))?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(ANSWER))?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// Nothing more is asked.
    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(out),
            Self::Unix(stream) => stream.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

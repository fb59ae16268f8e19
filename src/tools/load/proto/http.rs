//! Responses of HTTP/1.x to one `GET` after another: where each ends, without keeping its body.

/// Where in a response a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Place {
    /// Before or in the head.
    #[default]
    Head,
    /// In a body, of which so much is still to come.
    Body(u64),
    /// Before or in the line that tells the size of a chunk.
    ChunkSize,
    /// In a chunk, with the line end behind it.
    Chunk(u64),
    /// In the lines behind the last chunk.
    Trailer,
    /// In a body that ends with the connection.
    UntilClose,
}

/// What was found in the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// So many bytes are done with; the response goes on.
    On(usize),
    /// So many bytes are done with, and with them the response.
    Done(usize),
    /// More is needed to tell.
    Partial,
    /// That is no response.
    Broken,
}

/// What a head says about its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The status, as 200.
    pub status: u16,
    /// The server closes after it.
    pub closes: bool,
}

/// Most header lines of a response.
const HEADERS_MAX: usize = 64;

/// Takes the next step through a response.
pub fn step(place: &mut Place, head: &mut Head, bytes: &[u8]) -> Step {
    match *place {
        Place::Head => read_head(place, head, bytes),
        Place::Body(left) => through(place, bytes, left, Place::Head),
        Place::Chunk(left) => through(place, bytes, left, Place::ChunkSize),
        Place::ChunkSize => match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((used, 0))) => {
                *place = Place::Trailer;
                Step::On(used)
            }
            Ok(httparse::Status::Complete((used, size))) => {
                *place = Place::Chunk(size.saturating_add(2));
                Step::On(used)
            }
            Ok(httparse::Status::Partial) => Step::Partial,
            Err(_) => Step::Broken,
        },
        Place::Trailer => match bytes.windows(2).position(|pair| pair == b"\r\n") {
            Some(0) => {
                *place = Place::Head;
                Step::Done(2)
            }
            Some(end) => Step::On(end + 2),
            None => Step::Partial,
        },
        Place::UntilClose => Step::On(bytes.len()),
    }
}

/// Passes over what is known to come.
fn through(place: &mut Place, bytes: &[u8], left: u64, then: Place) -> Step {
    let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    let left = left - here as u64;
    if left > 0 {
        *place = if matches!(place, Place::Chunk(_)) { Place::Chunk(left) } else { Place::Body(left) };
        return Step::On(here);
    }
    let done = matches!(place, Place::Body(_));
    *place = then;
    if done { Step::Done(here) } else { Step::On(here) }
}

fn read_head(place: &mut Place, head: &mut Head, bytes: &[u8]) -> Step {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Step::Partial,
        Err(_) => return Step::Broken,
    };
    let status = response.code.unwrap_or(0);
    // Interim responses (RFC 9110 15.2) are not the answer. 101 is one that nobody asked for: what follows is not HTTP.
    if (100..200).contains(&status) {
        return if status == 101 { Step::Broken } else { Step::On(used) };
    }
    let Some(framing) = Framing::of(&response) else { return Step::Broken };
    *head = Head { status, closes: framing.closes };
    match framing.body {
        // RFC 9110 15.3.5, 15.4.5: these have no body, whatever is said of one.
        _ if status == 204 || status == 304 => return Step::Done(used),
        Body::Length(0) => return Step::Done(used),
        Body::Length(length) => *place = Place::Body(length),
        Body::Chunked => *place = Place::ChunkSize,
        Body::UntilClose => {
            head.closes = true;
            *place = Place::UntilClose;
        }
    }
    Step::On(used)
}

/// Where a body ends.
enum Body {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What the headers say about body and connection.
struct Framing {
    body: Body,
    closes: bool,
}

impl Framing {
    /// None where the headers contradict each other: nobody could tell where the response ends.
    fn of(response: &httparse::Response<'_, '_>) -> Option<Self> {
        let (mut length, mut coding) = (None, None);
        let (mut close, mut keep_alive) = (false, false);
        for header in response.headers.iter() {
            let value = str::from_utf8(header.value).unwrap_or_default();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let words = || value.split(',').map(str::trim);
            if is("content-length") {
                // RFC 9112 6.3: the same number again is one number, anything else is an error.
                for word in words() {
                    let number: u64 = word.parse().ok()?;
                    if length.is_some_and(|other| other != number) {
                        return None;
                    }
                    length = Some(number);
                }
            } else if is("transfer-encoding") {
                coding = words().next_back();
            } else if is("connection") {
                close |= words().any(|word| word.eq_ignore_ascii_case("close"));
                keep_alive |= words().any(|word| word.eq_ignore_ascii_case("keep-alive"));
            }
        }
        let body = match (coding, length) {
            (Some(last), _) if last.eq_ignore_ascii_case("chunked") => Body::Chunked,
            (None, Some(length)) => Body::Length(length),
            (Some(_) | None, _) => Body::UntilClose,
        };
        // RFC 9112 9.3: HTTP/1.0 closes unless it says otherwise.
        let closes = close || (response.version == Some(0) && !keep_alive);
        Some(Self { body, closes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `size`; how many responses were whole, and the last head.
    fn feed(bytes: &[u8], size: usize) -> Option<(usize, Head, Place)> {
        let (mut place, mut head, mut done) = (Place::Head, Head::default(), 0);
        let mut waiting: Vec<u8> = Vec::new();
        for piece in bytes.chunks(size) {
            waiting.extend(piece);
            loop {
                if waiting.is_empty() {
                    break;
                }
                match step(&mut place, &mut head, &waiting) {
                    Step::On(used) => drop(waiting.drain(..used)),
                    Step::Done(used) => {
                        done += 1;
                        waiting.drain(..used);
                    }
                    Step::Partial => break,
                    Step::Broken => return None,
                }
            }
        }
        Some((done, head, place))
    }

    #[test]
    fn responses_end_where_they_say_in_whatever_pieces_they_come() {
        let stream = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
                      HTTP/1.1 304 Not Modified\r\n\r\n\
                      HTTP/1.1 100 Continue\r\n\r\n\
                      HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n\
                      HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        for size in [1, 2, 3, 7, 50, 1000] {
            let head = Head { status: 404, closes: true };
            assert_eq!(feed(stream.as_bytes(), size), Some((4, head, Place::Head)), "pieces of {size}");
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let (done, head, place) = feed(b"HTTP/1.0 200 OK\r\n\r\nand so on", 4).unwrap();
        assert_eq!((done, head.closes, place), (0, true, Place::UntilClose));
    }

    #[test]
    fn a_response_without_a_body_ends_with_its_head_whatever_it_says() {
        for status in ["204 No Content", "304 Not Modified"] {
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
            let (done, _, place) = feed(head.as_bytes(), 9).unwrap();
            assert_eq!((done, place), (1, Place::Head));
        }
    }

    #[test]
    fn who_closes_says_so() {
        for (version, header, closes) in [
            ("1.1", "X: y", false),
            ("1.1", "Connection: close", true),
            ("1.1", "Connection: Upgrade, Close", true),
            ("1.1", "Connection: keep-alive", false),
            ("1.0", "X: y", true),
            ("1.0", "Connection: Keep-Alive", false),
        ] {
            let response = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{header}\r\n\r\n");
            let (done, head, _) = feed(response.as_bytes(), 100).unwrap();
            assert_eq!((done, head.closes), (1, closes), "HTTP/{version} {header}");
        }
    }

    #[test]
    fn a_response_whose_end_nobody_can_tell_is_broken() {
        for headers in
            ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5, 6", "Content-Length: five"]
        {
            let response = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nhello");
            assert_eq!(feed(response.as_bytes(), 100), None, "{headers}");
        }
        assert_eq!(feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 100), None);
        // A coding that is not the last one tells no length.
        let gzip = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\nhello";
        assert_eq!(feed(gzip, 100).unwrap().2, Place::UntilClose);
    }

    #[test]
    fn what_is_not_http_is_broken() {
        assert_eq!(feed(b"+PONG\r\n", 100), None);
        assert_eq!(feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 100), None);
    }
}

//! HTTP/1.1 for the admin listener (RFC 9110, RFC 9112): requests with small heads and bodies that nobody
//! reads; `response` has what is answered, whole or in pieces. Pipelining and keep-alive work; request bodies in
//! chunks and upgrades are not offered. The head is parsed by httparse, once, when its blank line has come.
//!
//! A [`Request`] is handed out when its head is whole; a body that follows is passed over as it arrives, so
//! what has to be kept of a partial request is never more than [`HEAD_BYTES_MAX`].
//!
//! ```
//! use linger::protocol::http::{Decoder, Method, Response, Status};
//!
//! let mut decoder = Decoder::default();
//! let mut input: &[u8] = b"GET /connections?limit=2 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nex";
//! let request = decoder.next_request(&mut input).unwrap().unwrap();
//! assert_eq!((request.method, request.path.as_str()), (Method::Get, "/connections"));
//! assert_eq!(request.query_value("limit"), Some("2"));
//! assert_eq!(decoder.next_request(&mut input), Ok(None));
//! assert_eq!(input, b"GET /nex");
//!
//! let mut out = Vec::new();
//! Response::text(Status::Ok, "alive\n").write(&request, &mut out);
//! ```

mod response;

pub use response::{CONTINUE, Framing, Response};

use super::ProtocolError;
use super::first_bytes::{self, Look, Signature};
use crate::core::end::Foreign;

/// How a client begins that speaks it.
pub(super) const SIGNATURES: &[Signature] = &[
    Signature::Bytes(b"GET /"),
    Signature::Bytes(b"GET http"),
    Signature::Bytes(b"HEAD /"),
    Signature::Bytes(b"POST /"),
    Signature::Bytes(b"PUT /"),
    Signature::Bytes(b"DELETE /"),
    Signature::Bytes(b"PATCH /"),
    Signature::Bytes(b"OPTIONS /"),
    Signature::Bytes(b"OPTIONS * "),
    // The preface of HTTP/2 (RFC 9113 3.4).
    Signature::Bytes(b"PRI * HTTP/2"),
];

/// Longest request line and headers together, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest request body, in bytes. No request here has a use for one.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// What a request wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// The resource.
    Get,
    /// As `GET`, but only the head of the response.
    Head,
    /// An action.
    Post,
}

/// A request. Admin requests are rare, so it owns its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what one header says, and they do not depend on each other"
)]
pub struct Request {
    /// What is wanted.
    pub method: Method,
    /// The path, percent-decoded.
    pub path: String,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The host that it is for, with its port: of the `Host` header, or of the target where that is a whole URL (RFC
    /// 9112 3.2.2). Empty only in HTTP/1.0.
    pub host: String,
    /// The `Origin` header. A browser sends it with what a web page makes it POST: an admin listener on
    /// loopback has reason to refuse those of other sites.
    pub origin: Option<String>,
    /// The `Sec-Fetch-Site` header (W3C Fetch Metadata): how far from this host a browser's page is that has sent it. Only
    /// a browser can set it, and no script in one.
    pub fetch_site: Option<String>,
    /// The browser goes to the address itself: `Sec-Fetch-Mode: navigate`.
    pub navigates: bool,
    /// The `Accept` header names `text/html`, as that of a browser does which shows what it gets.
    pub accepts_html: bool,
    /// The `Authorization` header, which may be a secret.
    pub authorization: Option<String>,
    /// The `Last-Event-ID` header: what a reader of events had last.
    pub last_event_id: Option<String>,
    /// Whether the connection goes on after the response.
    pub keep_alive: bool,
    /// It is HTTP/1.1: a response may come in chunks.
    pub chunks: bool,
    /// The client waits for [`CONTINUE`], or for the response, before it sends the body (RFC 9110 10.1.1).
    pub expects_continue: bool,
}

impl Request {
    /// The first value that the query gives for `name`.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A status that this server sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// 200.
    Ok,
    /// 202: posted, and done by the next turn.
    Accepted,
    /// 400.
    BadRequest,
    /// 401: the request has to bring a token.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 409.
    Conflict,
    /// 413.
    ContentTooLarge,
    /// 417.
    ExpectationFailed,
    /// 421: the host that it names is not this one.
    Misdirected,
    /// 431.
    HeaderTooLarge,
    /// 501.
    NotImplemented,
    /// 503.
    Unavailable,
    /// 505.
    VersionNotSupported,
}

impl Status {
    /// The number and its phrase.
    pub const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Accepted => "202 Accepted",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Conflict => "409 Conflict",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::Misdirected => "421 Misdirected Request",
            Self::HeaderTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// A request that cannot be taken. The peer is sent [`Rejected::write`], then its connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// What to answer.
    pub status: Status,
    /// Why, in a sentence.
    pub text: &'static str,
    /// What it is instead of a request.
    pub spoke: Option<Foreign>,
}

impl Rejected {
    /// To who finds all places taken.
    pub const FULL: Self = rejected(Status::Unavailable, "all places are taken: come back later");

    /// Appends the response.
    pub fn write(&self, out: &mut Vec<u8>) {
        Response::text(self.status, format!("{}\n", self.text)).write_last(out);
    }

    /// The same for the End record.
    pub fn protocol_error(&self) -> ProtocolError {
        if let Some(spoke) = self.spoke {
            return ProtocolError::foreign(spoke);
        }
        match self.status {
            Status::ContentTooLarge | Status::HeaderTooLarge => ProtocolError::oversized(self.text),
            Status::MethodNotAllowed
            | Status::ExpectationFailed
            | Status::NotImplemented
            | Status::VersionNotSupported => ProtocolError::unsupported(self.text),
            Status::Ok
            | Status::Accepted
            | Status::BadRequest
            | Status::Unauthorized
            | Status::Forbidden
            | Status::Conflict
            | Status::Misdirected
            | Status::NotFound
            | Status::Unavailable => ProtocolError::malformed(self.text),
        }
    }
}

const fn rejected(status: Status, text: &'static str) -> Rejected {
    Rejected { status, text, spoke: None }
}

const fn bad(text: &'static str) -> Rejected {
    rejected(Status::BadRequest, text)
}

/// What one connection remembers between receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decoder {
    /// Bytes of a partial head in which its end was not found.
    scanned: u32,
    /// Bytes of a body still to be passed over.
    body: u32,
    /// There was a request: what follows is one, too.
    begun: bool,
}

impl Decoder {
    /// Takes the next request off the front of `input`.
    ///
    /// `None`: what is left in `input` is the beginning of a head, fewer than [`HEAD_BYTES_MAX`] bytes. It
    /// must be kept, and stand at the front of the next `input`.
    ///
    /// # Errors
    /// The answer to a request that cannot be taken. The decoder is of no further use.
    pub fn next_request(&mut self, input: &mut &[u8]) -> Result<Option<Request>, Rejected> {
        let passed = input.len().min(self.body as usize);
        self.body -= u32::try_from(passed).expect("at most self.body");
        *input = &input[passed..];
        if self.scanned == 0 {
            // RFC 9112 2.2: empty lines before a request are to be ignored. Not between CR and LF: nothing
            // else may follow a CR, so a lone one is as good as an empty line.
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            *input = &input[blank..];
        }
        if !self.begun {
            match first_bytes::look(Foreign::Http, input) {
                Look::Expected => {}
                Look::Unclear => return Ok(None),
                Look::Foreign(spoke) => {
                    return Err(Rejected { spoke: Some(spoke), ..bad("this is no HTTP request") });
                }
            }
        }
        let window = &input[..input.len().min(HEAD_BYTES_MAX)];
        let Some(length) = head_length(window, self.scanned as usize) else {
            if window.len() == HEAD_BYTES_MAX {
                return Err(rejected(Status::HeaderTooLarge, "request head over 16 KiB"));
            }
            self.scanned = u32::try_from(window.len()).expect("HEAD_BYTES_MAX fits");
            return Ok(None);
        };
        let (request, body) = parse(&window[..length])?;
        *input = &input[length..];
        *self = Self { scanned: 0, body, begun: true };
        Ok(Some(request))
    }

    /// Whether there was a request.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Bytes of a body that are still to be passed over.
    pub const fn body_left(&self) -> usize {
        self.body as usize
    }

    /// Whether bytes of a body are still to come: an end of file now is in the middle of a request.
    pub const fn is_in_body(&self) -> bool {
        self.body > 0
    }
}

/// Where the head ends, with its blank line; nothing before `scanned` needs to be looked at again but the
/// last three bytes. A bare LF ends a line, as RFC 9112 2.2 allows and httparse takes it.
fn head_length(window: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.saturating_sub(3);
    let unseen = &window[from..];
    (0..unseen.len()).find_map(|at| match unseen[at..] {
        [b'\n', b'\r', b'\n', ..] => Some(from + at + 3),
        [b'\n', b'\n', ..] => Some(from + at + 2),
        _ => None,
    })
}

/// Understands a whole head: the request, and how long its body is.
fn parse(head: &[u8]) -> Result<(Request, u32), Rejected> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(bad("request head ends where it should not")),
        Err(httparse::Error::Version) => {
            return Err(rejected(Status::VersionNotSupported, "want HTTP/1.1 or HTTP/1.0"));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Err(rejected(Status::HeaderTooLarge, "more than 64 headers"));
        }
        Err(
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token,
        ) => return Err(bad("malformed request head")),
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Err(rejected(Status::MethodNotAllowed, "want GET, HEAD or POST")),
    };
    let version_1_1 = parsed.version == Some(1);
    let fields = Fields::read(parsed.headers)?;
    if fields.host.is_none() && version_1_1 {
        return Err(bad("HTTP/1.1 needs a Host header"));
    }
    let (authority, path, query) = target(parsed.path.unwrap_or_default())?;
    let request = Request {
        method,
        path,
        query,
        host: authority.map_or(fields.host.unwrap_or_default(), str::to_owned),
        origin: fields.origin,
        fetch_site: fields.fetch_site,
        navigates: fields.navigates,
        accepts_html: fields.accepts_html,
        authorization: fields.authorization,
        last_event_id: fields.last_event_id,
        keep_alive: !fields.close && (version_1_1 || fields.keep_alive),
        chunks: version_1_1,
        // RFC 9110 10.1.1: of an older client it is to be ignored.
        expects_continue: version_1_1 && fields.expects_continue,
    };
    Ok((request, fields.body.unwrap_or_default()))
}

/// The headers that matter here.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what one header says, and they do not depend on each other"
)]
struct Fields {
    host: Option<String>,
    origin: Option<String>,
    fetch_site: Option<String>,
    navigates: bool,
    accepts_html: bool,
    authorization: Option<String>,
    last_event_id: Option<String>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    body: Option<u32>,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Rejected> {
        let mut fields = Self::default();
        for header in headers {
            let value = header.value.trim_ascii();
            let text = || String::from_utf8_lossy(value).into_owned();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("Transfer-Encoding") {
                return Err(rejected(Status::NotImplemented, "transfer encodings are not taken"));
            } else if is("Content-Length") {
                let length = content_length(value)?;
                // RFC 9112 6.3: lengths that differ are how requests are smuggled.
                if fields.body.is_some_and(|other| other != length) {
                    return Err(bad("Content-Length given twice"));
                }
                fields.body = Some(length);
            } else if is("Host") {
                if fields.host.replace(text()).is_some() {
                    return Err(bad("Host given twice"));
                }
            } else if is("Origin") {
                fields.origin = Some(text());
            } else if is("Sec-Fetch-Site") {
                fields.fetch_site = Some(text());
            } else if is("Sec-Fetch-Mode") {
                fields.navigates = value == b"navigate";
            } else if is("Accept") {
                fields.accepts_html |= value.split(|&byte| byte == b',').any(is_html);
            } else if is("Authorization") {
                fields.authorization = Some(text());
            } else if is("Last-Event-ID") {
                fields.last_event_id = Some(text());
            } else if is("Expect") {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(rejected(Status::ExpectationFailed, "want no Expect but 100-continue"));
                }
                fields.expects_continue = true;
            } else if is("Connection") {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    fields.close |= option.eq_ignore_ascii_case(b"close");
                    fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        Ok(fields)
    }
}

/// Whether a range of an `Accept` header names HTML and does not refuse it (RFC 9110 12.5.1: `q=0`).
fn is_html(range: &[u8]) -> bool {
    let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/html"));
    let is_zero = |weight: &[u8]| weight.iter().all(|byte| matches!(byte, b'0' | b'.'));
    is_named && !parts.any(|part| part.strip_prefix(b"q=").is_some_and(is_zero))
}

fn content_length(value: &[u8]) -> Result<u32, Rejected> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad("Content-Length is not a number"));
    }
    str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|&length| length <= BODY_BYTES_MAX)
        .and_then(|length| u32::try_from(length).ok())
        .ok_or(rejected(Status::ContentTooLarge, "request body over 64 KiB"))
}

type Query = Vec<(String, String)>;

/// Path and query of a request target in origin form, or in absolute form as a proxy sends it, with the host of that.
fn target(target: &str) -> Result<(Option<&str>, String, Query), Rejected> {
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let (authority, target) = match scheme.map(|_| &target[7..]) {
        Some(rest) => match rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())) {
            (authority, path) if path.starts_with('/') => (Some(authority), path),
            (authority, _) => (Some(authority), "/"),
        },
        None => (None, target),
    };
    if !target.starts_with('/') {
        return Err(bad("want a path that begins with /"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |text: &str| percent_decoded(text).ok_or(bad("malformed percent-encoding"));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(&key.replace('+', " "))?, decoded(&value.replace('+', " "))?))
    });
    Ok((authority, decoded(path)?, pairs.collect::<Result<_, Rejected>>()?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;

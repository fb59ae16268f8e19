//! Responses: whole ones, whose length is told, and those that are produced as they are taken.

use super::{Method, Request, Status};
use std::borrow::Cow;
use std::io::Write;

/// What a client is sent that waits before it sends a body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response of known length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response<'a> {
    /// How it went.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// More headers, each with the end of its line.
    pub headers: &'static str,
    /// The body.
    pub body: Cow<'a, str>,
}

impl<'a> Response<'a> {
    /// A text for people.
    pub fn text(status: Status, body: impl Into<Cow<'a, str>>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", headers: "", body: body.into() }
    }

    /// JSON.
    pub fn json(status: Status, body: impl Into<Cow<'a, str>>) -> Self {
        Self { status, content_type: "application/json", headers: "", body: body.into() }
    }

    /// Metrics in the text format of Prometheus.
    pub fn metrics(body: impl Into<Cow<'a, str>>) -> Self {
        Self {
            status: Status::Ok,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            headers: "",
            body: body.into(),
        }
    }

    /// Events as they happen, in the format that browsers know (HTML Living Standard, "Server-sent events").
    pub const fn events() -> Self {
        Self { status: Status::Ok, content_type: "text/event-stream", headers: "", body: Cow::Borrowed("") }
    }

    /// A page for browsers, with what they are to permit it.
    pub fn html(body: impl Into<Cow<'a, str>>, headers: &'static str) -> Self {
        Self { status: Status::Ok, content_type: "text/html; charset=utf-8", headers, body: body.into() }
    }

    /// Appends the response to `request`. Whether the connection goes on is as the request has it: set
    /// `keep_alive` to false first to end it.
    pub fn write(&self, request: &Request, out: &mut Vec<u8>) {
        self.write_as(request.method, request.keep_alive, out);
    }

    /// Appends the response as the last one of its connection, to whatever was asked.
    pub(super) fn write_last(&self, out: &mut Vec<u8>) {
        self.write_as(Method::Get, false, out);
    }

    /// Appends the head of a response whose body follows in pieces, by the framing that is returned.
    pub fn write_head(&self, request: &Request, out: &mut Vec<u8>) -> Framing {
        let framing = Framing::of(request);
        self.head(framing.header(), framing.keeps_alive(request), out);
        framing
    }

    fn write_as(&self, method: Method, keep_alive: bool, out: &mut Vec<u8>) {
        self.head(&format!("Content-Length: {}\r\n", self.body.len()), keep_alive, out);
        // RFC 9110 9.3.2: the length is told, the body is not sent.
        if method != Method::Head {
            out.extend_from_slice(self.body.as_bytes());
        }
    }

    fn head(&self, length: &str, keep_alive: bool, out: &mut Vec<u8>) {
        // RFC 9110 15.5.6: a 405 must name what is allowed.
        // RFC 9110 11.6.1: a 401 must say what it wants.
        let needed = if self.status == Status::MethodNotAllowed {
            "Allow: GET, HEAD, POST\r\n"
        } else if self.status == Status::Unauthorized {
            "WWW-Authenticate: Bearer realm=\"linger\"\r\n"
        } else {
            ""
        };
        write!(
            out,
            "HTTP/1.1 {}\r\nContent-Type: {}\r\n{length}Cache-Control: no-store\r\n{}{needed}Connection: {}\r\n\r\n",
            self.status.line(),
            self.content_type,
            self.headers,
            if keep_alive { "keep-alive" } else { "close" }
        )
        .expect("a vector takes all");
    }
}

/// How the end of a body is told whose length is not known before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// In chunks, of which the last one is empty (RFC 9112 7.1).
    Chunks,
    /// By the end of the connection: HTTP/1.0 knows no chunks.
    Close,
}

impl Framing {
    /// The best that the client understands.
    pub const fn of(request: &Request) -> Self {
        if request.chunks { Self::Chunks } else { Self::Close }
    }

    /// Whether the connection goes on after the response.
    pub const fn keeps_alive(self, request: &Request) -> bool {
        matches!(self, Self::Chunks) && request.keep_alive
    }

    const fn header(self) -> &'static str {
        match self {
            Self::Chunks => "Transfer-Encoding: chunked\r\n",
            Self::Close => "",
        }
    }

    /// Appends a piece of the body.
    pub fn write(self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            // An empty chunk would be the end.
            Self::Chunks if piece.is_empty() => {}
            Self::Chunks => {
                write!(out, "{:x}\r\n", piece.len()).expect("a vector takes all");
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            Self::Close => out.extend_from_slice(piece),
        }
    }

    /// Appends the end of the body.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self {
            Self::Chunks => out.extend_from_slice(b"0\r\n\r\n"),
            Self::Close => {}
        }
    }
}

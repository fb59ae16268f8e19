//! A client of the admin interface that keeps its connection, and reads answers of known length and in chunks.

use super::{BEARER, DEADLINE, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A keep-alive connection.
pub struct Http<S: Read + Write>(pub BufReader<S>);

/// What was answered.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Http<TcpStream> {
    pub fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address("admin")).expect("the server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
        Self(BufReader::new(stream))
    }
}

impl Http<UnixStream> {
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        Self(BufReader::new(stream))
    }
}

impl<S: Read + Write> Http<S> {
    pub fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the bytes go out");
    }

    /// Reads one answer. `bodiless`: to HEAD, or one that another follows.
    pub fn answer(&mut self, bodiless: bool) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).expect("a line of a head");
            assert_ne!(read, 0, "end of file in the head: {head:?}");
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let chunked = head.lines().any(|line| line == "Transfer-Encoding: chunked");
        let body = match (bodiless, length) {
            (true, _) => Vec::new(),
            (false, Some(length)) => self.bytes(length.parse().expect("a length")),
            (false, None) if chunked => self.chunks(),
            (false, None) => {
                let mut body = Vec::new();
                self.0.read_to_end(&mut body).expect("the body");
                body
            }
        };
        Answer { status, head, body: String::from_utf8(body).expect("text") }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("as many bytes as were announced");
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.0.read_line(&mut size).expect("the size of a chunk");
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a size in hexadecimal");
            body.extend(self.bytes(size));
            assert_eq!(self.bytes(2), b"\r\n", "after a chunk");
            if size == 0 {
                return body;
            }
        }
    }

    pub fn ask(&mut self, method: &str, path: &str) -> Answer {
        // In one call: the second piece of a request would wait for the first one's delayed ACK.
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n"));
        self.answer(method == "HEAD")
    }

    pub fn ended(&mut self) -> bool {
        self.0.read(&mut [0]).expect("an end of file") == 0
    }
}

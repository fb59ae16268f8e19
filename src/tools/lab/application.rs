//! A server behind the gateway whose protocol linger does not understand, and which says who its clients are.
//!
//! It knows a connection by the unique id in the PROXY header. A client's first line is `IDENT NAME`; the server hands the
//! name on (`IDENTFOR KEY NAME`) and answers the client with what it was told. It reads all that follows, and says what
//! the lab orders over standard input: `utter NAME BYTES`, to the client that came last with that name.

use super::client::ORDERS;
use super::wire::Wire;
use crate::core::escape::unescape;
use crate::net::{
    Accepted, Address, Fatal, Interest, Kernel as _, ListenSpec, Listener as _, Ready, Received,
    SocketOptions, Stream as _, Token,
};
use crate::sys::{Os, Stream, process};
use proxy_header::{ParseConfig, ProxyHeader};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Numbers of connections are below these.
const LISTENER: Token = Token(u32::MAX as u64 - 1);
const GATEWAY: Token = Token(u32::MAX as u64 - 2);

/// One connection of the gateway's.
struct Served {
    wire: Wire,
    /// The header and the first line, before they are complete.
    first: Option<Vec<u8>>,
    name: Option<String>,
}

/// All of it.
struct Application {
    os: Os,
    served: BTreeMap<u64, Served>,
    /// Where clients are named.
    gateway: Wire,
    /// Who waits for what is answered there.
    asked: VecDeque<u64>,
    /// The beginnings of lines: of an answer, and of an order.
    answer: Vec<u8>,
    order: Vec<u8>,
}

/// Serves at `address`, and names clients at `gateway`, until standard input ends. It is watched by `os` already. `serving`
/// is said once clients may come.
///
/// # Errors
/// When it cannot listen, or the gateway does not answer.
pub fn serve(mut os: Os, mut orders: Stream, address: SocketAddr, gateway: SocketAddr) -> Result<(), Fatal> {
    let refused = |fault| Fatal { what: "watch a socket".into(), why: format!("{fault:?}") };
    let (stream, _) = process::connect(gateway, None)?;
    os.watch(&stream, GATEWAY, Interest::ReadWrite).map_err(refused)?;
    let address = Address::Tcp { socket: address, v6_only: false, interface: None };
    let spec = ListenSpec { address, backlog: 1024, options: SocketOptions::default(), socket_mode: 0 };
    let mut listener = os.listen(&spec, LISTENER)?;
    // It is little, and nothing else has been said.
    let _ = orders.send(b"serving\n");
    let mut it = Application {
        os,
        served: BTreeMap::new(),
        gateway: Wire::new(stream, None),
        asked: VecDeque::new(),
        answer: Vec::new(),
        order: Vec::new(),
    };
    let (mut events, mut next): (Vec<Ready>, u64) = (Vec::new(), 0);
    loop {
        it.os.poll(None, &mut events)?;
        for event in std::mem::take(&mut events) {
            match event.token {
                ORDERS => {
                    if !it.obey(&mut orders) {
                        return Ok(());
                    }
                }
                LISTENER => {
                    while let Accepted::Stream(stream, _) = listener.try_accept() {
                        next += 1;
                        it.os.watch(&stream, Token(next), Interest::ReadWrite).map_err(refused)?;
                        let wire = Wire::new(stream, None);
                        it.served.insert(next, Served { wire, first: Some(Vec::new()), name: None });
                        it.read(next);
                    }
                }
                GATEWAY => it.on_answer(),
                Token(number) => it.read(number),
            }
        }
    }
}

impl Application {
    /// Says what it was ordered to. Whether there can be more orders.
    fn obey(&mut self, orders: &mut Stream) -> bool {
        let goes_on = take(&mut self.order, |buffer| orders.recv(buffer));
        while let Some(line) = line_of(&mut self.order) {
            let mut words = line.split(' ').skip(1);
            let name = words.next().map(str::to_owned);
            let bytes = words.next().and_then(|word| unescape(word).ok()).unwrap_or_default();
            if let Some(served) = self.served.values_mut().rev().find(|served| served.name == name) {
                served.wire.send(&bytes);
            }
        }
        goes_on
    }

    /// The gateway has answered: the client that was named is told.
    fn on_answer(&mut self) {
        self.gateway.flush();
        let gateway = &mut self.gateway;
        take(&mut self.answer, |buffer| gateway.recv(buffer));
        while let Some(line) = line_of(&mut self.answer) {
            let number = self.asked.pop_front();
            if let Some(served) = number.and_then(|number| self.served.get_mut(&number)) {
                served.wire.send(format!("{line}\r\n").as_bytes());
            }
        }
    }

    fn read(&mut self, number: u64) {
        let Some(served) = self.served.get_mut(&number) else { return };
        served.wire.flush();
        let mut unread = Vec::new();
        let wire = &mut served.wire;
        let goes_on = take(&mut unread, |buffer| wire.recv(buffer));
        if let Some(first) = &mut served.first {
            first.extend_from_slice(&unread);
            if let Some((key, line)) = opening(first) {
                served.first = None;
                match line.strip_prefix("IDENT ") {
                    Some(name) => {
                        self.gateway.send(format!("IDENTFOR {key} {name}\r\n").as_bytes());
                        served.name = Some(name.to_owned());
                        self.asked.push_back(number);
                    }
                    None => served.wire.send(b"+OK\r\n"),
                }
            }
        }
        if !goes_on {
            self.served.remove(&number);
        }
    }
}

/// Receives all there is behind what `into` has. Whether there can be more.
fn take(into: &mut Vec<u8>, mut recv: impl FnMut(&mut [u8]) -> Received) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match recv(&mut buffer) {
            Received::Bytes(count) => into.extend_from_slice(&buffer[..count]),
            Received::Interrupted => {}
            Received::WouldBlock => return true,
            Received::Eof | Received::Failed(_) => return false,
        }
    }
}

/// Takes the first line out, if it is complete.
fn line_of(bytes: &mut Vec<u8>) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line: Vec<u8> = bytes.drain(..=end).collect();
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// The key of a connection by its header, and the first line behind that, once both are there.
fn opening(bytes: &[u8]) -> Option<(String, String)> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default()).ok()?;
    let key = String::from_utf8_lossy(header.unique_id()?).into_owned();
    Some((key, line_of(&mut bytes[length..].to_vec())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy_header::Tlv;

    #[test]
    fn a_connection_is_known_once_its_header_and_its_first_line_are_there() {
        let mut bytes = Vec::new();
        let tlvs = vec![Tlv::UniqueId(b"3-17"[..].into())];
        ProxyHeader::with_tlvs(None, tlvs).encode_v2(&mut bytes).unwrap();
        bytes.extend_from_slice(b"IDENT lab-x\r\nBEAT\r\n");
        let complete = bytes.len() - b"BEAT\r\n".len();
        for count in 0..complete {
            assert_eq!(opening(&bytes[..count]), None, "{count}");
        }
        let known = Some(("3-17".to_owned(), "IDENT lab-x".to_owned()));
        assert_eq!(opening(&bytes[..complete]), known);
        assert_eq!(opening(&bytes), known);
    }
}

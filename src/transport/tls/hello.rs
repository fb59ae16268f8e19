//! How TLS begins where it only passes through: its first message, the `ClientHello` (RFC 8446, 4.1.2), says what the client
//! asks for. It is read by rustls, and nothing of it is changed.

use super::Queue;
use super::failure::{FirstBytes, TOO_LONG, is_too_long, oversized, refusal};
use super::old_hello;
use crate::core::buf::ByteQueue;
use crate::core::secured::{Alpn, Secured};
use crate::protocol::ProtocolError;
use rustls::Error;
use rustls::server::Acceptor;
use std::fmt;

/// Most bytes of a `ClientHello`, and of the heads of the records that it comes in: 16 KiB, as in `HAProxy`, and room for two
/// hundred records. One with a post-quantum key share has 2 KiB.
pub const WIRE_BYTES_MAX: usize = 16 * 1024 + 1024;
/// Names of protocols that are looked at, and remembered for as long as their connection lives: nobody offers as many.
pub(super) const ALPN_MAX: usize = 16;
/// rustls looks at what it was given after so many bytes, so that no more than the message is read.
const STEP: usize = 4096;
/// What rustls takes at once for what is not whole (`msgs/deframer/buffers.rs: READ_SIZE`).
const INSIDE: usize = 4096;

/// What the beginning of a connection was found to be.
#[derive(Debug)]
pub enum Begin {
    /// Not whole yet.
    Unclear,
    /// A `ClientHello`.
    Hello(Secured),
    /// None. With it, what is answered to that.
    Broken(ProtocolError, Vec<u8>),
}

/// Reads the `ClientHello` of one connection, and keeps all that came.
#[derive(Default)]
pub struct HelloReader {
    acceptor: Acceptor,
    bytes: Vec<u8>,
    first: FirstBytes,
}

impl fmt::Debug for HelloReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelloReader").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl HelloReader {
    /// Takes what came next, which may begin and end anywhere. Not to be called again once it is no longer unclear.
    pub fn receive(&mut self, wire: &[u8]) -> Begin {
        self.first.note(wire);
        let before = self.bytes.len();
        self.bytes.extend_from_slice(wire);
        let bound = WIRE_BYTES_MAX.saturating_sub(before).min(wire.len());
        let mut rest = &wire[..bound];
        while !rest.is_empty() {
            let (mut step, behind) = rest.split_at(rest.len().min(STEP));
            rest = behind;
            while !step.is_empty() {
                // It takes nothing more of a message over its own bound.
                if !matches!(self.acceptor.read_tls(&mut step), Ok(1..)) {
                    return too_long();
                }
                match self.acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => {
                        let hello = accepted.client_hello();
                        return Begin::Hello(Secured {
                            server_name: hello.server_name().map(str::to_ascii_lowercase),
                            alpn: Alpn(
                                hello
                                    .alpn()
                                    .into_iter()
                                    .flatten()
                                    .take(ALPN_MAX)
                                    .map(<[u8]>::to_vec)
                                    .collect(),
                            ),
                            version: None,
                        });
                    }
                    // An older version, or one without what we need: its server may speak it.
                    Err((Error::PeerIncompatible(_), _)) => {
                        return Begin::Hello(old_hello::asked(&self.bytes));
                    }
                    Err((error, _)) if is_too_long(&error) => return too_long(),
                    Err((error, mut alert)) => {
                        let mut said = ByteQueue::default();
                        alert.write_all(&mut Queue(&mut said)).expect("a queue takes all");
                        return self.broken(&error, said.as_slice().to_vec());
                    }
                }
            }
        }
        if self.bytes.len() >= WIRE_BYTES_MAX {
            return too_long();
        }
        Begin::Unclear
    }

    fn broken(&self, error: &Error, said: Vec<u8>) -> Begin {
        Begin::Broken(refusal(error, &said, Some(&self.first)), said)
    }

    /// All that has come, to be passed on.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Whether something has come.
    pub fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Memory that it holds, in bytes, itself included. rustls has a buffer of its own for what is not whole.
    pub fn memory(&self) -> usize {
        let of_rustls = if self.has_begun() { INSIDE + self.bytes.capacity() } else { 0 };
        size_of::<Self>() + self.bytes.capacity() + of_rustls
    }
}

fn too_long() -> Begin {
    let text = "the client's first message of TLS has not come whole within 17 KiB of records; where TLS ends here (tls.certificate), it \
                may have 64";
    Begin::Broken(oversized(text), TOO_LONG.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::old_hello::tests::{for_host, old_hello};
    use super::*;
    use crate::core::end::{Alert, Foreign, Reason, TlsAlert};
    use crate::tls::Client;
    use crate::tls::tests::{client_spec, house, read};
    use proptest::prelude::*;
    use rustls::ClientConnection;
    use std::sync::Arc;

    /// What a client sends first.
    fn hello(name: &str, alpn: &[String]) -> Vec<u8> {
        house();
        let mut config = (*Client::load(&client_spec(), &read).unwrap().config).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut connection =
            ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut wire = Vec::new();
        connection.write_tls(&mut wire).unwrap();
        wire
    }

    /// The same message in records of so many bytes.
    fn in_records(wire: &[u8], length: usize) -> Vec<u8> {
        let (mut rest, mut message) = (wire, Vec::new());
        while let [22, _, _, high, low, behind @ ..] = rest {
            let (body, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            message.extend_from_slice(body);
            rest = next;
        }
        let record = |body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, length[0], length[1]], body].concat()
        };
        message.chunks(length).flat_map(record).collect()
    }

    /// What comes of a wire that is cut into pieces of these lengths, one after the other, and how much it took.
    fn read_in(wire: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Begin, Vec<u8>) {
        let (mut reader, mut rest, mut cuts) = (HelloReader::default(), wire, cuts.into_iter());
        loop {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
            rest = later;
            let begin = reader.receive(now);
            if rest.is_empty() || !matches!(begin, Begin::Unclear) {
                return (begin, reader.take_bytes());
            }
        }
    }

    fn secured(begin: Begin) -> Secured {
        match begin {
            Begin::Hello(secured) => secured,
            other @ (Begin::Unclear | Begin::Broken(..)) => panic!("{other:?}"),
        }
    }

    fn broken(wire: &[u8]) -> (ProtocolError, Vec<u8>) {
        match read_in(wire, []).0 {
            Begin::Broken(error, said) => (error, said),
            other @ (Begin::Unclear | Begin::Hello(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_says_what_the_client_asks_for_and_keeps_all_that_came() {
        let wire = hello("Dev1.Example", &["mqtt".to_owned(), "h2".to_owned()]);
        for length in [1, 7, 100, 16_384] {
            let wire = [in_records(&wire, length), b"early data".to_vec()].concat();
            let all = wire.len();
            for cuts in [vec![], vec![1; all], vec![all - 10]] {
                let (begin, bytes) = read_in(&wire, cuts);
                let asks = secured(begin);
                assert_eq!(asks.server_name.as_deref(), Some("dev1.example"), "records of {length}");
                assert_eq!(asks.alpn_text().as_deref(), Some("mqtt,h2"));
                assert!(wire.starts_with(&bytes) && bytes.len() >= all - 10);
            }
        }
        let nothing = secured(read_in(&hello("192.0.2.1", &[]), []).0);
        assert!(nothing.asks_for_nothing());
    }

    #[test]
    fn it_may_be_long_but_not_without_end() {
        let long = |bytes: usize| {
            let names: Vec<_> = (0..bytes / 250).map(|number| format!("{number:0>249}")).collect();
            hello("a.example", &names)
        };
        let most = long(15_500);
        assert!((15_500..16_384).contains(&most.len()), "{}", most.len());
        for cuts in [vec![], vec![1; most.len()]] {
            assert_eq!(secured(read_in(&most, cuts).0).alpn.0.len(), ALPN_MAX);
        }
        // Also where it announces as much as rustls takes, or more.
        let endless = |bytes: [u8; 3]| [&[22, 3, 1, 0x40, 0, 1], &bytes[..], &[0; 0x3ffc]].concat().repeat(2);
        for wire in [long(20_000), endless([0, 0xff, 0xff]), endless([1, 0, 0])] {
            let (error, said) = broken(&wire);
            assert_eq!((error.reason, said), (Reason::ProtocolOversized, TOO_LONG.to_vec()));
            let alert = Some(TlsAlert { alert: Alert::IllegalParameter, is_ours: true });
            assert_eq!(error.alert, alert);
        }
    }

    #[test]
    fn one_of_an_older_version_says_what_it_asks_for() {
        let wire = old_hello(&[(0, &for_host("Dev1.Example")), (16, b"\x00\x05\x04mqtt")]);
        for length in [1, 7, 16_384] {
            let wire = in_records(&wire, length);
            for cuts in [vec![], vec![1; wire.len()]] {
                let (begin, bytes) = read_in(&wire, cuts);
                let asks = secured(begin);
                assert_eq!(asks.server_name.as_deref(), Some("dev1.example"), "records of {length}");
                assert_eq!((asks.alpn_text().as_deref(), bytes), (Some("mqtt"), wire.clone()));
            }
        }
        assert!(secured(read_in(&old_hello(&[]), []).0).asks_for_nothing());
    }

    #[test]
    fn what_is_none_is_named_and_answered() {
        for (wire, spoke) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Foreign::Http)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Foreign::Resp)),
            (b"nonsense, whatever", None),
        ] {
            let (error, said) = broken(wire);
            assert_eq!((error.reason, error.spoke), (Reason::ProtocolTls, spoke));
            assert_eq!(said[..6], [21, 3, 3, 0, 2, 2]);
            assert!(error.alert.is_some_and(|alert| alert.is_ours));
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            junk in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cuts in prop::collection::vec(1_usize..200, 0..60),
        ) {
            let mut wire = hello("a.example", &["h2".to_owned()]);
            for (at, byte) in junk {
                let at = at.index(wire.len());
                wire[at] = byte;
            }
            let kind = |begin: Begin| match begin {
                Begin::Unclear => None,
                Begin::Hello(secured) => Some(Ok(secured)),
                Begin::Broken(error, said) => Some(Err((error.reason, said))),
            };
            prop_assert_eq!(kind(read_in(&wire, cuts).0), kind(read_in(&wire, []).0));
        }
    }
}

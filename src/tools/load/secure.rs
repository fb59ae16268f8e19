//! A client's side of TLS.

use super::client::Client;
use crate::core::buf::ByteQueue;
use crate::net::{Received, SocketError, Stream};
use crate::tls;
use crate::transport::{self, Layer, Phase};

/// What a client that speaks TLS has beside its socket.
#[derive(Debug)]
pub struct Secure {
    layer: Box<dyn Layer>,
    begun: bool,
    /// Why it cannot go on.
    broken: Option<String>,
}

impl Secure {
    /// That of a client that begins to connect.
    pub fn new(tls: &tls::Client) -> Box<Self> {
        Box::new(Self { layer: transport::connect(tls), begun: false, broken: None })
    }
}

impl<S: Stream> Client<S> {
    /// Whether it speaks plain TCP.
    pub const fn is_plain(&self) -> bool {
        self.secure.is_none()
    }

    /// Whether its TLS handshake has gone on from an earlier one's.
    pub fn is_resumed(&self) -> bool {
        self.secure.as_ref().is_some_and(|secure| secure.layer.is_resumed())
    }

    /// Goes on with the TLS handshake, if there is one. Whether it is over.
    ///
    /// # Errors
    /// Why there will be no connection.
    pub fn shake_hands(&mut self) -> Result<bool, String> {
        let Some(secure) = &mut self.secure else { return Ok(true) };
        if !secure.begun {
            secure.begun = true;
            let mut hello = ByteQueue::default();
            secure.layer.begin(&mut hello);
            self.push(hello.as_slice());
        }
        loop {
            if self.secure.as_ref().is_none_or(|secure| secure.layer.phase() == Phase::Open) {
                return Ok(true);
            }
            match self.recv(&mut [0; 8192]) {
                Received::Bytes(_) | Received::Interrupted => {}
                Received::WouldBlock => {
                    return Ok(self.secure.as_ref().is_none_or(|secure| secure.layer.phase() == Phase::Open));
                }
                Received::Eof => {
                    return Err("the server has closed in the middle of the TLS handshake".to_owned());
                }
                Received::Failed(fault) => {
                    let why = self.secure.as_mut().and_then(|secure| secure.broken.take());
                    return Err(
                        why.unwrap_or_else(|| format!("{fault:?} in the middle of the TLS handshake"))
                    );
                }
            }
        }
    }

    /// Receives what the server says.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Received {
        let Some(secure) = &mut self.secure else { return self.stream.recv(buffer) };
        let mut answer = ByteQueue::default();
        let received = loop {
            let opening = secure.layer.phase() == Phase::Opening;
            let (received, broken) =
                transport::recv_through(&mut *secure.layer, &mut self.stream, buffer, &mut answer);
            if let Some(error) = broken {
                secure.broken = Some(error.text.into_owned());
                break Received::Failed(SocketError::Reset);
            }
            match received {
                transport::Received::Bytes { count: 0, .. }
                    if opening && secure.layer.phase() == Phase::Open =>
                {
                    break Received::Interrupted;
                }
                transport::Received::Bytes { count: 0, .. } => {}
                transport::Received::Bytes { count, .. } => break Received::Bytes(count),
                transport::Received::Eof => break Received::Eof,
                transport::Received::WouldBlock => break Received::WouldBlock,
                transport::Received::Interrupted => break Received::Interrupted,
                transport::Received::Failed(fault) => break Received::Failed(fault),
            }
        };
        if !answer.is_empty() {
            self.push(answer.as_slice());
        }
        received
    }

    /// Says that nothing follows, where the protocol has a word for that.
    pub fn say_last_word(&mut self) {
        let Some(secure) = &mut self.secure else { return };
        let mut wire = ByteQueue::default();
        secure.layer.finish(&mut wire);
        self.push(wire.as_slice());
    }

    /// What stands for `bytes` on the wire, where they cannot be sent as they are.
    pub(super) fn encoded(&mut self, bytes: &[u8]) -> Option<ByteQueue> {
        let secure = self.secure.as_mut()?;
        let mut wire = ByteQueue::default();
        if secure.layer.can_send() {
            secure.layer.send(bytes, &mut wire);
        }
        Some(wire)
    }
}

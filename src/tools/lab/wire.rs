//! The socket of a client, with TLS on it where a row is played over TLS.

use crate::core::buf::ByteQueue;
use crate::net::{CloseHow, Received, Sent, Stream as _};
use crate::sys::Stream;
use crate::tls;
use crate::transport::{self, Layer, Phase};

/// What clients need to speak TLS. They trust any certificate, and each makes a full handshake.
///
/// # Errors
/// What kept it from being made.
pub fn trusting() -> Result<tls::Client, String> {
    let name = "lab".try_into().map_err(|_| "no name of a host")?;
    let spec = tls::ClientSpec {
        ca: None,
        name,
        certificate: String::new(),
        key: String::new(),
        max_version: tls::MaxVersion::V13,
        resumes: false,
    };
    tls::Client::load(&spec, &|_, _| Err("there are no files here".to_owned()))
        .map_err(|mistakes| format!("{mistakes:?}"))
}

/// One connection's.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    layer: Option<Box<dyn Layer>>,
    /// Bytes for the server that wait for the end of the handshake.
    early: Vec<u8>,
    /// What the kernel had no room for.
    output: ByteQueue,
}

impl Wire {
    /// That of a socket that is connected. With TLS, its handshake begins.
    pub fn new(stream: Stream, tls: Option<&tls::Client>) -> Self {
        let mut wire = Self {
            stream,
            layer: tls.map(transport::connect),
            early: Vec::new(),
            output: ByteQueue::default(),
        };
        if let Some(layer) = &mut wire.layer {
            layer.begin(&mut wire.output);
        }
        wire.flush();
        wire
    }

    /// Sends, as soon as there is room.
    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.layer {
            None => self.output.push(bytes),
            Some(layer) if layer.can_send() => layer.send(bytes, &mut self.output),
            Some(_) => self.early.extend_from_slice(bytes),
        }
        self.flush();
    }

    /// Gives the kernel what it has room for.
    pub fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.send(self.output.as_slice()) {
                Sent::Bytes(count) => self.output.consume(count),
                Sent::Interrupted => {}
                // What is wrong is told by the next receive.
                Sent::WouldBlock | Sent::Failed(_) => return,
            }
        }
    }

    /// Receives what is for the client. `Interrupted`: what came was for TLS alone.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Received {
        let Some(layer) = self.layer.as_deref_mut() else { return self.stream.recv(buffer) };
        let (received, broken) = transport::recv_through(layer, &mut self.stream, buffer, &mut self.output);
        if layer.can_send() && !self.early.is_empty() {
            layer.send(&std::mem::take(&mut self.early), &mut self.output);
        }
        self.flush();
        match received {
            // A stream of which nothing more can be read has ended for its client.
            _ if broken.is_some() => Received::Eof,
            transport::Received::Bytes { count: 0, .. } | transport::Received::Interrupted => {
                Received::Interrupted
            }
            transport::Received::Bytes { count, .. } => Received::Bytes(count),
            transport::Received::Eof => Received::Eof,
            transport::Received::WouldBlock => Received::WouldBlock,
            transport::Received::Failed(fault) => Received::Failed(fault),
        }
    }

    /// Says that nothing follows, where TLS has a word for that. Whether it may be closed without destroying what is under
    /// way: a socket that has something unread is reset by its close.
    pub fn say_last_word(&mut self) -> bool {
        let Some(layer) = &mut self.layer else { return true };
        layer.finish(&mut self.output);
        let may_close = layer.phase() == Phase::Ended;
        self.flush();
        may_close
    }

    /// Says that nothing follows, and FIN behind it. It is still read.
    pub fn finish(&mut self) {
        self.say_last_word();
        self.stream.finish();
    }

    /// Closes as a client does that is well: with the last word of TLS before the FIN.
    pub fn close(mut self) {
        self.say_last_word();
        self.stream.close(CloseHow::Plain);
    }

    /// RST.
    pub fn reset(self) {
        self.stream.close(CloseHow::Reset);
    }

    /// Discards the socket without a packet.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn vanish(self) -> Result<(), String> {
        self.stream.vanish().map_err(|fault| format!("TCP_REPAIR: {fault:?}"))
    }
}

//! What goes through a pair: the bytes of each program are its own, so that what arrives at the other end of a pair shows
//! whose it is, and which place it has in what was sent.

use super::world::World;

/// The byte at a place in a program's stream: of seven bits, because what clients are sent by name has the eighth.
#[expect(clippy::cast_possible_truncation, reason = "a pattern of bytes")]
pub(super) const fn byte(salt: u64, at: u64) -> u8 {
    let of_salt = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(7) ^ of_salt) as u8 & 0x7f
}

impl World {
    /// Two connections are the legs of a pair.
    pub(super) fn pair(&mut self, client: usize, upstream: usize) {
        self.note(|| format!("c{client} and c{upstream} are a pair"));
        self.conns[client].partner = Some(upstream);
        self.conns[upstream].partner = Some(client);
    }

    /// A program has received bytes: they are what the program at the other end of its pair has sent, in order.
    pub(super) fn on_relayed(&mut self, conn: usize, bytes: &[u8]) {
        let relayed = self.without_sent_by_name(conn, bytes);
        let bytes = relayed.as_deref().unwrap_or(bytes);
        let said = &mut self.conns[conn].oracle.said;
        let from = said.received;
        said.received += bytes.len() as u64;
        let Some(partner) = self.conns[conn].partner else { return };
        if self.conns[conn].ends.iter().flatten().any(|sock| sock.urgent_strayed) {
            // The hazard of out-of-band probes: this stream has a byte more.
            return;
        }
        let (salt, sent) = (self.conns[partner].salt, self.conns[partner].oracle.said.sent);
        let wrong = bytes.iter().zip(from..).position(|(got, at)| at >= sent || *got != byte(salt, at));
        if let Some(at) = wrong {
            let at = from + at as u64;
            self.violate(format!(
                "c{conn}: byte {at} of what came from c{partner} is wrong or was never sent"
            ));
        }
    }

    /// The server hands on a FIN: behind all that has come before it.
    pub(super) fn on_forwarded(&mut self, conn: usize) {
        self.conns[conn].oracle.shut = true;
        let Some(partner) = self.conns[conn].partner else { return };
        let (from, to) = (&self.conns[partner].oracle, &self.conns[conn].oracle);
        let (eof, read, written) = (from.eof, from.read, to.relayed());
        if !eof {
            self.violate(format!("c{conn}: a FIN is handed on that had not come from c{partner}"));
        } else if read != written {
            self.violate(format!("c{conn}: the FIN of c{partner} has overtaken {} bytes", read - written));
        }
    }
}

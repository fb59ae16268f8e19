//! The application's word, in runs of a gateway: clients of the command protocol give names to the gateway's clients, and
//! send to those by their names. What is sent so is told from what is relayed by its highest bit.

use super::peer::Program;
use super::world::{Side, World};
use crate::core::table::{Key, Token};

/// Names to choose from: few, so that they are taken from each other.
const NAMES: usize = 6;
/// Connections that may be meant: the youngest, of any kind, as the application may be wrong.
const YOUNGEST: usize = 48;

/// A client that was given a name.
#[derive(Debug)]
pub(super) struct Naming {
    /// The connection that has said so, and the end of the frame in which it did.
    by: usize,
    mark: u64,
    /// Which connection was meant.
    conn: usize,
    name: usize,
}

/// Whether a byte was sent by name. No byte of a program is like it.
pub(super) const fn is_by_name(byte: u8) -> bool {
    byte >= 0x80
}

impl Program {
    /// Gives a name, or sends something by one.
    pub(super) fn speak_for_clients(&mut self, world: &mut World) {
        let Some(conn) = self.conn else { return };
        // Whether that is possible decides what is answered.
        self.checks = false;
        let name = self.rng.index(NAMES);
        if self.rng.chance(600_000) {
            let size = self.script.draw_size(&mut self.rng).min(4000);
            let id = format!("of-gateway-{name}");
            let head = format!("*3\r\n$4\r\nSEND\r\n${}\r\n{id}\r\n${size}\r\n", id.len());
            let frame = [head.as_bytes(), &vec![0x87; size], b"\r\n"].concat();
            return self.say(&frame, b"", world);
        }
        let oldest = world.conns.len().saturating_sub(YOUNGEST);
        let meant = oldest + self.rng.index(world.conns.len() - oldest);
        let Some(token) = world.conns[meant].oracle.token else { return };
        let key = Key::from_token(Token(token));
        self.say(format!("IDENTFOR {key} of-gateway-{name}\r\n").as_bytes(), b"", world);
        let mark = world.conns[conn].oracle.said.whole;
        world.namings.push(Naming { by: conn, mark, conn: meant, name });
    }
}

impl World {
    /// Whether a client of the gateway had a name that was given to another one, too, as far as the server has read.
    pub(super) fn name_was_taken(&self, conn: usize) -> bool {
        let read = |naming: &&Naming| self.conns[naming.by].oracle.has_read(Some(naming.mark));
        let given = || self.namings.iter().filter(read);
        let is_taken = |name: usize| given().any(|other| other.conn != conn && other.name == name);
        given().any(|naming| naming.conn == conn && is_taken(naming.name))
    }

    /// What a client of the gateway has received, without what it was sent by name.
    pub(super) fn without_sent_by_name(&self, conn: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let may_have_some = !self.namings.is_empty() && self.conns[conn].opener == Side::Theirs;
        may_have_some.then(|| bytes.iter().copied().filter(|byte| !is_by_name(*byte)).collect())
    }
}

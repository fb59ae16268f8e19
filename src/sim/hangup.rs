//! Acts of a program that concern more than one socket, or wake its own poller: closing a listener, and
//! shutting down one direction.

use super::tcp::{Sock, wake};
use super::world::{Side, Source, World};
use crate::net::CloseHow;

impl World {
    /// `shutdown(SHUT_WR)` of one end. Its own poller is woken, too (`net/ipv4/af_inet.c: inet_shutdown`).
    pub fn shut_down(&mut self, conn: usize, side: Side) {
        self.act(conn, side, Sock::finish);
        self.wake(conn, side, wake::ALL);
    }

    /// Closes a listener: what waits in its queue is reset (`inet_csk_listen_stop` in
    /// `net/ipv4/inet_connection_sock.c`), and nobody is let in any more.
    pub(super) fn close_listener(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        listener.closed = true;
        for conn in std::mem::take(&mut listener.queue) {
            self.note(|| format!("c{conn} is reset in the queue of a closed listener"));
            self.act(conn, Side::Server, |sock, now, out| sock.close(CloseHow::Reset, now, out));
        }
        self.ready.retain(|source| *source != Source::Listener(index));
    }
}

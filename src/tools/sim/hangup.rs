//! How programs let go: shutting down one direction, closing a listener, closing a socket of the server's.

use super::faults::Canary;
use super::tcp::{Sock, wake};
use super::world::{Side, World};
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
            let side = self.conns[conn].opener.other();
            self.act(conn, side, |sock, now, out| sock.close(CloseHow::Reset, now, out));
        }
    }

    /// Closes a socket of the server's, unless a canary forbids.
    pub(super) fn close_stream(&mut self, conn: usize, how: CloseHow) {
        self.note(|| format!("c{conn} server close {how:?}"));
        let leaked = self.canary == Some(Canary::LeakedDescriptor) && self.chance.chance(50_000);
        self.conns[conn].watch = None;
        if leaked {
            return;
        }
        let dead = self.processes[self.conns[conn].oracle.process].dead;
        self.conns[conn].oracle.killed |= dead;
        let how = match (self.canary, how) {
            // Its kernel closes it, and knows nothing of what was meant.
            _ if dead => CloseHow::Plain,
            (Some(Canary::Linger2IsPlain), CloseHow::Linger2) => CloseHow::Plain,
            (_, how) => how,
        };
        let process = self.conns[conn].oracle.process;
        self.processes[process].descriptors -= 1;
        let plain = self.canary == Some(Canary::Linger2IsPlain);
        let now = self.now;
        let snapshot =
            self.conns[conn].end(Side::Ours).map(|sock| (sock.state(), sock.unread(), sock.evidence(now)));
        self.conns[conn].oracle.closed = Some((now, how));
        self.conns[conn].oracle.at_close = snapshot;
        self.act(conn, Side::Ours, |sock, now, out| {
            sock.options.linger2 &= !plain;
            sock.close(how, now, out);
        });
    }
}

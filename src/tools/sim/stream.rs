//! A connected socket of the server, as the server calls it: with the faults of single calls, and canaries.

use super::epoll::Source;
use super::faults::Canary;
use super::kernel::SimEnv;
use super::tcp::Sock;
use super::world::{Event, Side, World};
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::core::time::Duration;
use crate::net::{CloseHow, Keepalive, ProbeLimits, Received, Sent, SocketError, Spliced, Stream};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

/// A connected socket of the server.
pub struct SimStream {
    stage: Rc<RefCell<SimEnv>>,
    pub(super) what: Wire,
    open: bool,
}

/// What a socket of the server is an end of.
#[derive(Clone, Copy)]
pub(super) enum Wire {
    /// A connection of a client, or to an upstream.
    Conn(usize),
    /// A link between processes, and which end.
    Link(usize, usize),
}

impl SimStream {
    /// The server's end of a connection.
    pub(super) const fn of_conn(stage: Rc<RefCell<SimEnv>>, conn: usize) -> Self {
        Self { stage, what: Wire::Conn(conn), open: true }
    }

    /// Both ends of a new link.
    pub(crate) fn linked(world: &mut World, stage: &Rc<RefCell<SimEnv>>) -> [Self; 2] {
        let link = world.add_link();
        [0, 1].map(|end| Self::of_link(Rc::clone(stage), link, end))
    }

    /// An end of a link.
    const fn of_link(stage: Rc<RefCell<SimEnv>>, link: usize, end: usize) -> Self {
        Self { stage, what: Wire::Link(link, end), open: true }
    }

    /// Which connection it is.
    ///
    /// # Panics
    /// For an end of a link between processes: it has nothing of TCP.
    pub fn conn(&self) -> usize {
        match self.what {
            Wire::Conn(conn) => conn,
            Wire::Link(..) => unreachable!("a link between processes has nothing of TCP"),
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> Received {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let conn = match self.what {
            Wire::Conn(conn) => conn,
            Wire::Link(link, end) => return world.link_recv(link, end, buffer),
        };
        if !world.processes[world.conns[conn].oracle.process].calls() {
            return Received::WouldBlock;
        }
        if world.chance.chance(world.faults.interrupted) {
            return Received::Interrupted;
        }
        if world.chance.chance(world.faults.memory) {
            return Received::Failed(SocketError::Memory);
        }
        let waiting = world.conns[conn].end(Side::Ours).map_or(0, Sock::unread).min(buffer.len());
        let short = waiting > 1 && world.chance.chance(world.faults.short_recv);
        let most = if short { 1 + world.chance.index(waiting - 1) } else { buffer.len() };
        let mut got = world
            .act(conn, Side::Ours, |sock, _, out| sock.recv(&mut buffer[..most], out))
            .unwrap_or(Received::Eof);
        if short {
            // It may only take less if the rest came after it looked; and then that is an edge.
            world.queue_source(Source::Conn(conn));
        }
        match (world.canary, &mut got) {
            (Some(Canary::LostByte), Received::Bytes(count)) if *count > 1 && world.chance.chance(10_000) => {
                *count -= 1;
            }
            (Some(Canary::ResetLooksLikeFin), Received::Failed(SocketError::Reset)) => got = Received::Eof,
            _ => {}
        }
        world.note(|| format!("c{conn} server recv {got:?}"));
        world.conns[conn].oracle.on_recv(&got, world.now);
        if matches!(got, Received::Bytes(_))
            && let Some(device) = world.devices.iter_mut().find(|device| device.channel == Some(conn))
        {
            device.beaten = world.now;
        }
        got
    }

    fn offer(&self, bytes: &[u8]) -> Sent {
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let conn = match self.what {
            Wire::Conn(conn) => conn,
            Wire::Link(link, end) => return world.link_send(link, end, bytes),
        };
        if !world.processes[world.conns[conn].oracle.process].calls() {
            return Sent::WouldBlock;
        }
        if world.chance.chance(world.faults.interrupted) {
            return Sent::Interrupted;
        }
        let short = bytes.len() > 1 && world.chance.chance(world.faults.short_send);
        let most = if short { 1 + world.chance.index(bytes.len() - 1) } else { bytes.len() };
        let sent = world
            .act(conn, Side::Ours, |sock, now, out| {
                sock.nospace |= short;
                sock.send(&bytes[..most], now, out)
            })
            .unwrap_or(Sent::Failed(SocketError::BrokenPipe));
        if short {
            let at = world.now + world.chance.within(0..5_000_000);
            world.schedule(at, Event::Room(conn));
        }
        world.note(|| format!("c{conn} server send {} of {}: {sent:?}", most, bytes.len()));
        let conn = &mut world.conns[conn];
        conn.oracle.on_send(&sent, (conn.salt > 0).then_some(bytes), world.now);
        sent
    }

    /// Lets what it has received go to another one: as much as `rest` is long, into which comes what that has no room for.
    pub(super) fn splice(&self, to: &Self, rest: &mut [u8]) -> Spliced {
        // As an urgent byte or a pipe without room makes the real one. It means nothing.
        match self.stage.borrow_mut().world.chance.index(20) {
            0 => return Spliced::nothing(Received::WouldBlock),
            1 => return Spliced::nothing(Received::Eof),
            _ => {}
        }
        let received = self.receive(rest);
        let Received::Bytes(count) = received else { return Spliced::nothing(received) };
        let sent = loop {
            match to.offer(&rest[..count]) {
                Sent::Interrupted => {}
                sent @ (Sent::Bytes(_) | Sent::WouldBlock | Sent::Failed(_)) => break sent,
            }
        };
        let spliced = Spliced { received, sent };
        self.stage.borrow_mut().world.spliced += spliced.counts().1 as u64;
        rest.copy_within(spliced.counts().1..count, 0);
        spliced
    }

    fn let_go(&mut self, how: CloseHow) {
        // It is borrowed only while a panic goes through the world.
        if std::mem::take(&mut self.open)
            && let Ok(mut stage) = self.stage.try_borrow_mut()
        {
            match self.what {
                Wire::Conn(conn) => stage.world.close_stream(conn, how),
                Wire::Link(link, end) => stage.world.link_close(link, end),
            }
        }
    }
}

impl Drop for SimStream {
    /// The descriptor goes: a plain close.
    fn drop(&mut self) {
        self.let_go(CloseHow::Plain);
    }
}

impl Stream for SimStream {
    fn recv(&mut self, buffer: &mut [u8]) -> Received {
        self.receive(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.offer(bytes)
    }

    fn send_oob(&mut self, _: u8) -> Sent {
        // The urgent byte is not in the stream that a plain reader sees; what matters here is that a
        // segment leaves and is acknowledged, or is not.
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        let sent = world.act(conn, Side::Ours, Sock::send_urgent);
        let sent = sent.unwrap_or(Sent::Failed(SocketError::BrokenPipe));
        if let Sent::Failed(fault) = sent {
            world.conns[conn].oracle.on_failed(fault, world.now);
        }
        world.note(|| format!("c{conn} server send_oob: {sent:?}"));
        sent
    }

    fn shutdown_send(&mut self) {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        world.note(|| format!("c{conn} server shutdown(WR)"));
        world.on_forwarded(conn);
        world.shut_down(conn, Side::Ours);
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn is_own_peer(&self) -> bool {
        false
    }

    fn take_error(&mut self) -> Option<SocketError> {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        let fault = world.act(conn, Side::Ours, |sock, _, _| sock.take_error()).flatten();
        if let Some(fault) = fault {
            world.conns[conn].oracle.on_failed(fault, world.now);
        }
        world.note(|| format!("c{conn} server SO_ERROR {fault:?}"));
        fault
    }

    fn evidence(&self) -> Option<TcpSnapshot> {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        let now = world.now;
        let mut evidence = world.conns[conn].end(Side::Ours)?.evidence(now);
        if world.canary == Some(Canary::DeafEvidence) {
            evidence.last_ack_recv_ms = evidence.last_ack_recv_ms.saturating_add(3_600_000);
        }
        if world.canary == Some(Canary::ClosedEvidence) && world.sockets.missed.contains(&conn) {
            evidence.state = TcpState::Close;
        }
        world.note(|| format!("c{conn} server TCP_INFO {evidence}"));
        Some(evidence)
    }

    fn probe_peer(&mut self) {
        let mut stage = self.stage.borrow_mut();
        let (world, conn) = (&mut stage.world, self.conn());
        world.note(|| format!("c{conn} server probes its peer"));
        world.act(conn, Side::Ours, |sock, now, _| sock.probe_peer(now));
    }

    fn probe_limits(&self) -> ProbeLimits {
        let (stage, conn) = (self.stage.borrow(), self.conn());
        stage.world.conn(conn).end(Side::Ours).map(Sock::probe_limits).unwrap_or_default()
    }

    fn restore_keepalive(&mut self, keepalive: Option<Keepalive>) {
        let mut stage = self.stage.borrow_mut();
        stage.world.conns[self.conn()].oracle.revived = true;
        stage.world.act(self.conn(), Side::Ours, |sock, now, _| sock.restore_keepalive(keepalive, now));
    }

    fn set_nodelay(&mut self) {
        self.stage.borrow_mut().world.act(self.conn(), Side::Ours, |sock, _, _| sock.options.nodelay = true);
    }

    fn set_oob_inline(&mut self) {
        self.stage
            .borrow_mut()
            .world
            .act(self.conn(), Side::Ours, |sock, _, _| sock.options.oob_inline = true);
    }

    fn set_keepalive(&mut self, keepalive: Keepalive) {
        let mut stage = self.stage.borrow_mut();
        stage.world.act(self.conn(), Side::Ours, |sock, now, _| {
            sock.options.keepalive = Some(keepalive);
            sock.restore_keepalive(Some(keepalive), now);
        });
    }

    fn set_user_timeout(&mut self, timeout: Duration) {
        let mut stage = self.stage.borrow_mut();
        stage.world.act(self.conn(), Side::Ours, |sock, _, _| sock.set_user_timeout(timeout));
    }

    fn close(mut self, how: CloseHow) {
        self.let_go(how);
    }
}

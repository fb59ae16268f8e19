//! What befalls a client program: how its session ends, what comes between, and how it recovers.

use super::peer::{CONNECT, END, Program, RECOVER};
use super::script::Ending;
use super::sockets::Exit;
use super::world::{Side, World};
use crate::net::CloseHow;
use crate::protocol::Protocol;

impl Program {
    /// Does what its script ends with.
    pub(super) fn end(&mut self, program: usize, world: &mut World) {
        let Some(conn) = self.conn else { return };
        let speaks =
            [Ending::MidFrame, Ending::Quit, Ending::QuitAndStay, Ending::Garbage, Ending::Oversized];
        // Who has said its last word with its first has nothing more to say.
        let is_over = self.finished && speaks.contains(&self.script.ending);
        let ending = if is_over { Ending::HalfClose } else { self.script.ending };
        world.note(|| format!("c{conn} client's script: {ending:?}"));
        match ending {
            Ending::Reset => self.close(CloseHow::Reset, world),
            Ending::MidFrame => {
                let part: &[u8] =
                    if self.script.protocol == Protocol::Resp { b"*2\r\n$4\r\nEC" } else { b"" };
                if self.backlog.is_empty() {
                    self.push(part, world);
                }
                self.finish(conn, world);
            }
            Ending::Quit | Ending::QuitAndStay if self.script.protocol == Protocol::Resp => {
                self.say(b"QUIT\r\n", b"+OK\r\n", world);
                let said = &mut world.conns[conn].oracle.said;
                said.goodbye = Some(said.whole);
                self.mute = true;
            }
            Ending::Quit | Ending::QuitAndStay | Ending::HalfClose => self.finish(conn, world),
            Ending::Garbage | Ending::Oversized if self.wire.is_some() && self.rng.chance(500_000) => {
                self.break_record(world);
            }
            Ending::Garbage | Ending::Oversized if self.script.protocol == Protocol::Resp => {
                self.checks = false;
                let oversized = ending == Ending::Oversized;
                let bytes: &[u8] = if oversized { b"*2\r\n$4\r\nECHO\r\n$99999999\r\n" } else { b"*x\r\n" };
                self.push(bytes, world);
                let said = &mut world.conns[conn].oracle.said;
                (said.broken, said.oversized) = (Some(said.sent), oversized);
                self.mute = true;
            }
            Ending::Garbage | Ending::Oversized | Ending::Close | Ending::DieInQueue | Ending::NeverSpeak => {
                self.close(CloseHow::Plain, world);
            }
            Ending::Freeze | Ending::Nap => {
                self.stopped = true;
                self.later(program, RECOVER, self.script.recovers, world);
            }
            Ending::Mute => {
                self.mute = true;
                self.later(program, RECOVER, self.script.recovers, world);
            }
            Ending::StopReading => {
                self.reads = false;
                if world.sockets.walks_out > 0 && self.script.protocol == Protocol::Echo {
                    // More than its own kernel takes of the answer, and the server's.
                    self.say_pattern(self.script.sizes.input_max + 12_000, world);
                }
                self.later(program, RECOVER, self.script.recovers, world);
            }
            Ending::Cut | Ending::Blip => {
                let unreachable = self.rng.chance(300_000);
                world.cut(self.host, true, unreachable);
                self.later(program, RECOVER, self.script.recovers, world);
            }
            Ending::Reboot => {
                world.cut(self.host, true, false);
                world.forget(self.host);
                world.conns[conn].oracle.said.forgot = Some(world.now());
                self.take_back(conn, world);
                self.conn = None;
                self.later(program, CONNECT, self.script.recovers, world);
            }
            Ending::Forgotten => {
                world.conns[conn].forgotten = true;
                world.conns[conn].oracle.said.forgot = Some(world.now());
                // It notices soon, gives up on the old connection, and dials again.
                self.close(CloseHow::Plain, world);
            }
        }
    }

    /// Half-closes, and goes on reading.
    fn finish(&mut self, conn: usize, world: &mut World) {
        self.finished = true;
        self.reads = true;
        let sends_fin = self.say_last_word(world);
        if !self.is_all_sent() {
            // It cannot say the rest, so it does not end in order.
            return self.close(CloseHow::Reset, world);
        }
        if sends_fin {
            world.act(conn, Side::Theirs, super::tcp::Sock::finish);
        }
        self.look(world);
    }

    /// Its trouble is over.
    pub(super) fn recover(&mut self, program: usize, world: &mut World) {
        let Some(conn) = self.conn else { return };
        if !self.reads && !self.finished {
            match world.sockets.walks_out() {
                None => {}
                Some(Exit::Finish) if self.backlog.is_empty() => {
                    world.note(|| format!("c{conn} client finishes and does not read"));
                    self.finished = true;
                    world.act(conn, Side::Theirs, super::tcp::Sock::finish);
                    return self.later(program, RECOVER, self.script.recovers_max, world);
                }
                Some(Exit::Finish | Exit::Reset) => return self.close(CloseHow::Reset, world),
            }
        }
        world.note(|| format!("c{conn} client's trouble is over"));
        world.cut(self.host, false, false);
        (self.stopped, self.mute, self.reads) = (false, false, true);
        self.script.ending = Ending::Close;
        self.look(world);
        self.later(program, END, self.script.lives, world);
    }

    pub(super) fn go_home(&mut self, world: &mut World) {
        world.cut(self.host, false, false);
        (self.stopped, self.reads, self.script.once) = (false, true, true);
        self.script.sips = None;
        self.session += 1;
        self.look(world);
        self.close(CloseHow::Plain, world);
    }
}

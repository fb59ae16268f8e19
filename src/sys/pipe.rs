//! The pipe through which bytes go from one socket to another without being copied (splice(2)).
//!
//! It is empty between two calls: what the second socket has no room for is read out of it. So one pipe serves all connections,
//! and no connection owns two descriptors for it.

use super::errno;
use crate::net::{Received, Sent, SocketError, Spliced};
use log::debug;
use rustix::io::Errno;
use rustix::param::page_size;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Places for fragments of what was received, of which a network card makes one a segment: 64 KiB take 46 of 1,448 bytes.
const FRAGMENTS: usize = 64;

/// Both ends of a pipe, non-blocking.
#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// The pipe of a process, made when it is needed first.
#[derive(Debug, Default)]
pub(super) enum Splicing {
    /// Not needed yet, or there was no descriptor for it.
    #[default]
    Unused,
    /// Used.
    Ready(Pipe),
    /// The kernel does not offer it.
    Refused,
}

impl Splicing {
    /// As [`Kernel::splice`](crate::net::Kernel::splice).
    pub(super) fn run(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, rest: &mut [u8]) -> Spliced {
        if matches!(self, Self::Unused) {
            match Pipe::new() {
                Ok(pipe) => *self = Self::Ready(pipe),
                Err(_) => return Spliced::nothing(Received::WouldBlock),
            }
        }
        let Self::Ready(pipe) = self else { return Spliced::nothing(Received::WouldBlock) };
        match pipe.fill(from, rest.len()) {
            Ok(0) => Spliced::nothing(Received::Eof),
            Ok(count) => {
                let sent = pipe.send(to, count);
                let left = count - if let Sent::Bytes(sent) = sent { sent } else { 0 };
                if !pipe.empty_into(&mut rest[..left]) {
                    // It cannot be: the bytes were counted in. A fresh one is surely empty, and nothing follows the gap.
                    *self = Self::Unused;
                    let sent = Sent::Failed(SocketError::Other(libc::EIO));
                    return Spliced { received: Received::Bytes(count), sent };
                }
                Spliced { received: Received::Bytes(count), sent }
            }
            Err(Errno::AGAIN | Errno::INTR) => Spliced::nothing(Received::WouldBlock),
            // A kernel, or a sandbox that plays one, without splice between sockets.
            Err(refusal @ (Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)) => {
                debug!(why:% = refusal; "no splice");
                *self = Self::Refused;
                Spliced::nothing(Received::WouldBlock)
            }
            Err(failure) => Spliced::nothing(Received::Failed(errno::fault(failure.raw_os_error()))),
        }
    }
}

impl Pipe {
    fn new() -> Result<Self, Errno> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one works as well.
        let _ = fcntl_setpipe_size(&into, FRAGMENTS * page_size());
        Ok(Self { out, into })
    }

    fn fill(&self, from: BorrowedFd<'_>, most: usize) -> Result<usize, Errno> {
        splice(from, None, &self.into, None, most, SpliceFlags::NONBLOCK)
    }

    /// Sends from it, all if there is room. The process ignores SIGPIPE, which this call cannot be told not to raise.
    fn send(&self, to: BorrowedFd<'_>, count: usize) -> Sent {
        loop {
            match splice(&self.out, None, to, None, count, SpliceFlags::NONBLOCK) {
                Ok(sent) => return Sent::Bytes(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Sent::WouldBlock,
                Err(failure) => return Sent::Failed(errno::fault(failure.raw_os_error())),
            }
        }
    }

    /// Reads all that is in it. Whether it had so much.
    fn empty_into(&self, mut rest: &mut [u8]) -> bool {
        while !rest.is_empty() {
            match rustix::io::read(&self.out, &mut *rest) {
                Ok(0) | Err(_) => return false,
                Ok(count) => rest = &mut rest[count..],
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    //! What splice(2) does between sockets, which `recv` and `send` do otherwise.

    use super::super::testing::{Client, PLAIN, fill, in_child, pair, pair_with, recv, until};
    use super::super::{Stream, sockopt};
    use super::*;
    use crate::net::{SocketOptions, Stream as _};
    use crate::sys::ignore_sigpipe;
    use rustix::net::{RecvFlags, SendFlags};
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;
    use std::os::fd::AsFd;

    fn run(splicing: &mut Splicing, from: &Stream, to: &Stream, rest: &mut [u8]) -> Spliced {
        splicing.run(from.as_fd(), to.as_fd(), rest)
    }

    /// Splices until something comes of it.
    fn splice_from(from: &Stream, to: &Stream, rest: &mut [u8]) -> Spliced {
        let (mut splicing, mut spliced) = (Splicing::default(), Spliced::nothing(Received::WouldBlock));
        until("something to splice", || {
            spliced = run(&mut splicing, from, to, rest);
            spliced.received != Received::WouldBlock
        });
        spliced
    }

    #[test]
    fn bytes_go_from_one_socket_to_the_other() {
        let ((mut client, from), (mut server, to)) = (pair(), pair());
        client.write_all(b"there").unwrap();
        let spliced = splice_from(&from, &to, &mut [0; 64]);
        assert_eq!(spliced, Spliced { received: Received::Bytes(5), sent: Sent::Bytes(5) });
        let mut got = [0; 5];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"there");
    }

    #[test]
    fn what_there_is_no_room_for_comes_back_and_the_pipe_is_empty() {
        let ((mut client, from), (_server, mut to)) = (pair(), pair());
        fill(&mut to);
        for word in [b"one", b"two"] {
            client.write_all(word).unwrap();
            let mut rest = [0; 64];
            let spliced = splice_from(&from, &to, &mut rest);
            assert_eq!(spliced, Spliced { received: Received::Bytes(3), sent: Sent::WouldBlock });
            assert_eq!(&rest[..3], word);
        }
    }

    /// An urgent byte stops it for good, even where it is part of the stream, and a FIN behind that looks like the end of all: a
    /// receive has to take what is left (`net/ipv4/tcp.c: tcp_read_sock, tcp_splice_read`).
    #[test]
    fn an_urgent_byte_looks_like_nothing_and_then_like_end_of_file() {
        let ((client, mut from), (_server, to)) =
            (pair_with(SocketOptions { oob_inline: true, ..PLAIN }), pair());
        assert_eq!(rustix::net::send(&client, b"!", SendFlags::OOB), Ok(1));
        until("the urgent byte", || rustix::net::recv(from.as_fd(), &mut [0], RecvFlags::PEEK).is_ok());
        assert_eq!(
            run(&mut Splicing::default(), &from, &to, &mut [0; 64]),
            Spliced::nothing(Received::WouldBlock)
        );
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(splice_from(&from, &to, &mut [0; 64]), Spliced::nothing(Received::Eof));
        let mut byte = [0; 2];
        assert_eq!(recv(&mut from, &mut byte), Received::Bytes(1));
        assert_eq!(byte[0], b'!');
        assert_eq!(recv(&mut from, &mut byte), Received::Eof);
    }

    /// The kernel tells a reset once, by whichever call: what follows looks like end of file.
    #[test]
    fn a_reset_is_told_once_here_too() {
        let ((client, mut from), (_server, to)) = (pair(), pair());
        reset(client);
        assert_eq!(
            splice_from(&from, &to, &mut [0; 64]),
            Spliced::nothing(Received::Failed(SocketError::Reset))
        );
        assert_eq!(recv(&mut from, &mut [0]), Received::Eof);
    }

    /// The kernel raises SIGPIPE, whatever flags are given (`fs/splice.c: splice_to_socket`).
    #[test]
    fn a_second_socket_that_was_reset_gives_all_of_it_back_and_kills_nobody() {
        in_child(
            "sys::pipe::tests::a_second_socket_that_was_reset_gives_all_of_it_back_and_kills_nobody",
            || {
                ignore_sigpipe();
                let ((mut client, from), (server, mut to)) = (pair(), pair());
                reset(server);
                until("the reset", || matches!(to.recv(&mut [0]), Received::Failed(_)));
                client.write_all(b"word").unwrap();
                let mut rest = [0; 64];
                let spliced = splice_from(&from, &to, &mut rest);
                assert_eq!(spliced.received, Received::Bytes(4));
                assert_eq!(spliced.sent, Sent::Failed(SocketError::BrokenPipe));
                assert_eq!(&rest[..4], b"word");
            },
        );
    }

    fn reset(client: Client) {
        let abort = libc::linger { l_onoff: 1, l_linger: 0 };
        sockopt::set(client.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, abort).unwrap();
        drop(client);
    }
}

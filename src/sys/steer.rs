//! Which sockets of a `SO_REUSEPORT` group are given the newcomers. The kernel chooses by a hash of the addresses, and
//! does not ask whether anybody accepts there. A classic BPF program on the group chooses instead (socket(7):
//! `SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5): that takes no privilege, touches nobody who is in a queue already, and is
//! undone by detaching it. Its result is a socket's place in the group, in the order in which they began to listen; one
//! that is no place makes the kernel fall back on its hash (`net/core/sock_reuseport.c: reuseport_select_sock`).
//!
//! Others that were thought of: closing a listener resets what is in its queue, unless `net.ipv4.tcp_migrate_req` is set;
//! `listen` with a shorter backlog drops newcomers rather than passing them on; an eBPF program takes `CAP_BPF`.

use super::{Listener, errno, sockopt};
use libc::{c_int, sock_filter, sock_fprog};
use std::os::fd::{AsFd, AsRawFd};

/// `SO_ATTACH_REUSEPORT_CBPF` and `SO_DETACH_REUSEPORT_BPF` (include/uapi/asm-generic/socket.h), which `libc` does not
/// name for all processors.
const ATTACH: c_int = 51;
const DETACH: c_int = 68;

impl Listener {
    /// Gives newcomers to the sockets of this one's group at these places alone; to all `of` of them if it names none.
    /// Which of them gets one is left to chance.
    ///
    /// # Errors
    /// The errno, where the kernel does not take the program: everything stays as it was.
    pub fn steer(&self, places: &[usize], of: usize) -> Result<(), i32> {
        if !places.is_empty() && places.len() < of {
            return self.attach(&program(places));
        }
        match sockopt::set(self.as_fd(), libc::SOL_SOCKET, DETACH, 0) {
            Ok(()) | Err(libc::ENOENT) => Ok(()),
            // Before Linux 5.3 a program could only be replaced.
            Err(_) => self.attach(&program(&(0..of).collect::<Vec<_>>())),
        }
    }

    #[expect(unsafe_code, reason = "setsockopt(2)")]
    fn attach(&self, program: &[sock_filter]) -> Result<(), i32> {
        let Ok(len) = u16::try_from(program.len()) else { return Err(libc::E2BIG) };
        let program = sock_fprog { len, filter: program.as_ptr().cast_mut() };
        let length = libc::socklen_t::try_from(size_of::<sock_fprog>()).expect("it is 16 bytes");
        // SAFETY: the descriptor is open while `self` lives. The kernel reads one `sock_fprog`, and behind its pointer as
        // many instructions as it says, which are borrowed until the call is over; it writes nothing and keeps no pointer.
        let result = unsafe {
            libc::setsockopt(
                self.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                ATTACH,
                (&raw const program).cast(),
                length,
            )
        };
        if result == 0 { Ok(()) } else { Err(errno::last()) }
    }
}

/// Chooses one of these places at random: a number below how many there are, then the place that it stands for.
fn program(places: &[usize]) -> Vec<sock_filter> {
    let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, random),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, place(places.len().max(1))),
    ];
    for (number, &at) in places.iter().enumerate() {
        // If it is another number, over the next instruction.
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, place(number)));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, place(at)));
    }
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX));
    program
}

/// `otherwise`: instructions that a jump skips whose condition does not hold.
fn instruction(code: u32, otherwise: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt: 0, jf: otherwise, k }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Client, loopback, socket_of};
    use super::*;
    use crate::net::{Accepted, ListenSpec, Listener as _};

    /// How many of so many newcomers each of the listeners is given.
    fn spread(listeners: &mut [Listener], newcomers: usize) -> Vec<usize> {
        let socket = socket_of(&listeners[0]);
        let _clients: Vec<_> = (0..newcomers).map(|_| Client::connect(socket).unwrap()).collect();
        let each = listeners.iter_mut().map(|listener| {
            // A connection is in a queue once `connect` has returned.
            std::iter::from_fn(|| matches!(listener.try_accept(), Accepted::Stream(..)).then_some(())).count()
        });
        each.collect()
    }

    #[test]
    fn a_classic_bpf_program_chooses_who_of_a_reuse_port_group_gets_newcomers_and_leaves_queues_alone() {
        let spec = ListenSpec { backlog: 256, ..loopback() };
        let mut group = Listener::open_shared(&spec, 4, Vec::new()).unwrap();
        let socket = socket_of(&group[1]);
        let _early: Vec<_> = (0..100).map(|_| Client::connect(socket).unwrap()).collect();
        group[0].steer(&[0, 3], 4).unwrap();
        let early = spread(&mut group, 0);
        assert!(early.iter().all(|&count| count > 0) && early.iter().sum::<usize>() == 100, "{early:?}");
        let steered = spread(&mut group, 100);
        assert!(steered[0] > 0 && steered[3] > 0 && steered[1] + steered[2] == 0, "{steered:?}");
        assert_eq!(steered.iter().sum::<usize>(), 100);
        // By any socket of the group, and undone.
        group[2].steer(&[2], 4).unwrap();
        assert_eq!(spread(&mut group, 20), [0, 0, 20, 0]);
        for all in [&[0, 1, 2, 3][..], &[]] {
            group[1].steer(all, 4).unwrap();
            assert!(spread(&mut group, 100).iter().all(|&count| count > 0));
        }
    }
}

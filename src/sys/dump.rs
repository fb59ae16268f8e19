//! Reading the kernel's table of sockets beside the loop, in a thread of its own, which lives as long as one
//! reading.
//!
//! In the loop's own turn each slice would have to be short, and no program can see to that: a slice is full after
//! some hundred rows that match, but on the way to them the kernel passes all that do not, those of other
//! programs and other network namespaces (`net/ipv4/inet_diag.c: inet_diag_dump_icsk`). Over 36,000 such
//! sockets one call took 1.3 to 4 ms; over a million it would be a tenth of a second. Here nobody waits for it.

use super::errno;
use crate::net::{Families, Fatal, Progress, Rows, SocketQuery, SocketRow};
use crate::sys::SocketTable;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// Slices that wait for the loop: one to be taken, while the next is read.
const SLICES: usize = 1;
/// Bytes of the thread's stack: it calls nothing deep.
const STACK_BYTES: usize = 128 * 1024;
type Slice = Result<(Vec<SocketRow>, Progress), Fatal>;

/// One reading under way. Dropping it ends the thread with the slice that it is at.
#[derive(Debug)]
pub(super) struct Dump {
    slices: Receiver<Slice>,
}

impl Dump {
    /// Starts to read. `waker`: whom to tell of rows.
    pub(super) fn start(
        waker: Arc<mio::Waker>,
        query: &SocketQuery,
        families: Families,
    ) -> Result<Self, Fatal> {
        // Here and not in the thread: what the kernel refuses is refused at once.
        let mut table = SocketTable::open()?;
        let (sender, slices) = sync_channel(SLICES);
        let query = query.clone();
        let read = move || {
            stand_back();
            // Asking reads the first slice, so it belongs here.
            let mut next = table.start_for(&query, families).map(|()| (Vec::new(), Progress::More));
            loop {
                let over = !matches!(next, Ok((_, Progress::More)));
                if hand_over(&sender, next, &waker).is_err() || over {
                    return;
                }
                let mut rows = Vec::with_capacity(128);
                next = table.read(&mut rows).map(|progress| (rows, progress));
            }
        };
        std::thread::Builder::new()
            .name("linger-audit".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(read)
            .map_err(|error| {
                errno::fatal("start a thread to read the socket table", errno::number(&error))
            })?;
        Ok(Self { slices })
    }

    /// What has come by now.
    pub(super) fn read(&mut self, rows: &mut Vec<SocketRow>) -> Result<Rows, Fatal> {
        match self.slices.try_recv() {
            Ok(Ok((mut slice, progress))) => {
                rows.append(&mut slice);
                Ok(if progress == Progress::Done { Rows::Done } else { Rows::More })
            }
            Ok(Err(fatal)) => Err(fatal),
            Err(TryRecvError::Empty) => Ok(Rows::Later),
            // It says when it is done: whatever it has not told now, nobody will.
            Err(TryRecvError::Disconnected) => {
                Err(Fatal { what: "read the socket table".into(), why: "the thread has broken off".into() })
            }
        }
    }
}

/// Hands a slice over; an error: nobody wants it any more.
fn hand_over(sender: &SyncSender<Slice>, slice: Slice, waker: &mio::Waker) -> Result<(), ()> {
    sender.send(slice).map_err(|_| ())?;
    // After the sending, so that the one who is woken finds it.
    waker.wake().map_err(|_| ())
}

/// The loop comes first, also where there is one processor for both: a thread that wakes up takes it from one of this
/// class at once (`sched(7)`, `SCHED_IDLE`). On a processor that is never idle the reading takes longer, and no more.
#[expect(unsafe_code, reason = "sched_setscheduler(2)")]
fn stand_back() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one `sched_param`; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_breaks_off_is_not_taken_for_a_whole_one() {
        let (sender, slices) = sync_channel(SLICES);
        let mut dump = Dump { slices };
        sender.send(Ok((Vec::new(), Progress::More))).expect("there is room");
        assert_eq!(dump.read(&mut Vec::new()).expect("a slice"), Rows::More);
        assert_eq!(dump.read(&mut Vec::new()).expect("none yet"), Rows::Later);
        drop(sender);
        assert!(dump.read(&mut Vec::new()).is_err());
    }
}

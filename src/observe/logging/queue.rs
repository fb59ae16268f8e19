//! Lines on their way out: a bounded queue, and a thread of its own that writes them. The one who logs never
//! waits for the one who reads: a line that does not fit is dropped and counted.
//!
//! The lock is held to append a line or to take all of them, never while something is written.

use crate::core::time::Duration;
use crate::sys::clock;
use crate::sys::thread::isolate;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of lines that wait: some four thousand lines, as many as a busy second has.
const BYTES_MAX: usize = 1 << 20;
/// Bytes written in one call, in whole lines. A pipe takes as many in one piece (`PIPE_BUF`, pipe(7)), so that the lines
/// of several workers do not mix.
const WRITE_BYTES_MAX: usize = 4096;
/// Memory that an empty queue keeps, in bytes.
const KEPT_BYTES: usize = 64 * 1024;
/// How long to wait where standard error is non-blocking and takes nothing now.
const RETRY: Duration = Duration::from_millis(50);
/// Bytes of the thread's stack: it formats a line at most.
const STACK_BYTES: usize = 256 * 1024;

/// What is done about lines that are lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Losses {
    /// Counts them, when they are lost.
    pub(super) count: fn(u64),
    /// Says how many they were, when there is room again.
    pub(super) tell: fn(u64),
}

/// The lines that wait.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to write.
    news: Condvar,
    /// Something was written.
    moved: Condvar,
    bytes_max: usize,
    losses: Losses,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Bytes that the writer has taken and not written yet.
    in_flight: usize,
    /// Bytes that have left in any way, since the start.
    left: u64,
    /// Lines that were lost and not told of.
    lost: u64,
    /// The writer waits for news.
    idle: bool,
}

impl State {
    const fn bytes(&self) -> usize {
        self.waiting.len() + self.in_flight
    }
}

impl Queue {
    /// Starts a thread that writes to standard error. It lives as long as the process.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(losses: Losses) -> std::io::Result<Arc<Self>> {
        let standard_error = || {
            // Where that fails, the loop's calls cost more; nothing else changes.
            let _ = isolate();
            std::io::stderr()
        };
        Self::with_bound(standard_error, losses, BYTES_MAX)
    }

    /// `out` is called by the thread.
    fn with_bound<Out: Write>(
        out: impl FnOnce() -> Out + Send + 'static,
        losses: Losses,
        bytes_max: usize,
    ) -> std::io::Result<Arc<Self>> {
        let (news, moved) = (Condvar::new(), Condvar::new());
        let queue = Arc::new(Self { state: Mutex::default(), news, moved, bytes_max, losses });
        let own = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("linger-log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || own.write_to(out()))?;
        Ok(queue)
    }

    /// Takes a line, or several, with the newline at the end.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        // After a loss none is taken before half of the queue is free and the loss is told: it is told once then, and
        // not for every line that a slow reader makes room for. An empty queue takes one to try whether it can be
        // written by now.
        let gap = state.lost > 0 && state.bytes() > 0;
        if gap || state.bytes() + line.len() > self.bytes_max {
            let lines = lines_of(line);
            state.lost += lines;
            drop(state);
            (self.losses.count)(lines);
            return;
        }
        state.waiting.extend_from_slice(line);
        let wakes = std::mem::take(&mut state.idle);
        drop(state);
        if wakes {
            self.news.notify_one();
        }
    }

    /// Waits until all is written: no longer than `patience` while nothing moves, and no longer than `most`.
    pub(super) fn finish(&self, patience: Duration, most: Duration) {
        let passed = clock();
        let mut state = self.lock();
        while state.bytes() > 0 {
            let before = state.left;
            let rest = most.saturating_sub(passed());
            let waits = |state: &mut State| state.bytes() > 0 && state.left == before;
            let waited = self.moved.wait_timeout_while(state, patience.min(rest), waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.left == before {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under it panics half-way; and a panic elsewhere must still be told.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                let (lines, after) = rest.split_at(whole_lines(rest));
                rest = after;
                if self.write(&mut out, lines)
                    && let Some(lost) = self.take_lost()
                {
                    (self.losses.tell)(lost);
                }
            }
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
        }
    }

    /// Waits for lines, and takes all there are.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut state = self.lock();
        state.idle = state.waiting.is_empty();
        let waits = |state: &mut State| state.waiting.is_empty();
        let mut state = self.news.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.idle = false;
        std::mem::swap(&mut state.waiting, batch);
        state.in_flight = batch.len();
    }

    /// Writes lines; false if that is not possible: they are lost.
    fn write(&self, out: &mut impl Write, mut lines: &[u8]) -> bool {
        while !lines.is_empty() {
            match out.write(lines) {
                Ok(written) if written > 0 => {
                    lines = &lines[written..];
                    self.leave(written, 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let waited = self.moved.wait_timeout_while(self.lock(), RETRY, |_| true);
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                }
                // Nobody reads any more, or the disk is full. The next lines may have more luck.
                Ok(_) | Err(_) => {
                    let lost = lines_of(lines);
                    self.leave(lines.len(), lost);
                    (self.losses.count)(lost);
                    return false;
                }
            }
        }
        true
    }

    /// Bytes have left, `lost` lines of them for nowhere.
    fn leave(&self, bytes: usize, lost: u64) {
        let mut state = self.lock();
        state.in_flight -= bytes;
        state.left += bytes as u64;
        state.lost += lost;
        drop(state);
        self.moved.notify_all();
    }

    /// How many lines were lost, once there is room again.
    fn take_lost(&self) -> Option<u64> {
        let mut state = self.lock();
        let room = state.bytes() <= self.bytes_max / 2;
        (room && state.lost > 0).then(|| std::mem::take(&mut state.lost))
    }
}

fn lines_of(bytes: &[u8]) -> u64 {
    bytes.split(|&byte| byte == b'\n').count() as u64 - 1
}

/// Bytes of the lines at the beginning that can be written at once: at least one line.
fn whole_lines(bytes: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let most = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
    let end = most.iter().rposition(is_end).or_else(|| bytes.iter().position(is_end));
    end.map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Longer than anything here takes; only a failing test waits for it.
    const LONG: Duration = Duration::from_secs(60);

    /// A reader that takes a write when it is told how that ends.
    struct Reader {
        outcomes: Receiver<std::io::Result<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // The thread outlives the test.
            let _ = self.written.send(bytes.to_vec());
            let outcome = self.outcomes.recv().unwrap_or_else(|_| Err(ErrorKind::BrokenPipe.into()));
            outcome.map(|most| most.min(bytes.len()))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn queue(
        bytes_max: usize,
        losses: Losses,
    ) -> (Arc<Queue>, Sender<std::io::Result<usize>>, Receiver<Vec<u8>>) {
        let (tell, outcomes) = channel();
        let (written, heard) = channel();
        let queue = Queue::with_bound(|| Reader { outcomes, written }, losses, bytes_max).expect("a thread");
        (queue, tell, heard)
    }

    const SILENT: Losses = Losses { count: |_| {}, tell: |_| {} };
    const ALL: usize = usize::MAX;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_said_once_when_there_is_room() {
        static COUNTED: AtomicU64 = AtomicU64::new(0);
        static TOLD: AtomicU64 = AtomicU64::new(0);
        static TIMES: AtomicU64 = AtomicU64::new(0);
        let losses = Losses {
            count: |lines| _ = COUNTED.fetch_add(lines, Ordering::Relaxed),
            tell: |lines| {
                TIMES.fetch_add(1, Ordering::Relaxed);
                TOLD.store(lines, Ordering::Relaxed);
            },
        };
        let (queue, outcome, written) = queue(32, losses);
        queue.push(b"first\n");
        assert_eq!(written.recv().expect("a write"), b"first\n");
        // The reader stalls from here: 26 bytes are left.
        for line in [&b"123456789\n"[..], b"abcdefghi\n", b"too long now\n", b"short\n"] {
            queue.push(line);
        }
        assert_eq!(COUNTED.load(Ordering::Relaxed), 2, "the short one, too: the gap is one gap");
        outcome.send(Ok(ALL)).expect("the writer waits");
        assert_eq!(written.recv().expect("a write"), b"123456789\nabcdefghi\n");
        assert_eq!(TIMES.load(Ordering::Relaxed), 0, "more than half of it waits still");
        outcome.send(Ok(ALL)).expect("the writer waits");
        queue.finish(LONG, LONG);
        let told = clock();
        while TIMES.load(Ordering::Relaxed) == 0 && told() < LONG {
            std::thread::yield_now();
        }
        assert_eq!((TIMES.load(Ordering::Relaxed), TOLD.load(Ordering::Relaxed)), (1, 2));
        queue.push(b"again\n");
        assert_eq!(written.recv().expect("a write"), b"again\n");
    }

    #[test]
    fn lines_are_written_whole_and_no_more_of_them_than_a_pipe_takes_in_one_piece() {
        let (queue, outcome, written) = queue(1 << 20, SILENT);
        queue.push(b"first\n");
        assert_eq!(written.recv().expect("a write"), b"first\n");
        let line = [&[b'x'; 1500][..], b"\n"].concat();
        let long = [&[b'y'; 5000][..], b"\n"].concat();
        for line in [&line, &line, &line, &long, &line] {
            queue.push(line);
        }
        for expected in [2, 1].map(|count| line.repeat(count)).iter().chain([&long, &line]) {
            outcome.send(Ok(ALL)).expect("the writer waits");
            assert_eq!(&written.recv().expect("a write"), expected);
        }
    }

    #[test]
    fn a_write_that_takes_a_part_or_is_interrupted_goes_on() {
        let (queue, outcome, written) = queue(1 << 20, SILENT);
        queue.push(b"one line\n");
        for (result, rest) in [
            (Ok(4), &b"one line\n"[..]),
            (Err(ErrorKind::Interrupted.into()), b"line\n"),
            (Err(ErrorKind::WouldBlock.into()), b"line\n"),
            (Ok(ALL), b"line\n"),
        ] {
            assert_eq!(written.recv().expect("a write"), rest);
            outcome.send(result).expect("the writer waits");
        }
        queue.finish(LONG, LONG);
        assert_eq!(queue.lock().bytes(), 0);
    }

    #[test]
    fn a_reader_that_is_gone_is_tried_once_for_each_batch() {
        static COUNTED: AtomicU64 = AtomicU64::new(0);
        let losses = Losses {
            count: |lines| _ = COUNTED.fetch_add(lines, Ordering::Relaxed),
            tell: |_| unreachable!("nothing was ever written"),
        };
        let (queue, outcome, written) = queue(1 << 20, losses);
        queue.push(b"first\n");
        outcome.send(Err(ErrorKind::BrokenPipe.into())).expect("the writer waits");
        assert_eq!(written.recv().expect("a write"), b"first\n");
        queue.finish(LONG, LONG);
        // The lines are gone before they are counted.
        let told = (0..1000).any(|_| {
            std::thread::yield_now();
            let counted = COUNTED.load(Ordering::Relaxed) == 1;
            counted || written.recv_timeout(Duration::from_millis(10)).is_ok()
        });
        assert!(told && COUNTED.load(Ordering::Relaxed) == 1);
        assert!(written.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for news");
        queue.push(b"again\n");
        assert_eq!(written.recv().expect("another try"), b"again\n");
    }

    #[test]
    fn a_stalled_reader_holds_up_the_end_no_longer_than_patience_lasts() {
        let (queue, outcome, written) = queue(1 << 20, SILENT);
        queue.push(b"first\n");
        written.recv().expect("a write");
        queue.finish(Duration::from_millis(10), LONG);
        queue.finish(LONG, Duration::from_millis(10));
        assert_eq!(queue.lock().bytes(), 6, "it waits still");
        drop(outcome);
    }
}

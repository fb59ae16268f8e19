//! A list on its way to its reader, whatever is listed: rows are gathered until they are worth a piece, as far as the reader has
//! room for more.

use super::admin_server::{AdminServer, ClientId};
use super::worker::Worker;
use crate::core::time::Instant;
use crate::net::Supervising;
use crate::workers::link::Question;

/// Less than this is not sent by itself: a short list is told with its length.
const PIECE_BYTES: usize = 16 * 1024;

/// What all lists have.
pub(super) struct Production {
    pub(super) client: ClientId,
    /// Of its questions.
    pub(super) number: u64,
    /// When a worker that was asked has not answered in time.
    pub(super) deadline: Instant,
    /// Rows that were listed.
    pub(super) listed: usize,
    progress: Progress,
    /// Written, and not yet enough to be a piece.
    held: String,
}

/// How far a list is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// It is finished, or its reader is gone.
    Over,
    /// It goes on when its reader has taken more.
    AwaitsReader,
    /// It goes on when a worker has answered.
    AwaitsWorker,
}

/// Where a worker is that is asked for pages, of which the next begins at `P`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage<P> {
    /// A page was asked for.
    Asked,
    /// The next page begins there.
    More(P),
    /// There is nothing behind what it has answered.
    Over,
    /// It does not answer.
    Silent,
}

impl<P> Stage<P> {
    /// Asks a worker for a page.
    pub(super) fn ask<K: Supervising>(worker: &mut Worker<K>, question: &Question) -> Self {
        if worker.ask(question) { Self::Asked } else { Self::Silent }
    }

    /// Behind an answer, which tells where its next page begins.
    pub(super) fn answered(next: Option<P>) -> Self {
        next.map_or(Self::Over, Self::More)
    }
}

impl Production {
    /// One that begins with that text, and whose workers have been asked.
    pub(super) fn new(client: ClientId, number: u64, begin: &str, deadline: Instant) -> Self {
        Self { client, number, deadline, listed: 0, progress: Progress::AwaitsWorker, held: begin.to_owned() }
    }

    /// Notes how far it is, and gives that.
    pub(super) const fn note(&mut self, progress: Progress) -> Progress {
        self.progress = progress;
        progress
    }

    /// Whether a page of a worker is awaited.
    pub(super) const fn awaits_workers(&self) -> bool {
        matches!(self.progress, Progress::AwaitsWorker)
    }

    /// Until when they may take to answer.
    pub(super) const fn due(&self) -> Instant {
        if self.awaits_workers() { self.deadline } else { Instant::NEVER }
    }

    /// Why it cannot go on now, if that is its reader's doing.
    pub(super) fn is_held_up<K: Supervising>(&self, admin: &AdminServer<K>) -> Option<Progress> {
        match admin.has_room(self.client) {
            None => Some(Progress::Over),
            Some(false) => Some(Progress::AwaitsReader),
            Some(true) => None,
        }
    }

    /// Lists a row.
    pub(super) fn add(&mut self, row: &str) {
        if self.listed > 0 {
            self.held.push(',');
        }
        self.held.push_str(row);
        self.listed += 1;
    }

    /// Whether what is written is worth a piece.
    pub(super) const fn is_piece(&self) -> bool {
        self.held.len() >= PIECE_BYTES
    }

    /// Sends what is written, if it is worth a piece.
    pub(super) fn send<K: Supervising>(&mut self, admin: &mut AdminServer<K>) {
        if self.is_piece() {
            admin.piece(self.client, &self.held, false);
            self.held.clear();
        }
    }

    /// Sends the last of it, behind which `end` writes.
    pub(super) fn finish<K: Supervising>(
        &mut self,
        admin: &mut AdminServer<K>,
        end: impl FnOnce(&mut String),
    ) {
        end(&mut self.held);
        admin.piece(self.client, &self.held, true);
    }
}

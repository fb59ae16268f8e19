//! The configuration read again, once for all workers: beside the loop, so that a disk that hangs holds up nobody. What
//! is wrong with it is told once, and changes nothing.

use super::{Supervisor, admin_of};
use crate::config::settings::Settings;
use crate::config::{self, Diagnostic, Sources};
use crate::observe::report;
use crate::sys::file::read_regular;
use crate::workers::link::ToWorker;

/// Settings and the text of the file that they come from; or all that is wrong with it.
pub(super) type Reread = Result<(Settings, String), String>;

/// Reads the configuration again.
pub(super) fn reread(sources: &Sources) -> Reread {
    let read = config::read(sources, read_regular)
        .and_then(|file| Ok((config::resolve_read(sources, &file)?.settings, file)));
    let all =
        |mistakes: Vec<Diagnostic>| mistakes.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n");
    read.map_err(all)
}

impl Supervisor {
    /// Has the configuration read again.
    pub(super) fn request_settings(&mut self) {
        if !self.reload.request(()) {
            report::reload_waits();
        }
    }

    /// Takes the configuration that was read again, if it was.
    pub(super) fn take_settings(&mut self) {
        match self.reload.take() {
            Some(Ok(Ok((new, file)))) => self.apply_settings(&new, file),
            Some(Ok(Err(mistakes))) => self.refuse(&mistakes),
            Some(Err(fatal)) => self.refuse(&format!("cannot {fatal}")),
            None => {}
        }
    }

    fn refuse(&mut self, mistakes: &str) {
        self.reloaded = (false, self.now);
        report::reload_refused(mistakes);
    }

    /// Applies what concerns the supervisor, and hands the rest on.
    fn apply_settings(&mut self, new: &Settings, file: String) {
        let mut notes = Vec::new();
        let (old_admin, new_admin) = (admin_of(&self.plan.settings), admin_of(new));
        if old_admin.map(|own| &own.address) != new_admin.map(|own| &own.address) {
            notes.push("the address of the admin interface needs a restart".to_owned());
        }
        if new.server.workers != self.plan.settings.server.workers {
            notes.push("the number of workers needs a restart".to_owned());
        }
        self.admin.adopt(new_admin);
        self.plan.settings.drain = new.drain;
        self.plan.settings.server.stall_timeout = new.server.stall_timeout;
        for worker in &mut self.workers {
            worker.tell(&ToWorker::Reload { file: file.clone() });
        }
        self.file = file;
        self.reloaded = (true, self.now);
        report::reloaded(&notes);
    }
}

//! Files of a test, such as a configuration that is read again.

use super::{Server, until};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is gone with the test.
pub struct TempFile(PathBuf);

impl TempFile {
    /// One with that text.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = Self(std::env::temp_dir().join(format!("linger-test-{}-{number}", std::process::id())));
        file.write(text);
        file
    }

    /// Gives it another text.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the directory of temporary files can be written to");
    }

    /// Where it is.
    ///
    /// # Panics
    /// When the directory of temporary files has a name that is no text.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Server {
    /// Has its configuration read again, with that text: it is applied, or refused.
    pub fn reload(&self, file: &TempFile, text: &str) {
        let told = || self.events("reloaded").len() + self.events("reload_refused").len();
        let before = told();
        file.write(text);
        self.signal("HUP");
        until("the reload", || told() > before);
    }
}

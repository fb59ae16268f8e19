//! Files that somebody names: read without waiting for a writer, and without acting on a device.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// The text of a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// What is wrong with it, as a sentence about "the file".
pub fn read_regular(path: &Path, bytes_max: usize) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
    // Before it is opened, which some devices take for a command, such as to rewind; and after, since another may have
    // taken its place.
    is_regular(&fs::metadata(path).map_err(unreadable)?)?;
    let mut options = OpenOptions::new();
    // A FIFO without a writer would not be open before one comes (fifo(7)); to regular files it makes no difference.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    is_regular(&metadata)?;
    // Its size says nothing where it is made up when it is read, or grows meanwhile. Else there is room for it, and no part of
    // a key is left behind by memory that has to grow.
    let most = bytes_max as u64 + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(most)).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err(format!("the file has more than {} KiB", bytes_max / 1024));
    }
    String::from_utf8(bytes).map_err(|error| format!("the file is no text: {}", error.utf8_error()))
}

/// Puts `text` in the place of what a file holds, all at once: who reads it meanwhile reads the one or the other, also if this
/// host stops now. It keeps its permissions and its owner; one that is new is its owner's alone. A symbolic link is
/// followed.
///
/// # Errors
/// When it cannot be written. The file is as it was then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(&path).ok();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        if let Some(before) = &before {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            // Last: a change of the owner takes permissions away.
            file.set_permissions(before.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        // The new name is on the disk when its directory is.
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn is_regular(file: &Metadata) -> Result<(), String> {
    let kind = file.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe (FIFO)",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(format!("it is {what}, not a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_at_once_and_keeps_its_permissions_behind_a_link() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let directory = std::env::temp_dir().join(format!("linger-replace-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (file, link) = (directory.join("file"), directory.join("link"));
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        replace(&file, "one").expect("a new file");
        assert_eq!((fs::read_to_string(&file).expect("text").as_str(), mode(&file)), ("one", 0o600));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        symlink(&file, &link).expect("a link");
        replace(&link, "two").expect("the file behind it");
        assert_eq!((fs::read_to_string(&file).expect("text").as_str(), mode(&file)), ("two", 0o640));
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(fs::read_dir(&directory).expect("ours").count(), 2, "nothing is left beside them");
        assert!(replace(&directory.join("none/file"), "x").is_err());
        fs::remove_dir_all(&directory).expect("it is ours");
    }

    #[test]
    fn only_a_regular_file_within_its_bound_is_read() {
        let directory = std::env::temp_dir().join(format!("linger-file-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("file");
        fs::write(&file, "twelve bytes").expect("a file");
        assert_eq!(read_regular(&file, 12), Ok("twelve bytes".to_owned()));
        assert_eq!(read_regular(&file, 11), Err("the file has more than 0 KiB".to_owned()));
        fs::write(&file, [b'a', 0xff]).expect("a file");
        assert!(read_regular(&file, 12).is_err_and(|why| why.contains("no text")));
        let socket = directory.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        for (path, what) in [
            (directory.as_path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
            (&socket, "a socket"),
        ] {
            assert_eq!(read_regular(path, 12), Err(format!("it is {what}, not a regular file")));
        }
        // Endless, for all its size says.
        assert!(read_regular(Path::new("/proc/self/maps"), 12).is_err_and(|why| why.contains("more than")));
        fs::remove_dir_all(&directory).expect("it is ours");
        assert!(read_regular(&file, 12).is_err_and(|why| why.contains("No such file")));
    }
}

//! Files that somebody names: read without waiting for a writer, and without acting on a device.

use std::fs::{self, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The text of a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// What is wrong with it, as a sentence about "the file".
pub fn read_regular(path: &Path, bytes_max: usize) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("the file cannot be read: {error}");
    // Before it is opened, which some devices take for a command, such as to rewind; and after, since another may have
    // taken its place.
    is_regular(&fs::metadata(path).map_err(unreadable)?)?;
    let mut options = OpenOptions::new();
    // A FIFO without a writer would not be open before one comes (fifo(7)); to regular files it makes no difference.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(unreadable)?;
    is_regular(&file.metadata().map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    // Its size says nothing where it is made up when it is read, or grows meanwhile.
    let most = bytes_max as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err(format!("the file has more than {} KiB", bytes_max / 1024));
    }
    String::from_utf8(bytes).map_err(|error| format!("the file is no text: {}", error.utf8_error()))
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

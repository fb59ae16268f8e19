//! The first message of TLS: however it is cut, the same is read of it, within its bound, and nothing that came is lost.

use super::pieces;
use linger::core::end::Reason;
use linger::core::secured::Secured;
use linger::transport::{Begin, HELLO_BYTES_MAX, HelloReader};

/// `bytes`: how it is cut, and all that comes of a connection.
pub(crate) fn holds(bytes: &[u8]) {
    let Some((seed, stream)) = bytes.split_first() else { return };
    let cut: Vec<_> = pieces(stream, *seed).collect();
    assert_eq!(read(stream, &cut), read(stream, &[stream]));
}

/// What is read of a connection whose bytes come in these pieces.
fn read(stream: &[u8], pieces: &[&[u8]]) -> Option<Result<Secured, (Reason, Vec<u8>)>> {
    let (mut reader, mut came) = (HelloReader::default(), 0);
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        came += piece.len();
        let found = match reader.receive(piece) {
            Begin::Unclear => {
                assert!(came < HELLO_BYTES_MAX, "it is waited for without end");
                continue;
            }
            Begin::Hello(secured) => Ok(secured),
            Begin::Broken(error, said) => Err((error.reason, said)),
        };
        assert_eq!(reader.take_bytes(), stream[..came]);
        return Some(found);
    }
    None
}

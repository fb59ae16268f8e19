//! The header of the PROXY protocol: however it is cut, what is read of the whole is read of the first piece that has all of it,
//! before that nothing; and it is within its bounds.

use linger::core::end::Reason;
use linger::transport::proxy::read;

/// The longest header of version 2 that is taken.
const BYTES_MAX: usize = 16 + 4096;

/// `bytes`: all that has come of a connection.
pub(crate) fn holds(bytes: &[u8]) {
    let all = read(bytes);
    let first = (0..=bytes.len()).map(|length| read(&bytes[..length])).find(|read| *read != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), all);
    match all {
        Ok(Some(header)) => {
            assert!((15..=BYTES_MAX.min(bytes.len())).contains(&header.says.header_bytes), "{header:?}");
            assert_eq!(header.client.is_some(), header.says.destination.is_some());
        }
        Ok(None) => assert!(bytes.len() < BYTES_MAX, "it is waited for without end"),
        Err(error) => {
            let reasons = [Reason::ProtocolProxyMissing, Reason::ProtocolProxyMalformed];
            assert!(reasons.contains(&error.reason), "{error:?}");
        }
    }
}

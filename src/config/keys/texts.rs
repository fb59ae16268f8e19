//! The kinds of text that keys of ours are: names of listeners, and filters of the log.

use crate::core::admission::Networks;
use crate::core::nearest::nearest;
use crate::core::setting::Kind;

/// A label for log lines and metrics, or `auto`.
pub(super) const NAME: Kind = Kind::Text {
    words: &["auto"],
    read: read_name,
    expects: "a name of letters, digits, '-', '_' and '.', 64 at most",
};

/// A log filter.
pub(super) const FILTER: Kind = Kind::Text {
    words: &[],
    read: read_filter,
    expects: "a level (off, error, warn, info, debug, trace), or target=level, separated by commas, as \
              \"info,linger=debug\"",
};

/// A list of networks, or a word.
pub(super) const fn networks(words: &'static [&'static str], expects: &'static str) -> Kind {
    Kind::List { words, read: read_networks, expects }
}

fn read_networks(list: &str) -> Result<String, String> {
    Networks::parse(list).map(|networks| networks.to_string())
}

fn read_name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        // Names become labels of metrics and fields of log lines; these characters need no quoting there.
        return Err(format!("{name:?} cannot be a name"));
    }
    Ok(name.to_owned())
}

fn read_filter(filter: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in filter.split(',').map(str::trim) {
        // env_logger takes an unknown level for a target and then logs nothing; a misspelt level is the
        // likelier meaning.
        let (target, level) =
            part.rsplit_once('=').map_or(("linger", part), |(target, level)| (target, level));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
        if target.is_empty() || !target.chars().all(plain) {
            return Err(format!("{target:?} is not a target"));
        }
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(match nearest(level, LEVELS) {
                Some(near) => format!("{level:?} is not a level (did you mean {near:?}?)"),
                None => format!("{level:?} is not a level"),
            });
        }
    }
    Ok(filter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_log_level_is_not_taken_for_a_target() {
        assert!(read_filter("info,linger::reactor=debug").is_ok());
        assert!(read_filter("inof").unwrap_err().contains("did you mean \"info\""));
    }
}

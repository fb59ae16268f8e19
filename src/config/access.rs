//! Values about who may use the admin interface: the names it answers to, and the permissions of its socket.

use super::value::{Raw, Value, text};

/// Words in the place of names.
pub(super) const HOSTS_WORDS: &[&str] = &["none", "any"];
/// What would be right for names.
pub(super) const HOSTS_EXPECTED: &str =
    "names of hosts without ports, separated by commas, as \"linger.example,ops\"";
/// What would be right for permissions.
pub(super) const MODE_EXPECTED: &str = "permissions in octal digits and quotes, from \"0000\" to \"0777\"";

/// Names of hosts, in small letters, with single commas between them.
pub(super) fn read_hosts(raw: Raw<'_>) -> Result<Value, String> {
    let given = text(raw).ok_or_else(|| format!("{raw} is not a string"))?;
    let mut names = Vec::new();
    for name in given.split(',').map(str::trim) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 253 || !name.chars().all(plain) {
            return Err(format!("{name:?} is not the name of a host"));
        }
        names.push(name.trim_end_matches('.').to_ascii_lowercase());
    }
    Ok(Value::Text(names.join(",")))
}

/// Permissions: a number of TOML is octal only if it is written so.
pub(super) fn read_mode(raw: Raw<'_>) -> Result<Value, String> {
    let digits = match raw {
        Raw::Bare(text) | Raw::Text(text) | Raw::Integer(text, 8) => text,
        Raw::Integer(..) | Raw::Flag(_) | Raw::Other(_) => {
            return Err(format!("{raw} is not in octal digits"));
        }
    };
    let octal = !digits.is_empty() && digits.chars().all(|c| c.is_digit(8));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.map(Value::Mode).ok_or_else(|| format!("{raw} are no permissions of a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lists_in_small_letters() {
        let read = |text| read_hosts(Raw::Bare(text)).map(|value| value.to_string());
        assert_eq!(read("Linger.Example., ops"), Ok("\"linger.example,ops\"".to_owned()));
        for wrong in ["", "a,,b", "a b", "a:7070", "http://a"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn permissions_are_octal_and_read_back() {
        let read = |raw| read_mode(raw).map(|value| value.to_string());
        for raw in [Raw::Bare("0660"), Raw::Text("660"), Raw::Integer("660", 8)] {
            assert_eq!(read(raw), Ok("\"0660\"".to_owned()));
        }
        for raw in
            [Raw::Integer("660", 10), Raw::Text("rw"), Raw::Text("0888"), Raw::Text("1777"), Raw::Text("+7")]
        {
            assert!(read(raw).is_err(), "{raw}");
        }
    }
}

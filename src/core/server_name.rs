//! Names of servers as clients ask for them (SNI, RFC 6066 3), and the patterns that they are compared with.

/// Whether `pattern` is for `name`, both in lower case; `*.` at its front stands for one label (RFC 6125, 6.4.3).
pub fn is_for(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::is_for;

    #[test]
    fn a_star_is_one_label() {
        for (pattern, name, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "*.example", true),
        ] {
            assert_eq!(is_for(pattern, name), expected, "{pattern} {name}");
        }
    }
}

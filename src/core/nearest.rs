//! What was probably meant by a word that is not known.

/// The candidate that `word` is most likely a misspelling of, if any is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.8 takes one slip in a short word and two in a long one, and no two keys of ours are that near.
    const NEAR: f64 = 0.8;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The question that stands behind a word that is not known, and a blank; nothing if none is near enough. Of a name with
/// dots one may know a part only, such as "frozen" or "lost".
pub fn did_you_mean(word: &str, names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    let names = || names.iter().map(AsRef::as_ref);
    let parts: Vec<_> = names().filter(|name| name.split('.').any(|part| part == word)).collect();
    match (parts.as_slice(), nearest(word, names())) {
        ([], Some(near)) => format!("did you mean {near}? "),
        ([], None) => String::new(),
        (parts, _) => format!("did you mean {}? ", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_nonsense_finds_none() {
        let words = ["timeout", "grace", "interval"];
        assert_eq!(nearest("tiemout", words), Some("timeout"));
        assert_eq!(nearest("zzz", words), None);
    }

    #[test]
    fn who_knows_a_part_of_a_name_is_asked_about_all_that_have_it() {
        let meant = |word| did_you_mean(word, ["slow.bytes", "slow.time", "stuck.frozen"]);
        assert_eq!(meant("slow"), "did you mean slow.bytes, slow.time? ");
        assert_eq!(meant("frozen"), "did you mean stuck.frozen? ");
        assert_eq!(meant("stuck.frozn"), "did you mean stuck.frozen? ");
        assert_eq!(meant("zzz"), "");
    }
}

//! The page of the admin interface for browsers: one document of `page.html`, `page.css` and `page.js`, with what each reason
//! of an ending means, and what a browser is to permit it.

use crate::core::end::Reason;
use crate::guide::{Language, meaning};
use crate::protocol::http::Response;
use serde_json::{Map, Value, json};

/// The page, and where its parts go. It needs nothing from elsewhere.
const PAGE: &str = include_str!("page/page.html");
const STYLE: (&str, &str) = ("/*style*/", include_str!("page/page.css"));
const SCRIPT: (&str, &str) = ("/*script*/", include_str!("page/page.js"));
/// Where the meanings go: a block of data, which a browser does not run.
const MEANINGS: &str = "{\"meanings\":\"\"}";

/// What a browser is to permit the page: its own script and style, known by their SHA-256, and requests to where it came
/// from. Text of a client that reached the page as markup would do nothing: the browser runs no other script, and takes
/// no text for markup from this one (`require-trusted-types-for`).
const HEADERS: &str = "Content-Security-Policy: default-src 'none'; \
    script-src 'sha256-P/N0J0xk92M5VUe2TRCmdG21LE3alUIsAS/BKR+dDEo='; \
    style-src 'sha256-3JEXHEvvTofvMwoKNhpyRFnO3oO3XHoQlYRFRbj1yEA='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'\r\n\
    X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n";

/// The response. It is made anew for each who asks: they are few, and nothing is held for them.
pub(super) fn response() -> Response<'static> {
    let page = PAGE.replacen(MEANINGS, &meanings().to_string(), 1);
    let page = [STYLE, SCRIPT].iter().fold(page, |page, (place, part)| page.replacen(place, part, 1));
    Response::html(page, HEADERS)
}

/// What each reason means, by its name.
fn meanings() -> Value {
    let of = |reason: &Reason| {
        let meaning = meaning::of(*reason, Language::English);
        (reason.name().to_owned(), json!([meaning.what, meaning.usually, meaning.advice]))
    };
    Value::Object(Reason::ALL.iter().map(of).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// What stands between two marks, of which each is there once.
    fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
        assert_eq!((text.matches(begin).count(), text.matches(end).count()), (1, 1), "{begin} {end}");
        let (_, rest) = text.split_once(begin).unwrap();
        rest.split_once(end).unwrap().0
    }

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
                << (8 * (3 - chunk.len()));
            for at in 0..4 {
                let letter = if at > chunk.len() { b'=' } else { LETTERS[bits >> (18 - 6 * at) & 63] };
                text.push(char::from(letter));
            }
        }
        text
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_page_as_they_are() {
        assert_eq!([&b"M"[..], b"Ma", b"Man"].map(base64), ["TQ==", "TWE=", "TWFu"]);
        let body = response().body;
        for (begin, end, source) in
            [("<script>", "</script>\n</body>", "script-src"), ("<style>", "</style>", "style-src")]
        {
            let hash = base64(&Sha256::digest(between(&body, begin, end)));
            assert!(HEADERS.contains(&format!("; {source} 'sha256-{hash}';")), "{source} is to be {hash}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_makes_no_markup_of_text() {
        let page = response().body.replace("http://www.w3.org/2000/svg", "the name of SVG");
        for foreign in [
            "http:",
            "https:",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            " style=",
            " onclick",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_page_knows_what_each_reason_means() {
        let Response { body, content_type, .. } = response();
        assert_eq!(content_type, "text/html; charset=utf-8");
        let data =
            between(&body, "<script type=\"application/json\" id=\"meanings\">", "</script>\n<script>");
        assert!(!data.contains('<'), "no text ends the block");
        let data: Value = serde_json::from_str(data).unwrap();
        for reason in Reason::ALL {
            assert_eq!(
                data[reason.name()][2],
                meaning::of(*reason, Language::English).advice,
                "{}",
                reason.name()
            );
        }
    }
}

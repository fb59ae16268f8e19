//! The token of an admin interface, for commands that ask one: from a file or from the environment. On a command line,
//! everybody on the host could read it.

use crate::protocol::{TOKEN_FILE_BYTES_MAX, Token};
use crate::sys::file::read_regular;
use std::path::{Path, PathBuf};

/// Where the token is that no file was named for.
const VARIABLE: &str = "LINGER_ADMIN_TOKEN";

/// What a command has to bring.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TokenArgs {
    /// The file of the token of the admin interface, if it asks for one (`admin.token_file`)
    ///
    /// Without it, the environment variable `LINGER_ADMIN_TOKEN` is the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, if it is given.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn token(&self) -> Result<Option<Token>, String> {
        let of = |whence: &Path, text: Result<String, String>| {
            let token = text.and_then(|text| Token::read(&text));
            token.map(Some).map_err(|why| format!("{}: {why}", whence.display()))
        };
        match (&self.token_file, std::env::var(VARIABLE)) {
            (Some(path), _) => of(path, read_regular(path, TOKEN_FILE_BYTES_MAX)),
            (None, Ok(text)) => of(Path::new(VARIABLE), Ok(text)),
            (None, Err(_)) => Ok(None),
        }
    }
}

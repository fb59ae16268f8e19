//! The language of what is told: that of `--lang`, or of the environment.

use crate::guide::Language;
use clap::{Args, ValueEnum};

#[derive(Debug, Default, Args)]
pub(super) struct LangArgs {
    /// The language; without it, that of `LC_ALL`, `LC_MESSAGES` or `LANG`
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<Lang>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Lang {
    /// English
    En,
    /// 中文: Simplified Chinese
    Zh,
}

impl LangArgs {
    pub(super) fn language(&self) -> Language {
        match self.lang {
            Some(Lang::En) => Language::English,
            Some(Lang::Zh) => Language::Chinese,
            None => Language::of_environment(|name| std::env::var(name).ok()),
        }
    }
}

//! Colours, or what stands for them where there are to be none (`NO_COLOR`).

use ratatui::style::{Color, Modifier, Style};

/// What is selected.
pub(super) const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Palette {
    has_colors: bool,
}

impl Palette {
    pub(in super::super) const fn new(has_colors: bool) -> Self {
        Self { has_colors }
    }

    const fn colored(self, color: Color) -> Style {
        if self.has_colors { Style::new().fg(color) } else { Style::new() }
    }

    pub(super) const fn title(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The head of a table, a border, a hint.
    pub(super) const fn faint(self) -> Style {
        if self.has_colors {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    /// Something is wrong.
    pub(super) const fn alarm(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Something deserves a look.
    pub(super) const fn notice(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// A reason, by its class: whose doing it was.
    pub(super) fn reason(self, reason: &str) -> Style {
        match reason.split('.').next().unwrap_or_default() {
            "lost" => self.colored(Color::Yellow),
            "stuck" | "slow" => self.colored(Color::Magenta),
            "protocol" => self.colored(Color::Red),
            "local" => self.colored(Color::Cyan),
            "upstream" => self.colored(Color::Blue),
            _ => Style::new(),
        }
    }

    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "suspect" => self.notice(),
            _ => Style::new(),
        }
    }
}

//! How it is drawn: where each part stands, by how much room there is. `panels` has what is always seen, `lists` the lists, `page`
//! what is shown over them.

mod lists;
mod page;
mod palette;
mod panels;
mod table;
#[cfg(test)]
mod tests;

use super::picture::Picture;
use super::ui::{Tab, Ui};
use crate::core::time::Instant;
pub(super) use palette::Palette;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

/// Rows below which there is only the list.
const PANELS_FROM: u16 = 12;
/// Rows from which on the last endings are seen under every list.
const ENDINGS_FROM: u16 = 19;
/// Columns from which on two panels stand side by side.
const WIDE: u16 = 72;

/// What is drawn.
pub(super) struct View<'a> {
    pub(super) live: &'a Picture,
    pub(super) ui: &'a Ui,
    pub(super) now: Instant,
    /// Whom it is about.
    pub(super) address: &'a str,
    pub(super) palette: Palette,
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let picture = view.ui.shown(view.live);
    let head = panels::head(view, picture);
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let [top, middle, foot] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    lines(frame, top, head);
    let list = draw_panels(frame, middle, view, picture);
    lists::draw(frame, list, view, picture);
    lines(frame, foot, vec![panels::foot(view)]);
    page::draw(frame, view);
}

/// Draws what stands around the list, as far as there is room. Gives the room that is left.
fn draw_panels(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, picture: &Picture) -> Rect {
    if area.height < PANELS_FROM {
        return area;
    }
    let rows = u16::try_from(panels::rows(picture) + 3).unwrap_or(u16::MAX);
    let [top, rest] =
        Layout::vertical([Constraint::Length(rows.min(area.height / 3).max(4)), Constraint::Min(0)])
            .areas(area);
    if area.width < WIDE {
        panels::listeners(frame, top, view, picture);
    } else {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(top);
        panels::listeners(frame, left, view, picture);
        panels::reasons(frame, right, view, picture);
    }
    if area.height < ENDINGS_FROM || view.ui.tab == Tab::Endings {
        return rest;
    }
    let [list, endings] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(area.height / 4)]).areas(rest);
    lists::last_endings(frame, endings, view, picture);
    list
}

/// Draws lines, one below the other.
fn lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

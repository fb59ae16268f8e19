//! Tables whose columns are shown as far as there is room.

use super::palette::{Palette, SELECTED};
use ratatui::layout::{Alignment, Constraint};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    width: Constraint,
    /// It is shown from this width of the table on.
    from: u16,
    alignment: Alignment,
}

impl Column {
    pub(super) const fn new(title: &'static str, width: u16) -> Self {
        Self { title, width: Constraint::Length(width), from: 0, alignment: Alignment::Left }
    }

    /// Of numbers, which end below each other.
    pub(super) const fn number(title: &'static str, width: u16) -> Self {
        Self { alignment: Alignment::Right, ..Self::new(title, width) }
    }

    /// It takes what the others leave.
    pub(super) const fn fill(title: &'static str) -> Self {
        Self { width: Constraint::Fill(1), ..Self::new(title, 0) }
    }

    pub(super) const fn from(self, from: u16) -> Self {
        Self { from, ..self }
    }
}

/// A table of the columns for which there is room.
pub(super) fn table<'a>(
    columns: &[Column],
    width: u16,
    rows: impl IntoIterator<Item = Vec<Line<'a>>>,
    palette: Palette,
) -> Table<'a> {
    let shown = || columns.iter().filter(|column| column.from <= width);
    let head = shown().map(|column| Line::raw(column.title).alignment(column.alignment));
    let rows = rows.into_iter().map(|cells| {
        let cells = cells.into_iter().zip(columns).filter(|(_, column)| column.from <= width);
        Row::new(cells.map(|(cell, column)| cell.alignment(column.alignment)))
    });
    Table::new(rows, shown().map(|column| column.width))
        .header(Row::new(head).style(palette.faint()))
        .row_highlight_style(SELECTED)
}

//! The lists: connections, endings, events, upstreams, workers.

use super::super::super::admin::span_of;
use super::super::picture::Picture;
use super::super::ui::Tab;
use super::View;
use super::palette::{Palette, SELECTED};
use super::panels::short;
use super::table::{Column, table};
use crate::core::escape::printable;
use crate::core::units::thousands;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, TableState};
use serde_json::Value;

/// Draws the list that is shown, below the names of all.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, picture: &Picture) {
    let block = Block::bordered().border_style(view.palette.faint()).title(tabs(view, picture, area.width));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = view.ui.rows(picture);
    if rows == 0 {
        let said = Line::styled(nothing(view.ui.tab, picture), view.palette.faint());
        return frame.render_widget(Paragraph::new(said), inner);
    }
    let table = match view.ui.tab {
        Tab::Connections => connections(picture, inner.width, view.palette),
        Tab::Endings => endings(picture, inner.width, view.palette),
        Tab::Events => {
            let rows = picture.events.iter().map(|event| vec![Line::raw(event.as_str())]);
            table(&[Column::fill("WHAT HAPPENED, THE NEWEST FIRST")], inner.width, rows, view.palette)
        }
        Tab::Upstreams => servers(picture, view.palette),
        Tab::Workers => workers(picture, inner.width, view.palette),
    };
    let mut state = TableState::new().with_selected(view.ui.selected(picture));
    frame.render_stateful_widget(table, inner, &mut state);
}

/// The last endings, under another list.
pub(super) fn last_endings(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, picture: &Picture) {
    let block = Block::bordered().border_style(view.palette.faint()).title("Last endings");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(endings(picture, inner.width, view.palette), inner);
}

/// The names of all lists, with how much is in them, or, where that is too long, without.
fn tabs<'a>(view: &View<'_>, picture: &Picture, width: u16) -> Line<'a> {
    let number = |tab| match tab {
        Tab::Connections if picture.matched > picture.connections.len() as u64 => {
            format!(" {} of {}", thousands(picture.connections.len() as u64), thousands(picture.matched))
        }
        Tab::Connections => format!(" {}", thousands(picture.matched)),
        Tab::Endings | Tab::Events | Tab::Upstreams | Tab::Workers => String::new(),
    };
    let titled = |tab: Tab, title: String| {
        let style = if tab == view.ui.tab { SELECTED } else { view.palette.faint() };
        [Span::raw(" "), Span::styled(title, style)]
    };
    let long = Tab::ALL.map(|tab| titled(tab, format!(" {}{} ", tab.title(), number(tab))));
    let long = long.into_iter().flatten().collect::<Line<'_>>();
    if long.width() + 2 <= usize::from(width) {
        return long;
    }
    titled(view.ui.tab, format!(" {}{} ", view.ui.tab.title(), number(view.ui.tab))).into_iter().collect()
}

/// What is said where there is nothing to list.
fn nothing(tab: Tab, picture: &Picture) -> &'static str {
    match (tab, &picture.filter, &picture.numbers) {
        (_, _, None) => "The server has not answered yet.",
        (Tab::Connections, None, _) => "No client is connected.",
        (Tab::Connections, Some(_), _) => {
            "No client that passes the filter is connected. Esc drops the filter."
        }
        (Tab::Endings, None, _) => "No ending is known.",
        (Tab::Endings, Some(_), _) => "No ending of a client that passes the filter is known.",
        (Tab::Events, ..) => "Nothing has happened since this was begun.",
        (Tab::Upstreams, ..) => "There are no upstream servers.",
        (Tab::Workers, ..) => "The server is one process (server.workers).",
    }
}

/// A text of the server, which may have it from a client.
fn text<'a>(row: &Value, field: &str) -> Line<'a> {
    Line::raw(printable(row[field].as_str().unwrap_or_default()))
}

fn amount<'a>(row: &Value, field: &str) -> Line<'a> {
    Line::raw(short(row[field].as_u64().unwrap_or_default()))
}

fn connections<'a>(picture: &Picture, width: u16, palette: Palette) -> Table<'a> {
    // Most servers have no suspects, and no gateway: their lists have room for other things.
    let has = |field: &str| picture.connections.iter().any(|row| !row[field].is_null());
    let (has_suspects, has_servers) = (has("suspect_for_s"), has("server"));
    let shown = |is_shown: bool, from: u16| if is_shown { from } else { u16::MAX };
    let roomy = if has_suspects || has_servers { 165 } else { 130 };
    let columns = [
        Column::new("KEY", 9),
        Column::new("STATE", 11),
        Column::new("SUSPECT FOR", 21).from(shown(has_suspects, 76)),
        Column::fill("IDENTITY"),
        Column::new("PEER", 21).from(if has_suspects { 90 } else { 60 }),
        Column::new("SERVER", 21).from(shown(has_servers, if has_suspects { 112 } else { 92 })),
        Column::new("LISTENER", 10).from(if has_suspects || has_servers { 130 } else { 90 }),
        Column::number("AGE", 8).from(48),
        Column::number("SILENT", 8).from(60),
        Column::number("IN", 9).from(roomy),
        Column::number("OUT", 9).from(roomy),
        Column::number("QUEUED", 9).from(roomy),
    ];
    let rows = picture.connections.iter().map(|row| {
        let state = row["state"].as_str().unwrap_or_default();
        vec![
            text(row, "key"),
            text(row, "state").style(palette.state(state)),
            suspicion(row).style(palette.state(state)),
            text(row, "id"),
            text(row, "peer"),
            text(row, "server"),
            text(row, "listener"),
            Line::raw(span_of(&row["age_s"])),
            Line::raw(span_of(&row["silence_s"])),
            amount(row, "bytes_in"),
            amount(row, "bytes_out"),
            amount(row, "queue_bytes"),
        ]
    });
    table(&columns, width, rows, palette)
}

/// For how long a connection is suspect, and the verdict on it, if that was reported.
fn suspicion<'a>(row: &Value) -> Line<'a> {
    let Some(time) = row.get("suspect_for_s").map(span_of) else { return Line::default() };
    let verdict = row["verdict"].as_str().unwrap_or_default();
    Line::raw(printable(format!("{time} {verdict}").trim_end()))
}

fn endings<'a>(picture: &Picture, width: u16, palette: Palette) -> Table<'a> {
    const COLUMNS: &[Column] = &[
        Column::new("TIME", 8),
        Column::new("REASON", 17),
        Column::fill("IDENTITY"),
        Column::new("KEY", 9).from(60),
        Column::new("PEER", 21).from(76),
        Column::new("LISTENER", 10).from(96),
        Column::new("DETECTOR", 12).from(110),
        Column::number("LIVED", 8).from(60),
        Column::number("SILENT", 8).from(110),
    ];
    let rows = picture.endings.iter().map(|row| {
        let time = row["time"].as_str().and_then(|time| time.split_once('T')).map_or("", |(_, time)| time);
        let reason = row["reason"].as_str().unwrap_or_default();
        vec![
            Line::raw(printable(time.split('.').next().unwrap_or_default())),
            text(row, "reason").style(palette.reason(reason)),
            text(row, "identity"),
            text(row, "key"),
            text(row, "peer"),
            text(row, "listener"),
            text(row, "detector"),
            Line::raw(span_of(&row["age_s"])),
            Line::raw(span_of(&row["silence_s"])),
        ]
    });
    table(COLUMNS, width, rows, palette)
}

/// The upstream servers, as `linger upstreams` lists them.
fn servers<'a>(picture: &Picture, palette: Palette) -> Table<'a> {
    let mut rows: Vec<Vec<String>> = super::super::super::upstreams::rows(&picture.upstreams);
    rows.iter_mut().flatten().for_each(|cell| *cell = printable(cell));
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns)
        .map(|column| Constraint::Length(u16::try_from(width(column)).unwrap_or(u16::MAX)))
        .collect();
    let head = Row::new(rows.remove(0)).style(palette.faint());
    let rows = rows.into_iter().map(|cells| {
        let is_up = cells.get(2).is_some_and(|state| state == "up");
        Row::new(cells).style(if is_up { Style::new() } else { palette.notice() })
    });
    Table::new(rows, widths).header(head).row_highlight_style(SELECTED)
}

fn workers<'a>(picture: &Picture, width: u16, palette: Palette) -> Table<'a> {
    const COLUMNS: &[Column] = &[
        Column::new("WORKER", 6),
        Column::new("STATE", 15),
        Column::number("CONNECTIONS", 11),
        Column::number("RESTARTS", 8).from(48),
        Column::number("STALLS", 7).from(60),
        Column::number("UNANSWERED", 10).from(72),
    ];
    let known = picture.numbers.iter().flat_map(|(_, numbers)| &numbers.workers);
    let rows = known.map(|worker| {
        let (state, style) = match (worker.is_up, worker.is_stalled) {
            (true, false) => ("up", Style::new()),
            (true, true) => ("stalled", palette.alarm()),
            (false, _) => ("does not answer", palette.alarm()),
        };
        vec![
            Line::raw(worker.number.clone()),
            Line::styled(state, style),
            Line::raw(thousands(worker.connections)),
            Line::raw(thousands(worker.restarts)),
            Line::raw(thousands(worker.stalls)),
            Line::raw(thousands(worker.unanswered)),
        ]
    });
    table(COLUMNS, width, rows, palette)
}

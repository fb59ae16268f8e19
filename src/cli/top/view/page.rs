//! What is shown over the lists: the help, a connection, an ending, a question.

use super::super::super::admin::span_of;
use super::super::super::why;
use super::super::input::KEYS;
use super::super::picture::OTHER_SIDE;
use super::super::ui::Page;
use super::View;
use crate::core::end::Reason;
use crate::core::escape::printable;
use crate::core::units::bytes;
use crate::guide::{Language, meaning};
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding, Paragraph};
use serde_json::Value;
use std::fmt::Write as _;

/// Most columns of a page: longer lines read badly.
const WIDTH_MAX: u16 = 100;

pub(super) fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    if let Some(page) = &view.ui.page {
        draw_page(frame, view, page);
    }
    if let Some(row) = &view.ui.question {
        draw_question(frame, view, row);
    }
}

fn draw_page(frame: &mut Frame<'_>, view: &View<'_>, page: &Page) {
    let (title, lines) = match page {
        Page::Help => (" Keys ".to_owned(), help(view)),
        Page::Connection { row, ending: None } => (titled("Connection", row), fields(view, row)),
        Page::Event(line) => (" Event ".to_owned(), vec![Line::raw(line.as_str())]),
        Page::Connection { ending: Some(row), .. } | Page::Ending(row) => {
            (titled("Ending of", row), ending(row, view.ui.shown(view.live).partner_of(row)))
        }
    };
    let room = frame.area();
    let width = room.width.saturating_sub(4).min(WIDTH_MAX);
    let lines = broken(lines, usize::from(width.saturating_sub(4)));
    // The foot stays in sight.
    let height = rows(&lines).saturating_add(2).min(room.height.saturating_sub(2));
    let area = centered(room, width, height);
    // Only here it is known how far it can go: what is beyond that was not scrolled.
    let scroll = view.ui.scroll.get().min(rows(&lines).saturating_sub(height.saturating_sub(2)));
    view.ui.scroll.set(scroll);
    let block =
        Block::bordered().title(title).title_style(view.palette.title()).padding(Padding::horizontal(1));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).scroll((scroll, 0)).block(block), area);
}

fn rows(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

/// Lines of at most that width: what is too long is broken between words, and goes on below where its last part began.
fn broken(lines: Vec<Line<'_>>, width: usize) -> Vec<Line<'_>> {
    let mut out = Vec::new();
    for mut line in lines {
        let is_long = line.width() > width;
        let Some(last) = line.spans.pop_if(|_| is_long) else {
            out.push(line);
            continue;
        };
        let indent = line.width() + last.content.len() - last.content.trim_start().len();
        let begin = std::mem::take(&mut line.spans);
        let mut row = Line::from(begin);
        row.push_span(Span::raw(" ".repeat(indent - row.width())));
        for word in last.content.split_whitespace() {
            let is_first = row.width() <= indent;
            if !is_first && row.width() + 1 + Span::raw(word).width() > width {
                out.push(std::mem::replace(&mut row, Line::raw(" ".repeat(indent))));
            } else if !is_first {
                row.push_span(Span::raw(" "));
            }
            row.push_span(Span::styled(word.to_owned(), last.style));
        }
        out.push(row);
    }
    out
}

fn draw_question(frame: &mut Frame<'_>, view: &View<'_>, row: &Value) {
    let room = frame.area();
    let width = room.width.saturating_sub(2).min(70);
    let question = format!("End connection {}?", named(row));
    let lines = vec![Line::raw(question), Line::raw(""), Line::raw("y: end it    any other key: do not")];
    let lines = broken(lines, usize::from(width.saturating_sub(4)));
    let area = centered(room, width, rows(&lines).saturating_add(2).min(room.height));
    let block = Block::bordered().border_style(view.palette.alarm()).padding(Padding::horizontal(1));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn centered(room: Rect, width: u16, height: u16) -> Rect {
    let [area] = Layout::horizontal([Constraint::Length(width)]).flex(Flex::Center).areas(room);
    let [area] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(area);
    area
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// A connection, so that it is not taken for another.
fn named(row: &Value) -> String {
    let identity = match text(row, "id") {
        "" => String::new(),
        identity => format!("{identity}, "),
    };
    printable(&format!(
        "{} ({identity}from {} on {})",
        text(row, "key"),
        text(row, "peer"),
        text(row, "listener")
    ))
}

fn titled(what: &str, row: &Value) -> String {
    format!(" {what} {} ", printable(text(row, "key")))
}

fn help<'a>(view: &View<'_>) -> Vec<Line<'a>> {
    let keys = KEYS.iter().map(|(key, what)| {
        Line::from(vec![Span::styled(format!("{key:<14}"), view.palette.title()), Span::raw(*what)])
    });
    let more = [
        "",
        "A filter is read as linger why reads a target. Rates are of the time between two answers; where answers take long, \
         the server is asked less often. Of a reason and of what to do about it, linger explain tells more.",
    ];
    keys.chain(more.map(Line::raw)).collect()
}

/// All that is known of a connection, and of the other side of its pair.
fn fields<'a>(view: &View<'_>, row: &Value) -> Vec<Line<'a>> {
    let mut lines = own_fields(view, row);
    let other = &row[OTHER_SIDE];
    if other.is_object() {
        let side = if text(other, "leg") == "upstream" { "server" } else { "client" };
        let title = format!("The other side: the {side}'s");
        lines.extend([Line::raw(""), Line::styled(title, view.palette.title())]);
        lines.extend(own_fields(view, other));
    }
    lines
}

fn own_fields<'a>(view: &View<'_>, row: &Value) -> Vec<Line<'a>> {
    let fields = row.as_object().into_iter().flatten().filter(|(name, _)| *name != OTHER_SIDE);
    let lines = fields.filter(|(_, value)| !value.is_null()).map(|(name, value)| {
        let title = printable(name.trim_end_matches("_s")).replace('_', " ");
        Line::from(vec![
            Span::styled(format!("{title:<16}"), view.palette.faint()),
            Span::raw(said(name, value)),
        ])
    });
    lines.collect()
}

/// A value, by the name of its field.
fn said(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
        Value::Number(_) if name.ends_with("_s") => span_of(value),
        Value::Number(number) if name.contains("bytes") => bytes(number.as_u64().unwrap_or_default()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                format!("{} {}", printable(name.trim_end_matches("_s")), said(name, value))
            });
            fields.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Number(_) | Value::Array(_) => printable(&value.to_string()),
    }
}

/// An ending as `linger why` tells it, with what it usually means.
fn ending<'a>(row: &Value, partner: Option<&Value>) -> Vec<Line<'a>> {
    let mut told = String::new();
    why::ending(row, Language::English, &mut told);
    if let Some(partner) = partner {
        why::side(partner, false, Language::English, &mut told);
    }
    told.push('\n');
    if let Some(reason) = Reason::ALL.iter().find(|reason| reason.name() == text(row, "reason")) {
        let meaning = meaning::of(*reason, Language::English);
        let _ = write!(told, "Usually: {}\n\nWhat to do: {}", meaning.usually, meaning.advice);
    }
    told.lines().map(|line| Line::raw(printable(line))).collect()
}

//! What is always seen: the numbers of the server, its listeners, and the reasons of endings over time.

use super::super::input::Focus;
use super::super::numbers::Numbers;
use super::super::picture::{Picture, Rates};
use super::View;
use super::table::{Column, table};
use crate::core::escape::printable;
use crate::core::time::Duration;
use crate::core::units::{bytes, plural, span, thousands};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Block;
use std::fmt::Write as _;

/// Bars, by the eighths of a row that they fill.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The first lines: whom it is about, what it does, who is connected, and what is wrong.
pub(super) fn head<'a>(view: &View<'a>, picture: &'a Picture) -> Vec<Line<'a>> {
    let mut lines = vec![title(view, picture)];
    match &picture.numbers {
        Some((_, numbers)) => lines.extend([rates(picture.rates.as_ref(), numbers), states(view, numbers)]),
        None => lines.push(Line::styled("no answer yet", view.palette.faint())),
    }
    if let Some((since, why)) = &view.live.trouble {
        let for_how_long = span(view.now.since(*since));
        lines.push(Line::styled(
            format!("NO ANSWER for {for_how_long}: {why}; trying again"),
            view.palette.alarm(),
        ));
    } else if let Some(why) = &view.live.events_trouble {
        lines.push(Line::styled(format!("NO EVENTS: {why}; trying again"), view.palette.alarm()));
    }
    lines
}

fn title<'a>(view: &View<'a>, picture: &Picture) -> Line<'a> {
    let mut parts = vec![
        Span::styled("linger top", view.palette.title()),
        Span::raw(format!("  {}", printable(view.address))),
    ];
    if let Some((_, numbers)) = &picture.numbers {
        let uptime = Duration::try_from_secs_f64(numbers.uptime_s).unwrap_or_default();
        parts.push(Span::raw(format!("  {}  up {}", numbers.version, span(uptime))));
        if let Some(wanted) = numbers.workers_wanted {
            let up = numbers.workers.iter().filter(|worker| worker.is_up).count();
            let text = format!("  {up} of {wanted} {}", plural(wanted, "worker", "workers"));
            let style = if up as u64 == wanted { Style::new() } else { view.palette.alarm() };
            parts.push(Span::styled(text, style));
        }
        if numbers.is_draining {
            parts.push(Span::styled("  DRAINING", view.palette.notice()));
        }
    }
    if let Some(filter) = &view.live.filter {
        let text = format!("  only {} {}", filter.what, printable(&filter.text));
        parts.push(Span::styled(text, view.palette.notice()));
    }
    if view.ui.paused.is_some() {
        parts.push(Span::styled("  PAUSED", view.palette.notice()));
    }
    Line::from(parts)
}

fn rates<'a>(rates: Option<&Rates>, numbers: &Numbers) -> Line<'a> {
    let of_memory = bytes(numbers.resident_bytes);
    let Some(rates) = rates else { return Line::raw(format!("memory {of_memory}")) };
    let mut text = format!(
        "opened {}/s  ended {}/s  in {}/s  out {}/s  cpu {:.1} %  memory {of_memory}",
        per_second(rates.opened),
        per_second(rates.ended),
        amount(rates.bytes_in),
        amount(rates.bytes_out),
        rates.cpu * 100.0,
    );
    for (what, rate, total) in
        [("commands", rates.commands, numbers.commands), ("messages", rates.messages, numbers.messages)]
    {
        if total > 0 {
            let _ = write!(text, "  {what} {}/s", per_second(rate));
        }
    }
    Line::raw(text)
}

/// Who is connected, by where they are in their life.
fn states<'a>(view: &View<'_>, numbers: &Numbers) -> Line<'a> {
    let all: u64 = numbers.states.iter().map(|(_, count)| count).sum();
    let mut parts = vec![Span::raw(format!(
        "{} {} of {}:",
        thousands(all),
        plural(all, "connection", "connections"),
        thousands(numbers.connections_max)
    ))];
    for (state, count) in &numbers.states {
        let style = if *count > 0 { view.palette.state(state) } else { view.palette.faint() };
        parts.push(Span::styled(format!("  {state} {}", thousands(*count)), style));
    }
    Line::from(parts)
}

/// A number of things a second.
fn per_second(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { thousands(whole(rate)) }
}

/// A number of bytes that is not whole, shortly.
fn amount(rate: f64) -> String {
    short(whole(rate))
}

/// A number of bytes, shortly.
pub(super) fn short(count: u64) -> String {
    bytes(count).replace(" bytes", " B").replace(" byte", " B")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is no less than 0; the cast saturates"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// Rows that the panels could fill.
pub(super) fn rows(picture: &Picture) -> usize {
    let listeners = picture.numbers.as_ref().map_or(0, |(_, numbers)| numbers.listeners.len());
    listeners.max(picture.reasons().len()).max(2)
}

/// Connections and accept queues of the listeners.
pub(super) fn listeners(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, picture: &Picture) {
    const COLUMNS: &[Column] = &[
        Column::fill("LISTENER"),
        Column::number("CONNS", 7),
        Column::number("OPENED/s", 8),
        Column::number("ENDED/s", 7),
        Column::number("QUEUE", 11),
        Column::number("IN/s", 8).from(56),
        Column::number("OUT/s", 8).from(66),
    ];
    let known = picture.numbers.iter().flat_map(|(_, numbers)| &numbers.listeners);
    let rows = known.enumerate().map(|(place, listener)| {
        let rates = picture.rates.as_ref().and_then(|rates| rates.listeners.get(place));
        let rate = |of: usize| rates.map_or(String::new(), |rates| per_second(rates[of]));
        let bytes = |of: usize| rates.map_or(String::new(), |rates| amount(rates[of]));
        let (queue, style) = match (listener.is_stalled, listener.queue) {
            (true, _) => ("STALLED".to_owned(), view.palette.alarm()),
            (false, Some(queue)) if queue * 2 > listener.queue_limit => {
                (format!("{queue} of {}", listener.queue_limit), view.palette.alarm())
            }
            (false, Some(queue)) => (format!("{queue} of {}", listener.queue_limit), Style::new()),
            (false, None) => (String::new(), Style::new()),
        };
        vec![
            Line::raw(listener.name.clone()),
            Line::raw(thousands(listener.connections)),
            Line::raw(rate(0)),
            Line::raw(rate(1)),
            Line::styled(queue, style),
            Line::raw(bytes(2)),
            Line::raw(bytes(3)),
        ]
    });
    let block = Block::bordered().border_style(view.palette.faint()).title("Listeners");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(table(COLUMNS, inner.width, rows, view.palette), inner);
}

/// Why connections ended, over time.
pub(super) fn reasons(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, picture: &Picture) {
    let block = Block::bordered().border_style(view.palette.faint()).title("Endings of clients, by reason");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = [
        Column::new("REASON", 18),
        Column::number("LAST 1m", 7),
        Column::number("TOTAL", 7),
        Column::fill("EACH 5s"),
    ];
    let width = usize::from(inner.width).saturating_sub(18 + 7 + 7 + 3);
    let rows = picture.reasons().into_iter().map(|(reason, minute, total)| {
        let style = view.palette.reason(reason);
        vec![
            Line::styled(reason.to_owned(), style),
            Line::raw(thousands(minute)),
            Line::raw(thousands(total)),
            Line::styled(bars(&picture.reasons.of(reason, width)), style),
        ]
    });
    frame.render_widget(table(&columns, inner.width, rows, view.palette), inner);
}

/// A bar for each number, as high as it is beside the largest.
pub(super) fn bars(counts: &[u64]) -> String {
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    let eighths = |count: &u64| usize::try_from((count * 8).div_ceil(most)).unwrap_or(8).min(8);
    counts.iter().map(|count| BARS[eighths(count)]).collect()
}

/// The last line: what is written, what came of the last key, or what the keys are.
pub(super) fn foot<'a>(view: &View<'a>) -> Line<'a> {
    let palette = view.palette;
    if let Some(line) = &view.ui.line {
        return Line::from(vec![
            Span::styled("filter: ", palette.title()),
            Span::raw(format!("{}▏", printable(line))),
            Span::styled(" identity, address, network or key; Enter, Esc", palette.faint()),
        ]);
    }
    if let Some(said) = &view.ui.said {
        return Line::styled(said.as_str(), palette.notice());
    }
    let keys = match view.ui.focus() {
        Focus::Page => "Esc close  ↑↓ scroll  e end  q quit",
        Focus::Question => "y end it  any other key: do not",
        Focus::List | Focus::Text => {
            "q quit  ↑↓ select  Tab list  / filter  Enter open  e end  p pause  ? help"
        }
    };
    Line::styled(keys, palette.faint())
}

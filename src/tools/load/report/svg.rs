//! The course of a run as a picture: latency, answers, connections and verdicts over time, in one SVG without any
//! script, font or style of others.
//!
//! Pure: text out of points. Latency is drawn to a logarithmic scale, for what matters in it spans decades.

use super::{Finished, Point, human};
use crate::core::time::Duration;
use std::fmt::Write as _;

/// Size of the picture, and the room around a panel.
const WIDTH: f64 = 860.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 56.0;
const GAP: f64 = 44.0;

/// A line in a panel.
struct Line {
    name: &'static str,
    colour: &'static str,
    value: fn(&Point) -> Option<f64>,
}

/// A panel: lines that share a scale.
struct Panel {
    title: &'static str,
    logarithmic: bool,
    label: fn(f64) -> String,
    lines: &'static [Line],
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
const PANELS: [Panel; 4] = [
    Panel {
        title: "latency",
        logarithmic: true,
        label: time,
        lines: &[
            Line { name: "max", colour: "#c0392b", value: |point| point.max_us },
            Line { name: "p99", colour: "#e08e0b", value: |point| point.p99_us },
            Line { name: "p50", colour: "#2471a3", value: |point| point.p50_us },
        ],
    },
    Panel {
        title: "answers a second",
        logarithmic: false,
        label: number,
        lines: &[Line { name: "rate", colour: "#2471a3", value: |point| Some(point.rate) }],
    },
    Panel {
        title: "connections and errors",
        logarithmic: false,
        label: number,
        lines: &[
            Line { name: "up", colour: "#1e8449", value: |point| Some(point.up as f64) },
            Line { name: "errors", colour: "#c0392b", value: |point| Some(point.troubles as f64) },
        ],
    },
    Panel {
        title: "faults and verdicts",
        logarithmic: false,
        label: number,
        lines: &[
            Line { name: "faults", colour: "#7d3c98", value: |point| Some(point.faults as f64) },
            Line { name: "judged", colour: "#1e8449", value: |point| Some(point.judged as f64) },
        ],
    },
];

/// All of it.
pub fn render(run: &Finished) -> String {
    let judged = run.points.iter().any(|point| point.faults > 0);
    let panels = &PANELS[..if judged { 4 } else { 3 }];
    let seconds = run.points.last().map_or(1.0, |point| point.at_s).max(1e-3);
    let mut out = String::new();
    let height = panels.iter().fold(TOP, |height, _| height + PANEL + GAP);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    let plan = &run.plan;
    let title = format!("{}   {} connections, {:.0} answers/s", run.url, plan.connections, run.rate());
    text(&mut out, (LEFT, 24.0), "start", "#000", &title);
    let mut top = TOP;
    for panel in panels {
        draw(&mut out, panel, &run.points, seconds, top);
        top += PANEL + GAP;
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel, points: &[Point], seconds: f64, top: f64) {
    text(out, (LEFT, top - 8.0), "start", "#000", panel.title);
    let scale = Scale::of(panel, points);
    let bottom = top + PANEL;
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * (at / seconds).clamp(0.0, 1.0);
    let y = |value: f64| bottom - PANEL * scale.place(value);
    for value in scale.marks() {
        let at = y(value);
        let _ =
            writeln!(out, "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\" fill=\"none\"/>", WIDTH - RIGHT);
        text(out, (LEFT - 6.0, at + 4.0), "end", "#555", &(panel.label)(value));
    }
    for step in 0..=4 {
        let at = seconds * f64::from(step) / 4.0;
        text(out, (x(at), bottom + 16.0), "middle", "#555", &format!("{at:.1} s"));
    }
    for (index, line) in panel.lines.iter().enumerate() {
        let known = points.iter().filter_map(|point| Some((point.at_s, (line.value)(point)?)));
        let path: Vec<String> = known.map(|(at, value)| format!("{:.1} {:.1}", x(at), y(value))).collect();
        if !path.is_empty() {
            let _ = writeln!(
                out,
                "<path d=\"M{}\" stroke=\"{}\" stroke-width=\"1.8\" stroke-linecap=\"round\" fill=\"none\"/>",
                // A single point is a line of no length, which the round cap shows.
                if path.len() == 1 { format!("{0}L{0}", path[0]) } else { path.join("L") },
                line.colour
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "two or three lines")]
        let below = top + 14.0 + 16.0 * index as f64;
        text(out, (WIDTH - RIGHT + 10.0, below), "start", line.colour, line.name);
    }
}

/// From values to the part of the panel's height.
struct Scale {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(panel: &Panel, points: &[Point]) -> Self {
        let values =
            points.iter().flat_map(|point| panel.lines.iter().filter_map(|line| (line.value)(point)));
        let (low, high) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if panel.logarithmic {
            let from = if low.is_finite() { low.max(0.1).log10().floor() } else { 0.0 };
            return Self { from, to: high.max(1.0).log10().ceil().max(from + 1.0), logarithmic: true };
        }
        // The next of 1, 2, 5 and 10 times a power of ten.
        let power = 10_f64.powf(high.max(1.0).log10().floor());
        let to = [1.0, 2.0, 5.0, 10.0].iter().map(|step| step * power).find(|&to| to >= high);
        Self { from: 0.0, to: to.unwrap_or(high), logarithmic: false }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-3).log10() } else { value };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// The values that are marked.
    #[expect(clippy::cast_possible_truncation, reason = "a few decades")]
    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            (self.from as i32..=self.to as i32).map(|power| 10_f64.powi(power)).collect()
        } else {
            (0..=2).map(|step| self.to * f64::from(step) / 2.0).collect()
        }
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}

fn time(micros: f64) -> String {
    human(Duration::try_from_secs_f64(micros / 1e6).ok())
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_s: f64, latency: Option<f64>) -> Point {
        Point {
            at_s,
            up: 900,
            rate: 1234.0,
            p50_us: latency,
            p99_us: latency.map(|us| us * 10.0),
            max_us: latency.map(|us| us * 100.0),
            troubles: 0,
            faults: 0,
            judged: 0,
        }
    }

    #[test]
    fn scales_hold_everything_and_end_at_round_numbers() {
        let points = [point(1.0, Some(70.0)), point(2.0, None), point(3.0, Some(90.0))];
        let latency = Scale::of(&PANELS[0], &points);
        assert_eq!((latency.from, latency.to), (1.0, 4.0));
        assert_eq!(latency.marks().len(), 4);
        let rate = Scale::of(&PANELS[1], &points);
        assert!((rate.to - 2000.0).abs() < 1e-9 && (rate.place(1000.0) - 0.5).abs() < 1e-9);
        assert_eq!(number(1_500_000.0), "1.5M");
    }

    #[test]
    fn nothing_measured_is_drawn_as_nothing() {
        for points in [vec![], vec![point(0.0, None)], vec![point(0.5, Some(0.0))]] {
            let mut out = String::new();
            for panel in &PANELS {
                draw(&mut out, panel, &points, 1.0, TOP);
            }
            assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
        }
    }
}

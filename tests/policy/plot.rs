//! The plot of docs/balancing.svg: for each algorithm a line from its p50 to its p99.

use std::fmt::Write;

/// One scenario.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Name, p50 and p99 in milliseconds.
    pub(crate) rows: Vec<(String, f64, f64)>,
}

const NAMES: f64 = 140.0;
const WIDTH: f64 = 250.0;
const GAP: f64 = 26.0;
const TOP: f64 = 64.0;
const ROW: f64 = 26.0;
/// The axis, in powers of ten of a millisecond.
const LEAST: f64 = 0.5;
const MOST: f64 = 4.5;

/// It has a ground of its own, so that it can be read on any page.
const STYLE: &str = "\
.ground{fill:#fff}.text{fill:#1f2328;stroke:#fff;stroke-width:4;paint-order:stroke}.soft{fill:#59636e}.grid{stroke:#d1d9e0}
.span{stroke:#8cb9f2;stroke-width:5;stroke-linecap:round}.p50{fill:#fff;stroke:#0550ae;stroke-width:2}.p99{fill:#0550ae}
@media (prefers-color-scheme:dark){.ground{fill:#0d1117}.text{fill:#f0f6fc;stroke:#0d1117}.soft{fill:#9198a1}.grid{stroke:#30363d}
.span{stroke:#1f4f8f}.p50{fill:#0d1117;stroke:#79c0ff}.p99{fill:#79c0ff}}";

pub(crate) fn svg(panels: &[Panel]) -> String {
    let rows = panels[0].rows.len() as f64;
    let (width, bottom) = (NAMES + panels.len() as f64 * (WIDTH + GAP), TOP + rows * ROW);
    let height = bottom + 44.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>Latency of each algorithm in three scenarios, p50 and p99</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n"
    );
    legend(&mut out);
    for (at, (name, ..)) in panels[0].rows.iter().enumerate() {
        text(&mut out, NAMES - 12.0, middle(at) + 4.0, "text", "end", name);
    }
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut out, panel, NAMES + at as f64 * (WIDTH + GAP), bottom);
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    let _ = writeln!(
        out,
        "<line class=\"span\" x1=\"20\" y1=\"22\" x2=\"60\" y2=\"22\"/><circle class=\"p50\" cx=\"20\" cy=\"22\" \
         r=\"4\"/><circle class=\"p99\" cx=\"60\" cy=\"22\" r=\"5\"/>"
    );
    text(out, 72.0, 26.0, "soft", "start", "from p50 to p99; the number is the p99 in ms");
}

fn draw(out: &mut String, panel: &Panel, left: f64, bottom: f64) {
    let x = |millis: f64| left + (millis.log10() - LEAST) / (MOST - LEAST) * WIDTH;
    text(out, left, TOP - 18.0, "text", "start", &panel.title);
    for (millis, label) in [(10.0, "10 ms"), (100.0, "100 ms"), (1_000.0, "1 s"), (10_000.0, "10 s")] {
        let (x, top) = (x(millis), TOP - 8.0);
        let _ =
            writeln!(out, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
        text(out, x, bottom + 18.0, "soft", "middle", label);
    }
    for (at, (_, p50, p99)) in panel.rows.iter().enumerate() {
        let (from, to, y) = (x(*p50), x(*p99), middle(at));
        let _ = writeln!(
            out,
            "<line class=\"span\" x1=\"{from:.1}\" y1=\"{y}\" x2=\"{to:.1}\" y2=\"{y}\"/><circle class=\"p50\" \
             cx=\"{from:.1}\" cy=\"{y}\" r=\"4\"/><circle class=\"p99\" cx=\"{to:.1}\" cy=\"{y}\" r=\"5\"/>"
        );
        text(out, to + 10.0, y + 4.0, "text", "start", &format!("{p99:.0}"));
    }
}

fn middle(row: usize) -> f64 {
    TOP + (row as f64 + 0.5) * ROW
}

fn text(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

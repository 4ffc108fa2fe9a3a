//! The tables of docs/balancing.md, and whether they are still what the simulation says.

use std::fmt::Write;
use std::path::PathBuf;

use crate::figures::Figures;
use crate::plot::Panel;
use crate::results::Results;
use crate::scenario::{ALGORITHMS, RETURNS, WARM_AFTER};

const BEGIN: &str = "<!-- figures of tests/policy -->\n";
const END: &str = "<!-- end of figures -->";

/// One table.
struct Sheet {
    title: &'static str,
    /// The first one is of names.
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs", name].iter().collect()
}

pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

pub(crate) fn write(name: &str, text: &str) {
    std::fs::write(path(name), text).unwrap_or_else(|error| panic!("docs/{name}: {error}"));
}

/// What stands before the figures, the figures, and what stands behind them.
pub(crate) fn split(page: &str) -> [&str; 3] {
    let (before, rest) = page.split_once(BEGIN).expect("the mark where the figures begin");
    let (figures, after) = rest.split_once(END).expect("the mark where the figures end");
    [&page[..before.len() + BEGIN.len()], figures, &page[page.len() - after.len() - END.len()..]]
}

/// Three digits: more would be noise.
fn number(value: f64) -> String {
    let decimals = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn count(value: f64) -> String {
    format!("{value:.0}")
}

fn rows(figures: &[Figures], cells: impl Fn(&Figures) -> Vec<String>) -> Vec<Vec<String>> {
    let row = |((name, _), of): (&(&str, _), &Figures)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(cells(of));
        row
    };
    ALGORITHMS.iter().zip(figures).map(row).collect()
}

fn usual(of: &Figures) -> Vec<String> {
    vec![number(of.p50()), number(of.p99()), count(of.queue()), number(of.least_share())]
}

/// Cells side by side of the same algorithm in several scenarios.
fn beside<const N: usize>(all: &[Vec<Figures>; N], cell: impl Fn(&Figures) -> String) -> Vec<Vec<String>> {
    let row = |at: usize| all.iter().map(|figures| cell(&figures[at])).collect();
    (0..ALGORITHMS.len()).map(row).collect()
}

fn sheets(results: &Results) -> Vec<Sheet> {
    const USUAL: [&str; 5] = ["algorithm", "p50 ms", "p99 ms", "longest queue", "least used, %"];
    let half_speed = |of: &Figures| {
        let [first, second] = of.p99_halves().map(number);
        vec![number(of.p50()), number(of.p99()), first, second, count(of.queue()), number(of.first_share())]
    };
    let named = |cells: Vec<Vec<String>>| {
        let name = |((name, _), cells): (&(&str, _), Vec<String>)| [vec![(*name).to_owned()], cells].concat();
        ALGORITHMS.iter().zip(cells).map(name).collect::<Vec<_>>()
    };
    let returned = |of: &Figures| number(of.p99_between(RETURNS, RETURNS + WARM_AFTER));
    let queues = beside(&results.returns, |of| count(of.first_queue()));
    let returns =
        beside(&results.returns, returned).into_iter().zip(queues).map(|(p99, queue)| [p99, queue].concat());
    vec![
        Sheet {
            title: "Equal backends, 80 % load",
            columns: USUAL.into(),
            rows: rows(&results.equal, usual),
        },
        Sheet {
            title: "One of them at half speed, 60 % load",
            columns: vec![
                "algorithm",
                "p50 ms",
                "p99 ms",
                "p99, first half",
                "p99, second half",
                "longest queue",
                "the slow one's, %",
            ],
            rows: rows(&results.half_speed, half_speed),
        },
        Sheet {
            title: "Stalls of 200 ms, 60 % load",
            columns: USUAL.into(),
            rows: rows(&results.stalls, usual),
        },
        Sheet {
            title: "One that fails at once, 60 % load: its share of all requests",
            columns: vec![
                "algorithm",
                "500 is an answer, %",
                "500 is a failure, %",
                "… that takes it out, %",
            ],
            rows: named(beside(&results.fails, |of| number(of.first_share()))),
        },
        Sheet {
            title: "One that returns cold, 60 % load",
            columns: vec![
                "algorithm",
                "p99 ms, at once",
                "p99 ms, slow start",
                "its longest queue, at once",
                "its longest queue, slow start",
            ],
            rows: named(returns.collect()),
        },
        Sheet {
            title: "128 equal backends, 80 % load",
            columns: USUAL.into(),
            rows: rows(&results.many, usual),
        },
    ]
}

/// All tables in markdown.
pub(crate) fn tables(results: &Results) -> String {
    let mut text = String::new();
    for Sheet { title, columns, rows } in sheets(results) {
        let rule: String = columns[1..].iter().map(|_| "---:|").collect();
        let _ = writeln!(text, "\n### {title}\n\n| {} |\n|---|{rule}", columns.join(" | "));
        for row in rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    text.push('\n');
    text
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The first lines that differ by more than they may. Only the moving average needs an exponential function, in
/// whose last digit machines may differ; one choice that falls otherwise changes all that come later.
pub(crate) fn difference(page: &str, now: &str) -> Option<String> {
    let near = |(one, other): (&&str, &&str)| match (one.parse::<f64>(), other.parse::<f64>()) {
        // Queues are whole numbers.
        (Ok(a), Ok(b)) => (a - b).abs() <= (0.15 * b).max(if other.contains('.') { 0.0 } else { 2.0 }),
        _ => one == other,
    };
    let same = |a: &str, b: &str| {
        let (one, other) = (cells(a), cells(b));
        let slack = one[0] == "peak-ewma" && one.len() == other.len();
        a == b || (slack && one.iter().zip(&other).all(near))
    };
    let (mut old, mut new) = (page.lines(), now.lines());
    loop {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if same(a, b) => {}
            (a, b) => return Some(format!("it says  {}\nbut now  {}", a.unwrap_or(""), b.unwrap_or(""))),
        }
    }
}

/// What the plot shows of the tables.
pub(crate) fn panels(tables: &str) -> Vec<Panel> {
    let sections = tables.split("### ").skip(1).take(3);
    sections.map(panel).collect()
}

fn panel(section: &str) -> Panel {
    let (title, table) = section.split_once('\n').expect("a title and a table");
    let value = |cell: &str| cell.parse().expect("a number");
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2).map(cells);
    let rows = rows.map(|row| (row[0].to_owned(), value(row[1]), value(row[2])));
    Panel { title: title.to_owned(), rows: rows.collect() }
}

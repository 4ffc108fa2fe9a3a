//! Raw cases through evenkeel, and through nginx and HAProxy where they are installed, to one recording backend.
//!
//! What evenkeel does is asserted; what each does becomes the tables of `docs/http.md`:
//!
//! ```text
//! DIFFERENTIAL_TABLE=docs/http.md cargo test --test differential
//! ```
//!
//! `DIFFERENTIAL_CASE=words` runs only the cases whose names contain the words, and prints what was observed.

use std::fs;
use std::path::PathBuf;
use std::thread;

use case::{Case, Class};
use lane::{Lane, Observed};
use proxy::Kind;

mod backend;
mod case;
mod cases;
mod client;
mod judge;
mod lane;
#[path = "../support/port.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod port;
mod proxy;
mod table;
mod wire;

/// Lanes for each proxy: cases spend their time waiting.
const LANES: usize = 8;

#[test]
fn every_case_through_every_proxy() {
    let mut classes = cases::all();
    let chosen = std::env::var("DIFFERENTIAL_CASE").ok();
    if let Some(words) = &chosen {
        classes.iter_mut().for_each(|class| class.cases.retain(|case| case.name.contains(words)));
    }
    let kinds: Vec<_> = [Kind::Evenkeel, Kind::Nginx, Kind::Haproxy]
        .into_iter()
        .filter(|kind| kind.program().is_some())
        .collect();
    let cases: Vec<_> = classes.iter().flat_map(|class| &class.cases).collect();
    let columns: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = kinds
            .iter()
            .map(|&kind| {
                scope.spawn({
                    let cases = &cases;
                    move || through(kind, cases)
                })
            })
            .collect();
        let titles = kinds.iter().map(|kind| kind.title());
        titles.zip(running.into_iter().map(|r| r.join().expect("a lane broke"))).collect()
    });
    if chosen.is_some() {
        show(&cases, &columns);
    }
    let ours = &columns[0].1;
    let wrong: Vec<_> =
        cases.iter().zip(ours).filter_map(|(case, observed)| complaint(case, observed)).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    match std::env::var_os("DIFFERENTIAL_TABLE") {
        Some(file) => write_tables(&file.into(), &table::tables(&classes, &columns)),
        None if chosen.is_none() => check_page(&cases, ours),
        None => {}
    }
}

#[test]
fn the_cases_are_many_and_each_has_its_own_name() {
    let classes = cases::all();
    let (answers, requests): (Vec<_>, Vec<_>) =
        classes.iter().partition(|class| class.title.starts_with("Backend"));
    let count = |classes: &[&Class]| classes.iter().map(|class| class.cases.len()).sum::<usize>();
    assert!(count(&requests) >= 150, "{} cases of requests", count(&requests));
    assert!(count(&answers) >= 60, "{} cases of responses", count(&answers));
    for class in &classes {
        let mut names: Vec<_> = class.cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "a name twice in {}", class.title);
    }
}

/// Runs all cases through one kind of proxy; what was observed is in the order of the cases.
fn through(kind: Kind, cases: &[&Case]) -> Vec<Observed> {
    let by_lane: Vec<Vec<Observed>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || one_lane(kind, lane, cases))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane broke")).collect()
    });
    let mut lanes: Vec<_> = by_lane.into_iter().map(Vec::into_iter).collect();
    (0..cases.len()).map(|i| lanes[i % LANES].next().expect("a lane gives what it ran")).collect()
}

fn one_lane(kind: Kind, number: usize, cases: &[&Case]) -> Vec<Observed> {
    let mut lane = Lane::start(kind, number).unwrap_or_else(|e| panic!("{e}"));
    let mut observed = Vec::new();
    for case in cases.iter().skip(number).step_by(LANES) {
        let one = lane.run(case).unwrap_or_else(|e| panic!("{}: {e}\n{}", case.name, lane.proxy.state()));
        // A connection that lags behind may not spoil the next case.
        if !one.healthy {
            lane = Lane::start(kind, number + LANES * (observed.len() + 1)).unwrap_or_else(|e| panic!("{e}"));
        }
        observed.push(one);
    }
    observed
}

fn complaint(case: &Case, observed: &Observed) -> Option<String> {
    let wrong = judge::judge(case, observed);
    if wrong.is_empty() {
        return None;
    }
    Some(format!(
        "{} ({}): {}\n  steps {:?}\n{}",
        case.name,
        case.rule,
        wrong.join("; "),
        case.steps.iter().map(short).collect::<Vec<_>>(),
        told(observed)
    ))
}

fn short(step: &case::Step) -> String {
    let text = match step {
        case::Step::Send(bytes) => format!("send {:?}", String::from_utf8_lossy(bytes)),
        other => format!("{other:?}"),
    };
    if text.len() > 300 { format!("{}...", text.chars().take(300).collect::<String>()) } else { text }
}

fn told(observed: &Observed) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    let backend: Vec<_> = observed.backend.iter().map(|seen| text(&seen.bytes)).collect();
    let client = &observed.client;
    format!("  backend {backend:?}\n  client {:?}, {:?}\n", text(&client.bytes), client.ended)
}

fn show(cases: &[&Case], columns: &[(String, Vec<Observed>)]) {
    for (i, case) in cases.iter().enumerate() {
        println!("{} ({})", case.name, case.rule);
        for (title, observed) in columns {
            println!(" {title}: {}\n{}", table::cell(case, &observed[i]), told(&observed[i]));
        }
    }
}

fn write_tables(file: &PathBuf, tables: &str) {
    let page = fs::read_to_string(file).expect("the page with the marks for the tables");
    let (before, rest) = page.split_once(table::BEGIN).expect("the mark where the tables begin");
    let (_, after) = rest.split_once(table::END).expect("the mark where the tables end");
    fs::write(file, format!("{before}{tables}{}", after.trim_start())).expect("the page can be written");
}

/// The page says of evenkeel what was observed now.
fn check_page(cases: &[&Case], ours: &[Observed]) {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
    let page = fs::read_to_string(page).expect("docs/http.md");
    let stale = cases.iter().zip(ours).map(|(case, observed)| table::row(case, &table::cell(case, observed)));
    let stale: Vec<_> = stale.filter(|row| !page.contains(row)).collect();
    assert!(
        stale.is_empty(),
        "docs/http.md lacks these rows; write it with DIFFERENTIAL_TABLE=docs/http.md:\n{}",
        stale.join("\n")
    );
}

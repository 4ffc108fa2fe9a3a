//! Instructions that a request costs in user space, counted by valgrind: the same on a busy machine as on a quiet one.
//!
//! `cargo bench --bench instructions` prints the table; with `-- --check` it fails where a count has grown by
//! more than a tenth over the one recorded here. Without valgrind it says so and passes. The counts move a little with
//! the compiler and with the processor, for which the C library and memchr choose their code.

mod rules;
mod samples;
#[path = "../tests/scripted/mod.rs"]
mod scripted;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use evenkeel::balance::{Ask, Choice, Eligible, Table};
use evenkeel::config::{self, BackendUrl, LogFormat, Pool, Statuses};
use evenkeel::exchange::{Exchange, Taking};
use evenkeel::limits;
use evenkeel::proto::h1::edits::Edits;
use evenkeel::proto::h1::request::{Request, fields};
use rules::rules;
use samples::{BROWSER, RESPONSE, SMALL};
use scripted::Balancer;

/// Tells a run under valgrind what to do: the case's number and how often.
const ORDER: &str = "EVENKEEL_INSTRUCTIONS";
/// Counted is the difference between so many turns and twice as many: start and warm-up fall out.
const TURNS: u64 = 2_000;
/// Percent over the recorded count that pass.
const SLACK: u64 = 10;

/// Something done so many times over.
type Work = fn(u64);

/// What is counted, with its count as last recorded.
const CASES: [(&str, u64, Work); 14] = [
    ("parse, small GET", 1_053, |turns| parse(SMALL, turns)),
    ("parse, browser GET", 5_550, |turns| parse(BROWSER, turns)),
    ("choose among 3", 79, |turns| choose(3, turns)),
    ("choose among 1,000", 79, |turns| choose(1000, turns)),
    ("parse, choose, rewrite: small GET", 2_465, |turns| rewrite(SMALL, turns)),
    ("parse, choose, rewrite: browser GET", 7_739, |turns| rewrite(BROWSER, turns)),
    ("the same with its response: small GET", 5_290, |turns| exchange(SMALL, turns)),
    ("whole pump: small GET, 3 backends", 9_682, |turns| pump(SMALL, b"", 3, turns)),
    ("whole pump: small GET, 1,000 backends", 9_682, |turns| pump(SMALL, b"", 1000, turns)),
    ("whole pump: browser GET, 3 backends", 15_427, |turns| pump(BROWSER, b"", 3, turns)),
    ("whole pump: POST, 4 KiB behind its head", 12_785, |turns| pump(POST, &[b'p'; 4096], 3, turns)),
    ("whole pump: small GET, counted for metrics", 10_166, |turns| told(true, None, turns)),
    ("whole pump: small GET, logged as text", 12_682, |turns| told(false, Some(LogFormat::Text), turns)),
    ("whole pump: small GET, logged as JSON", 13_570, |turns| told(false, Some(LogFormat::Json), turns)),
];

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 4096\r\n\r\n";

fn parse(head: &[u8], turns: u64) {
    for _ in 0..turns {
        let mut space = fields();
        let request = Request::parse(black_box(head), &mut space).expect("well formed");
        black_box((request.framing, request.persistent()));
    }
}

fn table(backends: u16) -> Table {
    let url = |i| BackendUrl { host: "backend.test".into(), port: 1 + i };
    let backends: Vec<_> = (0..backends).map(|i| config::Backend::new(url(i))).collect();
    let addresses = vec![Vec::new(); backends.len()];
    Table::new(vec![(Pool { backends, ..Pool::default() }, addresses)], 1)
}

fn next(table: &Table, eligible: &mut Eligible) -> Choice {
    let pool = &table.pools()[0];
    eligible.refresh(table, pool);
    eligible.choose(table, pool, &Ask::default())
}

fn choose(backends: u16, turns: u64) {
    let table = table(backends);
    let mut eligible = Eligible::new(&table, &table.pools()[0], 0);
    for _ in 0..turns {
        black_box(next(black_box(&table), &mut eligible));
    }
}

fn open(head: &[u8], out: &mut Vec<u8>) -> Exchange {
    out.clear();
    let opened = Exchange::open(black_box(head), black_box(&rules()), out);
    opened.expect("well formed").exchange
}

fn rewrite(head: &[u8], turns: u64) {
    let table = table(3);
    let mut eligible = Eligible::new(&table, &table.pools()[0], 0);
    let mut out = Vec::with_capacity(limits::LARGE_BUFFER);
    for _ in 0..turns {
        let mut exchange = open(head, &mut out);
        black_box(exchange.request(b"", &mut out).expect("no body"));
        black_box((next(&table, &mut eligible), &out, exchange));
    }
}

fn exchange(head: &[u8], turns: u64) {
    let table = table(3);
    let mut eligible = Eligible::new(&table, &table.pools()[0], 0);
    let mut out = Vec::with_capacity(limits::LARGE_BUFFER);
    for _ in 0..turns {
        let mut exchange = open(head, &mut out);
        black_box(exchange.request(b"", &mut out).expect("no body"));
        black_box((next(&table, &mut eligible), &out));
        out.clear();
        let taking = Taking { keep: true, edits: &Edits::default(), added: b"", again: &Statuses::NONE };
        black_box(exchange.response(black_box(RESPONSE), 0, &taking, &mut out).expect("well formed"));
        black_box((&out, exchange));
    }
}

/// A whole warm request, its body behind its head, with what the scripted streams cost in place of the kernel.
fn pump(head: &[u8], body: &[u8], backends: u16, turns: u64) {
    drive(Balancer::new(backends, usize::MAX, 0), head, body, u64::from(backends) + turns);
}

/// A small GET of which somebody may ask, or that leaves a line in the access log; the writing thread counts too.
fn told(watched: bool, log: Option<LogFormat>, turns: u64) {
    drive(Balancer::with(3, usize::MAX, 0, watched, log), SMALL, b"", 3 + turns);
}

fn drive(mut balancer: Balancer, head: &[u8], body: &[u8], turns: u64) {
    let client = balancer.connect(b"");
    for _ in 0..turns {
        balancer.send(client, head);
        if !body.is_empty() {
            balancer.send_more(client, body);
        }
        balancer.answer(RESPONSE);
    }
    assert_eq!(balancer.calls().len(), if body.is_empty() { 4 } else { 6 });
    assert!(balancer.received(client).starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// The instructions of this program from start to end while it does a case so many times.
fn count(case: usize, turns: u64) -> Result<u64, String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{}", std::process::id()));
    let program = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .env(ORDER, format!("{case} {turns}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let profile = std::fs::read_to_string(&file);
    // It is only read once; what is left behind lies among the build's own files.
    let _ = std::fs::remove_file(&file);
    if !done.status.success() {
        return Err(format!(
            "valgrind ended with {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    let profile = profile.map_err(|error| format!("{}: {error}", file.display()))?;
    let summary = profile.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok());
    summary.ok_or_else(|| "callgrind gave no summary".to_owned())
}

fn instructions(case: usize) -> Result<u64, String> {
    let (once, twice) = (count(case, TURNS)?, count(case, 2 * TURNS)?);
    Ok(twice.saturating_sub(once) / TURNS)
}

fn obey(order: &str) {
    let (case, turns) = order.split_once(' ').expect("a case and a number");
    let (_, _, work) = CASES[case.parse::<usize>().expect("a case")];
    work(turns.parse().expect("a number"));
}

/// Prints the table; the cases that cost too much, or could not be counted.
fn measure() -> Result<u32, String> {
    let mut grown = 0;
    println!("{:<42} {:>9} {:>9} {:>8}", "instructions a turn", "counted", "recorded", "change");
    for (case, (name, recorded, _)) in CASES.into_iter().enumerate() {
        let counted = instructions(case)?;
        let change = 100.0 * (counted as f64 / recorded as f64 - 1.0);
        let verdict = if counted * 100 > recorded * (100 + SLACK) {
            grown += 1;
            "  too many"
        } else if counted * 100 < recorded * (100 - SLACK) {
            "  fewer: record it"
        } else {
            ""
        };
        println!("{name:<42} {counted:>9} {recorded:>9} {change:>+7.1}%{verdict}");
    }
    Ok(grown)
}

fn main() -> ExitCode {
    if let Ok(order) = std::env::var(ORDER) {
        obey(&order);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if !asked("--bench") && !asked("--check") {
        // As a test it only has to work: nobody counts what is not optimised.
        CASES.into_iter().for_each(|(_, _, work)| work(10));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("instructions: not counted, valgrind is not installed (apt install valgrind)");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(grown) if grown > 0 && asked("--check") => {
            eprintln!(
                "{grown} counts have grown by more than {SLACK} %: make it cheaper, or say why and record it"
            );
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

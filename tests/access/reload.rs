//! A reload leads the lines elsewhere: each whole, each in one place, none lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;

use rustix::process::Signal;
use serde_json::Value;

use super::Place;
use crate::reload::{Live, listener, pool};
use crate::support::{Backend, Client, SOON, eventually, get};

/// Part of a file: the log at a place of the test's.
fn log(place: &Place, name: &str, format: &str) -> String {
    format!("[access_log]\npath = \"{}\"\nformat = \"{format}\"\n", place.path(name))
}

/// The target that a line tells of, by its format.
#[track_caller]
fn target(line: &str) -> (&'static str, String) {
    if line.starts_with('{') {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        return ("json", line["target"].as_str().expect("a target").to_owned());
    }
    let quoted: Vec<&str> = line.split('"').collect();
    let whole =
        line.starts_with("127.0.0.1 - - [") && quoted.len() == 7 && line.matches("127.0.0.1 - ").count() == 1;
    assert!(whole && quoted[6].split_whitespace().count() == 14, "no line: {line:?}");
    ("text", quoted[1].split(' ').nth(1).expect("a target").to_owned())
}

/// Clients that ask without a pause for targets of their own until `over`; what was answered.
fn load(to: std::net::SocketAddr, over: &AtomicBool, asked: &AtomicUsize, answered: &Mutex<Vec<String>>) {
    let mut client = Client::connect(to);
    while !over.load(SeqCst) {
        let target = format!("/{}", asked.fetch_add(1, SeqCst));
        assert_eq!(client.get(&target).expect("a response").status, 200);
        answered.lock().expect("no panic").push(target);
    }
}

#[test]
fn under_load_each_request_has_one_whole_line_wherever_the_log_goes() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let rest = listener("web", "one") + &pool("one", [&backend]);
    let of = |name: &str, format: &str| format!("workers = 2\n{}{rest}", log(&place, name, format));
    let live = Live::start(&of("a.log", "text"));
    let (over, asked, answered) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::default());
    let turns = [
        ("a.log", "json"),
        ("b.log", "json"),
        ("a.log", "text"),
        ("b.log", "text"),
        ("b.log", "json"),
        ("a.log", "json"),
    ];
    let more = |count: usize| {
        let from = asked.load(SeqCst);
        eventually(SOON, "more requests", || asked.load(SeqCst) > from + count);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load(live.balancer.address, &over, &asked, &answered));
        }
        more(200);
        for (name, format) in turns {
            let said = live.reload(&of(name, format));
            let line = format!("reload: access_log is now {} in {format}", place.path(name));
            assert!(said.iter().any(|said| said.contains(&line)), "{said:?}");
            more(200);
        }
        over.store(true, SeqCst);
    });
    let answered = answered.into_inner().expect("no panic");
    let all = || [place.lines("a.log"), place.lines("b.log")];
    eventually(SOON, "a line each", || all().iter().map(Vec::len).sum::<usize>() >= answered.len());
    let (mut seen, mut formats) = (BTreeSet::new(), BTreeMap::<usize, Vec<&str>>::new());
    for (file, lines) in all().iter().enumerate() {
        for line in lines {
            let (format, target) = target(line);
            assert!(seen.insert(target), "twice: {line}");
            let formats = formats.entry(file).or_default();
            if formats.last() != Some(&format) {
                formats.push(format);
            }
        }
    }
    assert_eq!(seen, answered.into_iter().collect());
    assert_eq!(formats[&0], ["text", "json", "text", "json"], "no line of one turn among those of another");
    assert_eq!(formats[&1], ["json", "text", "json"]);
    let threads = fs::read_dir(format!("/proc/{}/task", live.balancer.id())).expect("its threads");
    let names =
        threads.map(|task| fs::read_to_string(task.expect("a task").path().join("comm")).unwrap_or_default());
    let writers = names.filter(|name| name.starts_with("access-")).count();
    assert_eq!(writers, 2, "one that writes, one that says what was lost");
}

#[test]
fn the_log_is_turned_on_and_off() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let off = listener("web", "one") + &pool("one", [&backend]);
    let on = log(&place, "a.log", "json") + &off;
    let live = Live::start(&off);
    let mut client = Client::connect(live.balancer.address);
    for turn in 0..3 {
        assert_eq!(client.get(&format!("/off/{turn}")).expect("a response").status, 200);
        let said = live.reload(&on);
        assert!(said.iter().any(|line| line.contains("reload: access_log added: ")), "{said:?}");
        assert_eq!(client.get(&format!("/on/{turn}")).expect("a response").status, 200);
        let said = live.reload(&off);
        assert!(said.iter().any(|line| line.contains("reload: access_log removed")), "{said:?}");
    }
    assert_eq!(client.get("/off/3").expect("a response").status, 200);
    let lines = place.await_json("a.log", 3);
    let seen: Vec<&str> = lines.iter().map(|line| line["target"].as_str().expect("a target")).collect();
    assert_eq!(seen, ["/on/0", "/on/1", "/on/2"]);
}

#[test]
fn what_is_in_flight_has_its_line_in_the_log_of_its_end() {
    let place = Place::new();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |_, reply| {
        let _ = held.lock().expect("one at a time").recv_timeout(SOON);
        reply.ok("a")
    });
    let off = listener("web", "one") + &pool("one", [&backend]);
    let live = Live::start(&(log(&place, "a.log", "text") + &off));
    let ask = |target: &str| {
        let (client, before) = (Client::connect(live.balancer.address), backend.requests());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).expect("send");
        eventually(SOON, "the backend has it", || backend.requests() > before);
        client
    };
    let mut first = ask("/noted");
    live.reload(&off);
    let mut second = ask("/unnoted");
    live.reload(&(log(&place, "b.log", "json") + &off));
    for client in [&mut first, &mut second] {
        release.send(()).expect("the backend waits");
        assert_eq!(client.response("GET").expect("a response").status, 200);
    }
    // Lines of two workers may stand in either order.
    place.await_json("b.log", 1);
    let mut third = ask("/new");
    release.send(()).expect("the backend waits");
    assert_eq!(third.response("GET").expect("a response").status, 200);
    let lines = place.await_json("b.log", 2);
    let seen: Vec<&str> = lines.iter().map(|line| line["target"].as_str().expect("a target")).collect();
    assert_eq!(seen, ["/noted", "/new"]);
    assert_eq!(lines[0]["backend"], backend.url());
    assert_eq!(place.lines("a.log"), [""; 0]);
}

#[test]
fn a_reload_that_fails_leaves_the_log_where_it_is() {
    let (place, a, b) = (Place::new(), Backend::named("a"), Backend::named("b"));
    let with = |log: &str, backend| format!("{log}{}{}", listener("web", "one"), pool("one", [backend]));
    let live = Live::start(&with(&log(&place, "a.log", "json"), &a));
    let mut client = Client::connect(live.balancer.address);
    let nowhere = log(&place, "nowhere/b.log", "text");
    let why = format!("cannot open the access log {}: No such file", place.path("nowhere/b.log"));
    live.refuse(&with(&nowhere, &b), &[&why]);
    assert_eq!(client.get("/1").expect("a response").text(), "a");
    live.refuse(&with(&log(&place, "", "text"), &b), &["cannot open the access log", "directory"]);
    assert_eq!(client.get("/2").expect("a response").text(), "a");

    let holder = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = holder.local_addr().expect("an address");
    let other = format!("[[listener]]\nname = \"x\"\naddress = \"{taken}\"\npool = \"one\"\n");
    let text = with(&log(&place, "b.log", "text"), &b).replacen("[[pool]]", &format!("{other}[[pool]]"), 1);
    live.refuse(&text, &["cannot listen on"]);
    drop(holder);
    assert_eq!(client.get("/3").expect("a response").text(), "a");
    let lines = place.await_json("a.log", 3);
    assert_eq!(lines[2]["target"], "/3");
    assert_eq!(place.lines("b.log"), [""; 0]);
}

#[test]
fn the_signal_opens_the_file_in_force() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let rest = listener("web", "one") + &pool("one", [&backend]);
    let live = Live::start(&(log(&place, "a.log", "json") + &rest));
    get(live.balancer.address, "/1").expect("a response");
    place.await_json("a.log", 1);
    live.reload(&(log(&place, "b.log", "json") + &rest));
    get(live.balancer.address, "/2").expect("a response");
    place.await_json("b.log", 1);
    fs::remove_file(place.path("a.log")).expect("removed");
    fs::rename(place.path("b.log"), place.path("old.log")).expect("renamed");
    live.balancer.signal(Signal::USR1);
    eventually(SOON, "the file is there again", || fs::exists(place.path("b.log")).expect("to look"));
    get(live.balancer.address, "/3").expect("a response");
    assert_eq!(place.await_json("b.log", 1)[0]["target"], "/3");
    assert!(!fs::exists(place.path("a.log")).expect("to look"), "the one before is not opened again");
}

#[test]
fn a_pipe_that_is_stuck_holds_up_no_reload_and_no_request() {
    let (place, backend) = (Place::new(), Backend::named("a"));
    let rest = listener("web", "one") + &pool("one", [&backend]);
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().expect("mkfifo").success());
    let mut live = Live::start(&(log(&place, "pipe", "text") + &rest));
    let mut client = Client::connect(live.balancer.address);
    let fields = format!("User-Agent: {}\r\n", "u".repeat(6_000));
    let lost = |live: &Live| live.balancer.status()["counts"]["access_log_lost"].as_u64().expect("a count");
    eventually(SOON, "lines are lost", || {
        (0..100).for_each(|_| drop(client.get_with("/", &fields).expect("a response")));
        lost(&live) > 0
    });
    live.reload(&(log(&place, "a.log", "json") + &rest));
    assert_eq!(client.get("/free").expect("a response").status, 200);
    eventually(SOON, "a line", || place.lines("a.log").iter().any(|line| line.contains("/free")));
    // Back to the pipe, which nobody reads yet: what comes now stands behind what is stuck there.
    live.reload(&(log(&place, "pipe", "json") + &rest));
    (0..9).for_each(|_| drop(client.get_with("/many", &fields).expect("a response")));
    assert_eq!(client.get("/behind").expect("a response").status, 200);
    let reader = fs::File::open(place.path("pipe")).expect("the pipe");
    let (mut seen, mut ending) = (Vec::new(), false);
    for line in BufReader::new(reader).lines() {
        let (format, target) = target(&line.expect("a line"));
        seen.push(format);
        if target == "/behind" {
            live.balancer.terminate();
            ending = true;
        }
    }
    assert!(ending && live.balancer.exit_within(SOON).success());
    let behind = seen.iter().position(|format| *format == "json").expect("the line behind");
    assert!(
        behind > 500 && seen[behind..].iter().all(|format| *format == "json"),
        "{behind} of {}",
        seen.len()
    );
}

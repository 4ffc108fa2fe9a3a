//! What can be commanded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::metrics::scrape;
use super::{Admin, gated};
use crate::support::{Backend, Client, SOON, eventually, get, list};

/// Lets the clients of a test end with it, however it ends.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn path(backend: &Backend, action: &str) -> String {
    format!("/api/backends/default/{}/{action}", backend.address())
}

#[test]
fn a_drained_backend_is_emptied_under_load_and_no_request_fails() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--backends", &list(&backends)]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(admin.balancer.address);
                    let mut answers = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(client.get("/").expect("a response").status, 200);
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        eventually(SOON, "both are busy", || backends.iter().all(|b| b.requests() > 50));
        let (status, told) = admin.post(&path(&backends[0], "drain"), "");
        assert_eq!((status, &told["state"]), (200, &json!("draining")), "{told}");
        eventually(SOON, "it is empty", || admin.backends()[0]["in_flight"] == 0);
        let before = (backends[0].requests(), backends[1].requests());
        eventually(SOON, "the other serves on", || backends[1].requests() > before.1 + 100);
        assert_eq!(backends[0].requests(), before.0, "it was given more");
        let (status, told) = admin.post(&path(&backends[0], "enable"), "{}");
        assert_eq!((status, &told["state"]), (200, &json!("up")));
        eventually(SOON, "it serves again", || backends[0].requests() > before.0 + 50);
        stop.store(true, Ordering::Relaxed);
        assert!(clients.into_iter().all(|client| client.join().expect("no request fails") > 0));
    });
}

#[test]
fn a_backend_is_named_by_its_place_too_and_can_be_disabled() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--backends", &list(&backends)]);
    let (status, told) = admin.post("/api/backends/default/1/disable", "");
    assert_eq!((status, &told["state"], &told["index"]), (200, &json!("disabled"), &json!(1)));
    assert_eq!(told["eligible"], false);
    for _ in 0..4 {
        assert_eq!(get(admin.balancer.address, "/").expect("a response").text(), "a");
    }
}

#[test]
fn weights_change_the_shares() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--workers", "1", "--backends", &list(&backends)]);
    let (status, told) = admin.post(&path(&backends[0], "weight"), "{\"weight\": 3}");
    assert_eq!((status, &told["weight"]), (200, &json!(3)));
    let mut client = Client::connect(admin.balancer.address);
    let a = (0..40).filter(|_| client.get("/").expect("a response").text() == "a").count();
    assert!((29..=31).contains(&a), "{a} of 40 instead of 30");
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let weight = path(&backend, "weight");
    for (target, body, status, reason) in [
        (weight.as_str(), "", 400, "N from 1 to 256"),
        (&weight, "{\"weight\": 0}", 400, "N from 1 to 256"),
        (&weight, "{\"weight\": 257}", 400, "N from 1 to 256"),
        (&weight, "{\"weight\": \"3\"}", 400, "invalid type"),
        (&weight, "{\"weight\": 3, \"more\": 1}", 400, "unknown field `more`"),
        (&weight, "{\"weight\"", 400, "EOF"),
        (&weight, "[3]", 400, "a list; the body must be {"),
        (&weight, "{\"weight\": 3, \"weight\": 4}", 400, "duplicate"),
        ("/api/backends/default/00/drain", "", 404, "without leading zeros"),
        ("/api/backends/default/+0/drain", "", 404, "there is 127.0.0.1:"),
        (&path(&backend, "drain"), "{\"weight\": 3}", 400, "no body"),
        ("/api/backends/none/0/drain", "", 404, "there is default"),
        ("/api/backends/default/7/drain", "", 404, "there is 127.0.0.1:"),
        ("/api/backends/default/0/explode", "", 404, "nothing is here"),
        ("/api/reload", "{\"now\": true}", 400, "no body"),
    ] {
        let (given, told) = admin.post(target, body);
        let error = told["error"].as_str().expect("an error");
        assert_eq!(given, status, "{target} {body}: {error}");
        assert!(error.contains(reason), "{target} {body}: {error}");
    }
    assert_eq!(admin.backends()[0]["state"], "up");
}

/// Reloads that succeeded, those that failed, whether the last one did well, and when one last did; the status agrees.
fn reloads(admin: &Admin) -> (f64, f64, f64, f64) {
    let found = scrape(admin);
    let told = admin.json("/api/status")["process"]["reloads"].clone();
    let count = |result: &str| found[&format!("evenkeel_reloads_total{{result=\"{result}\"}}")];
    let last = found["evenkeel_last_reload_successful"];
    let seen = (count("ok"), count("failed"), last, found["evenkeel_last_reload_timestamp_seconds"]);
    assert_eq!((told["ok"].as_f64(), told["failed"].as_f64()), (Some(seen.0), Some(seen.1)));
    assert_eq!((told["last_successful"].as_bool(), told["last"].as_f64()), (Some(last == 1.0), Some(seen.3)));
    seen
}

#[test]
fn a_reload_by_command_takes_the_file_or_says_what_is_wrong_with_it() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let begun = reloads(&admin);
    assert_eq!((begun.0, begun.1, begun.2), (0.0, 0.0, 1.0));
    let good = std::fs::read_to_string(admin.file()).expect("its file");
    std::fs::write(admin.file(), format!("nonsense = 1\n{good}")).expect("write");
    let (status, told) = admin.post("/api/reload", "");
    assert_eq!(status, 409, "{told}");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("nonsense")), "{told}");
    let failed = reloads(&admin);
    assert_eq!(failed, (0.0, 1.0, 0.0, begun.3), "the time is that of the configuration in force");
    std::fs::write(admin.file(), good).expect("write");
    let (status, told) = admin.post("/api/reload", "");
    assert_eq!(status, 200, "{told}");
    assert!(told["done"].as_str().is_some_and(|done| !done.is_empty()), "{told}");
    let done = reloads(&admin);
    assert_eq!((done.0, done.1, done.2, done.3 > begun.3), (1.0, 1.0, 1.0, true), "{begun:?} {done:?}");
    assert_eq!(get(admin.balancer.address, "/").expect("a response").text(), "a");
}

/// As where a hook before the stop drains, and the stop is the signal as ever.
#[test]
fn the_first_signal_after_a_drain_by_command_cuts_nothing_and_the_second_does() {
    let (backend, gate) = gated();
    let mut admin = Admin::start(&["--backends", &backend.url()]);
    let ask = || {
        let mut client = Client::connect(admin.balancer.address);
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
        let (_, _, framing) = client.head().expect("the head of the answer");
        (client, framing)
    };
    let (mut first, framing) = ask();
    let (mut second, rest) = ask();
    assert_eq!(admin.post("/api/drain", "").0, 200);
    let (status, told) = admin.post("/api/reload", "");
    assert_eq!((status, &told["error"]), (409, &"this process is draining".into()));
    admin.balancer.terminate();
    let said = |text: &str| admin.balancer.lines().iter().any(|line| line.contains(text));
    eventually(SOON, "the signal is taken", || said("draining already") || said("cut"));
    gate.send(()).expect("the backend waits");
    let mut body = Default::default();
    first.body(framing, &mut body).expect("the rest of the answer");
    assert_eq!(body.bytes, b"ab");
    admin.balancer.terminate();
    assert!(second.body(rest, &mut Default::default()).is_err(), "it was cut");
    assert!(admin.balancer.exit_within(SOON).success());
}

#[test]
fn a_drain_by_command_ends_the_process_and_a_second_one_does_not_cut_it_short() {
    let (backend, gate) = gated();
    let mut admin = Admin::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(admin.balancer.address);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    let (_, _, framing) = client.head().expect("the head of the answer");
    assert_eq!(admin.post("/api/drain", "").0, 200);
    assert_eq!(admin.post("/api/drain", "").0, 409);
    gate.send(()).expect("the backend waits");
    let mut body = Default::default();
    client.body(framing, &mut body).expect("the rest of the answer");
    assert_eq!(body.bytes, b"ab");
    assert!(admin.balancer.exit_within(SOON).success());
}

#[test]
fn a_reload_brings_another_token_and_says_that_the_address_needs_a_restart() {
    let backend = Backend::named("a");
    let admin = Admin::start_with_token(&["--backends", &backend.url()], "sesame");
    let status = |token: &str| {
        let field =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        admin.ask("GET", "/api/status", &field, "").status
    };
    let file = std::fs::read_to_string(admin.file()).expect("its file");
    let reload = |text: &str, token: &str| {
        std::fs::write(admin.file(), text).expect("write");
        let field = format!("Authorization: Bearer {token}\r\nX-Evenkeel: 1\r\n");
        let answer = admin.ask("POST", "/api/reload", &field, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let says =
        |part: &str| eventually(SOON, part, || admin.balancer.lines().iter().any(|line| line.contains(part)));
    assert_eq!((status("sesame"), status("poppy")), (200, 401));
    assert!(reload(&file.replace("sesame", "poppy"), "sesame").contains("1 change"));
    assert_eq!((status("sesame"), status("poppy")), (401, 200));
    says("reload: admin.token changed");
    assert!(!admin.balancer.lines().iter().any(|line| line.contains("poppy")), "it is nobody's to read");
    // A file that is refused brings no token either.
    std::fs::write(admin.file(), file.replace("sesame", "third") + "nonsense = 1\n").expect("write");
    assert_eq!(admin.ask("POST", "/api/reload", "Authorization: Bearer poppy\r\n", "").status, 409);
    assert_eq!((status("third"), status("poppy")), (401, 200));
    reload(&file.replace("127.0.0.1:0", "127.0.0.2:0").replace("sesame", "fourth"), "poppy");
    assert_eq!((status("poppy"), status("fourth")), (401, 200));
    says("admin.address changes with a restart only");
    reload(&file.replace("token = \"sesame\"\n", ""), "fourth");
    assert_eq!((status(""), status("fourth")), (200, 200), "none is asked for");
    reload(&file, "none");
    assert_eq!((status(""), status("sesame")), (401, 200));
}

//! The times that lines tell are those of the wall clock, which may be set anew.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::Place;
use crate::admin::address_of;
use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually};

/// Lies about the wall clock to whoever is started with it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

#[test]
fn a_clock_that_is_set_anew_is_followed_by_both_logs_and_by_the_status() {
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        eprintln!("skipped: libfaketime (Debian package) is not installed");
        return;
    };
    let (place, backend) = (Place::new(), Backend::named("a"));
    let set = |ahead: &str| fs::write(place.path("clock"), ahead).expect("the clock");
    set("+0");
    let mut command = evenkeel();
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", place.path("clock"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "1")
        .args(["--listen", "127.0.0.1:0", "--workers", "1", "--backends", &backend.url()])
        .args([
            "--access-log",
            &place.path("a.log"),
            "--access-log-format",
            "json",
            "--admin",
            "127.0.0.1:0",
        ]);
    let balancer = Evenkeel::run(command);
    let admin = address_of(&balancer);
    let told = |what: &str| -> Value {
        let request = format!("GET {what} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        let answer = Client::connect(admin).exchange("GET", request).expect("an answer");
        serde_json::from_str(&answer.text()).expect("JSON")
    };
    eventually(SOON, "some points", || told("/api/history").as_array().is_some_and(|all| all.len() > 1));
    let mut client = Client::connect(balancer.address);
    let mut asked = 0;
    let mut day = || {
        assert_eq!(client.get("/").expect("a response").status, 200);
        asked += 1;
        let line = place.await_json("a.log", asked)[asked - 1].clone();
        line["time"].as_str().expect("a time")[..10].to_owned()
    };
    let today = day();
    set("+3d");
    eventually(SOON, "three days on", || day() > today);
    set("-3d");
    eventually(SOON, "three days back", || day() < today);
    let status = told("/api/status");
    let started = status["process"]["started"].as_f64().expect("a time");
    let points = told("/api/history");
    let points = points.as_array().expect("points").iter().map(|point| &point["time"]);
    for time in points.chain([&status["process"]["reloads"]["last"], &status["last"]["time"]]) {
        let since = time.as_f64().expect("a time") - started;
        assert!((-1.0..60.0).contains(&since), "{since} s after the start: {status:#}");
    }
    let day_of_now = Duration::from_secs_f64(started) + Duration::from_secs(2 * 86_400);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    assert!(day_of_now < now, "told of a clock that is not set back any more: {started}");
    balancer.signal(rustix::process::Signal::HUP);
    eventually(SOON, "a line on standard error", || {
        balancer.lines().iter().any(|line| line.contains("not reloaded") && line[..10] < today[..])
    });
}

//! What is told, and whether it is so.

use std::time::Instant;

use serde_json::json;

use super::{Admin, gated};
use crate::support::process::{evenkeel, output_of};
use crate::support::{Backend, Client, SOON, TestServer, eventually, get, list};

#[test]
fn the_status_tells_of_process_listeners_workers_pools_and_backends() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--workers", "2", "--backends", &list(&backends)]);
    let mut client = Client::connect(admin.balancer.address);
    for _ in 0..10 {
        client.get("/").expect("a response");
    }
    let status = admin.json("/api/status");
    let process = &status["process"];
    assert_eq!(process["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(process["pid"], admin.balancer.id());
    assert_eq!((&process["ready"], &process["draining"]), (&json!(true), &json!(false)));
    assert!(process["uptime_seconds"].as_f64().is_some_and(|s| s > 0.0 && s < 60.0), "{process}");
    assert_eq!(status["listeners"][0]["address"], admin.balancer.address.to_string());
    let workers = status["workers"].as_array().expect("workers");
    assert_eq!(workers.len(), 2);
    let sum = |name: &str| workers.iter().map(|w| w[name].as_u64().expect("a count")).sum::<u64>();
    assert_eq!((sum("requests"), sum("connections"), sum("in_flight"), sum("failures")), (10, 1, 0, 0));
    assert_eq!(status["counts"]["requests"], 10);
    let pool = &status["pools"][0];
    assert_eq!((&pool["name"], &pool["algorithm"]), (&json!("default"), &json!("round-robin")));
    assert_eq!((&pool["eligible"], &pool["queue"]["length"]), (&json!(2), &json!(0)));
    assert!(pool["budget"]["retries_left"].as_i64().is_some_and(|left| left > 0), "{pool}");
    for (i, backend) in backends.iter().enumerate() {
        let told = &pool["backends"][i];
        assert_eq!(told["url"], backend.url());
        assert_eq!(told["id"], backend.address().to_string());
        assert_eq!((&told["state"], &told["why"], &told["weight"]), (&json!("up"), &json!(""), &json!(1)));
        assert_eq!((&told["requests"], &told["failures"], &told["index"]), (&json!(5), &json!(0), &json!(i)));
        assert_eq!(told["share_percent"], 50.0);
    }
}

#[test]
fn quantiles_are_those_that_the_clients_saw() {
    let slow = TestServer::start_with(&["--delay", "60ms"]);
    let admin = Admin::start(&["--backends", &slow.url()]);
    let mut client = Client::connect(admin.balancer.address);
    let mut took: Vec<f64> = (0..30)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(client.get("/").expect("a response").status, 200);
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let latency = &admin.json("/api/status")["latency"];
    let median = latency["p50_ms"].as_f64().expect("a median");
    // A bucket's width, and what the way between client and balancer takes.
    assert!(median >= 60.0 * 0.88 && median <= took[15] * 1.13, "{median} for {took:?}");
}

/// Sends this many requests, and what they say of the first backend then.
fn after(admin: &Admin, target: &str, count: usize) -> serde_json::Value {
    let mut client = Client::connect(admin.balancer.address);
    for _ in 0..count {
        assert_eq!(client.get(target).expect("a response").status, 200);
    }
    admin.json("/api/status")
}

/// Puts its file in force once more, with this behind it.
#[track_caller]
fn reload(admin: &Admin, more: &str) {
    let text = std::fs::read_to_string(admin.file()).expect("its file");
    std::fs::write(admin.file(), text + more).expect("write");
    let (status, told) = admin.post("/api/reload", "");
    assert_eq!(status, 200, "{told}");
}

#[test]
fn the_last_seconds_survive_a_reload_and_what_is_new_counts_from_its_beginning() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let pool = |name: &str, backend: &Backend| {
        format!("[[pool]]\nname = \"{name}\"\n[[pool.backend]]\nurl = \"{}\"\n", backend.url())
    };
    let admin = Admin::start_with_file(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\npool = \"p\"\n{}",
        pool("p", &backends[0])
    ));
    let before = after(&admin, "/", 40);
    let rate = |status: &serde_json::Value| status["requests_per_second"].as_f64().expect("a rate");
    assert!(rate(&before) > 1.0, "{before}");
    reload(&admin, "");
    reload(&admin, &pool("other", &backends[1]));
    let status = admin.json("/api/status");
    let window = |status: &serde_json::Value| status["window_seconds"].as_f64().expect("a time");
    assert!(window(&status) >= window(&before), "{} {}", window(&before), window(&status));
    assert_eq!(
        (&status["latency"]["count"], &status["pools"][0]["latency"]["count"]),
        (&json!(40), &json!(40))
    );
    let seen = rate(&status) * window(&status);
    // The window is told in milliseconds, of which there may be few.
    assert!((seen - 40.0).abs() < 5.0, "{seen} requests instead of 40");
    assert_eq!(status["pools"][0]["backends"][0]["share_percent"], 100.0);
    assert_eq!(status["pools"][1]["backends"][0]["requests_per_second"], 0.0);
    // A place that another backend had: nothing of that one is its.
    let text = std::fs::read_to_string(admin.file()).expect("its file");
    std::fs::write(admin.file(), text.replacen(&backends[0].url(), &backends[1].url(), 1)).expect("write");
    assert_eq!(admin.post("/api/reload", "").0, 200);
    let told = &after(&admin, "/", 5)["pools"][0];
    let seen = told["backends"][0]["requests_per_second"].as_f64().expect("a rate") * window(&status);
    assert!(seen > 0.0 && seen < 7.0 && told["backends"][0]["requests"] == 5, "{told}");
}

#[test]
fn the_time_to_the_first_byte_is_that_of_the_last_seconds() {
    let slow = TestServer::start_with(&["--delay", "60ms"]);
    let admin = Admin::start(&["--backends", &slow.url()]);
    let mean = |status: serde_json::Value| status["pools"][0]["backends"][0]["first_byte_mean_ms"].clone();
    assert_eq!(mean(admin.json("/api/status")), json!(null));
    let told = mean(after(&admin, "/", 5)).as_f64().expect("a mean");
    assert!((60.0..1_000.0).contains(&told), "{told}");
    eventually(SOON, "they are too long ago", || mean(admin.json("/api/status")).is_null());
}

#[test]
fn an_admin_listener_that_cannot_be_opened_is_named_by_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = evenkeel();
    command.args(["--listen", "127.0.0.1:0", "--admin", &address]);
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("--admin {address}: the port is in use")), "{said}");
}

#[test]
fn a_dead_backend_is_down_and_says_why_and_since_when() {
    let mut backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--health-check-interval", "50ms", "--backends", &list(&backends)]);
    let started = admin.json("/api/status")["process"]["started"].as_f64().expect("a time");
    backends[1].kill();
    eventually(SOON, "it is told down", || admin.backends()[1]["state"] == "down");
    eventually(SOON, "its reason", || {
        admin.backends()[1]["why"].as_str().is_some_and(|why| why.contains("connection refused"))
    });
    let told = &admin.backends()[1];
    assert!(told["since"].as_f64().is_some_and(|since| since > started), "{told} after {started}");
    assert_eq!(told["eligible"], false);
    backends[1].restart();
    eventually(SOON, "it is told up", || admin.backends()[1]["state"] == "up");
    assert_eq!(admin.backends()[1]["why"], "");
}

#[test]
fn the_health_of_one_that_is_drained_or_disabled_is_told_beside_its_state() {
    let mut backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--health-check-interval", "50ms", "--backends", &list(&backends)]);
    let address = backends[1].address();
    let metric = format!("evenkeel_backend_healthy{{pool=\"default\",backend=\"{address}\"}}");
    let told = |state: &str, healthy: bool, why: &str| {
        let now = &admin.backends()[1];
        now["state"] == state
            && now["healthy"] == healthy
            && now["eligible"] == (healthy && state == "up")
            && now["why"].as_str().is_some_and(|said| said.contains(why))
            && super::metrics::scrape(&admin)[&metric] == f64::from(u8::from(healthy))
    };
    assert!(told("up", true, ""), "{:?}", admin.backends());
    for (action, state) in [("drain", "draining"), ("disable", "disabled")] {
        assert_eq!(admin.post(&format!("/api/backends/default/1/{action}"), "").0, 200);
        assert!(told(state, true, "by command: no new"), "{:?}", admin.backends());
        backends[1].kill();
        eventually(SOON, "it is not healthy", || told(state, false, "; down: "));
        backends[1].restart();
        eventually(SOON, "it is healthy again", || told(state, true, "; healthy"));
        assert_eq!(admin.post("/api/backends/default/1/enable", "").0, 200);
        assert!(told("up", true, ""), "{:?}", admin.backends());
    }
}

#[test]
fn a_backend_that_traffic_took_out_says_so() {
    let bad = Backend::start(|_, reply| {
        reply.close();
        Ok(())
    });
    let good = Backend::named("b");
    let admin = Admin::start(&["--eject-time", "1h", "--retries", "3", "--backends", &list([&bad, &good])]);
    for _ in 0..12 {
        get(admin.balancer.address, "/").expect("a response");
    }
    let told = &admin.backends()[0];
    assert_eq!(told["state"], "out", "{told}");
    assert!(
        told["why"].as_str().is_some_and(|why| why.starts_with("3 failures in a row; tried again")),
        "{told}"
    );
    assert_eq!(admin.json("/api/status")["pools"][0]["ejected"], 1);
}

#[test]
fn errors_are_told_by_cause() {
    let nobody = crate::support::Port::reserve();
    let admin = Admin::start(&["--backends", &nobody.url()]);
    assert_eq!(get(admin.balancer.address, "/").expect("a response").status, 503);
    let errors = &admin.json("/api/status")["errors"];
    let sum: u64 = errors.as_object().expect("errors").values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(sum, 1, "{errors}");
    assert!(errors["connect-failed"] == 1 || errors["no-backend"] == 1, "{errors}");
}

#[test]
fn it_is_alive_and_ready_while_every_pool_can_serve() {
    let mut backend = Backend::named("a");
    let admin = Admin::start(&["--health-check-interval", "50ms", "--backends", &backend.url()]);
    assert_eq!((admin.get("/livez").status, admin.get("/readyz").status), (200, 200));
    backend.kill();
    eventually(SOON, "it is not ready", || admin.get("/readyz").status == 503);
    let told: serde_json::Value = serde_json::from_str(&admin.get("/readyz").text()).expect("JSON");
    assert_eq!(told, json!({ "ready": false, "reasons": ["pool default: no backend is eligible"] }));
    assert_eq!(admin.get("/livez").status, 200);
    backend.restart();
    eventually(SOON, "it is ready again", || admin.get("/readyz").status == 200);
}

#[test]
fn it_is_ready_without_a_healthy_backend_where_they_are_tried_all_the_same() {
    let backend = Backend::start(|request, reply| match request.target.as_str() {
        "/health" => reply.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        _ => reply.ok("a"),
    });
    let checks = ["--health-path", "/health", "--health-check-interval", "50ms", "--fail-open"];
    let admin = Admin::start(&[&checks[..], &["--backends", &backend.url()]].concat());
    eventually(SOON, "it is down", || admin.backends()[0]["state"] == "down");
    assert_eq!(get(admin.balancer.address, "/").expect("a response").text(), "a");
    assert_eq!(admin.get("/readyz").status, 200);
    let told = admin.json("/api/status");
    assert_eq!((&told["process"]["ready"], &told["pools"][0]["eligible"]), (&true.into(), &1.into()));
    assert_eq!(admin.backends()[0]["eligible"], true);
    let metrics = admin.get("/metrics").text();
    for name in ["evenkeel_ready", "evenkeel_pool_eligible", "evenkeel_backend_eligible"] {
        let line = metrics.lines().find(|line| line.starts_with(&name.to_string())).expect("a sample");
        assert!(line.ends_with(" 1"), "{line}");
    }
}

#[test]
fn it_is_not_ready_as_soon_as_a_drain_begins() {
    let (backend, gate) = gated();
    let mut admin = Admin::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(admin.balancer.address);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    client.head().expect("the head of the answer");
    admin.balancer.terminate();
    eventually(SOON, "it is not ready", || admin.get("/readyz").status == 503);
    assert!(admin.get("/readyz").text().contains("draining"));
    assert_eq!(admin.get("/livez").status, 200);
    gate.send(()).expect("the backend waits");
    assert!(admin.balancer.exit_within(SOON).success());
}

#[test]
fn the_past_minutes_are_kept_for_those_who_look_later() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let mut client = Client::connect(admin.balancer.address);
    eventually(SOON, "a point with requests", || {
        client.get("/").expect("a response");
        let points = admin.json("/api/history");
        let points = points.as_array().expect("points");
        points.iter().any(|point| point["requests"].as_f64().is_some_and(|rate| rate > 0.0))
    });
}

#[test]
fn the_processor_time_of_each_worker_is_its_thread_s() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--workers", "2", "--backends", &backend.url()]);
    let seconds = |worker: usize| {
        super::metrics::scrape(&admin)[&format!("evenkeel_worker_cpu_seconds_total{{worker=\"{worker}\"}}")]
    };
    let before = [seconds(0), seconds(1)];
    let mut client = Client::connect(admin.balancer.address);
    client.get("/").expect("a response");
    let workers = admin.json("/api/status")["workers"].clone();
    let busy = usize::from(workers[1]["requests"] == 1);
    assert_eq!(workers[busy]["requests"], 1, "{workers}");
    // It stays with its worker, the only one that has anything to do.
    eventually(SOON, "its time", || {
        (0..200).for_each(|_| drop(client.get("/").expect("a response")));
        seconds(busy) > before[busy] + 0.1
    });
    let idle = 1 - busy;
    assert!(seconds(idle) - before[idle] < (seconds(busy) - before[busy]) / 4.0);
    let told = &admin.json("/api/status")["workers"];
    let percent = |worker: usize| told[worker]["cpu_percent"].as_f64().expect("a share");
    assert!(percent(busy) > percent(idle) && percent(busy) <= 100.0, "{told}");
}

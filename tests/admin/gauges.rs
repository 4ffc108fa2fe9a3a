//! What is open, held and in flight at a moment, of listeners, routes and workers; and what ended badly there.

use std::fs::OpenOptions;
use std::net::Shutdown;
use std::process::Command;
use std::time::{Duration, Instant};

use super::metrics::{Samples, scrape};
use super::{Admin, gated};
use crate::layer4::Server;
use crate::layer4::names::hello;
use crate::support::{Backend, Client, Port, SOON, eventually, get};

/// Waits until a sample has a value.
#[track_caller]
fn wait(admin: &Admin, name: &str, value: f64) {
    let what = format!("{name} {value}");
    eventually(SOON, &what, || scrape(admin).get(name) == Some(&value));
}

/// All samples of that name, whatever their labels, added up.
pub(crate) fn sum(samples: &Samples, name: &str) -> f64 {
    let of_name = samples.iter().filter(|(key, _)| key.split('{').next() == Some(name));
    of_name.map(|(_, value)| value).sum()
}

/// The end of a file: a listener of that name, whose route to `/slow` leads to one pool and all else to another.
pub(crate) fn routed(listener: &str, slow: &Backend, fast: &str) -> String {
    format!(
        "[[listener]]\nname = \"{listener}\"\naddress = \"127.0.0.1:0\"\npool = \"fast\"\n\
         [[listener.route]]\nname = \"slow\"\npath_prefix = \"/slow\"\npool = \"slow\"\n\
         [[pool]]\nname = \"slow\"\nejection = {{ max_fails = 0, fail_rate = 0 }}\nretry = {{ retries = 2 }}\n\
         [[pool.backend]]\nurl = \"{}\"\n\
         [[pool]]\nname = \"fast\"\n[[pool.backend]]\nurl = \"{fast}\"\n",
        slow.url()
    )
}

#[test]
fn what_is_open_and_in_flight_is_told_and_a_renamed_listener_keeps_it() {
    let (slow, gate) = gated();
    let fast = Backend::named("fast");
    let admin = Admin::start_with_file(&routed("web", &slow, &fast.url()));
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(admin.balancer.address)).collect();
    for client in &mut clients {
        client.get("/").expect("a response");
    }
    wait(&admin, "evenkeel_listener_open_connections{listener=\"web\"}", 5.0);
    clients[0].send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    let (_, _, framing) = clients[0].head().expect("the head of the answer");
    for of in ["listener_in_flight{listener=\"web\"}", "pool_in_flight{pool=\"slow\"}"] {
        wait(&admin, &format!("evenkeel_{of}"), 1.0);
    }
    let found = scrape(&admin);
    let route = found.keys().find(|name| name.starts_with("evenkeel_route_in_flight{")).expect("a route");
    let route = route.trim_start_matches("evenkeel_route_in_flight").to_owned();
    assert_eq!(found[&format!("evenkeel_route_in_flight{route}")], 1.0);
    assert_eq!(found[&format!("evenkeel_route_total_seconds_count{route}")], 0.0);
    let text = std::fs::read_to_string(admin.file()).expect("its file");
    std::fs::write(admin.file(), text.replace("\"web\"", "\"www\"")).expect("write");
    assert_eq!(admin.post("/api/reload", "").0, 200);
    wait(&admin, "evenkeel_listener_open_connections{listener=\"www\"}", 5.0);
    let route = route.replace("\"web\"", "\"www\"");
    gate.send(()).expect("the backend waits");
    clients[0].body(framing, &mut Default::default()).expect("the rest of the answer");
    wait(&admin, "evenkeel_listener_in_flight{listener=\"www\"}", 0.0);
    let found = scrape(&admin);
    assert_eq!(found[&format!("evenkeel_route_in_flight{route}")], 0.0);
    assert_eq!(found[&format!("evenkeel_route_total_seconds_count{route}")], 1.0);
    assert_eq!(found["evenkeel_pool_in_flight{pool=\"slow\"}"], 0.0);
    drop(clients);
    wait(&admin, "evenkeel_listener_open_connections{listener=\"www\"}", 0.0);
    let told = &admin.json("/api/status")["listeners"][0];
    assert_eq!(
        (&told["accepted"], &told["connections"], &told["in_flight"]),
        (&5.into(), &0.into(), &0.into())
    );
}

#[test]
fn failures_and_retries_are_told_of_the_listener_and_the_route() {
    let bad = Backend::start(|_, reply| {
        reply.close();
        Ok(())
    });
    let nobody = Port::reserve();
    let admin = Admin::start_with_file(&routed("web", &bad, &nobody.url()));
    assert_eq!(get(admin.balancer.address, "/slow").expect("a response").status, 502);
    let refused = Client::connect(admin.balancer.address).exchange("GET", "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.expect("a response").status, 400);
    let found = scrape(&admin);
    let listener = |cause: &str| {
        found[&format!("evenkeel_listener_failures_total{{listener=\"web\",cause=\"{cause}\"}}")]
    };
    assert_eq!((listener("no-response"), listener("bad-request"), listener("no-route")), (1.0, 1.0, 0.0));
    assert_eq!(sum(&found, "evenkeel_route_failures_total"), 1.0, "a bad request takes no route");
    assert_eq!(found["evenkeel_listener_retries_total{listener=\"web\"}"], 2.0);
    assert_eq!(sum(&found, "evenkeel_route_retries_total"), 2.0);
    assert_eq!(admin.json("/api/status")["listeners"][0]["errors"]["no-response"], 1);
}

#[test]
fn a_route_counts_what_took_it_though_it_had_no_exchange_and_nothing_else() {
    let fast = Backend::named("fast");
    let admin = Admin::start_with_file(&routed("web", &fast, &fast.url()).replace(
        "pool = \"slow\"\n[[pool]]",
        "pool = \"slow\"\nrate_limit = { requests = 1, per = \"1h\", burst = 1 }\n[[pool]]",
    ));
    assert_eq!(get(admin.balancer.address, "/lb-status").expect("a response").status, 200);
    let of_route = |name: &str| sum(&scrape(&admin), &format!("evenkeel_route_{name}"));
    assert_eq!(of_route("requests_total"), 0.0, "the status takes no route");
    assert_eq!(get(admin.balancer.address, "/slow").expect("a response").status, 200);
    assert_eq!(get(admin.balancer.address, "/slow").expect("a response").status, 429);
    assert_eq!((of_route("requests_total"), of_route("failures_total")), (2.0, 1.0));
}

#[test]
fn buffers_and_pipes_are_told_while_a_client_keeps_its_answer_waiting() {
    let large = vec![b'x'; 1024 * 1024];
    let backend = Backend::start(move |request, reply| {
        let sized = request.target == "/sized";
        let framing = if sized { "Content-Length: 67108864" } else { "Transfer-Encoding: chunked" };
        reply.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))?;
        for _ in 0..64 {
            if sized {
                reply.send(&large)?;
            } else {
                reply.send(["100000\r\n".as_bytes(), &large, b"\r\n"].concat())?;
            }
        }
        reply.send(if sized { "" } else { "0\r\n\r\n" })
    });
    let admin = Admin::start(&["--workers", "1", "--backends", &backend.url()]);
    let worker = |name: &str| format!("evenkeel_worker_{name}{{worker=\"0\"}}");
    let (buffers, bytes) = (worker("buffers_lent"), worker("buffers_lent_bytes"));
    wait(&admin, &buffers, 0.0);
    let chunked = Client::connect(admin.balancer.address);
    chunked.send("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    wait(&admin, &buffers, 1.0);
    // The first that is lent may be a small one, which the rest of the answer then outgrows.
    eventually(SOON, "its memory", || scrape(&admin)[&bytes] > 4_000.0);
    let sized = Client::connect(admin.balancer.address);
    sized.send("GET /sized HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    wait(&admin, &worker("pipes_lent"), 1.0);
    let held = || {
        let all = scrape(&admin);
        let of =
            |name: &str| all.iter().filter(|(key, _)| key.starts_with(name)).map(|(_, n)| n).sum::<f64>();
        (of("evenkeel_backend_received_bytes_total"), of("evenkeel_worker_sent_bytes_total"))
    };
    let mut last = held();
    eventually(SOON, "nothing more is taken", || {
        std::thread::sleep(Duration::from_millis(150));
        std::mem::replace(&mut last, held()) == last
    });
    // One pipe and one buffer.
    assert!(last.0 - last.1 <= f64::from((1 << 20) + (128 << 10)), "{last:?}");
    drop((chunked, sized));
    for (name, none) in [(&buffers, 0.0), (&bytes, 0.0), (&worker("pipes_lent"), 0.0)] {
        wait(&admin, name, none);
    }
    assert!(scrape(&admin)[&worker("buffers_spare_bytes")] > 4_000.0);
}

#[test]
fn tunnels_are_told_with_how_long_they_lasted() {
    let server = Server::echo();
    let admin = Admin::start(&["--mode", "tcp", "--workers", "1", "--backends", &server.url()]);
    let worker = |name: &str| format!("evenkeel_worker_{name}{{worker=\"0\"}}");
    let mut client = Client::connect(admin.balancer.address);
    client.send("hello").expect("send");
    client.expect_bytes(b"hello");
    wait(&admin, &worker("tunnels_total"), 1.0);
    let begun = Instant::now();
    eventually(SOON, "a while", || begun.elapsed() > Duration::from_millis(60));
    assert_eq!(scrape(&admin)[&worker("tunnel_seconds_count")], 0.0);
    client.stream().shutdown(Shutdown::Write).expect("shut down");
    wait(&admin, &worker("tunnel_seconds_count"), 1.0);
    let lasted = scrape(&admin)[&worker("tunnel_seconds_sum")];
    assert!((0.06..60.0).contains(&lasted), "{lasted}");
}

#[test]
fn each_tunnel_counts_once_at_its_listener_route_and_pool_and_in_the_rates() {
    let server = Server::echo();
    let file = format!(
        "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\npool = \"rest\"\n\
         [[listener.route]]\nname = \"own\"\nsni = [\"a.example\"]\npool = \"own\"\n\
         [[pool]]\nname = \"own\"\n[[pool.backend]]\nurl = \"{0}\"\n\
         [[pool]]\nname = \"rest\"\n[[pool.backend]]\nurl = \"{0}\"\n",
        server.url()
    );
    let admin = Admin::start_with_file(&file);
    let carried = |name: &[u8]| {
        let (mut client, hello) = (Client::connect(admin.balancer.address), hello(name));
        client.send(&hello).expect("send");
        client.expect_bytes(&hello);
    };
    (0..3).for_each(|_| carried(b"a.example"));
    (0..2).for_each(|_| carried(b"b.example"));
    let found = scrape(&admin);
    for (of, count) in [
        ("listener_tunnels_total{listener=\"tls\"}", 5.0),
        ("route_tunnels_total{listener=\"tls\",route=\"own\"}", 3.0),
        ("pool_tunnels_total{pool=\"own\"}", 3.0),
        ("pool_tunnels_total{pool=\"rest\"}", 2.0),
    ] {
        assert_eq!(found[&format!("evenkeel_{of}")], count, "{of}");
    }
    assert_eq!(sum(&found, "evenkeel_worker_requests_total"), 0.0);
    let status = admin.json("/api/status");
    assert_eq!((&status["listeners"][0]["tunnels"], &status["pools"][0]["tunnels"]), (&5.into(), &3.into()));
    let rate = |told: &serde_json::Value| told["requests_per_second"].as_f64().expect("a rate");
    let workers: f64 = status["workers"].as_array().expect("workers").iter().map(rate).sum();
    let pools: f64 = status["pools"].as_array().expect("pools").iter().map(rate).sum();
    assert!(rate(&status) > 0.0 && (rate(&status) - workers).abs() < 0.01, "{status}");
    assert!((rate(&status) - pools).abs() < 0.01, "each once: {status}");
    eventually(SOON, "a point with connections", || {
        carried(b"a.example");
        let points = admin.json("/api/history");
        points.as_array().expect("points").iter().any(|point| point["requests"].as_f64() > Some(0.0))
    });
}

#[test]
fn lines_that_the_access_log_lost_are_told() {
    let backend = Backend::named("a");
    let pipe = std::env::temp_dir().join(format!("evenkeel-gauges-{}", std::process::id()));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let unread = OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe");
    let log = pipe.display().to_string();
    let admin = Admin::start(&["--workers", "1", "--access-log", &log, "--backends", &backend.url()]);
    std::fs::remove_file(&pipe).expect("remove the pipe");
    let lost = "evenkeel_access_log_lost_total";
    assert_eq!(scrape(&admin)[lost], 0.0);
    let mut client = Client::connect(admin.balancer.address);
    let fields = format!("User-Agent: {}\r\n", "u".repeat(6_000));
    eventually(SOON, "lines are lost", || {
        (0..100).for_each(|_| assert_eq!(client.get_with("/", &fields).expect("a response").status, 200));
        scrape(&admin)[lost] > 0.0
    });
    drop(unread);
}

/// A full disk has them wait, up to 4 MiB; nothing comes behind them that would have a worker look.
#[test]
fn the_last_lines_that_a_disk_refused_are_told_too() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--workers", "1", "--access-log", "/dev/full", "--backends", &backend.url()]);
    let mut client = Client::connect(admin.balancer.address);
    let fields = format!("User-Agent: {}\r\n", "u".repeat(6_000));
    (0..1_500).for_each(|_| assert_eq!(client.get_with("/", &fields).expect("a response").status, 200));
    let lost = || scrape(&admin)["evenkeel_access_log_lost_total"];
    // The queue to the writer holds some beside those that wait.
    eventually(SOON, "what exceeds them is lost", || lost() >= 100.0);
    assert!(lost() < 1_500.0 - 500.0, "{}", lost());
    let told = || admin.json("/api/status")["counts"]["access_log_lost"].as_f64().expect("a count");
    eventually(SOON, "both tell the same", || lost() == told());
}

#[test]
fn the_process_is_told_as_the_kernel_sees_it() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let proc =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", admin.balancer.id())).expect("/proc");
    let before = scrape(&admin);
    let clients: Vec<_> = (0..40).map(|_| Client::connect(admin.balancer.address)).collect();
    eventually(SOON, "their descriptors", || {
        scrape(&admin)["process_open_fds"] >= before["process_open_fds"] + 40.0
    });
    drop(clients);
    let found = scrape(&admin);
    let limits = proc("limits");
    let most = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft = most.split_whitespace().nth(3).expect("a number");
    assert_eq!(Ok(found["process_max_fds"]), soft.parse());
    let status = proc("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    let share = found["process_resident_memory_bytes"] / (kib * 1024.0);
    assert!((0.5..2.0).contains(&share), "{share}");
    assert!(found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]);
    assert!((0.0..60.0).contains(&found["process_cpu_seconds_total"]));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let age = now.as_secs_f64() - found["process_start_time_seconds"];
    assert!((0.0..60.0).contains(&age), "{age}");
}

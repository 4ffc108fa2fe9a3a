//! What a scrape gives, and whether scrapers can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Admin;
use crate::support::{Backend, Client, Port, SOON, eventually, get, list};

/// The value of every sample, by name and labels.
pub(crate) type Samples = BTreeMap<String, f64>;

fn samples(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    });
    parsed.collect()
}

pub(crate) fn scrape(admin: &Admin) -> Samples {
    samples(&admin.get("/metrics").text())
}

/// The names of all samples, without the parts of histograms.
pub(crate) fn names(admin: &Admin) -> BTreeSet<String> {
    let text = admin.get("/metrics").text();
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    named.filter_map(|rest| Some(rest.split_once(' ')?.0.to_owned())).collect()
}

#[test]
fn the_counts_are_those_of_the_requests_sent() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--workers", "2", "--backends", &list(&backends)]);
    let mut client = Client::connect(admin.balancer.address);
    for _ in 0..6 {
        client.get("/").expect("a response");
    }
    client.post("/", "hello").expect("a response");
    client.exchange("BREW", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a response");
    let refused = Client::connect(admin.balancer.address).exchange("GET", "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.expect("a response").status, 400);
    let found = scrape(&admin);
    let pool = |method: &str, class: &str| {
        found[&format!(
            "evenkeel_pool_requests_total{{pool=\"default\",method=\"{method}\",class=\"{class}\"}}"
        )]
    };
    assert_eq!((pool("GET", "2xx"), pool("POST", "2xx"), pool("other", "2xx")), (6.0, 1.0, 1.0));
    assert_eq!(found["evenkeel_failures_total{cause=\"bad-request\"}"], 1.0);
    let name = admin.json("/api/status")["listeners"][0]["name"].as_str().expect("a name").to_owned();
    let listener =
        |metric: &str, more: &str| found[&format!("evenkeel_listener_{metric}{{listener=\"{name}\"{more}}}")];
    assert_eq!(listener("requests_total", ",method=\"GET\",class=\"2xx\""), 6.0);
    assert_eq!(listener("requests_total", ",method=\"other\",class=\"4xx\""), 1.0);
    assert_eq!(listener("connections_total", ""), 2.0);
    assert!(listener("received_bytes_total", "") > 300.0 && listener("sent_bytes_total", "") > 300.0);
    for backend in &backends {
        let one = |name: &str, more: &str| {
            let address = backend.address();
            found[&format!("evenkeel_backend_{name}{{pool=\"default\",backend=\"{address}\"{more}}}")]
        };
        assert_eq!(one("requests_total", ""), 4.0);
        assert_eq!(one("answers_total", ",class=\"2xx\""), 4.0);
        assert_eq!((one("in_flight", ""), one("failures_total", ""), one("eligible", "")), (0.0, 0.0, 1.0));
        assert_eq!((one("state", ",state=\"up\""), one("state", ",state=\"down\"")), (1.0, 0.0));
        assert_eq!((one("connects_total", ""), one("connections", "")), (1.0, 1.0));
        assert_eq!(one("first_byte_seconds_count", ""), 4.0);
        assert!(one("sent_bytes_total", "") > 300.0 && one("received_bytes_total", "") > 100.0);
    }
    let times = |name: &str| found[&format!("evenkeel_pool_{name}_seconds_count{{pool=\"default\"}}")];
    assert_eq!((times("total"), times("first_byte"), times("connect"), times("queue")), (8.0, 8.0, 2.0, 0.0));
    assert!((0..2).any(|w| found[&format!("evenkeel_worker_tick_seconds_count{{worker=\"{w}\"}}")] > 0.0));
}

/// Two of one name and labels make a scraper throw away one of them, or all.
#[test]
fn every_sample_is_told_once_though_two_listeners_have_routes_of_one_name() {
    let backend = Backend::named("a");
    let listener = |name: &str, address: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"{address}:0\"\n[[listener.route]]\nname = \"api\"\n\
             path_prefix = \"/api\"\npool = \"p\"\n"
        )
    };
    let both = listener("a", "127.0.0.1") + &listener("b", "127.0.0.2");
    let rest = format!("{both}[[pool]]\nname = \"p\"\n[[pool.backend]]\nurl = \"{}\"\n", backend.url());
    let admin = Admin::start_with_file(&rest);
    assert_eq!(get(admin.balancer.address, "/api").expect("a response").status, 200);
    let text = admin.get("/metrics").text();
    let told = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&text).len(), told, "{text}");
    std::fs::write(
        admin.file(),
        std::fs::read_to_string(admin.file()).expect("its file").replace("\"a\"", "\"c\""),
    )
    .expect("write");
    assert_eq!(admin.post("/api/reload", "").0, 200);
    let route = "evenkeel_route_requests_total{listener=\"c\",route=\"api\",method=\"GET\",class=\"2xx\"}";
    assert_eq!(scrape(&admin)[route], 1.0, "it is the same one");
}

#[test]
fn retries_failures_and_waits_are_counted_where_they_happen() {
    let bad = Backend::start(|_, reply| {
        reply.close();
        Ok(())
    });
    let good = Backend::named("a");
    let both = list([&bad, &good]);
    let admin = Admin::start(&["--max-fails", "0", "--fail-rate", "0", "--backends", &both]);
    for _ in 0..4 {
        assert_eq!(get(admin.balancer.address, "/").expect("a response").status, 200);
    }
    let found = scrape(&admin);
    let of = |port: u16, name: &str| {
        found[&format!("evenkeel_backend_{name}_total{{pool=\"default\",backend=\"127.0.0.1:{port}\"}}")]
    };
    let failed = bad.requests() as f64;
    assert!(failed >= 2.0);
    let (bad, good) = (bad.address().port(), good.address().port());
    assert_eq!(
        (of(bad, "failures"), of(bad, "connects"), of(bad, "connect_failures")),
        (failed, failed, 0.0)
    );
    assert_eq!((of(good, "failures"), of(good, "retries"), of(bad, "retries")), (0.0, failed, 0.0));
    let causes = found.iter().filter(|(name, _)| name.starts_with("evenkeel_backend_failure_causes_total"));
    let cause = format!(
        "evenkeel_backend_failure_causes_total{{pool=\"default\",backend=\"127.0.0.1:{bad}\",cause=\"no-response\"}}"
    );
    assert_eq!(causes.collect::<Vec<_>>(), [(&cause, &failed)]);
    assert_eq!(found["evenkeel_pool_retries_total{pool=\"default\"}"], failed);
}

#[test]
fn open_metrics_are_sent_to_those_who_like_them_better() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let plain = admin.get("/metrics");
    assert_eq!(plain.head.joined("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let open = admin.ask("GET", "/metrics", accept, "");
    let content_type = open.head.joined("content-type");
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text().ends_with("\n# EOF\n") && !plain.text().contains("# EOF"));
    let names = |text: &str| samples(text).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&plain.text()), names(&open.text()), "both formats have the same samples");
}

#[test]
fn promtool_finds_nothing_to_say() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--backends", &list(&backends)]);
    get(admin.balancer.address, "/").expect("a response");
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: promtool (Debian package prometheus) is not installed");
        return;
    };
    let text = admin.get("/metrics").text();
    promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("write");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_scrape_of_a_thousand_backends_takes_milliseconds_and_no_worker() {
    let urls: Vec<String> = (0..1_000).map(|i| format!("127.1.{}.{}:9", i / 250, i % 250 + 1)).collect();
    let admin = Admin::start(&["--workers", "2", "--health-check", "none", "--backends", &urls.join(",")]);
    let mut client = Client::connect(admin.address);
    let mut times = Vec::new();
    let before = worker_time(&admin);
    for _ in 0..20 {
        let begun = Instant::now();
        let text = client
            .exchange("GET", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("an answer")
            .text();
        times.push(begun.elapsed());
        assert_eq!(text.matches("\nevenkeel_backend_requests_total{").count(), 1_000);
    }
    // Two workers woken by twenty scrapes would be forty.
    assert!(worker_time(&admin) - before < 10, "the workers were woken");
    let (workers, own) = (nice(&admin, "worker-"), nice(&admin, "admin"));
    assert!(workers.len() == 2 && !own.is_empty());
    assert!(own.iter().all(|own| *own >= (workers[0] + 10).min(19)), "{own:?} beside {workers:?}");
    assert_eq!(nice(&admin, "samples")[0], own[0]);
    times.sort_unstable();
    // An unoptimised build on a busy machine; optimised it is a few milliseconds.
    assert!(times[0] < Duration::from_millis(500), "{times:?}");
}

/// How often the workers' threads were put on a processor.
fn worker_time(admin: &Admin) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", admin.balancer.id())).expect("tasks");
    let switches = |path: std::path::PathBuf| {
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        name.starts_with("worker-").then(|| count.trim().parse::<u64>().ok())?
    };
    tasks.flatten().filter_map(|task| switches(task.path())).sum()
}

/// How much the threads of that name make way for others.
fn nice(admin: &Admin, name: &str) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", admin.balancer.id())).expect("tasks");
    let nice = |path: std::path::PathBuf| {
        let own = std::fs::read_to_string(path.join("comm")).ok()?;
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        // The name may hold anything; proc(5) counts from there.
        let field = stat.rsplit_once(')')?.1.split_whitespace().nth(16)?;
        own.starts_with(name).then(|| field.parse().ok())?
    };
    tasks.flatten().filter_map(|task| nice(task.path())).collect()
}

#[test]
fn prometheus_scrapes_it() {
    let backend = Backend::named("a");
    let admin = Admin::start_with_token(&["--backends", &backend.url()], "sesame");
    let directory = std::env::temp_dir().join(format!("evenkeel-prometheus-{}", admin.balancer.id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let config = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: evenkeel\n  authorization: {{credentials: sesame}}\n  \
         static_configs: [{{targets: ['{}']}}]\n",
        admin.address
    );
    std::fs::write(directory.join("prometheus.yml"), config).expect("its configuration");
    let port = Port::reserve();
    let own = port.number();
    let flag = |name: &str, value: String| format!("--{name}={value}");
    let child = Command::new("prometheus")
        .arg(flag("config.file", directory.join("prometheus.yml").display().to_string()))
        .arg(flag("storage.tsdb.path", directory.join("data").display().to_string()))
        .arg(flag("web.listen-address", format!("127.0.0.1:{own}")))
        .args(["--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("skipped: prometheus (Debian package prometheus) is not installed");
        return;
    };
    let _prometheus = Ended(child);
    let query = |query: &str| {
        let response = get(([127, 0, 0, 1], own).into(), &format!("/api/v1/query?query={query}")).ok()?;
        let value: serde_json::Value = serde_json::from_str(&response.text()).ok()?;
        value["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    for _ in 0..5 {
        get(admin.balancer.address, "/").expect("a response");
    }
    eventually(SOON, "the requests in Prometheus", || {
        query("sum(evenkeel_pool_requests_total%7Bclass=%222xx%22%7D)") == Some(5.0)
    });
    assert_eq!(query("up"), Some(1.0));
    assert_eq!(query("evenkeel_build_info"), Some(1.0));
    let _ = std::fs::remove_dir_all(&directory);
}

/// A child that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

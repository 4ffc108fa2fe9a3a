//! The configuration file: what is right is taken the same in all formats, what is wrong is said with its place.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel::config::file::{Loaded, explain, load, open, summary};
use evenkeel::config::{
    AccessLog, Action, Admin, Algorithm, Check, Key, LogFormat, PathPattern, Route, SameSite, StickyBy,
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The example of docs/config.md.
fn example() -> String {
    let docs = include_str!("../docs/config.md");
    let from = docs.split("```toml\n").nth(1).expect("an example");
    from.split("```").next().expect("its end").to_owned()
}

#[track_caller]
fn right(name: &str, text: &str) -> (Loaded, Vec<String>) {
    match load(Path::new(name), text) {
        Ok((loaded, warnings)) => (loaded, warnings.iter().map(ToString::to_string).collect()),
        Err(report) => panic!("{report}"),
    }
}

#[track_caller]
fn without_warnings(name: &str, text: &str) -> Loaded {
    let (loaded, warnings) = right(name, text);
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
    loaded
}

#[track_caller]
fn refused(name: &str, text: &str) -> String {
    load(Path::new(name), text).expect_err("an error").to_string()
}

/// Each file of tests/config/wrong has a file of the same name and `.txt` with all that is said about it.
#[test]
fn each_wrong_file_is_refused_with_the_exact_message() {
    let directory = directory().join("wrong");
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .expect("tests/config/wrong")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 40, "{names:?}");
    let mut faults = String::new();
    for name in names {
        let text = std::fs::read_to_string(directory.join(&name)).expect("a wrong file");
        let right =
            std::fs::read_to_string(directory.join(format!("{name}.txt"))).expect("what is said about it");
        let said = match load(Path::new(&name), &text) {
            Ok(_) => "nothing is wrong".to_owned(),
            Err(report) => report.to_string(),
        };
        if said != right.trim_end() {
            let _ = writeln!(faults, "{name}: said\n{said}\nand should say\n{right}");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn the_example_is_taken_as_it_stands() {
    let loaded = without_warnings("lb.toml", &example());
    assert_eq!(summary(&loaded, &[]), "OK: 1 listener, 1 route, 2 pools, 3 backends");
    assert_eq!(loaded.config.workers, 2);
    assert_eq!(
        loaded.config.listeners.iter().map(|l| l.address).collect::<Vec<_>>(),
        ["0.0.0.0:8080".parse().expect("an address")]
    );
    let [listener] = &*loaded.config.listeners else { panic!("{:?}", loaded.config.listeners) };
    assert_eq!((listener.name.as_str(), listener.pool), ("web", Some(0)));
    let [route] = listener.routes.all() else { panic!("{:?}", listener.routes) };
    assert_eq!(route.action, Action::Pool(1));
    assert_eq!(route.path, PathPattern::Prefix("/v1/".to_owned()));
    let [app, api] = &*loaded.config.pools else { panic!("{:?}", loaded.config.pools) };
    assert_eq!((app.name.as_str(), api.name.as_str()), ("app", "api"));
    assert_eq!((&app.algorithm, &api.algorithm), (&Algorithm::LeastConnections, &Algorithm::RoundRobin));
    let Check::Http(check) = &app.health.check else { panic!("{:?}", app.health) };
    assert_eq!(check.paths, ["/health", "/"]);
    assert_eq!((app.health.interval, app.health.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    let weights: Vec<u16> = app.backends.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights, [3, 1]);
    assert_eq!(api.backends[0].url.to_string(), "http://127.0.0.1:8083");
}

#[test]
fn the_three_formats_say_the_same() {
    let all: Vec<Loaded> = ["full.toml", "full.yaml", "full.json"]
        .map(|name| match open(&directory().join(name)) {
            Ok((loaded, warnings)) => {
                assert!(warnings.is_empty(), "{}", warnings[0]);
                loaded
            }
            Err(report) => panic!("{report}"),
        })
        .into();
    assert_eq!(format!("{:#?}", all[0]), format!("{:#?}", all[1]));
    assert_eq!(format!("{:#?}", all[0]), format!("{:#?}", all[2]));
}

fn full() -> Loaded {
    open(&directory().join("full.toml")).unwrap_or_else(|report| panic!("{report}")).0
}

#[test]
fn what_stands_beside_pools_reaches_its_place() {
    let loaded = full();
    let admin =
        Admin { address: "127.0.0.1:9900".parse().expect("an address"), token: Some("s3cret".to_owned()) };
    assert_eq!(loaded.config.admin, Some(admin));
    let log = AccessLog { path: Some(directory().join("access.log")), format: LogFormat::Json };
    assert_eq!(loaded.config.access_log, Some(log));
    let [page] = &*loaded.config.error_pages else { panic!("{:?}", loaded.config.error_pages) };
    assert_eq!(
        (page.statuses.to_string(), page.content_type.as_str()),
        ("502-504".to_owned(), "text/html; charset=utf-8")
    );
    assert_eq!(page.body, b"<p>Sorry.</p>\n");
    assert_eq!(loaded.log_level, Some(log::LevelFilter::Warn));
    assert_eq!(loaded.config.cause_header.as_deref(), Some("X-Why"));
    assert_eq!(loaded.config.limits.body, Some(1 << 20));
    assert_eq!(loaded.config.timeouts.head, Duration::from_secs(5));
    assert_eq!(loaded.config.rate_limit.as_ref().map(|rate| (rate.requests, rate.burst)), Some((100, 200)));
    assert_eq!(loaded.config.trust.len(), 2);
}

#[test]
fn what_is_said_of_a_pool_reaches_its_place() {
    let loaded = full();
    let pool = &loaded.config.pools[0];
    assert_eq!(pool.algorithm, Algorithm::Hash { key: Key::Header("X-User".to_owned()), bound: Some(150) });
    assert_eq!((pool.retry.retries, pool.retry.statuses.to_string()), (2, "502-504".to_owned()));
    assert_eq!(pool.retry.try_timeout, Some(Duration::from_secs(3)));
    assert_eq!((pool.ejection.max_fails, pool.ejection.time_max), (5, Duration::from_secs(120)));
    assert_eq!((pool.queue.length, pool.queue.timeout), (10, Duration::from_secs(1)));
    assert_eq!((pool.slow_start, pool.fail_open), (Duration::from_secs(30), true));
    let sticky = pool.sticky.as_ref().expect("sticky");
    let StickyBy::Cookie(cookie) = &sticky.by else { panic!("{sticky:?}") };
    assert_eq!((cookie.name.as_str(), cookie.same_site, cookie.secure), ("id", SameSite::None, true));
    assert!(sticky.returns);
    let backend = &pool.backends[1];
    assert_eq!((backend.weight, backend.backup), (5, true));
    assert_eq!((backend.max_connections, backend.max_requests), (Some(10), Some(20)));
}

#[test]
fn what_is_said_of_a_route_reaches_its_place() {
    let loaded = full();
    let routes: Vec<&Route> = loaded.config.listeners[0].routes.all().iter().collect();
    assert_eq!(routes[0].name, "api");
    assert_eq!(routes[1].name, "web/2");
    assert_eq!(routes[0].rewrite.as_ref().map(|to| (to.from.as_str(), to.to.as_str())), Some(("/v1", "")));
    assert_eq!(routes[0].timeouts.over(loaded.config.timeouts).response, Duration::from_secs(1));
    assert_eq!(routes[0].request_headers.remove, ["x-debug"]);
    assert_eq!(routes[0].response_headers.set, [("x-by".to_owned(), "evenkeel".to_owned())]);
    assert_eq!(routes[1].action, Action::Split(vec![(0, 95), (1, 5)]));
    let Action::Redirect(redirect) = &routes[2].action else { panic!("{:?}", routes[2]) };
    assert_eq!((redirect.status, redirect.location.to_string().as_str()), (301, "https://{host}{uri}"));
    let Action::Fixed(fixed) = &routes[3].action else { panic!("{:?}", routes[3]) };
    assert_eq!((fixed.status, fixed.body.as_str()), (200, "User-agent: *\n"));
}

/// Each file of tests/config/risky is used, and `.txt` has what is warned of.
#[test]
fn what_is_risky_is_warned_of() {
    let text = std::fs::read_to_string(directory().join("risky.toml")).expect("risky.toml");
    let right = std::fs::read_to_string(directory().join("risky.toml.txt")).expect("risky.toml.txt");
    let (_, warnings) = self::right("risky.toml", &text);
    assert_eq!(warnings.join("\n"), right.trim_end());
    let (loaded, warnings) = load(Path::new("risky.toml"), &text).expect("it is used");
    let summary = summary(&loaded, &warnings);
    let count = warnings.len();
    assert!(
        summary.starts_with("OK: ") && summary.contains(&format!(", {count} warnings\nrisky.toml:")),
        "{summary}"
    );
}

/// What only requests have a use for, in a file that knows connections alone.
#[test]
fn keys_of_requests_are_warned_of_where_there_are_only_connections() {
    let keys = "status_path = \"/x\"\ncause_header = \"X-Foo\"\ntrust_forwarded = [\"10.0.0.0/8\"]\n\
        timeouts = { head = \"3s\", idle = \"3s\", response = \"3s\", stall = \"1s\", connect = \"1s\" }\n\
        limits = { max_body = 3, max_head = \"4k\", max_connections = 9 }\n";
    let listener = |mode: &str, more: &str| {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:80{}\"\nmode = \"{mode}\"\npool = \"a\"\n{more}",
            mode.len()
        )
    };
    let pool =
        "[[pool]]\nname = \"a\"\nbackend = [{ url = \"tcp://127.0.0.1:1\" }, { url = \"127.0.0.1:2\" }]\n";
    let said = |listeners: &str| {
        let (_, warnings) = right("lb.toml", &format!("{keys}{listeners}{pool}"));
        let word = |line: &String| line.split(' ').nth(2).expect("a key").to_owned();
        warnings.iter().map(word).collect::<Vec<_>>()
    };
    let of_requests = ["status_path", "cause_header", "trust_forwarded"];
    let of_tables = ["idle", "response", "stall", "max_body", "max_head"];
    let all: Vec<&str> = [&of_requests[..], &["head"], &of_tables].concat();
    assert_eq!(said(&listener("tcp", "")), all);
    assert_eq!(said(&(listener("tcp", "") + &listener("http", ""))), [""; 0]);
    let route = "[[listener.route]]\nsni = [\"a.b\"]\npool = \"a\"\n\
        timeouts = { connect = \"1s\", response = \"3s\", stall = \"4s\" }\n";
    let all: Vec<&str> = [&of_requests[..], &of_tables, &["response", "stall"]].concat();
    assert_eq!(said(&listener("tcp", route)), all);
    let proxy = "proxy_protocol = \"require\"\nproxy_from = [\"10.0.0.0/8\"]\n";
    assert!(!said(&listener("tcp", proxy)).iter().any(|key| key == "head"));
}

/// `explain.txt` has requests, each after a `$`, and below each what is said.
#[test]
fn requests_are_explained() {
    let text = std::fs::read_to_string(directory().join("explain.txt")).expect("explain.txt");
    let loaded = full();
    let mut requests = 0;
    for part in text.split("$ ").skip(1) {
        let (request, right) = part.split_once('\n').expect("a line");
        let said = explain(&loaded, request).unwrap_or_else(|line| format!("error: {line}"));
        assert_eq!(said.trim_end(), right.trim_end(), "{request}");
        requests += 1;
    }
    assert!(requests >= 8, "{requests}");
}

/// `connections.txt` has a file, and then as `explain.txt` what is asked and said.
#[test]
fn connections_are_explained() {
    let text = std::fs::read_to_string(directory().join("connections.txt")).expect("connections.txt");
    let (file, rest) = text.split_once("\n$ ").expect("a file first");
    let loaded = without_warnings("lb.toml", file);
    for part in rest.split("\n$ ") {
        let (asked, right) = part.split_once('\n').expect("a line");
        let said = explain(&loaded, asked).unwrap_or_else(|line| format!("error: {line}"));
        assert_eq!(said.trim_end(), right.trim_end(), "{asked}");
    }
}

#[test]
fn an_empty_file_is_what_a_run_without_flags_does() {
    for name in ["lb.toml", "lb.yaml"] {
        let loaded = without_warnings(name, "");
        let right = evenkeel::config::Config::default();
        assert_eq!(format!("{:?}", loaded.config), format!("{right:?}"));
        assert!(!loaded.names_listeners && !loaded.names_pools);
    }
    without_warnings("lb.json", "{}");
    assert!(without_warnings("lb.TOML", "\u{feff}workers = 3").config.workers == 3);
}

#[test]
fn a_listener_that_needs_no_pool_has_none() {
    let text = "[[listener]]\naddress = \"0.0.0.0:80\"\n[[listener.route]]\n\
                redirect = { location = \"https://{host}{uri}\" }\n";
    let loaded = without_warnings("lb.toml", text);
    assert_eq!(loaded.config.listeners[0].pool, None);
    assert!(loaded.config.pools.is_empty());
    let said = explain(&loaded, "GET a.com:80/x?y").expect("an explanation");
    assert!(said.contains("location    https://a.com/x?y"), "{said}");
}

#[test]
fn files_that_cannot_be_read_are_said_so() {
    let none = open(&directory().join("no-such.toml")).expect_err("no file").to_string();
    assert!(none.ends_with("no-such.toml: cannot be read: there is no such file"), "{none}");
    assert!(refused("lb", "").starts_with("lb: its ending names no format"));
    let path = std::env::temp_dir().join(format!("evenkeel-{}.toml", std::process::id()));
    std::fs::write(&path, b"# \xe4\n# \xff\n").expect("a file");
    let said = open(&path).expect_err("not UTF-8").to_string();
    std::fs::remove_file(&path).expect("it goes");
    assert!(said.ends_with("line 1 is not UTF-8; save the file as UTF-8"), "{said}");
}

/// Any bytes may be given for a file; what is not understood is said, never a panic.
#[test]
fn pieces_of_files_never_panic() {
    for name in ["full.toml", "full.yaml", "full.json"] {
        let text = std::fs::read_to_string(directory().join(name)).expect(name);
        for cut in (0..text.len()).step_by(3).filter(|&cut| text.is_char_boundary(cut)) {
            let path = directory().join(name);
            let _ = load(&path, &text[..cut]);
            let _ = load(&path, &text[cut..]);
            let mangled = format!("{}\u{0}ä\"{}", &text[..cut], &text[cut..]);
            let _ = load(&path, &mangled).map_err(|report| report.to_string());
        }
    }
}

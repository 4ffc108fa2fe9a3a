use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::super::{Outcome, parse};
use super::*;
use crate::config::{Algorithm, Check, Key, StickyBy};

const ONE_POOL: &str = r#"
workers = 3
pin = true
log_level = "warn"
status_path = "/file"
rate_limit = { requests = 5, key = "header:X-Key" }
timeouts = { response = "7s" }
[[listener]]
name = "web"
address = "127.0.0.1:1"
[[pool]]
name = "app"
algorithm = "hash"
hash_key = "header:X-User"
health = { kind = "http", paths = ["/up"], interval = "5s" }
retry = { retries = 2, try_timeout = "2s" }
sticky = { by = "cookie", name = "route", secret = "the secret of the file" }
fail_open = true
[[pool.backend]]
url = "http://127.0.0.1:81"
max_requests = 9
[[pool.backend]]
url = "http://127.0.0.1:82"
backup = true
"#;

const SEVERAL: &str = r#"
[[listener]]
name = "web"
address = "127.0.0.1:1"
pool = "a"
[[listener]]
name = "other"
address = "127.0.0.1:2"
pool = "b"
[[pool]]
name = "a"
[pool.sticky]
by = "cookie"
secret = "the secret of the file"
[[pool.backend]]
url = "http://127.0.0.1:81"
[[pool]]
name = "b"
[pool.sticky]
by = "cookie"
[[pool.backend]]
url = "http://127.0.0.1:82"
"#;

/// No pool is named and none is needed.
const NO_POOL: &str = r#"
[[listener]]
address = "127.0.0.1:1"
[[listener.route]]
respond = { status = 200 }
"#;

/// A file that is removed when the test ends.
struct Written(PathBuf);

impl Written {
    fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evenkeel-over-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    /// What flags in a line give over it, with these variables.
    fn with(&self, line: &str, environment: &[(&str, &str)]) -> Outcome {
        let mut words = vec!["--config", self.0.to_str().expect("a path in UTF-8")];
        words.extend(line.split(' ').filter(|word| !word.is_empty()));
        let found =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, set)| set.into());
        parse(&words, &found)
    }

    #[track_caller]
    fn config(&self, line: &str, environment: &[(&str, &str)]) -> Config {
        match self.with(line, environment) {
            Outcome::Run { setup, .. } => setup.config,
            other => panic!("{line} gave {other:?}"),
        }
    }

    #[track_caller]
    fn refused(&self, line: &str, environment: &[(&str, &str)]) -> String {
        match self.with(line, environment) {
            Outcome::Refuse(said) => said,
            other => panic!("{line} gave {other:?}"),
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn cookie_of(pool: &Pool) -> (&str, &str) {
    match pool.sticky.as_ref().map(|sticky| &sticky.by) {
        Some(StickyBy::Cookie(cookie)) => (&cookie.name, &cookie.secret),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_file_says_holds_without_flags() {
    let file = Written::new(ONE_POOL);
    let Outcome::Run { setup, demo: false, reader: Some(reader) } = file.with("", &[("PROXY_PORT", "9000")])
    else {
        panic!("no run")
    };
    let (right, _) = file::open(&file.0).expect("a right file");
    assert_eq!(format!("{:?}", setup.config), format!("{:?}", right.config));
    assert_eq!(setup.log_level, LevelFilter::Warn);
    std::fs::write(&file.0, ONE_POOL.replace("workers = 3", "workers = 4")).expect("written again");
    assert_eq!(reader.read().expect("read again").config.workers, 4);
    std::fs::write(&file.0, ONE_POOL.replace("workers", "worker")).expect("written again");
    let report = reader.read().expect_err("a wrong file");
    assert!(
        report.contains(":2:1: unknown key \"worker\"; did you mean workers?\n  2 | worker = 3"),
        "{report}"
    );
}

#[test]
fn flags_go_before_the_file_and_leave_the_rest_of_it() {
    let file = Written::new(ONE_POOL);
    let config = file.config(
        "--workers 5 --status-path /flag --idle-timeout 9s --rate-limit 6/s --log-level debug --port 2 \
         --health-check-interval 3s --max-fails 8 --hash-bound 150 --sticky-return --backup 127.0.0.1:83 \
         --backend-max-connections 4 --retries 1",
        &[],
    );
    assert_eq!((config.workers, config.pin, config.status_path.as_deref()), (5, true, Some("/flag")));
    assert_eq!((config.timeouts.idle, config.timeouts.response).0, Duration::from_secs(9));
    assert_eq!(config.timeouts.response, Duration::from_secs(7));
    let rate = config.rate_limit.expect("a rate limit");
    assert_eq!((rate.requests, rate.key), (6, Key::Header("X-Key".to_owned())));
    let listener = &config.listeners[0];
    assert_eq!((listener.name.as_str(), listener.address.to_string().as_str()), ("web", "[::]:2"));
    let [pool] = &config.pools[..] else { panic!("{:?}", config.pools) };
    assert_eq!(pool.algorithm, Algorithm::Hash { key: Key::Header("X-User".to_owned()), bound: Some(150) });
    let Check::Http(check) = &pool.health.check else { panic!("{:?}", pool.health) };
    assert_eq!(
        (check.paths.as_slice(), pool.health.interval),
        (&["/up".to_owned()][..], Duration::from_secs(3))
    );
    assert_eq!((pool.ejection.max_fails, pool.retry.retries, pool.fail_open), (8, 1, true));
    assert_eq!(pool.retry.try_timeout, Some(Duration::from_secs(2)));
    assert_eq!(cookie_of(pool), ("route", "the secret of the file"));
    assert!(pool.sticky.as_ref().is_some_and(|sticky| sticky.returns));
    let backends: Vec<_> = pool.backends.iter().map(|b| (b.url.port, b.backup, b.max_requests)).collect();
    assert_eq!(backends, [(81, false, Some(9)), (83, true, None)]);
    assert!(pool.backends.iter().all(|backend| backend.max_connections == Some(4)));
}

#[test]
fn the_bound_of_a_hash_that_the_file_set_stays_whatever_flags_say_of_the_rest() {
    let bound = |set: &str, line: &str| {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:1\"\n[[pool]]\nname = \"p\"\nalgorithm = \"hash\"\n{set}\n\
             [[pool.backend]]\nurl = \"127.0.0.1:2\"\n"
        );
        match &Written::new(&text).config(line, &[]).pools[0].algorithm {
            Algorithm::Hash { bound, .. } => *bound,
            other => panic!("{other:?}"),
        }
    };
    let lines = ["", "--mode tcp", "--algorithm ip-hash", "--algorithm hash --hash-key address"];
    for (set, right) in
        [("hash_bound = 125", Some(125)), ("hash_bound = 120", Some(120)), ("hash_bound = 0", None)]
    {
        lines.iter().for_each(|line| assert_eq!(bound(set, line), right, "{set} {line}"));
    }
    assert_eq!(lines.map(|line| bound("", line)), [Some(125), None, None, None]);
    assert_eq!(bound("hash_bound = 120", "--mode tcp --hash-bound 150"), Some(150));
    assert_eq!(bound("hash_bound = 120", "--hash-bound 0"), None);
}

#[test]
fn a_flag_can_take_back_what_the_file_set() {
    let file = Written::new(ONE_POOL);
    let config = file.config(
        "--backends 127.0.0.1:90 --backend-max-requests 0 --sticky none --algorithm hash --health-check tcp \
         --status-path=",
        &[],
    );
    let pool = &config.pools[0];
    assert_eq!(
        (pool.backends.len(), pool.backends[0].url.port, pool.backends[0].max_requests),
        (1, 90, None)
    );
    assert_eq!((&pool.sticky, &pool.health.check, &config.status_path), (&None, &Check::Tcp, &None));
    assert!(matches!(&pool.algorithm, Algorithm::Hash { key: Key::Header(_), .. }));
    let by_address = &file.config("--algorithm ip-hash --sticky address --sticky-time 5s", &[]).pools[0];
    assert!(matches!(by_address.algorithm, Algorithm::Hash { key: Key::Address, .. }));
    let sticky = by_address.sticky.as_ref().map(|sticky| &sticky.by);
    assert_eq!(sticky, Some(&StickyBy::Address(Duration::from_secs(5))));
    let again = &file.config("--health-check http --health-host a --hash-key uri", &[]).pools[0];
    assert!(matches!(&again.health.check, Check::Http(check) if check.paths == ["/up"]));
    assert!(matches!(&again.algorithm, Algorithm::Hash { key: Key::Uri, .. }));
    assert_eq!(cookie_of(&file.config("--sticky-cookie other", &[]).pools[0]).0, "other");
    assert_eq!(
        file.config("--listen 127.0.0.1:5 --listen 127.0.0.1:6", &[]).listeners[1].name,
        "127.0.0.1:6"
    );
}

#[test]
fn the_environment_fills_what_the_file_leaves_out() {
    let silent = Written::new("workers = 1\n");
    let port =
        |line: &str, set: &str| silent.config(line, &[("PROXY_PORT", set)]).listeners[0].address.port();
    assert_eq!((port("", "9000"), port("--port 1", "nonsense")), (9000, 1));
    assert_eq!(Written::new(ONE_POOL).config("", &[("PROXY_PORT", "9000")]).listeners[0].address.port(), 1);

    let several = Written::new(SEVERAL);
    let filled = several.config("", &[(SECRET_VARIABLE, "the secret of the environment")]);
    let secrets: Vec<_> = filled.pools.iter().map(|pool| cookie_of(pool).1).collect();
    assert_eq!(secrets, ["the secret of the file", "the secret of the environment"]);
    let all = several.config("--sticky-secret=0123456789abcdef", &[(SECRET_VARIABLE, "other")]);
    assert!(all.pools.iter().all(|pool| cookie_of(pool).1 == "0123456789abcdef"));
    assert!(several.refused("", &[]).starts_with("a sticky cookie needs a secret"));
    let short = several.refused("", &[(SECRET_VARIABLE, "sh0rt")]);
    assert!(short.starts_with("EVENKEEL_STICKY_SECRET: too short") && !short.contains("sh0rt"), "{short}");
}

#[test]
fn a_flag_that_does_not_go_with_the_file_is_refused() {
    let secret = [(SECRET_VARIABLE, "the secret of the environment")];
    let (several, one, no_pool) = (Written::new(SEVERAL), Written::new(ONE_POOL), Written::new(NO_POOL));
    for flag in
        ["--backends a:1", "--algorithm random", "--fail-open", "--health-header A:b", "--sticky none"]
    {
        let name = flag.split(' ').next().unwrap_or(flag);
        let line = format!("{name} is for one pool, and the file names several, a, b; set it there");
        assert_eq!(several.refused(flag, &secret), line);
        let line = format!("{name} has no effect: nothing in the file leads to a pool; leave it out");
        assert_eq!(no_pool.refused(flag, &[]), line);
    }
    for flag in ["--listen 127.0.0.1:5", "--port 5"] {
        let name = flag.split(' ').next().unwrap_or(flag);
        let line =
            format!("{name} is for one listener, and the file names several, web, other; set it there");
        assert_eq!(several.refused(flag, &secret), line);
    }
    let demo = "--demo brings its own backends, and the file names some; leave one of them out";
    assert_eq!((several.refused("--demo", &secret), one.refused("--demo", &[])), (demo.into(), demo.into()));
    assert!(no_pool.refused("--demo", &[]).starts_with("--demo has no effect"));
    let none = Written::new("[[pool]]\nhealth = { kind = \"none\" }\n[[pool.backend]]\nurl = \"a:1\"\n");
    let line = "--health-rise has no effect with kind = \"none\" in the file; leave one of them out";
    assert_eq!(none.refused("--health-rise 3", &[]), line);
    assert!(matches!(Written::new("workers = 0").with("", &[]), Outcome::Report(_)));
}

/// A new flag has to be looked at: is it of one pool, or of the run?
#[test]
fn every_flag_of_a_pool_is_known_as_one() {
    use argh::ArgsInfo;
    const OF_THE_RUN: &[&str] = &[
        "--config",
        "--check",
        "--explain",
        "--print-config",
        "--listen",
        "--port",
        "--workers",
        "--pin",
        "--busy-poll",
        "--demo",
        "--backend-max-idle",
        "--sticky-secret",
        "--rate-limit",
        "--rate-burst",
        "--rate-key",
        "--trust-forwarded",
        "--max-head",
        "--max-headers",
        "--max-target",
        "--admin",
        "--admin-token",
        "--access-log",
        "--access-log-format",
        "--max-body",
        "--min-body-rate",
        "--max-requests",
        "--max-connections",
        "--max-connections-per-client",
        "--head-timeout",
        "--idle-timeout",
        "--connect-timeout",
        "--response-timeout",
        "--stall-timeout",
        "--tunnel-timeout",
        "--lifetime-timeout",
        "--mode",
        "--proxy-protocol",
        "--proxy-from",
        "--backend-idle-timeout",
        "--drain-timeout",
        "--status-path",
        "--cause-header",
        "--log-level",
        "--version",
        "--help",
    ];
    let of_pool = of_pool(&Flags::default());
    for flag in Flags::get_args_info().flags {
        let pool = of_pool.iter().any(|(name, _)| *name == flag.long);
        assert_ne!(pool, OF_THE_RUN.contains(&flag.long), "{}", flag.long);
    }
}

#[test]
fn a_file_is_checked_and_explained_with_the_flags_over_it() {
    let file = Written::new(ONE_POOL);
    let print = |line: &str| match file.with(line, &[]) {
        Outcome::Print(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(print("--check"), "OK: 1 listener, 0 routes, 1 pool, 2 backends");
    assert_eq!(print("--check --backends a:1,b:2,c:3"), "OK: 1 listener, 0 routes, 1 pool, 3 backends");
    let explained = print("--explain example.com/x --backends 127.0.0.1:99");
    assert!(explained.contains("http://127.0.0.1:99  weight 1, 100.0 %"), "{explained}");
    let both = print("--check --explain example.com/x");
    assert!(both.starts_with("OK: ") && both.contains("\n\nGET example.com/x\n"), "{both}");
    assert!(file.refused("--explain POST", &[]).starts_with("--explain: \"POST\": a method and no host"));
    assert!(file.refused("--check --workers 0", &[]).starts_with("--workers \"0\""));
    let Outcome::Print(text) = parse(&["--check"], &|_| None) else { panic!("no check") };
    assert_eq!(text, "OK: 1 listener, 0 routes, 1 pool, 3 backends");
    let Outcome::Print(text) = parse(&["--print-config"], &|_| None) else { panic!("no file") };
    assert_eq!(text, file::print_config().trim_end());
}

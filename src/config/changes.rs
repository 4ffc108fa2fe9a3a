//! What differs between two configurations, for the log of a reload.

use super::{Action, Admin, Backend, Config, Limits, Listener, Pool, Route};

/// The differences, a line each, and the names of those that only a restart can bring.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> (Vec<String>, Vec<&'static str>) {
    let (mut lines, mut fixed) = (Vec::new(), Vec::new());
    let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    for (name, differs) in [
        ("workers", old.workers != new.workers),
        ("pin", old.pin != new.pin),
        ("busy_poll", old.busy_poll != new.busy_poll),
        ("admin.address", address(old) != address(new)),
        ("admin.token, taken from an address that other machines reach,", keeps_token(old, new)),
        ("limits.max_connections", old.limits.connections != new.limits.connections),
    ] {
        fixed.extend(differs.then_some(name));
    }
    let token = |config: &Config| Some(config.admin.as_ref()?.token.clone());
    for (name, differs) in [
        (
            "admin.token",
            token(old).zip(token(new)).is_some_and(|(old, new)| old != new) && !keeps_token(old, new),
        ),
        ("timeouts", format!("{:?}", old.timeouts) != format!("{:?}", new.timeouts)),
        ("limits", format!("{:?}", old.limits) != format!("{:?}", keep_fixed(old, new.clone()).limits)),
        ("rate_limit", old.rate_limit != new.rate_limit),
        ("resolve_interval", old.resolve_interval != new.resolve_interval),
        ("drain_timeout", old.drain_timeout != new.drain_timeout),
        ("status_path", old.status_path != new.status_path),
        ("trust_forwarded", format!("{:?}", old.trust) != format!("{:?}", new.trust)),
        ("error_page", old.error_pages != new.error_pages),
        ("cause_header", old.cause_header != new.cause_header),
    ] {
        lines.extend(differs.then(|| format!("{name} changed")));
    }
    lines.extend(match (&old.access_log, &new.access_log) {
        (None, Some(log)) => Some(format!("access_log added: {log}")),
        (Some(_), None) => Some("access_log removed".to_owned()),
        (Some(before), Some(log)) if before != log => Some(format!("access_log is now {log}")),
        _ => None,
    });
    listeners(old, new, &mut lines);
    pools(&old.pools, &new.pools, &mut lines);
    (lines, fixed)
}

/// A configuration without what only a restart can bring: there it is as the process runs.
#[must_use]
pub fn keep_fixed(running: &Config, next: Config) -> Config {
    Config {
        workers: running.workers,
        pin: running.pin,
        busy_poll: running.busy_poll,
        admin: match &next.admin {
            Some(Admin { token, .. }) if !keeps_token(running, &next) => {
                running.admin.as_ref().map(|running| Admin { token: token.clone(), ..running.clone() })
            }
            _ => running.admin.clone(),
        },
        limits: Limits { connections: running.limits.connections, ..next.limits },
        ..next
    }
}

/// Where other machines reach the running admin listener, a reload does not open it to them: the file may have meant
/// another address that is not in force.
fn keeps_token(running: &Config, next: &Config) -> bool {
    let token = |admin: &Admin| admin.token.is_some() && !admin.address.ip().is_loopback();
    running.admin.as_ref().is_some_and(token) && next.admin.as_ref().is_some_and(|next| next.token.is_none())
}

fn listeners(old: &Config, new: &Config, lines: &mut Vec<String>) {
    let find = |all: &Config, of: &Listener| all.listeners.iter().position(|l| l.address == of.address);
    for listener in &new.listeners {
        let name = &listener.name;
        let Some(at) = find(old, listener) else {
            lines.push(format!("listener {name} added on {}", listener.address));
            continue;
        };
        let before = &old.listeners[at];
        if before.name != *name {
            lines.push(format!("listener {}: is now called {name}", before.name));
        }
        if before.proxy != listener.proxy {
            lines.push(format!("listener {name}: proxy_protocol changed"));
        }
        if before.mode != listener.mode {
            lines.push(format!("listener {name}: mode changed"));
        }
        let pool = |config: &Config, listener: &Listener| Some(config.pools[listener.pool?].name.clone());
        if pool(old, before) != pool(new, listener) {
            lines.push(format!("listener {name}: pool changed"));
        }
        routes((old, before), (new, listener), lines);
    }
    let gone = old.listeners.iter().filter(|listener| find(new, listener).is_none());
    lines
        .extend(gone.map(|listener| format!("listener {} removed from {}", listener.name, listener.address)));
}

fn routes((old, before): (&Config, &Listener), (new, after): (&Config, &Listener), lines: &mut Vec<String>) {
    let (befores, afters) = (before.routes.all(), after.routes.all());
    for route in afters {
        let known = befores.iter().find(|other| other.name == route.name);
        let what = match known {
            None => "added",
            Some(known) if named(old, known) != named(new, route) => "changed",
            Some(_) => continue,
        };
        lines.push(format!("listener {}: route {} {what}", after.name, route.name));
    }
    let gone = befores.iter().filter(|route| !afters.iter().any(|other| other.name == route.name));
    lines.extend(gone.map(|route| format!("listener {}: route {} removed", after.name, route.name)));
}

/// A route with its pools by name: their places may be others in another file.
fn named<'c>(config: &'c Config, route: &Route) -> (Vec<(&'c str, u32)>, Route) {
    let name = |pool: usize| config.pools[pool].name.as_str();
    let (pools, action) = match &route.action {
        Action::Pool(pool) => (vec![(name(*pool), 1)], Action::Pool(0)),
        Action::Split(shares) => {
            let pools = shares.iter().map(|&(pool, share)| (name(pool), share));
            (pools.collect(), Action::Split(Vec::new()))
        }
        other => (Vec::new(), other.clone()),
    };
    (pools, Route { action, ..route.clone() })
}

fn pools(old: &[Pool], new: &[Pool], lines: &mut Vec<String>) {
    for pool in new {
        let Some(before) = old.iter().find(|other| other.name == pool.name) else {
            lines.push(format!("pool {} added", pool.name));
            continue;
        };
        let of = |what: &str| format!("pool {}: {what}", pool.name);
        backends(&before.backends, &pool.backends, &of, lines);
        if (Pool { backends: Vec::new(), ..before.clone() })
            != (Pool { backends: Vec::new(), ..pool.clone() })
        {
            lines.push(of("settings changed"));
        }
    }
    let gone = old.iter().filter(|pool| !new.iter().any(|other| other.name == pool.name));
    lines.extend(gone.map(|pool| format!("pool {} removed", pool.name)));
}

fn backends(old: &[Backend], new: &[Backend], of: &dyn Fn(&str) -> String, lines: &mut Vec<String>) {
    for backend in new {
        let url = &backend.url;
        match old.iter().find(|other| other.url == *url) {
            None => lines.push(of(&format!("backend {url} added"))),
            Some(before) if before.weight != backend.weight => {
                let (from, to) = (before.weight, backend.weight);
                lines.push(of(&format!("backend {url}: weight {from} is now {to}")));
            }
            Some(before) if before != backend => lines.push(of(&format!("backend {url} changed"))),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|backend| !new.iter().any(|other| other.url == backend.url));
    lines.extend(gone.map(|backend| of(&format!("backend {} removed", backend.url))));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file;
    use super::*;

    const FILE: &str = r#"
        workers = 2
        [[listener]]
        name = "web"
        address = "127.0.0.1:80"
        pool = "app"
        [[listener.route]]
        name = "api"
        path_prefix = "/api"
        pool = "api"
        [[listener.route]]
        name = "part"
        path = "/part"
        split = { app = 9, api = 1 }
        [[pool]]
        name = "app"
        [[pool.backend]]
        url = "a:1"
        weight = 3
        [[pool.backend]]
        url = "b:1"
        [[pool]]
        name = "api"
        [[pool.backend]]
        url = "c:1"
    "#;

    fn read(text: &str) -> Config {
        match file::load(Path::new("lb.toml"), text) {
            Ok((loaded, _)) => loaded.config,
            Err(report) => panic!("{report}"),
        }
    }

    #[test]
    fn an_admin_listener_that_others_reach_keeps_its_token_until_a_restart() {
        let with = |admin: &str| read(&format!("{FILE}\n[admin]\n{admin}\n"));
        let running = with("address = \"0.0.0.0:9900\"\ntoken = \"sesame-open-up\"");
        let token = |config: Config| config.admin.and_then(|admin| admin.token);
        for (next, kept) in [
            ("address = \"127.0.0.1:9900\"", Some("sesame-open-up")),
            ("address = \"0.0.0.0:9900\"", Some("sesame-open-up")),
            ("address = \"0.0.0.0:9900\"\ntoken = \"another-one\"", Some("another-one")),
        ] {
            let next = with(next);
            let fixed = changes(&running, &next).1;
            assert_eq!(
                fixed.iter().any(|what| what.contains("token")),
                next.admin.as_ref().unwrap().token.is_none()
            );
            assert_eq!(token(keep_fixed(&running, next)).as_deref(), kept);
        }
        let local = with("address = \"127.0.0.1:9900\"\ntoken = \"sesame-open-up\"");
        assert_eq!(token(keep_fixed(&local, with("address = \"127.0.0.1:9900\""))), None);
    }

    /// What a change of the file is said to change.
    #[track_caller]
    fn said(from: &str, to: &str) -> Vec<String> {
        assert!(FILE.contains(from), "{from}");
        changes(&read(FILE), &read(&FILE.replacen(from, to, 1))).0
    }

    #[test]
    fn nothing_changed_is_no_line() {
        let (lines, fixed) = changes(&read(FILE), &read(FILE));
        assert!(lines.is_empty() && fixed.is_empty(), "{lines:?} {fixed:?}");
    }

    #[test]
    fn each_change_is_a_line_that_names_it() {
        let top = |line: &str| said("workers = 2", &format!("workers = 2\n{line}"));
        for (line, name) in [
            ("timeouts = { idle = \"1s\" }", "timeouts"),
            ("limits = { max_body = 9 }", "limits"),
            ("rate_limit = { requests = 1 }", "rate_limit"),
            ("resolve_interval = \"1s\"", "resolve_interval"),
            ("drain_timeout = \"1s\"", "drain_timeout"),
            ("status_path = \"/x\"", "status_path"),
            ("trust_forwarded = [\"10.0.0.1\"]", "trust_forwarded"),
            ("cause_header = \"X-Why\"", "cause_header"),
        ] {
            assert_eq!(top(line), [format!("{name} changed")]);
        }
        let cases = [
            ("\"web\"", "\"www\"", "listener web: is now called www"),
            ("pool = \"app\"", "pool = \"api\"", "listener web: pool changed"),
            ("prefix = \"/api\"", "prefix = \"/v2\"", "listener web: route api changed"),
            ("pool = \"api\"", "pool = \"app\"", "listener web: route api changed"),
            ("app = 9", "app = 8", "listener web: route part changed"),
            ("weight = 3", "weight = 4", "pool app: backend http://a:1: weight 3 is now 4"),
            ("weight = 3", "backup = true\nweight = 3", "pool app: backend http://a:1 changed"),
            (
                "name = \"app\"\n        [[pool.",
                "name = \"app\"\nslow_start = 5\n[[pool.",
                "pool app: settings changed",
            ),
        ];
        for (from, to, line) in cases {
            assert_eq!(said(from, to), [line], "{from}");
        }
    }

    #[test]
    fn another_access_log_is_named() {
        let with = |log: &str| read(&format!("access_log = {{ {log} }}\n{FILE}"));
        let (off, text) = (read(FILE), with("path = \"a.log\""));
        let json = with("path = \"a.log\", format = \"json\"");
        assert_eq!(changes(&off, &text).0, ["access_log added: a.log in text"]);
        assert_eq!(changes(&text, &json).0, ["access_log is now a.log in json"]);
        assert_eq!(changes(&json, &with("path = \"-\"")).0, ["access_log is now - in text"]);
        assert_eq!(changes(&text, &off).0, ["access_log removed"]);
        assert!(changes(&text, &text).0.is_empty());
    }

    #[test]
    fn what_comes_and_goes_is_named() {
        assert_eq!(
            said("url = \"b:1\"", "url = \"d:1\""),
            ["pool app: backend http://d:1 added", "pool app: backend http://b:1 removed"]
        );
        assert_eq!(
            said("127.0.0.1:80", "127.0.0.1:81"),
            ["listener web added on 127.0.0.1:81", "listener web removed from 127.0.0.1:80"]
        );
        assert_eq!(
            said("name = \"part\"", "name = \"rest\""),
            ["listener web: route rest added", "listener web: route part removed"]
        );
        let renamed = FILE
            .replace("\"api\"\n        [[pool.", "\"x\"\n[[pool.")
            .replace("pool = \"api\"", "pool = \"x\"");
        let renamed = renamed.replace("api = 1", "x = 1");
        let lines = changes(&read(FILE), &read(&renamed)).0;
        let routes = ["api", "part"].map(|route| format!("listener web: route {route} changed"));
        assert_eq!(
            lines,
            [&routes[..], &["pool x added".to_owned(), "pool api removed".to_owned()]].concat()
        );
    }

    #[test]
    fn the_order_of_the_pools_says_nothing() {
        let (before, pools) = FILE.split_once("[[pool]]").expect("pools");
        let (one, other) = pools.split_once("[[pool]]").expect("two of them");
        let turned = format!("{before}[[pool]]{other}[[pool]]{one}");
        let (lines, fixed) = changes(&read(FILE), &read(&turned));
        assert!(lines.is_empty() && fixed.is_empty(), "{lines:?} {fixed:?}");
    }

    #[test]
    fn the_token_changes_and_its_address_does_not() {
        let with = |admin: &str| read(&FILE.replace("workers = 2", &format!("{admin}\nworkers = 2")));
        let running = with("admin = { address = \"127.0.0.1:9\", token = \"one\" }");
        let token = |config: &Config| config.admin.as_ref().expect("an admin").token.clone();
        for (next, lines, fixed, kept) in [
            ("address = \"127.0.0.1:9\", token = \"two\"", vec!["admin.token changed"], vec![], Some("two")),
            ("address = \"127.0.0.1:9\"", vec!["admin.token changed"], vec![], None),
            ("address = \"127.0.0.1:8\", token = \"one\"", vec![], vec!["admin.address"], Some("one")),
        ] {
            let next = with(&format!("admin = {{ {next} }}"));
            let (said, restart) = changes(&running, &next);
            assert_eq!((said, restart), (lines.into_iter().map(str::to_owned).collect(), fixed));
            let now = keep_fixed(&running, next);
            assert_eq!(now.admin.as_ref().expect("an admin").address.port(), 9);
            assert_eq!(token(&now).as_deref(), kept);
        }
        let without = read(FILE);
        assert_eq!(changes(&running, &without), (vec![], vec!["admin.address"]));
        assert_eq!(token(&keep_fixed(&running, without)).as_deref(), Some("one"), "as long as it is there");
    }

    #[test]
    fn what_needs_a_restart_is_named_and_kept() {
        let text = "workers = 3\npin = true\nbusy_poll = true\nadmin = { address = \"127.0.0.1:9\" }\n\
                    limits = { max_connections = 7, max_headers = 9 }";
        let (running, next) = (read(FILE), read(&FILE.replace("workers = 2", text)));
        let (lines, fixed) = changes(&running, &next);
        assert_eq!(fixed, ["workers", "pin", "busy_poll", "admin.address", "limits.max_connections"]);
        assert_eq!(lines, ["limits changed"]);
        let kept = keep_fixed(&running, next);
        assert_eq!((kept.workers, kept.pin, kept.busy_poll, &kept.admin), (2, false, false, &None));
        assert_eq!((kept.limits.connections, kept.limits.fields), (None, 9));
        assert_eq!(changes(&kept, &read(FILE)).1, [""; 0]);
        let alone = FILE.replace("workers = 2", "limits = { max_connections = 7 }\nworkers = 2");
        assert_eq!(changes(&running, &read(&alone)), (vec![], vec!["limits.max_connections"]));
    }
}

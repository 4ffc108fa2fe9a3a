//! The flags that say when a backend is trusted: what health checks find, and what traffic finds.

use super::flags::Flags;
use super::{needless, one_of, positive, value};
use crate::config::{self, Check, Ejection, Health, HttpCheck};
use crate::limits;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tcp,
    Http,
    None,
}

pub(super) fn health(flags: &Flags, base: Health) -> Result<Health, String> {
    let requested = [
        ("--health-path", flags.health_path.is_some()),
        ("--health-method", flags.health_method.is_some()),
        ("--health-host", flags.health_host.is_some()),
        ("--health-header", !flags.health_header.is_empty()),
        ("--health-status", flags.health_status.is_some()),
        ("--health-body", flags.health_body.is_some()),
    ];
    let kinds = [("tcp", Kind::Tcp), ("http", Kind::Http), ("none", Kind::None)];
    let kind = value("--health-check", &flags.health_check, |text| one_of(text, &kinds))?;
    let asks = requested.iter().any(|(_, given)| *given);
    let implied = match &base.check {
        _ if asks => Kind::Http,
        Check::Tcp => Kind::Tcp,
        Check::Http(_) => Kind::Http,
        Check::None => Kind::None,
    };
    let interval = value("--health-check-interval", &flags.health_check_interval, positive)?;
    let timeout = value("--health-check-timeout", &flags.health_check_timeout, positive)?;
    let rise = value("--health-rise", &flags.health_rise, at_least_one)?;
    let fall = value("--health-fall", &flags.health_fall, at_least_one)?;
    let check = match kind.unwrap_or(implied) {
        Kind::Tcp => {
            needless(
                &requested,
                "has no effect with --health-check tcp: only http sends a request; write that",
            )?;
            Check::Tcp
        }
        Kind::None => {
            let timed = [
                ("--health-check-interval", interval.is_some()),
                ("--health-check-timeout", timeout.is_some()),
                ("--health-rise", rise.is_some()),
                ("--health-fall", fall.is_some()),
            ];
            let all = [&requested[..], &timed].concat();
            let none = if kind.is_some() { "--health-check none" } else { "kind = \"none\" in the file" };
            needless(&all, &format!("has no effect with {none}; leave one of them out"))?;
            Check::None
        }
        Kind::Http => Check::Http(match base.check {
            Check::Http(check) => http(flags, check)?,
            Check::Tcp | Check::None => http(flags, HttpCheck::default())?,
        }),
    };
    Ok(Health {
        check,
        interval: interval.unwrap_or(base.interval),
        timeout: timeout.unwrap_or(base.timeout),
        rise: rise.unwrap_or(base.rise),
        fall: fall.unwrap_or(base.fall),
    })
}

fn http(flags: &Flags, base: HttpCheck) -> Result<HttpCheck, String> {
    let paths = flags.health_path.as_deref().map(config::parse_paths).transpose();
    let method = value("--health-method", &flags.health_method, config::parse_method)?;
    let fields = flags.health_header.iter().map(|text| {
        // What follows the name may be a password, so it is not said again.
        let name = text.split(':').next().unwrap_or(text);
        super::named("--health-header", name, config::parse_field(text))
    });
    let body = value("--health-body", &flags.health_body, body)?;
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let given = (method.is_some(), body.is_some());
    let (method, body) = (method.unwrap_or(base.method), body.or(base.body));
    if method == "HEAD" && body.is_some() {
        return Err(match given {
            (true, false) => "--health-method HEAD: no body answers it, and the file expects one".to_owned(),
            _ => "--health-body has no effect with --health-method HEAD: no body answers it".to_owned(),
        });
    }
    Ok(HttpCheck {
        paths: paths.map_err(|line| format!("--health-path {line}"))?.unwrap_or(base.paths),
        method,
        host: value("--health-host", &flags.health_host, config::parse_host)?.or(base.host),
        fields: if fields.is_empty() { base.fields } else { fields },
        expected: value("--health-status", &flags.health_status, config::parse_statuses)?
            .unwrap_or(base.expected),
        body,
        announce: base.announce,
    })
}

fn body(text: &str) -> Result<String, String> {
    match text {
        "" => Err("empty, and every body holds that; leave it out".to_owned()),
        text if text.contains(char::REPLACEMENT_CHARACTER) => Err("not UTF-8".to_owned()),
        text if text.len() > limits::HEALTH_BODY => {
            Err(format!("longer than what is read of a body, {}", config::size(limits::HEALTH_BODY as u64)))
        }
        text => Ok(text.to_owned()),
    }
}

pub(super) fn ejection(flags: &Flags, base: Ejection) -> Result<Ejection, String> {
    let max_fails = super::bounds::count("--max-fails", &flags.max_fails, "none take it out")?;
    let fail_rate = value("--fail-rate", &flags.fail_rate, |text| config::parse_percent(text, 0..=100))?;
    let window = value("--fail-window", &flags.fail_window, positive)?;
    let statuses = value("--fail-statuses", &flags.fail_statuses, config::parse_statuses)?;
    let time = value("--eject-time", &flags.eject_time, positive)?;
    let time_max = value("--eject-time-max", &flags.eject_time_max, positive)?;
    let most = value("--max-ejected", &flags.max_ejected, |text| config::parse_percent(text, 0..=100))?;
    if fail_rate == Some(0) {
        let given = [("--fail-window", window.is_some())];
        needless(&given, "has no effect with --fail-rate 0; leave one of them out")?;
    }
    if (max_fails, fail_rate) == (Some(0), Some(0)) {
        let given = [
            ("--fail-statuses", statuses.is_some()),
            ("--eject-time", time.is_some()),
            ("--eject-time-max", time_max.is_some()),
            ("--max-ejected", most.is_some()),
        ];
        needless(
            &given,
            "has no effect with --max-fails 0 and --fail-rate 0: no failure takes a backend out",
        )?;
    }
    let time = time.unwrap_or(base.time);
    if let Some(most) = time_max.filter(|most| *most < time) {
        return Err(format!(
            "--eject-time-max, {most:?}, is less than --eject-time, {time:?}; raise it or lower that"
        ));
    }
    Ok(Ejection {
        max_fails: max_fails.unwrap_or(base.max_fails),
        fail_rate: fail_rate.unwrap_or(base.fail_rate),
        window: window.unwrap_or(base.window),
        fail_rate_requests: base.fail_rate_requests,
        time,
        // A longer first time alone must not be refused for a longest that nobody asked for.
        time_max: time_max.unwrap_or(base.time_max.max(time)),
        most: most.unwrap_or(base.most),
        statuses: statuses.unwrap_or(base.statuses),
    })
}

fn at_least_one(text: &str) -> Result<u32, String> {
    config::parse_count(text, 1..=u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{assert_refused, pool_of, pool_of_words};
    use super::*;

    #[test]
    fn every_flag_of_a_check_reaches_its_field() {
        let given = pool_of_words(&[
            "--health-path=/a?b,/",
            "--health-method",
            "OPTIONS",
            "--health-host",
            "www.example.com",
            "--health-header",
            "Authorization: Basic eDp5",
            "--health-header=X-Probe:1",
            "--health-status",
            "2xx,404",
            "--health-body",
            "läuft: ok",
            "--health-rise",
            "4",
            "--health-fall=5",
            "--health-check-interval",
            "6s",
            "--health-check-timeout",
            "7s",
        ]);
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let right = Health {
            check: Check::Http(HttpCheck {
                announce: None,
                paths: vec!["/a?b".to_owned(), "/".to_owned()],
                method: "OPTIONS".to_owned(),
                host: Some("www.example.com".to_owned()),
                fields: vec![field("Authorization", "Basic eDp5"), field("X-Probe", "1")],
                expected: config::parse_statuses("200-299,404").unwrap(),
                body: Some("läuft: ok".to_owned()),
            }),
            interval: Duration::from_secs(6),
            timeout: Duration::from_secs(7),
            rise: 4,
            fall: 5,
        };
        assert_eq!(given.health, right);
    }

    #[test]
    fn a_flag_of_a_request_means_http() {
        let check = |line: &str| pool_of(line).health.check;
        assert_eq!(check("--health-rise 3"), Check::Tcp);
        assert_eq!(check("--health-check tcp --health-fall 1"), Check::Tcp);
        assert_eq!(check("--health-check none"), Check::None);
        assert_eq!(check("--health-check http"), Check::Http(HttpCheck::default()));
        let flags = ["path /", "method HEAD", "host a", "header A:b", "status 200", "body ok"];
        for flag in flags {
            assert!(matches!(check(&format!("--health-{flag}")), Check::Http(_)), "{flag}");
            for kind in ["tcp", "none"] {
                let line = super::super::tests::refusal_of(&format!("--health-check {kind} --health-{flag}"));
                let name = flag.split(' ').next().unwrap_or(flag);
                let wrong = format!("--health-{name} has no effect with --health-check {kind}");
                assert!(line.starts_with(&wrong), "{line}");
            }
        }
    }

    #[test]
    fn every_flag_of_failures_reaches_its_field() {
        let given = pool_of(
            "--max-fails 1 --fail-rate 2% --fail-window 3s --fail-statuses 5xx --eject-time 4s \
             --eject-time-max 5s --max-ejected 6",
        );
        let right = Ejection {
            max_fails: 1,
            fail_rate: 2,
            window: Duration::from_secs(3),
            fail_rate_requests: limits::FAIL_RATE_REQUESTS,
            time: Duration::from_secs(4),
            time_max: Duration::from_secs(5),
            most: 6,
            statuses: config::parse_statuses("500-599").unwrap(),
        };
        assert_eq!(given.ejection, right);
        let off = pool_of("--max-fails 0 --fail-rate 0").ejection;
        assert_eq!((off.max_fails, off.fail_rate), (0, 0));
        let long = pool_of("--eject-time 2m").ejection;
        assert_eq!((long.time, long.time_max), (Duration::from_secs(120), Duration::from_secs(120)));
    }

    #[test]
    fn what_is_wrong_with_a_check_is_refused() {
        const COUNT: &str = "must be a whole number from 1 to 4294967295";
        assert_refused(&[
            ("--health-check ping", "--health-check \"ping\": must be tcp, http or none"),
            (
                "--health-check tcp --health-path /",
                "--health-path has no effect with --health-check tcp: only http sends a request; write that",
            ),
            (
                "--health-check none --health-check-interval 1s",
                "--health-check-interval has no effect with --health-check none; leave one of them out",
            ),
            (
                "--health-check none --health-rise 1",
                "--health-rise has no effect with --health-check none; leave one of them out",
            ),
            ("--health-rise 0", &format!("--health-rise \"0\": {COUNT}")),
            ("--health-fall x", &format!("--health-fall \"x\": {COUNT}")),
            (
                "--health-path health",
                "--health-path \"health\": a path begins with /; write one or more, like /health,/",
            ),
            (
                "--health-method get",
                "--health-method \"get\": methods are in upper case; write one like GET, HEAD or OPTIONS",
            ),
            (
                "--health-host http://a",
                "--health-host \"http://a\": '/' may not stand in a host; write a host, or host:port, \
                 like www.example.com",
            ),
            (
                "--health-header Authorization:s3cret\n",
                "--health-header \"Authorization\": '\\n' may not stand in its value; visible ASCII, spaces and tabs may",
            ),
            ("--health-header Host:a", "--health-header \"Host\": Host is set by --health-host"),
            ("--health-header Probe", "--health-header \"Probe\": no colon; write it like \"X-Probe: yes\""),
            (
                "--health-status ok",
                "--health-status \"ok\": \"ok\" is no status; write statuses from 100 to 599, like 200,300-399,5xx",
            ),
            ("--health-body=", "--health-body \"\": empty, and every body holds that; leave it out"),
            (
                "--health-body ok --health-method HEAD",
                "--health-body has no effect with --health-method HEAD: no body answers it",
            ),
        ]);
        let long = "x".repeat(limits::HEALTH_BODY + 1);
        assert!(body(&long).unwrap_err().contains("longer than what is read of a body, 64k"));
        assert!(body(&long[1..]).is_ok());
    }

    #[test]
    fn what_is_wrong_with_failures_is_refused() {
        const OFF: &str =
            "has no effect with --max-fails 0 and --fail-rate 0: no failure takes a backend out";
        assert_refused(&[
            (
                "--max-fails -1",
                "--max-fails \"-1\": must be a whole number from 0 to 4294967295 (0: none take it out)",
            ),
            ("--fail-rate 101", "--fail-rate \"101\": must be a whole number from 0 to 100"),
            ("--fail-window 0", "--fail-window \"0\": too short; it must be at least 1ms"),
            (
                "--fail-rate 0 --fail-window 1s",
                "--fail-window has no effect with --fail-rate 0; leave one of them out",
            ),
            (
                "--fail-statuses 5x",
                "--fail-statuses \"5x\": \"5x\" is no status; write statuses from 100 to 599, like 200,300-399,5xx",
            ),
            ("--eject-time 0", "--eject-time \"0\": too short; it must be at least 1ms"),
            ("--eject-time-max 0", "--eject-time-max \"0\": too short; it must be at least 1ms"),
            (
                "--eject-time-max 500ms",
                "--eject-time-max, 500ms, is less than --eject-time, 1s; raise it or lower that",
            ),
            ("--max-ejected x", "--max-ejected \"x\": must be a whole number from 0 to 100"),
            ("--max-fails 0 --fail-rate 0 --eject-time 1s", &format!("--eject-time {OFF}")),
            ("--max-fails 0 --fail-rate 0 --eject-time-max 1s", &format!("--eject-time-max {OFF}")),
            ("--max-fails 0 --fail-rate 0 --max-ejected 10", &format!("--max-ejected {OFF}")),
            ("--max-fails 0 --fail-rate 0 --fail-statuses 500", &format!("--fail-statuses {OFF}")),
        ]);
    }
}

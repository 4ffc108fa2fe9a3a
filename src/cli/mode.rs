//! Flags that say something of requests, where connections are balanced as a whole.

use super::flags::Flags;
use super::needless;
use crate::config::{Listener, Mode};

const NO_REQUESTS: &str =
    "has no effect: every listener is of mode tcp, which looks at no request; leave it out";
const NO_HEAD: &str = "has no effect: every listener is of mode tcp, and none waits for a PROXY header or a server's name; leave it out";
const ADDRESS_ALONE: &str = "has no effect: every listener is of mode tcp, where nothing but a client's address is known; leave it out";

fn are_tcp(listeners: &[Listener]) -> bool {
    !listeners.is_empty() && listeners.iter().all(|listener| listener.mode == Mode::Tcp)
}

/// Refuses what no listener has a use for.
pub(super) fn check(flags: &Flags, listeners: &[Listener]) -> Result<(), String> {
    if !are_tcp(listeners) {
        return Ok(());
    }
    let other_key =
        |key: &Option<String>| key.as_ref().is_some_and(|key| !key.eq_ignore_ascii_case("address"));
    let by_cookie = flags.sticky.as_ref().is_some_and(|by| by.eq_ignore_ascii_case("cookie"));
    let of_clients = [
        ("--hash-key", other_key(&flags.hash_key)),
        ("--rate-key", other_key(&flags.rate_key)),
        ("--sticky cookie", by_cookie),
        ("--sticky-cookie", flags.sticky_cookie.is_some()),
        ("--trust-forwarded", flags.trust_forwarded.is_some()),
    ];
    needless(&of_clients, ADDRESS_ALONE)?;
    let waits = |listener: &Listener| listener.proxy.is_some() || !listener.routes.all().is_empty();
    if !listeners.iter().any(waits) {
        needless(&[("--head-timeout", flags.head_timeout.is_some())], NO_HEAD)?;
    }
    let of_requests = [
        ("--fail-statuses", &flags.fail_statuses),
        ("--retry-statuses", &flags.retry_statuses),
        ("--try-timeout", &flags.try_timeout),
        ("--response-timeout", &flags.response_timeout),
        ("--idle-timeout", &flags.idle_timeout),
        ("--stall-timeout", &flags.stall_timeout),
        ("--backend-idle-timeout", &flags.backend_idle_timeout),
        ("--backend-max-idle", &flags.backend_max_idle),
        ("--max-head", &flags.max_head),
        ("--max-headers", &flags.max_headers),
        ("--max-target", &flags.max_target),
        ("--max-body", &flags.max_body),
        ("--min-body-rate", &flags.min_body_rate),
        ("--max-requests", &flags.max_requests),
        ("--status-path", &flags.status_path),
        ("--cause-header", &flags.cause_header),
    ];
    needless(&of_requests.map(|(flag, given)| (flag, given.is_some())), NO_REQUESTS)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refusal_of, run_of};

    #[test]
    fn what_says_something_of_requests_goes_with_http_only() {
        for flags in [
            "--hash-key uri --algorithm hash",
            "--rate-key header:X-Key --rate-limit 1/s",
            "--sticky cookie --sticky-secret 0123456789abcdef",
            "--trust-forwarded 10.0.0.0/8",
            "--retry-statuses 503",
            "--try-timeout 1s",
            "--max-body 1m",
            "--stall-timeout 1s",
            "--head-timeout 1s",
            "--status-path /status",
            "--cause-header X-Cause",
        ] {
            let line = refusal_of(&format!("{flags} --mode tcp"));
            let flag = flags.split(' ').next().unwrap();
            assert!(line.starts_with(flag) && line.contains("has no effect: every listener"), "{line}");
            run_of(flags);
        }
        run_of("--mode tcp --algorithm hash --hash-key address --sticky address");
        run_of("--mode tcp --proxy-protocol require --proxy-from 10.0.0.0/8 --head-timeout 1s");
    }
}

//! The flags themselves: their names and their help text.

use argh::{ArgsInfo, FromArgs};

#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(
    description = "Spreads HTTP requests over backends, with one event loop on each core. Without a
flag it listens on port 8080 and balances over three local backends; --demo
brings backends of its own.",
    help_triggers("--help", "-h", "help"),
    usage = "[--config FILE] [--check] [--explain REQUEST] [--print-config]
         [--listen ADDR:PORT]... [--port N] [--mode http|tcp]
         [--proxy-protocol require|accept] [--proxy-from LIST]
         [--send-proxy v1|v2]
         [--workers N] [--pin] [--busy-poll] [--backends LIST]
         [--backup LIST] [--demo]
         [--algorithm round-robin|least-connections|two-choices|peak-ewma|
         random|ip-hash|hash] [--hash-key KEY] [--hash-bound PERCENT]
         [--slow-start DUR] [--fail-open]
         [--health-check tcp|http|none] [--health-check-interval DUR]
         [--health-check-timeout DUR] [--health-rise N] [--health-fall N]
         [--health-path LIST] [--health-method M] [--health-host H]
         [--health-header FIELD]... [--health-status LIST] [--health-body TEXT]
         [--max-fails N] [--fail-rate PERCENT] [--fail-window DUR]
         [--fail-statuses LIST] [--eject-time DUR] [--eject-time-max DUR]
         [--max-ejected PERCENT]
         [--retries N] [--retry-delay DUR] [--retry-budget PERCENT]
         [--retry-statuses LIST] [--try-timeout DUR]
         [--backend-max-connections N] [--backend-max-requests N]
         [--backend-max-idle N] [--queue-length N] [--queue-timeout DUR]
         [--sticky cookie|address|none] [--sticky-cookie NAME]
         [--sticky-path P] [--sticky-same-site strict|lax|none]
         [--sticky-secure] [--sticky-secret TEXT] [--sticky-time DUR]
         [--sticky-return]
         [--rate-limit N/DUR] [--rate-burst N] [--rate-key KEY]
         [--admin ADDR:PORT] [--admin-token TEXT]
         [--access-log FILE|-] [--access-log-format text|json]
         [--trust-forwarded LIST] [--max-head BYTES] [--max-headers N]
         [--max-target BYTES] [--max-body BYTES] [--min-body-rate BYTES]
         [--max-requests N] [--max-connections N]
         [--max-connections-per-client N] [--head-timeout DUR]
         [--idle-timeout DUR] [--connect-timeout DUR] [--response-timeout DUR]
         [--stall-timeout DUR] [--tunnel-timeout DUR]
         [--lifetime-timeout DUR] [--backend-idle-timeout DUR]
         [--drain-timeout DUR] [--status-path P] [--cause-header NAME]
         [--log-level error|warn|info|debug] [--version] [--help]",
    example = "{command_name} --demo",
    example = "{command_name} --port 80 --backends http://10.0.0.1:8080,http://10.0.0.2:8080",
    example = "{command_name} --listen 127.0.0.1:8080 --listen [::1]:8080 --workers 4 --pin",
    example = "{command_name} --config lb.toml --check",
    example = "EVENKEEL_STICKY_SECRET=$(cat secret) {command_name} --sticky cookie",
    note = "LIST is comma-separated. A backend is http://host:port or host:port; an IPv6",
    note = "host stands in brackets, like [::1]:8081. =WEIGHT behind a backend, 1 to 256,",
    note = "gives it that share beside the others'. Statuses are like 200,300-399,5xx.",
    note = "A network is an address or a CIDR, like 10.0.0.0/8 or 2001:db8::/32.",
    note = "DUR is 500ms, 2s, 1m, 1h or a bare number of seconds; 1.5s is fine too.",
    note = "BYTES is a bare number or has a k, m or g, powers of 1024, like 32k; 32kb and",
    note = "32KiB are the same.",
    note = "A value may follow its flag as the next word or after a =, as in --port=80.",
    note = "PROXY_PORT in the environment sets the port; --port and --listen win over it.",
    note = "EVENKEEL_STICKY_SECRET sets what --sticky-secret does, which wins over it.",
    note = "A file may say all that flags can, and more: listeners, pools, routes. Flags",
    note = "go before the file, the file before the environment; a flag of one pool or",
    note = "listener is refused where the file names several.",
    note = "SIGHUP reads the file of --config again; a bad one changes nothing.",
    note = "SIGUSR1 opens the file of --access-log again, after it was renamed.",
    note = "SIGTERM or SIGINT drains and ends the run, a second one ends it at once.",
    note = "Exit codes: 0 after a drain, 2 when it cannot start as asked."
)]
pub(super) struct Flags {
    /// configuration file: TOML, YAML or JSON by its ending (.toml, .yaml, .yml, .json)
    #[argh(option, arg_name = "FILE")]
    pub(super) config: Option<String>,
    /// say whether a run with these flags and this file could start, with every error of the file; exit code 0 or 2
    #[argh(switch)]
    pub(super) check: bool,
    /// say what would become of a request, written like "GET api.example.com/v1/x", or of a connection in TCP mode, like tcp://example.com:443, and do not run
    #[argh(option, arg_name = "REQUEST")]
    pub(super) explain: Option<String>,
    /// print all defaults, commented, as a file to start from
    #[argh(switch)]
    pub(super) print_config: bool,
    /// an address and port to listen on, as 127.0.0.1:8080 or [::]:8080; may be given more than once
    #[argh(option, arg_name = "ADDR:PORT")]
    pub(super) listen: Vec<String>,
    /// port to listen on, on all addresses, IPv4 and IPv6; 0 takes a free one (default 8080)
    #[argh(option, arg_name = "N")]
    pub(super) port: Option<String>,
    /// what is spoken there: http, or tcp for anything else, of which connections are balanced (default http)
    #[argh(option, arg_name = "MODE")]
    pub(super) mode: Option<String>,
    /// connections begin, or may begin, with a header of the PROXY protocol: require or accept (default: neither)
    #[argh(option, arg_name = "HOW")]
    pub(super) proxy_protocol: Option<String>,
    /// who may send such a header, by address or CIDR
    #[argh(option, arg_name = "LIST")]
    pub(super) proxy_from: Option<String>,
    /// begin each connection to a backend with a header of the PROXY protocol: v1 or v2 (default: none)
    #[argh(option, arg_name = "VERSION")]
    pub(super) send_proxy: Option<String>,
    /// number of worker threads, 1 to 1024 (default: the cores this process may use)
    #[argh(option, arg_name = "N")]
    pub(super) workers: Option<String>,
    /// pin each worker to a core of its own
    #[argh(switch)]
    pub(super) pin: bool,
    /// poll without sleeping: lowest latency, a whole core for each worker
    #[argh(switch)]
    pub(super) busy_poll: bool,
    /// backends to balance over, comma-separated, each with its =WEIGHT
    /// (default http://localhost:8081,http://localhost:8082,http://localhost:8083)
    #[argh(option, arg_name = "LIST")]
    pub(super) backends: Option<String>,
    /// backends, as in --backends, that are used only while none of those can be
    #[argh(option, arg_name = "LIST")]
    pub(super) backup: Option<String>,
    /// start three backends on free local ports and balance over them
    #[argh(switch)]
    pub(super) demo: bool,
    /// how a backend is chosen: round-robin, least-connections, two-choices, peak-ewma, random, ip-hash
    /// or hash (default round-robin)
    #[argh(option, arg_name = "NAME")]
    pub(super) algorithm: Option<String>,
    /// what --algorithm hash hashes: uri, address, header:NAME or cookie:NAME (default uri)
    #[argh(option, arg_name = "KEY")]
    pub(super) hash_key: Option<String>,
    /// most requests in flight of a backend that is chosen by hash, in percent of the mean, over 100; 0: no
    /// bound (default 0 by address and with --mode tcp, else 125)
    #[argh(option, arg_name = "PERCENT")]
    pub(super) hash_bound: Option<String>,
    /// time over which a backend that returns is brought to its full share; 0: at once (default 0)
    #[argh(option, arg_name = "DUR")]
    pub(super) slow_start: Option<String>,
    /// with every backend down, try them all the same
    #[argh(switch)]
    pub(super) fail_open: bool,
    /// what a health check does: tcp connects, http sends a request, none is no check (default tcp; http with
    /// any --health-path, -method, -host, -header, -status or -body)
    #[argh(option, arg_name = "KIND")]
    pub(super) health_check: Option<String>,
    /// time between two health checks of a backend (default 10s)
    #[argh(option, arg_name = "DUR")]
    pub(super) health_check_interval: Option<String>,
    /// time after which a health check that has not succeeded has failed (default 2s)
    #[argh(option, arg_name = "DUR")]
    pub(super) health_check_timeout: Option<String>,
    /// health checks in a row that must succeed to bring a backend up (default 2)
    #[argh(option, arg_name = "N")]
    pub(super) health_rise: Option<String>,
    /// health checks in a row that must fail to take a backend down (default 3)
    #[argh(option, arg_name = "N")]
    pub(super) health_fall: Option<String>,
    /// paths of an HTTP check, tried in turn until one succeeds (default /health,/)
    #[argh(option, arg_name = "LIST")]
    pub(super) health_path: Option<String>,
    /// method of an HTTP check (default GET)
    #[argh(option, arg_name = "M")]
    pub(super) health_method: Option<String>,
    /// what an HTTP check sends as Host (default: the backend's host:port)
    #[argh(option, arg_name = "H")]
    pub(super) health_host: Option<String>,
    /// a further field of an HTTP check, as "Name: value"; may be given more than once
    #[argh(option, arg_name = "FIELD")]
    pub(super) health_header: Vec<String>,
    /// statuses that an HTTP check expects (default 100-499)
    #[argh(option, arg_name = "LIST")]
    pub(super) health_status: Option<String>,
    /// text that the answer's body must hold, within its first 64k (default: any body)
    #[argh(option, arg_name = "TEXT")]
    pub(super) health_body: Option<String>,
    /// failures in a row, as requests meet them, that take a backend out; 0: none do (default 3)
    #[argh(option, arg_name = "N")]
    pub(super) max_fails: Option<String>,
    /// failures in percent of the requests of a --fail-window, of which it must have had 20, that take a
    /// backend out; 0: none do (default 50)
    #[argh(option, arg_name = "PERCENT")]
    pub(super) fail_rate: Option<String>,
    /// time over which the failure rate is taken (default 10s)
    #[argh(option, arg_name = "DUR")]
    pub(super) fail_window: Option<String>,
    /// answers that count as failures of a backend (default: none)
    #[argh(option, arg_name = "LIST")]
    pub(super) fail_statuses: Option<String>,
    /// how long a backend that failed is out before one request may try it; doubled each time (default 1s)
    #[argh(option, arg_name = "DUR")]
    pub(super) eject_time: Option<String>,
    /// the longest that it is out (default 60s, or --eject-time if that is more)
    #[argh(option, arg_name = "DUR")]
    pub(super) eject_time_max: Option<String>,
    /// backends that failures may take out at once, in percent of all (default 50)
    #[argh(option, arg_name = "PERCENT")]
    pub(super) max_ejected: Option<String>,
    /// how often a failed request is tried again at most, 0 to 15 (default 3)
    #[argh(option, arg_name = "N")]
    pub(super) retries: Option<String>,
    /// wait before the same backend is tried again; another one is tried at once (default 10ms)
    #[argh(option, arg_name = "DUR")]
    pub(super) retry_delay: Option<String>,
    /// retries of all requests together, in percent of the requests; 3 a second are granted in any case
    /// (default 20)
    #[argh(option, arg_name = "PERCENT")]
    pub(super) retry_budget: Option<String>,
    /// answers for which a request that may be sent again is tried again (default: none)
    #[argh(option, arg_name = "LIST")]
    pub(super) retry_statuses: Option<String>,
    /// time for one try of a request that can be tried again, less than --response-timeout (default: none)
    #[argh(option, arg_name = "DUR")]
    pub(super) try_timeout: Option<String>,
    /// connections to each backend, of all workers together; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) backend_max_connections: Option<String>,
    /// requests in flight to each backend, of all workers together; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) backend_max_requests: Option<String>,
    /// unused connections that one worker keeps to one backend; 0: none (default 512)
    #[argh(option, arg_name = "N")]
    pub(super) backend_max_idle: Option<String>,
    /// requests that wait while every backend has all that it may have; 0: none (default 1024)
    #[argh(option, arg_name = "N")]
    pub(super) queue_length: Option<String>,
    /// how long each of them waits at most (default 5s)
    #[argh(option, arg_name = "DUR")]
    pub(super) queue_timeout: Option<String>,
    /// how a client is known that returns to the backend it had: cookie, address or none (default none; cookie
    /// with --sticky-cookie)
    #[argh(option, arg_name = "BY")]
    pub(super) sticky: Option<String>,
    /// name of the cookie (default evenkeel)
    #[argh(option, arg_name = "NAME")]
    pub(super) sticky_cookie: Option<String>,
    /// path of the cookie (default /)
    #[argh(option, arg_name = "P")]
    pub(super) sticky_path: Option<String>,
    /// the cookie's SameSite: strict, lax or none (default lax)
    #[argh(option, arg_name = "MODE")]
    pub(super) sticky_same_site: Option<String>,
    /// have the cookie sent over TLS only
    #[argh(switch)]
    pub(super) sticky_secure: bool,
    /// keys the cookie's value, 16 characters or more, the same for all instances; other users of the machine
    /// see flags, so better set EVENKEEL_STICKY_SECRET
    #[argh(option, arg_name = "TEXT")]
    pub(super) sticky_secret: Option<String>,
    /// how long --sticky address remembers a client after its last request (default 30m)
    #[argh(option, arg_name = "DUR")]
    pub(super) sticky_time: Option<String>,
    /// a client whose backend was out goes back to it later (default: it stays with the new one)
    #[argh(switch)]
    pub(super) sticky_return: bool,
    /// requests of each client, as 100/s or 600/1m; more get a 429 (default: no limit)
    #[argh(option, arg_name = "N/DUR")]
    pub(super) rate_limit: Option<String>,
    /// requests of a client that may come at once (default: what one second of the rate brings, at least 1)
    #[argh(option, arg_name = "N")]
    pub(super) rate_burst: Option<String>,
    /// what tells clients apart: address or header:NAME (default address)
    #[argh(option, arg_name = "KEY")]
    pub(super) rate_key: Option<String>,
    /// an address and port for status, metrics, the dashboard and live commands, as 127.0.0.1:9900
    #[argh(option, arg_name = "ADDR:PORT")]
    pub(super) admin: Option<String>,
    /// what --admin asks for as a bearer token; other users of the machine see flags, so better set
    /// EVENKEEL_ADMIN_TOKEN
    #[argh(option, arg_name = "TEXT")]
    pub(super) admin_token: Option<String>,
    /// a line for each request goes there, - is standard output; SIGUSR1 opens the file again (default: nowhere)
    #[argh(option, arg_name = "FILE")]
    pub(super) access_log: Option<String>,
    /// how such a line looks: text (the combined format, with more at its end) or json (default text)
    #[argh(option, arg_name = "FORMAT")]
    pub(super) access_log_format: Option<String>,
    /// clients, by address or CIDR, whose own X-Forwarded-* and X-Request-Id are kept; those of all
    /// others are replaced (default: nobody)
    #[argh(option, arg_name = "LIST")]
    pub(super) trust_forwarded: Option<String>,
    /// size of a request's or response's head, 1k to 60k (default 32k)
    #[argh(option, arg_name = "BYTES")]
    pub(super) max_head: Option<String>,
    /// header fields in a head, 1 to 128 (default 100)
    #[argh(option, arg_name = "N")]
    pub(super) max_headers: Option<String>,
    /// size of a request's target, 64 to --max-head (default 8k, or --max-head if that is less)
    #[argh(option, arg_name = "BYTES")]
    pub(super) max_target: Option<String>,
    /// size of a request's body; 0: no limit (default 0)
    #[argh(option, arg_name = "BYTES")]
    pub(super) max_body: Option<String>,
    /// what a request's body must bring each second; 0: no limit (default 100)
    #[argh(option, arg_name = "BYTES")]
    pub(super) min_body_rate: Option<String>,
    /// requests on one client connection; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) max_requests: Option<String>,
    /// client connections in all; 0: as many as the descriptors allow (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) max_connections: Option<String>,
    /// connections of one client address; 0: no limit (default 0)
    #[argh(option, arg_name = "N")]
    pub(super) max_connections_per_client: Option<String>,
    /// time for a whole request head, from the accept or its first byte (default 10s)
    #[argh(option, arg_name = "DUR")]
    pub(super) head_timeout: Option<String>,
    /// time a client connection is kept without a request (default 60s)
    #[argh(option, arg_name = "DUR")]
    pub(super) idle_timeout: Option<String>,
    /// time for a connect to a backend (default 2s)
    #[argh(option, arg_name = "DUR")]
    pub(super) connect_timeout: Option<String>,
    /// time from a request sent to the head of its response (default 60s)
    #[argh(option, arg_name = "DUR")]
    pub(super) response_timeout: Option<String>,
    /// time in which a body, either way, may stand still (default 30s)
    #[argh(option, arg_name = "DUR")]
    pub(super) stall_timeout: Option<String>,
    /// time in which a WebSocket or other tunnel may be quiet (default 1h)
    #[argh(option, arg_name = "DUR")]
    pub(super) tunnel_timeout: Option<String>,
    /// time for a tunnel as a whole; 0: no limit (default 0)
    #[argh(option, arg_name = "DUR")]
    pub(super) lifetime_timeout: Option<String>,
    /// time an unused connection to a backend is kept (default 50s)
    #[argh(option, arg_name = "DUR")]
    pub(super) backend_idle_timeout: Option<String>,
    /// how long requests in flight may take to finish when the run ends (default 30s)
    #[argh(option, arg_name = "DUR")]
    pub(super) drain_timeout: Option<String>,
    /// path that answers which backends are alive, as JSON; "" turns it off (default /lb-status)
    #[argh(option, arg_name = "P")]
    pub(super) status_path: Option<String>,
    /// a header of our own error replies that tells their cause, as X-Evenkeel-Cause; "" turns it off (default: none)
    #[argh(option, arg_name = "NAME")]
    pub(super) cause_header: Option<String>,
    /// how much to log: error, warn, info or debug (default info)
    #[argh(option, arg_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// print the version
    #[argh(switch, short = 'V')]
    pub(super) version: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Outcome;
    use super::super::tests::with;
    use crate::config::{HttpCheck, size};
    use crate::limits;

    fn bytes(bytes: usize) -> String {
        size(bytes as u64)
    }

    fn seconds(duration: Duration) -> String {
        format!("(default {}s)", duration.as_secs())
    }

    /// What the help says of the flags of a pool and of clients.
    fn pool_help() -> Vec<(&'static str, String)> {
        let check = HttpCheck::default();
        vec![
            ("backends", format!("(default {})", limits::BACKENDS)),
            ("health-check-interval", seconds(limits::HEALTH_INTERVAL)),
            ("health-check-timeout", seconds(limits::HEALTH_TIMEOUT)),
            ("retries", format!("0 to {} (default {})", limits::RETRIES_MAX, limits::RETRIES)),
            ("retry-delay", format!("(default {}ms)", limits::RETRY_DELAY.as_millis())),
            ("max-fails", format!("(default {})", limits::MAX_FAILS)),
            ("backend-max-connections", "0: no limit (default 0)".to_owned()),
            ("backend-max-idle", format!("0: none (default {})", limits::IDLE_UPSTREAMS)),
            ("backup", "only while none of those can be".to_owned()),
            ("algorithm", "(default round-robin)".to_owned()),
            ("hash-key", "(default uri)".to_owned()),
            ("hash-bound", format!("by address and with --mode tcp, else {})", limits::HASH_BOUND)),
            ("slow-start", "0: at once (default 0)".to_owned()),
            ("fail-open", "with every backend down".to_owned()),
            ("health-check", "(default tcp; http with".to_owned()),
            ("health-rise", format!("(default {})", limits::HEALTH_RISE)),
            ("health-fall", format!("(default {})", limits::HEALTH_FALL)),
            ("health-path", format!("(default {})", limits::HEALTH_PATHS.join(","))),
            ("health-method", format!("(default {})", check.method)),
            ("health-host", "(default: the backend's host:port)".to_owned()),
            ("health-header", "more than once".to_owned()),
            ("health-status", format!("(default {})", check.expected)),
            ("health-body", format!("first {} (default: any", bytes(limits::HEALTH_BODY))),
            ("fail-rate", format!("had {}, that take", limits::FAIL_RATE_REQUESTS)),
            ("fail-rate", format!("0: none do (default {})", limits::FAIL_RATE)),
            ("fail-window", seconds(limits::FAIL_WINDOW)),
            ("fail-statuses", "(default: none)".to_owned()),
            ("eject-time", seconds(limits::EJECT_TIME)),
            ("eject-time-max", format!("(default {}s, or", limits::EJECT_TIME_MAX.as_secs())),
            ("max-ejected", format!("(default {})", limits::EJECT_MOST)),
            ("retry-budget", format!("{} a second are granted", limits::RETRY_BUDGET_FLOOR)),
            ("retry-budget", format!("(default {})", limits::RETRY_BUDGET)),
            ("retry-statuses", "(default: none)".to_owned()),
            ("try-timeout", "(default: none)".to_owned()),
            ("backend-max-requests", "0: no limit (default 0)".to_owned()),
            ("queue-length", format!("0: none (default {})", limits::QUEUE_LENGTH)),
            ("queue-timeout", seconds(limits::QUEUE_TIMEOUT)),
            ("sticky", "(default none; cookie with".to_owned()),
            ("sticky-cookie", format!("(default {})", limits::STICKY_COOKIE)),
            ("sticky-path", "(default /)".to_owned()),
            ("sticky-same-site", "(default lax)".to_owned()),
            ("sticky-secure", "over TLS only".to_owned()),
            ("sticky-secret", format!("{} characters or more", limits::STICKY_SECRET_MIN)),
            ("sticky-time", format!("(default {}m)", limits::STICKY_TIME.as_secs() / 60)),
            ("sticky-return", "(default: it stays with the new one)".to_owned()),
            ("rate-limit", "(default: no limit)".to_owned()),
            ("rate-burst", "(default: what one second of the rate brings, at least 1)".to_owned()),
            ("rate-key", "(default address)".to_owned()),
        ]
    }

    /// What it says of all others.
    fn other_help() -> Vec<(&'static str, String)> {
        vec![
            ("port", format!("(default {})", limits::PORT)),
            ("workers", format!("1 to {} (default: the cores", limits::WORKERS_MAX)),
            ("trust-forwarded", "(default: nobody)".to_owned()),
            (
                "max-head",
                format!(
                    "{} to {} (default {})",
                    bytes(limits::HEAD_MIN),
                    bytes(limits::HEAD_MAX),
                    bytes(limits::HEAD)
                ),
            ),
            ("max-headers", format!("1 to {} (default {})", limits::FIELDS, limits::FIELDS_DEFAULT)),
            (
                "max-target",
                format!("{} to --max-head (default {},", limits::TARGET_MIN, bytes(limits::TARGET)),
            ),
            ("max-body", "0: no limit (default 0)".to_owned()),
            ("min-body-rate", format!("0: no limit (default {})", limits::BODY_RATE)),
            ("max-requests", "0: no limit (default 0)".to_owned()),
            ("max-connections", "descriptors allow (default 0)".to_owned()),
            ("max-connections-per-client", "0: no limit (default 0)".to_owned()),
            ("head-timeout", seconds(limits::HEAD_TIMEOUT)),
            ("idle-timeout", seconds(limits::IDLE_TIMEOUT)),
            ("connect-timeout", seconds(limits::CONNECT_TIMEOUT)),
            ("response-timeout", seconds(limits::RESPONSE_TIMEOUT)),
            ("stall-timeout", seconds(limits::STALL_TIMEOUT)),
            ("tunnel-timeout", format!("(default {}h)", limits::TUNNEL_TIMEOUT.as_secs() / 3600)),
            ("lifetime-timeout", "0: no limit (default 0)".to_owned()),
            ("mode", "(default http)".to_owned()),
            ("proxy-protocol", "require or accept".to_owned()),
            ("proxy-from", "by address or CIDR".to_owned()),
            ("send-proxy", "v1 or v2".to_owned()),
            ("backend-idle-timeout", seconds(limits::UPSTREAM_IDLE_TIMEOUT)),
            ("drain-timeout", seconds(limits::DRAIN_TIMEOUT)),
            ("status-path", format!("(default {})", limits::STATUS_PATH)),
            ("log-level", "(default info)".to_owned()),
            ("access-log", "- is standard output".to_owned()),
            ("access-log-format", "(default text)".to_owned()),
            ("listen", "more than once".to_owned()),
            ("pin", "core".to_owned()),
            ("busy-poll", "a whole core for each worker".to_owned()),
            ("demo", "three backends".to_owned()),
            ("config", ".toml, .yaml, .yml, .json".to_owned()),
            ("check", "exit code 0 or 2".to_owned()),
            ("explain", "and do not run".to_owned()),
            ("print-config", "a file to start from".to_owned()),
        ]
    }

    /// The help is literal text, so this holds it to `limits`.
    #[test]
    fn help_gives_every_flag_and_default() {
        let Outcome::Print(help) = with(&["--help"], &[]) else { panic!("no help") };
        let (usage, options) = help.split_once("Options:").expect("two parts");
        let (options, _) = options.split_once("Examples:").expect("examples after the options");
        let options: Vec<&str> = options.split("\n  --").map(str::trim).collect();
        let option = |flag: &str| {
            let found = options.iter().find(|text| text.split_whitespace().next() == Some(flag));
            found.unwrap_or_else(|| panic!("no --{flag}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for (flag, text) in pool_help().into_iter().chain(other_help()) {
            assert!(option(flag).contains(&text), "--{flag}: {}", option(flag));
            assert!(usage.contains(&format!("[--{flag}")), "usage lacks --{flag}");
        }
        let fits = |line: &str| line.chars().count() <= 80 || line.contains(limits::BACKENDS);
        assert!(help.lines().all(fits), "{help}");
    }
}

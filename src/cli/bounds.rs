//! The flags that bound messages, connections and time.

use std::time::Duration;

use super::flags::Flags;
use super::{positive, value};
use crate::config::{self, Limits, Timeouts, size};
use crate::limits;

/// What a 0 means for a limit that it turns off.
const OFF: &str = "no limit";

pub(super) fn timeouts(flags: &Flags, base: Timeouts) -> Result<Timeouts, String> {
    let read = |flag: &str, given: &Option<String>, base: Duration| {
        value(flag, given, positive).map(|duration| duration.unwrap_or(base))
    };
    Ok(Timeouts {
        head: read("--head-timeout", &flags.head_timeout, base.head)?,
        idle: read("--idle-timeout", &flags.idle_timeout, base.idle)?,
        connect: read("--connect-timeout", &flags.connect_timeout, base.connect)?,
        response: read("--response-timeout", &flags.response_timeout, base.response)?,
        stall: read("--stall-timeout", &flags.stall_timeout, base.stall)?,
        tunnel: read("--tunnel-timeout", &flags.tunnel_timeout, base.tunnel)?,
        lifetime: value("--lifetime-timeout", &flags.lifetime_timeout, config::parse_duration)?
            .map_or(base.lifetime, |lifetime| (!lifetime.is_zero()).then_some(lifetime)),
        upstream_idle: read("--backend-idle-timeout", &flags.backend_idle_timeout, base.upstream_idle)?,
    })
}

pub(super) fn limits(flags: &Flags, base: Limits) -> Result<Limits, String> {
    let any_size = |text: &str| config::parse_size(text, 0..=u64::MAX);
    let head = value("--max-head", &flags.max_head, |text| bytes(text, limits::HEAD_MIN))?;
    let head = head.unwrap_or(base.head);
    let fields = value("--max-headers", &flags.max_headers, |text| {
        config::parse_count(text, 1..=limits::FIELDS as u32)
    })?;
    let target = value("--max-target", &flags.max_target, |text| target(text, head))?;
    let body = value("--max-body", &flags.max_body, any_size)?;
    let body_rate = value("--min-body-rate", &flags.min_body_rate, any_size)?;
    let requests = count("--max-requests", &flags.max_requests, OFF)?;
    let descriptors = "as many as the descriptors allow";
    let connections = count("--max-connections", &flags.max_connections, descriptors)?;
    let per_client = count("--max-connections-per-client", &flags.max_connections_per_client, OFF)?;
    let backend_idle = count("--backend-max-idle", &flags.backend_max_idle, "none")?;
    Ok(Limits {
        head,
        fields: fields.map_or(base.fields, |fields| fields as usize),
        // A lower head alone must not be refused for a target that nobody asked for.
        target: target.unwrap_or(base.target.min(head)),
        body: or_base(body, base.body),
        body_rate: body_rate.unwrap_or(base.body_rate),
        requests: or_base(requests.map(u64::from), base.requests),
        connections: or_base(connections.map(u64::from), base.connections),
        connections_per_client: or_base(per_client, base.connections_per_client),
        backend_idle: backend_idle.map_or(base.backend_idle, |idle| idle as usize),
    })
}

/// A limit, `Some(None)` where it is turned off; `None` where the flags do not say.
type Said = Option<Option<u32>>;

/// Connections to each backend, and requests in flight to it.
pub(super) fn backend_limits(flags: &Flags) -> Result<(Said, Said), String> {
    let connections = count("--backend-max-connections", &flags.backend_max_connections, OFF)?;
    let requests = count("--backend-max-requests", &flags.backend_max_requests, OFF)?;
    let said = |given: Option<u32>| given.map(|given| (given != 0).then_some(given));
    Ok((said(connections), said(requests)))
}

/// A size that may be at most as large as a head can be.
fn bytes(text: &str, least: usize) -> Result<usize, String> {
    config::parse_size(text, least as u64..=limits::HEAD_MAX as u64).map(|bytes| bytes as usize)
}

fn target(text: &str, head: usize) -> Result<usize, String> {
    match bytes(text, limits::TARGET_MIN)? {
        target if target > head => Err(format!(
            "more than --max-head, {}, and a target stands in the head; lower this one or raise --max-head",
            size(head as u64)
        )),
        target => Ok(target),
    }
}

/// Reads a count of which 0 means what `zero` says.
pub(super) fn count(flag: &str, given: &Option<String>, zero: &str) -> Result<Option<u32>, String> {
    value(flag, given, |text| {
        config::parse_count(text, 0..=u32::MAX).map_err(|line| format!("{line} (0: {zero})"))
    })
}

/// A given 0 is no limit, also where there was one before.
fn or_base<N: PartialEq + From<u8>>(given: Option<N>, base: Option<N>) -> Option<N> {
    given.map_or(base, |given| (given != N::from(0)).then_some(given))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_refused, run_of as read};
    use super::*;

    #[test]
    fn every_timeout_reaches_its_field() {
        let Timeouts { head, idle, connect, response, stall, tunnel, lifetime, upstream_idle } = read(
            "--head-timeout 1ms --idle-timeout 2 --connect-timeout 3s --response-timeout 4m \
             --stall-timeout=5h --tunnel-timeout 8760h --lifetime-timeout 6s --backend-idle-timeout 1.5s",
        )
        .timeouts;
        assert_eq!((head, idle), (Duration::from_millis(1), Duration::from_secs(2)));
        assert_eq!((connect, response), (Duration::from_secs(3), Duration::from_secs(240)));
        assert_eq!((stall, tunnel), (Duration::from_secs(5 * 3600), Duration::from_secs(365 * 24 * 3600)));
        assert_eq!((lifetime, upstream_idle), (Some(Duration::from_secs(6)), Duration::from_millis(1500)));
        assert_eq!(read("--lifetime-timeout 0").timeouts.lifetime, None);
    }

    #[test]
    fn every_limit_reaches_its_field() {
        let given = read(
            "--max-head 60k --max-headers 128 --max-target 61440 --max-body 8g --min-body-rate 1kb \
             --max-requests 1 --max-connections 4294967295 --max-connections-per-client 2 \
             --backend-max-connections 3 --backend-max-requests 4 --backend-max-idle 0",
        );
        let right = Limits {
            head: 61_440,
            fields: 128,
            target: 61_440,
            body: Some(8 << 30),
            body_rate: 1024,
            requests: Some(1),
            connections: Some(4_294_967_295),
            connections_per_client: Some(2),
            backend_idle: 0,
        };
        assert_eq!(format!("{:?}", given.limits), format!("{right:?}"));
        let backend = &given.pools[0].backends[0];
        assert_eq!((backend.max_connections, backend.max_requests), (Some(3), Some(4)));
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let given = read(
            "--max-body 0 --min-body-rate 0 --max-requests 0 --max-connections 0 \
             --max-connections-per-client 0 --backend-max-connections 0",
        );
        let right = Limits { body_rate: 0, ..Limits::default() };
        assert_eq!(format!("{:?}", given.limits), format!("{right:?}"));
        assert_eq!(or_base(Some(0_u32), Some(1)), None);
        assert_eq!(or_base(None, Some(1_u32)), Some(1));
    }

    #[test]
    fn the_default_target_never_exceeds_the_head() {
        let pair = |line: &str| (read(line).limits.head, read(line).limits.target);
        assert_eq!(pair("--max-head 1k"), (1024, 1024));
        assert_eq!(pair("--max-head 9k"), (9 * 1024, limits::TARGET));
        assert_eq!(pair("--max-target 32k"), (limits::HEAD, limits::HEAD));
        assert_eq!(pair("--max-target 64 --max-head 1kib"), (1024, 64));
    }

    #[test]
    fn trusted_networks_reach_their_field() {
        assert!(read("--pin").trust.is_empty());
        let trust = read("--trust-forwarded 10.0.0.0/8,2001:db8::/32,::1").trust;
        let shown: Vec<String> = trust.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "2001:db8::/32", "::1/128"]);
    }

    #[test]
    fn a_bad_bound_is_one_line_with_flag_and_value() {
        const COUNT: &str = "must be a whole number from 0 to 4294967295 (0: ";
        let cases = [
            ("--head-timeout 0", "--head-timeout \"0\": too short; it must be at least 1ms"),
            ("--idle-timeout 0.9ms", "--idle-timeout \"0.9ms\": too short; it must be at least 1ms"),
            ("--connect-timeout 0s", "--connect-timeout \"0s\": too short; it must be at least 1ms"),
            ("--response-timeout 0h", "--response-timeout \"0h\": too short; it must be at least 1ms"),
            ("--tunnel-timeout 0", "--tunnel-timeout \"0\": too short; it must be at least 1ms"),
            ("--backend-idle-timeout 0", "--backend-idle-timeout \"0\": too short; it must be at least 1ms"),
            (
                "--stall-timeout 1d",
                "--stall-timeout \"1d\": \"d\" is not a unit of time; write 500ms, 2s, 1m, 1h or a number of seconds",
            ),
            ("--max-head 1023", "--max-head \"1023\": must be a size from 1k to 60k"),
            ("--max-head 61k", "--max-head \"61k\": must be a size from 1k to 60k"),
            (
                "--max-head 8kilo",
                "--max-head \"8kilo\": \"kilo\" is not a unit of size; \
                 write a whole number of bytes, or one with k, m or g, like 32k",
            ),
            ("--max-headers 0", "--max-headers \"0\": must be a whole number from 1 to 128"),
            ("--max-headers 129", "--max-headers \"129\": must be a whole number from 1 to 128"),
            ("--max-target 63", "--max-target \"63\": must be a size from 64 to 60k"),
            (
                "--max-target 33k",
                "--max-target \"33k\": more than --max-head, 32k, and a target stands in the head; \
                 lower this one or raise --max-head",
            ),
            (
                "--max-target 1025 --max-head 1k",
                "--max-target \"1025\": more than --max-head, 1k, and a target stands in the head; \
                 lower this one or raise --max-head",
            ),
            ("--max-body 17179869184g", "--max-body \"17179869184g\": too large; it must fit 64 bits"),
            (
                "--min-body-rate -1",
                "--min-body-rate \"-1\": not a size; write a whole number of bytes, or one with k, m or g, like 32k",
            ),
            ("--max-requests x", &format!("--max-requests \"x\": {COUNT}no limit)")),
            (
                "--max-connections 4294967296",
                &format!("--max-connections \"4294967296\": {COUNT}as many as the descriptors allow)"),
            ),
            (
                "--max-connections-per-client -1",
                &format!("--max-connections-per-client \"-1\": {COUNT}no limit)"),
            ),
            ("--backend-max-connections 1k", &format!("--backend-max-connections \"1k\": {COUNT}no limit)")),
            ("--backend-max-idle off", &format!("--backend-max-idle \"off\": {COUNT}none)")),
            (
                "--trust-forwarded 10.0.0.1/8",
                "--trust-forwarded \"10.0.0.1/8\": has bits set below its prefix; write 10.0.0.0/8",
            ),
            ("--busy-poll=yes", "--busy-poll takes no value, not \"yes\""),
        ];
        assert_refused(&cases);
    }
}

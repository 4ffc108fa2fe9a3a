//! What a file may say: one serde model for all formats. Each name here is a key of the file.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::given::{Given, Many, Pairs};
use super::written::{
    As, CauseHeader, CookiePath, Count, Host, Line, Method, Name, PathText, Percent, Positive, Secret, Size,
    StatusPath, Target, Token, Workers,
};
use crate::config::{BackendUrl, HostPattern, Key, Location, Network, Statuses};
use crate::limits;

/// From 0 on, of which 0 often means that there is no limit.
pub(super) type Any = As<Count<0, { u32::MAX }>>;
pub(super) type FromOne = As<Count<1, { u32::MAX }>>;
pub(super) type AnySize = As<Size<0, { u64::MAX }>>;
type HeadSize = As<Size<{ limits::HEAD_MIN as u64 }, { limits::HEAD_MAX as u64 }>>;
type TargetSize = As<Size<{ limits::TARGET_MIN as u64 }, { limits::HEAD_MAX as u64 }>>;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "the file")]
pub(super) struct File {
    pub(super) workers: Given<As<Workers>>,
    pub(super) pin: Given<bool>,
    pub(super) busy_poll: Given<bool>,
    pub(super) log_level: Given<LogLevel>,
    pub(super) drain_timeout: Given<As<Duration>>,
    pub(super) resolve_interval: Given<As<Duration>>,
    pub(super) status_path: Given<As<StatusPath>>,
    pub(super) cause_header: Given<As<CauseHeader>>,
    pub(super) trust_forwarded: Many<As<Network>>,
    pub(super) timeouts: Given<Timeouts>,
    pub(super) limits: Given<Limits>,
    pub(super) rate_limit: Given<RateLimit>,
    pub(super) admin: Given<Admin>,
    pub(super) access_log: Given<AccessLog>,
    pub(super) error_page: Many<ErrorPage>,
    pub(super) listener: Many<Listener>,
    pub(super) pool: Many<Pool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "timeouts")]
pub(super) struct Timeouts {
    pub(super) head: Given<As<Positive>>,
    pub(super) idle: Given<As<Positive>>,
    pub(super) connect: Given<As<Positive>>,
    pub(super) response: Given<As<Positive>>,
    pub(super) stall: Given<As<Positive>>,
    pub(super) tunnel: Given<As<Positive>>,
    pub(super) lifetime: Given<As<Duration>>,
    pub(super) backend_idle: Given<As<Positive>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "limits")]
pub(super) struct Limits {
    pub(super) max_head: Given<HeadSize>,
    pub(super) max_headers: Given<As<Count<1, { limits::FIELDS as u32 }>>>,
    pub(super) max_target: Given<TargetSize>,
    pub(super) max_body: Given<AnySize>,
    pub(super) min_body_rate: Given<AnySize>,
    pub(super) max_requests: Given<Any>,
    pub(super) max_connections: Given<Any>,
    pub(super) max_connections_per_client: Given<Any>,
    pub(super) backend_max_idle: Given<Any>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a rate_limit")]
pub(super) struct RateLimit {
    pub(super) requests: Given<FromOne>,
    pub(super) per: Given<As<Positive>>,
    pub(super) burst: Given<FromOne>,
    pub(super) key: Given<As<Key>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "admin")]
pub(super) struct Admin {
    pub(super) address: Given<As<SocketAddr>>,
    pub(super) token: Given<As<Line>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "access_log")]
pub(super) struct AccessLog {
    pub(super) path: Given<As<Line>>,
    pub(super) format: Given<LogFormat>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "an error_page")]
pub(super) struct ErrorPage {
    pub(super) statuses: Given<As<Statuses>>,
    pub(super) file: Given<As<Line>>,
    pub(super) content_type: Given<As<Line>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a listener")]
pub(super) struct Listener {
    pub(super) name: Given<As<Name>>,
    pub(super) address: Given<As<SocketAddr>>,
    pub(super) mode: Given<Mode>,
    pub(super) proxy_protocol: Given<ProxyProtocol>,
    pub(super) proxy_from: Many<As<Network>>,
    pub(super) pool: Given<String>,
    pub(super) route: Many<Route>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    Http,
    Tcp,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProxyProtocol {
    Require,
    Accept,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProxyVersion {
    V1,
    V2,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a route")]
pub(super) struct Route {
    pub(super) name: Given<As<Name>>,
    pub(super) host: Given<As<HostPattern>>,
    pub(super) sni: Many<As<HostPattern>>,
    pub(super) path: Given<As<PathText>>,
    pub(super) path_prefix: Given<As<PathText>>,
    pub(super) headers: Given<Pairs<HeaderValue>>,
    pub(super) pool: Given<String>,
    pub(super) split: Given<Pairs<As<Count<0, { super::route::SHARE_MAX }>>>>,
    pub(super) redirect: Given<Redirect>,
    pub(super) respond: Given<Respond>,
    pub(super) strip_prefix: Given<bool>,
    pub(super) rewrite_prefix: Given<As<PathText>>,
    pub(super) request_headers: Given<FieldEdits>,
    pub(super) response_headers: Given<FieldEdits>,
    pub(super) timeouts: Given<RouteTimeouts>,
    pub(super) rate_limit: Given<RateLimit>,
}

impl Route {
    /// Whether a condition was wrong, so that nobody knows which requests the route means.
    pub(super) fn has_wrong_condition(&self) -> bool {
        let headers =
            self.headers.get().map_or(self.headers.is_there(), |pairs| pairs.each().count() < pairs.0.len());
        headers || self.host.is_wrong() || self.path.is_wrong() || self.path_prefix.is_wrong()
    }
}

/// The value that a field must have, or whether it must be there.
pub(super) enum HeaderValue {
    Text(String),
    There(bool),
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl serde::de::Visitor<'_> for Reading {
            type Value = HeaderValue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, or true for any value or false for none")
            }
            fn visit_str<E>(self, text: &str) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Text(text.to_owned()))
            }
            fn visit_bool<E>(self, there: bool) -> Result<HeaderValue, E> {
                Ok(HeaderValue::There(there))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a redirect")]
pub(super) struct Redirect {
    pub(super) location: Given<As<Location>>,
    pub(super) status: Given<As<Count<300, 399>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "respond")]
pub(super) struct Respond {
    pub(super) status: Given<As<Count<200, 599>>>,
    pub(super) body: Given<String>,
    pub(super) content_type: Given<As<Line>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "changes to headers")]
pub(super) struct FieldEdits {
    pub(super) set: Given<Pairs<String>>,
    pub(super) add: Given<Pairs<String>>,
    pub(super) remove: Many<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a route's timeouts")]
pub(super) struct RouteTimeouts {
    pub(super) connect: Given<As<Positive>>,
    pub(super) response: Given<As<Positive>>,
    pub(super) stall: Given<As<Positive>>,
    pub(super) tunnel: Given<As<Positive>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a pool")]
pub(super) struct Pool {
    pub(super) name: Given<As<Name>>,
    pub(super) algorithm: Given<Algorithm>,
    pub(super) hash_key: Given<As<Key>>,
    pub(super) hash_bound: Given<As<Percent<{ limits::HASH_BOUND_MAX }>>>,
    pub(super) slow_start: Given<As<Duration>>,
    pub(super) fail_open: Given<bool>,
    pub(super) resolve: Given<Resolve>,
    pub(super) send_proxy: Given<ProxyVersion>,
    pub(super) health: Given<Health>,
    pub(super) retry: Given<Retry>,
    pub(super) ejection: Given<Ejection>,
    pub(super) sticky: Given<Sticky>,
    pub(super) queue: Given<Queue>,
    pub(super) backend: Many<Backend>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Resolve {
    First,
    All,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Algorithm {
    RoundRobin,
    LeastConnections,
    TwoChoices,
    PeakEwma,
    Random,
    IpHash,
    Hash,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "health")]
pub(super) struct Health {
    pub(super) kind: Given<CheckKind>,
    pub(super) interval: Given<As<Positive>>,
    pub(super) timeout: Given<As<Positive>>,
    pub(super) rise: Given<FromOne>,
    pub(super) fall: Given<FromOne>,
    pub(super) paths: Many<As<Target>>,
    pub(super) method: Given<As<Method>>,
    pub(super) host: Given<As<Host>>,
    pub(super) headers: Given<Pairs<String>>,
    pub(super) expected: Given<As<Statuses>>,
    pub(super) body: Given<As<Line>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CheckKind {
    None,
    Tcp,
    Http,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "retry")]
pub(super) struct Retry {
    pub(super) retries: Given<As<Count<0, { limits::RETRIES_MAX as u32 }>>>,
    pub(super) delay: Given<As<Duration>>,
    pub(super) budget: Given<As<Percent<{ limits::RETRY_BUDGET_MAX }>>>,
    pub(super) budget_floor: Given<Any>,
    pub(super) try_timeout: Given<As<Duration>>,
    pub(super) statuses: Given<As<Statuses>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "ejection")]
pub(super) struct Ejection {
    pub(super) max_fails: Given<Any>,
    pub(super) fail_rate: Given<As<Percent<100>>>,
    pub(super) window: Given<As<Positive>>,
    pub(super) fail_rate_requests: Given<FromOne>,
    pub(super) time: Given<As<Positive>>,
    pub(super) time_max: Given<As<Positive>>,
    pub(super) most: Given<As<Percent<100>>>,
    pub(super) statuses: Given<As<Statuses>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "sticky")]
pub(super) struct Sticky {
    pub(super) by: Given<StickyBy>,
    pub(super) returns: Given<bool>,
    pub(super) time: Given<As<Positive>>,
    pub(super) name: Given<As<Token>>,
    pub(super) path: Given<As<CookiePath>>,
    pub(super) same_site: Given<SameSite>,
    pub(super) secure: Given<bool>,
    pub(super) secret: Given<As<Secret>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StickyBy {
    Cookie,
    Address,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SameSite {
    Strict,
    Lax,
    None,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "queue")]
pub(super) struct Queue {
    pub(super) length: Given<Any>,
    pub(super) timeout: Given<As<Positive>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "a backend")]
pub(super) struct Backend {
    pub(super) url: Given<As<BackendUrl>>,
    pub(super) weight: Given<As<Count<1, { limits::WEIGHT_MAX as u32 }>>>,
    pub(super) backup: Given<bool>,
    pub(super) max_connections: Given<Any>,
    pub(super) max_requests: Given<Any>,
}

//! What the benches hold requests to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use evenkeel::config::Limits;
use evenkeel::exchange::{Rules, Site};
use evenkeel::id::PoolId;
use evenkeel::limits;
use evenkeel::proto::h1::request::Forwarded;

/// What evenkeel holds requests to without a flag.
pub(crate) fn rules() -> Rules<'static> {
    static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
    static SITE: LazyLock<Site> = LazyLock::new(|| Site::to_pool(PoolId(0)));
    Rules {
        forwarded: FORWARDED,
        status_path: Some(limits::STATUS_PATH),
        limits: &LIMITS,
        site: &SITE,
        dice: 0,
    }
}

pub(crate) const FORWARDED: Forwarded<'static> = Forwarded {
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    scheme: "http",
    local: "127.0.0.1:8080",
    trusted: true,
    id: b"01931b3e-0000-7000-8000-000000000000",
};

//! Which path is answered by what.

use super::answer::Answer;
use super::exposition::Format;
use super::guard::{self, Kind};
use super::request::Asked;
use super::server::Site;
use super::{backends, metrics, page, readiness, report};

/// Answers a request.
pub(super) fn answer(asked: &Asked, site: &Site) -> Answer {
    let path = asked.path.as_str();
    let Some(kind) = kind(path) else {
        return Answer::error(
            404,
            "nothing is here; the page is at /, the status at /api/status, metrics at /metrics",
        );
    };
    let allowed = if kind == Kind::Write { "POST" } else { "GET, HEAD" };
    if !allowed.split(", ").any(|method| method == asked.method) {
        return Answer::error(405, &format!("only {allowed} here")).with_field("Allow", allowed);
    }
    let sources = &*site.sources;
    if let Err(refusal) = guard::check(asked, kind, (sources.token)().as_deref(), site.local) {
        return refusal;
    }
    match path {
        "/" => page::answer(),
        "/livez" => Answer::text(200, "alive\n"),
        "/readyz" => readiness::answer(sources),
        "/metrics" => metrics::answer(site, Format::of(asked.accept.as_deref())),
        "/api/status" => Answer::json(200, &report::report(site)),
        "/api/history" => Answer::json(200, &site.history.points(&site.began)),
        "/api/reload" => command(asked, &sources.reload),
        "/api/drain" => command(asked, &sources.drain),
        _ => backends::answer(asked, site),
    }
}

fn kind(path: &str) -> Option<Kind> {
    match path {
        "/" | "/livez" | "/readyz" => Some(Kind::Open),
        "/metrics" => Some(Kind::Metrics),
        "/api/status" | "/api/history" => Some(Kind::Read),
        "/api/reload" | "/api/drain" => Some(Kind::Write),
        _ => backends::is_path(path).then_some(Kind::Write),
    }
}

fn command(asked: &Asked, command: &super::Command) -> Answer {
    match without_body(asked) {
        Ok(()) => Answer::of_command(command()),
        Err(refusal) => refusal,
    }
}

/// A command that takes nothing is given nothing: what is passed over in silence was meant to do something.
pub(super) fn without_body(asked: &Asked) -> Result<(), Answer> {
    let body = asked.body.trim_ascii();
    let empty = body.is_empty()
        || serde_json::from_slice::<serde_json::Map<_, _>>(body).is_ok_and(|fields| fields.is_empty());
    if empty { Ok(()) } else { Err(Answer::error(400, "this takes no body, or {}")) }
}

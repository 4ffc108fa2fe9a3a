//! Who may ask for what. A browser asks for whatever any page tells it to, with this listener in its reach, so that
//! being on the same machine proves nothing about a request.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::answer::Answer;
use super::request::Asked;

/// What the answer tells or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whether the process is alive and ready; the page without data.
    Open,
    /// Numbers for scrapers.
    Metrics,
    /// Anything else that is read.
    Read,
    /// It changes something.
    Write,
}

/// Lets a request pass, or says why not. `local` tells that only this machine can connect.
pub(super) fn check(asked: &Asked, kind: Kind, token: Option<&str>, local: bool) -> Result<(), Answer> {
    if kind == Kind::Open {
        return Ok(());
    }
    match token {
        Some(token) if !has_token(asked, token) => return Err(no_token(asked)),
        // Whoever may connect from elsewhere scrapes by name.
        None if kind == Kind::Write && !local => {
            return Err(Answer::error(403, "commands from other machines need a token to be set"));
        }
        None if kind != Kind::Metrics || local => check_host(asked)?,
        _ => {}
    }
    if kind == Kind::Write { check_site(asked, token.is_some()) } else { Ok(()) }
}

fn has_token(asked: &Asked, token: &str) -> bool {
    let Some((scheme, given)) = asked.authorization.as_deref().and_then(|value| value.split_at_checked(7))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && given.trim_ascii().ct_eq(token.as_bytes()).into()
}

fn no_token(asked: &Asked) -> Answer {
    let (why, challenge) = match asked.authorization {
        None => ("a token is needed: Authorization: Bearer TOKEN", "Bearer realm=\"evenkeel\""),
        Some(_) => ("this is not the token", "Bearer realm=\"evenkeel\", error=\"invalid_token\""),
    };
    Answer::error(401, why).with_field("WWW-Authenticate", challenge)
}

/// A page whose name was made to resolve to this machine (DNS rebinding) is of the same origin for its browser, and
/// only Host gives it away. No page can have an address or `localhost` as its name without being served from there.
fn check_host(asked: &Asked) -> Result<(), Answer> {
    let Some(host) = &asked.host else { return Ok(()) };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() || bare.eq_ignore_ascii_case("localhost") {
        return Ok(());
    }
    Err(Answer::error(
        403,
        "without a token this is only served by address or as localhost; set a token to use names",
    ))
}

/// A form or script of another site is refused. What it cannot send without the browser asking first (JSON, a field
/// of our own, a token) has to be there, since OPTIONS is not answered.
fn check_site(asked: &Asked, has_token: bool) -> Result<(), Answer> {
    let foreign = || Err(Answer::error(403, "a request from another site"));
    if asked.fetch_site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return foreign();
    }
    if let Some(origin) = &asked.origin {
        let own = origin.split_once("://").map(|(_, authority)| authority);
        if own.is_none()
            || !own.zip(asked.host.as_deref()).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
        {
            return foreign();
        }
    }
    let media = asked.content_type.as_deref().map(|value| value.split(';').next().unwrap_or_default().trim());
    let json = media.is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    if json || asked.marked || has_token {
        return Ok(());
    }
    Err(Answer::error(
        415,
        "a POST needs Content-Type: application/json, or the field X-Evenkeel: 1 if it has no body",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(asked: &Asked, kind: Kind, token: Option<&str>, local: bool) -> u16 {
        check(asked, kind, token, local).err().map_or(200, |answer| answer.status)
    }

    fn from(host: &str) -> Asked {
        Asked { host: Some(host.into()), ..Asked::default() }
    }

    #[test]
    fn a_token_is_asked_for_where_one_is_set() {
        let with = |value: &str| Asked { authorization: Some(value.into()), ..from("evil.example") };
        let token = Some("secret");
        for good in ["Bearer secret", "bearer secret", "BEARER  secret"] {
            assert_eq!(status(&with(good), Kind::Read, token, true), 200, "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "Bearer secre", "Bearer secret2", "Basic secret", "secret"] {
            assert_eq!(status(&with(bad), Kind::Read, token, true), 401, "{bad}");
        }
        for kind in [Kind::Read, Kind::Write, Kind::Metrics] {
            assert_eq!(status(&from("localhost"), kind, token, true), 401);
        }
        assert_eq!(status(&from("localhost"), Kind::Open, token, true), 200);
    }

    #[test]
    fn without_a_token_the_host_must_be_an_address_or_localhost() {
        for good in [
            "localhost",
            "LocalHost:9900",
            "127.0.0.1",
            "127.0.0.1:9900",
            "[::1]",
            "[::1]:9900",
            "10.1.2.3:80",
        ] {
            assert_eq!(status(&from(good), Kind::Read, None, true), 200, "{good}");
        }
        for bad in
            ["evil.example", "evil.example:9900", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            assert_eq!(status(&from(bad), Kind::Read, None, true), 403, "{bad}");
            assert_eq!(status(&from(bad), Kind::Metrics, None, true), 403, "{bad}");
            assert_eq!(status(&from(bad), Kind::Metrics, None, false), 200, "{bad}");
            assert_eq!(status(&from(bad), Kind::Open, None, true), 200, "{bad}");
        }
    }

    #[test]
    fn other_sites_change_nothing() {
        let plain = from("127.0.0.1:9900");
        let json =
            Asked { content_type: Some("application/json; charset=utf-8".into()), ..from("127.0.0.1:9900") };
        assert_eq!(status(&plain, Kind::Write, None, true), 415);
        assert_eq!(status(&Asked { marked: true, ..from("127.0.0.1") }, Kind::Write, None, true), 200);
        assert_eq!(status(&Asked { marked: true, ..from("127.0.0.1") }, Kind::Write, None, false), 403);
        assert_eq!(status(&json, Kind::Write, None, true), 200);
        let as_form = Asked { content_type: Some("text/plain".into()), ..from("127.0.0.1") };
        assert_eq!(status(&as_form, Kind::Write, None, true), 415);
        for (origin, expected) in [
            ("http://127.0.0.1:9900", 200),
            ("https://127.0.0.1:9900", 200),
            ("http://127.0.0.1:8080", 403),
            ("http://evil.example", 403),
            ("null", 403),
        ] {
            let asked = Asked {
                origin: Some(origin.into()),
                content_type: json.content_type.clone(),
                ..from("127.0.0.1:9900")
            };
            assert_eq!(status(&asked, Kind::Write, None, true), expected, "{origin}");
        }
        for (site, expected) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
        {
            let asked = Asked {
                fetch_site: Some(site.into()),
                content_type: json.content_type.clone(),
                ..from("[::1]")
            };
            assert_eq!(status(&asked, Kind::Write, None, true), expected, "{site}");
        }
    }
}

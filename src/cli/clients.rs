//! The flags that tell clients apart: sticky sessions and the rate limit.

use super::flags::Flags;
use super::over::Environment;
use super::{needless, one_of, positive, value};
use crate::config::file::Loaded;
use crate::config::{self, Cookie, Key, RateLimit, SameSite, Sticky, StickyBy};
use crate::limits;

pub(super) const SECRET_VARIABLE: &str = "EVENKEEL_STICKY_SECRET";

#[derive(Clone, Copy, PartialEq)]
enum By {
    Cookie,
    Address,
    None,
}

pub(super) fn sticky(
    flags: &Flags,
    base: Option<Sticky>,
    environment: &Environment,
) -> Result<Option<Sticky>, String> {
    let choices = [("cookie", By::Cookie), ("address", By::Address), ("none", By::None)];
    let implied = match base.as_ref().map(|sticky| &sticky.by) {
        _ if flags.sticky_cookie.is_some() => By::Cookie,
        Some(StickyBy::Cookie(_)) => By::Cookie,
        Some(StickyBy::Address(_)) => By::Address,
        None => By::None,
    };
    let by = value("--sticky", &flags.sticky, |text| one_of(text, &choices))?.unwrap_or(implied);
    let time = value("--sticky-time", &flags.sticky_time, positive)?;
    if by != By::Cookie {
        let given = [
            ("--sticky-cookie", flags.sticky_cookie.is_some()),
            ("--sticky-path", flags.sticky_path.is_some()),
            ("--sticky-same-site", flags.sticky_same_site.is_some()),
            ("--sticky-secure", flags.sticky_secure),
            ("--sticky-secret", flags.sticky_secret.is_some()),
        ];
        needless(&given, "needs --sticky cookie; give both or neither")?;
    }
    if by != By::Address {
        needless(&[("--sticky-time", time.is_some())], "needs --sticky address; give both or neither")?;
    }
    let returned = base.as_ref().is_some_and(|sticky| sticky.returns);
    let by = match (by, base.map(|sticky| sticky.by)) {
        (By::Cookie, Some(StickyBy::Cookie(base))) => StickyBy::Cookie(cookie(flags, base, environment)?),
        (By::Cookie, _) => StickyBy::Cookie(cookie(flags, unset(), environment)?),
        (By::Address, Some(StickyBy::Address(base))) => StickyBy::Address(time.unwrap_or(base)),
        (By::Address, _) => StickyBy::Address(time.unwrap_or(limits::STICKY_TIME)),
        (By::None, _) => {
            let given = [("--sticky-return", flags.sticky_return)];
            return needless(&given, "needs --sticky cookie or --sticky address; give both or neither")
                .map(|()| None);
        }
    };
    Ok(Some(Sticky { by, returns: flags.sticky_return || returned }))
}

/// The cookie of which nothing is said.
fn unset() -> Cookie {
    Cookie {
        name: limits::STICKY_COOKIE.to_owned(),
        path: "/".to_owned(),
        same_site: SameSite::default(),
        secure: false,
        secret: String::new(),
    }
}

fn cookie(flags: &Flags, base: Cookie, environment: &Environment) -> Result<Cookie, String> {
    let modes = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
    let name = value("--sticky-cookie", &flags.sticky_cookie, config::parse_token)?;
    let path = value("--sticky-path", &flags.sticky_path, config::parse_cookie_path)?;
    let same_site = value("--sticky-same-site", &flags.sticky_same_site, |text| one_of(text, &modes))?;
    let cookie = Cookie {
        name: name.unwrap_or(base.name),
        path: path.unwrap_or(base.path),
        same_site: same_site.unwrap_or(base.same_site),
        secure: flags.sticky_secure || base.secure,
        secret: secret(flags, base.secret, environment)?,
    };
    // Browsers throw such cookies away without a word (RFC 6265bis sections 4.1.3 and 5.7).
    let begins =
        |prefix: &str| cookie.name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix));
    let refused = match &cookie {
        Cookie { secure: false, same_site: SameSite::None, .. } => Some("--sticky-same-site none needs"),
        Cookie { secure: false, .. } if begins("__Secure-") => Some("--sticky-cookie __Secure-… needs"),
        Cookie { secure: false, .. } if begins("__Host-") => Some("--sticky-cookie __Host-… needs"),
        _ => None,
    };
    if let Some(what) = refused {
        return Err(format!("{what} --sticky-secure: browsers take no such cookie without it"));
    }
    if begins("__Host-") && cookie.path != "/" {
        return Err(
            "--sticky-cookie __Host-… needs --sticky-path /: browsers take no such cookie with another"
                .to_owned(),
        );
    }
    Ok(cookie)
}

/// Gives all cookies of several pools what they lack: the flag goes to all, the environment to those without one.
pub(super) fn secrets(flags: &Flags, loaded: &mut Loaded, environment: &Environment) -> Result<(), String> {
    let cookies = loaded.config.pools.iter_mut().filter_map(|pool| match pool.sticky.as_mut()?.by {
        StickyBy::Cookie(ref mut cookie) => Some(&mut cookie.secret),
        StickyBy::Address(_) => None,
    });
    let mut any = false;
    for held in cookies {
        *held = secret(flags, std::mem::take(held), environment)?;
        any = true;
    }
    if any {
        return Ok(());
    }
    let given = [("--sticky-secret", flags.sticky_secret.is_some())];
    needless(&given, "has no effect: no pool of the file is sticky by a cookie; leave it out")
}

/// The flag's, the file's, the environment's. No message says it again.
fn secret(flags: &Flags, base: String, environment: &Environment) -> Result<String, String> {
    let (from, text) = match (&flags.sticky_secret, &environment.secret) {
        (Some(text), _) => ("--sticky-secret", text.clone()),
        (None, _) if !base.is_empty() => return Ok(base),
        (None, Some(set)) => (SECRET_VARIABLE, set.to_string_lossy().into_owned()),
        (None, None) => {
            return Err(format!(
                "a sticky cookie needs a secret, the same for all instances: set {SECRET_VARIABLE} in the \
                 environment, to what `openssl rand -hex 16` prints for one"
            ));
        }
    };
    if text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err(format!("{from}: only text without control characters may stand in it"));
    }
    match text.chars().count() {
        limits::STICKY_SECRET_MIN.. => Ok(text),
        _ => Err(format!(
            "{from}: too short; it must have {} characters at least, like what `openssl rand -hex 16` prints",
            limits::STICKY_SECRET_MIN
        )),
    }
}

pub(super) fn rate_limit(flags: &Flags, base: Option<RateLimit>) -> Result<Option<RateLimit>, String> {
    let rate = value("--rate-limit", &flags.rate_limit, config::parse_rate)?;
    let limit = match (rate.map(RateLimit::new), base) {
        (Some(limit), Some(base)) => RateLimit { key: base.key, ..limit },
        (Some(limit), None) | (None, Some(limit)) => limit,
        (None, None) => {
            let given =
                [("--rate-burst", flags.rate_burst.is_some()), ("--rate-key", flags.rate_key.is_some())];
            return needless(&given, "needs --rate-limit; give both or neither").map(|()| None);
        }
    };
    let key = value("--rate-key", &flags.rate_key, |text| match config::parse_key(text) {
        Ok(key @ (Key::Address | Key::Header(_))) => Ok(key),
        Err(reason) if text.starts_with("header:") => Err(reason),
        _ => Err("must be address or header:NAME".to_owned()),
    })?;
    let limit = RateLimit { key: key.unwrap_or(limit.key.clone()), ..limit };
    let burst = value("--rate-burst", &flags.rate_burst, |text| {
        limit.clone().with_burst(config::parse_count(text, 1..=u32::MAX)?)
    })?;
    Ok(Some(burst.unwrap_or(limit)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{assert_refused, outcome_of, pool_of, run_of};
    use super::super::{Outcome, parse};
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn cookie_of(line: &str) -> Cookie {
        match pool_of(line).sticky {
            Some(Sticky { by: StickyBy::Cookie(cookie), .. }) => cookie,
            other => panic!("{line} gave {other:?}"),
        }
    }

    fn with_environment(line: &str, set: &str) -> Outcome {
        let words: Vec<&str> = line.split_whitespace().collect();
        parse(&words, &|name| (name == SECRET_VARIABLE).then(|| set.into()))
    }

    #[test]
    fn every_flag_of_a_cookie_reaches_its_field() {
        let given = pool_of(&format!(
            "--sticky cookie --sticky-cookie route --sticky-path /shop --sticky-same-site none --sticky-secure \
             --sticky-secret {SECRET} --sticky-return"
        ));
        let cookie = Cookie {
            name: "route".to_owned(),
            path: "/shop".to_owned(),
            same_site: SameSite::None,
            secure: true,
            secret: SECRET.to_owned(),
        };
        assert_eq!(given.sticky, Some(Sticky { by: StickyBy::Cookie(cookie), returns: true }));
        let plain = cookie_of(&format!("--sticky cookie --sticky-secret={SECRET}"));
        assert_eq!((plain.name.as_str(), plain.path.as_str()), ("evenkeel", "/"));
        assert_eq!((plain.same_site, plain.secure), (SameSite::Lax, false));
        let named =
            cookie_of(&format!("--sticky-cookie x --sticky-same-site Strict --sticky-secret={SECRET}"));
        assert_eq!((named.name.as_str(), named.same_site), ("x", SameSite::Strict));
        let host = cookie_of(&format!("--sticky-cookie __Host-x --sticky-secure --sticky-secret={SECRET}"));
        assert_eq!(host.name, "__Host-x");
    }

    #[test]
    fn addresses_are_remembered_for_a_time() {
        let sticky = |time, returns| Some(Sticky { by: StickyBy::Address(time), returns });
        assert_eq!(pool_of("--sticky address").sticky, sticky(limits::STICKY_TIME, false));
        let given = pool_of("--sticky address --sticky-time 5m --sticky-return");
        assert_eq!(given.sticky, sticky(Duration::from_secs(300), true));
        assert_eq!(pool_of("--sticky none").sticky, None);
    }

    #[test]
    fn the_secret_comes_from_flag_then_environment_and_is_never_said() {
        let secret_of = |line: &str, set: &str| match with_environment(line, set) {
            Outcome::Run { setup, .. } => match setup.config.pools[0].sticky.clone() {
                Some(Sticky { by: StickyBy::Cookie(cookie), .. }) => Some(cookie.secret),
                _ => None,
            },
            other => panic!("{line} gave {other:?}"),
        };
        let other = "an other secret, with spaces";
        assert_eq!(secret_of("--sticky cookie", other).as_deref(), Some(other));
        let both = format!("--sticky cookie --sticky-secret {SECRET}");
        assert_eq!(secret_of(&both, "short").as_deref(), Some(SECRET));
        assert_eq!(secret_of("--sticky address", "short"), None, "not asked for");
        for (set, wrong) in [
            ("sh0rt", "EVENKEEL_STICKY_SECRET: too short; it must have 16 characters at least"),
            ("", "EVENKEEL_STICKY_SECRET: too short"),
            ("0123456789abcdef\n", "EVENKEEL_STICKY_SECRET: only text without control characters"),
        ] {
            match with_environment("--sticky cookie", set) {
                Outcome::Refuse(line) => {
                    assert!(line.starts_with(wrong) && (set.is_empty() || !line.contains(set)), "{line}");
                }
                taken => panic!("{set:?} gave {taken:?}"),
            }
        }
        let Outcome::Refuse(line) = outcome_of("--sticky cookie --sticky-secret sh0rt") else {
            panic!("taken")
        };
        assert!(line.starts_with("--sticky-secret: too short") && !line.contains("sh0rt"), "{line}");
        let Outcome::Refuse(line) = outcome_of("--sticky cookie") else { panic!("taken") };
        assert!(
            line.starts_with("a sticky cookie needs a secret") && line.contains(SECRET_VARIABLE),
            "{line}"
        );
    }

    #[test]
    fn every_flag_of_the_rate_reaches_its_field() {
        let limit = |line: &str| run_of(line).rate_limit;
        let minute = Duration::from_secs(60);
        let plain = RateLimit { requests: 600, per: minute, burst: 10, key: Key::Address };
        assert_eq!(limit("--rate-limit 600/1m"), Some(plain.clone()));
        assert_eq!(limit("--rate-limit 600/m --rate-key address"), Some(plain.clone()));
        let given = limit("--rate-limit 600/60 --rate-burst 100 --rate-key header:X-Api-Key");
        let key = Key::Header("X-Api-Key".to_owned());
        assert_eq!(given, Some(RateLimit { burst: 100, key, ..plain }));
        assert_eq!(limit("--pin"), None);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        const COOKIE: &str = "needs --sticky cookie; give both or neither";
        const ADDRESS: &str = "needs --sticky address; give both or neither";
        let same_site =
            "--sticky-same-site none needs --sticky-secure: browsers take no such cookie without it";
        let with_secret = |line: &str| format!("{line} --sticky-secret {SECRET}");
        assert_refused(&[
            ("--sticky ip", "--sticky \"ip\": must be cookie, address or none"),
            ("--sticky none --sticky-cookie x", &format!("--sticky-cookie {COOKIE}")),
            ("--sticky-path /", &format!("--sticky-path {COOKIE}")),
            ("--sticky address --sticky-same-site lax", &format!("--sticky-same-site {COOKIE}")),
            ("--sticky-secure", &format!("--sticky-secure {COOKIE}")),
            (&with_secret("--sticky address"), &format!("--sticky-secret {COOKIE}")),
            ("--sticky-time 5m", &format!("--sticky-time {ADDRESS}")),
            (&with_secret("--sticky cookie --sticky-time 5m"), &format!("--sticky-time {ADDRESS}")),
            ("--sticky address --sticky-time 0", "--sticky-time \"0\": too short; it must be at least 1ms"),
            (
                "--sticky-return",
                "--sticky-return needs --sticky cookie or --sticky address; give both or neither",
            ),
            (
                "--sticky-cookie a;b",
                "--sticky-cookie \"a;b\": ';' may not stand in a name; letters, digits and !#$%&'*+-.^_`|~ may",
            ),
            ("--sticky cookie --sticky-path shop", "--sticky-path \"shop\": must begin with /"),
            (
                "--sticky cookie --sticky-same-site no",
                "--sticky-same-site \"no\": must be strict, lax or none",
            ),
            (&with_secret("--sticky cookie --sticky-same-site none"), same_site),
            (
                &with_secret("--sticky-cookie __Secure-x"),
                "--sticky-cookie __Secure-… needs --sticky-secure: browsers take no such cookie without it",
            ),
            (
                &with_secret("--sticky-cookie __Host-x --sticky-secure --sticky-path /a"),
                "--sticky-cookie __Host-… needs --sticky-path /: browsers take no such cookie with another",
            ),
            ("--rate-burst 5", "--rate-burst needs --rate-limit; give both or neither"),
            ("--rate-key address", "--rate-key needs --rate-limit; give both or neither"),
            ("--rate-limit 5", "--rate-limit \"5\": not a rate; write 100/s, or 600/1m for 600 a minute"),
            ("--rate-limit 5/s --rate-key uri", "--rate-key \"uri\": must be address or header:NAME"),
            (
                "--rate-limit 5/s --rate-key cookie:a",
                "--rate-key \"cookie:a\": must be address or header:NAME",
            ),
            (
                "--rate-limit 5/s --rate-key header:",
                "--rate-key \"header:\": no name; write one of letters, digits and -",
            ),
            (
                "--rate-limit 5/s --rate-burst 0",
                "--rate-burst \"0\": must be a whole number from 1 to 4294967295",
            ),
            (
                "--rate-limit 1/h --rate-burst 8761",
                "--rate-burst \"8761\": would take more than a year to be earned again; write a smaller one",
            ),
        ]);
    }
}

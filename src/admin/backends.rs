//! Commands to one backend: `POST /api/backends/{pool}/{id}/{drain,disable,enable,weight}`.

use serde::Deserialize;

use super::answer::Answer;
use super::report;
use super::request::Asked;
use super::routes::without_body;
use super::server::Site;
use crate::balance::{Mode, Table};
use crate::config::Algorithm;
use crate::id::BackendId;
use crate::limits;

const PREFIX: &str = "/api/backends/";

#[derive(Clone, Copy)]
enum Wanted {
    Mode(Mode),
    Weight(u16),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    weight: u64,
}

/// Whether a path has the form of such a command.
pub(super) fn is_path(path: &str) -> bool {
    parts(path).is_some()
}

fn parts(path: &str) -> Option<[&str; 3]> {
    let mut parts = path.strip_prefix(PREFIX)?.split('/');
    let found = [parts.next()?, parts.next()?, parts.next()?];
    let known = matches!(found[2], "drain" | "disable" | "enable" | "weight");
    (parts.next().is_none() && known).then_some(found)
}

/// Carries the command out; answers what the backend is afterwards.
pub(super) fn answer(asked: &Asked, site: &Site) -> Answer {
    match obey(asked, site) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn obey(asked: &Asked, site: &Site) -> Result<Answer, Answer> {
    let [pool, id, action] = parts(&asked.path).ok_or_else(|| Answer::error(404, "no such command"))?;
    let table = (site.sources.table)();
    let id = find(&table, &decoded(pool), &decoded(id)).map_err(|why| Answer::error(404, &why))?;
    let wanted = wanted(asked, action)?;
    let now = site.sources.now();
    let backend = table.backend(id);
    let name = &table.pool_of(id).config().name;
    match wanted {
        Wanted::Mode(mode) => {
            if table.set_mode(id, mode, now) {
                let what = match mode {
                    Mode::Enabled => "enabled",
                    Mode::Draining => "drained: no new clients",
                    Mode::Disabled => "disabled: no new requests",
                };
                log::info!("pool {name}: backend {} is {what}, by command", backend.url());
            }
        }
        Wanted::Weight(weight) => {
            if matches!(table.pool_of(id).config().algorithm, Algorithm::Hash { .. }) {
                return Err(Answer::error(
                    409,
                    "a pool that chooses by hash has its weights from the configuration",
                ));
            }
            if backend.weight() != weight {
                table.set_weight(id, weight);
                log::info!("pool {name}: backend {} has weight {weight}, by command", backend.url());
            }
        }
    }
    Ok(Answer::json(200, &report::backend(site, &table, id)))
}

fn wanted(asked: &Asked, action: &str) -> Result<Wanted, Answer> {
    if action == "weight" {
        let range = 1..=u64::from(limits::WEIGHT_MAX);
        let form = format!("the body must be {{\"weight\": N}}, N from 1 to {}", limits::WEIGHT_MAX);
        // A list would pass for a structure.
        if asked.body.trim_ascii_start().starts_with(b"[") {
            return Err(Answer::error(400, &format!("a list; {form}")));
        }
        let Weight { weight } = serde_json::from_slice(&asked.body)
            .map_err(|error| Answer::error(400, &format!("{error}; {form}")))?;
        let weight = u16::try_from(weight).ok().filter(|_| range.contains(&weight));
        return weight.map(Wanted::Weight).ok_or_else(|| Answer::error(400, &form));
    }
    without_body(asked)?;
    Ok(Wanted::Mode(match action {
        "drain" => Mode::Draining,
        "disable" => Mode::Disabled,
        _ => Mode::Enabled,
    }))
}

/// The backend of that pool with that `host:port`, or at that position from 0, written as a number is.
fn find(table: &Table, pool: &str, id: &str) -> Result<BackendId, String> {
    let pools: Vec<_> = table.pools().iter().filter(|pool| !pool.is_gone()).collect();
    let Some(pool) = pools.iter().find(|known| known.config().name == pool) else {
        return Err(format!(
            "no pool {pool:?}; there is {}",
            list(pools.iter().map(|pool| pool.config().name.clone()))
        ));
    };
    let named = pool.members().iter().find(|&&member| report::id(table.backend(member)) == id);
    let placed = || pool.members().get(place(id)?);
    named.or_else(placed).copied().ok_or_else(|| {
        let known = pool.members().iter().map(|&member| report::id(table.backend(member)));
        let number = id.bytes().all(|byte| byte.is_ascii_digit());
        let form = if number { " (or its place, from 0, without leading zeros)" } else { "" };
        format!("no backend {id:?} in pool {:?}; there is {}{form}", pool.config().name, list(known))
    })
}

/// A position, as the status writes it.
fn place(id: &str) -> Option<usize> {
    id.parse().ok().filter(|place: &usize| place.to_string() == id)
}

/// The first few, for an error that one has to read.
fn list(names: impl Iterator<Item = String>) -> String {
    const MOST: usize = 10;
    let names: Vec<String> = names.collect();
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}

/// With `%XX` resolved (RFC 3986 section 2.1); what is no such triple stays.
fn decoded(part: &str) -> String {
    let (mut rest, mut bytes) = (part.as_bytes(), Vec::with_capacity(part.len()));
    while let [first, tail @ ..] = rest {
        let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
        match (first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_three_parts() {
        assert_eq!(parts("/api/backends/a%20b/[::1]:80/drain"), Some(["a%20b", "[::1]:80", "drain"]));
        for bad in
            ["/api/backends/a/b", "/api/backends/a/b/c", "/api/backends/a/b/drain/", "/api/backend/a/b/drain"]
        {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn escapes_are_resolved_and_what_is_none_stays() {
        assert_eq!(decoded("a%20b%2Fc%5b"), "a b/c[");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}

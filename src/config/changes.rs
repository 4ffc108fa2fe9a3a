//! What differs between two configurations, for the log of a reload.

use super::{Backend, Config, Limits, Listener, Pool};

/// The differences, a line each, and the names of those that only a restart can bring.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> (Vec<String>, Vec<&'static str>) {
    let (mut lines, mut fixed) = (Vec::new(), Vec::new());
    for (name, differs) in [
        ("workers", old.workers != new.workers),
        ("pin", old.pin != new.pin),
        ("busy_poll", old.busy_poll != new.busy_poll),
        ("admin", old.admin != new.admin),
        ("limits.connections", old.limits.connections != new.limits.connections),
    ] {
        fixed.extend(differs.then_some(name));
    }
    for (name, differs) in [
        ("timeouts", format!("{:?}", old.timeouts) != format!("{:?}", new.timeouts)),
        ("limits", format!("{:?}", old.limits) != format!("{:?}", keep_fixed(old, new.clone()).limits)),
        ("rate_limit", old.rate_limit != new.rate_limit),
        ("drain_timeout", old.drain_timeout != new.drain_timeout),
        ("status_path", old.status_path != new.status_path),
        ("trust_forwarded", format!("{:?}", old.trust) != format!("{:?}", new.trust)),
        ("error_page", old.error_pages != new.error_pages),
    ] {
        lines.extend(differs.then(|| format!("{name} changed")));
    }
    listeners(&old.listeners, &new.listeners, &mut lines);
    pools(&old.pools, &new.pools, &mut lines);
    (lines, fixed)
}

/// A configuration without what only a restart can bring: there it is as the process runs.
#[must_use]
pub fn keep_fixed(running: &Config, next: Config) -> Config {
    Config {
        workers: running.workers,
        pin: running.pin,
        busy_poll: running.busy_poll,
        admin: running.admin.clone(),
        limits: Limits { connections: running.limits.connections, ..next.limits },
        ..next
    }
}

fn listeners(old: &[Listener], new: &[Listener], lines: &mut Vec<String>) {
    let find = |all: &[Listener], of: &Listener| all.iter().position(|l| l.address == of.address);
    for listener in new {
        let name = &listener.name;
        match find(old, listener) {
            None => lines.push(format!("listener {name} added on {}", listener.address)),
            Some(at) => {
                let before = &old[at];
                if (before.pool, &before.name) != (listener.pool, name) {
                    lines.push(format!("listener {name}: name or pool changed"));
                }
                routes(before, listener, lines);
            }
        }
    }
    let gone = old.iter().filter(|listener| find(new, listener).is_none());
    lines
        .extend(gone.map(|listener| format!("listener {} removed from {}", listener.name, listener.address)));
}

fn routes(old: &Listener, new: &Listener, lines: &mut Vec<String>) {
    let (before, after) = (old.routes.all(), new.routes.all());
    for route in after {
        match before.iter().find(|other| other.name == route.name) {
            None => lines.push(format!("listener {}: route {} added", new.name, route.name)),
            Some(other) if other != route => {
                lines.push(format!("listener {}: route {} changed", new.name, route.name));
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|route| !after.iter().any(|other| other.name == route.name));
    lines.extend(gone.map(|route| format!("listener {}: route {} removed", new.name, route.name)));
}

fn pools(old: &[Pool], new: &[Pool], lines: &mut Vec<String>) {
    for pool in new {
        let Some(before) = old.iter().find(|other| other.name == pool.name) else {
            lines.push(format!("pool {} added", pool.name));
            continue;
        };
        let of = |what: &str| format!("pool {}: {what}", pool.name);
        backends(&before.backends, &pool.backends, &of, lines);
        if (Pool { backends: Vec::new(), ..before.clone() })
            != (Pool { backends: Vec::new(), ..pool.clone() })
        {
            lines.push(of("settings changed"));
        }
    }
    let gone = old.iter().filter(|pool| !new.iter().any(|other| other.name == pool.name));
    lines.extend(gone.map(|pool| format!("pool {} removed", pool.name)));
}

fn backends(old: &[Backend], new: &[Backend], of: &dyn Fn(&str) -> String, lines: &mut Vec<String>) {
    for backend in new {
        let url = &backend.url;
        match old.iter().find(|other| other.url == *url) {
            None => lines.push(of(&format!("backend {url} added"))),
            Some(before) if before.weight != backend.weight => {
                let (from, to) = (before.weight, backend.weight);
                lines.push(of(&format!("backend {url}: weight {from} is now {to}")));
            }
            Some(before) if before != backend => lines.push(of(&format!("backend {url} changed"))),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|backend| !new.iter().any(|other| other.url == backend.url));
    lines.extend(gone.map(|backend| of(&format!("backend {} removed", backend.url))));
}

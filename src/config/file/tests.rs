use std::collections::{HashMap, HashSet};

use super::*;

const DOCS: &str = include_str!("../../../docs/config.md");

fn toml(text: &str) -> Loaded {
    match load(Path::new("lb.toml"), text) {
        Ok((loaded, _)) => loaded,
        Err(report) => panic!("{report}"),
    }
}

/// The template with the defaults, or with the examples too, no longer commented.
fn uncommented(examples: bool) -> String {
    let key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let plain = |line: &'static str| match line.strip_prefix("## ") {
        Some(line) if examples => line,
        _ => line.strip_prefix('#').filter(|line| key(line)).unwrap_or(line),
    };
    print_config().lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Every key of a tree with the tables before it.
fn paths(node: &Node, before: &str, found: &mut HashSet<String>) {
    match &node.value {
        tree::Value::Table(entries) => {
            for entry in entries {
                let path =
                    if before.is_empty() { entry.key.clone() } else { format!("{before}.{}", entry.key) };
                paths(&entry.node, &path, found);
                found.insert(path);
            }
        }
        tree::Value::List(nodes) => nodes.iter().for_each(|node| paths(node, before, found)),
        _ => {}
    }
}

#[test]
fn the_printed_file_is_the_defaults() {
    let mut loaded = toml(&uncommented(false));
    let default = toml("");
    assert!(loaded.names_listeners && loaded.names_pools && !default.names_listeners && !default.names_pools);
    (loaded.names_listeners, loaded.names_pools) = (false, false);
    assert_eq!(std::mem::take(&mut loaded.sets_hash_bound), [false]);
    // That the file writes it down is the one difference.
    assert_eq!(loaded.log_level.take(), Some(LevelFilter::Info));
    assert_eq!(format!("{loaded:#?}"), format!("{default:#?}"));
    assert_eq!(format!("{:#?}", default.config), format!("{:#?}", Config::default()));
    assert_eq!(format!("{:#?}", toml(print_config())), format!("{default:#?}"));
}

#[test]
fn the_printed_file_has_every_key() {
    let text = uncommented(true).replace("file = \"sorry.html\"", "file = \"Cargo.toml\"");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lb.toml");
    let (_, warnings) = load(&path, &text).unwrap_or_else(|report| panic!("{report}"));
    assert!(warnings.is_empty(), "{}", warnings[0]);
    let notes = Notes::new(Format::Toml, &text);
    let mut there = HashSet::new();
    paths(&from_toml::parse(&text, &notes).expect("TOML"), "", &mut there);
    for key in keys::all() {
        assert!(there.contains(key), "{key} is not in template.toml");
    }
    assert!(keys::all().len() > 100, "{:?}", keys::all());
}

/// Every key in a table of the documentation, with the tables before it, and its cell of defaults.
fn documented() -> HashMap<String, &'static str> {
    let mut section = "";
    let mut there = HashMap::new();
    for line in DOCS.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.split('`').nth(1).unwrap_or("").trim_matches(['[', ']']);
        }
        let mut cells = line.split('|').map(str::trim).skip(1);
        let key = cells.next().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        if let (Some(key), Some(default)) = (key, cells.next()) {
            there.insert(
                if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") },
                default,
            );
        }
    }
    there
}

#[test]
fn the_documentation_has_every_key_in_its_table() {
    let there = documented();
    for key in keys::all() {
        assert!(there.contains_key(key), "{key} is in no table of docs/config.md");
    }
    for key in there.keys() {
        assert!(keys::all().contains(key), "docs/config.md has {key}, and no file may");
    }
}

#[test]
fn the_documentation_has_the_defaults() {
    let there = documented();
    let (mut table, mut checked) = (String::new(), 0);
    for line in print_config().lines().filter_map(|line| line.strip_prefix('#')) {
        if line.starts_with('[') {
            table = format!("{}.", line.trim_matches(['[', ']']));
        }
        let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| !key.contains([' ', '#'])) else {
            continue;
        };
        let cell = there.get(&format!("{table}{key}")).unwrap_or_else(|| panic!("{table}{key}"));
        if cell.starts_with('`') {
            assert_eq!(*cell, format!("`{value}`"), "{table}{key}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} were compared");
}

#[test]
fn the_walk_of_the_model_finds_its_keys() {
    for key in
        ["workers", "limits.max_body", "listener.route.redirect.status", "pool.backend.url", "pool.sticky.by"]
    {
        assert!(keys::all().iter().any(|other| other == key), "{key} in {:?}", keys::all());
    }
    assert!(keys::has_keys("pool") && keys::has_keys("health") && !keys::has_keys("url"));
    assert_eq!(keys::place_of("weight"), Some("pool.backend.weight"));
    assert_eq!(keys::place_of("name"), None);
    assert_eq!(keys::place_of("nothing"), None);
}

#[test]
fn a_rate_of_connections_goes_by_address_alone() {
    let warned = |mode: &str, key: &str| {
        let text = format!(
            "rate_limit = {{ requests = 1, per = \"1s\", key = \"{key}\" }}\n\
             listener = [{{ address = \"127.0.0.1:1\", mode = \"{mode}\" }}]\n\
             pool = [{{ backend = [{{ url = \"127.0.0.1:2\" }}] }}]\n"
        );
        let (_, warnings) = load(Path::new("lb.toml"), &text).unwrap_or_else(|report| panic!("{report}"));
        warnings.iter().any(|warning| warning.to_string().contains("but its address"))
    };
    assert!(warned("tcp", "header:X-Key"));
    assert!(!warned("tcp", "address") && !warned("http", "header:X-Key"));
}

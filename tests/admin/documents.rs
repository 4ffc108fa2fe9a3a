//! The documents name what there is, all of it and nothing else.

use std::collections::BTreeSet;

use evenkeel::exchange::cause::CODES;

use super::Admin;
use super::gauges::routed;
use super::metrics::{names, scrape};
use crate::support::process::{evenkeel, output_of};
use crate::support::{Backend, get};

fn read(path: &str) -> String {
    let whole = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(whole).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every word of a text that begins like the name of a metric.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named = |word: &&str| word.starts_with("evenkeel_") || word.starts_with("process_");
    words.filter(named).map(str::to_owned).collect()
}

#[test]
fn every_cause_is_explained_and_no_other() {
    let text = read("docs/causes.md");
    let sections: Vec<(&str, &str)> =
        text.split("\n### `").skip(1).filter_map(|section| section.split_once("`\n\n")).collect();
    for code in CODES {
        let found: Vec<&str> =
            sections.iter().filter(|(name, _)| *name == code).map(|(_, text)| *text).collect();
        assert_eq!(found.len(), 1, "sections for {code}");
        assert!(found[0].len() > 100 && found[0].contains(". "), "{code} is hardly explained");
    }
    assert_eq!(sections.len(), CODES.len(), "a section for something that is no cause");
}

#[test]
fn the_documents_name_only_flags_that_exist() {
    let mut command = evenkeel();
    command.arg("--help");
    let help = String::from_utf8(output_of(command).stdout).expect("text");
    for document in ["docs/admin.md", "docs/causes.md", "docs/metrics.md"] {
        let text = read(document);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        for flag in words.filter(|word| word.starts_with("--") && word.len() > 4 && !word.starts_with("---"))
        {
            assert!(help.contains(flag), "{document}: {flag}");
        }
    }
}

#[test]
fn every_metric_of_a_scrape_is_in_its_document_and_the_other_way_round() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let (told, known) = (names(&admin), metrics_in(&read("docs/metrics.md")));
    let missing: Vec<_> = told.difference(&known).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
    let (gone, causes) = (known.difference(&told).collect::<Vec<_>>(), metrics_in(&read("docs/causes.md")));
    assert!(gone.is_empty(), "docs/metrics.md has what no scrape has: {gone:?}");
    assert!(
        causes.is_subset(&told),
        "docs/causes.md names {:?}",
        causes.difference(&told).collect::<Vec<_>>()
    );
}

#[test]
fn the_grafana_dashboard_is_json_and_its_metrics_exist() {
    let text = read("deploy/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let asked = panels.iter().filter(|panel| panel["type"] != "row");
    assert!(asked.clone().count() > 10);
    for panel in asked {
        let targets = panel["targets"].as_array().expect("targets");
        let any = targets.iter().all(|target| !metrics_in(target["expr"].as_str().unwrap_or("")).is_empty());
        assert!(any && !targets.is_empty(), "{} asks for nothing of ours", panel["title"]);
    }
    let backend = Backend::named("a");
    let admin = Admin::start_with_file(&routed("web", &backend, &backend.url()));
    get(admin.balancer.address, "/").expect("a response");
    let samples: BTreeSet<String> =
        scrape(&admin).keys().map(|name| name.split('{').next().unwrap_or(name).to_owned()).collect();
    let wanted = metrics_in(&text);
    assert!(
        wanted.is_subset(&samples),
        "no scrape has {:?}",
        wanted.difference(&samples).collect::<Vec<_>>()
    );
}

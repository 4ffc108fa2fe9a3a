//! What the README says can be typed.

use std::collections::BTreeSet;

use crate::support::process::{evenkeel, output_of, test_server};
use crate::support::{Evenkeel, SOON, eventually, get};

fn readme() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("README.md: {e}"))
}

/// Every `--flag` in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let found = text.split(word).filter(|w| w.len() > 3 && w.starts_with("--") && w.as_bytes()[2] != b'-');
    found.map(str::to_string).collect()
}

/// The commands in the README's blocks of shell, each on one line.
fn commands() -> Vec<String> {
    let (text, mut commands, mut inside) = (readme(), Vec::new(), false);
    for line in text.replace("\\\n", " ").lines() {
        match line.trim_start().strip_prefix("```") {
            Some(kind) => inside = !inside && matches!(kind.trim(), "sh" | "bash" | "shell" | "console"),
            None if inside => {
                let command = line.split(" #").next().unwrap_or("").trim_start_matches("$ ").trim();
                commands.push(command.to_string());
            }
            None => {}
        }
    }
    commands
}

fn help_of(mut command: std::process::Command) -> BTreeSet<String> {
    command.arg("--help");
    flags(&String::from_utf8_lossy(&output_of(command).stdout))
}

/// The arguments of a command that runs that binary, however it is started.
fn arguments_to<'a>(command: &'a str, binary: &str) -> Option<&'a str> {
    let words: Vec<&str> = command.split_whitespace().skip_while(|w| w.contains('=')).collect();
    let cargo = words.starts_with(&["cargo", "run"]);
    let named = words.windows(2).find(|w| w[0] == "--bin").map_or("evenkeel", |w| w[1]);
    if cargo && named == binary {
        return Some(command.split_once(" -- ").map_or("", |(_, rest)| rest));
    }
    let first = words.first()?;
    (first.rsplit('/').next() == Some(binary)).then_some(command)
}

#[test]
fn every_flag_in_a_command_of_the_readme_exists() {
    for (binary, known) in [("evenkeel", help_of(evenkeel())), ("test-server", help_of(test_server()))] {
        for command in commands() {
            for part in command.split([';', '&', '|', '#']) {
                for flag in flags(arguments_to(part.trim(), binary).unwrap_or("")) {
                    assert!(known.contains(&flag), "{binary} has no {flag}: {command}");
                }
            }
        }
    }
}

#[test]
fn every_flag_in_a_table_of_the_readme_exists() {
    let known: BTreeSet<_> = help_of(evenkeel()).union(&help_of(test_server())).cloned().collect();
    for line in readme().lines().filter(|l| l.trim_start().starts_with("| `--")) {
        for flag in flags(line) {
            assert!(known.contains(&flag), "nobody has {flag}: {line}");
        }
    }
}

#[test]
fn every_flag_of_evenkeel_is_in_the_readme() {
    let written = flags(&readme());
    for flag in help_of(evenkeel()) {
        assert!(written.contains(&flag), "{flag} is not in README.md");
    }
}

#[test]
fn the_first_commands_are_the_demo_and_the_tests() {
    let commands: Vec<String> = commands().into_iter().filter(|c| c.starts_with("cargo ")).collect();
    assert_eq!(commands.first().map(String::as_str), Some("cargo run --release -- --demo"));
    assert_eq!(commands.get(1).map(String::as_str), Some("cargo test"));
}

/// The demo's own traffic, which goes on all the while, is not to be seen in that.
#[test]
fn each_answer_of_the_demo_comes_from_the_next_backend() {
    assert!(readme().contains("Each answer comes from the next backend"));
    let log = std::env::temp_dir().join(format!("evenkeel-demo-{}", std::process::id()));
    let path = log.to_str().expect("UTF-8");
    let balancer = Evenkeel::start(&["--demo", "--listen", "127.0.0.1:0", "--access-log", path]);
    let own = || std::fs::read_to_string(&log).unwrap_or_default().matches("\"GET /demo ").count();
    let mut names = Vec::new();
    for _ in 0..12 {
        let before = own();
        eventually(SOON, "the demo's own traffic", || own() > before);
        let text = get(balancer.address, "/").expect("a response").text();
        names.push(text.lines().next().unwrap_or_default().to_owned());
    }
    let _ = std::fs::remove_file(&log);
    let all_differ = |three: &&[String]| three[0] != three[1] && three[1] != three[2] && three[0] != three[2];
    let right = names.windows(3).filter(all_differ).count();
    // One may come just while the demo asks, once in a while.
    assert!(right >= 6, "{names:#?}");
}

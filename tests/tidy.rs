//! The style that the sources keep: floors, sizes, and what may not be written at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Imports between modules of one floor that its row in `lib.rs` means.
const SAME_FLOOR: [(&str, &str); 14] = [
    ("main", "cli"),
    ("main", "control"),
    ("main", "demo"),
    ("bin", "cli"),
    ("bin", "demo"),
    ("control", "cli"),
    ("control", "admin"),
    ("control", "demo"),
    ("config", "limits"),
    ("config", "error"),
    ("config", "id"),
    ("error", "id"),
    // Times are counted beside the choices.
    ("balance", "histogram"),
    // Failures are counted by their cause.
    ("stats", "exchange"),
];
/// Who may ask for the time; everyone else is handed it.
const CLOCKS: [&str; 5] = ["worker", "probe", "control", "admin", "demo"];
/// Who may know the event library.
const POLLERS: [&str; 4] = ["transport", "worker", "probe", "sys"];
/// Words that say nothing about a thing.
const BANNED_WORDS: [&str; 7] = ["manager", "handler", "context", "helper", "util", "utils", "common"];
const BANNED_PREFIX: &str = "misc";
/// Lines of code in a file, its unit tests, comments and empty lines not counted.
const CODE_LINES: usize = 500;
/// Lines in a file, whatever they are.
const ALL_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// An identifier, a lifetime's or number's rest, or one other character; with its line, from 1.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
    /// Whether it stands in a `#[cfg(test)]` item or a file of tests.
    test: bool,
}

struct Source {
    /// From the repository's root.
    path: PathBuf,
    lines: usize,
    tokens: Vec<Token>,
}

impl Source {
    /// Module names from the crate's root: `src/proto/h1/head.rs` is proto, h1, head.
    fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix("src").unwrap_or(&self.path).with_extension("");
        let mut names: Vec<String> = inside.iter().map(|c| c.to_string_lossy().into_owned()).collect();
        names.pop_if(|last| last == "mod");
        names
    }

    /// The module directly under the root.
    fn top(&self) -> String {
        self.module().first().cloned().unwrap_or_default()
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// Tokens outside tests.
    fn shipped(&self) -> Vec<&Token> {
        self.tokens.iter().filter(|t| !t.test).collect()
    }
}

/// Comments, strings and character literals blanked out, line ends kept.
fn strip(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = literal_end(&chars, i);
        if end > i {
            out.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            i = end;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// Where the comment, string or character that begins at `i` ends; `i` when none does.
fn literal_end(chars: &[char], i: usize) -> usize {
    let at = |j: usize| chars.get(j).copied().unwrap_or('\0');
    let find = |from: usize, stop: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|j| stop(*j)).unwrap_or(chars.len())
    };
    let after_word = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
    match (at(i), at(i + 1)) {
        ('/', '/') => find(i, &|j| at(j) == '\n'),
        ('/', '*') => {
            let (mut depth, mut j) = (1, i + 2);
            while depth > 0 && j < chars.len() {
                let step = match (at(j), at(j + 1)) {
                    ('/', '*') => 1,
                    ('*', '/') => -1,
                    _ => 0,
                };
                depth += step;
                j += if step == 0 { 1 } else { 2 };
            }
            j
        }
        ('"', _) => quoted_end(chars, i),
        ('b' | 'c', '"') if !after_word => quoted_end(chars, i + 1),
        ('b', '\'') if !after_word => quoted_end(chars, i + 1),
        ('r', '"' | '#') | ('b' | 'c', 'r') if !after_word => {
            let from = if at(i) == 'r' { i + 1 } else { i + 2 };
            let hashes = (from..).take_while(|j| at(*j) == '#').count();
            if at(from + hashes) != '"' {
                return i;
            }
            let closes = |j: usize| at(j) == '"' && (1..=hashes).all(|h| at(j + h) == '#');
            (find(from + hashes + 1, &closes) + hashes + 1).min(chars.len())
        }
        // A lifetime has no second quote where a character's would be.
        ('\'', '\\') => quoted_end(chars, i),
        ('\'', _) if at(i + 2) == '\'' => i + 3,
        _ => i,
    }
}

/// Where the quote that opens at `i` has closed, escapes skipped.
fn quoted_end(chars: &[char], i: usize) -> usize {
    let mut j = i + 1;
    while j < chars.len() && chars[j] != chars[i] {
        j += if chars[j] == '\\' { 2 } else { 1 };
    }
    (j + 1).min(chars.len())
}

fn tokens(code: &str, all_test: bool) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            let other = (!c.is_whitespace()).then(|| c.to_string());
            let texts = (!word.is_empty()).then(|| std::mem::take(&mut word)).into_iter().chain(other);
            tokens.extend(texts.map(|text| Token { text, line: number + 1, test: all_test }));
        }
    }
    mark_tests(&mut tokens);
    tokens
}

/// Marks every item that stands under `#[cfg(test)]`.
fn mark_tests(tokens: &mut [Token]) {
    for start in 0..tokens.len() {
        if starts_with(&tokens[start..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            let opens = |i: &usize| matches!(tokens[*i].text.as_str(), "{" | ";");
            let Some(open) = (start + 7..tokens.len()).find(opens) else { continue };
            let end = if tokens[open].text == "{" { closing(tokens, open) } else { open };
            tokens[start..=end].iter_mut().for_each(|t| t.test = true);
        }
    }
}

fn starts_with(tokens: &[impl std::borrow::Borrow<Token>], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(t, text)| t.borrow().text == *text)
}

/// The index of the brace that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(directory: &str) -> Vec<Source> {
    let (mut open, mut found) = (vec![root().join(directory)], Vec::new());
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(source(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn source(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let path = path.strip_prefix(root()).unwrap_or(path).to_path_buf();
    let all_test = path.starts_with("tests") || path.ends_with("tests.rs");
    Source { lines: text.lines().count(), tokens: tokens(&strip(&text), all_test), path }
}

/// What the balancer is made of.
fn shipped() -> Vec<Source> {
    let sources = read("src");
    assert!(!sources.is_empty(), "no sources under {}", root().display());
    sources
}

/// Everything written in Rust.
fn everything() -> Vec<Source> {
    ["src", "tests", "benches", "fuzz/fuzz_targets"].into_iter().flat_map(read).collect()
}

#[track_caller]
fn assert_none(faults: Vec<String>, rule: &str) {
    assert!(faults.is_empty(), "{rule}\n  {}\n", faults.join("\n  "));
}

/// Module to floor, as the picture in `lib.rs` has it.
fn floors() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let (mut floors, mut floor) = (BTreeMap::new(), None);
    for line in text.lines().filter_map(|l| l.strip_prefix("//!")) {
        let line = line.trim_start();
        let names = match line.strip_prefix("floor ").and_then(|l| l.split_once(' ')) {
            Some((number, rest)) => {
                floor = number.parse().ok();
                rest.trim_start()
            }
            None => line,
        };
        if line.is_empty() || line.starts_with("```") {
            floor = None;
        }
        let Some(floor) = floor else { continue };
        for name in names.split("  ").next().unwrap_or("").split(',') {
            let top = name.trim().split('/').next().unwrap_or("");
            floors.insert(top.to_string(), floor);
        }
    }
    floors.entry("bin".to_string()).or_insert(4);
    floors
}

/// Every module under the crate's root that a source names, with the line.
fn imports(source: &Source) -> Vec<(String, usize)> {
    let (tokens, depth) = (source.shipped(), source.module().len());
    let outside = matches!(source.top().as_str(), "main" | "bin");
    let mut found = Vec::new();
    for i in 0..tokens.len() {
        let mut rest = &tokens[i..];
        let root = starts_with(rest, &["crate", ":", ":"])
            || (outside && starts_with(rest, &["evenkeel", ":", ":"]));
        if root {
            rest = &rest[3..];
        } else {
            let continued = i > 0 && tokens[i - 1].text == ":";
            let mut ups = 0;
            while starts_with(rest, &["super", ":", ":"]) {
                (ups, rest) = (ups + 1, &rest[3..]);
            }
            if ups == 0 || ups < depth || continued {
                continue;
            }
        }
        found.extend(first_names(rest));
    }
    found
}

/// The first names of a path, or of each path in a braced group.
fn first_names(rest: &[&Token]) -> Vec<(String, usize)> {
    let name = |t: &Token| (t.text.clone(), t.line);
    let Some(first) = rest.first() else { return Vec::new() };
    if first.text != "{" {
        return vec![name(first)];
    }
    let (mut depth, mut found) = (0, Vec::new());
    for pair in rest.windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0].text.as_str(), "{" | ",") && pair[1].text != "}" {
            found.push(name(pair[1]));
        }
    }
    found
}

#[test]
fn a_module_imports_only_from_floors_below_its_own() {
    let floors = floors();
    assert!(floors.len() > 10, "the picture of the floors in src/lib.rs is not understood: {floors:?}");
    let mut faults = Vec::new();
    for source in shipped().iter().filter(|s| s.top() != "lib") {
        let from = source.top();
        let Some(own) = floors.get(&from) else {
            faults
                .push(format!("{}: {from} has no floor in the picture of src/lib.rs", source.path.display()));
            continue;
        };
        for (to, line) in imports(source) {
            let Some(floor) = floors.get(&to) else { continue };
            let beside = floor == own && to != from && !SAME_FLOOR.contains(&(from.as_str(), to.as_str()));
            if floor > own || beside {
                faults.push(format!(
                    "{}: {from} (floor {own}) imports {to} (floor {floor})",
                    source.place(line)
                ));
            }
        }
    }
    assert_none(
        faults,
        "a module imports from the floors below it (SAME_FLOOR in tests/tidy.rs lists what a row allows):",
    );
}

#[test]
fn files_are_short() {
    let mut faults = Vec::new();
    for source in everything() {
        let own = |t: &&Token| source.path.starts_with("tests") || !t.test;
        let mut lines: Vec<usize> = source.tokens.iter().filter(own).map(|t| t.line).collect();
        lines.dedup();
        if lines.len() > CODE_LINES {
            faults.push(format!(
                "{}: {} lines of code, at most {CODE_LINES}",
                source.path.display(),
                lines.len()
            ));
        }
        if source.lines > ALL_LINES {
            faults.push(format!(
                "{}: {} lines in all, at most {ALL_LINES}",
                source.path.display(),
                source.lines
            ));
        }
    }
    assert_none(faults, "a file is about one thing; aim at 300 lines of code:");
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for source in everything() {
        let tokens = &source.tokens;
        for i in 0..tokens.len().saturating_sub(1) {
            let named = tokens[i + 1].text.starts_with(|c: char| c.is_alphabetic() || c == '_');
            if tokens[i].text != "fn" || !named {
                continue;
            }
            // `;` inside brackets is an array's length, not the end of a declaration.
            let mut nested = 0;
            let open = (i..tokens.len()).find(|j| {
                match tokens[*j].text.as_str() {
                    "(" | "[" => nested += 1,
                    ")" | "]" => nested -= 1,
                    _ => {}
                }
                nested == 0 && matches!(tokens[*j].text.as_str(), "{" | ";")
            });
            let Some(open) = open.filter(|j| tokens[*j].text == "{") else { continue };
            let lines = tokens[closing(tokens, open)].line + 1 - tokens[i].line;
            if lines > FUNCTION_LINES {
                let place = source.place(tokens[i].line);
                faults.push(format!(
                    "{place}: fn {}: {lines} lines, at most {FUNCTION_LINES}",
                    tokens[i + 1].text
                ));
            }
        }
    }
    assert_none(faults, "a function fits a screen:");
}

/// The words of an identifier, in lower case.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words
}

fn banned(identifier: &str) -> bool {
    words(identifier).iter().any(|word| {
        let singular = word.strip_suffix('s').unwrap_or(word);
        word.starts_with(BANNED_PREFIX)
            || BANNED_WORDS.contains(&word.as_str())
            || BANNED_WORDS.contains(&singular)
    })
}

#[test]
fn names_say_something() {
    let mut faults = Vec::new();
    for source in everything() {
        let named = source.path.with_extension("");
        for part in named.iter().map(|p| p.to_string_lossy()).filter(|p| banned(&p.replace('-', "_"))) {
            faults.push(format!("{}: the file name has {part}", source.path.display()));
        }
        for token in source.tokens.iter().filter(|t| banned(&t.text)) {
            faults.push(format!("{}: {}", source.place(token.line), token.text));
        }
    }
    assert_none(faults, "never manager, handler, context, helper, util, common, misc:");
}

/// Places outside tests where these tokens stand in a row, in modules other than these.
fn outside(modules: &[&str], row: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in shipped().iter().filter(|s| !modules.contains(&s.top().as_str())) {
        let tokens = source.shipped();
        let found = (0..tokens.len()).filter(|i| starts_with(&tokens[*i..], row));
        faults.extend(found.map(|i| source.place(tokens[i].line)));
    }
    faults
}

#[test]
fn only_a_few_ask_for_the_time() {
    assert_none(
        outside(&CLOCKS, &["Instant", ":", ":", "now"]),
        "Instant::now is for worker, probe, control, admin and demo; everyone else is handed the time:",
    );
}

#[test]
fn only_a_few_know_mio() {
    assert_none(outside(&POLLERS, &["mio", ":", ":"]), "mio is for transport, worker, probe and sys:");
}

#[test]
fn nothing_is_unfinished_silenced_or_unsafe() {
    let rows: [(&[&str], &str); 5] = [
        (&["todo", "!"], "todo!"),
        (&["unimplemented", "!"], "unimplemented!"),
        (&["dbg", "!"], "dbg!"),
        (&["[", "allow", "("], "#[allow(…)]"),
        (&["unsafe"], "unsafe"),
    ];
    let mut faults = Vec::new();
    for source in everything() {
        for (row, name) in rows {
            let found = (0..source.tokens.len()).filter(|i| starts_with(&source.tokens[*i..], row));
            faults.extend(found.map(|i| format!("{}: {name}", source.place(source.tokens[i].line))));
        }
    }
    assert_none(faults, "these are not to be written:");
}

#[test]
fn this_reader_of_sources_sees_what_it_should() {
    let code = "let a = \"unsafe \\\" // {\"; /* todo! /* { */ */ let b = r#\"\"{\"#; let c: &'a u8 = b'{'; '\\'' // {\n}";
    let stripped = strip(code);
    let seen: Vec<String> = tokens(&stripped, false).into_iter().map(|t| t.text).collect();
    assert_eq!(seen.join(" "), "let a = ; let b = ; let c : & ' a u8 = ; }");
    assert_eq!(stripped.lines().count(), 2);

    let text = "use crate::{a::{x, y}, b};\nfn f() { crate::c::g(super::super::d::h()) }\n#[cfg(test)]\nmod tests { use crate::e; }";
    let source = Source { path: "src/one/two.rs".into(), lines: 4, tokens: tokens(text, false) };
    let names: Vec<String> = imports(&source).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);

    for (identifier, expected) in
        [("ConnManager", true), ("HELPERS", true), ("contextual", false), ("utility", false)]
    {
        assert_eq!(banned(identifier), expected, "{identifier}");
    }
}

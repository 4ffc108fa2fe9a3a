//! What is wrong with a file, and where.

use std::cell::RefCell;
use std::fmt;

use super::tree::Span;

/// More errors than this tell nobody more.
const ERRORS_MAX: usize = 100;
/// A line of the file is shown with at most this many characters before and after the place.
const BESIDE_MAX: usize = 60;

/// Formats of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Yaml,
    Json,
}

impl Format {
    /// How one more element of a list of tables is written, by the key with the tables before it.
    pub(super) fn element(self, path: &str) -> String {
        let key = path.rsplit('.').next().unwrap_or(path);
        match self {
            Self::Toml => format!("[[{path}]]"),
            Self::Yaml => format!("{key}: and below it a - before the first key of each"),
            Self::Json => format!("\"{key}\": [{{…}}]"),
        }
    }
}

/// Collects what is found while a file is read and checked.
pub(super) struct Notes<'a> {
    /// How the file is written.
    pub(super) format: Format,
    text: &'a str,
    found: RefCell<Vec<(Span, bool, String)>>,
    misspelt: RefCell<Vec<(Span, &'static str)>>,
    hidden: RefCell<Vec<Span>>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(format: Format, text: &'a str) -> Self {
        Self {
            format,
            text,
            found: RefCell::default(),
            misspelt: RefCell::default(),
            hidden: RefCell::default(),
        }
    }

    /// Notes what keeps the file from being used.
    pub(super) fn error(&self, span: Span, message: String) {
        self.found.borrow_mut().push((span, true, message));
    }

    /// Notes what is allowed and risky.
    pub(super) fn warning(&self, span: Span, message: String) {
        self.found.borrow_mut().push((span, false, message));
    }

    /// Remembers that a key of the table at `table` likely stands there under another name.
    pub(super) fn misspelt(&self, table: Span, key: &'static str) {
        self.misspelt.borrow_mut().push((table, key));
    }

    /// Notes that the table at `table` lacks a key, unless that key stands there misspelt.
    pub(super) fn missing(&self, table: Span, key: &str, message: String) {
        if !self.is_misspelt(table, key) {
            self.error(table, message);
        }
    }

    /// Whether a key of the table at `table` likely stands there under another name.
    pub(super) fn is_misspelt(&self, table: Span, key: &str) -> bool {
        self.misspelt.borrow().iter().any(|(span, near)| *span == table && *near == key)
    }

    /// Keeps what stands there out of the lines that are shown.
    pub(super) fn hide(&self, span: Span) {
        self.hidden.borrow_mut().push(span);
    }

    /// Whether an error has been noted.
    pub(super) fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|(_, error, _)| *error)
    }

    /// Number of the line in which a span begins, from 1.
    pub(super) fn line_of(&self, span: Span) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        memchr::memchr_iter(b'\n', before).count() + 1
    }

    /// The errors, or if there is none the warnings, in the order of the text.
    pub(super) fn finish(self, file: &str) -> Result<Vec<Warning>, Report> {
        let has_errors = self.has_errors();
        let text = masked(self.text, &self.hidden.borrow());
        let mut found = self.found.into_inner();
        found.retain(|(_, error, _)| *error == has_errors);
        found.sort_by_key(|(span, ..)| span.start);
        found.dedup();
        let left_out = found.len().saturating_sub(ERRORS_MAX);
        let notes = found.into_iter().take(ERRORS_MAX);
        let notes: Vec<Note> =
            notes.map(|(span, error, message)| Note::new(file, &text, span, error, message)).collect();
        if has_errors {
            Err(Report { notes, left_out })
        } else {
            Ok(notes.into_iter().map(Warning).collect())
        }
    }
}

/// The text with stars for what is hidden, each byte of it in its place.
fn masked(text: &str, hidden: &[Span]) -> String {
    let mut masked = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c != '\n' && hidden.iter().any(|span| (span.start..span.end).contains(&at)) {
            masked.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            masked.push(c);
        }
    }
    masked
}

/// One thing found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    file: String,
    error: bool,
    message: String,
    /// `None` if it is about the file as a whole.
    place: Option<Place>,
}

/// A place in a file, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    /// In characters.
    column: usize,
    /// What of the line is shown.
    shown: String,
    /// What stands under it up to the caret.
    padding: String,
    carets: usize,
}

impl Note {
    fn new(file: &str, text: &str, span: Span, error: bool, message: String) -> Self {
        Self { file: file.to_owned(), error, message, place: Some(Place::new(text, span)) }
    }
}

impl Place {
    fn new(text: &str, span: Span) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let (before, after) = (&text[line_start..start], text[start..line_end].trim_end());
        let column = before.chars().count() + 1;
        let marked = &text[start..floor(text, span.end).clamp(start, start + after.len())];
        let carets = marked.chars().count().clamp(1, BESIDE_MAX);
        let left_out = column.saturating_sub(1 + BESIDE_MAX);
        let dots = |cut: bool| if cut { "…" } else { "" };
        let before: String = before.chars().skip(left_out).collect();
        let right = after.char_indices().nth(2 * BESIDE_MAX).map_or(after, |(at, _)| &after[..at]);
        // A tab must stay one, so that the caret stands under its place however wide tabs are.
        let plain = |text: &str| text.chars().map(visible).collect::<String>();
        let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
        Self {
            line: memchr::memchr_iter(b'\n', &text.as_bytes()[..start]).count() + 1,
            column,
            shown: format!(
                "{}{}{}{}",
                dots(left_out > 0),
                plain(&before),
                plain(right),
                dots(right.len() < after.len())
            ),
            padding: dots(left_out > 0).chars().chain(before.chars()).map(blank).collect(),
            carets,
        }
    }
}

/// The character's boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

/// What cannot be shown in a line without changing the terminal.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.error { "" } else { "warning: " };
        let Some(place) = &self.place else { return write!(f, "{}: {kind}{}", self.file, self.message) };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{}:{}:{}: {kind}{}", self.file, place.line, place.column, self.message)?;
        writeln!(f, "  {number} | {}", place.shown)?;
        write!(f, "  {gutter} | {}{}", place.padding, "^".repeat(place.carets))
    }
}

/// What is allowed in a file and yet risky, with its place; its `Display` is a line and the place under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(Note);

impl Warning {
    /// What is risky and what would be better, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything that keeps a file from being used; its `Display` is the full text, of several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    notes: Vec<Note>,
    left_out: usize,
}

impl Report {
    /// One error of the file as a whole.
    pub(super) fn whole(file: &str, message: String) -> Self {
        let note = Note { file: file.to_owned(), error: true, message, place: None };
        Self { notes: vec![note], left_out: 0 }
    }

    /// Number of errors.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no report without an error")]
    pub fn len(&self) -> usize {
        self.notes.len() + self.left_out
    }

    /// What each error says, without its place.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(|note| note.message.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, note) in self.notes.iter().enumerate() {
            write!(f, "{}{note}", if i > 0 { "\n" } else { "" })?;
        }
        match (self.left_out, self.notes.len()) {
            (0, 0 | 1) => Ok(()),
            (0, all) => write!(f, "\n{all} errors"),
            (left_out, shown) => {
                write!(f, "\n{} errors, of which {left_out} are not shown", shown + left_out)
            }
        }
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: std::ops::Range<usize>) -> String {
        let notes = Notes::new(Format::Toml, text);
        notes.error(span.into(), "wrong".to_owned());
        notes.finish("f").expect_err("an error").to_string()
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(shown("a = 1\nbc = 22\n", 11..13), "f:2:6: wrong\n  2 | bc = 22\n    |      ^^");
        assert_eq!(shown("\tä = ö\r\n", 6..8), "f:1:6: wrong\n  1 | \tä = ö\n    | \t    ^");
        // Inside a character, past a line's end, past the end of all, over several lines.
        assert_eq!(shown("ä", 1..1), "f:1:1: wrong\n  1 | ä\n    | ^");
        assert_eq!(shown("ab\ncd", 2..9), "f:1:3: wrong\n  1 | ab\n    |   ^");
        assert_eq!(shown("ab\n", 90..99), "f:2:1: wrong\n  2 | \n    | ^");
        assert_eq!(shown("[\n1\n]", 0..5), "f:1:1: wrong\n  1 | [\n    | ^");
        assert_eq!(shown("", 0..0), "f:1:1: wrong\n  1 | \n    | ^");
        assert_eq!(shown("a\u{1b}b", 2..3), "f:1:3: wrong\n  1 | a\u{fffd}b\n    |   ^");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(200), "b".repeat(200));
        let right = format!(
            "f:1:201: wrong\n  1 | …{}X{}…\n    | {}^",
            "a".repeat(60),
            "b".repeat(119),
            " ".repeat(61)
        );
        assert_eq!(shown(&text, 200..201), right);
    }

    #[test]
    fn errors_are_in_order_counted_and_hide_warnings() {
        let notes = Notes::new(Format::Toml, "abc");
        notes.warning((0..1).into(), "hm".to_owned());
        assert!(!notes.has_errors());
        notes.error((2..3).into(), "second".to_owned());
        notes.error((1..2).into(), "first".to_owned());
        notes.error((1..2).into(), "first".to_owned());
        let report = notes.finish("f").expect_err("errors");
        assert_eq!(report.messages().collect::<Vec<_>>(), ["first", "second"]);
        assert!(report.to_string().ends_with("\n2 errors"), "{report}");
        let notes = Notes::new(Format::Toml, "abc");
        for i in 0..ERRORS_MAX + 5 {
            notes.error((0..1).into(), i.to_string());
        }
        let report = notes.finish("f").expect_err("errors");
        assert_eq!(report.len(), 105);
        assert!(report.to_string().ends_with("\n105 errors, of which 5 are not shown"), "{report}");
    }

    #[test]
    fn a_warning_says_that_it_is_one() {
        let notes = Notes::new(Format::Toml, "abc");
        notes.warning((0..3).into(), "hm".to_owned());
        let warnings = notes.finish("f").expect("no errors");
        assert_eq!(warnings[0].to_string(), "f:1:1: warning: hm\n  1 | abc\n    | ^^^");
        assert_eq!(Report::whole("f", "no".to_owned()).to_string(), "f: no");
    }
}

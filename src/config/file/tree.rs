//! What the three formats have in common: a tree of values that know their places.

use std::ops::Range;

use super::note::Notes;

/// Tables and lists may be nested this deep: the deepest that means something is six.
pub(super) const DEPTH_MAX: usize = 64;

/// Bytes of the text, from the first to before the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// In decimal, as it was written.
    Number(String),
    Text(String),
    /// A date or a time, which TOML alone has and which no setting is.
    Date,
    List(Vec<Node>),
    /// In the order of the text, no key twice.
    Table(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Value {
    /// What it is, in the words of a message.
    pub(super) fn found(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(text) => text.clone(),
            Self::Text(text) => crate::config::quoted(text),
            Self::Date => "a date".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// Takes a key into a table, or notes that it stands there already.
pub(super) fn insert(entries: &mut Vec<Entry>, entry: Entry, notes: &Notes) {
    match entries.iter().find(|other| other.key == entry.key) {
        Some(first) => {
            let key = crate::config::quoted(&entry.key);
            let line = notes.line_of(first.key_span);
            notes.error(
                entry.key_span,
                format!("{key} stands twice in this table, first in line {line}; keep one"),
            );
        }
        None => entries.push(entry),
    }
}

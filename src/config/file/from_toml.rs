//! TOML to the tree.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::note::Notes;
use super::tree::{Entry, Node, Span, Value};

/// Reads a document; what is not TOML is noted.
pub(super) fn parse(text: &str, notes: &Notes) -> Option<Node> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut places: Vec<(Span, &str)> = errors
        .iter()
        .map(|error| (error.span().map_or_else(Span::default, Span::from), error.message()))
        .collect();
    places.sort_by_key(|(span, _)| span.start);
    let mut last_line = 0;
    for (span, said) in places {
        let line = notes.line_of(span);
        // After a slip the rest of its line seldom means anything.
        if line != last_line {
            notes.error(span, message(said, text.get(span.start..span.end).unwrap_or_default()));
        }
        if said.starts_with(LIST_GOES_ON) {
            // What follows was read as elements of that list.
            break;
        }
        last_line = line;
    }
    let span = document.span().into();
    errors
        .is_empty()
        .then(|| Node { span, value: table(document.into_inner(), notes) })
        .filter(|_| !notes.has_errors())
}

fn table(table: DeTable<'_>, notes: &Notes) -> Value {
    let entries = table.into_iter().map(|(key, value)| Entry {
        key_span: key.span().into(),
        key: key.into_inner().into_owned(),
        node: node(value, notes),
    });
    let mut entries: Vec<Entry> = entries.collect();
    entries.sort_by_key(|entry| entry.key_span);
    Value::Table(entries)
}

fn node(value: Spanned<DeValue<'_>>, notes: &Notes) -> Node {
    let span = value.span().into();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number.to_string()),
            Err(_) => self::number(number.as_str(), span, notes),
        },
        DeValue::Float(number) => self::number(number.as_str(), span, notes),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(nodes) => Value::List(nodes.into_iter().map(|value| node(value, notes)).collect()),
        DeValue::Table(entries) => table(entries, notes),
    };
    Node { span, value }
}

/// The parser takes what merely begins like a number for one, such as `32k`.
fn number(text: &str, span: Span, notes: &Notes) -> Value {
    if text.parse::<f64>().is_err() {
        notes.error(span, QUOTES.to_owned());
    }
    Value::Number(text.to_owned())
}

const QUOTES: &str = "a text must stand in quotes, like \"this\"";
/// What the parser says where a list is not closed.
const LIST_GOES_ON: &str = "missing comma between array elements";
/// What it says of a bare word, by its first letter.
const BARE: [&str; 5] = [
    "string values must be quoted",
    "invalid float",
    "invalid boolean",
    "invalid integer",
    "invalid datetime",
];

/// What the parser says, in plainer words where it is about the slips that people make.
fn message(said: &str, there: &str) -> String {
    let bare = BARE.iter().any(|start| said.starts_with(start)) && !there.starts_with(['"', '\'']);
    let plain = match said {
        "key with no value, expected `=`" => "a key without a value; write key = value",
        "duplicate key" => "this key or table stands twice; keep one, or write [[…]] for one more of a list",
        "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => {
            "a text is not closed; its quote must stand in the same line"
        }
        "unclosed table, expected `]`" => "a table's name is not closed; put a ] after it",
        "unclosed array, expected `]`" => "a list is not closed; put a ] at its end",
        "unclosed inline table, expected `}`" => "a table is not closed; put a } at its end",
        "missing comma between key-value pairs, expected `,`" => "a , is missing before this",
        "unexpected key or value, expected newline, `#`" => "nothing more may stand in this line",
        _ if said.starts_with("unquoted keys cannot be empty") => "a key is missing here",
        _ if said.starts_with(LIST_GOES_ON) => {
            "a , is missing before this, or a ] at the end of the list above"
        }
        _ if bare && there.trim().is_empty() => "a value is missing here; write key = value",
        _ if bare && there.contains(' ') => {
            "a text must stand in quotes, and one key with its value in a line"
        }
        _ if bare => QUOTES,
        other => return format!("not TOML: {other}"),
    };
    plain.to_owned()
}

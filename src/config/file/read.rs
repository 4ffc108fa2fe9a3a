//! From the tree to the model: a deserializer that notes what is wrong and goes on.

use std::fmt::Display;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::given::GIVEN;
use super::keys;
use super::note::{Format, Notes};
use super::tree::{Entry, Node, Span, Value};
use crate::config::{nearest, quoted};

/// What is wrong with one value, before its name and place are put to it.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is of another kind than the one expected.
    Kind(String),
    /// It has the right kind and yet cannot be used, because of this.
    Value(String),
    /// It is none of the words that it may be.
    Word(&'static [&'static str]),
}

impl Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(expected) => write!(f, "must be {expected}"),
            Self::Value(reason) => f.write_str(reason),
            Self::Word(words) => write!(f, "must be {}", words.join(", ")),
        }
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: Display>(reason: T) -> Self {
        Self::Value(reason.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Kind(match expected.to_string().as_str() {
            "a boolean" => "true or false".to_owned(),
            "a sequence" => "a list".to_owned(),
            other => other.to_owned(),
        })
    }

    fn unknown_variant(_: &str, words: &'static [&'static str]) -> Self {
        Self::Word(words)
    }
}

/// Reads one value of the tree, of the given name.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) key: &'a str,
    pub(super) key_span: Span,
    pub(super) notes: &'a Notes<'a>,
}

impl<'a> Reader<'a> {
    fn note(&self, wrong: Wrong) {
        let (key, found) = (self.key, self.found());
        let message = match (wrong, &self.node.value) {
            (Wrong::Kind(_), Value::Null) => format!("{key} has no value; write one, or take {key} away"),
            (Wrong::Kind(expected), value) => {
                format!(
                    "{key} must be {expected}, not {found}{}",
                    in_its_place(&expected, value, key, self.notes.format)
                )
            }
            (Wrong::Value(reason), _) => format!("{key} {found}: {reason}"),
            (Wrong::Word(words), _) => {
                let written = if let Value::Text(text) = &self.node.value { text } else { "" };
                match nearest(written, words.iter().copied()) {
                    Some(near) => format!("{key} {found}: unknown; did you mean \"{near}\"?"),
                    None => format!("{key} {found}: unknown; it may be {}", words.join(", ")),
                }
            }
        };
        self.notes.error(self.node.span, message);
    }

    /// What stands there, unless nobody else may know it.
    fn found(&self) -> String {
        match &self.node.value {
            Value::Text(_) | Value::Number(_) if is_secret(self.key) => "\"…\"".to_owned(),
            value => value.found(),
        }
    }

    fn wrong_kind<T>(expected: &str) -> Result<T, Wrong> {
        Err(Wrong::Kind(expected.to_owned()))
    }

    fn note_unknown(&self, entry: &Entry, table: &str, fields: &'static [&'static str]) {
        let key = quoted(&entry.key);
        let near = nearest(&entry.key, fields.iter().copied());
        let near = near.and_then(|near| fields.iter().find(|field| **field == near));
        near.iter().for_each(|near| self.notes.misspelt(self.node.span, near));
        let message = match (near, keys::place_of(&entry.key)) {
            (Some(near), _) => format!("unknown key {key}; did you mean {near}?"),
            (None, Some(place)) => format!("unknown key {key} in {table}; there is {place}"),
            (None, None) => format!("unknown key {key}; {table} may have {}", fields.join(", ")),
        };
        self.notes.error(entry.key_span, message);
    }
}

/// Whether a key's value is nobody else's to know, also where the key is a header's name.
fn is_secret(key: &str) -> bool {
    ["secret", "token", "authorization", "cookie"].iter().any(|name| key.to_ascii_lowercase().contains(name))
}

/// What to write, where one kind was likely meant by another.
fn in_its_place(expected: &str, value: &Value, key: &str, format: Format) -> String {
    let text = |right: &str| expected.contains(right);
    match value {
        Value::Number(number) if text("true or false") => match number.as_str() {
            "1" => "; write true".to_owned(),
            "0" => "; write false".to_owned(),
            _ => String::new(),
        },
        Value::Number(number) if !text("number") && !text("list") && !text("table") && !is_secret(key) => {
            format!("; put it in quotes: \"{number}\"")
        }
        Value::Text(word) if text("true or false") => match word.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => "; write true".to_owned(),
            "no" | "off" | "false" => "; write false".to_owned(),
            _ => String::new(),
        },
        Value::Text(number)
            if text("number") && number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() =>
        {
            format!("; write {number} without quotes")
        }
        Value::Table(_) if text("list of tables") => format!("; write {}", format.element(key)),
        Value::Text(word) if text("list") && !text("tables") => format!("; write [{}]", quoted(word)),
        Value::Number(number) if text("list") => format!("; write [{number}]"),
        _ => String::new(),
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Null | Value::Date => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Number(text) => match (text.parse::<u64>(), text.parse::<f64>()) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_f64(number),
                _ => visitor.visit_unit(),
            },
            Value::List(nodes) => visitor.visit_seq(Elements { reader: self, nodes: nodes.iter() }),
            Value::Table(entries) => visitor.visit_map(Fields::new(self, entries, None)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::List(_) => self.deserialize_any(visitor),
            // What the elements would be is known from the key alone.
            _ if keys::has_keys(self.key) => Self::wrong_kind("a list of tables"),
            _ => Self::wrong_kind("a list"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        table: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let Value::Table(entries) = &self.node.value else { return Self::wrong_kind("a table") };
        for entry in entries.iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
            self.note_unknown(entry, table, fields);
        }
        visitor.visit_map(Fields::new(self, entries, Some(fields)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Table(entries) => visitor.visit_map(Fields::new(self, entries, None)),
            _ => Self::wrong_kind("a table"),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let Value::Text(text) = &self.node.value else { return Self::wrong_kind("a word in quotes") };
        visitor.visit_enum(StrDeserializer::<Wrong>::new(text))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == GIVEN {
            visitor.visit_seq(Parts { reader: self, place: true })
        } else {
            self.deserialize_any(visitor)
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple identifier ignored_any
    }
}

/// The place of a value and then the value, of which it is noted when it is wrong.
struct Parts<'a> {
    reader: Reader<'a>,
    place: bool,
}

impl<'de> SeqAccess<'de> for Parts<'de> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let Reader { node, key_span, .. } = self.reader;
        if std::mem::take(&mut self.place) {
            let numbers = [node.span.start, node.span.end, key_span.start, key_span.end];
            return seed.deserialize(SeqDeserializer::new(numbers.into_iter())).map(Some);
        }
        Ok(seed.deserialize(self.reader).map_err(|wrong| self.reader.note(wrong)).ok())
    }
}

/// The elements of a list.
struct Elements<'a> {
    reader: Reader<'a>,
    nodes: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let reader = self.reader;
        self.nodes.next().map(|node| seed.deserialize(Reader { node, ..reader })).transpose()
    }
}

/// The entries of a table; those that are not among the fields, if there are such, are left out.
struct Fields<'a> {
    reader: Reader<'a>,
    entries: std::slice::Iter<'a, Entry>,
    fields: Option<&'static [&'static str]>,
    next: Option<&'a Entry>,
}

impl<'a> Fields<'a> {
    fn new(reader: Reader<'a>, entries: &'a [Entry], fields: Option<&'static [&'static str]>) -> Self {
        Self { reader, entries: entries.iter(), fields, next: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let fields = self.fields;
        let known = |entry: &&Entry| fields.is_none_or(|fields| fields.contains(&entry.key.as_str()));
        self.next = self.entries.find(known);
        let Some(entry) = self.next else { return Ok(None) };
        seed.deserialize(Key { entry, place: true }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let Some(Entry { key, key_span, node }) = self.next else { return Reader::wrong_kind("a value") };
        let notes = self.reader.notes;
        if is_secret(key) {
            notes.hide(node.span);
        }
        seed.deserialize(Reader { node, key, key_span: *key_span, notes })
    }
}

/// A key, with its place if it is asked for.
struct Key<'a> {
    entry: &'a Entry,
    place: bool,
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_borrowed_str(&self.entry.key)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_seq(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple struct enum identifier ignored_any seq map
    }
}

impl<'de> SeqAccess<'de> for Key<'de> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let Span { start, end } = self.entry.key_span;
        if std::mem::take(&mut self.place) {
            return seed.deserialize(SeqDeserializer::new([start, end, start, end].into_iter())).map(Some);
        }
        seed.deserialize(self.entry.key.as_str().into_deserializer()).map(Some)
    }
}

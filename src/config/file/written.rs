//! Single values as a person writes them into a file: text or numbers, read by the parsers that flags use.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

use super::given::Given;

use crate::config::{
    BackendUrl, HostPattern, Key, Location, Network, Statuses, parse_cause_header, parse_cookie_path,
    parse_count, parse_duration, parse_host, parse_key, parse_listen, parse_method, parse_path,
    parse_percent, parse_size, parse_status_path, parse_statuses, parse_token,
};
use crate::limits;

/// Which kinds of value are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kinds {
    Text,
    Number,
    Both,
    /// Text, a number or a list of both.
    List,
}

/// A kind of value that a text or a number stands for.
pub(super) trait Written {
    /// What is read.
    type Value;
    /// What may stand for it.
    const KINDS: Kinds;
    /// What it is called where something else stands in its place.
    fn expected() -> String;
    /// Reads it; the error is one line that does not repeat the value.
    fn read(text: &str) -> Result<Self::Value, String>;
}

/// A value that is read from its text.
pub(super) struct As<T: Written>(pub(super) T::Value);

impl<'de, T: Written> Deserialize<'de> for As<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading(PhantomData))
    }
}

impl<T: Written> Given<As<T>>
where
    T::Value: Clone,
{
    /// The value, if it stands in the file and is right.
    pub(super) fn read(&self) -> Option<T::Value> {
        self.get().map(|value| value.0.clone())
    }

    /// The value or the default.
    pub(super) fn or(&self, default: T::Value) -> T::Value {
        self.read().unwrap_or(default)
    }
}

struct Reading<T>(PhantomData<T>);

impl<T: Written> Reading<T> {
    fn number<E: Error>(self, text: &str, unexpected: Unexpected<'_>) -> Result<As<T>, E> {
        match T::KINDS {
            Kinds::Text => Err(E::invalid_type(unexpected, &self)),
            Kinds::Number | Kinds::Both | Kinds::List => T::read(text).map(As).map_err(E::custom),
        }
    }
}

impl<'de, T: Written> Visitor<'de> for Reading<T> {
    type Value = As<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<As<T>, E> {
        match T::KINDS {
            Kinds::Number => Err(E::invalid_type(Unexpected::Str(text), &self)),
            Kinds::Text | Kinds::Both | Kinds::List => T::read(text).map(As).map_err(E::custom),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<As<T>, E> {
        self.number(&number.to_string(), Unexpected::Unsigned(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<As<T>, E> {
        self.number(&number.to_string(), Unexpected::Float(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<As<T>, A::Error> {
        if T::KINDS != Kinds::List {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut parts = Vec::new();
        while let Some(As::<Plain>(part)) = access.next_element()? {
            parts.push(part);
        }
        T::read(&parts.join(",")).map(As).map_err(A::Error::custom)
    }
}

/// Any text or number.
struct Plain;

impl Written for Plain {
    type Value = String;
    const KINDS: Kinds = Kinds::Both;
    fn expected() -> String {
        "a text or a number".to_owned()
    }
    fn read(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// A whole number within bounds.
pub(super) struct Count<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Written for Count<LEAST, MOST> {
    type Value = u32;
    const KINDS: Kinds = Kinds::Number;
    fn expected() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }
    fn read(text: &str) -> Result<u32, String> {
        parse_count(text, LEAST..=MOST)
    }
}

/// Percent up to a bound.
pub(super) struct Percent<const MOST: u32>;

impl<const MOST: u32> Written for Percent<MOST> {
    type Value = u32;
    const KINDS: Kinds = Kinds::Both;
    fn expected() -> String {
        format!("a whole number from 0 to {MOST}, of percent")
    }
    fn read(text: &str) -> Result<u32, String> {
        parse_percent(text, 0..=MOST)
    }
}

/// Bytes within bounds.
pub(super) struct Size<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> Written for Size<LEAST, MOST> {
    type Value = u64;
    const KINDS: Kinds = Kinds::Both;
    fn expected() -> String {
        "a size like \"32k\" or a number of bytes".to_owned()
    }
    fn read(text: &str) -> Result<u64, String> {
        parse_size(text, LEAST..=MOST)
    }
}

const DURATION: &str = "a duration like \"5s\" or a number of seconds";

impl Written for Duration {
    type Value = Self;
    const KINDS: Kinds = Kinds::Both;
    fn expected() -> String {
        DURATION.to_owned()
    }
    fn read(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }
}

/// A duration that a clock of milliseconds can tell from none.
pub(super) struct Positive;

impl Written for Positive {
    type Value = Duration;
    const KINDS: Kinds = Kinds::Both;
    fn expected() -> String {
        DURATION.to_owned()
    }
    fn read(text: &str) -> Result<Duration, String> {
        match parse_duration(text)? {
            duration if duration < Duration::from_millis(1) => {
                Err("too short; it must be at least 1ms".to_owned())
            }
            duration => Ok(duration),
        }
    }
}

/// The number of workers; `None`: one for each core.
pub(super) struct Workers;

impl Written for Workers {
    type Value = Option<usize>;
    const KINDS: Kinds = Kinds::Both;
    fn expected() -> String {
        format!("a whole number from 1 to {}, or \"auto\"", limits::WORKERS_MAX)
    }
    fn read(text: &str) -> Result<Option<usize>, String> {
        if text == "auto" {
            return Ok(None);
        }
        let workers = parse_count(text, 1..=limits::WORKERS_MAX as u32);
        workers.map(|workers| Some(workers as usize)).map_err(|line| format!("{line}, or \"auto\""))
    }
}

/// The path of the short status; `None` turns it off.
pub(super) struct StatusPath;

/// The name of a field that is ours, or empty.
pub(super) struct CauseHeader;

/// A path without a query.
pub(super) struct PathText;

/// A path that may have a query.
pub(super) struct Target;

/// A token of RFC 9110 section 5.6.2: a name of a header field or a cookie.
pub(super) struct Token;

/// A method of a request.
pub(super) struct Method;

/// The value of a Host field.
pub(super) struct Host;

/// The path of a cookie.
pub(super) struct CookiePath;

/// What nobody else may know.
pub(super) struct Secret;

/// A name that the user gives to a listener, a route or a pool.
pub(super) struct Name;

/// Text that is not empty and can stand in one line: a header's value, a secret, a file's name.
pub(super) struct Line;

/// Longest name: it becomes a label of metrics and a column of tables.
const NAME_MAX: usize = 64;

macro_rules! written_as_text {
    ($($type:ty => $value:ty, $expected:literal, $read:expr;)*) => {$(
        impl Written for $type {
            type Value = $value;
            const KINDS: Kinds = Kinds::Text;
            fn expected() -> String {
                $expected.to_owned()
            }
            fn read(text: &str) -> Result<$value, String> {
                $read(text)
            }
        }
    )*};
}

written_as_text! {
    CauseHeader => Option<String>, "a header's name like \"X-Evenkeel-Cause\"", parse_cause_header;
    StatusPath => Option<String>, "a path like \"/lb-status\"", parse_status_path;
    PathText => String, "a path like \"/v1/\"", parse_path;
    Target => String, "a path like \"/health\"", target;
    SocketAddr => Self, "an address like \"0.0.0.0:8080\"", parse_listen;
    BackendUrl => Self, "a URL like \"http://127.0.0.1:8081\"", str::parse;
    Network => Self, "a network like \"10.0.0.0/8\"", str::parse;
    HostPattern => Self, "a host like \"example.com\" or \"*.example.com\"", str::parse;
    Location => Self, "a URL like \"https://{host}{uri}\"", str::parse;
    Key => Self, "\"address\", \"uri\", \"header:NAME\" or \"cookie:NAME\"", parse_key;
    Token => String, "a name in quotes", parse_token;
    Method => String, "a method like \"GET\"", parse_method;
    Host => String, "a host like \"www.example.com\"", parse_host;
    CookiePath => String, "a path like \"/\"", parse_cookie_path;
    Secret => String, "a text in quotes", secret;
    Name => String, "a name in quotes", name;
    Line => String, "a text in quotes", line;
}

impl Written for Statuses {
    type Value = Self;
    const KINDS: Kinds = Kinds::List;
    fn expected() -> String {
        "statuses like \"502,503\" or \"5xx\"".to_owned()
    }
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self::default()) } else { parse_statuses(text) }
    }
}

fn target(text: &str) -> Result<String, String> {
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    parse_path(path)?;
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(bad) => Err(format!("{bad:?} may not stand in it; write it as %XX")),
        None => Ok(text.to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.chars().find(|&c| !allowed(c)) {
        Some(bad) => Err(format!("{bad:?} may not stand in a name; letters, digits, - _ and . may")),
        None if text.is_empty() => Err("empty; write a name".to_owned()),
        None if text.len() > NAME_MAX => Err(format!("a name has at most {NAME_MAX} characters")),
        None => Ok(text.to_owned()),
    }
}

fn secret(text: &str) -> Result<String, String> {
    if text.contains(|c: char| c.is_control()) {
        return Err("only text without control characters may stand in it".to_owned());
    }
    match text.chars().count() {
        limits::STICKY_SECRET_MIN.. => Ok(text.to_owned()),
        _ => Err(format!(
            "too short; it must have {} characters at least, like what `openssl rand -hex 16` prints",
            limits::STICKY_SECRET_MIN
        )),
    }
}

fn line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("empty; write something or take the key away".to_owned());
    }
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(bad) => Err(format!("{bad:?} may not stand in it; it must be one line")),
        None => Ok(text.to_owned()),
    }
}

/// Whether a text can be the value of a header field: visible, in one line, no white space at its ends.
pub(super) fn field_value(text: &str) -> Result<(), String> {
    if let Some(bad) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("{bad:?} may not stand in a header's value"));
    }
    if text.trim() != text {
        return Err("a header's value neither begins nor ends with white space".to_owned());
    }
    Ok(())
}

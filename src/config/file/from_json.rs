//! JSON to the tree: RFC 8259, with a word of help where people write JavaScript.

use super::note::Notes;
use super::tree::{DEPTH_MAX, Entry, Node, Span, Value, insert};

/// Reads a document; what is not JSON is noted.
pub(super) fn parse(text: &str, notes: &Notes) -> Option<Node> {
    let mut reading = Reading { text, at: 0, notes };
    match reading.document() {
        Ok(node) => Some(node),
        Err(Stop { span, message }) => {
            notes.error(span, message);
            None
        }
    }
}

/// What ends the reading.
struct Stop {
    span: Span,
    message: String,
}

struct Reading<'a> {
    text: &'a str,
    at: usize,
    notes: &'a Notes<'a>,
}

impl Reading<'_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let node = self.node(0)?;
        match self.next() {
            None => Ok(node),
            Some(_) => self.stop("something after the end of the document; take it away"),
        }
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let white = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().position(|b| !white(b)).unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    fn stop<T>(&self, message: &str) -> Result<T, Stop> {
        let end = self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8());
        Err(Stop { span: (self.at..end).into(), message: format!("not JSON: {message}") })
    }

    fn node(&mut self, depth: usize) -> Result<Node, Stop> {
        if depth > DEPTH_MAX {
            return self.stop(&format!("nested deeper than {DEPTH_MAX}"));
        }
        let next = self.next();
        let start = self.at;
        let value = match next {
            Some(b'{') => Value::Table(self.table(depth)?),
            Some(b'[') => Value::List(self.list(depth)?),
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'/' | b'#') => return self.stop("there are no comments in JSON; take it away"),
            Some(b'\'') => return self.stop("texts stand in double quotes"),
            Some(b',' | b']' | b'}') => return self.stop("a value is missing before this"),
            Some(_) => self.word()?,
            None => return self.stop("the file ends where a value should stand"),
        };
        Ok(Node { span: (start..self.at).into(), value })
    }

    fn word(&mut self) -> Result<Value, Stop> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        let value = match &rest[..end] {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => return self.stop("texts stand in double quotes"),
        };
        self.at += end;
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, Stop> {
        let rest = &self.text[self.at..];
        let part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let number = &rest[..end];
        let digits = number.strip_prefix('-').unwrap_or(number);
        let leading_zero =
            digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        if number.parse::<f64>().is_err() || leading_zero || number.ends_with('.') {
            return self.stop("a number is written like 12, -1 or 1.5; durations and sizes stand in quotes");
        }
        self.at += end;
        Ok(Value::Number(number.to_owned()))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        self.at += 1;
        let mut nodes = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(nodes);
        }
        loop {
            nodes.push(self.node(depth + 1)?);
            if !self.comma(b']')? {
                return Ok(nodes);
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<Vec<Entry>, Stop> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(entries);
        }
        loop {
            let start = match self.next() {
                Some(b'"') => self.at,
                Some(b'/' | b'#') => return self.stop("there are no comments in JSON; take it away"),
                _ => return self.stop("a key in double quotes must stand here"),
            };
            let key = self.string()?;
            let key_span = (start..self.at).into();
            if self.next() != Some(b':') {
                return self.stop("a : must stand between a key and its value");
            }
            self.at += 1;
            let node = self.node(depth + 1)?;
            insert(&mut entries, Entry { key, key_span, node }, self.notes);
            if !self.comma(b'}')? {
                return Ok(entries);
            }
        }
    }

    /// Whether another element follows; passes what ends the list or table.
    fn comma(&mut self, close: u8) -> Result<bool, Stop> {
        match self.next() {
            Some(b',') => {
                let comma = self.at;
                self.at += 1;
                if self.next() == Some(close) {
                    self.at = comma;
                    return self.stop("no comma may stand after the last element; take it away");
                }
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => self.stop(&format!("a , or a {} must stand here", char::from(close))),
            None => self.stop(&format!("the file ends where a , or a {} should stand", char::from(close))),
        }
    }

    fn string(&mut self) -> Result<String, Stop> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ') else {
                self.at = self.text.len();
                return self.stop("the file ends inside of a text; its closing quote is missing");
            };
            text.push_str(&rest[..end]);
            self.at += end;
            match rest.as_bytes()[end] {
                b'"' => {
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => text.push(self.escape()?),
                _ => return self.stop("a text ends in the line where it began; write \\n for a new line"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Stop> {
        let plain = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.stop("after a \\ may stand one of \" \\ / b f n r t u"),
        };
        self.at += 2;
        Ok(plain)
    }

    /// One escape, or two that are the halves of one character.
    fn unicode(&mut self) -> Result<char, Stop> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            u16::from_str_radix(digits, 16).ok().filter(|_| hex)
        };
        let units = [unit(self.at), unit(self.at + 6)];
        let first = char::decode_utf16(units.into_iter().map_while(|unit| unit)).next();
        match first {
            Some(Ok(c)) => {
                self.at += 6 * c.len_utf16();
                Ok(c)
            }
            _ => self.stop("\\u is followed by four hexadecimal digits that name a character"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::Format;
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let notes = Notes::new(Format::Json, text);
        let node = parse(text, &notes);
        notes.finish("f").map_err(|report| report.to_string())?;
        node.ok_or_else(|| "no node and no error".to_owned())
    }

    fn plain(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null | Value::Date => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(text) => text.parse::<f64>().expect("a number").into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(nodes) => nodes.iter().map(plain).collect(),
            Value::Table(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), plain(&entry.node))).collect()
            }
        }
    }

    #[test]
    fn documents_are_read_as_others_read_them() {
        for text in [
            "{}",
            " [ ] ",
            "{\"a\": [1.0, -2.5, 1.5e3, true, false, null], \"b\": {\"c\": \"d\"}}",
            r#"["\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00é", "x"]"#,
            "\"x\"",
        ] {
            let right: serde_json::Value = serde_json::from_str(text).expect(text);
            assert_eq!(read(text).map(|node| plain(&node)), Ok(right), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_noted_and_others_refuse_it_too() {
        for (text, wrong) in [
            ("", "f:1:1: not JSON: the file ends where a value should stand"),
            ("{\"a\": 1,}", "f:1:8: not JSON: no comma may stand after the last element; take it away"),
            ("[1, 2,]", "f:1:6: not JSON: no comma"),
            ("[1 2]", "f:1:4: not JSON: a , or a ] must stand here"),
            ("{\"a\": 1", "f:1:8: not JSON: the file ends where a , or a } should stand"),
            ("{a: 1}", "f:1:2: not JSON: a key in double quotes"),
            ("{\"a\" 1}", "f:1:6: not JSON: a : must stand"),
            ("{\"a\": 'x'}", "f:1:7: not JSON: texts stand in double quotes"),
            ("{\"a\": x}", "f:1:7: not JSON: texts stand in double quotes"),
            ("{\"a\": 5s}", "f:1:8: not JSON: a , or a } must stand here"),
            ("{\"a\": 01}", "f:1:7: not JSON: a number is written"),
            ("{\"a\": 1.}", "f:1:7: not JSON: a number is written"),
            ("// x\n{}", "f:1:1: not JSON: there are no comments"),
            ("{\"a\": \"x", "f:1:9: not JSON: the file ends inside of a text"),
            ("{\"a\": \"x\n\"}", "f:1:9: not JSON: a text ends in the line"),
            (r#"["\x"]"#, "f:1:3: not JSON: after a \\"),
            (r#"["\u12"]"#, "f:1:3: not JSON: \\u is followed"),
            (r#"["\ud83d"]"#, "f:1:3: not JSON: \\u is followed"),
            ("{} x", "f:1:4: not JSON: something after the end"),
        ] {
            let line = read(text).expect_err(text);
            assert!(line.starts_with(wrong), "{text:?} gave {line}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
        let line = read("{\"a\": 1, \"a\": 2}").expect_err("a key twice");
        assert!(line.starts_with("f:1:10: \"a\" stands twice"), "{line}");
        assert!(read(&"[".repeat(10_000)).expect_err("deep").contains("nested deeper than 64"));
    }
}

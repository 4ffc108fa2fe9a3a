//! YAML to the tree: one document, the core schema of YAML 1.2, with anchors and without tags of one's own.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::note::Notes;
use super::tree::{DEPTH_MAX, Entry, Node, Span, Value, insert};

/// Aliases may make the document this many values large: a few lines of them could make it fill the memory.
const NODES_MAX: usize = 1_000_000;

/// Reads a document; what is not YAML is noted.
pub(super) fn parse(text: &str, notes: &Notes) -> Option<Node> {
    let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    offsets.push(text.len());
    let mut reading = Reading {
        parser: Parser::new_from_str(text),
        offsets,
        anchors: HashMap::new(),
        nodes: 0,
        notes,
        text,
    };
    let node = reading.document();
    match node {
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
    parser: Parser<'a, StrInput<'a>>,
    /// Of each character, and of the end.
    offsets: Vec<usize>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    notes: &'a Notes<'a>,
    text: &'a str,
}

impl<'a> Reading<'a> {
    fn document(&mut self) -> Result<Node, Stop> {
        loop {
            match self.event()? {
                (Event::StreamEnd, span) => return Ok(Node { span, value: Value::Table(Vec::new()) }),
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                event => {
                    let node = self.node(event, 0)?;
                    self.end()?;
                    // A document of comments alone.
                    let empty = matches!(node.value, Value::Null);
                    return Ok(if empty { Node { value: Value::Table(Vec::new()), ..node } } else { node });
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentStart(_), span) => {
                    let message = "a second document begins here; a file holds one".to_owned();
                    return Err(Stop { span, message });
                }
                _ => {}
            }
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let (start, end) = (self.offset(span.start.index()), self.offset(span.end.index()));
                Ok((event, Span { start, end: end.max(start) }))
            }
            Some(Err(error)) => Err(self.stop(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(self.text.len())
    }

    fn stop(&self, error: &ScanError) -> Stop {
        let start = self.offset(error.marker().index());
        let hint = if error.info().contains("tab") {
            "; YAML is indented by spaces, never by tabs"
        } else if error.info().contains("unknown anchor") {
            "; a * begins an alias, so a text that begins with it must stand in quotes"
        } else {
            ""
        };
        Stop { span: Span { start, end: start }, message: format!("not YAML: {}{hint}", error.info()) }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if depth > DEPTH_MAX {
            return Err(Stop { span, message: format!("nested deeper than {DEPTH_MAX}") });
        }
        let first = self.nodes;
        let (anchor, value, span) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(&text, style, tag.as_deref(), span), span)
            }
            Event::SequenceStart(anchor, _) => {
                let (nodes, end) = self.list(depth)?;
                (anchor, Value::List(nodes), Span { end, ..span })
            }
            Event::MappingStart(anchor, _) => {
                let (entries, end) = self.table(depth)?;
                let span =
                    Span { start: entries.first().map_or(span.start, |entry| entry.key_span.start), end };
                (anchor, Value::Table(entries), span)
            }
            _ => return Err(Stop { span, message: "not YAML: a value is missing".to_owned() }),
        };
        let node = Node { span, value };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - first + 1));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Stop> {
        let Some((node, nodes)) = self.anchors.get(&anchor) else {
            return Err(Stop { span, message: "an alias inside of what it stands for".to_owned() });
        };
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(Stop {
                span,
                message: format!("aliases make more than {NODES_MAX} values of this file"),
            });
        }
        Ok(node.clone())
    }

    fn list(&mut self, depth: usize) -> Result<(Vec<Node>, usize), Stop> {
        let mut nodes: Vec<Node> = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, span) => {
                    return Ok((nodes, span.end));
                }
                event => nodes.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<(Vec<Entry>, usize), Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, key_span) = match self.event()? {
                (Event::MappingEnd, span) => return Ok((entries, span.end)),
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (_, span) => return Err(Stop { span, message: "a key must be a text".to_owned() }),
            };
            let event = self.event()?;
            let node = self.node(event, depth + 1)?;
            insert(&mut entries, Entry { key, key_span, node }, self.notes);
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        match tag {
            None if style == ScalarStyle::Plain => plain(text),
            None => Value::Text(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Value::Text(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() => plain(text),
            Some(tag) => {
                self.notes
                    .error(span, format!("tags of one's own, like {tag}, mean nothing here; take it away"));
                Value::Null
            }
        }
    }
}

/// What a text without quotes is: YAML 1.2.2 section 10.3.2, so that yes and on are texts.
fn plain(text: &str) -> Value {
    let number = || {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let decimal =
            digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok();
        let radix =
            |prefix: &str, radix| text.strip_prefix(prefix).and_then(|t| u64::from_str_radix(t, radix).ok());
        match (decimal, radix("0x", 16).or_else(|| radix("0o", 8))) {
            (true, _) => Some(text.strip_prefix('+').unwrap_or(text).to_owned()),
            (false, number) => number.map(|number| number.to_string()),
        }
    };
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number().map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::Format;
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let notes = Notes::new(Format::Yaml, text);
        let node = parse(text, &notes);
        notes.finish("f").map_err(|report| report.to_string())?;
        node.ok_or_else(|| "no node and no error".to_owned())
    }

    fn shown(text: &str) -> String {
        match read(text) {
            Ok(node) => show(&node),
            Err(line) => line,
        }
    }

    fn show(node: &Node) -> String {
        match &node.value {
            Value::List(nodes) => format!("[{}]", nodes.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Table(entries) => {
                let entries = entries.iter().map(|entry| format!("{}={}", entry.key, show(&entry.node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
            Value::Number(text) => format!("#{text}"),
            other => other.found(),
        }
    }

    #[test]
    fn values_are_of_the_core_schema() {
        let right =
            "{a=#1 b=\"1\" c=true d=\"yes\" e=nothing f=[#1.5 \"5s\" \"0.0.0.0:80\"] g={h=#31} i=\"x y\"}";
        let text = "a: 1\nb: '1'\nc: True\nd: yes\ne:\nf: [1.5, 5s, 0.0.0.0:80]\ng:\n  h: 0x1f\ni: x y # z\n";
        assert_eq!(shown(text), right);
        assert_eq!(
            shown("a: !!str 1\nb: -3\nc: +4\nd: .inf\ne: 1e3"),
            "{a=\"1\" b=#-3 c=#4 d=\".inf\" e=#1e3}"
        );
        for empty in ["", "# nothing\n", "---\n", "{}"] {
            assert_eq!(shown(empty), "{}", "{empty:?}");
        }
    }

    #[test]
    fn aliases_stand_for_what_they_name() {
        assert_eq!(shown("a: &x {b: 1}\nc: *x"), "{a={b=#1} c={b=#1}}");
        let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for i in 1..10 {
            let list = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{list}]\n"));
        }
        assert!(shown(&bomb).contains("aliases make more than 1000000 values"), "{}", shown(&bomb));
    }

    #[test]
    fn what_is_no_document_is_noted() {
        for (text, wrong) in [
            ("a: 1\na: 2\n", "f:2:1: \"a\" stands twice in this table, first in line 1; keep one"),
            ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here"),
            ("host: *.example.com\n", "must stand in quotes"),
            ("a:\n\tb: 1\n", "never by tabs"),
            ("a: !mine 1\n", "f:1:4: tags of one's own"),
            ("? [a]\n: 1\n", "a key must be a text"),
            ("a: [1\n", "not YAML"),
        ] {
            assert!(shown(text).contains(wrong), "{text:?} gave {}", shown(text));
        }
        assert!(shown(&"[".repeat(100)).contains("nested deeper than 64"));
    }

    #[test]
    fn places_are_those_of_the_text() {
        let text = "ä: ü\nb:\n  - cc: 1\n    d: 2\n";
        let Ok(Node { value: Value::Table(entries), .. }) = read(text) else { panic!("a table") };
        let at = |span: Span| &text[span.start..span.end];
        assert_eq!((at(entries[0].key_span), at(entries[0].node.span)), ("ä", "ü"));
        let Value::List(nodes) = &entries[1].node.value else { panic!("a list") };
        assert!(at(nodes[0].span).starts_with("cc: 1"));
    }
}

//! Changes to the fields of a head that a route asks for.

use httparse::Header;

use crate::config::{FieldEdits, Rewrite};

/// Fields that go and fields that come, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names that are removed, or set anew.
    gone: Vec<Box<str>>,
    /// Lines that are added, each with its line end.
    added: Vec<u8>,
}

/// What is changed of a request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// Its fields.
    pub edits: &'a Edits,
    /// Its target, which lies below the prefix.
    pub rewrite: Option<&'a Rewrite>,
}

static NONE: Edits = Edits { gone: Vec::new(), added: Vec::new() };

impl Changes<'static> {
    /// None.
    pub const NONE: Self = Self { edits: &NONE, rewrite: None };
}

impl Edits {
    /// The fields that go, one bit each.
    pub(super) fn dropped(&self, fields: &[Header<'_>]) -> u128 {
        if self.gone.is_empty() {
            return 0;
        }
        let gone = fields.iter().enumerate().filter(|(_, field)| self.takes(field.name));
        gone.fold(0, |bits, (i, _)| bits | 1 << i)
    }

    /// Whether fields of this name go.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.gone.iter().any(|gone| gone.eq_ignore_ascii_case(name))
    }

    /// These, and fields of this name go too, if there is one.
    pub fn without(mut self, name: Option<&str>) -> Self {
        self.gone.extend(name.map(Box::from));
        self
    }

    /// The lines that are added.
    pub(super) fn added(&self) -> &[u8] {
        &self.added
    }
}

impl From<&FieldEdits> for Edits {
    fn from(edits: &FieldEdits) -> Self {
        let set = edits.set.iter().map(|(name, _)| name);
        let gone = edits.remove.iter().chain(set).map(|name| name.as_str().into()).collect();
        let mut added = Vec::new();
        for (name, value) in edits.set.iter().chain(&edits.add) {
            for part in [name.as_str(), ": ", value, "\r\n"] {
                added.extend_from_slice(part.as_bytes());
            }
        }
        Self { gone, added }
    }
}

//! A setting as it stands in the file: absent, wrong and noted as such, or a value with its place.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::tree::Span;

/// The name by which [`Given`] asks a deserializer of ours for the place beside the value.
pub(super) const GIVEN: &str = "$given";

/// A setting; its value is `None` when it is absent and when it was wrong.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    pub(super) value: Option<T>,
    pub(super) place: Option<Place>,
}

/// Where a setting stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) key: Span,
    pub(super) value: Span,
}

/// A list whose elements are each noted when they are wrong.
pub(super) type Many<T> = Given<Vec<Given<T>>>;

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self { value: None, place: None }
    }
}

impl<T> Given<T> {
    /// Whether it stands in the file, right or wrong.
    pub(super) fn is_there(&self) -> bool {
        self.place.is_some()
    }

    /// Whether it stands in the file and is wrong.
    pub(super) fn is_wrong(&self) -> bool {
        self.is_there() && self.value.is_none()
    }

    /// The place of its key; of a list's element that of the list's key.
    pub(super) fn key(&self) -> Span {
        self.place.map_or_else(Span::default, |place| place.key)
    }

    /// The place of its value.
    pub(super) fn span(&self) -> Span {
        self.place.map_or_else(Span::default, |place| place.value)
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T> Many<T> {
    /// Whether it has elements, right or wrong.
    pub(super) fn has_any(&self) -> bool {
        self.is_there() && self.value.as_ref().is_none_or(|all| !all.is_empty())
    }

    /// Its right elements with their places.
    pub(super) fn each(&self) -> impl Iterator<Item = (&T, Span)> {
        let all = self.value.iter().flatten();
        all.filter_map(|given| Some((given.value.as_ref()?, given.span())))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(GIVEN, 2, Placed(PhantomData))
    }
}

struct Placed<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Placed<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Given<T>, A::Error> {
        let [start, end, key_start, key_end] = access.next_element::<[usize; 4]>()?.unwrap_or_default();
        let place = Place { key: (key_start..key_end).into(), value: (start..end).into() };
        Ok(Given { value: access.next_element()?, place: Some(place) })
    }
}

/// A table whose keys are the user's own names, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs<T>(pub(super) Vec<(Given<String>, Given<T>)>);

impl<T> Pairs<T> {
    /// Its right entries with the places of key and value.
    pub(super) fn each(&self) -> impl Iterator<Item = (&str, Span, &T, Span)> {
        self.0.iter().filter_map(|(key, value)| {
            Some((key.value.as_deref()?, key.span(), value.value.as_ref()?, value.span()))
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = Pairs<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Pairs<T>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

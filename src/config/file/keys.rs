//! Every key that a file may have, read from the model itself.

use std::cell::RefCell;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::given::GIVEN;
use super::model::File;

/// All keys with the tables before them, such as `pool.backend.url`, in the model's order.
pub(super) fn all() -> &'static [String] {
    static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
        let found = RefCell::default();
        // Every value that the walk could give is wrong, and only the keys count.
        let _ = File::deserialize(Walk { path: String::new(), found: &found });
        found.into_inner()
    });
    &ALL
}

/// Whether a key of this name holds a table with keys of ours.
pub(super) fn has_keys(key: &str) -> bool {
    all().iter().any(|path| path.rsplit('.').nth(1) == Some(key))
}

/// The one table in which a key of this name stands, with the key.
pub(super) fn place_of(key: &str) -> Option<&'static str> {
    let mut places = all().iter().filter(|path| path.rsplit('.').next() == Some(key));
    places.next().filter(|_| places.next().is_none()).map(String::as_str)
}

/// Answers every table with all its keys, every list with one element and every value with an error.
#[derive(Clone)]
struct Walk<'a> {
    path: String,
    found: &'a RefCell<Vec<String>>,
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Keys { walk: self, fields: fields.iter(), key: "" })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Once { walk: Some(self), place: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Once { walk: Some(self), place: name == GIVEN })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple map enum identifier ignored_any
    }
}

struct Keys<'a> {
    walk: Walk<'a>,
    fields: std::slice::Iter<'static, &'static str>,
    key: &'static str,
}

impl<'de> MapAccess<'de> for Keys<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(&key) = self.fields.next() else { return Ok(None) };
        self.key = key;
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let dot = if self.walk.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.walk.path, self.key);
        self.walk.found.borrow_mut().push(path.clone());
        seed.deserialize(Walk { path, found: self.walk.found })
    }
}

/// One element, after a place if that is asked for.
struct Once<'a> {
    walk: Option<Walk<'a>>,
    place: bool,
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if std::mem::take(&mut self.place) {
            return seed.deserialize(SeqDeserializer::new([0_usize; 4].into_iter())).map(Some);
        }
        Ok(self.walk.take().and_then(|walk| seed.deserialize(walk).ok()))
    }
}

//! One key: its place in a structure, its comment, and what it takes.

use super::form::Form;
use std::path::PathBuf;
use toml::Value;

/// A key whose value is in an `S`.
#[derive(Debug)]
pub struct Field<S: 'static> {
    /// Its name; within a table with a name of its own, what comes after that one.
    pub name: &'static str,
    /// What it means, and why.
    pub comment: fn() -> &'static str,
    /// What it takes.
    pub takes: fn() -> String,
    /// Whether a change holds without a restart.
    pub is_live: bool,
    /// Whether its value is shown to nobody.
    pub is_secret: bool,
    /// Puts a value in its place, or says what it takes instead.
    pub set: fn(&mut S, &Value) -> Result<(), String>,
    /// What is in its place. `None`: nothing is said, or TOML has no way to say it.
    pub get: fn(&S) -> Option<Value>,
    /// Takes over what another structure has in its place.
    pub copy: fn(&mut S, &S),
    /// The files that it names.
    pub files: fn(&S) -> Vec<PathBuf>,
}

/// What the field takes that `_place` leads to.
pub fn takes<S, F: Form>(_place: fn(&S) -> &F) -> String {
    F::takes()
}

/// Whether the field that `_place` leads to is a secret.
pub const fn is_secret<S, F: Form>(_place: fn(&S) -> &F) -> bool {
    F::IS_SECRET
}

/// The fields of one structure in the place `[…]` of another. It does not compile when a field has no key; those of the last
/// list have keys of their own.
macro_rules! fields {
    (@field $root:ty, $prefix:literal, $place:tt, $type:ident, $field:ident, $is_live:literal) => {
        Field {
            name: concat!($prefix, stringify!($field)),
            comment: || <$type as Described>::comment(stringify!($field)),
            takes: || $crate::config::field::takes(|root: &$root| &fields!(@path root, $place, $field)),
            is_live: $is_live,
            is_secret: $crate::config::field::is_secret(|root: &$root| &fields!(@path root, $place, $field)),
            set: |root, value| Form::read(value).map(|it| fields!(@path root, $place, $field) = it),
            get: |root| fields!(@path root, $place, $field).write(),
            copy: |root, other| fields!(@path root, $place, $field) = fields!(@path other, $place, $field).clone(),
            files: |root| fields!(@path root, $place, $field).files(),
        }
    };
    (@path $root:ident, [$($place:ident).*], $field:ident) => { $root$(.$place)*.$field };
    ($root:ty, $prefix:literal, $place:tt, $type:ident {
        live: [$($live:ident)*], restart: [$($restart:ident)*], structures: [$($structure:ident)*]
    }) => {{
        const _: fn(&$type) = |it| {
            let $type { $($live: _,)* $($restart: _,)* $($structure: _,)* } = it;
        };
        const FIELDS: &[Field<$root>] = &[
            $(fields!(@field $root, $prefix, $place, $type, $live, true),)*
            $(fields!(@field $root, $prefix, $place, $type, $restart, false),)*
        ];
        FIELDS
    }};
}

pub(crate) use fields;

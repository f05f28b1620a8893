//! Structures that know the comments of their fields, so that whoever configures one reads what its author has written.

/// A structure whose fields can be explained.
pub trait Described {
    /// Each field with its comment.
    const FIELDS: &'static [(&'static str, &'static str)];

    /// The comment of a field; empty when there is no such field.
    fn comment(field: &str) -> &'static str {
        Self::FIELDS.iter().find(|(name, _)| *name == field).map_or("", |(_, comment)| comment)
    }
}

/// Defines a structure and makes it [`Described`].
#[macro_export]
macro_rules! described {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $($(#[doc = $comment:literal])+ $field_visibility:vis $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        $visibility struct $name {
            $($(#[doc = $comment])+ $field_visibility $field: $type,)+
        }

        impl $crate::described::Described for $name {
            const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($comment, "\n"),+))),+];
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn a_field_is_explained_by_its_comment() {
        assert_eq!(Limits::comment("filters_per_request_max"), " Filters in one SUBSCRIBE.\n");
        assert_eq!(Limits::comment("nothing"), "");
    }
}

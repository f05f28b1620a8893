//! OSCORE (RFC 8613): requests and responses protected end to end, message by message, whatever carries them.
//!
//! Sections without a document are those of RFC 8613 in this module. Both sides are here as functions over
//! [`Message`]s: a client protects requests and unprotects responses, a server the other way round. What the
//! two ends share is a [`Context`]; what ties a response to its request is a [`Binding`].

mod classes;
mod context;
mod contexts;
mod cose;
mod errors;
mod option;
mod protecting;
#[cfg(test)]
mod tests;
mod window;

pub use context::{Context, Credentials, DeriveError};
pub use contexts::Contexts;
pub use errors::{Exhausted, RequestError, ResponseError};
pub use option::CompressedCose;
pub use protecting::{Binding, protect_request, protect_response, unprotect_request, unprotect_response};
pub use window::ReplayWindow;

//! The administration over real sockets, with a broker behind it.

mod attacks;
mod requests;
mod seen;
mod world;

//! The administration over real sockets, with a broker behind it.

mod attacks;
mod feed;
mod requests;
mod seen;
mod world;

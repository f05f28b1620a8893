//! The administration over real sockets, with a broker behind it.

mod attacks;
mod feed;
mod gateway;
mod requests;
mod seen;
mod world;

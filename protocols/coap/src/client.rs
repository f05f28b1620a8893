//! The other side.
/// x
#[derive(Debug)] pub struct Client;

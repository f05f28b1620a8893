//! Everything that is not ours: the console, the administrators' interface.

use crate::body::Body;
use crate::respond::respond;
use althing_core::Link;
use althing_http::Problem;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use std::future::Future;
use std::pin::Pin;

/// Who answers requests that are neither about topics nor WebSockets.
pub trait Fallback: Send + Sync {
    /// Answers one, from a peer that came in by `link`, without keeping this thread. Host and origin have been looked at, the
    /// body is within limits.
    fn answer(&self, request: Request<Bytes>, link: &Link) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
}

/// There is nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Fallback for Nowhere {
    fn answer(&self, _: Request<Bytes>, _: &Link) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(async {
            respond(&Problem::new(StatusCode::NOT_FOUND, "there is nothing here; topics are below /topics/"))
        })
    }
}

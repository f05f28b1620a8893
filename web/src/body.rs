//! Bodies: what comes, within limits, and what goes back.

use althing_http::Problem;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// What goes wrong with a body while it leaves.
pub type StreamError = Box<dyn Error + Send + Sync>;

/// A body that comes in parts.
pub type Parts = Pin<Box<dyn http_body::Body<Data = Bytes, Error = StreamError> + Send>>;

/// The body of a response.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// What comes part by part.
    Parts(Parts),
}

impl Body {
    /// None.
    pub const fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// Part by part.
    pub fn parts<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StreamError>,
    {
        Self::Parts(Box::pin(body.map_err(Into::into)))
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(whole: B) -> Self {
        Self::Whole(whole.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match self.get_mut() {
            Self::Whole(whole) if whole.is_empty() => Poll::Ready(None),
            Self::Whole(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(whole))))),
            Self::Parts(parts) => parts.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_empty(),
            Self::Parts(parts) => parts.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Self::Parts(parts) => parts.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "Body({} bytes)", whole.len()),
            Self::Parts(_) => f.write_str("Body(parts)"),
        }
    }
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than this.
    TooLarge(usize),
    /// It did not come within so many milliseconds.
    TooSlow(u64),
    /// It ended before its end, or is not what its headers say.
    Broken,
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(most) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {most} bytes here"))
            }
            BodyError::TooSlow(ms) => {
                Self::new(StatusCode::REQUEST_TIMEOUT, format!("a body has to come within {ms} ms"))
            }
            BodyError::Broken => Self::bad_request("the body ended before its end"),
        }
    }
}

/// All of a body.
pub async fn read(body: Incoming, bytes_max: usize, timeout_ms: u64) -> Result<Bytes, BodyError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge(bytes_max));
    }
    let collect = timeout(Duration::from_millis(timeout_ms), Limited::new(body, bytes_max).collect());
    match collect.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(bytes_max)),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow(timeout_ms)),
    }
}

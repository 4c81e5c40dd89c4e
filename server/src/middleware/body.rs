//! Bodies that arrive too slowly are cut (REQ-04).

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a body may take before its speed counts.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes a second that a body must bring after that.
const SLOWEST: u64 = 1024;

struct Paced {
    inner: Body,
    started: Instant,
    read: u64,
    deadline: Pin<Box<Sleep>>,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                self.read += data.len() as u64;
                let until = self.started + GRACE + Duration::from_secs(self.read / SLOWEST);
                self.deadline.as_mut().reset(until);
            }
            return Poll::Ready(frame);
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(axum::Error::new(TooSlow)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body came at less than 1 KiB a second for half a minute.
#[derive(Clone, Copy, Debug)]
pub struct TooSlow;

impl core::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the request's body arrived too slowly")
    }
}

impl core::error::Error for TooSlow {}

/// Gives a body that is not there yet a pace to keep.
pub fn paced(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let started = Instant::now();
    request.map(|inner| {
        Body::new(Paced { inner, started, read: 0, deadline: Box::pin(sleep_until(started + GRACE)) })
    })
}

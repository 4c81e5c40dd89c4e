//! What came through a channel, as an answer of streamable HTTP.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};

use super::{Link, Outlet, Waiting};
use crate::net::{BodyStream, NetError};

/// An answer without a body.
pub(in super::super) fn empty(status: StatusCode) -> Response<BodyStream> {
    let mut response = Response::new(stream::empty().boxed());
    *response.status_mut() = status;
    response
}

fn of(kind: &'static str, body: BodyStream) -> Response<BodyStream> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// One message as the whole answer.
pub(in super::super) fn json_answer(message: Bytes) -> Response<BodyStream> {
    of("application/json", stream::once(async move { Ok(message) }).boxed())
}

/// One message as an event. A line end between two tokens would end the field.
pub(in super::super) fn event(message: &Bytes) -> Bytes {
    let mut event = BytesMut::with_capacity(message.len() + 8);
    event.put_slice(b"data: ");
    event.extend(message.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    event.put_slice(b"\n\n");
    event.freeze()
}

/// Waits for the first message. Mostly that is the answer, which is then passed on as it is; otherwise a stream begins.
///
/// # Errors
/// When the channel ends first.
pub(in super::super) async fn answer(mut waiting: Waiting) -> Result<Response<BodyStream>, NetError> {
    let first = waiting.next().await?;
    if waiting.is_answered() && waiting.outlet.receiver.is_empty() {
        return Ok(json_answer(first));
    }
    let rest = stream::unfold(Some(waiting), |waiting| async move {
        let mut waiting = waiting?;
        if waiting.is_answered() && waiting.outlet.receiver.is_empty() {
            return None;
        }
        match waiting.next().await {
            Ok(message) => Some((Ok(event(&message)), Some(waiting))),
            Err(why) => Some((Err(why), None)),
        }
    });
    Ok(of("text/event-stream", stream::once(async move { Ok(event(&first)) }).chain(rest).boxed()))
}

/// The stream of what concerns no request.
///
/// # Errors
/// When the channel has ended.
pub(in super::super) fn events(link: &Arc<Link>) -> Result<Response<BodyStream>, NetError> {
    let outlet = link.listen()?;
    let body = stream::unfold(Some(outlet), |outlet: Option<Outlet>| async move {
        let mut outlet = outlet?;
        match outlet.next().await? {
            Ok(message) => Some((Ok(event(&message)), Some(outlet))),
            Err(why) => Some((Err(why), None)),
        }
    });
    Ok(of("text/event-stream", body.boxed()))
}

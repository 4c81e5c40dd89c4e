//! A call whose answer is a stream: notifications as they come, signs of life in between, and the result.
//!
//! When the client goes away the stream is dropped, and with it the call upstream: in the modern era that is what a
//! disconnect means, and in the legacy era, where it need not, nobody could fetch the answer any more.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use domain::mcp::{
    sse,
    upstream::{CallEvent, CallStream},
};
use futures_util::stream;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    handler::{Caller, Era, Running, failed, render},
    limits::CallSlot,
};

/// Failed attempts to ask whether the key still works, after which it is taken not to (ERR-05).
const MAX_DOUBTS: u8 = 2;

pub(crate) struct Streaming {
    caller: Caller,
    era: Era,
    slug: String,
    id: Option<String>,
    stream: CallStream,
    tick: Interval,
    sent_at: Instant,
    doubts: u8,
    running: Option<Running>,
    // Held for as long as the stream is open.
    _slots: (CallSlot, OwnedSemaphorePermit),
}

impl Streaming {
    pub(crate) fn new(
        caller: Caller,
        era: Era,
        slug: &str,
        id: Option<&str>,
        stream: CallStream,
        slots: (CallSlot, OwnedSemaphorePermit),
        running: Option<Running>,
    ) -> Self {
        let period = caller.inner.settings.recheck.min(caller.inner.settings.heartbeat);
        let mut tick = interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            caller,
            era,
            slug: slug.to_owned(),
            id: id.map(str::to_owned),
            stream,
            tick,
            sent_at: Instant::now(),
            doubts: 0,
            running,
            _slots: slots,
        }
    }

    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |state| async move {
            let (piece, state) = state?.step().await?;
            Some((Ok::<_, Infallible>(piece), state))
        }))
    }

    /// The next piece to send, and the state to go on with unless it was the last.
    async fn step(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let cancelled = async {
                match &self.running {
                    Some(running) => running.token.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The clock first: a server that never pauses must not keep the key from being looked at.
                biased;
                _ = self.tick.tick() => {}
                () = cancelled => return None,
                event = self.stream.next() => match event {
                    Ok(CallEvent::Notification(message)) => {
                        let mut out = Vec::new();
                        sse::encode(&mut out, &message);
                        self.sent_at = Instant::now();
                        return Some((out.into(), Some(self)));
                    }
                    Ok(CallEvent::Request(question)) => {
                        self.stream.refuse(&question.id);
                        continue;
                    }
                    Ok(CallEvent::Answer(answer)) => {
                        self.caller.trace.answered(&answer);
                        let message = render(self.era, self.id.as_deref(), &self.slug, answer)
                            .unwrap_or_else(|error| error.message(self.id.as_deref()));
                        return Some((message.event(), None));
                    }
                    Err(error) => {
                        let error = failed(&self.caller, &self.slug, &error);
                        self.caller.trace.failed(&error);
                        let message = error.message(self.id.as_deref());
                        return Some((message.event(), None));
                    }
                },
            }
            if !self.still_allowed().await {
                return Some((
                    Bytes::from_static(b": the credential of this stream does not work any more\n\n"),
                    None,
                ));
            }
            if self.sent_at.elapsed() >= self.caller.inner.settings.heartbeat {
                self.sent_at = Instant::now();
                return Some((Bytes::from_static(b": still at work\n\n"), Some(self)));
            }
        }
    }

    /// Whether the credential could still make this call (APK-05). Without news of the organisation only its expiry is
    /// looked at, and whether a token's key was removed.
    async fn still_allowed(&mut self) -> bool {
        let caller = &mut self.caller;
        let now = caller.inner.clock.now();
        if caller.inner.planes.is_current(&caller.ready) {
            return caller.access.lives(now) && caller.credential.stands(caller.inner.tokens.as_ref());
        }
        let ready = caller.inner.planes.ready(caller.ready.plane.org);
        // A database that does not answer must not hold up the stream for longer than until the next question.
        match timeout(caller.inner.settings.recheck, ready).await {
            Err(_) | Ok(Err(_)) => {
                self.doubts += 1;
                self.doubts < MAX_DOUBTS
            }
            Ok(Ok(None)) => false,
            Ok(Ok(Some(ready))) => {
                self.doubts = 0;
                let access = caller.credential.authenticate(&ready, caller.inner.tokens.as_ref(), now);
                let allowed = !ready.plane.suspended
                    && access.is_ok_and(|access| {
                        ready.connector(&self.slug).is_some_and(|c| access.scope.includes(c.plane.id))
                    });
                caller.ready = ready;
                allowed
            }
        }
    }
}

//! The end of event streams when the process stops (D12). A stream of news has no end of its own, so it is ended, and its
//! client goes on elsewhere; a stream that answers a call is left to end by itself.

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The process is about to stop, and still takes connections.
    Leaving,
    /// It takes none any more.
    Closed,
}

/// All streams of this node, and what runs here without a connection.
#[derive(Debug)]
pub(crate) struct Streams {
    phase: watch::Sender<Phase>,
    pub(crate) tasks: TaskTracker,
    /// Cancelled when nobody can come back for an answer any more.
    pub(crate) leaving: CancellationToken,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Open),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
        }
    }
}

impl Streams {
    /// Ends the streams that are open. Those that are opened from now on last until [`Streams::close`].
    pub(crate) fn leave(&self) {
        self.leaving.cancel();
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Open;
            if first {
                *phase = Phase::Leaving;
            }
            first
        });
    }

    /// Ends all streams, also those that are opened later.
    pub(crate) fn close(&self) {
        self.leaving.cancel();
        self.phase.send_replace(Phase::Closed);
        self.tasks.close();
    }

    /// For a stream that is opened now.
    pub(crate) fn ending(&self) -> Ending {
        let phase = self.phase.subscribe();
        let from = *phase.borrow();
        Ending { phase, from }
    }
}

/// The end of one stream.
#[derive(Debug)]
pub(crate) struct Ending {
    phase: watch::Receiver<Phase>,
    from: Phase,
}

impl Ending {
    /// Waits for it. Cancel-safe.
    pub(crate) async fn come(&mut self) {
        let from = self.from;
        // An error means that the gateway itself is gone.
        let _ = self.phase.wait_for(|phase| *phase != from || *phase == Phase::Closed).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn d12_streams_end_at_once_and_those_that_come_late_when_the_door_is_shut() {
        let streams = Streams::default();
        let has_ended = |ending: &mut Ending| ending.come().now_or_never().is_some();
        let mut early = streams.ending();
        assert!(!has_ended(&mut early));
        streams.leave();
        assert!(has_ended(&mut early));
        let mut late = streams.ending();
        streams.leave();
        assert!(!has_ended(&mut late), "it is still served");
        streams.close();
        assert!(has_ended(&mut late));
        assert!(has_ended(&mut streams.ending()), "nothing is opened any more");
    }
}

//! Exports are written in the background: one at a time in each process. A process that stops gives back the one it has.

use std::time::Duration;

use domain::{Env, exports::Scribe};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked for exports that are due.
const LOOK: Duration = Duration::from_secs(1);

/// Writes exports until `stop`.
pub async fn run(env: Env, stop: CancellationToken) {
    let scribe = Scribe::new(env);
    let mut failed = false;
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => break,
            done = scribe.run_due() => done,
        };
        let more = match done {
            Ok(more) => {
                failed = false;
                more
            }
            // Once is enough in the log while it lasts.
            Err(error) if !failed => {
                failed = true;
                tracing::error!(%error, "exports could not be written");
                false
            }
            Err(_) => false,
        };
        if !more {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(LOOK) => {}
            }
        }
    }
    if let Err(error) = scribe.release().await {
        tracing::warn!(%error, "an export that was cut off is begun again when its lease ends");
    }
}

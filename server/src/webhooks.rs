//! Webhooks are delivered in the background: at once after a change of this process, within a second after one of another,
//! each delivery by itself, so that a receiver that hangs keeps nobody waiting (WHK-05).

use std::{collections::HashMap, time::Duration};

use domain::{
    Env,
    webhooks::deliver::{Claimed, Courier},
};
use tokio::{
    task::{Id, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Deliveries of this process that are under way at once. When half of the places are taken, each webhook gets one.
const MOST: usize = 256;
/// How often it is looked for deliveries of other processes, and for those whose time has come.
const LOOK: Duration = Duration::from_secs(1);
/// How long what is under way may take when the process stops. The rest is given back and sent by the next one.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    claimed: HashMap<Id, Claimed>,
}

impl UnderWay {
    fn begin(&mut self, courier: &Courier, claimed: Claimed) {
        let (courier, one) = (courier.clone(), claimed.clone());
        let task = self.tasks.spawn(async move {
            if let Err(error) = courier.deliver(&one).await {
                // Its lease ends, and it is tried again.
                tracing::error!(%error, "what came of a delivery could not be written down");
            }
        });
        self.claimed.insert(task.id(), claimed);
    }

    /// Waits for one to end, and takes out all that have.
    async fn ended(&mut self) {
        let mut next = self.tasks.join_next_with_id().await;
        while let Some(done) = next {
            let id = match done {
                Ok((id, ())) => id,
                Err(why) => {
                    if why.is_panic() {
                        tracing::error!("a delivery panicked; it is tried again");
                    }
                    why.id()
                }
            };
            self.claimed.remove(&id);
            next = self.tasks.try_join_next_with_id();
        }
    }
}

/// Delivers until `stop`.
pub async fn run(env: Env, stop: CancellationToken) {
    let courier = Courier::new(env.clone());
    let mut changes = env.changes.subscribe();
    let mut under_way = UnderWay::default();
    let mut failed = false;
    while !stop.is_cancelled() {
        let room = MOST - under_way.tasks.len();
        if room > 0 {
            match courier.claim(room, MOST).await {
                Ok(claimed) => {
                    failed = false;
                    for one in claimed {
                        under_way.begin(&courier, one);
                    }
                }
                Err(error) if !failed => {
                    failed = true;
                    tracing::error!(%error, "deliveries of webhooks could not be looked for");
                }
                Err(_) => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            // Whoever lags has missed nothing: all that is due is looked for.
            _ = changes.recv() => while changes.try_recv().is_ok() {},
            () = under_way.ended(), if !under_way.tasks.is_empty() => {}
            () = sleep(LOOK) => {}
        }
    }
    let _ = timeout(FAREWELL, async {
        while !under_way.tasks.is_empty() {
            under_way.ended().await;
        }
    })
    .await;
    under_way.tasks.shutdown().await;
    let left: Vec<_> = under_way.claimed.into_values().collect();
    if !left.is_empty()
        && let Err(error) = courier.release(&left).await
    {
        tracing::warn!(%error, deliveries = left.len(), "deliveries that were cut off are tried again when their leases end");
    }
}

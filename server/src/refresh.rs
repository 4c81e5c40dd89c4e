//! Fetches the tools of a connector when its server says that they have changed.

use domain::{Env, OrgActor, connectors};
use futures_util::{FutureExt as _, future::BoxFuture};
use model::{ConnectorId, OrgId, permissions::can};

/// The one that does.
pub struct Refresher(pub Env);

impl core::fmt::Debug for Refresher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Refresher")
    }
}

impl gateway::Refresh for Refresher {
    fn tools_changed(&self, org: OrgId, connector: ConnectorId) -> BoxFuture<'_, ()> {
        async move {
            let actor = OrgActor::<can::ConnectorsWrite>::system(org);
            // What the server answers is kept with the connector; only a fault of ours is news here.
            if let Err(error) = connectors::test(&self.0, &actor, connector).await {
                tracing::warn!(%error, org.id = %org, connector.id = %connector, "the tools of a connector could not be fetched");
            }
        }
        .boxed()
    }
}

//! A further consent says what a client may do from now on: what was granted to it before loses whatever goes beyond that,
//! so that what the person sees of a connection is what its client has (OAZ-07).

use model::{ConnectionId, OrgId};
use store::Tx;

use super::code::read_scope;
use crate::Result;

const REASON: &str = "A later consent does not include it";

/// What became of the grants before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Narrowed {
    /// So many may do less now.
    pub(super) narrowed: i64,
    /// So many could do nothing any more, and were ended.
    pub(super) ended: i64,
}

/// Takes from the live grants of a connection what `scope` does not reach. Access tokens follow at once, because they
/// never reach further than their grant.
pub(super) async fn narrow(
    tx: &mut Tx,
    org: OrgId,
    connection: ConnectionId,
    scope: &str,
    now: i64,
) -> Result<Narrowed> {
    let to = read_scope(scope)?;
    let mut done = Narrowed::default();
    for (grant, old) in store::oauth_grants::list_of_connection(tx, org, connection, now).await? {
        let old = read_scope(&old)?;
        if to.covers(&old) {
            continue;
        }
        let left = model::Scope { offline: old.offline, ..old.narrowed(&to) };
        if left.is_empty() {
            store::oauth_grants::revoke(tx, org, grant, now, REASON).await?;
            done.ended += 1;
        } else {
            store::oauth_grants::set_scope(tx, org, grant, &left.to_string()).await?;
            done.narrowed += 1;
        }
    }
    Ok(done)
}

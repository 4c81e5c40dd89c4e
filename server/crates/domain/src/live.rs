//! What changes of others mean for a page that somebody looks at: whether it is worth loading again.
//!
//! Every change leaves an audit event, whoever made it and on whichever node, so the log tells. One's own changes are left
//! out: the page that made one has loaded itself again.

use model::{OrgId, paths, permissions::can};

use crate::{OrgActor, Result, request::RequestContext};

/// What a page shows, as far as others may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// What the whole organisation is about.
    Overview,
    /// Connectors and their health.
    Connectors,
    /// API keys.
    ApiKeys,
    /// OAuth clients.
    OauthClients,
    /// Connections of MCP clients.
    Connections,
    /// Members, roles and invitations.
    Team,
    /// Webhooks.
    Webhooks,
    /// The audit log itself.
    Audit,
}

impl Watched {
    /// What is watched on the page at this path. Nothing on pages that are filled in rather than looked at, and on those that
    /// show what nobody else changes.
    pub fn on_page(path: &str) -> Option<Self> {
        let is_detail = |list: &str| {
            let rest = path.strip_prefix(list).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|id| id != "new" && !id.is_empty() && !id.contains('/'))
        };
        Some(match path {
            _ if path == paths::overview() => Self::Overview,
            _ if path == paths::connectors() || is_detail(paths::connectors()) => Self::Connectors,
            _ if path == paths::settings_api_keys() => Self::ApiKeys,
            _ if path == paths::settings_oauth_clients() => Self::OauthClients,
            _ if path == paths::settings_connections() => Self::Connections,
            _ if path == paths::team() || path == paths::team_invitations() => Self::Team,
            _ if path == paths::settings_webhooks() => Self::Webhooks,
            _ if path == paths::settings_audit() => Self::Audit,
            _ => return None,
        })
    }

    /// Whether an event of this category changes what the page shows.
    fn shows(self, category: &str) -> bool {
        match self {
            Self::Overview | Self::Audit => true,
            Self::Connectors => category == "connectors",
            Self::ApiKeys => category == "api-keys",
            Self::OauthClients | Self::Connections => category == "oauth",
            Self::Team => category == "team",
            Self::Webhooks => category == "webhooks",
        }
    }
}

/// How long a page may be on its way to the browser, microseconds.
const ON_ITS_WAY: i64 = 3_000_000;

/// Somebody who looks at a page.
#[derive(Clone, Debug)]
pub struct Watcher {
    watched: Watched,
    org: OrgId,
    /// Their account's id.
    id: String,
    /// The newest change that was looked at.
    seen: i64,
}

impl Watcher {
    /// The signed-in person, who must be allowed to see what is watched. `seen` is what [`Watcher::seen`] said when they
    /// last heard of anything; without it, what was changed while the page was on its way to the browser counts.
    ///
    /// # Errors
    /// Those of [`OrgActor::require`].
    pub async fn require(ctx: &RequestContext, watched: Watched, seen: Option<i64>) -> Result<Self> {
        let (org, id) = allowed(ctx, watched).await?;
        let mut tx = ctx.env.db.read().await?;
        let seen = if let Some(seen) = seen {
            seen
        } else {
            let before = ctx.env.clock.now_micros() - ON_ITS_WAY;
            store::audit::last_before(&mut tx, org, before).await?.unwrap_or_default()
        };
        Ok(Self { watched, org, id, seen })
    }

    /// The newest change that was looked at: a number that grows.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Whether that still holds, of the same organisation.
    pub async fn is_allowed(&self, ctx: &RequestContext) -> bool {
        allowed(ctx, self.watched).await.is_ok_and(|(org, id)| org == self.org && id == self.id)
    }

    /// Whether somebody else has changed what the page shows since the last look.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn look(&mut self, ctx: &RequestContext) -> Result<bool> {
        let mut tx = ctx.env.db.read().await?;
        let version = store::orgs::version(&mut tx, self.org).await?.unwrap_or(self.seen);
        if version == self.seen {
            return Ok(false);
        }
        let changed = store::audit::categories_of_others(&mut tx, self.org, self.seen, &self.id).await?;
        self.seen = version;
        Ok(changed.iter().any(|category| self.watched.shows(category)))
    }
}

async fn allowed(ctx: &RequestContext, watched: Watched) -> Result<(OrgId, String)> {
    macro_rules! who {
        ($can:ident) => {{
            let actor = OrgActor::<can::$can>::require(ctx).await?;
            (actor.org(), actor.principal().id())
        }};
    }
    Ok(match watched {
        Watched::Overview | Watched::Connectors => who!(ConnectorsRead),
        Watched::ApiKeys | Watched::Connections => who!(ApiKeysRead),
        Watched::OauthClients => who!(OauthClientsRead),
        Watched::Team => who!(TeamRead),
        Watched::Webhooks => who!(WebhooksRead),
        Watched::Audit => who!(AuditRead),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_details_are_watched_and_forms_are_not() {
        for (path, watched) in [
            ("/", Some(Watched::Overview)),
            ("/connectors", Some(Watched::Connectors)),
            ("/connectors/mcp_1", Some(Watched::Connectors)),
            ("/connectors/new", None),
            ("/connectors/", None),
            ("/connectors/mcp_1/edit", None),
            ("/team", Some(Watched::Team)),
            ("/team/usr_1/remove", None),
            ("/settings/webhooks", Some(Watched::Webhooks)),
            ("/settings/webhooks/new", None),
            ("/settings/audit", Some(Watched::Audit)),
            ("/sign-in", None),
        ] {
            assert_eq!(Watched::on_page(path), watched, "{path}");
        }
    }
}

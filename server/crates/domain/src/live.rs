//! What changes of others mean for a page that somebody looks at: whether it is worth loading again.
//!
//! Every change leaves an audit event, whoever made it and on whichever node, so the log tells. One's own changes are left
//! out: the page that made one has loaded itself again. Some things happen without anybody changing anything: deliveries of
//! webhooks, and looks at the records of a domain. These leave traces of their own ([`Traces`]).
//!
//! Requests are no changes. Pages with numbers of them look at the newest line of the request log instead, and hear of the
//! first one at once, of later ones every few seconds; nothing of that is on the path of a call.

use model::{OrgId, WebhookId, paths, permissions::can};
use store::Tx;

use crate::{OrgActor, Result, custom_domain, request::RequestContext};

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
    /// What becomes of events on their way to one of them.
    Deliveries(WebhookId),
    /// The organisation's own domain.
    Domain,
    /// Exports.
    Exports,
    /// The audit log itself.
    Audit,
    /// The plan, and what is used of it.
    Plan,
    /// PIN, second factor, sessions and addresses.
    Security,
    /// The identity provider, and logging in with it.
    Sso,
    /// The organisation's own roles.
    Roles,
}

impl Watched {
    /// What is watched on the page at this path, with its query. Nothing on pages that are filled in rather than looked at, and on those that
    /// show what nobody else changes.
    pub fn on_page(place: &str) -> Option<Self> {
        let (path, query) = place.split_once('?').unwrap_or((place, ""));
        if let Some(rest) =
            path.strip_prefix(paths::settings_webhooks()).and_then(|rest| rest.strip_prefix('/'))
        {
            let webhook = match rest {
                "deliveries" | "delivery" => {
                    query.split('&').find_map(|pair| pair.strip_prefix("webhook="))?
                }
                id => id,
            };
            return webhook.parse().ok().map(Self::Deliveries);
        }
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
            _ if path == paths::settings_domain() => Self::Domain,
            _ if path == paths::settings_export() => Self::Exports,
            _ if path == paths::settings_audit() => Self::Audit,
            _ if path == paths::settings_plan() => Self::Plan,
            _ if path == paths::settings_security() || path == paths::settings_allowlist() => Self::Security,
            _ if path == paths::settings_sso() || path == paths::settings_sso_login() => Self::Sso,
            _ if path == paths::team_roles() => Self::Roles,
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
            Self::Team | Self::Roles => category == "team",
            Self::Plan => matches!(category, "billing" | "settings"),
            Self::Security => matches!(category, "security" | "settings"),
            // A plan may have it or not.
            Self::Sso => matches!(category, "security" | "billing" | "settings"),
            Self::Webhooks | Self::Deliveries(_) => category == "webhooks",
            Self::Domain => category == "domains",
            Self::Exports => category == "export",
        }
    }

    /// Whether numbers of requests are on the page.
    fn counts_requests(self) -> bool {
        matches!(self, Self::Overview | Self::Plan)
    }
}

/// How often a page hears of requests at most, milliseconds.
const REQUESTS_EVERY: i64 = 10_000;
/// How long ago a request may have begun that a page which is just there does not show yet, milliseconds: requests are
/// written a few seconds after they end.
const WRITTEN_WITHIN: i64 = 8_000;

/// The requests of an organisation as far as a page has heard of them.
#[derive(Clone, Debug)]
struct Requests {
    newest: Option<String>,
    told_at: i64,
}

impl Requests {
    async fn begin(tx: &mut Tx, org: OrgId, now: i64) -> Result<Self> {
        let newest = store::request_log::newest(tx, org).await?;
        // Of one that may have been written after the page was made it is told once too often.
        let newest = newest.filter(|(_, at)| *at < now - WRITTEN_WITHIN).map(|(id, _)| id);
        Ok(Self { newest, told_at: i64::MIN })
    }

    /// Whether there are new ones, and it is time to say so.
    async fn look(&mut self, tx: &mut Tx, org: OrgId, now: i64) -> Result<bool> {
        if now < self.told_at.saturating_add(REQUESTS_EVERY) {
            return Ok(false);
        }
        let Some((newest, _)) = store::request_log::newest(tx, org).await? else { return Ok(false) };
        if self.newest.as_ref() == Some(&newest) {
            return Ok(false);
        }
        *self = Self { newest: Some(newest), told_at: now };
        Ok(true)
    }
}

/// How long a page may be on its way to the browser, microseconds.
const ON_ITS_WAY: i64 = 3_000_000;
/// How long a delivery may be under way, milliseconds.
const UNDER_WAY: i64 = 60_000;

/// What was there at the last look of what leaves no event. When it is something else, there is news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Traces {
    #[default]
    None,
    /// The newest delivery of a webhook, and how many attempts there were since a time (Unix milliseconds).
    Deliveries { newest: Option<String>, attempts: i64, since: i64 },
    /// When the records of the domain were looked at, Unix milliseconds.
    Domain(i64),
}

impl Traces {
    /// Those that were there before a time (Unix milliseconds); `since` is how far back attempts are counted.
    async fn find(tx: &mut Tx, watched: Watched, org: OrgId, (since, before): (i64, i64)) -> Result<Self> {
        Ok(match watched {
            Watched::Deliveries(webhook) => {
                let (newest, attempts) =
                    store::webhook_deliveries::traces(tx, org, webhook, (since, before)).await?;
                Self::Deliveries { newest, attempts, since }
            }
            Watched::Domain => {
                let looked = custom_domain::looked_at(tx, org).await?;
                Self::Domain(looked.filter(|at| *at < before).unwrap_or_default())
            }
            _ => Self::None,
        })
    }

    /// Whether there is something new.
    async fn moved(&mut self, tx: &mut Tx, watched: Watched, org: OrgId, now: i64) -> Result<bool> {
        let since = if let Self::Deliveries { since, .. } = self { *since } else { now };
        let there = Self::find(tx, watched, org, (since, i64::MAX)).await?;
        if there == *self {
            return Ok(false);
        }
        // Counted from here on, so that there is never much to count.
        *self = Self::find(tx, watched, org, (now - UNDER_WAY, i64::MAX)).await?;
        Ok(true)
    }
}

/// Somebody who looks at a page.
#[derive(Clone, Debug)]
pub struct Watcher {
    watched: Watched,
    org: OrgId,
    /// Their account's id.
    id: String,
    /// The newest change that was looked at.
    seen: i64,
    requests: Option<Requests>,
    traces: Traces,
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
        let before = ctx.env.clock.now_micros() - ON_ITS_WAY;
        let traces = Traces::find(&mut tx, watched, org, (before / 1000 - UNDER_WAY, before / 1000)).await?;
        let seen = match seen {
            Some(seen) => seen,
            None => store::audit::last_before(&mut tx, org, before).await?.unwrap_or_default(),
        };
        let requests = if watched.counts_requests() {
            Some(Requests::begin(&mut tx, org, ctx.env.now()).await?)
        } else {
            None
        };
        Ok(Self { watched, org, id, seen, requests, traces })
    }

    /// The newest change that was looked at: a number that grows.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Whether that still holds, of the same organisation.
    pub async fn is_allowed(&self, ctx: &RequestContext) -> bool {
        allowed(ctx, self.watched).await.is_ok_and(|(org, id)| org == self.org && id == self.id)
    }

    /// Whether what the page shows is another since the last look, other than by the person's own doing, or requests were made
    /// that it counts.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn look(&mut self, ctx: &RequestContext) -> Result<bool> {
        let mut tx = ctx.env.db.read().await?;
        let called = match &mut self.requests {
            Some(requests) => requests.look(&mut tx, self.org, ctx.env.now()).await?,
            None => false,
        };
        let moved = match self.traces {
            Traces::None => false,
            _ => self.traces.moved(&mut tx, self.watched, self.org, ctx.env.now()).await?,
        };
        let version = store::orgs::version(&mut tx, self.org).await?.unwrap_or(self.seen);
        if version == self.seen {
            return Ok(called || moved);
        }
        let changed = store::audit::categories_of_others(&mut tx, self.org, self.seen, &self.id).await?;
        self.seen = version;
        Ok(called || moved || changed.iter().any(|category| self.watched.shows(category)))
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
        Watched::Team | Watched::Roles => who!(TeamRead),
        Watched::Webhooks | Watched::Deliveries(_) => who!(WebhooksRead),
        Watched::Domain => who!(DomainsRead),
        Watched::Exports => who!(ExportCreate),
        Watched::Audit => who!(AuditRead),
        Watched::Plan => who!(UsageRead),
        Watched::Security => who!(SecurityRead),
        Watched::Sso => who!(SsoRead),
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
            ("/settings/webhooks/deliveries", None),
            ("/settings/webhooks/deliveries?webhook=nothing", None),
            ("/settings/domain", Some(Watched::Domain)),
            ("/settings/domain/remove", None),
            ("/settings/export?notice=x", Some(Watched::Exports)),
            ("/settings/export/import", None),
            ("/settings/audit", Some(Watched::Audit)),
            ("/settings/plan", Some(Watched::Plan)),
            // A form, which says itself what others changed meanwhile.
            ("/settings", None),
            ("/settings/sso", Some(Watched::Sso)),
            ("/settings/security", Some(Watched::Security)),
            ("/team/roles", Some(Watched::Roles)),
            ("/team/roles/new", None),
            ("/settings/danger", None),
            ("/sign-in", None),
        ] {
            assert_eq!(Watched::on_page(path), watched, "{path}");
        }
    }

    #[test]
    fn the_deliveries_of_one_webhook_are_watched_on_each_of_its_pages() {
        let id = WebhookId::from_uuid(uuid::Uuid::nil());
        let list = paths::webhook_deliveries(id);
        for place in [paths::webhook(id), list.clone(), format!("{list}&state=failed")] {
            assert_eq!(Watched::on_page(&place), Some(Watched::Deliveries(id)), "{place}");
        }
        for place in [paths::edit_webhook(id), paths::test_webhook(id), paths::replay_webhook(id)] {
            assert_eq!(Watched::on_page(&place), None, "{place}");
        }
    }
}

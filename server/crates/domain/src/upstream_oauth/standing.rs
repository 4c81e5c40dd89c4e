//! What of a connector's authorisations is in its organisation's snapshot.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use model::{AuthorizationId, ConnectorId, OrgId, UserId, credentials::CredentialKind, paths};
use store::{
    Tx,
    connectors::Connector as ConnectorRow,
    upstream_credentials::{Authorization, Client},
};
use url::Url;

use super::discovery::{covers, host};
use crate::{Env, Result};

/// Why a server cannot be called just now, in words for whoever called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason}")]
pub struct NotAuthorized {
    /// A sentence or two.
    pub reason: String,
    /// The page where a person can mend it; `None` when nobody has to, as when an authorization server is down.
    pub page: Option<String>,
}

impl NotAuthorized {
    /// Something that passes by itself.
    pub(super) fn for_now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), page: None }
    }
}

/// Which tokens a request to a server goes with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The organisation.
    pub org: OrgId,
    /// The connector.
    pub connector: ConnectorId,
    /// The authorisation.
    pub authorization: AuthorizationId,
    /// Where a person can give it anew.
    pub page: String,
    /// Whether it is one member's own.
    pub personal: bool,
}

impl Holder {
    /// The refusal once the authorisation works no more.
    pub(super) fn ended(&self, why: &str) -> NotAuthorized {
        ended(self.personal, why, &self.page)
    }
}

fn ended(personal: bool, why: &str, page: &str) -> NotAuthorized {
    let whose = if personal { "Your authorisation of it" } else { "Its authorisation" };
    NotAuthorized {
        reason: format!("{whose} has ended: {why} Nothing was called. It can be given again at {page}"),
        page: Some(page.to_owned()),
    }
}

/// Either the tokens to use, or why there are none.
pub type Standing = core::result::Result<Holder, NotAuthorized>;

/// How a connector of a snapshot authenticates itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PlaneAuth {
    /// With its static headers, if any.
    #[default]
    Headers,
    /// With tokens of the organisation's own.
    Shared(Standing),
    /// With tokens of whoever calls.
    PerUser {
        /// What members have given.
        given: HashMap<UserId, Standing>,
        /// For members who have given nothing.
        missing: NotAuthorized,
        /// For callers that are nobody: API keys, machine clients.
        nobody: NotAuthorized,
    },
}

impl PlaneAuth {
    /// What a call of this person goes with; `None` where static headers are all.
    pub fn of(&self, user: Option<UserId>) -> Option<core::result::Result<&Holder, &NotAuthorized>> {
        match self {
            Self::Headers => None,
            Self::Shared(standing) => Some(standing.as_ref()),
            Self::PerUser { given, missing, nobody } => Some(match user {
                None => Err(nobody),
                Some(user) => given.get(&user).map_or(Err(missing), Standing::as_ref),
            }),
        }
    }

    /// Whether each caller needs a connection of their own to the server.
    pub const fn is_personal(&self) -> bool {
        matches!(self, Self::PerUser { .. })
    }
}

/// What decides whether a connection to the server may be kept. Members come and go without an end to those of others.
impl Hash for PlaneAuth {
    fn hash<H: Hasher>(&self, state: &mut H) {
        core::mem::discriminant(self).hash(state);
        if let Self::Shared(standing) = self {
            standing.hash(state);
        }
    }
}

/// How a connector authenticates itself, from the rows of its organisation.
pub(crate) fn plane_auth(
    env: &Env,
    org: OrgId,
    connector: &ConnectorRow,
    clients: &[Client],
    authorizations: &[Authorization],
) -> PlaneAuth {
    let Some(client) = clients.iter().find(|client| client.connector == connector.id) else {
        return PlaneAuth::Headers;
    };
    let own = authorizations.iter().filter(|row| row.connector == connector.id);
    if client.kind == CredentialKind::PerUser {
        let page = env.settings.absolute(paths::profile_authorizations());
        let given = own.filter_map(|row| Some((row.user?, standing(org, connector, client, row, &page))));
        return PlaneAuth::PerUser {
            given: given.collect(),
            missing: NotAuthorized {
                reason: format!(
                    "Each member signs in at {} for themselves, and you have not yet. Nothing was called. Authorise it at {page}",
                    host(&client.issuer)
                ),
                page: Some(page.clone()),
            },
            nobody: NotAuthorized {
                reason: format!(
                    "Each member signs in at {} for themselves, and this credential belongs to no person. Nothing was called. \
                     Connect with an MCP client that signs in with OAuth, and authorise this connector at {page}",
                    host(&client.issuer)
                ),
                page: Some(page),
            },
        };
    }
    let page = env.settings.absolute(&paths::connector_credentials(connector.id));
    let given =
        own.filter(|row| row.user.is_none()).map(|row| standing(org, connector, client, row, &page)).next();
    PlaneAuth::Shared(given.unwrap_or_else(|| {
        Err(NotAuthorized {
            reason: format!(
                "Nobody has authorised it at {} yet. Nothing was called. Whoever manages connectors can do so at {page}",
                host(&client.issuer)
            ),
            page: Some(page),
        })
    }))
}

fn standing(
    org: OrgId,
    connector: &ConnectorRow,
    client: &Client,
    row: &Authorization,
    page: &str,
) -> Standing {
    let personal = row.user.is_some();
    if let Some((_, why)) = &row.lost {
        return Err(ended(personal, why, page));
    }
    if !fits(connector, client, row) {
        return Err(ended(personal, ELSEWHERE, page));
    }
    Ok(Holder { org, connector: connector.id, authorization: row.id, page: page.to_owned(), personal })
}

/// Why tokens are not sent to another server than the one they were given for.
pub(super) const ELSEWHERE: &str = "The connector's address or its authorization server is another one now.";

/// Whether tokens were given for where the connector leads today, by whom it asks today (SSR-10).
pub(super) fn fits(connector: &ConnectorRow, client: &Client, row: &Authorization) -> bool {
    row.issuer == client.issuer && Url::parse(&connector.url).is_ok_and(|url| covers(&row.resource, &url))
}

/// What a check of the server goes with: the organisation's own, or of those that members gave the newest that works.
pub(crate) async fn for_check(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    connector: &ConnectorRow,
) -> Result<Option<Standing>> {
    let Some(client) = store::upstream_credentials::find_client(tx, org, connector.id).await? else {
        return Ok(None);
    };
    // Newest first.
    let rows = store::upstream_credentials::list(tx, org).await?;
    if client.kind == CredentialKind::PerUser {
        let page = env.settings.absolute(paths::profile_authorizations());
        let mut all = rows
            .iter()
            .filter(|row| row.connector == connector.id && row.user.is_some())
            .map(|row| standing(org, connector, &client, row, &page));
        let first = all.next();
        let working = first.clone().into_iter().chain(all).find(core::result::Result::is_ok);
        return Ok(Some(working.or(first).unwrap_or_else(|| {
            Err(NotAuthorized {
                reason: format!("No member has authorised it yet. The first one can do so at {page}"),
                page: Some(page),
            })
        })));
    }
    Ok(match plane_auth(env, org, connector, &[client], &rows) {
        PlaneAuth::Shared(standing) => Some(standing),
        _ => None,
    })
}

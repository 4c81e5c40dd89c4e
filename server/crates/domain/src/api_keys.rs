//! API keys: making, changing, deleting, and handing them to an agent.

use model::{
    ApiKeyId, AppError, ConnectorId, ErrorKind, OrgId,
    api_keys::{ApiKey, ApiKeysPage, ConnectHelper, InstallMethod, KeyScope, MAX_NAME, NewApiKey},
    orgs::{KeyVisibility, Org},
    permissions::can,
    text,
};
use serde_json::json;
use store::{Tx, api_keys::ApiKey as Row};

use crate::{
    Env, Error, OrgActor, Result,
    allowlist::KeyRanges,
    both,
    change::{Change, Event},
    custom_domain,
    install::{self, UrlKeys},
    key_format, orgs,
    pin::Guarded,
    sealer::Aad,
};

/// The most keys an organisation may have.
const MOST_KEYS: usize = 1000;

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Where it will be used.
    pub name: String,
    /// Which connectors it may use.
    pub scope: KeyScope,
    /// When it ends, Unix milliseconds.
    pub expires_at: Option<i64>,
    /// Whether it may be used as `?api_key=`.
    pub url_key: bool,
}

fn scope_of(row: &Row, limits: &[(ApiKeyId, ConnectorId)]) -> KeyScope {
    if row.all_connectors {
        KeyScope::All
    } else {
        KeyScope::Only(
            limits.iter().filter(|(key, _)| *key == row.id).map(|(_, connector)| *connector).collect(),
        )
    }
}

fn listed(row: Row, limits: &[(ApiKeyId, ConnectorId)]) -> ApiKey {
    ApiKey {
        scope: scope_of(&row, limits),
        id: row.id,
        name: row.name,
        prefix: row.prefix,
        last4: row.last4,
        enabled: row.disabled_at.is_none(),
        url_key: row.url_key,
        copyable: row.sealed.is_some(),
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        last_used_address: row.last_used_address,
        last_used_agent: row.last_used_agent,
        created_at: row.created_at,
        created_by: row.created_by,
        ranges: row.ranges.split_whitespace().map(str::to_owned).collect(),
    }
}

fn aad(org: OrgId, id: ApiKeyId) -> (OrgId, String) {
    (org, id.to_string())
}

async fn org_of(tx: &mut Tx, org: OrgId) -> Result<Org> {
    store::orgs::find(tx, org).await?.ok_or_else(|| Error::not_found("organisation"))
}

async fn list_in(tx: &mut Tx, org: OrgId) -> Result<Vec<ApiKey>> {
    let limits = store::api_keys::list_connectors(tx, org).await?;
    Ok(store::api_keys::list(tx, org).await?.into_iter().map(|row| listed(row, &limits)).collect())
}

/// Everything the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::ApiKeysRead>) -> Result<ApiKeysPage> {
    let mut tx = env.db.read().await?;
    let org = org_of(&mut tx, actor.org()).await?;
    let keys = list_in(&mut tx, actor.org()).await?;
    let connectors = store::connectors::list(&mut tx, actor.org()).await?;
    Ok(ApiKeysPage {
        keys,
        connectors: connectors.into_iter().map(|c| (c.id, c.name, c.slug.into())).collect(),
        visibility: org.key_visibility,
        url_keys: org.url_keys,
        usage: Vec::new(),
        now: env.now(),
    })
}

/// One key, as it is listed.
pub async fn get(env: &Env, actor: &OrgActor<can::ApiKeysRead>, id: ApiKeyId) -> Result<ApiKey> {
    let mut tx = env.db.read().await?;
    find(&mut tx, actor.org(), id).await.map(|(_, key)| key)
}

async fn find(tx: &mut Tx, org: OrgId, id: ApiKeyId) -> Result<(Row, ApiKey)> {
    let row = store::api_keys::find(tx, org, id).await?.ok_or_else(|| Error::not_found("key"))?;
    let limits = store::api_keys::list_connectors(tx, org).await?;
    let key = listed(row.clone(), &limits);
    Ok((row, key))
}

/// The name of a new key, if name and scope are in order.
pub fn check(name: &str, scope: &KeyScope) -> Result<String> {
    let name = text::name("name", "this key", name, MAX_NAME).map_err(Into::into);
    both(name, check_scope(scope)).map(|(name, ())| name)
}

fn check_end(env: &Env, expires_at: Option<i64>) -> Result<()> {
    if expires_at.is_some_and(|at| at <= env.now()) {
        return Err(AppError::field("expires", "past", "Choose a day after today").into());
    }
    Ok(())
}

fn check_scope(scope: &KeyScope) -> Result<()> {
    if matches!(scope, KeyScope::Only(connectors) if connectors.is_empty()) {
        let message = "Choose at least one connector, or all of them";
        return Err(AppError::field("connectors", "required", message).into());
    }
    Ok(())
}

/// Whether a key may be marked for URLs (APK-09).
fn check_url_keys(org: &Org) -> Result<()> {
    if !org.url_keys {
        let message =
            "This organisation does not accept keys in URLs. Somebody who manages security can switch it on";
        return Err(AppError::field("url_key", "url_keys_off", message).into());
    }
    Ok(())
}

/// Makes a key that may be used from everywhere.
pub async fn create(env: &Env, actor: &OrgActor<can::ApiKeysCreate>, new: &NewKey) -> Result<NewApiKey> {
    create_within(env, actor, new, &KeyRanges::default()).await
}

/// Makes a key that may be used from these ranges. Its secret is in the answer and nowhere else, unless the organisation
/// chose copyable keys.
pub async fn create_within(
    env: &Env,
    actor: &OrgActor<can::ApiKeysCreate>,
    new: &NewKey,
    ranges: &KeyRanges,
) -> Result<NewApiKey> {
    let (name, ()) = both(check(&new.name, &new.scope), check_end(env, new.expires_at))?;
    let mut change = env.change(actor).await?;
    let made = insert(env, &mut change, actor, name, new, ranges).await?;
    let event = Event::new("api_key.created")
        .target("api_key", made.key.id, &made.key.name)
        .with("prefix", made.key.prefix.as_str())
        .with("url_key", made.key.url_key)
        .with("ranges", made.key.ranges.clone())
        .publish(
            "api_key.created",
            json!({"api_key_id": made.key.id, "name": made.key.name, "prefix": made.key.prefix}),
        );
    change.commit(event).await?;
    Ok(made)
}

async fn insert(
    env: &Env,
    change: &mut Change,
    actor: &OrgActor<can::ApiKeysCreate>,
    name: String,
    new: &NewKey,
    ranges: &KeyRanges,
) -> Result<NewApiKey> {
    let org_id = actor.org();
    let org = org_of(change.tx(), org_id).await?;
    if store::api_keys::list(change.tx(), org_id).await?.len() >= MOST_KEYS {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "too_many_keys",
            format!(
                "This organisation has {MOST_KEYS} keys. Delete some that are not used; no key was made."
            ),
        )
        .into());
    }
    if new.url_key {
        check_url_keys(&org)?;
    }
    let id = ApiKeyId::from_uuid(env.uuid());
    let secret = key_format::generate(|bytes| env.rng.fill(bytes));
    let sealed = if org.key_visibility == KeyVisibility::Copyable {
        let data_key = orgs::data_key(env, change.tx(), org_id).await?;
        let (org, row) = aad(org_id, id);
        let aad = Aad { org, table: "api_keys", column: "sealed", row: &row };
        Some(data_key.seal(&aad, secret.as_bytes(), env.rng.as_ref()))
    } else {
        None
    };
    let row = Row {
        id,
        name,
        hash: key_format::hash(&secret).to_vec(),
        prefix: secret.chars().take(key_format::PREFIX.len() + 4).collect(),
        last4: secret[secret.len() - 4..].to_owned(),
        sealed,
        url_key: new.url_key,
        all_connectors: new.scope == KeyScope::All,
        disabled_at: None,
        expires_at: new.expires_at,
        last_used_at: None,
        last_used_address: None,
        last_used_agent: None,
        created_at: env.now(),
        created_by: actor.principal().name().to_owned(),
        ranges: ranges.to_text(),
    };
    store::api_keys::insert(change.tx(), org_id, &row).await?;
    if let KeyScope::Only(connectors) = &new.scope {
        orgs::check_connectors(change.tx(), org_id, connectors).await?;
        store::api_keys::set_connectors(change.tx(), org_id, id, connectors).await?;
    }
    let (_, key) = find(change.tx(), org_id, id).await?;
    Ok(NewApiKey { key, secret })
}

/// What may be changed about a key; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct KeyChanges {
    /// A new name.
    pub name: Option<String>,
    /// Other connectors.
    pub scope: Option<KeyScope>,
    /// On or off.
    pub enabled: Option<bool>,
    /// Another end; `Some(None)` for never.
    pub expires_at: Option<Option<i64>>,
    /// Whether it may be used in URLs.
    pub url_key: Option<bool>,
    /// Other ranges that it may be used from.
    pub ranges: Option<KeyRanges>,
}

/// Changes a key. Disabling it works on the next request (APK-05).
pub async fn update(
    env: &Env,
    actor: &OrgActor<can::ApiKeysUpdate>,
    id: ApiKeyId,
    changes: &KeyChanges,
) -> Result<ApiKey> {
    let name =
        changes.name.as_deref().map(|name| text::name("name", "this key", name, MAX_NAME)).transpose()?;
    let now = env.now();
    check_end(env, changes.expires_at.flatten())?;
    changes.scope.as_ref().map_or(Ok(()), check_scope)?;
    let mut change = env.change(actor).await?;
    let (mut row, old) = find(change.tx(), actor.org(), id).await?;
    if let Some(name) = name {
        row.name = name;
    }
    if let Some(enabled) = changes.enabled {
        row.disabled_at = if enabled { None } else { Some(row.disabled_at.unwrap_or(now)) };
    }
    if let Some(expires_at) = changes.expires_at {
        row.expires_at = expires_at;
    }
    if let Some(url_key) = changes.url_key {
        // What is marked may stay so: it has no effect until the organisation accepts such keys again.
        if url_key && !row.url_key {
            check_url_keys(&org_of(change.tx(), actor.org()).await?)?;
        }
        row.url_key = url_key;
    }
    if let Some(ranges) = &changes.ranges {
        row.ranges = ranges.to_text();
    }
    if let Some(scope) = &changes.scope {
        row.all_connectors = *scope == KeyScope::All;
        let connectors: &[ConnectorId] = match scope {
            KeyScope::All => &[],
            KeyScope::Only(connectors) => connectors,
        };
        orgs::check_connectors(change.tx(), actor.org(), connectors).await?;
        store::api_keys::set_connectors(change.tx(), actor.org(), id, connectors).await?;
    }
    store::api_keys::update(change.tx(), actor.org(), &row).await?;
    let (_, new) = find(change.tx(), actor.org(), id).await?;
    if new == old {
        return Ok(new);
    }
    let action = match (old.enabled, new.enabled) {
        (true, false) => "api_key.disabled",
        (false, true) => "api_key.enabled",
        _ => "api_key.updated",
    };
    let words = |scope: &KeyScope| match scope {
        KeyScope::All => json!("all"),
        KeyScope::Only(ids) => json!(ids),
    };
    let event = Event::new(action)
        .target("api_key", id, &new.name)
        .changed("name", old.name, new.name.as_str())
        .changed("enabled", old.enabled, new.enabled)
        .changed("expires_at", old.expires_at, new.expires_at)
        .changed("url_key", old.url_key, new.url_key)
        .changed("ranges", old.ranges, new.ranges.clone())
        .changed("connectors", words(&old.scope), words(&new.scope));
    change.commit(event).await?;
    Ok(new)
}

/// Deletes a key. One that was used in the last 24 hours is only deleted by somebody who was told so: without
/// `acknowledged` the answer is the conflict `recently_used`, checked again here because the facts may have changed
/// since the page was drawn.
pub async fn delete(
    env: &Env,
    actor: &Guarded<can::ApiKeysRevoke>,
    id: ApiKeyId,
    acknowledged: bool,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let (_, key) = find(change.tx(), actor.org(), id).await?;
    if key.used_within_a_day(env.now()) && !acknowledged {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "recently_used",
            "This key was used in the last 24 hours. Deleting it breaks whatever is still calling with it. Nothing was deleted: confirm that you know, or disable it instead.",
        )
        .into());
    }
    store::api_keys::delete(change.tx(), actor.org(), id).await?;
    let event = Event::new("api_key.deleted")
        .target("api_key", id, &key.name)
        .with("prefix", key.prefix.as_str())
        .publish("api_key.revoked", json!({"api_key_id": id, "name": key.name, "prefix": key.prefix}));
    change.commit(event).await
}

/// The whole key again, where the organisation keeps sealed copies. Each time is audited.
pub async fn copy(env: &Env, actor: &Guarded<can::ApiKeysCreate>, id: ApiKeyId) -> Result<NewApiKey> {
    let mut change = env.change(actor).await?;
    let (row, key) = find(change.tx(), actor.org(), id).await?;
    let secret = open(env, change.tx(), actor.org(), &row).await?.ok_or_else(|| {
        AppError::new(
            ErrorKind::Conflict,
            "shown_once",
            "This key was shown once, when it was made; only its hash is kept. Make a new key if you need one.",
        )
    })?;
    change.commit(Event::new("api_key.copied").target("api_key", id, &key.name)).await?;
    Ok(NewApiKey { key, secret })
}

async fn open(env: &Env, tx: &mut Tx, org: OrgId, row: &Row) -> Result<Option<String>> {
    let Some(sealed) = &row.sealed else { return Ok(None) };
    let data_key = orgs::data_key(env, tx, org).await?;
    let (org, id) = aad(org, row.id);
    let aad = Aad { org, table: "api_keys", column: "sealed", row: &id };
    let bytes = data_key
        .open(&aad, sealed)
        .map_err(|_| Error::Internal(format!("the sealed copy of {} does not open", row.id)))?;
    String::from_utf8(bytes.to_vec())
        .map(Some)
        .map_err(|_| Error::Internal(format!("the sealed copy of {} is no text", row.id)))
}

/// The helper "Connect to an AI agent (MCP)". With copyable keys every entry holds the newest key that works. With keys
/// shown once it holds a key only where one is made: by opening it in an organisation without keys, or by asking for
/// one for `client`. Showing a key that is kept is protected: without `guarded` none is filled in (PIN-04).
pub async fn connect_helper(
    env: &Env,
    actor: &OrgActor<can::ApiKeysCreate>,
    guarded: Option<&Guarded<can::ApiKeysCreate>>,
    client: Option<&str>,
) -> Result<ConnectHelper> {
    let client = match client {
        Some(client) => Some(install::client_title(client).ok_or_else(|| Error::not_found("client"))?)
            .zip(Some(client.to_owned())),
        None => None,
    };
    let now = env.now();
    let (org, keys) = {
        let mut tx = env.db.read().await?;
        (org_of(&mut tx, actor.org()).await?, store::api_keys::list(&mut tx, actor.org()).await?)
    };
    let works = |key: &&Row| key.disabled_at.is_none() && key.expires_at.is_none_or(|at| at > now);
    let recoverable = keys.iter().filter(works).find(|key| key.sealed.is_some());
    let (filled, made) = match (&client, recoverable.zip(guarded)) {
        (None, Some((row, guarded))) => (Some(copy(env, guarded, row.id).await?), false),
        (None, None) if keys.iter().any(|key| works(&key)) => (None, false),
        (named, _) => {
            let name =
                named.as_ref().map_or_else(|| "Connect helper".to_owned(), |(title, _)| (*title).to_owned());
            // A client that takes its key in the URL needs one that is marked for it, where the organisation allows that.
            let url_key = org.url_keys && named.as_ref().is_none_or(|(_, id)| install::wants_url_key(id));
            let new = NewKey { name, scope: KeyScope::All, expires_at: None, url_key };
            (Some(create(env, actor, &new).await?), true)
        }
    };
    let (endpoint, also_at) = custom_domain::addresses(env, &mut env.db.read().await?, &org).await?.split();
    Ok(ConnectHelper {
        methods: methods(&endpoint, &org, filled.as_ref()),
        also_at,
        key: filled.map(|filled| filled.key),
        made,
        client: client.map(|(_, id)| id),
    })
}

/// The helper's entries with a key that was just made, and where else the endpoint answers.
pub async fn methods_for(
    env: &Env,
    actor: &OrgActor<can::ApiKeysCreate>,
    made: &NewApiKey,
) -> Result<(Vec<InstallMethod>, Option<String>)> {
    let mut tx = env.db.read().await?;
    let org = org_of(&mut tx, actor.org()).await?;
    let (endpoint, also_at) = custom_domain::addresses(env, &mut tx, &org).await?.split();
    Ok((methods(&endpoint, &org, Some(made)), also_at))
}

fn methods(endpoint: &str, org: &Org, filled: Option<&NewApiKey>) -> Vec<InstallMethod> {
    let url_keys = match filled {
        _ if !org.url_keys => UrlKeys::OrgOff,
        Some(filled) if !filled.key.url_key => UrlKeys::KeyNotMarked,
        _ => UrlKeys::Allowed,
    };
    let (secret, masked) = filled.map_or_else(
        || (install::PLACEHOLDER.to_owned(), install::PLACEHOLDER.to_owned()),
        |filled| (filled.secret.clone(), filled.key.masked()),
    );
    install::methods(endpoint, org.slug.as_str(), &secret, &masked, url_keys)
}

const DAY: i64 = 24 * 60 * 60 * 1000;

/// When a key ends, from what a form offers: `never`, a number of days from now, or `date` with a day such as
/// `2027-03-31`, through which the key works (UTC).
pub fn end(now: i64, choice: &str, day: &str) -> core::result::Result<Option<i64>, AppError> {
    match choice {
        "never" => Ok(None),
        "date" => match days_since_1970(day.trim()).map(|days| (days + 1) * DAY) {
            Some(at) if at > now => Ok(Some(at)),
            Some(_) => Err(AppError::field("expires_on", "past", "Choose today or a later day")),
            None if day.trim().is_empty() => {
                Err(AppError::field("expires_on", "required", "Choose the last day"))
            }
            None => {
                let message = "Enter a day as year-month-day, such as 2027-03-31";
                Err(AppError::field("expires_on", "date", message))
            }
        },
        days => match days.parse() {
            Ok(days @ 1..=3650) => Ok(Some(now + days * DAY)),
            _ => Err(AppError::field("expires", "expires", "Choose when this key ends")),
        },
    }
}

/// The day `2027-03-31`, by Howard Hinnant's `days_from_civil`.
fn days_since_1970(day: &str) -> Option<i64> {
    let mut parts = day.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=longest).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_as_the_form_says() {
        let now = 1_773_324_306_000; // 2026-03-12T14:05:06Z
        assert_eq!(end(now, "never", "2020-01-01"), Ok(None));
        assert_eq!(end(now, "30", ""), Ok(Some(now + 30 * DAY)));
        assert_eq!(end(now, "date", "2026-03-12"), Ok(Some(1_773_360_000_000)));
        assert_eq!(end(0, "date", " 2000-02-29 "), Ok(Some(951_868_800_000)));
        assert_eq!(end(0, "date", "1970-01-01"), Ok(Some(DAY)));
        assert_eq!(end(now, "date", "2026-03-11").unwrap_err().code, "past");
        for bad in ["", "2026", "2026-02-29", "2026-13-01", "2026-04-31", "12.03.2026", "2026-03-12-1"] {
            assert_eq!(end(now, "date", bad).unwrap_err().fields[0].field, "expires_on", "{bad}");
        }
        for bad in ["", "0", "-1", "99999", "soon"] {
            assert_eq!(end(now, bad, "").unwrap_err().fields[0].field, "expires", "{bad}");
        }
    }
}

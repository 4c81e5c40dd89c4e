//! What a connector is sent and nobody is shown: sealed in its rows, opened to call it.
//!
//! The query of its URL is such a thing too, because it often holds a key (KEY-02). It is sealed among the headers, under
//! a name that no header can have.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use model::{
    ConnectorId, OrgId,
    connectors::{HIDDEN_QUERY, HeaderInfo, Transport},
};
use secrecy::{ExposeSecret, SecretString};
use store::{
    Tx,
    connectors::{Connector as Row, Header as HeaderRow},
};

use crate::{
    Env, Error, OrgActor, Result, orgs,
    sealer::{Aad, DataKey},
};

/// The row of a URL's query among the headers.
const QUERY: &str = ":query";

/// Where a connector is and what it is sent.
#[derive(Clone)]
pub(crate) struct Target {
    /// How it is reached.
    pub(crate) transport: Transport,
    /// The URL without its query.
    pub(crate) url: String,
    /// The query of the URL.
    pub(crate) query: Option<SecretString>,
    /// The headers.
    pub(crate) headers: Vec<(String, SecretString)>,
    /// How long it may take to begin an answer, if not as long as others.
    pub(crate) first_byte: Option<Duration>,
}

impl Target {
    /// Opens what is stored: for calling it, never for showing. `rows` may hold those of other connectors too.
    pub(crate) fn open(data_key: &DataKey, org: OrgId, row: &Row, rows: &[HeaderRow]) -> Result<Self> {
        let (url, plain) = split(&row.url);
        let mut target = Self {
            transport: row.transport,
            url: url.to_owned(),
            query: plain.map(SecretString::from),
            headers: Vec::new(),
            first_byte: first_byte(row.first_byte_seconds),
        };
        for sealed in rows.iter().filter(|sealed| sealed.connector == row.id) {
            let value = open(data_key, org, sealed)?;
            if sealed.name == QUERY {
                target.query = Some(value);
            } else {
                target.headers.push((sealed.name.clone(), value));
            }
        }
        Ok(target)
    }

    /// The query in plain.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_ref().map(ExposeSecret::expose_secret)
    }

    /// The URL as it is called.
    pub(crate) fn whole_url(&self) -> SecretString {
        match self.query() {
            None => self.url.clone().into(),
            Some(query) => format!("{}?{query}", self.url).into(),
        }
    }
}

/// The patience with a connector's server, as stored.
pub(crate) fn first_byte(seconds: Option<i64>) -> Option<Duration> {
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

/// A URL and its query. Rows of early versions hold the query in plain.
fn split(url: &str) -> (&str, Option<&str>) {
    url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query)))
}

/// What decides whether a connection to a server may be kept: its address, the patience with it, and when each header was last set. `rows` may
/// hold those of other connectors too.
pub(crate) fn version(row: &Row, rows: &[HeaderRow]) -> i64 {
    let mut version = DefaultHasher::new();
    (&row.url, row.first_byte_seconds).hash(&mut version);
    for header in rows.iter().filter(|header| header.connector == row.id) {
        (&header.name, header.set_at, &header.value_sealed).hash(&mut version);
    }
    version.finish().cast_signed()
}

fn place(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "connector_headers", column: "value_sealed", row }
}

fn open(data_key: &DataKey, org: OrgId, row: &HeaderRow) -> Result<SecretString> {
    let failed = |what: &str| Error::Internal(format!("{} of {} {what}", row.name, row.connector));
    let id = format!("{}/{}", row.connector, row.name);
    let bytes = data_key.open(&place(org, &id), &row.value_sealed).map_err(|_| failed("does not open"))?;
    String::from_utf8(bytes.to_vec()).map(SecretString::from).map_err(|_| failed("is no text"))
}

/// Seals headers into their rows.
pub(super) async fn put_headers(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    headers: &[(String, SecretString)],
    by: &str,
) -> Result<()> {
    if headers.is_empty() {
        return Ok(());
    }
    let data_key = orgs::data_key(env, tx, org).await?;
    for (name, value) in headers {
        let id = format!("{connector}/{name}");
        let header = HeaderRow {
            connector,
            name: name.clone(),
            value_sealed: data_key.seal(&place(org, &id), value.expose_secret().as_bytes(), env.rng.as_ref()),
            set_at: env.now(),
            set_by: by.to_owned(),
        };
        store::connectors::put_header(tx, org, &header).await?;
    }
    Ok(())
}

/// Seals a URL's query into its row, or removes it.
pub(super) async fn put_query(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    query: Option<&SecretString>,
    by: &str,
) -> Result<()> {
    match query {
        Some(query) => put_headers(env, tx, org, connector, &[(QUERY.to_owned(), query.clone())], by).await,
        None => Ok(store::connectors::delete_header(tx, org, connector, QUERY).await.map(drop)?),
    }
}

/// A connector's URL as it is called: it may hold a key, so it is never shown.
pub(crate) async fn whole_url(env: &Env, org: OrgId, row: &Row) -> Result<SecretString> {
    let mut tx = env.db.read().await?;
    let rows = sealed(&mut tx, org, row.id).await?;
    let data_key = orgs::data_key(env, &mut tx, org).await?;
    Ok(Target::open(&data_key, org, row, &rows)?.whole_url())
}

/// The sealed rows of one connector.
pub(super) async fn sealed(tx: &mut Tx, org: OrgId, connector: ConnectorId) -> Result<Vec<HeaderRow>> {
    let mut rows = store::connectors::list_headers(tx, org).await?;
    rows.retain(|row| row.connector == connector);
    Ok(rows)
}

/// What an export tells of where a connector is: the URL without its query, whether there is one, and the names of its headers.
/// `rows` may hold those of others too.
pub(crate) fn export_shape(row: &Row, rows: &[HeaderRow]) -> (String, bool, Vec<String>) {
    let (url, plain) = split(&row.url);
    let of_it = rows.iter().filter(|sealed| sealed.connector == row.id);
    let (query, headers): (Vec<_>, Vec<_>) = of_it.partition(|sealed| sealed.name == QUERY);
    let headers = headers.into_iter().map(|sealed| sealed.name.clone()).collect();
    (url.to_owned(), plain.is_some() || !query.is_empty(), headers)
}

/// A connector's URL and headers as they are shown: without what is secret. `rows` may hold those of others too.
pub(super) fn shown(row: &Row, rows: &[HeaderRow]) -> (String, Vec<HeaderInfo>) {
    let (url, plain) = split(&row.url);
    let mut hidden = plain.is_some();
    let mut headers = Vec::new();
    for sealed in rows.iter().filter(|sealed| sealed.connector == row.id) {
        if sealed.name == QUERY {
            hidden = true;
        } else {
            headers.push(HeaderInfo {
                name: sealed.name.clone(),
                set_at: sealed.set_at,
                set_by: sealed.set_by.clone(),
            });
        }
    }
    (format!("{url}{}", if hidden { HIDDEN_QUERY } else { "" }), headers)
}

/// Seals the queries that early versions stored in plain; at each start, when there is mostly nothing to do. Nobody sees
/// a difference, so there is no event.
pub async fn seal_queries(env: &Env) -> Result<()> {
    let plain = {
        let mut tx = env.db.read().await?;
        store::connectors::list_with_query(&mut tx).await?
    };
    for (org, id) in plain {
        let actor = OrgActor::<model::permissions::can::ConnectorsWrite>::system(org);
        let mut change = env.change(&actor).await?;
        let Some(mut row) = store::connectors::find(change.tx(), org, id).await? else { continue };
        let (url, Some(query)) = split(&row.url) else { continue };
        let (url, query) = (url.to_owned(), SecretString::from(query));
        put_query(env, change.tx(), org, id, Some(&query), actor.principal().name()).await?;
        row.url = url;
        store::connectors::update(change.tx(), org, &row).await?;
        change.keep_quiet().await?;
    }
    Ok(())
}

//! Where the secrets of upstream OAuth are at rest (KEY-01, KEY-02).

use model::{AuthorizationId, ConnectorId, OrgId};
use secrecy::SecretString;
use store::{
    Tx,
    upstream_credentials::{Authorization, Client},
};

use super::token::{KnownClient, Tokens};
use crate::{
    Env, Error, Result, orgs,
    sealer::{Aad, DataKey},
};

fn tokens_at(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "upstream_authorizations", column: "tokens_sealed", row }
}

fn secret_at(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "connector_oauth", column: "client_secret_sealed", row }
}

fn verifier_at(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "upstream_attempts", column: "verifier_sealed", row }
}

fn opened(key: &DataKey, at: &Aad<'_>, sealed: &[u8]) -> Result<String> {
    let failed = || Error::Internal(format!("{}.{} of {} does not open", at.table, at.column, at.row));
    let bytes = key.open(at, sealed).map_err(|_| failed())?;
    String::from_utf8(bytes.to_vec()).map_err(|_| failed())
}

pub(super) async fn seal_tokens(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    id: AuthorizationId,
    tokens: &Tokens,
) -> Result<Vec<u8>> {
    let key = orgs::data_key(env, tx, org).await?;
    Ok(key.seal(&tokens_at(org, &id.to_string()), tokens.to_text().as_bytes(), env.rng.as_ref()))
}

pub(super) async fn open_tokens(env: &Env, tx: &mut Tx, org: OrgId, row: &Authorization) -> Result<Tokens> {
    let key = orgs::data_key(env, tx, org).await?;
    let text =
        zeroize::Zeroizing::new(opened(&key, &tokens_at(org, &row.id.to_string()), &row.tokens_sealed)?);
    serde_json::from_str(&text)
        .map_err(|_| Error::Internal(format!("the tokens of {} cannot be read", row.id)))
}

pub(super) async fn seal_secret(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    connector: ConnectorId,
    secret: &SecretString,
) -> Result<Vec<u8>> {
    use secrecy::ExposeSecret as _;
    let key = orgs::data_key(env, tx, org).await?;
    let place = connector.to_string();
    Ok(key.seal(&secret_at(org, &place), secret.expose_secret().as_bytes(), env.rng.as_ref()))
}

/// The client of a row, its secret opened.
pub(super) async fn open_client(env: &Env, tx: &mut Tx, org: OrgId, row: &Client) -> Result<KnownClient> {
    let secret = match &row.secret_sealed {
        None => None,
        Some(sealed) => {
            let key = orgs::data_key(env, tx, org).await?;
            Some(SecretString::from(opened(&key, &secret_at(org, &row.connector.to_string()), sealed)?))
        }
    };
    Ok(KnownClient { id: row.client_id.clone(), secret, auth_method: row.auth_method.clone() })
}

pub(super) async fn seal_verifier(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    state: &str,
    verifier: &str,
) -> Result<Vec<u8>> {
    let key = orgs::data_key(env, tx, org).await?;
    Ok(key.seal(&verifier_at(org, state), verifier.as_bytes(), env.rng.as_ref()))
}

pub(super) async fn open_verifier(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    state: &str,
    sealed: &[u8],
) -> Result<zeroize::Zeroizing<String>> {
    let key = orgs::data_key(env, tx, org).await?;
    opened(&key, &verifier_at(org, state), sealed).map(zeroize::Zeroizing::new)
}

//! What a connector is sent and nobody is shown: sealed in its rows, opened to call it.

use model::{ConnectorId, OrgId};
use secrecy::{ExposeSecret as _, SecretString};
use store::{Tx, connectors::Header as HeaderRow};

use crate::{Env, Error, Result, orgs, sealer::Aad};

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
        let row = format!("{connector}/{name}");
        let aad = Aad { org, table: "connector_headers", column: "value_sealed", row: &row };
        let header = HeaderRow {
            connector,
            name: name.clone(),
            value_sealed: data_key.seal(&aad, value.expose_secret().as_bytes(), env.rng.as_ref()),
            set_at: env.now(),
            set_by: by.to_owned(),
        };
        store::connectors::put_header(tx, org, &header).await?;
    }
    Ok(())
}

/// The headers of a connector, opened: for calling it, never for showing.
pub(crate) fn open_headers(
    data_key: &crate::sealer::DataKey,
    org: OrgId,
    rows: &[HeaderRow],
    connector: ConnectorId,
) -> Result<Vec<(String, SecretString)>> {
    rows.iter()
        .filter(|row| row.connector == connector)
        .map(|row| {
            let key = format!("{connector}/{}", row.name);
            let aad = Aad { org, table: "connector_headers", column: "value_sealed", row: &key };
            let bytes = data_key.open(&aad, &row.value_sealed).map_err(|_| {
                Error::Internal(format!("the header {} of {connector} does not open", row.name))
            })?;
            let text = String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::Internal(format!("the header {} of {connector} is no text", row.name)))?;
            Ok((row.name.clone(), SecretString::from(text)))
        })
        .collect()
}

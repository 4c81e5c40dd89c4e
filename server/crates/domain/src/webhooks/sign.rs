//! Secrets and signatures of Standard Webhooks 1.0.0 (WHK-01): `v1,` and the base64 of an HMAC-SHA256 over
//! `id.timestamp.body`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{OrgId, OutboxId, WebhookId};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    Env, Error, Result,
    sealer::{Aad, DataKey},
};

/// Bytes of a key; the standard wants 24 to 64.
const KEY: usize = 32;
/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// A new secret for people, and its key sealed for its row.
pub(super) fn generate(
    env: &Env,
    data_key: &DataKey,
    org: OrgId,
    webhook: WebhookId,
    number: i64,
) -> (String, Vec<u8>) {
    let mut key = Zeroizing::new([0; KEY]);
    env.rng.fill(key.as_mut_slice());
    let row = format!("{webhook}/{number}");
    let sealed = data_key.seal(&place(org, &row), key.as_slice(), env.rng.as_ref());
    (format!("{PREFIX}{}", data_encoding::BASE64.encode(key.as_slice())), sealed)
}

fn place(org: OrgId, row: &str) -> Aad<'_> {
    Aad { org, table: "webhook_secrets", column: "sealed", row }
}

/// Opens a key.
pub(super) fn open(
    data_key: &DataKey,
    org: OrgId,
    webhook: WebhookId,
    number: i64,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let row = format!("{webhook}/{number}");
    data_key
        .open(&place(org, &row), sealed)
        .map_err(|_| Error::Internal(format!("secret {number} of {webhook} does not open")))
}

/// The value of `webhook-signature`: one signature for each key, with a space between. `timestamp` is in Unix seconds.
pub(super) fn signatures(keys: &[Zeroizing<Vec<u8>>], id: OutboxId, timestamp: i64, body: &str) -> String {
    let sign = |key: &Zeroizing<Vec<u8>>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key will do");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", data_encoding::BASE64.encode(&mac.finalize().into_bytes()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

//! Gatehouse as a client of others: how a connector gets a token for its server, keeps it fresh, and says honestly when it
//! cannot.
//!
//! * [`config`]: which way a connector goes, and as which client. [`discovery`] finds out who gives access, [`client`]
//!   who Gatehouse is there, [`token`] asks for tokens.
//! * [`flow`]: a person on the way to an authorization server and back, for the organisation or for themselves ([`own`]).
//! * [`keeper`]: access tokens in memory, renewed by one for all. [`exchange`]: puts them on each request to the server.
//! * [`standing`]: what of it is in an organisation's snapshot, so that no call asks the database.
//!
//! What is stored belongs to one issuer and one resource, and is used with no other (SSR-10). A refresh token is presented
//! by whoever holds the row's lease, and never again once its successor has arrived.

pub mod client;
pub mod config;
pub mod discovery;
pub mod exchange;
pub mod flow;
pub mod keeper;
pub mod own;
mod sealed;
pub mod standing;
pub(crate) mod token;
mod wire;

pub use self::{
    exchange::Authorized,
    keeper::{Held, Keeper, Shared},
    standing::{Holder, NotAuthorized, PlaneAuth},
};

/// Forgets people who were sent away and never came back.
pub async fn purge(env: &crate::Env) -> crate::Result<()> {
    let mut tx = env.db.write().await?;
    store::upstream_credentials::purge_attempts(&mut tx, env.now()).await?;
    tx.commit().await?;
    Ok(())
}

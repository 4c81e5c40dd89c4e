use domain::{
    Env,
    oauth::{Issued, Outcome, clients::Client, credentials},
    request::Origin,
};

use crate::params::Params;

/// A machine asks for itself (RFC 6749 §4.4.2).
pub(crate) async fn issue(env: &Env, origin: &Origin, client: &Client, params: &Params) -> Outcome<Issued> {
    credentials::issue(env, origin, client, params.get("scope")?, params.get("resource")?).await
}

use domain::{
    Env,
    oauth::{
        Issued, Outcome,
        clients::Client,
        refresh::{self, Refresh},
    },
    request::Origin,
};

use crate::params::Params;

/// A refresh token becomes new tokens (RFC 6749 §6).
pub(crate) async fn issue(env: &Env, origin: &Origin, client: &Client, params: &Params) -> Outcome<Issued> {
    let given = Refresh {
        token: params.need("refresh_token")?,
        scope: params.get("scope")?,
        resource: params.get("resource")?,
    };
    refresh::refresh(env, origin, client, &given).await
}

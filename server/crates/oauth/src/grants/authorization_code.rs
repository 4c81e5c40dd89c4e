use domain::{
    Env,
    oauth::{
        Issued, Outcome,
        clients::Client,
        code::{self, Redeem},
    },
    request::Origin,
};

use crate::params::Params;

/// A code becomes tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).
pub(crate) async fn issue(env: &Env, origin: &Origin, client: &Client, params: &Params) -> Outcome<Issued> {
    let given = Redeem {
        code: params.need("code")?,
        redirect_uri: params.get("redirect_uri")?,
        verifier: params.get("code_verifier")?,
        resource: params.get("resource")?,
    };
    code::redeem(env, origin, client, &given).await
}

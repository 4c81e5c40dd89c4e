//! What the connection doctor hears of from here. It is told after the answer is known and never changes it: what cannot be
//! found out is left out.

use domain::{
    Env,
    doctor::{self, Step},
    oauth::clients::Client,
    request::Origin,
};
use model::doctor::Stage;

use crate::params::Params;

/// Server metadata was read.
pub(crate) fn server_metadata(env: &Env, origin: &Origin) {
    env.journal.note(env.now(), Step::new(Stage::ServerMetadata).by(origin));
}

/// A client registered itself, or was refused.
pub(crate) fn registered(env: &Env, origin: &Origin, made: Result<&Client, &str>) {
    let step = Step::new(Stage::Register).by(origin);
    let step = match made {
        Ok(client) => step.of(&client.id, &client.name),
        Err(error) => Step { error: Some(error.to_owned()), ..step },
    };
    env.journal.note(env.now(), step);
}

/// Somebody was sent to the authorization endpoint, with this name of the client and this error, if any. Without a
/// resource it is not known yet whom it is for; then the decision is the first that is heard of.
pub(crate) async fn authorize(env: &Env, origin: &Origin, params: &Params, name: &str, error: Option<&str>) {
    let (Ok(Some(client)), Ok(Some(resource))) = (params.one("client_id"), params.one("resource")) else {
        return;
    };
    if let Ok(Some(org)) = doctor::org_of_resource(env, resource).await {
        let step = Step::new(Stage::Authorize).of(client, name).by(origin);
        env.journal.note(env.now(), Step { org: Some(org), error: error.map(str::to_owned), ..step });
    }
}

/// A code was exchanged; or that, or a renewal, was refused. Renewals that went well are daily business.
pub(crate) async fn token(env: &Env, origin: &Origin, params: &Params, error: Option<&str>) {
    let (holder, detail) = match (params.one("code"), params.one("refresh_token")) {
        (Ok(Some(code)), _) => (doctor::holder_of_code(env, code).await, String::new()),
        (_, Ok(Some(token))) if error.is_some() => {
            (doctor::holder_of_refresh_token(env, token).await, doctor::RENEWING.to_owned())
        }
        _ => return,
    };
    if let Ok(Some((org, client))) = holder {
        let step = Step::new(Stage::Token).of(&client, "").by(origin);
        env.journal.note(env.now(), Step { org: Some(org), error: error.map(str::to_owned), detail, ..step });
    }
}

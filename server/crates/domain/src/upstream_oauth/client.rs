//! As which client Gatehouse comes to an authorization server: one whose id was typed, else the document about itself that
//! it serves, else one that it registers (2026-07-28, basic/authorization, "Client Registration").

use http::StatusCode;
use model::{credentials::ClientSource, paths};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{discovery::Server, wire};
use crate::{Env, net::NetError};

/// What Gatehouse calls itself to authorization servers.
const NAME: &str = "Gatehouse";
/// The longest id or secret that is taken from a server, bytes.
const LONGEST: usize = 4096;

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// It takes neither a document nor a registration.
    #[error(
        "{0} registers no clients by itself. Register Gatehouse there by hand, with the redirect address below, then enter the client id and secret."
    )]
    Type(String),
    /// The registration failed.
    #[error(
        "{host} did not register Gatehouse ({why}). Register it there by hand, with the redirect address below, then enter the client id and secret."
    )]
    Refused {
        /// Which server.
        host: String,
        /// Its error code, or the status.
        why: String,
    },
    /// It could not be reached.
    #[error("{host} could not be asked to register Gatehouse. {why}")]
    Net {
        /// Which server.
        host: String,
        /// Why.
        why: NetError,
    },
}

/// A client as it is stored.
pub(super) struct NewClient {
    pub(super) source: ClientSource,
    pub(super) id: String,
    pub(super) secret: Option<SecretString>,
    pub(super) auth_method: String,
    pub(super) secret_expires_at: Option<i64>,
}

/// Where authorization servers send people back to: one address for all of them.
pub fn redirect_uri(env: &Env) -> String {
    env.settings.absolute(paths::upstream_callback())
}

/// The URL of the document about Gatehouse as a client, which is its client id where servers take one. They have to be able
/// to read it, so there is none on an instance without `https`.
pub fn document_url(env: &Env) -> Option<String> {
    (env.settings.public_url.scheme() == "https").then(|| env.settings.absolute(paths::upstream_client()))
}

/// That document (draft-ietf-oauth-client-id-metadata-document).
pub fn document(env: &Env) -> Option<Value> {
    let mut document = about(env, "none");
    document["client_id"] = json!(document_url(env)?);
    Some(document)
}

fn about(env: &Env, auth_method: &str) -> Value {
    let secure = env.settings.public_url.scheme() == "https";
    let mut about = json!({
        "client_name": NAME,
        "redirect_uris": [redirect_uri(env)],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": auth_method,
        // A web client may not have a redirect URI on loopback; an instance there is somebody's own machine.
        "application_type": if secure { "web" } else { "native" },
    });
    if secure {
        // Careful servers refuse links without TLS.
        about["client_uri"] = json!(env.settings.absolute("/"));
    }
    about
}

/// How a client authenticates at the token endpoint: what the server takes of what is spoken here.
pub(super) fn auth_method(server: &Server, has_secret: bool) -> &'static str {
    let takes = |method: &str| server.auth_methods.iter().any(|other| other == method);
    match has_secret {
        true if takes("client_secret_post") && !takes("client_secret_basic") => "client_secret_post",
        true => "client_secret_basic",
        false => "none",
    }
}

/// A client for people to give access to, where none was typed.
pub(super) async fn obtain(env: &Env, server: &Server, scope: &str) -> Result<NewClient, ClientError> {
    if server.documents
        && let Some(url) = document_url(env)
    {
        return Ok(NewClient {
            source: ClientSource::Document,
            id: url,
            secret: None,
            auth_method: "none".to_owned(),
            secret_expires_at: None,
        });
    }
    let Some(endpoint) = &server.registration_endpoint else {
        return Err(ClientError::Type(server.host()));
    };
    register(env, server, endpoint, scope).await
}

/// RFC 7591 §3.1.
async fn register(env: &Env, server: &Server, endpoint: &str, scope: &str) -> Result<NewClient, ClientError> {
    let refused = |why: String| ClientError::Refused { host: server.host(), why };
    // A secret is better than none, because a stolen refresh token is then worth nothing.
    let wanted = ["client_secret_basic", "client_secret_post", "none"]
        .into_iter()
        .find(|method| server.auth_methods.iter().any(|other| other == method))
        .ok_or_else(|| refused("it authenticates clients in no way that Gatehouse speaks".to_owned()))?;
    let mut request = about(env, wanted);
    if !scope.is_empty() {
        request["scope"] = json!(scope);
    }
    let answer = wire::post(env, endpoint, &request)
        .await
        .map_err(|why| ClientError::Net { host: server.host(), why })?;
    let object = answer.object();
    let text = |name: &str| {
        let value = object.as_ref()?.get(name)?.as_str()?;
        (!value.is_empty() && value.len() <= LONGEST).then(|| value.to_owned())
    };
    if answer.status != StatusCode::CREATED && answer.status != StatusCode::OK {
        let plain =
            |word: &String| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && word.len() <= 64;
        return Err(refused(
            text("error").filter(plain).unwrap_or_else(|| format!("HTTP status {}", answer.status.as_u16())),
        ));
    }
    let id = text("client_id").ok_or_else(|| refused("its answer names no client".to_owned()))?;
    let secret = text("client_secret").map(SecretString::from);
    let given = text("token_endpoint_auth_method").unwrap_or_else(|| match secret {
        Some(_) => wanted.to_owned(),
        None => "none".to_owned(),
    });
    if !["client_secret_basic", "client_secret_post", "none"].contains(&given.as_str()) {
        return Err(refused("it wants an authentication that Gatehouse does not speak".to_owned()));
    }
    if secret.is_none() && given != "none" {
        return Err(refused("its answer holds no secret".to_owned()));
    }
    let ends = object.as_ref().and_then(|object| object.get("client_secret_expires_at")?.as_i64());
    Ok(NewClient {
        source: ClientSource::Registered,
        id,
        secret: secret.filter(|_| given != "none"),
        auth_method: given,
        secret_expires_at: ends.filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1000)),
    })
}

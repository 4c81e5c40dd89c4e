//! Which client sends a request, and how it proves it (OAT-04).

use data_encoding::BASE64;
use domain::{
    Env,
    oauth::{
        Failure, Fault,
        clients::{self, AuthMethod, Client, Credentials},
    },
};
use http::{HeaderMap, header, request::Parts};

use crate::{
    params::{Params, decode},
    reply::origin,
};

/// The client of a request to an endpoint.
pub(crate) async fn client(env: &Env, parts: &Parts, params: &Params) -> Result<Client, Failure> {
    clients::authenticate(env, &origin(parts), &credentials(&parts.headers, params)?).await
}

fn credentials(headers: &HeaderMap, params: &Params) -> Result<Credentials, Failure> {
    let (id, secret) = (params.get("client_id")?, params.get("client_secret")?);
    if params.get("client_assertion")?.is_some() || params.get("client_assertion_type")?.is_some() {
        return Err(Fault::InvalidClient.because("Assertions are not accepted."));
    }
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        let id = id.ok_or_else(|| Fault::InvalidClient.because("The client does not say who it is."))?;
        let method = if secret.is_some() { AuthMethod::Post } else { AuthMethod::None };
        return Ok(Credentials { id: id.to_owned(), method, secret: secret.unwrap_or_default().to_owned() });
    };
    if secret.is_some() || lines.next().is_some() {
        return Err(Fault::InvalidRequest.because("Authenticate in one way."));
    }
    let (basic_id, secret) = basic(line.as_bytes())
        .ok_or_else(|| Fault::InvalidClient.because("Authorization is no HTTP Basic."))?;
    if id.is_some_and(|id| id != basic_id) {
        return Err(Fault::InvalidRequest.because("client_id is not that of the Authorization header."));
    }
    Ok(Credentials { id: basic_id, method: AuthMethod::Basic, secret })
}

/// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
fn basic(line: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = line.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let joined = BASE64.decode(encoded.trim_ascii()).ok()?;
    let at = joined.iter().position(|b| *b == b':')?;
    let (id, secret) = (decode(&joined[..at])?, decode(&joined[at + 1..])?);
    (!id.is_empty() && !secret.is_empty()).then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oat_04_basic_is_read_as_the_rfc_writes_it() {
        let line = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        let read = |text: &str| basic(text.as_bytes());
        assert_eq!(read(&line("id:secret")), Some(("id".into(), "secret".into())));
        assert_eq!(read(&line("a%3Ab:s+e%2B")), Some(("a:b".into(), "s e+".into())));
        assert_eq!(read(&line("id:a:b")), Some(("id".into(), "a:b".into())));
        let lower = line("id:secret").replace("Basic", "bAsIc");
        assert!(read(&lower).is_some());
        for bad in ["", "Basic", "Basic ", "Bearer x", "Basic !", &line("nothing"), &line("id:"), &line(":s")]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&line("id:%zz")), None);
    }
}

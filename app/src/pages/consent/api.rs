//! The server function of the consent page. The answer to it is a plain form, which the authorization server takes.

#![expect(missing_docs, reason = "the fields that #[server] makes are the arguments")]

use leptos::prelude::*;
use model::{AppError, oauth::Consent};

/// What is asked, or in words why it cannot be answered any more.
pub type Asked = Result<Consent, AppError>;

/// Loads what a client asks for. `request` is the value of the stored request.
#[server(prefix = "/api", endpoint = "load_consent")]
pub async fn load_consent(request: String) -> Result<Asked, AppError> {
    use model::ErrorKind;

    let ctx = crate::ssr::ctx()?;
    let told = crate::ssr::told(&ctx);
    // First who it is. What else stands between a person and their organisations, such as a second factor or an
    // allowlist of addresses, is asked here as well: before anything of the request is told.
    domain::orgs::me(&ctx).await.map_err(&told)?;
    match domain::oauth::consent::view(&ctx, &request).await.map_err(&told) {
        Ok(consent) => {
            let target = domain::oauth::consent::form_target(&ctx, &request).await.map_err(&told)?;
            crate::ssr::allow_form_target(&target);
            Ok(Ok(consent))
        }
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::Internal | ErrorKind::Unavailable | ErrorKind::Unauthenticated
            ) || ["mfa_enrollment_required", "ip_not_allowed"].contains(&error.code.as_str()) =>
        {
            Err(error)
        }
        Err(error) => Ok(Err(error)),
    }
}

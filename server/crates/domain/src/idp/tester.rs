//! What is wrong with a token. It is looked at and forgotten: neither stored nor logged.

use model::{permissions::can, sso::TokenTest};

use super::{config, verify};
use crate::{Env, Error, OrgActor, Result};

/// Judges a pasted token by the organisation's configuration, also while that is switched off.
pub async fn test(env: &Env, actor: &OrgActor<can::SsoManage>, token: &str) -> Result<TokenTest> {
    let row = {
        let mut tx = env.db.read().await?;
        let row = store::identity_providers::find(&mut tx, actor.org()).await?;
        let row = row.ok_or_else(|| Error::not_found("identity provider"))?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        // Under another plan the endpoint accepts none of them, whatever a look at one would say.
        config::entitled(org.ok_or_else(|| Error::not_found("organisation"))?.plan)?;
        row
    };
    let provider = config::plane(actor.org(), &row)?;
    // People copy it with the scheme, with quotes, or as part of a header.
    let token = token.trim().trim_matches(['"', '\'']);
    let token = token.strip_prefix("Authorization:").unwrap_or(token).trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
    let (checks, judged) = verify::explained(env, &provider, token).await;
    Ok(TokenTest { checks, subject: judged.ok().map(|subject| subject.subject), enabled: row.enabled })
}

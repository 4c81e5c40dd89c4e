//! Another slug for an organisation, by the operator. Its endpoints move with it, so whatever was made for the old address
//! dies: access tokens name it as their audience, and connections were consented to it. Keys work at the new one. The old
//! slug is never given to anybody again, because old clients would send their secrets to its next owner (TEN-05).

use model::{orgs::Org, permissions::can};

use crate::{
    Env, Error, OrgActor, Result,
    change::Event,
    oauth_clients,
    orgs::{self, parse_slug, slug_taken},
};

const REASON: &str = "The organisation has another address";

/// Gives an organisation another slug. Answers with it and with how many connections were revoked.
pub async fn rename(env: &Env, from: &str, to: &str) -> Result<(Org, i64)> {
    let found = orgs::find_by_slug(env, from).await?;
    let slug = parse_slug("to", to)?;
    if slug == found.slug {
        return Ok((found, 0));
    }
    let mut change = env.change(&OrgActor::<can::OrgUpdate>::operator(found.id)).await?;
    let old = store::orgs::find(change.tx(), found.id).await?;
    let old = old.filter(|org| org.slug == found.slug).ok_or_else(|| Error::not_found("organisation"))?;
    if store::orgs::is_buried(change.tx(), slug.as_str()).await?
        || store::orgs::find_by_slug(change.tx(), &slug).await?.is_some()
    {
        return Err(slug_taken("to"));
    }
    match store::orgs::set_slug(change.tx(), old.id, &slug).await {
        Err(store::Error::Taken(_)) => return Err(slug_taken("to")),
        done => done?,
    }
    store::orgs::bury_slug(change.tx(), old.slug.as_str(), env.now()).await?;
    let revoked = oauth_clients::cut(env, &mut change, old.id, "operator", REASON, |_| true).await?;
    let event = Event::new("org.renamed")
        .target("org", old.id, &old.name)
        .changed("slug", old.slug.as_str(), slug.as_str())
        .with("connections_revoked", revoked);
    change.commit(event).await?;
    Ok((Org { slug, ..old }, revoked))
}

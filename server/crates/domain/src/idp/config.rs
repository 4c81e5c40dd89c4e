//! Configuring a provider, and what is refused (IDP-02).

use model::{
    AppError, ErrorKind, IdentityProviderId, OrgId, paths,
    permissions::can,
    sso::{ClaimRule, Discovered, IdentityProvider, IdpRules, KeySet, MAX_ADDRESS, MAX_RULES, SsoPage},
    text,
};
use serde_json::Value;
use store::identity_providers::IdentityProvider as Row;
use url::{Host, Url};

use super::{
    PlaneIdp,
    fetch::{self, FetchError},
    jwks::{Fetched, Jwks},
};
use crate::{Env, Error, OrgActor, Result, both, change::Event};

/// The most claim rules, and values of one.
const MOST_RULES: usize = 16;
/// Claims that tell the customers of one issuer apart.
const TELLING: &[&str] = &[
    "tid",
    "hd",
    "sub",
    "client_id",
    "azp",
    "appid",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "project_id",
    "project_path",
    "namespace_id",
    "namespace_path",
    "organization_id",
    "organization_slug",
    "terraform_organization_id",
];

/// What a person enters.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The issuer, byte for byte.
    pub issuer: String,
    /// Where the keys are; empty to have it discovered.
    pub jwks_uri: String,
    /// The audience.
    pub audience: String,
    /// Claim rules, a line each: `claim = value, value`.
    pub claims: String,
    /// A scope that tokens need; empty for none.
    pub scope: String,
    /// Whether ID tokens pass.
    pub id_tokens: bool,
    /// Whether tokens are accepted.
    pub enabled: bool,
}

/// The provider in the organisation's snapshot.
pub(crate) fn plane(org: OrgId, row: &Row) -> Result<PlaneIdp> {
    Ok(PlaneIdp {
        org,
        id: row.id,
        issuer: row.issuer.clone(),
        jwks_uri: row.jwks_uri.clone(),
        audience: row.audience.clone(),
        rules: rules_of(row)?,
    })
}

fn rules_of(row: &Row) -> Result<IdpRules> {
    // Rules that cannot be read must not become no rules.
    serde_json::from_str(&row.rules)
        .map_err(|_| Error::Internal(format!("the rules of {} cannot be read", row.id)))
}

fn listed(row: Row) -> Result<IdentityProvider> {
    Ok(IdentityProvider {
        rules: rules_of(&row)?,
        id: row.id,
        issuer: row.issuer,
        jwks_uri: row.jwks_uri,
        audience: row.audience,
        enabled: row.enabled,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    })
}

/// Everything the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::SsoRead>) -> Result<SsoPage> {
    let (org, row) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        (org, store::identity_providers::find(&mut tx, actor.org()).await?)
    };
    let org = org.ok_or_else(|| Error::not_found("organisation"))?;
    let keys = match &row {
        Some(row) => env.jwks.known(&plane(org.id, row)?),
        None => KeySet::default(),
    };
    Ok(SsoPage {
        plan: org.plan,
        provider: row.map(listed).transpose()?,
        keys,
        endpoint: env.settings.absolute(&paths::mcp(org.slug.as_str())),
        now: env.now(),
    })
}

/// What the provider says about itself.
pub async fn discover(env: &Env, _: &OrgActor<can::SsoManage>, issuer: &str) -> Result<Discovered> {
    let issuer = checked_issuer(env, issuer)?;
    match discovered(env, &issuer).await? {
        Ok(found) => Ok(found),
        Err(why) => Err(AppError::field(
            "issuer",
            "discovery_failed",
            format!("No discovery document was found below this issuer. {why} Check the issuer, or enter the JWKS URI yourself"),
        )
        .into()),
    }
}

/// Makes the provider, or changes it. What is at the addresses is looked at before anything is kept.
pub async fn put(env: &Env, actor: &OrgActor<can::SsoManage>, input: &Input) -> Result<IdentityProvider> {
    let (org, old) = {
        let mut tx = env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        (org, store::identity_providers::find(&mut tx, actor.org()).await?)
    };
    let org = org.ok_or_else(|| Error::not_found("organisation"))?;
    entitled(org.plan)?;
    let ((issuer, audience), (claims, scope)) = both(
        both(checked_issuer(env, &input.issuer), checked_audience(env, &input.audience, org.slug.as_str())),
        both(checked_claims(&input.claims), checked_scope(&input.scope)),
    )?;
    let rules = IdpRules { claims, scope, id_tokens: input.id_tokens };
    told_apart(&issuer, &rules)?;
    let (jwks_uri, fetched) = addresses(env, &issuer, &input.jwks_uri, old.as_ref()).await?;

    let mut change = env.change(actor).await?;
    let old = store::identity_providers::find(change.tx(), actor.org()).await?;
    let now = env.now();
    let row = Row {
        id: old.as_ref().map_or_else(|| IdentityProviderId::from_uuid(env.uuid()), |old| old.id),
        issuer,
        jwks_uri,
        audience,
        enabled: input.enabled,
        rules: serde_json::to_string(&rules).map_err(|why| Error::Internal(why.to_string()))?,
        created_at: old.as_ref().map_or(now, |old| old.created_at),
        updated_at: now,
        updated_by: actor.principal().name().to_owned(),
    };
    store::identity_providers::put(change.tx(), actor.org(), &row).await.map_err(taken)?;
    let was = |value: fn(&Row) -> Value| old.as_ref().map_or(Value::Null, value);
    let event = Event::new(if old.is_some() { "sso.updated" } else { "sso.configured" })
        .target("identity_provider", row.id, &row.issuer)
        .changed("issuer", was(|row| row.issuer.as_str().into()), row.issuer.as_str())
        .changed("jwks_uri", was(|row| row.jwks_uri.as_str().into()), row.jwks_uri.as_str())
        .changed("audience", was(|row| row.audience.as_str().into()), row.audience.as_str())
        .changed("rules", was(|row| row.rules.as_str().into()), row.rules.as_str())
        .changed("enabled", was(|row| row.enabled.into()), row.enabled);
    change.commit(event).await?;
    if let Some(fetched) = fetched {
        env.jwks.put(env, &plane(actor.org(), &row)?, fetched);
    }
    listed(row)
}

/// Switches the provider on or off. Off works on the next request (IDP-05).
pub async fn set_enabled(env: &Env, actor: &OrgActor<can::SsoManage>, enabled: bool) -> Result<()> {
    let mut change = env.change(actor).await?;
    let org = store::orgs::find(change.tx(), actor.org()).await?;
    if enabled {
        entitled(org.ok_or_else(|| Error::not_found("organisation"))?.plan)?;
    }
    let row = store::identity_providers::find(change.tx(), actor.org()).await?;
    let row = row.ok_or_else(|| Error::not_found("identity provider"))?;
    let row = Row { enabled, updated_at: env.now(), updated_by: actor.principal().name().to_owned(), ..row };
    store::identity_providers::put(change.tx(), actor.org(), &row).await.map_err(taken)?;
    let action = if enabled { "sso.enabled" } else { "sso.disabled" };
    change.commit(Event::new(action).target("identity_provider", row.id, &row.issuer)).await
}

/// Deletes the provider. Its tokens are refused on the next request.
pub async fn delete(env: &Env, actor: &OrgActor<can::SsoManage>) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = store::identity_providers::find(change.tx(), actor.org()).await?;
    let row = row.ok_or_else(|| Error::not_found("identity provider"))?;
    store::identity_providers::delete(change.tx(), actor.org()).await?;
    change.commit(Event::new("sso.deleted").target("identity_provider", row.id, &row.issuer)).await
}

pub(crate) fn entitled(plan: model::Plan) -> Result<()> {
    if plan.own_identity_provider() {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::Forbidden,
        "plan",
        format!(
            "The plan {plan} does not include an own identity provider; Enterprise does. Nothing was changed."
        ),
    )
    .into())
}

fn taken(error: store::Error) -> Error {
    match error {
        store::Error::Taken(_) => AppError::field(
            "audience",
            "audience_taken",
            "Another organisation accepts this audience from this issuer. Use one of your own, such as your endpoint URL",
        )
        .into(),
        other => other.into(),
    }
}

/// An address as it is typed, trimmed, and as a URL.
fn address(env: &Env, field: &'static str, what: &str, text: &str) -> Result<(String, Url)> {
    let refuse = |code: &str, message: String| AppError::field(field, code, message);
    let text = text.trim();
    if text.is_empty() {
        return Err(refuse("required", format!("Enter the {what}")).into());
    }
    if text.chars().count() > MAX_ADDRESS || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(refuse(
            "url",
            format!("Use at most {MAX_ADDRESS} letters, digits and signs, without spaces"),
        )
        .into());
    }
    let url = Url::parse(text)
        .map_err(|_| refuse("url", "Enter a whole URL that begins with https://".to_owned()))?;
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return Err(refuse("url", "Enter a URL that begins with https://".to_owned()).into());
    }
    if url.fragment().is_some() {
        return Err(refuse("url", "Leave the part after # out of the URL".to_owned()).into());
    }
    env.outbound.check_url(&url).map_err(|why| refuse(why.class(), why.to_string()))?;
    Ok((text.to_owned(), url))
}

pub(crate) fn checked_issuer(env: &Env, text: &str) -> Result<String> {
    let (issuer, url) = address(env, "issuer", "issuer, such as https://id.example.com", text)?;
    if url.query().is_some() {
        return Err(AppError::field("issuer", "url", "Leave the part after ? out of the issuer").into());
    }
    // By origin, so that no spelling of our own address gets through.
    if url.origin() == env.settings.public_url.origin() {
        return Err(AppError::field(
            "issuer",
            "own_issuer",
            "This is Gatehouse itself, whose tokens are accepted anyway. Enter the issuer of your identity provider",
        )
        .into());
    }
    Ok(issuer)
}

fn checked_audience(env: &Env, text: &str, slug: &str) -> Result<String> {
    let refuse = |code: &str, message: &str| AppError::field("audience", code, message).into();
    let audience = text.trim();
    if audience.is_empty() {
        return Err(refuse("required", "Enter the audience that tokens for this endpoint name"));
    }
    if audience.contains('*') {
        return Err(refuse("audience", "Enter one audience: there are no wildcards"));
    }
    if audience.chars().count() > MAX_ADDRESS
        || audience.chars().any(|c| c.is_whitespace() || !text::printable(c))
    {
        return Err(refuse("audience", "Use at most 512 letters, digits and signs, without spaces"));
    }
    // Tokens for another organisation's endpoint are not ours to take.
    let own = env.settings.absolute(&paths::mcp(slug));
    let ours = audience == own || audience.strip_prefix(&own).is_some_and(|rest| rest.starts_with('/'));
    let here = Url::parse(audience).is_ok_and(|url| url.origin() == env.settings.public_url.origin());
    if here && !ours {
        return Err(refuse(
            "audience_foreign",
            "This address is not your endpoint. Use your endpoint URL, or a name of your own",
        ));
    }
    Ok(audience.to_owned())
}

fn checked_claims(text: &str) -> Result<Vec<ClaimRule>> {
    let refuse = |message: String| Err(AppError::field("claims", "claims", message).into());
    if text.chars().count() > MAX_RULES {
        return refuse(format!("Use at most {MAX_RULES} characters"));
    }
    let mut rules: Vec<ClaimRule> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((claim, values)) = line.split_once('=') else {
            return refuse(format!("Write {line} as a rule: claim = value, or several values with commas"));
        };
        let claim = claim.trim();
        let values: Vec<String> =
            values.split(',').map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect();
        if claim.is_empty() || claim.chars().any(char::is_whitespace) {
            return refuse(format!("Begin the rule {line} with the name of a claim"));
        }
        if values.is_empty() {
            return refuse(format!("Give the claim {claim} at least one value"));
        }
        if values.iter().any(|value| value == "*") {
            return refuse(format!("Give the claim {claim} values: there are no wildcards"));
        }
        if rules.len() == MOST_RULES || values.len() > MOST_RULES {
            return refuse(format!("Use at most {MOST_RULES} rules of {MOST_RULES} values"));
        }
        if rules.iter().any(|rule| rule.claim == claim) {
            return refuse(format!("Put all values of {claim} into one rule"));
        }
        if !line.chars().all(text::printable) {
            return refuse("Use letters, digits, spaces and punctuation only".to_owned());
        }
        rules.push(ClaimRule { claim: claim.to_owned(), values });
    }
    Ok(rules)
}

fn checked_scope(text: &str) -> Result<String> {
    let scope = text.trim();
    // RFC 6749 §3.3.
    let fits =
        scope.len() <= 256 && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E));
    if !fits {
        return Err(AppError::field("scope", "scope", "Enter one scope, without spaces or quotes").into());
    }
    Ok(scope.to_owned())
}

/// An issuer whose tokens anybody can get needs a rule that says whose are meant.
fn told_apart(issuer: &str, rules: &IdpRules) -> Result<()> {
    let shared = Url::parse(issuer).is_ok_and(|url| is_shared(&url));
    if shared && !rules.claims.iter().any(|rule| TELLING.contains(&rule.claim.as_str())) {
        return Err(AppError::field(
            "claims",
            "shared_issuer",
            "Anybody can get tokens from this issuer. Add a rule that says whose are meant, such as tid = your tenant, hd = your domain, repository_owner = your name, or a list of sub or client_id",
        )
        .into());
    }
    Ok(())
}

fn is_shared(issuer: &Url) -> bool {
    let Some(Host::Domain(host)) = issuer.host() else { return false };
    let first = issuer.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    match host.trim_end_matches('.') {
        "accounts.google.com"
        | "token.actions.githubusercontent.com"
        | "gitlab.com"
        | "app.terraform.io"
        | "agent.buildkite.com"
        | "api.bitbucket.org"
        | "appleid.apple.com"
        | "www.facebook.com"
        | "www.linkedin.com"
        | "slack.com"
        | "accounts.spotify.com"
        | "id.twitch.tv" => true,
        "login.microsoftonline.com" | "login.windows.net" | "sts.windows.net" | "login.microsoft.com" => {
            // The last is the tenant of everybody's private accounts.
            ["common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"]
                .contains(&first.to_ascii_lowercase().as_str())
        }
        _ => false,
    }
}

/// The discovery document of an issuer: that of `OpenID` Connect, else that of RFC 8414. Whether there is one is the
/// inner result; one that names another issuer is refused.
async fn discovered(env: &Env, issuer: &str) -> Result<core::result::Result<Discovered, FetchError>> {
    let base = issuer.trim_end_matches('/');
    let mut places = vec![format!("{base}/.well-known/openid-configuration")];
    if let Ok(url) = Url::parse(base) {
        let origin = url.origin().ascii_serialization();
        places.push(format!(
            "{origin}/.well-known/oauth-authorization-server{}",
            url.path().trim_end_matches('/')
        ));
    }
    let mut first = None;
    for place in places {
        match fetch::object(env, &place).await {
            Ok((_, document)) => {
                let text = |name: &str| {
                    let text = document.get(name).and_then(Value::as_str)?;
                    (text.len() <= MAX_ADDRESS && text.chars().all(|c| c.is_ascii_graphic())).then_some(text)
                };
                let Some(found) = text("issuer") else {
                    first.get_or_insert(FetchError::Content);
                    continue;
                };
                if found != issuer {
                    return Err(AppError::field(
                        "issuer",
                        "issuer_mismatch",
                        format!("The provider calls itself {found}. Enter the issuer exactly as it does"),
                    )
                    .into());
                }
                let Some(jwks_uri) = text("jwks_uri") else {
                    first.get_or_insert(FetchError::Content);
                    continue;
                };
                return Ok(Ok(Discovered { issuer: found.to_owned(), jwks_uri: jwks_uri.to_owned() }));
            }
            Err(why) => {
                first.get_or_insert(why);
                if why.is_blocked() {
                    break;
                }
            }
        }
    }
    Ok(Err(first.unwrap_or(FetchError::Content)))
}

/// Where the keys are, looked at: what is typed, else what is discovered. What did not change is not asked again, so
/// that a provider that is down just now does not stand in the way of another change.
async fn addresses(
    env: &Env,
    issuer: &str,
    typed: &str,
    old: Option<&Row>,
) -> Result<(String, Option<Fetched>)> {
    let typed = typed.trim();
    let known = old.filter(|old| old.issuer == issuer);
    let found = match known {
        Some(_) if !typed.is_empty() => None,
        _ => Some(discovered(env, issuer).await?),
    };
    // A name that might lead to an allowed destination is judged by where it leads, so without an answer it is not known
    // to be one; and only there is http good enough.
    if let Some(Err(FetchError::Net(why))) = &found
        && !issuer.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    {
        return Err(AppError::field("issuer", why.class(), why.to_string()).into());
    }
    let jwks_uri = match (typed.is_empty(), found) {
        (false, _) => address(env, "jwks_uri", "JWKS URI", typed)?.0,
        (true, Some(Ok(found))) => address(env, "jwks_uri", "JWKS URI", &found.jwks_uri)?.0,
        (true, Some(Err(why))) => {
            return Err(AppError::field(
                "jwks_uri",
                "discovery_failed",
                format!("Enter the JWKS URI: it could not be discovered. {why}"),
            )
            .into());
        }
        (true, None) => return Err(AppError::field("jwks_uri", "required", "Enter the JWKS URI").into()),
    };
    if known.is_some_and(|old| old.jwks_uri == jwks_uri) {
        return Ok((jwks_uri, None));
    }
    let at_field = |code: &str, message: String| AppError::field("jwks_uri", code, message);
    let (usable, fetched) = Jwks::try_out(env, &jwks_uri).await.map_err(|why| {
        let code = if why.is_blocked() { "blocked_destination" } else { "jwks" };
        at_field(code, format!("No keys could be fetched from here. {why}"))
    })?;
    if usable == 0 {
        return Err(at_field(
            "jwks_empty",
            "This key set has no RSA key for RS256 signatures. Check the URI, and the signing algorithm at the provider"
                .to_owned(),
        )
        .into());
    }
    Ok((jwks_uri, Some(fetched)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idp_02_issuers_that_everybody_shares_are_known() {
        for shared in [
            "https://accounts.google.com",
            "https://ACCOUNTS.google.com/",
            "https://accounts.google.com.",
            "https://login.microsoftonline.com/common/v2.0",
            "https://login.microsoftonline.com/Organizations/v2.0",
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
            "https://token.actions.githubusercontent.com",
        ] {
            assert!(is_shared(&Url::parse(shared).unwrap()), "{shared}");
        }
        for own in [
            "https://login.microsoftonline.com/6babcaad-604b-40ac-a9d7-9fd97c0b779f/v2.0",
            "https://acme.okta.com/oauth2/default",
            "https://accounts.google.com.evil.example",
        ] {
            assert!(!is_shared(&Url::parse(own).unwrap()), "{own}");
        }
    }

    #[test]
    fn idp_06_rules_are_lines_of_a_claim_and_its_values() {
        let rules = checked_claims("tid = a-1\n\n hd=acme.example , acme.test \r\n").unwrap();
        assert_eq!(rules[0], ClaimRule { claim: "tid".into(), values: vec!["a-1".into()] });
        assert_eq!(rules[1].values, ["acme.example", "acme.test"]);
        let text = IdpRules { claims: rules.clone(), ..IdpRules::default() }.claims_text();
        assert_eq!(checked_claims(&text).unwrap(), rules);
        for bad in ["tid", "= x", "tid =", "tid = ,", "tid = *", "a b = c", "tid = 1\ntid = 2"] {
            assert!(checked_claims(bad).is_err(), "{bad}");
        }
        assert!(checked_scope("mcp:call").is_ok() && checked_scope(" ").is_ok());
        assert!(checked_scope("a b").is_err() && checked_scope("a\"b").is_err());
    }
}

//! The domains of addresses whose people come by the organisation's provider. A TXT record proves one; whoever proved it
//! has it alone.

use model::{
    AppError, ErrorKind, SsoDomainId,
    permissions::can,
    sso_login::{DomainSeen, LoginDomain, MOST_DOMAINS},
};
use store::sso_domains::SsoDomain;
use url::Host;

use crate::{Env, Error, OrgActor, Result, change::Event, idp::config::entitled, net::NetError, throttle};

const MINUTE: i64 = 60 * 1000;
/// Questions to the name server that an organisation may have in a minute.
const QUESTIONS: i64 = 30;
/// TXT records that are shown, and how much of each, characters.
const SHOWN: usize = 10;
const SHOWN_CHARS: usize = 120;

fn record(domain: &str) -> String {
    format!("_gatehouse-verify.{domain}")
}

fn value(row: &SsoDomain) -> String {
    format!("gatehouse-sso={}", row.token)
}

pub(super) fn listed(row: SsoDomain) -> LoginDomain {
    LoginDomain {
        record: record(&row.domain),
        value: value(&row),
        id: row.id,
        domain: row.domain,
        verified_at: row.verified_at,
        missing_since: row.missing_since,
        lapsed_at: row.lapsed_at,
    }
}

/// Whether the record that proves a domain is there at this moment, and what is.
///
/// # Errors
/// When the name server does not answer.
pub(super) async fn is_proof(
    env: &Env,
    row: &SsoDomain,
) -> core::result::Result<(bool, Vec<String>), NetError> {
    let found = env.outbound.txt(&record(&row.domain)).await?;
    let wanted = value(row);
    Ok((found.iter().any(|text| text.trim() == wanted), found))
}

/// A domain in the form in which it is compared: lower case, ASCII, with a dot in it and without one at the end.
pub(crate) fn normal(text: &str) -> Option<String> {
    let Ok(Host::Domain(host)) = Host::parse(text.trim().trim_end_matches('.')) else { return None };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // Room for the name of the record.
    (host.len() <= 200 && host.contains('.') && host.split('.').all(label)).then_some(host)
}

/// The domain of an address.
pub(super) fn of_address(email: &str) -> Option<String> {
    normal(email.rsplit_once('@')?.1)
}

/// Claims a domain. It counts for nothing before it is proven.
pub async fn add(env: &Env, actor: &OrgActor<can::SsoManage>, domain: &str) -> Result<()> {
    let refuse = |code: &str, message: &str| AppError::field("domain", code, message);
    let typed = domain.trim().trim_start_matches('@');
    if typed.is_empty() {
        return Err(
            refuse("required", "Enter the domain of your people's addresses, such as acme.com").into()
        );
    }
    let domain = normal(typed).ok_or_else(|| {
        refuse("domain", "Enter a domain like acme.com, without https:// and without a path")
    })?;
    let mut change = env.change(actor).await?;
    let org = store::orgs::find(change.tx(), actor.org()).await?;
    entitled(org.ok_or_else(|| Error::not_found("organisation"))?.plan)?;
    if store::sso_domains::list(change.tx(), actor.org()).await?.len() >= MOST_DOMAINS {
        return Err(refuse("too_many", "An organisation has at most 50 domains. Remove one first").into());
    }
    let row = SsoDomain {
        id: SsoDomainId::from_uuid(env.uuid()),
        token: env.token(),
        verified_at: None,
        created_at: env.now(),
        checked_at: 0,
        missing_since: None,
        lapsed_at: None,
        domain,
    };
    match store::sso_domains::insert(change.tx(), actor.org(), &row).await {
        Err(store::Error::Taken(_)) => {
            return Err(refuse("domain_taken", "This domain is in the list already").into());
        }
        done => done?,
    }
    change.commit(Event::new("sso.domain_added").target("sso_domain", row.id, &row.domain)).await
}

fn taken(domain: &str) -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "domain_taken",
        format!(
            "Another organisation of this instance has proven {domain}. Nothing was changed: ask its owners, or whoever operates this instance, to give it up."
        ),
    )
    .into()
}

/// Asks the name server at this moment. Answers with what is there, and notes it when that proves the domain.
pub async fn check(env: &Env, actor: &OrgActor<can::SsoManage>, id: SsoDomainId) -> Result<DomainSeen> {
    let org = actor.org();
    let row = {
        let mut tx = env.db.read().await?;
        let plan =
            store::orgs::find(&mut tx, org).await?.ok_or_else(|| Error::not_found("organisation"))?.plan;
        let row = store::sso_domains::find(&mut tx, org, id).await?;
        let row = row.ok_or_else(|| Error::not_found("domain"))?;
        entitled(plan)?;
        row
    };
    throttle::take_of(env, format!("sso:dns:{org}"), QUESTIONS, MINUTE).await?;
    let (verified, found) = is_proof(env, &row).await.map_err(|_| {
        AppError::new(
            ErrorKind::Unavailable,
            "dns",
            "The name server did not answer. Nothing was changed; try again in a minute.",
        )
    })?;
    let cut = |text: String| text.chars().take(SHOWN_CHARS).collect();
    let seen = DomainSeen {
        domain: row.domain.clone(),
        found: found.into_iter().take(SHOWN).map(cut).collect(),
        verified,
    };
    if !verified || (row.verified_at.is_some() && row.missing_since.is_none()) {
        return Ok(seen);
    }
    let mut change = env.change(actor).await?;
    if row.verified_at.is_some() {
        store::sso_domains::set_missing(change.tx(), org, id, None).await?;
        change.commit(Event::new("sso.domain_found").target("sso_domain", id, &row.domain)).await?;
        return Ok(seen);
    }
    match store::sso_domains::set_verified(change.tx(), org, id, env.now()).await {
        Err(store::Error::Taken(_)) => return Err(taken(&row.domain)),
        // Removed, or proven by somebody else of the organisation, meanwhile.
        Ok(false) => return Ok(seen),
        done => done?,
    };
    change.commit(Event::new("sso.domain_verified").target("sso_domain", id, &row.domain)).await?;
    Ok(seen)
}

/// Gives a domain up. Its people cannot find the way to the provider any more.
pub async fn remove(env: &Env, actor: &OrgActor<can::SsoManage>, id: SsoDomainId) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let all = store::sso_domains::list(change.tx(), org).await?;
    let row = all.iter().find(|row| row.id == id).ok_or_else(|| Error::not_found("domain"))?;
    let last = row.verified_at.is_some() && all.iter().filter(|row| row.verified_at.is_some()).count() == 1;
    if last && super::is_required(change.tx(), org).await? {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "last_domain",
            "Members have to log in with SSO, and this is the last proven domain: nobody could any more. Nothing was changed; make SSO optional first.",
        )
        .into());
    }
    store::sso_domains::delete(change.tx(), org, id).await?;
    change.commit(Event::new("sso.domain_removed").target("sso_domain", id, &row.domain)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_compared_in_one_form() {
        assert_eq!(normal(" ACME.Example. ").as_deref(), Some("acme.example"));
        assert_eq!(normal("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(of_address("Ada@Acme.Example").as_deref(), Some("acme.example"));
        assert_eq!(of_address("\"a@evil.example\"@acme.example").as_deref(), Some("acme.example"));
        for bad in [
            "",
            "acme",
            "https://acme.example",
            "acme.example/x",
            "127.0.0.1",
            "[::1]",
            "a..b",
            "-a.example",
            "a_b.example",
        ] {
            assert_eq!(normal(bad), None, "{bad}");
        }
        assert_eq!(of_address("nobody"), None);
    }
}

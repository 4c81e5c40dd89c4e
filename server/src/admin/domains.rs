//! Steps on domains of organisations' own.

use domain::{Env, Error, OrgActor, custom_domain, orgs};
use serde_json::{Value, json};

use super::Done;
use crate::cli::{DomainCommand, Output};

/// The domain, its records and how it stands.
async fn shown(env: &Env, org: model::OrgId) -> Result<Value, Error> {
    let page = custom_domain::page(env, &OrgActor::operator(org)).await?;
    Ok(match page.domain {
        None => json!({"host": null, "target": page.target}),
        Some(domain) => json!({
            "host": domain.host,
            "state": domain.state,
            "endpoint": domain.endpoint,
            "cname": {"name": domain.host, "value": page.target},
            "txt": {"name": domain.record, "value": domain.value},
            "seen": domain.seen,
        }),
    })
}

pub(super) async fn domain(env: &Env, command: DomainCommand) -> Done {
    let (slug, output): (&str, Output) = match &command {
        DomainCommand::Show { org, output }
        | DomainCommand::Add { org, output, .. }
        | DomainCommand::Verify { org, output }
        | DomainCommand::Remove { org, output } => (org, *output),
    };
    let org = orgs::find_by_slug(env, slug).await?.id;
    match &command {
        DomainCommand::Show { .. } => {}
        DomainCommand::Add { host, .. } => {
            custom_domain::add(env, &OrgActor::operator(org), host).await?;
        }
        DomainCommand::Verify { .. } => {
            custom_domain::verify(env, &OrgActor::operator(org)).await?;
        }
        DomainCommand::Remove { .. } => {
            custom_domain::remove(env, &OrgActor::operator(org), None).await?;
        }
    }
    Ok((shown(env, org).await?, output))
}

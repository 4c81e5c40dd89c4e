//! `gatehouse admin …`: the steps of scripts. They go through the same rules as pages do, with the operator's authority.

mod data;
mod domains;
mod people;

use std::io::Read as _;

use domain::{
    Env, Error, OrgActor,
    api_keys::{self, NewKey},
    connectors::{self, NewConnector},
    oauth_clients::{self, NewClient, Proof},
    orgs::{self, OperatorChanges},
    usage,
};
use model::{
    Plan, Scope,
    api_keys::KeyScope,
    connectors::STDIO,
    orgs::{KeyVisibility, Org},
    permissions::can,
    plan::Override,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    cli::{
        AdminCommand, ApiKeyCommand, ConnectorCommand, OauthClientCommand, OnlyOff, OrgCommand, Output,
        SecretIn, Switch, TransportName, Visibility,
    },
    config::Config,
    serve,
};

/// Does one step and prints what came of it.
pub async fn run(config: &Config, command: AdminCommand) -> Result<(), String> {
    let env = serve::environment(config).await?;
    let done = step(&env, command).await.map_err(words);
    env.upstreams.end().await;
    let (answer, output) = done?;
    env.db.close().await;
    print(&answer, output);
    Ok(())
}

/// A failure as one sentence.
pub(crate) fn words(error: Error) -> String {
    let app = error.into_app("");
    // Every field's own sentence, not only the first.
    if app.fields.len() > 1 {
        return app
            .fields
            .iter()
            .map(|field| format!("{}: {}", field.field, field.message))
            .collect::<Vec<_>>()
            .join("; ");
    }
    match app.fields.first() {
        Some(field) => format!("{}: {}", field.field, field.message),
        None => app.message,
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command goes to standard output")]
fn print(answer: &Value, output: Output) {
    if output.json {
        println!("{answer}");
        return;
    }
    for (key, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => println!("{key}: {text}"),
            other => println!("{key}: {other}"),
        }
    }
}

fn password(argument: String) -> Result<SecretString, Error> {
    if argument != "-" {
        return Ok(SecretString::from(argument));
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|why| Error::Internal(format!("standard input: {why}")))?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What a step answers, and how.
type Done = Result<(Value, Output), Error>;

fn refused(message: impl Into<String>) -> Error {
    model::AppError::new(model::ErrorKind::Invalid, "argument", message).into()
}

fn plan(name: Option<&str>) -> Result<Option<Plan>, Error> {
    name.map(|name| Plan::parse(name).ok_or_else(|| refused("--plan must be free, pro, team or enterprise")))
        .transpose()
}

/// The largest limit that can be set: a billion.
const MOST: u64 = 1_000_000_000;

/// A limit as it is typed: a number, `plan` or `unlimited`.
fn limit<T: TryFrom<u64>>(
    option: &str,
    text: Option<&str>,
    least: u64,
) -> Result<Option<Override<T>>, Error> {
    let wrong =
        || refused(format!("{option} must be a whole number from {least} to {MOST}, 'plan' or 'unlimited'"));
    match text {
        None => Ok(None),
        Some("plan") => Ok(Some(Override::Plan)),
        Some("unlimited") => Ok(Some(Override::Unlimited)),
        Some(number) => {
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let limit = T::try_from(number).map_err(|_| wrong())?;
            if (least..=MOST).contains(&number) { Ok(Some(Override::At(limit))) } else { Err(wrong()) }
        }
    }
}

fn described(org: &Org) -> Value {
    json!({
        "id": org.id,
        "slug": org.slug,
        "name": org.name,
        "plan": org.plan,
        "key_visibility": org.key_visibility,
        "url_keys": if org.url_keys { "on" } else { "off" },
    })
}

async fn step(env: &Env, command: AdminCommand) -> Result<(Value, Output), Error> {
    use secrecy::ExposeSecret as _;
    match command {
        AdminCommand::Setup { email, password: given, org_name, org_slug, output } => {
            let secret = password(given)?;
            let (user, org) = domain::accounts::setup_by_operator(
                env,
                &email,
                secret.expose_secret(),
                &org_name,
                &org_slug,
            )
            .await?;
            Ok((
                json!({"user_id": user, "email": email, "org_id": org.id, "org_slug": org.slug, "endpoint": endpoint(env, &org)}),
                output,
            ))
        }
        AdminCommand::User(command) => people::user(env, command).await,
        AdminCommand::Sessions(command) => people::sessions(env, command).await,
        AdminCommand::Org(OrgCommand::Create { name, slug, owner, plan: wanted, output }) => {
            let wanted = plan(wanted.as_deref())?;
            let org = orgs::create_by_operator(env, &name, &slug, &owner, wanted).await?;
            Ok((described(&org), output))
        }
        AdminCommand::Org(OrgCommand::Set {
            org,
            plan: wanted,
            rate_per_minute,
            monthly_quota,
            key_visibility,
            url_keys,
            audit_days,
            session_timeout,
            require_mfa,
            ip_allowlist,
            output,
        }) => {
            let found = orgs::find_by_slug(env, &org).await?;
            if let Some(OnlyOff::Off) = ip_allowlist {
                domain::allowlist::turn_off_by_operator(env, found.id).await?;
            }
            if let Some(switch) = require_mfa {
                let on = switch == Switch::On;
                domain::org_security::set_require_mfa_by_operator(env, found.id, on).await?;
            }
            if let Some(minutes) = session_timeout {
                domain::sessions::set_timeout(env, &OrgActor::operator(found.id), minutes).await?;
            }
            if let Some(days) = audit_days {
                let operator = OrgActor::<can::OrgUpdate>::operator(found.id);
                domain::audit::set_days(env, &operator, Some(days).filter(|days| *days != 0)).await?;
            }
            // All of it is read before any of it is written.
            let rate = limit("--rate-per-minute", rate_per_minute.as_deref(), 1)?;
            let quota = limit("--monthly-quota", monthly_quota.as_deref(), 0)?;
            let changes = OperatorChanges {
                plan: plan(wanted.as_deref())?,
                key_visibility: key_visibility.map(|mode| match mode {
                    Visibility::Once => KeyVisibility::Once,
                    Visibility::Copyable => KeyVisibility::Copyable,
                }),
                url_keys: url_keys.map(|switch| switch == Switch::On),
            };
            orgs::set_by_operator(env, found.id, changes).await?;
            usage::set_limits(env, found.id, rate, quota).await?;
            let limits = usage::of_org(env, found.id).await?.limits;
            let mut answer = described(&orgs::find_by_slug(env, &org).await?);
            answer["rate_per_minute"] = json!(limits.key_per_minute);
            answer["monthly_quota"] = json!(limits.calls_per_month);
            Ok((answer, output))
        }
        AdminCommand::Org(OrgCommand::Rename { org, to, output }) => {
            people::rename(env, &org, &to, output).await
        }
        AdminCommand::Org(OrgCommand::Suspend { org, output }) => {
            people::suspend(env, &org, true, output).await
        }
        AdminCommand::Org(OrgCommand::Resume { org, output }) => {
            people::suspend(env, &org, false, output).await
        }
        AdminCommand::Org(OrgCommand::Member(command)) => people::member(env, command).await,
        AdminCommand::Org(OrgCommand::Invite(command)) => people::invite(env, command).await,
        AdminCommand::Connector(ConnectorCommand::Add {
            org,
            slug,
            name,
            url,
            transport,
            headers,
            no_prefix,
            output,
        }) => {
            let found = orgs::find_by_slug(env, &org).await?;
            let headers = headers
                .iter()
                .map(|line| {
                    let (name, value) = line
                        .split_once(':')
                        .ok_or_else(|| refused("--header must be of the form 'Name: value'"))?;
                    Ok((name.trim().to_owned(), SecretString::from(value.trim().to_owned())))
                })
                .collect::<Result<Vec<_>, Error>>()?;
            let url = match transport {
                TransportName::Stdio => format!("{STDIO}{}", url.trim_start_matches(STDIO)),
                TransportName::Http | TransportName::Sse => url,
            };
            let new = NewConnector {
                name,
                slug,
                description: String::new(),
                url,
                headers,
                even_if_unreachable: true,
            };
            let operator = OrgActor::<can::ConnectorsWrite>::operator(found.id);
            let connector = connectors::add(env, &operator, &new).await?;
            if no_prefix {
                connectors::set_unprefixed(env, &operator, connector.id, true).await?;
            }
            Ok((
                json!({
                    "id": connector.id,
                    "slug": connector.slug,
                    "name": connector.name,
                    "health": connector.health,
                    "error": connector.health_error,
                    "tools": connector.tools_total,
                }),
                output,
            ))
        }
        AdminCommand::Export { org, parts, format, from, to, file, output } => {
            Box::pin(data::export(env, data::Export { org, parts, format, days: (from, to), file, output }))
                .await
        }
        AdminCommand::Import { org, file, clash, yes, output } => {
            data::bring(env, &org, &file, clash, yes, output).await
        }
        AdminCommand::ApiKey(ApiKeyCommand::Create { org, name, connectors: slugs, url_key, output }) => {
            let found = orgs::find_by_slug(env, &org).await?;
            let scope = if slugs.is_empty() {
                KeyScope::All
            } else {
                let known = connectors::list(env, &OrgActor::operator(found.id)).await?;
                let ids = slugs
                    .iter()
                    .map(|slug| {
                        let connector = known.iter().find(|connector| connector.slug.as_str() == slug);
                        connector
                            .map(|c| c.id)
                            .ok_or_else(|| refused(format!("there is no connector {slug} in {org}")))
                    })
                    .collect::<Result<Vec<_>, Error>>()?;
                KeyScope::Only(ids)
            };
            let new = NewKey { name, scope, expires_at: None, url_key };
            let made = api_keys::create(env, &OrgActor::operator(found.id), &new).await?;
            Ok((json!({"id": made.key.id, "key": made.secret, "prefix": made.key.prefix}), output))
        }
        AdminCommand::Domain(command) => domains::domain(env, command).await,
        AdminCommand::OauthClient(OauthClientCommand::Create {
            org,
            name,
            scopes,
            auth_method,
            keep_refresh_tokens,
            output,
        }) => {
            let proof = match auth_method {
                SecretIn::Post => Proof::Post,
                SecretIn::Basic => Proof::Basic,
            };
            let found = orgs::find_by_slug(env, &org).await?;
            let scope = if scopes.is_empty() {
                Scope::everything()
            } else {
                scopes.join(" ").parse().map_err(|why| refused(format!("--scope: {why}")))?
            };
            let new = NewClient { name, redirect_uris: None, proof, scope, keep_refresh_tokens };
            let made = oauth_clients::create(env, &OrgActor::operator(found.id), &new).await?;
            Ok((json!({"client_id": made.client.id, "client_secret": made.secret}), output))
        }
    }
}

fn endpoint(env: &Env, org: &Org) -> String {
    env.settings.absolute(&model::paths::mcp(org.slug.as_str()))
}

//! `gatehouse keys …`: the keys that access tokens are signed with. A running server hears of changes within a second.

use domain::{
    Env, Error,
    authz::Principal,
    signing::{self, KeyInfo},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    admin::words,
    cli::{KeysCommand, Output},
    config::Config,
    serve,
};

/// Does one step and prints what came of it.
pub async fn run(config: &Config, command: KeysCommand) -> Result<(), String> {
    let env = serve::environment(config).await?;
    let (keys, output) = step(&env, command).await.map_err(words)?;
    env.db.close().await;
    print(&keys, output);
    Ok(())
}

/// Does one step; the answer is the keys as they are then.
async fn step(env: &Env, command: KeysCommand) -> Result<(Vec<KeyInfo>, Output), Error> {
    let output = match command {
        KeysCommand::List { output } => output,
        KeysCommand::Rotate { output } => {
            signing::rotate(env, &Principal::Operator).await?;
            output
        }
        KeysCommand::Retire { kid, output } => {
            signing::retire(env, &Principal::Operator, &kid).await?;
            output
        }
    };
    Ok((signing::list(env).await?, output))
}

fn day(millis: i64) -> String {
    OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000))
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

fn described(key: &KeyInfo) -> Value {
    json!({
        "kid": key.kid,
        "status": key.standing.as_str(),
        "created_at": day(key.created_at),
        "active_from": day(key.active_from),
        "retire_at": key.retire_at.map(day),
        "removed_at": key.removed_at.map(day),
    })
}

#[expect(clippy::print_stdout, reason = "the answer of a command goes to standard output")]
fn print(keys: &[KeyInfo], output: Output) {
    if output.json {
        let keys: Vec<_> = keys.iter().map(described).collect();
        println!("{}", json!({"keys": keys}));
        return;
    }
    if keys.is_empty() {
        println!("There is no signing key yet. The server makes one when it needs it.");
    }
    for key in keys {
        let until = key.removed_at.or(key.retire_at).map(|at| format!(" until {}", day(at)));
        println!(
            "{}  {:<8}  from {}{}",
            key.kid,
            key.standing.as_str(),
            day(key.active_from),
            until.unwrap_or_default()
        );
    }
}

//! What an operator does with the instance as a whole: look whether it is well, copy it, bring a copy back.

use std::{path::Path, process::ExitCode};

use domain::Env;
use store::Db;

use crate::{
    config::{Config, sqlite_path},
    keys, serve,
};

/// Says of each part whether it is well. Exits non-zero if one is not.
#[expect(clippy::print_stdout, reason = "the findings are the answer of the command")]
pub async fn doctor(config: &Config) -> Result<ExitCode, String> {
    let mut well = true;
    let mut say = |part: &str, found: Result<String, String>| {
        match &found {
            Ok(text) => println!("ok    {part}: {text}"),
            Err(text) => println!("FAIL  {part}: {text}"),
        }
        well &= found.is_ok();
    };
    say("settings", Ok(format!("{} as {}", config.listen, config.public_url)));
    // To look must not make anything.
    let there = sqlite_path(&config.database_url)?.map_or(Ok(()), |path| must_exist(&path));
    let found = match there {
        Ok(()) => serve::environment(config).await,
        Err(why) => Err(why),
    };
    match found {
        Err(why) => say("database and keys", Err(why)),
        Ok(env) => {
            say("database", database(&env).await);
            say("master key", Ok("opens this database".to_owned()));
            say("egress", Ok(egress(&env)));
            say("clock", clock(&env));
            say("names", names(&env).await);
            say("request log", request_log(&env).await);
            say("webhooks", webhooks(&env).await);
            env.db.close().await;
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn database(env: &Env) -> Result<String, String> {
    store::maintenance::check_writable(&env.db).await.map_err(|why| format!("cannot be written: {why}"))?;
    match store::maintenance::integrity(&env.db).await {
        Ok(None) => Ok(format!("{:?}, writable, whole, up to date", env.db.kind())),
        Ok(Some(complaint)) => Err(format!("damaged: {complaint}; restore a backup")),
        Err(why) => Err(format!("cannot be checked: {why}")),
    }
}

fn egress(env: &Env) -> String {
    if env.outbound.allow().is_empty() {
        "public addresses only".to_owned()
    } else {
        "public addresses and those of GATEHOUSE_EGRESS_ALLOW".to_owned()
    }
}

/// A clock before this build was made is wrong for certain.
fn clock(env: &Env) -> Result<String, String> {
    const BUILT_AFTER: i64 = 1_763_000_000_000;
    if env.now() > BUILT_AFTER {
        Ok("plausible".to_owned())
    } else {
        Err("the machine's clock is in the past".to_owned())
    }
}

async fn names(env: &Env) -> Result<String, String> {
    let mut tx = env.db.read().await.map_err(|why| why.to_string())?;
    let orgs = store::orgs::count(&mut tx).await.map_err(|why| why.to_string())?;
    let users = store::users::count(&mut tx).await.map_err(|why| why.to_string())?;
    Ok(format!("{orgs} organisations, {users} users"))
}

/// Whether requests are missing in the request log. That is no fault to be mended now, so it is told and not failed.
async fn request_log(env: &Env) -> Result<String, String> {
    let nodes = domain::usage::left_out_by(env).await.map_err(|why| why.to_string())?;
    if nodes.is_empty() {
        return Ok("no request was ever left out".to_owned());
    }
    let told = nodes.iter().map(|node| {
        format!(
            "{} requests of node {} were left out, {} while the database was too slow and {} while it was away, the last {} minutes ago",
            node.count.total(),
            node.node,
            node.count.slow,
            node.count.away,
            (env.now() - node.at).max(0) / 60_000,
        )
    });
    Ok(told.collect::<Vec<_>>().join("; "))
}

/// How long the queue of webhooks is. Receivers that are away are tried later and are not in it.
async fn webhooks(env: &Env) -> Result<String, String> {
    let (due, waits) = domain::webhooks::log::backlog(env).await.map_err(|why| why.to_string())?;
    Ok(match due {
        0 => "nothing waits to be sent".to_owned(),
        _ => format!("{due} deliveries wait to be sent, the first for {} seconds", waits / 1000),
    })
}

/// Copies the database to a new file.
#[expect(clippy::print_stdout, reason = "the answer of a command goes to standard output")]
pub async fn backup(config: &Config, file: &Path) -> Result<(), String> {
    let path = sqlite_path(&config.database_url)?
        .ok_or("backup is for SQLite; copy a PostgreSQL database with pg_dump")?;
    // Connecting would make it, and the copy would be of nothing.
    must_exist(&path)?;
    let db = Db::connect(&config.database_url)
        .await
        .map_err(|why| format!("the database cannot be opened: {why}"))?;
    if let Err(why) = store::maintenance::check_migrated(&db).await {
        return Err(format!("{} is no database of Gatehouse: {why}", path.display()));
    }
    store::maintenance::backup(&db, file).await.map_err(|why| format!("no backup was made: {why}"))?;
    db.close().await;
    println!(
        "Wrote {}. Keep the master key as well, in another place: without it the secrets in the copy cannot be opened.",
        file.display()
    );
    Ok(())
}

fn must_exist(database: &Path) -> Result<(), String> {
    if database.exists() {
        return Ok(());
    }
    Err(format!("there is no database {}; GATEHOUSE_DATABASE_URL names it", database.display()))
}

/// Puts a copy in place, if it is whole and was sealed with the configured master key.
#[expect(clippy::print_stdout, reason = "the answer of a command goes to standard output")]
pub async fn restore(config: &Config, file: &Path) -> Result<(), String> {
    let target = sqlite_path(&config.database_url)?
        .ok_or("restore is for SQLite; bring a PostgreSQL database back with pg_restore or psql")?;
    if target.exists() {
        return Err(format!("{} is there already; move it away first", target.display()));
    }
    for leftover in ["-wal", "-shm", "-journal"] {
        let path = std::path::PathBuf::from(format!("{}{leftover}", target.display()));
        if path.exists() {
            // SQLite would replay it into the restored file.
            return Err(format!(
                "{} of an older database is still there; move it away as well",
                path.display()
            ));
        }
    }
    if !file.exists() {
        return Err(format!("there is no file {}", file.display()));
    }
    if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        serve::private_folder(folder)?;
    }
    // It is tried under another name, so that a copy that does not fit never stands where the server looks.
    let trial = target.with_extension("restoring");
    let _ = std::fs::remove_file(&trial);
    let copied = store::maintenance::create_private(&trial)
        .and_then(|mut to| std::io::copy(&mut std::fs::File::open(file)?, &mut to));
    if let Err(why) = copied {
        let _ = std::fs::remove_file(&trial);
        return Err(format!("the copy cannot be read: {why}"));
    }
    let tried = try_copy(config, &trial).await;
    for leftover in ["restoring-wal", "restoring-shm"] {
        let _ = std::fs::remove_file(target.with_extension(leftover));
    }
    if let Err(why) = tried {
        let _ = std::fs::remove_file(&trial);
        return Err(format!("nothing was restored: {why}"));
    }
    std::fs::rename(&trial, &target).map_err(|why| format!("the copy cannot be put in place: {why}"))?;
    println!(
        "Restored {} from {}. Keys that were revoked after the copy was made work again: revoke them anew.",
        target.display(),
        file.display()
    );
    Ok(())
}

async fn try_copy(config: &Config, path: &Path) -> Result<(), String> {
    let db = Db::connect(&format!("sqlite://{}", path.display()))
        .await
        .map_err(|why| format!("it is no database: {why}"))?;
    if let Some(complaint) =
        store::maintenance::integrity(&db).await.map_err(|why| format!("it is no database: {why}"))?
    {
        return Err(format!("it is damaged: {complaint}"));
    }
    db.migrate().await.map_err(|why| why.to_string())?;
    let sealer = keys::sealer(config, &domain::env::SystemRng)?;
    keys::check(&db, &sealer).await?;
    db.close().await;
    Ok(())
}

//! The steps about an organisation's data: exporting it, importing connectors.

use std::{io::Read as _, path::Path};

use domain::{
    Env, Error, OrgActor,
    exports::{
        self, Asked, Download, Scribe, Wanted,
        import::{Imported, MAX_FILE, import},
    },
    orgs,
};
use model::{
    exports::{ExportPart, ExportState},
    permissions::can,
};
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::AsyncWriteExt as _,
    time::{Duration, sleep},
};

use super::refused;
use crate::cli::{ClashName, ExportFormatName, Output};

type Done = Result<(Value, Output), Error>;

/// How often it is looked whether an export is ready that another process writes.
const LOOK: Duration = Duration::from_millis(500);

/// What is exported, and where to.
pub(super) struct Export {
    pub(super) org: String,
    pub(super) parts: Vec<String>,
    pub(super) format: ExportFormatName,
    pub(super) days: (String, String),
    pub(super) file: std::path::PathBuf,
    pub(super) output: Output,
}

fn disk(file: &Path, why: &std::io::Error) -> Error {
    refused(format!("{}: {why}", file.display()))
}

/// Makes an export and writes its file. What was made is deleted from the database again.
pub(super) async fn export(env: &Env, wanted: Export) -> Done {
    let Export { org, parts, format, days: (from, to), file, output } = wanted;
    let found = orgs::find_by_slug(env, &org).await?;
    let actor = OrgActor::<can::ExportCreate>::operator(found.id);
    if let Some(unknown) = parts.iter().find(|part| ExportPart::parse(part).is_none()) {
        let known = ExportPart::ALL.map(ExportPart::as_str).join(", ");
        return Err(refused(format!("--part {unknown} is none of {known}")));
    }
    let all: Vec<_> = ExportPart::ALL.iter().map(|part| part.as_str().to_owned()).collect();
    let format = match format {
        ExportFormatName::Json => "json",
        ExportFormatName::Csv => "csv",
    };
    let wanted =
        Wanted { parts: if parts.is_empty() { all } else { parts }, format: format.to_owned(), from, to };
    let id = match exports::ask(env, &actor, &wanted).await? {
        Asked::Begun(id) => id,
        Asked::UnderWay(_) => {
            return Err(refused(
                "an export of this organisation is under way already; nothing new was begun",
            ));
        }
    };
    let scribe = Scribe::new(env.clone());
    let ready = loop {
        // A server on the same database may be quicker to take it.
        scribe.run_due().await?;
        let list = exports::list(env, &actor).await?.exports;
        let Some(export) = list.into_iter().find(|export| export.id == id) else {
            return Err(refused("somebody deleted the export while it was written"));
        };
        if !export.state.is_open() {
            break export;
        }
        sleep(LOOK).await;
    };
    if ready.state == ExportState::Failed {
        return Err(refused(ready.failure.unwrap_or_default()));
    }
    let mut download = Download::begin(env, &actor, id).await?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    let mut out = options.open(&file).await.map_err(|why| disk(&file, &why))?;
    while let Some(piece) = download.next().await? {
        out.write_all(&piece).await.map_err(|why| disk(&file, &why))?;
    }
    out.sync_all().await.map_err(|why| disk(&file, &why))?;
    exports::delete(env, &actor, id).await?;
    let rows: serde_json::Map<String, Value> =
        ready.parts.iter().map(|part| (part.part.as_str().to_owned(), part.done.into())).collect();
    Ok((
        json!({"file": file.display().to_string(), "bytes": ready.size, "sha256": ready.sha256, "rows": rows}),
        output,
    ))
}

fn read(file: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let most = MAX_FILE as u64 + 1;
    let done = if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(most).read_to_string(&mut text))
    };
    match done {
        Ok(_) => Ok(text),
        Err(why) if why.kind() == std::io::ErrorKind::InvalidData => {
            Err(refused(format!("{} is no text: take connectors.json out of the export", file.display())))
        }
        Err(why) => Err(disk(file, &why)),
    }
}

/// Says what an import would make, or makes it.
pub(super) async fn bring(
    env: &Env,
    org: &str,
    file: &Path,
    clash: ClashName,
    yes: bool,
    output: Output,
) -> Done {
    let found = orgs::find_by_slug(env, org).await?;
    let actor = OrgActor::<can::ConnectorsWrite>::operator(found.id);
    let text = read(file)?;
    let clash = match clash {
        ClashName::Rename => "rename",
        ClashName::Skip => "skip",
    };
    let mut came = Box::pin(import(env, &actor, &text, clash, "")).await?;
    if let (Imported::Planned(plan), true) = (&came, yes) {
        let seen = plan.seen.clone();
        came = Box::pin(import(env, &actor, &text, clash, &seen)).await?;
    }
    let (plan, made) = match came {
        Imported::Planned(plan) if yes && plan.changed => {
            return Err(refused(
                "the connectors of this organisation changed just now; nothing was imported, try again",
            ));
        }
        Imported::Planned(plan) => (plan, false),
        Imported::Made(plan) => (plan, true),
    };
    let connectors: Vec<_> = plan
        .lines
        .iter()
        .map(|line| json!({"slug": line.slug, "name": line.name, "becomes": line.becomes, "enter_anew": line.needs}))
        .collect();
    Ok((json!({"imported": made, "from": plan.from, "connectors": connectors}), output))
}

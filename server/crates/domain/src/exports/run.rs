//! The job that writes an export. One node takes it with a lease and renews that as it goes on; when the node dies, another
//! one takes it over after the lease and begins anew, throwing away what there was. So there is one file, whoever wrote it.

use data_encoding::HEXLOWER;
use model::{
    Permission,
    exports::{ExportPart, KEPT_DAYS, MAX_SIZE, Progress, VERSION},
    permissions::can,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::{
    Tx,
    exports::{Advance, Export as Row},
};

use super::{
    DAY, aad,
    archive::{Archive, Tail},
    event,
    parts::{self, Source},
    progress,
};
use crate::{
    Env, Error, OrgActor, Result, audit,
    change::Event,
    mail::{
        self, Wanted,
        letters::{self, ExportOutcome as Outcome},
    },
    orgs,
    sealer::DataKey,
};

/// For how long a job is somebody's, milliseconds; renewed as it goes on.
pub(super) const LEASE: i64 = 60 * 1000;
/// How often it is noted how far a job is, milliseconds.
const NOTE: i64 = 1000;
/// After so many beginnings a job is given up.
const MOST_TRIES: i64 = 5;
/// How long a job rests that failed, milliseconds.
const REST: i64 = 15 * 1000;

/// Whoever writes exports: one of each process.
#[derive(Debug)]
pub struct Scribe {
    env: Env,
    lease: String,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// It is ready.
    Ready,
    /// It is not ours any more: deleted, or taken over by somebody else.
    Lost,
}

/// An export that is being written.
pub struct Job {
    env: Env,
    lease: String,
    row: Row,
    data_key: DataKey,
    org: (String, String),
    progress: Vec<Progress>,
    /// The parts that are still to come.
    parts: std::vec::IntoIter<ExportPart>,
    source: Option<Source>,
    archive: Box<Archive>,
    digest: Sha256,
    size: i64,
    chunks: i64,
    noted_at: i64,
}

/// Writes to whoever asked for it, if they may still have the file.
async fn tell(env: &Env, tx: &mut Tx, row: &Row, outcome: Outcome<'_>) -> Result<()> {
    let Some(user) = row.asked_by else { return Ok(()) };
    let role = store::members::find_role(tx, row.org, user).await?;
    if !role.is_some_and(|role| role.allows(Permission::ExportCreate)) {
        return Ok(());
    }
    let (user, org) = (store::users::find(tx, user).await?, store::orgs::find(tx, row.org).await?);
    let (Some(user), Some(org)) = (user, org) else { return Ok(()) };
    let letter = letters::export(&env.settings, &user.email, &org.name, outcome);
    mail::queue(env, tx, Some(row.org), None, &Wanted::Letter(letter), mail::NOTICE_TTL).await
}

impl Scribe {
    /// Somebody new, who holds no job.
    pub fn new(env: Env) -> Self {
        let lease = env.token();
        Self { env, lease }
    }

    /// Takes the next job that is due, if there is one that nobody was quicker to take.
    pub async fn begin(&self) -> Result<Option<Box<Job>>> {
        let now = self.env.now();
        let due = store::exports::list_due(&mut self.env.db.read().await?, now, 4).await?;
        for row in due {
            let mut tx = self.env.db.write().await?;
            let taken = store::exports::claim(&mut tx, row.id, &self.lease, now, now + LEASE).await?;
            tx.commit().await?;
            if !taken {
                continue;
            }
            if row.tries >= MOST_TRIES {
                let why = "It was interrupted again and again while it was written. Nothing of it is left. Ask for it once more, with fewer days; if that fails too, tell your operator.";
                self.fail(&row, why).await?;
                continue;
            }
            match Box::pin(Job::open(self, row.clone())).await {
                Ok(job) => return Ok(Some(Box::new(job))),
                Err(error) => self.failed(&row, error).await?,
            }
        }
        Ok(None)
    }

    /// Writes the next job that is due to its end; whether there was one.
    pub async fn run_due(&self) -> Result<bool> {
        let Some(mut job) = self.begin().await? else { return Ok(false) };
        loop {
            match Box::pin(job.step()).await {
                Ok(Step::More) => {}
                Ok(Step::Ready | Step::Lost) => return Ok(true),
                Err(error) => {
                    self.failed(&job.row, error).await?;
                    return Ok(true);
                }
            }
        }
    }

    /// Gives back what was taken, because the process stops: somebody else begins it at once.
    pub async fn release(&self) -> Result<()> {
        let mut tx = self.env.db.write().await?;
        store::exports::release(&mut tx, &self.lease, 0, true).await?;
        Ok(tx.commit().await?)
    }

    /// Words for people end an export; all else is tried again after a rest, a few times.
    async fn failed(&self, row: &Row, error: Error) -> Result<()> {
        let why = match error {
            Error::App(app) => app.message,
            error if row.tries + 1 < MOST_TRIES => {
                tracing::warn!(%error, export.id = %row.id, "an export broke off and is tried again");
                let mut tx = self.env.db.write().await?;
                store::exports::release(&mut tx, &self.lease, self.env.now() + REST, false).await?;
                return Ok(tx.commit().await?);
            }
            error => {
                tracing::error!(%error, export.id = %row.id, "an export failed");
                "Gatehouse could not finish it, and nothing of it is left. Ask for it once more; if that fails too, tell your operator, who finds the reason in the log.".to_owned()
            }
        };
        self.fail(row, &why).await
    }

    async fn fail(&self, row: &Row, why: &str) -> Result<()> {
        let actor = OrgActor::<can::ExportCreate>::system(row.org);
        let mut change = self.env.change(&actor).await?;
        if store::exports::fail(change.tx(), row.id, &self.lease, why, self.env.now()).await? {
            tell(&self.env, change.tx(), row, Outcome::Failed(why)).await?;
            change.commit(event("export.failed", row).with("reason", why)).await?;
        }
        Ok(())
    }
}

impl Job {
    async fn open(scribe: &Scribe, row: Row) -> Result<Self> {
        let env = scribe.env.clone();
        let mut tx = env.db.read().await?;
        let data_key = orgs::data_key(&env, &mut tx, row.org).await?;
        let org =
            store::orgs::find(&mut tx, row.org).await?.ok_or_else(|| Error::not_found("organisation"))?;
        let mut progress = progress(&row);
        for part in &mut progress {
            part.done = 0;
            part.total = Source::begin(&env, &mut tx, &row, &org.name, part.part).await?.total;
        }
        drop(tx);
        let parts: Vec<_> = progress.iter().map(|part| part.part).collect();
        Ok(Self {
            lease: scribe.lease.clone(),
            data_key,
            org: (org.slug.to_string(), org.name),
            progress,
            parts: parts.into_iter(),
            source: None,
            archive: Box::new(Archive::new()),
            digest: Sha256::new(),
            size: 0,
            chunks: 0,
            noted_at: env.now(),
            env,
            row,
        })
    }

    /// Goes on a little: a portion of rows.
    ///
    /// # Errors
    /// With words for people when it cannot be finished.
    pub async fn step(&mut self) -> Result<Step> {
        let Some(source) = &mut self.source else {
            let Some(part) = self.parts.next() else { return Box::pin(self.finish()).await };
            let mut tx = self.env.db.read().await?;
            let source = Source::begin(&self.env, &mut tx, &self.row, &self.org.1, part).await?;
            drop(tx);
            if let Some(line) = self.progress.iter_mut().find(|line| line.part == part) {
                line.total = source.total;
            }
            self.archive.begin(&source.file())?;
            self.source = Some(source);
            return self.note(false).await;
        };
        let Some((text, rows)) = source.next(&self.env).await? else {
            self.source = None;
            return self.note(true).await;
        };
        self.archive.write(&text)?;
        let part = source.part;
        if let Some(line) = self.progress.iter_mut().find(|line| line.part == part) {
            line.done += rows;
            line.total = line.total.max(line.done);
        }
        self.note(false).await
    }

    /// Puts whole pieces away and says how far it is, when there is something to put away or it is time.
    async fn note(&mut self, now_please: bool) -> Result<Step> {
        let pieces = self.archive.whole();
        let now = self.env.now();
        if pieces.is_empty() && !now_please && now < self.noted_at + NOTE {
            return Ok(Step::More);
        }
        self.noted_at = now;
        let mut tx = self.env.db.write().await?;
        let ours = self.put(&mut tx, &pieces).await?;
        tx.commit().await?;
        Ok(if ours { Step::More } else { Step::Lost })
    }

    /// Writes pieces and progress; whether the job still is ours.
    async fn put(&mut self, tx: &mut Tx, pieces: &[Vec<u8>]) -> Result<bool> {
        let first = self.chunks;
        for piece in pieces {
            self.digest.update(piece);
            self.size += i64::try_from(piece.len()).unwrap_or(i64::MAX);
            self.chunks += 1;
        }
        if self.size > MAX_SIZE {
            return Err(model::AppError::new(
                model::ErrorKind::Conflict,
                "too_large",
                "The file would be larger than 1 GiB. Nothing of it is left: ask again with fewer days or fewer parts.",
            )
            .into());
        }
        let progress = serde_json::to_string(&self.progress).unwrap_or_default();
        let how = Advance {
            id: self.row.id,
            lease: &self.lease,
            until: self.env.now() + LEASE,
            progress: &progress,
            size: self.size,
            chunks: self.chunks,
        };
        if !store::exports::advance(tx, how).await? {
            return Ok(false);
        }
        for (number, piece) in (first..).zip(pieces) {
            let place = format!("{}/{number}", self.row.id);
            let sealed = self.data_key.seal(&aad(self.row.org, &place), piece, self.env.rng.as_ref());
            store::exports::put_chunk(tx, self.row.org, self.row.id, number, &sealed).await?;
        }
        Ok(true)
    }

    /// What stands in the file about itself.
    fn manifest(&self) -> String {
        let parts: Vec<_> = self
            .progress
            .iter()
            .map(|line| {
                json!({
                    "name": line.part.as_str(),
                    "file": parts::file(line.part, self.row.format),
                    "rows": line.done,
                })
            })
            .collect();
        let manifest = json!({
            "format": "gatehouse.export",
            "version": VERSION,
            "created_at": audit::time(self.env.now().saturating_mul(1000)),
            "organisation": { "id": self.row.org, "slug": self.org.0, "name": self.org.1 },
            "files": self.row.format.as_str(),
            "days": { "from": self.row.first_day, "to": self.row.last_day },
            "parts": parts,
        });
        format!("{manifest:#}\n")
    }

    async fn finish(&mut self) -> Result<Step> {
        let mut archive = std::mem::replace(&mut self.archive, Box::new(Archive::new()));
        archive.begin("manifest.json")?;
        archive.write(&self.manifest())?;
        let tail: Tail = archive.finish()?;
        let actor = OrgActor::<can::ExportCreate>::system(self.row.org);
        let now = self.env.now();
        let mut change = self.env.change(&actor).await?;
        if !self.put(change.tx(), &tail.pieces()).await? {
            return Ok(Step::Lost);
        }
        let sha256 = HEXLOWER.encode(&std::mem::take(&mut self.digest).finalize());
        let times = (now, now + KEPT_DAYS * DAY);
        if !store::exports::finish(change.tx(), self.row.id, &self.lease, &sha256, times).await? {
            return Ok(Step::Lost);
        }
        tell(&self.env, change.tx(), &self.row, Outcome::Ready { expires_at: times.1 }).await?;
        change.commit(self.completed(&sha256)).await?;
        Ok(Step::Ready)
    }

    fn completed(&self, sha256: &str) -> Event {
        let mut event = event("export.completed", &self.row).with("bytes", self.size).with("sha256", sha256);
        for line in &self.progress {
            event = event.with(&format!("rows.{}", line.part.as_str()), line.done);
        }
        event
    }
}

//! Taking the file of an export along: with a session and the permission, never by a link alone (DEL-05).

use model::{
    AppError, ErrorKind, ExportId, OrgId,
    exports::{ExportPart, ExportState},
    permissions::can,
};
use zeroize::Zeroizing;

use super::{aad, event, find, missing};
use crate::{Env, OrgActor, Result, orgs, sealer::DataKey};

/// A file that is being sent, piece by piece.
pub struct Download {
    env: Env,
    org: OrgId,
    id: ExportId,
    name: String,
    size: u64,
    chunks: i64,
    next: i64,
    data_key: DataKey,
}

impl Download {
    /// Begins to send the file of an export. That is an event.
    ///
    /// # Errors
    /// `NotFound` for an export of somebody else, one that was deleted and one whose time is over; `Conflict` while it is not
    /// ready.
    pub async fn begin(env: &Env, actor: &OrgActor<can::ExportCreate>, id: ExportId) -> Result<Self> {
        let (org, now) = (actor.org(), env.now());
        let mut change = env.change(actor).await?;
        let row = find(change.tx(), org, id, now).await?;
        if row.parts.split(' ').any(|name| name == ExportPart::Audit.as_str()) {
            actor.with::<can::AuditExport>()?;
        }
        if row.state != ExportState::Ready {
            return Err(AppError::new(
                ErrorKind::Conflict,
                "not_ready",
                "This export is not ready, so there is no file yet. Look at the list of exports.",
            )
            .into());
        }
        let slug = store::orgs::find(change.tx(), org).await?.map(|org| org.slug.to_string());
        let data_key = orgs::data_key(env, change.tx(), org).await?;
        let day = crate::audit::time(row.created_at * 1000);
        let name = format!("export-{}-{}.zip", slug.unwrap_or_default(), day.get(..10).unwrap_or_default());
        change.commit(event("export.downloaded", &row).with("bytes", row.size)).await?;
        Ok(Self {
            env: env.clone(),
            org,
            id,
            name,
            size: u64::try_from(row.size).unwrap_or_default(),
            chunks: row.chunks,
            next: 0,
            data_key,
        })
    }

    /// What the file is called: `export-acme-2026-03-12.zip`.
    pub fn file_name(&self) -> &str {
        &self.name
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the export was deleted meanwhile.
    pub async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        if self.next >= self.chunks {
            return Ok(None);
        }
        let mut tx = self.env.db.read().await?;
        let sealed = store::exports::chunk(&mut tx, self.org, self.id, self.next, self.env.now()).await?;
        drop(tx);
        let row = format!("{}/{}", self.id, self.next);
        let piece = self.data_key.open(&aad(self.org, &row), &sealed.ok_or_else(missing)?).map_err(|_| {
            crate::Error::Internal(format!("piece {} of {} does not open", self.next, self.id))
        })?;
        self.next += 1;
        Ok(Some(piece))
    }
}

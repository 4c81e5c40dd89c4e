//! Exports of an organisation's data, and the connectors that are brought into another organisation, as pages show them.

use serde::{Deserialize, Serialize};

use crate::ExportId;

/// For how many days an export is kept (DEL-05).
pub const KEPT_DAYS: i64 = 7;
/// How many exports an organisation keeps at once.
pub const MOST_EXPORTS: usize = 5;
/// The largest file of an export in bytes: 1 GiB.
pub const MAX_SIZE: i64 = 1024 * 1024 * 1024;
/// The longest text of connectors that a page takes, in bytes: percent-encoded it still is a form of the usual size.
pub const MAX_IMPORT: usize = 80 * 1024;
/// What a file of connectors calls itself.
pub const CONNECTORS_FORMAT: &str = "gatehouse.connectors";
/// The version of exports, and of files of connectors, that is written and read.
pub const VERSION: u64 = 1;

words! {
    /// A part of an export: one file in it.
    ExportPart {
        /// The configuration of connectors, without what is secret.
        Connectors = "connectors",
        /// API keys, never the keys themselves.
        ApiKeys = "api-keys",
        /// Members and their roles.
        Members = "members",
        /// Calls by day, connector, tool and principal.
        Usage = "usage",
        /// The audit log.
        Audit = "audit",
    }
}

impl ExportPart {
    /// Every part, in the order of the form and of the file.
    pub const ALL: [Self; 5] = [Self::Connectors, Self::ApiKeys, Self::Members, Self::Usage, Self::Audit];

    /// What people call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connectors => "Connector configurations",
            Self::ApiKeys => "API key metadata",
            Self::Members => "Team members",
            Self::Usage => "Usage statistics",
            Self::Audit => "Audit log",
        }
    }
}

words! {
    /// In which form the parts are written.
    ExportFormat {
        /// RFC 8259.
        Json = "json",
        /// RFC 4180.
        Csv = "csv",
    }
}

words! {
    /// How far an export is.
    ExportState {
        /// Nobody writes it yet, or whoever did was interrupted.
        Waiting = "waiting",
        /// It is being written.
        Running = "running",
        /// It can be downloaded.
        Ready = "ready",
        /// It was given up.
        Failed = "failed",
    }
}

impl ExportState {
    /// Whether it is still to be finished.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// How far a part of an export is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The part.
    pub part: ExportPart,
    /// Rows that are written.
    pub done: i64,
    /// Rows that there were when the export began.
    pub total: i64,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// In which form.
    pub format: ExportFormat,
    /// How far it is.
    pub state: ExportState,
    /// How far each part is, in the order of the file.
    pub parts: Vec<Progress>,
    /// The days of usage and audit log, in words; empty for all.
    pub days: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Who asked for it.
    pub created_by: String,
    /// When the file goes, Unix milliseconds.
    pub expires_at: i64,
    /// Of the file, bytes.
    pub size: i64,
    /// SHA-256 of the file in hexadecimal; empty while there is none.
    pub sha256: String,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The page of exports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPage {
    /// The newest first.
    pub exports: Vec<Export>,
    /// Whether the plan has an audit log.
    pub audit: bool,
    /// Server time, Unix milliseconds.
    pub now: i64,
}

/// What became, or would become, of one connector of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportLine {
    /// Its name.
    pub name: String,
    /// Its slug in the file.
    pub slug: String,
    /// The slug that it gets; `None` when it is left out because its own is taken.
    pub becomes: Option<String>,
    /// Where it is.
    pub url: String,
    /// What has to be entered anew, in words.
    pub needs: Vec<String>,
}

/// What an import would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportPlan {
    /// Where the file comes from, by name; may be empty.
    pub from: String,
    /// The connectors of the file, in its order.
    pub lines: Vec<ImportLine>,
    /// The file.
    pub text: String,
    /// `rename` or `skip`: what becomes of connectors whose slug is taken.
    pub clash: String,
    /// Stands for all of this: only what was seen is made.
    pub seen: String,
    /// Whether it was about to be made, and is something else than was seen.
    pub changed: bool,
}

impl ImportPlan {
    /// How many connectors it makes.
    pub fn made(&self) -> usize {
        self.lines.iter().filter(|line| line.becomes.is_some()).count()
    }
}

//! Calling tools from the dashboard, as the page sees it.

use serde::{Deserialize, Serialize};

use crate::ConnectorSlug;

/// A tool to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayChoice {
    /// Its connector.
    pub connector: ConnectorSlug,
    /// The connector's name.
    pub connector_name: String,
    /// Its name upstream.
    pub tool: String,
    /// Its title; empty if it has none.
    pub title: String,
}

impl PlayChoice {
    /// What the page's address calls it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.connector, self.tool)
    }
}

/// What a field of a tool's form takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlayKind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// Yes or no.
    Boolean,
    /// One of these texts.
    Choice(Vec<String>),
    /// Anything else, as JSON.
    Json,
}

/// One argument of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayField {
    /// Its name.
    pub name: String,
    /// What it is called.
    pub label: String,
    /// What the tool says about it.
    pub about: String,
    /// What it takes.
    pub kind: PlayKind,
    /// Whether the tool asks for it.
    pub required: bool,
    /// What is filled in at first.
    pub value: String,
}

/// The tool that is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayTool {
    /// Which.
    pub choice: PlayChoice,
    /// What it says it does.
    pub about: String,
    /// Its arguments, in the order of its schema.
    pub fields: Vec<PlayField>,
    /// Whether it says that it only reads.
    pub read_only: bool,
    /// Whether it says, or does not deny, that it may destroy something.
    pub destructive: bool,
    /// The schema of its arguments, indented.
    pub schema: String,
}

/// What the Playground shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayPage {
    /// Tools to choose from, by connector.
    pub choices: Vec<PlayChoice>,
    /// The one that is chosen.
    pub chosen: Option<PlayTool>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayResult {
    /// The texts of the result, or what went wrong.
    pub texts: Vec<String>,
    /// Whether the tool, or the call, failed.
    pub failed: bool,
    /// HTTP status that an agent would have got.
    pub status: u16,
    /// How long it took, microseconds.
    pub took_us: i64,
    /// The request as JSON-RPC, indented.
    pub request: String,
    /// The answer as JSON-RPC, indented.
    pub response: String,
    /// The same call from a terminal.
    pub curl: String,
}

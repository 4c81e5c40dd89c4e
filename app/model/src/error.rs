//! The one error that a person meets, in a page or from a server function.

use core::fmt;

use serde::{Deserialize, Serialize};
use server_fn::{
    codec::JsonEncoding,
    error::{FromServerFnError, ServerFnErrorErr},
};

/// The code of the refusal of a form that was made in another organisation than the one in view.
pub const OTHER_ORGANISATION: &str = "other_organisation";

/// What kind of failure it was; decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The input has to change: see [`AppError::fields`]. 422.
    Invalid,
    /// Nobody is signed in, or the session ended. 401.
    Unauthenticated,
    /// Signed in, but not allowed. 403.
    Forbidden,
    /// There is no such thing in this organisation. 404.
    NotFound,
    /// It clashes with what is there. 409.
    Conflict,
    /// Closed for a while after too many wrong attempts. 423.
    Locked,
    /// Too often. 429.
    RateLimited,
    /// The server cannot do it just now. 503.
    Unavailable,
    /// A fault of ours. 500.
    Internal,
}

/// An error at one field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The `name` of the field.
    pub field: String,
    /// What to do: "Enter a name for this key".
    pub message: String,
}

/// A failure in words that may be shown: what happened, whether anything changed, what to do. It holds no internal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppError {
    /// The kind.
    pub kind: ErrorKind,
    /// A stable word for programs: `slug_taken`, `password_too_common`.
    pub code: String,
    /// One or two sentences for people.
    pub message: String,
    /// Errors at fields; empty unless [`ErrorKind::Invalid`] or [`ErrorKind::Conflict`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldError>,
    /// Seconds to wait before trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// Where the request came from, of a refusal that is about that (IPA-04). Pages say it in the sentence, so they do not read it.
    #[cfg(not(target_arch = "wasm32"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub your_ip: Option<Box<std::net::IpAddr>>,
    /// The id under which the operator finds the details in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl AppError {
    /// An error without field errors.
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            fields: Vec::new(),
            retry_after: None,
            #[cfg(not(target_arch = "wasm32"))]
            your_ip: None,
            request_id: None,
        }
    }

    /// Input that has to change at one field.
    pub fn field(field: &str, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut error = Self::new(ErrorKind::Invalid, code, message.clone());
        error.fields.push(FieldError { field: field.to_owned(), message });
        error
    }

    /// This refusal and another of the same form, so that all fields are told at once. What is no refusal of a field
    /// stands alone.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        if other.fields.is_empty() {
            return other;
        }
        if !self.fields.is_empty() {
            self.fields.extend(other.fields);
        }
        self
    }

    /// The HTTP status that carries this error.
    pub const fn status(&self) -> u16 {
        match self.kind {
            ErrorKind::Invalid => 422,
            ErrorKind::Unauthenticated => 401,
            ErrorKind::Forbidden => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::Locked => 423,
            ErrorKind::RateLimited => 429,
            ErrorKind::Unavailable => 503,
            ErrorKind::Internal => 500,
        }
    }

    /// The message at a field, if it has one.
    pub fn at(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|e| e.field == field).map(|e| e.message.as_str())
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for AppError {}

impl FromServerFnError for AppError {
    type Encoder = JsonEncoding;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            ServerFnErrorErr::Request(_) => Self::new(
                ErrorKind::Unavailable,
                "unreachable",
                "The server did not answer. Check your connection, then try again; it is not known whether the change was made.",
            ),
            ServerFnErrorErr::Args(_)
            | ServerFnErrorErr::MissingArg(_)
            | ServerFnErrorErr::Deserialization(_) => Self::new(
                ErrorKind::Invalid,
                "bad_form",
                "The form did not arrive whole, so nothing was changed. Reload the page and try again.",
            ),
            _ => Self::new(
                ErrorKind::Internal,
                "internal",
                "Gatehouse could not finish this. Try again; if it stays, give the request id to your operator.",
            ),
        }
    }
}

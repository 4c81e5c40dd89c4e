//! What a domain operation can fail with, and the one mapping to what a person sees.

use model::{AppError, ErrorKind};

use crate::password::Busy;

/// A failure. [`Error::into_app`] is the only way to a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A failure with words for people.
    #[error("{0}")]
    App(#[from] AppError),
    /// The database failed, or disagreed with itself.
    #[error("store: {0}")]
    Store(#[from] store::Error),
    /// A fault of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// What domain operations return.
pub type Result<T> = core::result::Result<T, Error>;

impl From<Busy> for Error {
    fn from(_: Busy) -> Self {
        let mut error = AppError::new(
            ErrorKind::Unavailable,
            "busy",
            "Too many people are logging in at this moment. Wait a second, then try again.",
        );
        error.retry_after = Some(1);
        Self::App(error)
    }
}

impl Error {
    /// No such thing in this organisation, whether or not another one has it (TEN-01). `what` is "key", "connector", …
    pub fn not_found(what: &str) -> Self {
        Self::App(AppError::new(
            ErrorKind::NotFound,
            "not_found",
            format!("There is no such {what} here. It may have been deleted; go back to the list."),
        ))
    }

    /// The words for a person. Internal text is logged here, once, and stays here.
    pub fn into_app(self, request_id: &str) -> AppError {
        let internal = match self {
            Self::App(mut error) => {
                error.request_id.get_or_insert_with(|| request_id.to_owned());
                return error;
            }
            Self::Store(store::Error::Unstorable) => {
                let mut app = AppError::new(
                    ErrorKind::Invalid,
                    "characters",
                    "A text holds the character U+0000, which cannot be stored. Nothing was changed; remove it and try again.",
                );
                app.request_id = Some(request_id.to_owned());
                return app;
            }
            Self::Store(error) if error.is_full() => {
                tracing::error!(%error, request_id, "the disk is full");
                let mut app = AppError::new(
                    ErrorKind::Unavailable,
                    "storage_full",
                    "The server's disk is full, so nothing was changed. Ask your operator to make room, then try again.",
                );
                app.request_id = Some(request_id.to_owned());
                return app;
            }
            Self::Store(error) if error.is_transient() => {
                tracing::warn!(%error, request_id, "the database did not answer in time");
                let mut app = AppError::new(
                    ErrorKind::Unavailable,
                    "database_unavailable",
                    "The database did not answer in time. Try again in a few seconds; if you changed something, look first whether it was saved.",
                );
                app.retry_after = Some(2);
                app.request_id = Some(request_id.to_owned());
                return app;
            }
            Self::Store(error) => error.to_string(),
            Self::Internal(text) => text,
        };
        tracing::error!(error = %internal, request_id, "a request failed inside");
        let mut app = AppError::new(
            ErrorKind::Internal,
            "internal",
            "Gatehouse could not finish this, and nothing was saved. Try again; if it stays, give the request id to your operator.",
        );
        app.request_id = Some(request_id.to_owned());
        app
    }
}

/// Both, or everything that is wrong with either: a form tells all its fields at once.
pub fn both<A, B>(one: Result<A>, other: Result<B>) -> Result<(A, B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Error::App(one)), Err(Error::App(other))) => Err(one.and(other).into()),
        (Err(why), _) | (_, Err(why)) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn err_01_internal_text_never_reaches_a_person() {
        let app = Error::Internal("SELECT secret FROM /var/lib".into()).into_app("req-1");
        assert_eq!(app.kind, ErrorKind::Internal);
        assert_eq!(app.request_id.as_deref(), Some("req-1"));
        assert!(!app.message.contains("SELECT") && !app.message.contains("/var"));
        let missing = Error::Store(store::Error::Missing("orgs")).into_app("req-2");
        assert_eq!(missing.code, "internal");
        assert!(!missing.message.contains("orgs"));
    }
}

//! What the app knows beyond a single page: who is signed in, and what has to be loaded again after a change.

use leptos::prelude::*;
use model::{AppError, orgs::Me};
use serde::{Deserialize, Serialize};

use crate::page::Loaded;

/// What pages know of the instance. The server provides it in context; the browser finds it in the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteAssets {
    /// Where the static files of this build are: `/assets/{hash}`.
    pub base: String,
    /// The public URL from the configuration, such as `https://gateway.example.com`, without a slash at its end.
    pub public_url: String,
}

/// What has to happen after a change. All of it is Copy, so that forms can carry it.
#[derive(Clone, Copy)]
pub(crate) struct Refresh {
    /// Raised when the data of the shell is stale.
    pub(crate) me: RwSignal<u32>,
    /// Raised when the data of the page in view is stale.
    pub(crate) page: RwSignal<u32>,
    /// Where the last server function told the browser to go.
    pub(crate) redirect: RwSignal<Option<String>>,
    /// Whether the last submission on this page failed; the title says so.
    pub(crate) failed: RwSignal<bool>,
    /// The organisation that what is being rendered belongs to; empty if to none. Forms take it with them.
    pub(crate) org: StoredValue<String>,
}

impl Refresh {
    pub(crate) fn new() -> Self {
        Self {
            me: RwSignal::new(0),
            page: RwSignal::new(0),
            redirect: RwSignal::new(None),
            failed: RwSignal::new(false),
            org: StoredValue::new(String::new()),
        }
    }

    pub(crate) fn note_failure(self, failed: bool) {
        self.failed.set(failed);
    }

    /// A change was made: load again what may show it. A page that is about to be left is not loaded again, because
    /// what it shows may be gone.
    pub(crate) fn after_change(self) {
        self.me.update(|n| *n += 1);
        let stays = self.redirect.with_untracked(|to| {
            to.as_deref().is_none_or(|to| Some(path_of(to)) == location_pathname().as_deref())
        });
        if stays {
            self.page.update(|n| *n += 1);
        }
    }
}

/// A path without query and fragment.
pub(crate) fn path_of(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// The error that stands in for a page. The server provides it in context; the browser finds it in the page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GivenError(pub(crate) AppError);

/// The signed-in person, loaded once for the shell and all pages.
#[derive(Clone, Copy)]
pub(crate) struct MeResource(pub(crate) Loaded<Me>);

/// Who is signed in: for [`crate::page::page`], which hands it to you.
pub fn use_me() -> Loaded<Me> {
    expect_context::<MeResource>().0
}

/// Sets the status of the page that is being rendered; in the browser there is none to set.
pub fn set_status(status: u16) {
    #[cfg(feature = "ssr")]
    crate::ssr::set_status(status);
    #[cfg(not(feature = "ssr"))]
    {
        _ = status;
    }
}

/// Light, dark, or as the system has it. The server reads it from a cookie, so that there is never a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// The cookie's name.
    #[cfg(feature = "ssr")]
    pub(crate) const COOKIE: &'static str = "gatehouse_theme";

    /// The value of the cookie and of `data-theme`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// `None` for the system's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Light, Self::Dark].into_iter().find(|theme| theme.as_str() == name)
    }
}

//! The page that asks for an address, to log in at the provider of its organisation.

use leptos::prelude::*;
use model::paths;

use super::{links_api::StartSso, page::next_of};
use crate::{
    components::{Callout, PageHeader, SubmitButton, TextField},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
};

/// The way out to another host. It is taken at once; the link is for browsers that do not.
pub(crate) fn leaving(url: String, host: &str) -> AnyView {
    // A page that is made anew on the way must not send the browser again: what it brings back counts once.
    let refresh = if leaves_now(&url) { format!("0;url={url}") } else { String::new() };
    let (title, label) = (format!("On the way to {host}"), format!("Continue to {host}"));
    view! {
        <div role="status">
            <meta http-equiv="refresh" content=refresh />
            <Callout title=title>
                <p>"You log in there and come back here, in this browser, within ten minutes."</p>
                <p><a class="button primary" href=url rel="external noreferrer">{label}</a></p>
            </Callout>
        </div>
    }
    .erase()
}

/// Whether the browser is not on its way there yet; from now on it is.
fn leaves_now(url: &str) -> bool {
    #[cfg(feature = "hydrate")]
    if let Some(root) = document().document_element() {
        const MARK: &str = "data-leaving";
        if root.get_attribute(MARK).as_deref() == Some(url) {
            return false;
        }
        _ = root.set_attribute(MARK, url);
    }
    _ = url;
    true
}

/// Asks for the address; `asked` is where to go afterwards.
pub(super) fn sso_form(form: Form<StartSso>, csrf: String, asked: &str) -> AnyView {
    let next = next_of(Some(asked));
    let back = paths::sign_in_then(&next);
    view! {
        <div class="alone">
            <PageHeader title="Log in with SSO" about="The address decides whose log-in page you are sent to." />
            {move || form.ok().get().map(|link| leaving(link.url, &link.host))}
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="csrf" value=csrf />
                <input type="hidden" name="next" value=next />
                <TextField
                    form=form
                    name="email"
                    label="Work email"
                    kind="email"
                    inputmode="email"
                    autocomplete="username"
                />
                <SubmitButton form=form label="Continue" busy="Looking…" />
            </PostForm>
            <p class="auth-note"><a href=back>"Log in with a password"</a></p>
        </div>
    }
    .erase()
}

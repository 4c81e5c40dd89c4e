//! Notices about connections whose refresh token came back after it had been replaced.

use leptos::prelude::*;
use model::{oauth::ConnectionAlert, paths};

use super::api::{DismissAlert, DismissOwnAlert};
use crate::{
    components::{ButtonKind, Callout, LinkButton, SubmitButton, Time, Tone},
    erase::Erase as _,
    form::{ErrorSummary, FormCore, PostForm, use_form_for},
};

/// For whoever looks after the organisation's connections. Only who may revoke one can put its notice away.
pub(super) fn of_org(alert: ConnectionAlert, may_revoke: bool, now: i64) -> AnyView {
    let form = use_form_for::<DismissAlert>("connection", alert.connection);
    let title =
        format!("The connection of {} with {} may have been copied", alert.user_email, alert.client_name);
    let revoke = (may_revoke && alert.active).then(|| paths::revoke_connection(alert.connection));
    notice(may_revoke.then(|| form.into()), title, &alert, revoke, now)
}

/// For the person themselves.
pub(super) fn own(alert: ConnectionAlert, now: i64) -> AnyView {
    let form = use_form_for::<DismissOwnAlert>("connection", alert.connection);
    let title = format!("Your connection with {} for {} may have been copied", alert.client_name, alert.org);
    let revoke = format!("{}?revoke={}", paths::profile_connections(), alert.connection);
    let revoke = alert.active.then_some(revoke);
    notice(Some(form.into()), title, &alert, revoke, now)
}

/// What happened, what has changed by it, what to do.
fn notice(
    form: Option<FormCore>,
    title: String,
    alert: &ConnectionAlert,
    revoke: Option<String>,
    now: i64,
) -> AnyView {
    let from = if alert.address.is_empty() { String::new() } else { format!(" from {}", alert.address) };
    let changed = if alert.ended {
        "Its tokens were ended, so the client has to be connected again."
    } else {
        "Only that request was refused, as this organisation chose; the connection goes on."
    };
    let advice = "A client that was restored from a backup does this too. If you cannot explain it, revoke the connection and find out where its tokens were stored.";
    let name = format!("Revoke {}, {}", alert.client_name, alert.user_email);
    let revoke = revoke.map(|href| {
        view! { <LinkButton href=href label="Revoke" icon="trash-2" kind=ButtonKind::Quiet name=name /> }
            .erase()
    });
    let dismiss = form.map(|form| {
        view! {
            <PostForm form=form>
                <ErrorSummary form=form />
                <SubmitButton form=form label="Dismiss" busy="Dismissing…" kind=ButtonKind::Quiet />
            </PostForm>
        }
        .erase()
    });
    let at = alert.at;
    view! {
        <Callout tone=Tone::Warn title=title>
            <p>
                "One of its refresh tokens was used again after it had been replaced, on " <Time at=at now=now /> {from} ". "
                {changed}
            </p>
            <p>{advice}</p>
            <div class="actions">{revoke} {dismiss}</div>
        </Callout>
    }
    .erase()
}

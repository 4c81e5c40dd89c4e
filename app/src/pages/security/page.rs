use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, paths};

use super::{
    api::{AllowTrustedBrowsers, LoadSecurity, Security, SetPinProtection, SetRequireMfa, SetSessionTimeout},
    asked,
};
use crate::{
    components::{Card, LinkButton, PageHeader, SubmitButton, TextField, Unsaved},
    erase::Erase as _,
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, load, page},
    pages::factors::{api::ConfirmIdentity, confirm_you},
};

/// Security settings of the organisation.
pub struct SecurityPage {
    security: Loaded<Security>,
}

#[lazy_route]
impl LazyRoute for SecurityPage {
    fn data() -> Self {
        Self { security: load(LoadSecurity {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<SetSessionTimeout>();
        let (require, protect) = (use_form::<SetRequireMfa>(), use_form::<SetPinProtection>());
        let trust = use_form::<AllowTrustedBrowsers>();
        let confirm = use_form::<ConfirmIdentity>();
        // The proof grew too old meanwhile: load again, and the page asks for a new one.
        let data = this.security;
        Effect::new(move |_| {
            let is_old = |form: FormCore| {
                form.error().with(|error| error.as_ref().is_some_and(|error| error.code == "reauth_required"))
            };
            if is_old(require.into()) | is_old(trust.into()) | is_old(protect.into()) {
                data.refetch();
            }
        });
        page(this.security, move |security, me| {
            let Security { minutes, asked } = security;
            let may = me.can(Permission::SecurityManage);
            let confirm = (may && !asked.fresh)
                .then(|| confirm_you(confirm, paths::settings_security(), asked.own_factor));
            let body = if may { timeout_form(save, minutes) } else { timeout_fact(minutes) };
            view! {
                <div class="narrow">
                    <PageHeader title="Security" about="How this organisation protects the accounts of its members." />
                    <Card title="Session timeout" about="Members who do nothing for this long are logged out of the dashboard.">
                        {body}
                    </Card>
                    {asked::mfa(require, trust, &asked, may)}
                    <Card title="IP allowlist" about="Who may reach the dashboard and the MCP endpoint of this organisation from where.">
                        <div class="actions"><LinkButton href=paths::settings_allowlist() label="See the IP allowlist" icon="globe" /></div>
                    </Card>
                    {asked::pin(protect, &asked, me.pin, may)}
                    {confirm}
                    <p class="key-help"><a href=paths::settings_audit()>"Audit log"</a> " · " <a href=paths::profile_sessions()>"Your sessions"</a></p>
                </div>
            }
            .erase()
        })
    }
}

/// `8 hours`, `15 minutes`, `30 days`.
fn told(minutes: i64) -> String {
    let (count, unit) = match minutes {
        m if m % (24 * 60) == 0 => (m / (24 * 60), "day"),
        m if m % 60 == 0 => (m / 60, "hour"),
        m => (m, "minute"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

fn timeout_fact(minutes: i64) -> AnyView {
    view! { <p>"Members are logged out after " <strong>{told(minutes)}</strong> "."</p> }.erase()
}

fn timeout_form(save: Form<SetSessionTimeout>, minutes: i64) -> AnyView {
    view! {
        <PostForm form=save>
            <ErrorSummary form=save />
            <TextField
                form=save
                name="minutes"
                label="Minutes without a request"
                hint=format!(
                    "15 minutes to 30 days (43200). Now it is {}. It counts from now on for sessions that are running, too: \
                     whoever was idle for longer is logged out at once. Of somebody in several organisations the shortest counts.",
                    told(minutes),
                )
                value=minutes.to_string()
            />
            <div class="actions">
                <SubmitButton form=save label="Save timeout" />
                <Unsaved />
            </div>
        </PostForm>
    }
    .erase()
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_told_in_their_largest_unit() {
        for (minutes, told) in
            [(15, "15 minutes"), (60, "1 hour"), (480, "8 hours"), (43_200, "30 days"), (90, "90 minutes")]
        {
            assert_eq!(super::told(minutes), told);
        }
    }
}

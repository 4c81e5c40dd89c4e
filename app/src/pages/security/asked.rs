//! What the organisation asks of its members: a second factor, a PIN.

use leptos::prelude::*;
use model::{factors::OrgSecurity, orgs::PinAsked, paths};

use super::api::{AllowTrustedBrowsers, SetPinProtection, SetRequireMfa};
use crate::{
    components::{Badge, ButtonKind, Callout, Card, LinkButton, SubmitButton, Tone},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
    pages::deletion::pin_field,
};

fn badge(on: bool) -> AnyView {
    let (label, tone) = if on { ("On", Tone::Ok) } else { ("Off", Tone::Neutral) };
    view! { <Badge label=label tone=tone /> }.erase()
}

/// Require a second factor of everybody, with what that means for whom.
pub(super) fn mfa(
    form: Form<SetRequireMfa>,
    trust: Form<AllowTrustedBrowsers>,
    asked: &OrgSecurity,
    may: bool,
) -> AnyView {
    let lacking = asked.lacking.len();
    let impact = if lacking == 0 {
        view! { <p>{format!("All {} members have a second factor.", asked.members)}</p> }.erase()
    } else {
        let names = asked.lacking.iter().map(|name| view! { <li>{name.clone()}</li> }.erase()).collect_view();
        let now = if asked.require_mfa {
            "They can do nothing here until they have set one up."
        } else {
            "They can do nothing here from that moment until they have set one up. Machines keep working."
        };
        let have = if lacking == 1 { "has" } else { "have" };
        view! {
            <p>{format!("{lacking} of {} members {have} no second factor. ", asked.members)} {now}</p>
            <ul class="consequences">{names}</ul>
        }
        .erase()
    };
    let act = match (may, asked.fresh) {
        (false, _) => None,
        (true, false) => Some(view! { <p class="hint">"Confirm below that it is you, to change this."</p> }.erase()),
        (true, true) if !asked.require_mfa && !asked.own_factor.any() => Some(
            view! {
                <p>"Set one up for yourself first, or you would lock yourself out."</p>
                <div class="actions">
                    <LinkButton href=paths::profile_two_factor_then(paths::settings_security()) label="Set up two-factor authentication" />
                </div>
            }
            .erase(),
        ),
        (true, true) => Some(switch(form, asked.require_mfa)),
    };
    let trusted = asked.require_mfa.then(|| trusted(trust, asked.trusted_browsers, may && asked.fresh));
    view! {
        <Card title="Require two-factor authentication" about="For everybody who works in this organisation's dashboard." action=badge(asked.require_mfa)>
            <div class="stack">
                {impact}
                {act}
                {trusted}
            </div>
        </Card>
    }
    .erase()
}

/// Whether a browser may be trusted for a while.
fn trusted(form: Form<AllowTrustedBrowsers>, on: bool, may: bool) -> AnyView {
    let (told, label) = if on {
        (
            "Members may trust a browser for 30 days: there the password alone logs them in.",
            "Ask at each log-in",
        )
    } else {
        ("It is asked for at each log-in, in every browser.", "Let members trust a browser for 30 days")
    };
    let act = may.then(|| {
        view! {
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="on" value=(!on).to_string() />
                <SubmitButton form=form label=label kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    });
    view! { <p>{told}</p> {act} }.erase()
}

fn switch(form: Form<SetRequireMfa>, on: bool) -> AnyView {
    let (label, kind) = if on {
        ("Stop requiring it", ButtonKind::Secondary)
    } else {
        ("Require two-factor authentication", ButtonKind::Secondary)
    };
    view! {
        <PostForm form=form>
            <ErrorSummary form=form />
            <input type="hidden" name="on" value=(!on).to_string() />
            <SubmitButton form=form label=label kind=kind />
        </PostForm>
    }
    .erase()
}

/// A PIN before what cannot be undone.
pub(super) fn pin(form: Form<SetPinProtection>, asked: &OrgSecurity, pin: PinAsked, may: bool) -> AnyView {
    let on = asked.pin_protection;
    let own = (pin == PinAsked::Unset).then(|| {
        view! {
            <Callout tone=Tone::Warn title="You have no PIN yet">
                <p><a href=paths::profile_pin()>"Set your PIN"</a> ", or you will be asked for it at the first protected act."</p>
            </Callout>
        }
        .erase()
    });
    let act = match (may, asked.fresh) {
        (false, _) => None,
        (true, false) => {
            Some(view! { <p class="hint">"Confirm below that it is you, to change this."</p> }.erase())
        }
        (true, true) => {
            let label = if on { "Turn PIN protection off" } else { "Turn PIN protection on" };
            let field = if on && pin == PinAsked::Yes { pin_field(form.into(), pin) } else { None };
            (!on || pin == PinAsked::Yes).then(|| {
                view! {
                    <PostForm form=form>
                        <ErrorSummary form=form />
                        <input type="hidden" name="on" value=(!on).to_string() />
                        {field}
                        <SubmitButton form=form label=label kind=ButtonKind::Secondary />
                    </PostForm>
                }
                .erase()
            })
        }
    };
    view! {
        <Card
            title="PIN protection"
            about="Each member's own six digits, asked for before: deleting a connector, deleting or showing an API key, revoking or regenerating a connection, removing a member, and turning this off."
            action=badge(on)
        >
            <div class="stack">
                {own}
                {act}
            </div>
        </Card>
    }
    .erase()
}

//! Inviting people, and the invitations that are open.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    MemberRole, Role, RoleKey,
    links::{Delivery, Invitation, Invitations, Outcome, Sent},
    paths,
};

use super::invitations_api::{InviteMembers, LoadInvitations, RenewInvitation, WithdrawInvitation};
use crate::{
    components::{
        Badge, ButtonKind, Callout, Card, Choice, CopyField, Crumb, DataTable, EmptyState, PageHeader,
        SelectField, SubmitButton, TextArea, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// Invitations.
pub struct InvitationsPage {
    data: Loaded<Invitations>,
}

#[lazy_route]
impl LazyRoute for InvitationsPage {
    fn data() -> Self {
        Self { data: load(LoadInvitations {}) }
    }

    fn view(this: Self) -> AnyView {
        // One for all rows: what it answers, a link that is shown once, must outlive the list.
        let forms = Forms { invite: use_form(), renew: use_form(), withdraw: use_form() };
        page(this.data, move |data, _| view_of(&forms, data))
    }
}

#[derive(Clone, Copy)]
struct Forms {
    invite: Form<InviteMembers>,
    renew: Form<RenewInvitation>,
    withdraw: Form<WithdrawInvitation>,
}

fn view_of(forms: &Forms, data: Invitations) -> AnyView {
    let Forms { invite, renew, withdraw } = *forms;
    let may = !data.roles.is_empty();
    let about = match data.open.len() {
        0 => "Nobody is invited at the moment.".to_owned(),
        1 => "One invitation is open.".to_owned(),
        count => format!("{count} invitations are open."),
    };
    let form = may.then(|| invite_form(invite, data.roles.clone(), data.mails));
    let results = move || invite.ok().get().map(results);
    let renewed = move || renew.ok().get().map(renewed);
    let list = if data.open.is_empty() {
        view! {
            <EmptyState icon="mail" title="No open invitations" about="Invited people stand here until they join, or for seven days." />
        }
        .erase()
    } else {
        let rows = data.open.iter().map(|one| row(one, forms, may, data.mails, data.now)).collect_view();
        view! {
            <DataTable
                caption="Open invitations"
                columns=vec!["Invited", "Role", "Invited by", "Mail", "Link works until", ""]
            >
                {rows}
            </DataTable>
        }
        .erase()
    };
    view! {
        <PageHeader title="Invitations" crumbs=vec![Crumb::new(paths::team(), "Team")] about=about />
        <div class="stack">
            {form}
            <div role="status">{results} {renewed}</div>
            <ErrorSummary form=renew />
            <ErrorSummary form=withdraw />
            {list}
        </div>
    }
    .erase()
}

fn described(role: &MemberRole) -> String {
    let what = match role.key {
        RoleKey::Built(Role::Owner) => "everything",
        RoleKey::Built(Role::Admin) => "all settings and people",
        RoleKey::Built(Role::Developer) => "connectors, keys and clients",
        RoleKey::Built(Role::Member) => "connectors, playground, own connections",
        RoleKey::Built(Role::Viewer) => "reads",
        RoleKey::Custom(_) => "a role of this organisation",
    };
    format!("{role} — {what}")
}

fn invite_form(form: Form<InviteMembers>, roles: Vec<MemberRole>, mails: bool) -> AnyView {
    let preset = if roles.iter().any(|role| *role == Role::Member) { Role::Member.as_str() } else { "" };
    let choices =
        roles.iter().map(|role| Choice::new(role.key.to_string(), described(role))).collect::<Vec<_>>();
    let about = if mails {
        "Each gets a mail with a link that works once, within seven days, for that address only."
    } else {
        "This instance sends no mail: you get a link for each address, to pass on yourself. It is shown once."
    };
    view! {
        <Card title="Invite people" about=about>
            <PostForm form=form>
                <ErrorSummary form=form />
                <TextArea
                    form=form
                    name="emails"
                    label="Email addresses"
                    hint="One a line, or with commas between. At most 50."
                    rows=3
                />
                <SelectField form=form name="role" label="Role" value=preset choices=choices />
                <p class="hint"><a href=paths::team_roles()>"What each role may do"</a></p>
                <SubmitButton form=form label="Invite" busy="Inviting…" />
            </PostForm>
        </Card>
    }
    .erase()
}

fn results(sent: Sent) -> AnyView {
    let lines = sent
        .lines
        .into_iter()
        .map(|(email, outcome)| {
            let said = match outcome {
                Outcome::Mailed => "a mail is on its way".into_any(),
                Outcome::Link(link) => link_of(&email, link),
                Outcome::Member => "is a member already".into_any(),
                Outcome::Invited => "is invited already; send it again in the list below".into_any(),
                Outcome::NoAddress => "is not an email address".into_any(),
                Outcome::TooMany => {
                    "was sent too many invitations in the last hour; try again later".into_any()
                }
            };
            view! { <li><strong>{email}</strong> ": " {said}</li> }.erase()
        })
        .collect_view();
    view! { <Callout title="Invited"><ul class="invite-results">{lines}</ul></Callout> }.erase()
}

fn link_of(email: &str, link: String) -> AnyView {
    view! {
        "pass this link on. It is shown once." <CopyField label=format!("invitation link for {email}") text=link />
    }
    .into_any()
}

fn renewed(outcome: Outcome) -> AnyView {
    match outcome {
        Outcome::Link(link) => view! {
            <Callout title="New link">
                <p>"The one before no longer works. Pass this one on; it is shown once."</p>
                <CopyField label="invitation link" text=link />
            </Callout>
        }
        .erase(),
        _ => view! {
            <Callout title="Sent again"><p>"The mail has a new link; the one before no longer works."</p></Callout>
        }
        .erase(),
    }
}

fn delivery(one: &Invitation, now: i64) -> AnyView {
    if one.expires_at <= now {
        let asked = one.asked_at.map(|at| {
            view! { <span class="fine">"Asked for another " <Time at=at now=now /></span> }.erase()
        });
        return view! { <Badge label="Expired" tone=Tone::Warn /> " " {asked} }.erase();
    }
    match one.delivery {
        Delivery::ByHand => view! { <span>"Passed on by hand"</span> }.erase(),
        Delivery::Queued => view! { <Badge label="On its way" tone=Tone::Info /> }.erase(),
        Delivery::Sent => view! { <Badge label="Sent" tone=Tone::Ok /> }.erase(),
        Delivery::Failed => view! { <Badge label="Not taken" tone=Tone::Bad /> }.erase(),
    }
}

fn row(one: &Invitation, forms: &Forms, may: bool, mails: bool, now: i64) -> AnyView {
    let Forms { renew, withdraw, .. } = *forms;
    let id = one.id.to_string();
    let actions = may.then(|| {
        let again = mails.then(|| {
            let (name, id) = (format!("Send again to {}", one.email), id.clone());
            view! {
                <PostForm form=renew class="inline-form">
                    <input type="hidden" name="id" value=id />
                    <SubmitButton form=renew label="Send again" name=name busy="Sending…" kind=ButtonKind::Secondary />
                </PostForm>
            }
            .erase()
        });
        let link = format!("New link for {}", one.email);
        let same = id.clone();
        let take = format!("Withdraw the invitation of {}", one.email);
        view! {
            {again}
            <PostForm form=renew class="inline-form">
                <input type="hidden" name="id" value=id />
                <input type="hidden" name="by_hand" value="on" />
                <SubmitButton form=renew label="New link" name=link busy="Making…" kind=ButtonKind::Secondary />
            </PostForm>
            <PostForm form=withdraw class="inline-form">
                <input type="hidden" name="id" value=same />
                <SubmitButton form=withdraw label="Withdraw" name=take busy="Withdrawing…" kind=ButtonKind::Quiet />
            </PostForm>
        }
        .erase()
    });
    view! {
        <tr>
            <th scope="row" data-label="Invited"><span class="break">{one.email.clone()}</span></th>
            <td data-label="Role">{one.role.name.clone()}</td>
            <td data-label="Invited by">{one.inviter.clone()}</td>
            <td data-label="Mail">{delivery(one, now)}</td>
            <td data-label="Link works until"><Time at=one.expires_at now=now /></td>
            <td><div class="row-actions">{actions}</div></td>
        </tr>
    }
    .erase()
}

//! Address, password, organisations, and the end of an account.

use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{
    links::{OwnAccount, OwnOrg},
    paths,
};

use super::account_api::{AskForAddress, AskToVerify, ChangePassword, DeleteAccount, LoadAccount};
use crate::{
    components::{
        Badge, ButtonKind, Callout, Card, Crumb, DataTable, LinkButton, PageHeader, PasswordField,
        SubmitButton, TextField, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page, query_param},
    pages::{deletion::your_password, team::api::LeaveOrg},
};

/// The account of the signed-in person; at a second address, the question before it is deleted.
pub struct AccountPage {
    account: Loaded<OwnAccount>,
}

#[derive(Clone, Copy)]
struct Forms {
    address: Form<AskForAddress>,
    verify: Form<AskToVerify>,
    password: Form<ChangePassword>,
    leave: Form<LeaveOrg>,
    delete: Form<DeleteAccount>,
}

#[lazy_route]
impl LazyRoute for AccountPage {
    fn data() -> Self {
        Self { account: load(LoadAccount {}) }
    }

    fn view(this: Self) -> AnyView {
        let forms = Forms {
            address: use_form(),
            verify: use_form(),
            password: use_form(),
            leave: use_form(),
            delete: use_form(),
        };
        let path = use_location().pathname;
        let leaving = query_param("leave");
        page(this.account, move |account, _| {
            if path.get_untracked() == paths::delete_account() {
                return delete(forms.delete, &account);
            }
            // The question is the same page with something in its query, so it has to follow that.
            let view = move || {
                leaving.with(|id| match account.orgs.iter().find(|org| org.org.to_string() == *id) {
                    Some(org) => leave(forms.leave, org),
                    None => overview(&forms, &account),
                })
            };
            view.into_any()
        })
    }
}

fn crumbs() -> Vec<Crumb> {
    vec![Crumb::new(paths::profile(), "Profile")]
}

fn overview(forms: &Forms, account: &OwnAccount) -> AnyView {
    view! {
        <div class="narrow">
            <PageHeader title="Account" crumbs=crumbs() about="How you log in, and where you belong." />
            {address(forms, account)}
            {(!account.no_password).then(|| password(forms.password))}
            {orgs(account)}
            <Card title="Delete your account" about="Your name and address go, and so do your sessions and connections. What belongs to organisations stays.">
                <LinkButton href=paths::delete_account() label="Delete your account" />
            </Card>
        </div>
    }
    .erase()
}

/// What somebody is told in place of looking into their mailbox.
const NO_MAIL: &str = "Ask whoever operates this instance";

fn address(forms: &Forms, account: &OwnAccount) -> AnyView {
    let Forms { address, verify, .. } = *forms;
    let shown = account.email.clone();
    let state = if account.verified {
        view! { <Badge label="Confirmed" tone=Tone::Ok /> }.erase()
    } else {
        view! { <Badge label="Not confirmed" tone=Tone::Warn /> }.erase()
    };
    let mails = account.mails;
    let prove = (!account.verified).then(|| {
        let label = if mails { "Send a confirmation mail" } else { "Ask for a confirmation link" };
        view! {
            <PostForm form=verify>
                <ErrorSummary form=verify />
                <SubmitButton form=verify label=label busy="Sending…" kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    });
    let sent = move || {
        verify.ok().get().map(|()| {
            let (title, words) = if mails {
                ("Look into your mailbox", "The link in the mail confirms your address. It works once, within 30 minutes.")
            } else {
                (NO_MAIL, "They find a link in the log of this instance that confirms your address. It works once, within 30 minutes.")
            };
            view! { <Callout title=title><p>{words}</p></Callout> }.erase()
        })
    };
    let asked = move || {
        address.ok().get().map(|email| {
            let (title, words) = if mails {
                ("Look into the mailbox of the new address", format!("The link in the mail to {email} makes it your address. Until then nothing changes."))
            } else {
                (NO_MAIL, format!("They find a link in the log of this instance that makes {email} your address, within 30 minutes. Until then nothing changes."))
            };
            view! { <Callout title=title><p>{words}</p></Callout> }.erase()
        })
    };
    let hint = if mails {
        "You confirm it with a link; the present address gets a notice."
    } else {
        "This instance sends no mail: whoever operates it gives you the link that confirms it."
    };
    let none = account.no_password;
    let password = your_password(address.into(), "Your password", none, paths::profile_account());
    let change = view! {
        <PostForm form=address>
            <ErrorSummary form=address />
            <TextField
                form=address
                name="email"
                label="New email"
                hint=hint
                kind="email"
                inputmode="email"
                autocomplete="email"
            />
            {password}
            <SubmitButton form=address label="Change email" busy="Sending…" kind=ButtonKind::Secondary />
        </PostForm>
    }
    .erase();
    view! {
        <Card title="Email" about="You log in with it.">
            <div class="stack">
                <p class="profile-value"><strong>{shown}</strong> " " {state}</p>
                <div role="status">{sent} {asked}</div>
                {prove}
                {change}
            </div>
        </Card>
    }
    .erase()
}

fn password(form: Form<ChangePassword>) -> AnyView {
    view! {
        <Card title="Password" about="Other sessions end when it changes. This one, API keys and connected clients stay.">
            <PostForm form=form>
                <ErrorSummary form=form />
                <PasswordField form=form name="current_password" label="Present password" />
                <PasswordField
                    form=form
                    name="new_password"
                    label="New password"
                    hint="At least 15 characters, or 8 beside a second factor. A few words that only you would put together are good."
                    autocomplete="new-password"
                />
                <SubmitButton form=form label="Change password" busy="Changing…" kind=ButtonKind::Secondary />
            </PostForm>
        </Card>
    }
    .erase()
}

fn orgs(account: &OwnAccount) -> AnyView {
    let rows = account
        .orgs
        .iter()
        .map(|org| {
            let act = if org.last_owner {
                view! { <span class="fine">"You are its last owner"</span> }.erase()
            } else {
                let name = format!("Leave {}", org.name);
                view! { <LinkButton href=paths::leave_org(org.org) label="Leave" name=name kind=ButtonKind::Quiet /> }
                    .erase()
            };
            view! {
                <tr>
                    <th scope="row" data-label="Organisation">
                        <span class="two-lines">
                            <span>{org.name.clone()}</span>
                            <span class="fine mono">{org.slug.clone()}</span>
                        </span>
                    </th>
                    <td data-label="Your role">{org.role.name.clone()}</td>
                    <td><div class="row-actions">{act}</div></td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    let table = (!account.orgs.is_empty()).then(|| {
        view! {
            <DataTable caption="Your organisations" columns=vec!["Organisation", "Your role", ""]>{rows}</DataTable>
        }
        .erase()
    });
    view! {
        <Card title="Organisations" about="Those that you are a member of.">
            <div class="stack">
                {table}
                <div class="actions">
                    <LinkButton href=paths::new_org() label="New organisation" icon="plus" />
                </div>
            </div>
        </Card>
    }
    .erase()
}

fn leave(form: Form<LeaveOrg>, org: &OwnOrg) -> AnyView {
    let title = format!("Leave {}?", org.name);
    let body = if org.last_owner {
        view! {
            <Callout tone=Tone::Warn title="You are its last owner">
                <p>"An organisation keeps at least one owner. Make another member an owner first."</p>
            </Callout>
        }
        .erase()
    } else {
        let connections = match org.connections {
            0 => "You have no MCP connections there.".to_owned(),
            1 => "Your MCP connection there is revoked at once: its client gets 401 with its next request."
                .to_owned(),
            many => format!(
                "Your {many} MCP connections there are revoked at once: their clients get 401 with their next request."
            ),
        };
        let id = org.org.to_string();
        view! {
            <Card title="What happens">
                <div class="stack">
                    <ul class="consequences">
                        <li>"You see this organisation no more, and need an invitation to come back."</li>
                        <li>{connections}</li>
                        <li>"API keys that you made stay: they belong to the organisation."</li>
                    </ul>
                    <PostForm form=form>
                        <ErrorSummary form=form />
                        <input type="hidden" name="org" value=id />
                        <div class="actions">
                            <a class="button" href=paths::profile_account() autofocus>"Cancel"</a>
                            <SubmitButton form=form label="Leave organisation" busy="Leaving…" kind=ButtonKind::Danger />
                        </div>
                    </PostForm>
                </div>
            </Card>
        }
        .erase()
    };
    view! {
        <div class="narrow">
            <PageHeader title=title crumbs=crumbs() />
            {body}
        </div>
    }
    .erase()
}

fn delete(form: Form<DeleteAccount>, account: &OwnAccount) -> AnyView {
    let owned: Vec<&str> =
        account.orgs.iter().filter(|org| org.last_owner).map(|org| org.name.as_str()).collect();
    let connections: i64 = account.orgs.iter().map(|org| org.connections).sum();
    let email = account.email.clone();
    let body = if owned.is_empty() {
        let none = account.no_password;
        let password = your_password(form.into(), "Your password", none, paths::delete_account());
        let cut = format!("MCP connections of yours that are revoked at once: {connections}.");
        view! {
            <Card title="What happens">
                <div class="stack">
                    <ul class="consequences">
                        <li>"You are logged out everywhere, and leave all your organisations."</li>
                        <li>{cut}</li>
                        <li>"API keys and connectors that you made stay: they belong to the organisations."</li>
                        <li>"Your name and address leave the audit logs. What you did stays in them, without them."</li>
                        <li>"This cannot be undone."</li>
                    </ul>
                    <PostForm form=form>
                        <ErrorSummary form=form />
                        <TextField
                            form=form
                            name="email"
                            label="Type the address of your account"
                            hint=email
                            inputmode="email"
                        />
                        {password}
                        <div class="actions">
                            <a class="button" href=paths::profile_account()>"Cancel"</a>
                            <SubmitButton form=form label="Delete account" busy="Deleting…" kind=ButtonKind::Danger />
                        </div>
                    </PostForm>
                </div>
            </Card>
        }
        .erase()
    } else {
        let words =
            format!("You are the last owner of {}. Make another member an owner first.", owned.join(", "));
        view! {
            <Callout tone=Tone::Warn title="An organisation keeps at least one owner">
                <p>{words}</p>
            </Callout>
            <p><a class="button" href=paths::profile_account()>"Back to your account"</a></p>
        }
        .erase()
    };
    let mut way = crumbs();
    way.push(Crumb::new(paths::profile_account(), "Account"));
    view! {
        <div class="narrow">
            <PageHeader title="Delete your account?" crumbs=way />
            {body}
        </div>
    }
    .erase()
}

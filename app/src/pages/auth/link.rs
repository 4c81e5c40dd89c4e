//! What a one-time link opens: an invitation, a new password, an address to confirm, a sign-up to finish.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    links::{Dead, Guest, Invited, Link},
    paths,
};

use super::{
    links_api::{
        AcceptAsNew, AcceptInvitation, AskAnotherInvitation, ConfirmAddress, DeclineInvitation, FinishSignUp,
        LinkStart, LoadLink, ResetPassword, SwitchAccount,
    },
    org_fields::OrgFields,
};
use crate::{
    components::{
        ButtonKind, Callout, EmptyState, LinkButton, PageHeader, PasswordField, SubmitButton, TextField, Time,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, load_by, page_of_data, path_param},
    set_status,
};

const NAME_MAX: usize = 64;
const PASSWORD_HINT: &str = "At least 15 characters, or 8 beside a second factor. A few words that only you would put together are good.";

/// The page of every one-time link.
pub struct LinkPage {
    token: Memo<String>,
    start: Loaded<LinkStart>,
}

/// The forms that a link may lead to.
#[derive(Clone, Copy)]
struct Forms {
    new: Form<AcceptAsNew>,
    join: Form<AcceptInvitation>,
    decline: Form<DeclineInvitation>,
    switch: Form<SwitchAccount>,
    reset: Form<ResetPassword>,
    confirm: Form<ConfirmAddress>,
    sign_up: Form<FinishSignUp>,
    another: Form<AskAnotherInvitation>,
}

#[lazy_route]
impl LazyRoute for LinkPage {
    fn data() -> Self {
        Self { token: path_param("token"), start: load_by("token", |token| LoadLink { token }) }
    }

    fn view(this: Self) -> AnyView {
        let forms = Forms {
            new: use_form(),
            join: use_form(),
            decline: use_form(),
            switch: use_form(),
            reset: use_form(),
            confirm: use_form(),
            sign_up: use_form(),
            another: use_form(),
        };
        page_of_data(this.start, move |start| {
            let token = this.token.get_untracked();
            let hidden = Hidden { csrf: start.csrf, token };
            let body = match start.link {
                Link::Invitation(invited) => invitation(&forms, &hidden, &invited, start.now),
                Link::Reset(email) => reset(forms.reset, &hidden, &email),
                Link::Verify(email) => confirm(forms.confirm, &hidden, &email, false),
                Link::Email(email) => confirm(forms.confirm, &hidden, &email, true),
                Link::SignUp(email) => sign_up(forms.sign_up, &hidden, &email, start.endpoint),
                Link::Dead(dead) => nothing(forms.another, &hidden, dead, start.signed_in),
            };
            view! { <div class="alone">{body}</div> }.erase()
        })
    }
}

/// What every form of these pages takes along.
struct Hidden {
    csrf: String,
    token: String,
}

impl Hidden {
    fn fields(&self) -> AnyView {
        view! {
            <input type="hidden" name="csrf" value=self.csrf.clone() />
            <input type="hidden" name="token" value=self.token.clone() />
        }
        .erase()
    }
}

/// The address that an account gets, for whoever reads and for password managers.
fn address(email: &str) -> AnyView {
    view! {
        <div class="field">
            <p class="profile-label">"Email"</p>
            <p class="profile-value">{email.to_owned()}</p>
            <input type="hidden" name="username" autocomplete="username" value=email.to_owned() />
        </div>
    }
    .erase()
}

fn new_password(form: FormCore) -> AnyView {
    view! {
        <PasswordField form=form name="password" label="Password" hint=PASSWORD_HINT autocomplete="new-password" />
    }
    .erase()
}

fn invitation(forms: &Forms, hidden: &Hidden, invited: &Invited, now: i64) -> AnyView {
    let title = format!("Join {}", invited.org);
    let facts = view! {
        <dl class="facts">
            <div><dt>"Invited by"</dt><dd>{invited.inviter.clone()}</dd></div>
            <div><dt>"Your role"</dt><dd>{invited.role.name.clone()}</dd></div>
            <div><dt>"For"</dt><dd>{invited.email.clone()}</dd></div>
            <div><dt>"Works until"</dt><dd><Time at=invited.expires_at now=now /></dd></div>
        </dl>
    }
    .erase();
    let body = match &invited.guest {
        Guest::New => {
            let (form, fields) = (forms.new, hidden.fields());
            view! {
                <PostForm form=form>
                    <ErrorSummary form=form />
                    {fields}
                    <TextField form=form name="name" label="Your name" autocomplete="name" max=NAME_MAX />
                    {new_password(form.into())}
                    <SubmitButton form=form label="Make the account and join" busy="Joining…" />
                </PostForm>
                {decline(forms.decline, hidden)}
            }
            .erase()
        }
        Guest::LogIn => {
            let next = paths::sign_in_then(&paths::invitation(&hidden.token));
            view! {
                <p>"This address has an account. Log in with it, and come back here to accept."</p>
                <div class="actions">
                    <LinkButton href=next label="Log in" kind=ButtonKind::Primary />
                </div>
                {decline(forms.decline, hidden)}
            }
            .erase()
        }
        Guest::Join => {
            let (form, fields, label) = (forms.join, hidden.fields(), title.clone());
            view! {
                <PostForm form=form>
                    <ErrorSummary form=form />
                    {fields}
                    <SubmitButton form=form label=label busy="Joining…" />
                </PostForm>
                {decline(forms.decline, hidden)}
            }
            .erase()
        }
        Guest::Other(here) => {
            let (form, token) = (forms.switch, hidden.token.clone());
            view! {
                <p>
                    "You are logged in as " <strong>{here.clone()}</strong> ". This invitation is for "
                    <strong>{invited.email.clone()}</strong> "."
                </p>
                <PostForm form=form>
                    <ErrorSummary form=form />
                    <input type="hidden" name="token" value=token />
                    <SubmitButton form=form label="Switch account" busy="Logging out…" />
                </PostForm>
            }
            .erase()
        }
        Guest::Member => view! {
            <p>"You are a member of this organisation."</p>
            <div class="actions">
                <LinkButton href=paths::overview() label="Go to the overview" kind=ButtonKind::Primary />
            </div>
        }
        .erase(),
        Guest::Closed => view! {
            <p>
                "Accounts on this instance are made by whoever operates it. Ask them for one with this address, then open this link again."
            </p>
        }
        .erase(),
    };
    view! {
        <PageHeader title=title />
        <div class="stack">{facts} {body}</div>
    }
    .erase()
}

fn decline(form: Form<DeclineInvitation>, hidden: &Hidden) -> AnyView {
    let fields = hidden.fields();
    view! {
        <PostForm form=form>
            <ErrorSummary form=form />
            {fields}
            <SubmitButton form=form label="Decline" busy="Declining…" kind=ButtonKind::Quiet />
        </PostForm>
    }
    .erase()
}

fn reset(form: Form<ResetPassword>, hidden: &Hidden, email: &str) -> AnyView {
    let (fields, email) = (hidden.fields(), address(email));
    view! {
        <PageHeader title="Set a new password" />
        <PostForm form=form>
            <ErrorSummary form=form />
            {fields}
            {email}
            {new_password(form.into())}
            <p class="hint">
                "All of your sessions end, and the MCP clients that you connected have to be connected again."
            </p>
            <SubmitButton form=form label="Set the password" busy="Setting…" />
        </PostForm>
    }
    .erase()
}

fn confirm(form: Form<ConfirmAddress>, hidden: &Hidden, email: &str, new: bool) -> AnyView {
    let (title, about, label) = if new {
        (
            "Use this address",
            "You log in with it from now on. The present address gets a notice.",
            "Use this address",
        )
    } else {
        (
            "Confirm your address",
            "So it is known that mails about your account reach you.",
            "Confirm the address",
        )
    };
    let (fields, email) = (hidden.fields(), address(email));
    view! {
        <PageHeader title=title about=about />
        <PostForm form=form>
            <ErrorSummary form=form />
            {fields}
            {email}
            <SubmitButton form=form label=label busy="Confirming…" />
        </PostForm>
    }
    .erase()
}

fn sign_up(form: Form<FinishSignUp>, hidden: &Hidden, email: &str, endpoint: String) -> AnyView {
    let (fields, email) = (hidden.fields(), address(email));
    view! {
        <PageHeader title="Finish your sign-up" about="You become the owner of a new organisation." />
        <PostForm form=form>
            <ErrorSummary form=form />
            {fields}
            <h2>"You"</h2>
            {email}
            <TextField form=form name="name" label="Your name" autocomplete="name" max=NAME_MAX />
            {new_password(form.into())}
            <h2 class="auth-part">"Your organisation"</h2>
            <OrgFields form=form name="org_name" slug="org_slug" endpoint=endpoint />
            <SubmitButton form=form label="Make the account" busy="Making…" />
        </PostForm>
    }
    .erase()
}

/// Asks whoever invited for another link.
fn ask_another(form: Form<AskAnotherInvitation>, hidden: &Hidden) -> AnyView {
    let (csrf, token) = (hidden.csrf.clone(), hidden.token.clone());
    let body = move || {
        if form.ok().get().is_some() {
            return view! {
                <Callout title="Asked">
                    <p>"If this invitation can be renewed, whoever made it was told. They decide; a new link comes to you from them."</p>
                </Callout>
            }
            .erase();
        }
        let (csrf, token) = (csrf.clone(), token.clone());
        view! {
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="csrf" value=csrf />
                <input type="hidden" name="token" value=token />
                <SubmitButton form=form label="Ask for another invitation" busy="Asking…" />
            </PostForm>
        }
        .erase()
    };
    view! { <div role="status">{body}</div> }.erase()
}

fn nothing(form: Form<AskAnotherInvitation>, hidden: &Hidden, dead: Dead, signed_in: bool) -> AnyView {
    set_status(404);
    let (title, about) = match dead {
        Dead::Unknown => (
            "This link does not work",
            "It was used, has expired, was replaced by a newer one, or is cut off. Open the newest mail, or ask for another link.",
        ),
        Dead::Expired => (
            "This invitation has expired",
            "Invitations work for seven days. Ask whoever invited you for another one.",
        ),
        Dead::Withdrawn => {
            ("This invitation was withdrawn", "Ask whoever invited you, if you think that this is a mistake.")
        }
        Dead::Accepted => ("This invitation was accepted", "If that was you, log in. It works once."),
        Dead::Declined => (
            "This invitation was declined",
            "Ask whoever invited you for another one, if you changed your mind.",
        ),
    };
    let another = matches!(dead, Dead::Expired | Dead::Declined).then(|| ask_another(form, hidden));
    let kind = if another.is_some() { ButtonKind::Secondary } else { ButtonKind::Primary };
    let (href, label) =
        if signed_in { (paths::overview(), "Go to the overview") } else { (paths::sign_in(), "Log in") };
    view! {
        <PageHeader title=title />
        <EmptyState icon="unlink" title="Nothing was changed" about=about>
            <LinkButton href=href label=label kind=kind />
        </EmptyState>
        {another}
    }
    .erase()
}

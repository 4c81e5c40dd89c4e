//! The pages that ask for an address: a forgotten password and sign-up, answered with a mail, and logging in with SSO.

use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{links::SignUp, paths};

use super::{
    links_api::{AskReset, AskSignUp, AskStart, LoadAsk, StartSso},
    sso::sso_form,
};
use crate::{
    components::{ButtonKind, LinkButton, PageHeader, SubmitButton, TextField},
    copy,
    erase::Erase as _,
    form::{ErrorSummary, FormCore, PostForm, use_form},
    page::{Loaded, load, page_of_data, query_param},
};

/// Forgotten password at one address, sign-up at another, SSO at a third.
pub struct AskPage {
    start: Loaded<AskStart>,
}

#[lazy_route]
impl LazyRoute for AskPage {
    fn data() -> Self {
        Self { start: load(LoadAsk {}) }
    }

    fn view(this: Self) -> AnyView {
        let (reset, sign_up) = (use_form::<AskReset>(), use_form::<AskSignUp>());
        let (sso, next) = (use_form::<StartSso>(), query_param("next"));
        let path = use_location().pathname;
        page_of_data(this.start, move |start| {
            if path.get_untracked() == paths::sign_in_sso() {
                sso_form(sso, start.csrf, &next.get_untracked())
            } else if path.get_untracked() == paths::sign_up() {
                match start.sign_up {
                    SignUp::Open => {
                        form_of(sign_up.into(), move || sign_up.ok().get().is_some(), start, &SIGN_UP)
                    }
                    SignUp::Invitation => not_open(
                        "Accounts here are made by invitation",
                        "Ask an owner or admin of the organisation that you want to join to invite you. The link comes by email.",
                    ),
                    SignUp::Closed => not_open(
                        "Accounts here are made by the operator",
                        "Ask whoever operates this instance for an account.",
                    ),
                }
            } else {
                form_of(reset.into(), move || reset.ok().get().is_some(), start, &RESET)
            }
        })
    }
}

/// The words of a page.
struct Words {
    title: &'static str,
    about: &'static str,
    button: &'static str,
    sent: &'static str,
    not_there: &'static str,
}

const RESET: Words = Words {
    title: "Set a new password",
    about: "Enter the address that you log in with. You get a link that works once, within 30 minutes.",
    button: "Send the link",
    sent: "If an account has this address, a link to set a new password is on its way.",
    not_there: "Nothing arrives? Look into the spam folder, and check that it is the address you log in with.",
};

const SIGN_UP: Words = Words {
    title: "Sign up",
    about: "Enter your address. You get a link to choose a name, a password and an organisation.",
    button: "Send the link",
    sent: "A mail to this address is on its way. The link in it works once, within 30 minutes.",
    not_there: "Nothing arrives? Look into the spam folder, or send it again in a few minutes.",
};

fn form_of(
    form: FormCore,
    sent: impl Fn() -> bool + Clone + Send + Sync + 'static,
    start: AskStart,
    words: &'static Words,
) -> AnyView {
    let AskStart { csrf, mails, .. } = start;
    let body = move || {
        if sent() {
            let (title, sent, then) = if mails {
                ("Look into your mailbox", words.sent, words.not_there)
            } else {
                (
                    "Ask whoever operates this instance",
                    "This instance sends no mail. The link is in its log within a few seconds, if there is one for this address.",
                    "It works once, within 30 minutes. They can also make one with gatehouse admin user reset-link.",
                )
            };
            view! {
                <PageHeader title=title />
                <div class="stack" role="status">
                    <p>{sent}</p>
                    <p class="muted">{then}</p>
                </div>
            }
            .erase()
        } else {
            let csrf = csrf.clone();
            view! {
                <PageHeader title=words.title about=words.about />
                <PostForm form=form>
                    <ErrorSummary form=form />
                    <input type="hidden" name="csrf" value=csrf />
                    <TextField
                        form=form
                        name="email"
                        label="Email"
                        kind="email"
                        inputmode="email"
                        autocomplete="username"
                    />
                    <SubmitButton form=form label=words.button busy="Sending…" />
                </PostForm>
            }
            .erase()
        }
    };
    view! {
        <div class="alone">
            {body}
            <p class="auth-note"><a href=paths::sign_in()>"Back to the log-in page"</a></p>
        </div>
    }
    .erase()
}

fn not_open(title: &'static str, about: &'static str) -> AnyView {
    view! {
        <div class="alone">
            <PageHeader title=title />
            <div class="stack">
                <p>{about}</p>
                <div class="actions">
                    <LinkButton href=paths::sign_in() label=format!("Log in to {}", copy::PRODUCT) kind=ButtonKind::Primary />
                </div>
            </div>
        </div>
    }
    .erase()
}

//! The second factor: set up, backup codes, turn off.

use leptos::prelude::*;
use model::{
    factors::{BACKUP_CODES, Enrolment, PasskeyPurpose, SecondStep, TwoFactor},
    paths,
};

use super::{
    api::{BeginTwoFactor, ConfirmIdentity, ConfirmTwoFactor, MakeBackupCodes, TurnOffTwoFactor},
    confirm_you,
};
use crate::{
    components::{
        Badge, ButtonForm, ButtonKind, Callout, Card, CopyButton, CopyField, Crumb, Fact, Facts, LinkButton,
        PageHeader, SubmitButton, TextField, Time, Tone, passkey_button,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm},
    pages::deletion::your_password,
};

/// What the page can do.
#[derive(Clone, Copy)]
pub(super) struct Forms {
    pub(super) confirm_you: Form<ConfirmIdentity>,
    pub(super) begin: Form<BeginTwoFactor>,
    pub(super) confirm: Form<ConfirmTwoFactor>,
    pub(super) codes: Form<MakeBackupCodes>,
    pub(super) off: Form<TurnOffTwoFactor>,
}

pub(super) fn view(forms: &Forms, status: TwoFactor, next: String) -> AnyView {
    let forms = *forms;
    let next = paths::safe_next(Some(&next).filter(|next| !next.is_empty()).map(String::as_str)).to_owned();
    let lacking = status.since.is_none() && status.passkeys == 0;
    let forced = (lacking && !status.required_by.is_empty()).then(|| {
        let orgs = status.required_by.join(", ");
        view! {
            <Callout tone=Tone::Warn title=format!("{orgs} requires a second factor")>
                <p>"Until you have set one up, you can do nothing there. It takes two minutes, with a passkey or any authenticator app."</p>
            </Callout>
        }
        .erase()
    });
    // On the way to somewhere, that is the end of both ways.
    let passkeys = if next == paths::overview() {
        paths::profile_passkeys().to_owned()
    } else {
        paths::profile_passkeys_then(&next)
    };
    let body = move || {
        let made = forms.confirm.ok().get().or_else(|| forms.codes.ok().get());
        match (made, forms.begin.ok().get()) {
            (Some(codes), _) => backup_codes(&codes, &next, paths::profile_two_factor()),
            (None, Some(enrolment)) => enrol(&forms, Some(enrolment)),
            (None, None) if status.enrolling && status.fresh => {
                let on = status.since.is_some().then(|| manage(&forms, &status));
                view! { {enrol(&forms, None)} {on} }.erase()
            }
            (None, None) => view! { {manage(&forms, &status)} {beside(&status, &passkeys)} }.erase(),
        }
    };
    view! {
        <div class="narrow">
            <PageHeader
                title="Two-factor authentication"
                crumbs=vec![Crumb::new(paths::profile(), "Profile")]
                about="A code from your phone beside your password: a stolen password alone opens nothing."
            />
            <div class="stack-wide">
                {forced}
                {body}
            </div>
        </div>
    }
    .erase()
}

/// The other kind of second factor.
fn beside(status: &TwoFactor, href: &str) -> Option<AnyView> {
    let about = match status.passkeys {
        _ if !status.offer.is_offered() => return None,
        0 => "Your fingerprint, face or device PIN in place of codes. It logs you in without a password as well.".to_owned(),
        1 => "You have one passkey.".to_owned(),
        n => format!("You have {n} passkeys."),
    };
    let label = if status.passkeys == 0 { "Use a passkey instead" } else { "See your passkeys" };
    let href = href.to_owned();
    Some(
        view! {
            <Card title="Passkeys" about=about>
                <LinkButton href=href label=label icon="key-round" />
            </Card>
        }
        .erase(),
    )
}

fn manage(forms: &Forms, status: &TwoFactor) -> AnyView {
    let forms = *forms;
    let now = status.now;
    let on = status.since.is_some();
    let state = match status.since {
        None => view! {
            <Card title="Authenticator app" action=view! { <Badge label="Off" tone=Tone::Neutral /> }.erase()>
                <p class="muted">"Any app for six-digit codes will do, such as the one that your password manager has."</p>
            </Card>
        }
        .erase(),
        Some(since) => {
            let used = match status.last_used_at {
                Some(at) => view! { <Time at=at now=now /> }.erase(),
                None => "Never used".into_any(),
            };
            let left = format!("{} of {BACKUP_CODES} left", status.codes_left);
            view! {
                <Card title="Authenticator app" action=view! { <Badge label="On" tone=Tone::Ok /> }.erase()>
                    <Facts>
                        <Fact term="Set up"><Time at=since now=now /></Fact>
                        <Fact term="Last code">{used}</Fact>
                        <Fact term="Backup codes">{left}</Fact>
                    </Facts>
                </Card>
            }
            .erase()
        }
    };
    if !status.fresh {
        return view! {
            {state}
            {confirm_you(forms.confirm_you, paths::profile_two_factor(), SecondStep { app: on, passkey: status.passkeys > 0, no_password: status.no_password })}
        }
        .erase();
    }
    let acts = if on {
        manage_on(&forms, status)
    } else {
        view! {
            <Card title="Turn it on" about="You get a QR code, enter one code to show that it works, and keep ten backup codes.">
                <ErrorSummary form=forms.begin />
                <ButtonForm form=forms.begin label="Turn on two-factor authentication" kind=ButtonKind::Primary />
            </Card>
        }
        .erase()
    };
    view! { {state} {acts} }.erase()
}

fn manage_on(forms: &Forms, status: &TwoFactor) -> AnyView {
    let forms = *forms;
    let warning = (status.codes_left <= 3).then(|| {
        view! {
            <Callout tone=Tone::Warn title=format!("{} backup codes left", status.codes_left)>
                <p>"Make new ones before you run out: they are the way in when your phone is gone."</p>
            </Callout>
        }
        .erase()
    });
    let off = if status.required_by.is_empty() || status.passkeys > 0 {
        let passkey =
            (status.passkeys > 0).then(|| passkey_button(PasskeyPurpose::Confirm, "Turn off with a passkey"));
        let here = paths::profile_two_factor();
        let password = your_password(forms.off.into(), "Password", status.no_password, here);
        view! {
            <PostForm form=forms.off>
                <ErrorSummary form=forms.off />
                {password}
                <TextField
                    form=forms.off
                    name="code"
                    label="Code"
                    hint="From your app, or a backup code."
                    autocomplete="one-time-code"
                    inputmode="text"
                    mono=true
                />
                <SubmitButton form=forms.off label="Turn off 2FA" busy="Turning off…" kind=ButtonKind::Danger />
                {passkey}
            </PostForm>
        }
        .erase()
    } else {
        let orgs = status.required_by.join(", ");
        view! { <p>"It cannot be turned off: " <strong>{orgs}</strong> " requires it. You can set up another app in place of this one."</p> }
            .erase()
    };
    let about_off = if status.passkeys > 0 {
        "Your passkeys are your second factor then. The backup codes stay."
    } else {
        "Your password alone opens your account then, and the backup codes are worth nothing."
    };
    view! {
        {warning}
        <Card title="Backup codes" about="Each opens once, in place of the app. New ones replace all of the old ones.">
            <ErrorSummary form=forms.codes />
            <ButtonForm form=forms.codes label="Make new backup codes" />
        </Card>
        <Card title="Another phone or app" about="The present one keeps working until a code of the new one has confirmed it.">
            <ErrorSummary form=forms.begin />
            <ButtonForm form=forms.begin label="Set up another app" />
        </Card>
        <Card title="Turn it off" about=about_off>
            {off}
        </Card>
    }
    .erase()
}

/// The app is told the secret, and shows a code. Without the secret it was told before.
fn enrol(forms: &Forms, enrolment: Option<Enrolment>) -> AnyView {
    let forms = *forms;
    let scan = match enrolment {
        Some(enrolment) => {
            let (size, path) = (enrolment.qr_size, enrolment.qr_path);
            let whole = size + 8;
            let view_box = format!("-4 -4 {whole} {whole}");
            let secret = enrolment.secret.clone();
            view! {
                <Card title="1. Scan this with your app" about="It is shown once. Nothing has changed yet.">
                    <div class="qr">
                        <svg viewBox=view_box role="img" aria-label="QR code with the setup key below">
                            <rect x="-4" y="-4" width=whole.to_string() height=whole.to_string() fill="#fff" />
                            <path d=path fill="#000" />
                        </svg>
                        <div class="stack">
                            <p>"Cannot scan? Type this setup key into the app, as a code by time:"</p>
                            <CopyField label="setup key" text=secret.replace(' ', "") shown=secret />
                            <p><a href=enrolment.uri rel="external">"Open it in an app on this device"</a></p>
                        </div>
                    </div>
                </Card>
            }
            .erase()
        }
        None => view! {
            <Callout title="Your app has the setup key already">
                <p>"It is not shown again. If you did not scan it, begin again."</p>
                <ButtonForm form=forms.begin label="Show a new QR code" />
            </Callout>
        }
        .erase(),
    };
    view! {
        {scan}
        <Card title="2. Enter the code that the app shows">
            <PostForm form=forms.confirm>
                <ErrorSummary form=forms.confirm />
                <TextField
                    form=forms.confirm
                    name="code"
                    label="Code"
                    hint="Six digits. They change every thirty seconds."
                    autocomplete="one-time-code"
                    inputmode="numeric"
                    max=7
                    mono=true
                />
                <SubmitButton form=forms.confirm label="Turn on" busy="Turning on…" />
            </PostForm>
        </Card>
    }
    .erase()
}

/// Shown once. The way on is a real navigation, so that they leave the page.
pub(crate) fn backup_codes(codes: &[String], next: &str, here: &'static str) -> AnyView {
    let text = codes.join("\n");
    let file = format!("data:text/plain;charset=utf-8,{}", paths::encode(&format!("{text}\n")));
    let items =
        codes.iter().map(|code| view! { <li><code>{code.clone()}</code></li> }.erase()).collect_view();
    let (href, label) = if next == paths::overview() {
        (here.to_owned(), "I have saved them")
    } else {
        (next.to_owned(), "I have saved them, go on")
    };
    view! {
        <Card
            title="Your backup codes"
            about="Two-factor authentication is on. Keep these where your phone is not: each opens once when you have no app at hand. They are not shown again."
        >
            <div class="stack" role="status">
                <ol class="backup-codes">{items}</ol>
                <div class="actions">
                    <CopyButton text=text name="Copy all backup codes" label="Copy all" />
                    <a class="button" href=file download="gatehouse-backup-codes.txt" rel="external">"Download"</a>
                    <a class="button primary" href=href rel="external">{label}</a>
                </div>
            </div>
        </Card>
    }
    .erase()
}

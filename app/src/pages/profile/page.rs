use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{
    orgs::{Me, SessionInfo, TrustedBrowser},
    paths,
};

use super::{
    api::{
        Browsers, DistrustBrowser, LoadSessions, LoadTheme, RevokeOtherSessions, RevokeSession, UpdateProfile,
    },
    device::device,
};
use crate::{
    components::{
        Badge, ButtonKind, Card, Choice, Crumb, DataTable, Dialog, DialogActions, LinkButton, OpenDialog,
        PageHeader, RadioGroup, SubmitButton, TextField, Time, Tone, Unsaved,
    },
    form::{ErrorSummary, Form, PostForm, use_form, use_form_for},
    page::{Loaded, load, page},
    pages::auth::api::SetTheme,
    state::Theme,
};

const NAME_MAX: usize = 64;

/// Profile.
pub struct ProfilePage {
    theme: Loaded<String>,
}

#[lazy_route]
impl LazyRoute for ProfilePage {
    fn data() -> Self {
        Self { theme: load(LoadTheme {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<UpdateProfile>();
        let appearance = use_form::<SetTheme>();
        show_chosen(appearance);
        page(this.theme, move |theme, me| profile(save, appearance, theme, me))
    }
}

/// Without scripts the next page comes in the chosen theme; with them this one changes at once.
fn show_chosen(form: Form<SetTheme>) {
    Effect::new(move |_| {
        if let (Some(name), Some(root)) = (form.ok().get(), document().document_element()) {
            _ = match Theme::parse(&name) {
                Some(theme) => root.set_attribute("data-theme", theme.as_str()),
                None => root.remove_attribute("data-theme"),
            };
        }
    });
}

fn profile(save: Form<UpdateProfile>, appearance: Form<SetTheme>, theme: String, me: Me) -> AnyView {
    let choices = vec![
        Choice::new("system", "As the system has it"),
        Choice::new("light", "Light"),
        Choice::new("dark", "Dark"),
    ];
    view! {
        <div class="narrow">
            <PageHeader title="Profile" about="How others in your organisations see you." />
            <Card title="You">
                <PostForm form=save>
                    <ErrorSummary form=save />
                    <TextField
                        form=save
                        name="name"
                        label="Name"
                        value=me.name
                        autocomplete="name"
                        max=NAME_MAX
                    />
                    <div class="field">
                        <p class="profile-label">"Email"</p>
                        <p class="hint">"You log in with it. " <a href=paths::profile_account()>"Change email or password"</a></p>
                        <p class="profile-value">{me.email}</p>
                    </div>
                    <div class="actions">
                        <SubmitButton form=save label="Save name" />
                        <Unsaved />
                    </div>
                </PostForm>
            </Card>
            <Card title="Appearance" about="For this browser only.">
                <PostForm form=appearance>
                    <ErrorSummary form=appearance />
                    <input type="hidden" name="next" value=format!("{}?notice=saved", paths::profile()) />
                    <RadioGroup form=appearance name="theme" label="Theme" value=theme choices=choices />
                    <SubmitButton form=appearance label="Save theme" kind=ButtonKind::Secondary />
                </PostForm>
            </Card>
            <Card title="Account" about="Email, password, and the organisations that you are a member of.">
                <LinkButton href=paths::profile_account() label="See your account" icon="user" />
            </Card>
            <Card title="Security" about="What opens your account beside your password, or in place of it.">
                <div class="actions">
                    <LinkButton href=paths::profile_passkeys() label="Passkeys" icon="key-round" />
                    <LinkButton href=paths::profile_two_factor() label="Two-factor authentication" icon="shield-check" />
                    <LinkButton href=paths::profile_pin() label="PIN" icon="lock" />
                </div>
            </Card>
            <Card title="My connections" about="The MCP clients that act as you.">
                <LinkButton href=paths::profile_connections() label="See your connections" icon="link" />
            </Card>
            <Card title="My authorisations" about="Servers of connectors that want to know who you are.">
                <LinkButton href=paths::profile_authorizations() label="See your authorisations" icon="key-round" />
            </Card>
            <Card title="Sessions" about="The browsers in which you are logged in.">
                <LinkButton href=paths::profile_sessions() label="See your sessions" icon="monitor" />
            </Card>
        </div>
    }
    .erase()
}

/// Sessions.
pub struct SessionsPage {
    data: Loaded<Browsers>,
}

#[lazy_route]
impl LazyRoute for SessionsPage {
    fn data() -> Self {
        Self { data: load(LoadSessions {}) }
    }

    fn view(this: Self) -> AnyView {
        let others = use_form::<RevokeOtherSessions>();
        // Without scripts, a session that was gone already has no row any more to say so.
        let gone = use_form::<RevokeSession>();
        // The page of its own that the dialog is without scripts.
        let query = use_query_map();
        let asked = Signal::derive(move || query.with(|query| query.get_str("confirm") == Some(OTHERS)));
        page(this.data, move |browsers, _| sessions_view(others, gone, asked, browsers))
    }
}

const OTHERS: &str = "others";
const DIALOG: &str = "end-other-sessions";

fn sessions_view(
    others: Form<RevokeOtherSessions>,
    gone: Form<RevokeSession>,
    asked: Signal<bool>,
    browsers: Browsers,
) -> AnyView {
    let Browsers { sessions, trusted, now } = browsers;
    let trusted = (!trusted.is_empty()).then(|| trusted_view(&trusted, now));
    let count = sessions.iter().filter(|session| !session.current).count();
    let gone = gone
        .value_of("id")
        .is_some_and(|id| sessions.iter().all(|session| session.id.to_string() != id))
        .then(|| view! { <ErrorSummary form=gone /> }.erase());
    let (rows, failures): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .map(|session| {
            let end = use_form_for::<RevokeSession>("id", session.id);
            (row(&session, end, now), view! { <ErrorSummary form=end /> }.erase())
        })
        .unzip();
    let about = match count {
        0 => "You are logged in nowhere else.".to_owned(),
        1 => "You are logged in here and in one other browser.".to_owned(),
        many => format!("You are logged in here and in {many} other browsers."),
    };
    let all = (count > 0).then(|| end_others(others, asked, count));
    view! {
        <PageHeader title="Sessions" crumbs=vec![Crumb::new(paths::profile(), "Profile")] about=about />
        <div class="stack">
            <ErrorSummary form=others />
            {gone}
            {failures}
            <DataTable
                caption="Browsers in which you are logged in"
                columns=vec!["Device", "Address", "Signed in", "With", "Last active", ""]
            >
                {rows}
            </DataTable>
            <p class="fine">"Last active is at most a minute behind. A browser that is not used is logged out by itself."</p>
            {all}
            {trusted}
        </div>
    }
    .erase()
}

/// The browsers in which the password alone logs in.
fn trusted_view(browsers: &[TrustedBrowser], now: i64) -> AnyView {
    let (rows, failures): (Vec<_>, Vec<_>) = browsers
        .iter()
        .map(|browser| {
            let end = use_form_for::<DistrustBrowser>("id", browser.id);
            (trusted_row(browser, end, now), view! { <ErrorSummary form=end /> }.erase())
        })
        .unzip();
    view! {
        <h2>"Trusted browsers"</h2>
        <p class="muted">"In these, your password logs you in without the second factor. None stays trusted when you change your password or a factor."</p>
        {failures}
        <DataTable
            caption="Browsers that skip the second factor"
            columns=vec!["Device", "Address", "Trusted", "Until", ""]
        >
            {rows}
        </DataTable>
    }
    .erase()
}

fn trusted_row(browser: &TrustedBrowser, end: Form<DistrustBrowser>, now: i64) -> AnyView {
    let device = device(&browser.user_agent);
    let address = if browser.address.is_empty() { "Unknown".to_owned() } else { browser.address.clone() };
    let badge = browser.current.then(|| view! { <Badge label="This browser" tone=Tone::Ok /> }.erase());
    let name = format!("Trust {device} at {address} no more");
    view! {
        <tr>
            <th scope="row" data-label="Device">
                <span title=browser.user_agent.clone()>{device}</span>
            </th>
            <td data-label="Address"><span class="mono">{address}</span></td>
            <td data-label="Trusted"><Time at=browser.created_at now=now /></td>
            <td data-label="Until"><Time at=browser.expires_at now=now /></td>
            <td>
                <div class="row-actions">
                    {badge}
                    <PostForm form=end class="inline-form">
                        <SubmitButton form=end label="Trust no more" name=name busy="Ending…" kind=ButtonKind::Secondary />
                    </PostForm>
                </div>
            </td>
        </tr>
    }
    .erase()
}

fn row(session: &SessionInfo, end: Form<RevokeSession>, now: i64) -> AnyView {
    let device = device(&session.user_agent);
    let address = if session.address.is_empty() { "Unknown".to_owned() } else { session.address.clone() };
    let act = if session.current {
        view! { <Badge label="This session" tone=Tone::Ok /> }.erase()
    } else {
        let name = format!("Revoke the session of {device} at {address}");
        view! {
            <PostForm form=end class="inline-form">
                <SubmitButton form=end label="Revoke" name=name busy="Revoking…" kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    };
    view! {
        <tr>
            <th scope="row" data-label="Device">
                <span title=session.user_agent.clone()>{device}</span>
            </th>
            <td data-label="Address"><span class="mono">{address}</span></td>
            <td data-label="Signed in"><Time at=session.created_at now=now /></td>
            <td data-label="With">{if session.way.is_empty() { "Unknown".to_owned() } else { session.way.clone() }}</td>
            <td data-label="Last active"><Time at=session.last_seen_at now=now /></td>
            <td>
                <div class="row-actions">{act}</div>
            </td>
        </tr>
    }
    .erase()
}

fn end_others(form: Form<RevokeOtherSessions>, asked: Signal<bool>, count: usize) -> AnyView {
    let what = if count == 1 { "1 other browser".to_owned() } else { format!("{count} other browsers") };
    view! {
        <div class="actions">
            <OpenDialog
                dialog=DIALOG
                label="Sign out other sessions"
                icon="log-out"
                href=format!("{}?confirm={OTHERS}", paths::profile_sessions())
            />
        </div>
        <Dialog id=DIALOG title="Sign out your other sessions?" open=asked>
            <ul>
                <li>{format!("{what} will have to log in again, at once.")}</li>
                <li>"This session stays. API keys and connected agents keep working."</li>
            </ul>
            <PostForm form=form>
                <DialogActions form=form dialog=DIALOG label="Sign out other sessions" busy="Signing out…" />
            </PostForm>
        </Dialog>
    }
    .erase()
}

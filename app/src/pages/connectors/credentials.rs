use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{
    Permission,
    connectors::Transport,
    credentials::{Authorization, ClientSource, CredentialKind, Credentials, SignInLink},
    paths,
};

use super::{
    api_credentials::{BeginAuthorization, CredentialsData, Disconnect, LoadCredentials, PutCredentials},
    parts::counted,
};
use crate::{
    components::{
        Badge, ButtonKind, Callout, Card, Choice, CopyField, Crumb, Fact, Facts, LinkButton, PageHeader,
        PasswordField, RadioGroup, SubmitButton, TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// How a connector authenticates itself to its server.
pub struct CredentialsPage {
    data: Loaded<CredentialsData>,
}

#[lazy_route]
impl LazyRoute for CredentialsPage {
    fn data() -> Self {
        Self { data: load_by("id", |id| LoadCredentials { id }) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<PutCredentials>();
        let begin = use_form::<BeginAuthorization>();
        let end = use_form::<Disconnect>();
        let query = use_query_map();
        page(this.data, move |data, me| {
            let may_write = me.can(Permission::ConnectorsWrite);
            let CredentialsData { credentials, transport, .. } = &data;
            let name = credentials.name.clone();
            let (id, given) = (credentials.connector, credentials.authorization.is_some());
            let asked = move || {
                let asks = query.with(|query| query.get_str("disconnect").is_some());
                (asks && may_write && given)
                    .then(|| question(end, id.to_string(), paths::connector_credentials(id)))
            };
            let form = match transport {
                Transport::Demo => view! {
                    <Callout tone=Tone::Neutral><p>"The demo server is in Gatehouse itself and takes no credentials."</p></Callout>
                }
                .erase(),
                Transport::Stdio => view! {
                    <Callout tone=Tone::Neutral><p>"This server runs on the machine of Gatehouse. What it needs to know, the operator writes into its environment in the configuration file."</p></Callout>
                }
                .erase(),
                Transport::Http | Transport::Sse if may_write => change(save, &data),
                Transport::Http | Transport::Sse => view! {
                    <Callout tone=Tone::Neutral>
                        <p>"You need " <code>{Permission::ConnectorsWrite.as_str()}</code> " to change this. Ask an owner, admin or developer of this organisation."</p>
                    </Callout>
                }
                .erase(),
            };
            view! {
                <div class="narrow">
                    <PageHeader
                        title="Credentials"
                        crumbs=vec![
                            Crumb::new(paths::connectors(), "Connectors"),
                            Crumb::new(paths::connector(id), name.clone()),
                        ]
                        about=format!("How Gatehouse shows {name} who asks. What callers show Gatehouse is never passed on.")
                    />
                    <div class="stack-wide">
                        <ErrorSummary form=begin />
                        <ErrorSummary form=end />
                        {move || begin.ok().get().map(|link| on_the_way(&link))}
                        {asked}
                        {state(&data, may_write, begin)}
                        {form}
                    </div>
                </div>
            }
            .erase()
        })
    }
}

/// The step out of here. It is a link of its own, so that people see where they go before they type a password there.
pub(crate) fn on_the_way(link: &SignInLink) -> AnyView {
    let (label, url) = (format!("Continue to {}", link.host), link.url.clone());
    view! {
        <div role="status">
            <Callout tone=Tone::Info title=format!("Sign in at {}", link.host)>
                <p>
                    "It asks you whether Gatehouse may use the server, then sends you back here. Do it in this browser, within \
                     ten minutes."
                </p>
                <p><a class=ButtonKind::Primary.class() href=url rel="external noreferrer">{label}</a></p>
            </Callout>
        </div>
    }
    .erase()
}

fn question(form: Form<Disconnect>, id: String, back: String) -> AnyView {
    view! {
        <Card title="Disconnect from this server?">
            <div class="stack">
                <ul class="consequences">
                    <li>"Gatehouse erases its tokens now. Calls of this connector fail until somebody authorises it again."</li>
                    <li>"Its tools stay in the list, and each call says why it fails."</li>
                    <li>"The server's own list of allowed apps is not changed: take Gatehouse out there as well."</li>
                </ul>
                <PostForm form=form>
                    <input type="hidden" name="id" value=id />
                    <div class="actions">
                        <a class="button" href=back>"Cancel"</a>
                        <SubmitButton form=form label="Disconnect" busy="Disconnecting…" kind=ButtonKind::Danger />
                    </div>
                </PostForm>
            </div>
        </Card>
    }
    .erase()
}

/// The badge of an authorisation.
pub(crate) fn badge(authorization: Option<&Authorization>) -> AnyView {
    let (label, tone) = match authorization {
        None => ("Not authorised", Tone::Neutral),
        Some(given) if given.lost.is_some() => ("Needs re-authorisation", Tone::Bad),
        Some(_) => ("Authorised", Tone::Ok),
    };
    view! { <Badge label=label tone=tone /> }.erase()
}

/// Why an authorisation has to be given again.
pub(crate) fn lost(authorization: Option<&Authorization>, now: i64) -> Option<AnyView> {
    let (at, why) = authorization?.lost.clone()?;
    Some(
        view! {
            <Callout tone=Tone::Bad title="Needs re-authorisation">
                <p class="server-text">{why} " Since " <Time at=at now=now /> "."</p>
                <p>"Its tools stay listed. Calls fail with this reason until it is authorised again."</p>
            </Callout>
        }
        .erase(),
    )
}

fn state(data: &CredentialsData, may_write: bool, begin: Form<BeginAuthorization>) -> AnyView {
    let Credentials { kind, headers, .. } = data.credentials;
    if kind == CredentialKind::Static {
        let edit = paths::edit_connector(data.credentials.connector);
        let what = if headers == 0 { "None".to_owned() } else { counted(headers, "static header") };
        let edit = (may_write && matches!(data.transport, Transport::Http | Transport::Sse))
            .then(|| view! { " " <a href=edit>"Change static headers"</a> }.erase());
        return view! {
            <Card title="State">
                <Facts>
                    <Fact term="Way"><span>{what} {edit}</span></Fact>
                </Facts>
            </Card>
        }
        .erase();
    }
    oauth_state(data, may_write, begin)
}

fn oauth_state(data: &CredentialsData, may_write: bool, begin: Form<BeginAuthorization>) -> AnyView {
    let shown = &data.credentials;
    let now = data.now;
    let given = shown.authorization.as_ref();
    let personal = shown.kind == CredentialKind::PerUser;
    let by_person = shown.kind == CredentialKind::AuthorizationCode;
    let wanted =
        Some(shown.scope_wanted.clone()).filter(|scope| !scope.is_empty() && (personal || by_person));
    let wanted = wanted.map(|scope| {
        view! {
            <Callout tone=Tone::Warn title="The server wants a wider permission">
                <p>"A call was refused for want of " <code>{scope}</code> ". Authorise it again to give it."</p>
            </Callout>
        }
        .erase()
    });
    let client = shown.client.as_ref().map(|(id, source)| {
        let how = match source {
            ClientSource::Typed => "typed here",
            ClientSource::Document => "a document that this instance serves",
            ClientSource::Registered => "registered by Gatehouse",
        };
        let secret = if shown.has_secret { ", with a secret" } else { "" };
        let id = id.clone();
        view! {
            <Fact term="Client">
                <span class="two-lines"><code>{id}</code><span class="fine">{how} {secret}</span></span>
            </Fact>
        }
        .erase()
    });
    let members = personal.then(|| {
        let (all, lost) = shown.members;
        let lost = if lost == 0 { String::new() } else { format!(", {lost} of them need to again") };
        let text = format!("{all} authorised theirs{lost}");
        view! { <Fact term="Members">{text}</Fact> }.erase()
    });
    let (way, state, acts) = (shown.kind.label(), badge(given), acts(shown, may_write, begin));
    let lost = lost(given, now);
    let whose = if personal { "Yours" } else { "State" };
    let details = given.map(|given| details(given, now));
    let issuer = shown.issuer.clone();
    view! {
        <Card title="State" action=acts>
            <div class="stack">
                {lost}
                {wanted}
                <Facts>
                    <Fact term="Way">{way}</Fact>
                    <Fact term=whose>{state}</Fact>
                    {members}
                    {details}
                    <Fact term="Authorization server"><code>{issuer}</code></Fact>
                    {client}
                </Facts>
            </div>
        </Card>
    }
    .erase()
}

/// When it was given, and how long it lasts.
fn details(given: &Authorization, now: i64) -> AnyView {
    let scope = (!given.scope.is_empty())
        .then(|| given.scope.clone())
        .map(|scope| view! { <Fact term="Scope"><code>{scope}</code></Fact> }.erase());
    let ends = match (given.expires_at, given.renews) {
        (_, true) => "Renewed by Gatehouse before it ends".into_any(),
        (None, false) => "The server did not say".into_any(),
        (Some(at), false) => view! { <Time at=at now=now /> }.erase(),
    };
    let (by, at, renewed) = (given.by.clone(), given.at, given.renewed_at);
    view! {
        <Fact term="Authorised"><Time at=at now=now /> " by " {by}</Fact>
        <Fact term="Last token"><Time at=renewed now=now /></Fact>
        <Fact term="Token ends">{ends}</Fact>
        {scope}
    }
    .erase()
}

fn acts(shown: &Credentials, may_write: bool, begin: Form<BeginAuthorization>) -> AnyView {
    let name = shown.name.clone();
    match shown.kind {
        CredentialKind::PerUser => view! {
            <LinkButton href=paths::profile_authorizations() label="Authorise yours" kind=ButtonKind::Primary icon="link" />
        }
        .erase(),
        CredentialKind::AuthorizationCode if may_write => {
            let label = if shown.authorization.is_some() { "Re-authorise" } else { "Authorise" };
            let end = shown.authorization.is_some().then(|| {
                let href = format!("{}?disconnect=1", paths::connector_credentials(shown.connector));
                view! { <LinkButton href=href label="Disconnect" kind=ButtonKind::Quiet name=format!("Disconnect {name}") /> }
                    .erase()
            });
            let id = shown.connector.to_string();
            view! {
                <div class="actions">
                    <PostForm form=begin class="inline-form">
                        <input type="hidden" name="id" value=id />
                        <SubmitButton form=begin label=label busy="Asking the server…" name=format!("{label} {name}") />
                    </PostForm>
                    {end}
                </div>
            }
            .erase()
        }
        _ => ().into_any(),
    }
}

fn choices() -> Vec<Choice> {
    CredentialKind::ALL
        .into_iter()
        .map(|kind| {
            let hint = match kind {
                CredentialKind::Static => "Nothing, or the headers of the connector's settings.",
                CredentialKind::AuthorizationCode => {
                    "Somebody who manages connectors signs in at the server once. All calls go with that."
                }
                CredentialKind::PerUser => {
                    "Each member signs in for themselves. Calls of their MCP connections go with theirs; API keys have no person, so their calls are refused with the page to go to."
                }
                CredentialKind::ClientCredentials => {
                    "Gatehouse asks for tokens with a client id and secret of its own. No person is involved."
                }
            };
            Choice::new(kind.as_str(), kind.label()).hint(hint)
        })
        .collect()
}

fn change(save: Form<PutCredentials>, data: &CredentialsData) -> AnyView {
    let shown = &data.credentials;
    let typed = matches!(shown.client, Some((_, ClientSource::Typed)));
    let client = shown.client.as_ref().filter(|_| typed).map(|(id, _)| id.clone()).unwrap_or_default();
    let secret_hint = if shown.has_secret && typed {
        "One is stored. Leave this empty to keep it; it is never shown."
    } else {
        "Encrypted, and never shown again."
    };
    let scope = if shown.kind == CredentialKind::Static { String::new() } else { shown.scope.clone() };
    let id = shown.connector.to_string();
    let (kind, typed_issuer, redirect_uri) =
        (shown.kind.as_str(), data.typed_issuer.clone(), data.redirect_uri.clone());
    let document = data.document.clone().map(|url| {
        view! { <Fact term="Its client-id metadata document"><CopyField label="document address" text=url /></Fact> }.erase()
    });
    view! {
        <Card title="Change" about="The server is asked at once who gives access to it. What does not work is not saved.">
            <PostForm form=save>
                <ErrorSummary form=save />
                <input type="hidden" name="id" value=id />
                <RadioGroup form=save name="kind" label="Way" value=kind choices=choices() />
                <TextField
                    form=save
                    name="client_id"
                    label="Client id"
                    hint="For OAuth with client credentials, or where the server does not register Gatehouse by itself. Else leave it empty."
                    value=client
                    max=2048
                    mono=true
                />
                <PasswordField
                    form=save
                    name="client_secret"
                    label="Client secret"
                    hint=secret_hint
                    autocomplete="off"
                />
                <TextField
                    form=save
                    name="scope"
                    label="Scope (optional)"
                    hint="Leave it empty to ask for what the server names."
                    value=scope
                    max=2048
                    mono=true
                />
                <TextField
                    form=save
                    name="issuer"
                    label="Authorization server (optional)"
                    hint="Its issuer, such as https://login.example.com. Only where the server does not name it."
                    value=typed_issuer
                    kind="url"
                    inputmode="url"
                    max=2048
                    mono=true
                />
                <div class="actions">
                    <SubmitButton form=save label="Save credentials" busy="Asking the server…" kind=ButtonKind::Secondary />
                </div>
            </PostForm>
        </Card>
        <Card title="Registering Gatehouse by hand" about="What an authorization server wants to know of Gatehouse.">
            <Facts>
                <Fact term="Redirect address"><CopyField label="redirect address" text=redirect_uri /></Fact>
                {document}
            </Facts>
        </Card>
    }
    .erase()
}

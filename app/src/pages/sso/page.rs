use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, Role, paths,
    sso::{IdentityProvider, IdpRules, KeySet, MAX_ADDRESS, MAX_RULES, SsoPage as Page, TokenTest},
};

use super::api::{DeleteIdp, LoadSso, PutIdp, SetIdpEnabled, TestIdpToken};
use crate::{
    components::{
        Badge, ButtonForm, ButtonKind, Callout, Card, CheckItem, CheckList, Checkbox, CheckboxGroup, Choice,
        CopyField, Fact, Facts, Field, PageHeader, SubmitButton, TextArea, TextField, Time, Tone,
        described_by, invalid,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

const ABOUT: &str =
    "Agents call your endpoint with tokens of your own identity provider, beside API keys and connections.";

/// The organisation's own identity provider.
pub struct SsoPage {
    data: Loaded<Page>,
}

#[lazy_route]
impl LazyRoute for SsoPage {
    fn data() -> Self {
        Self { data: load(LoadSso {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<PutIdp>();
        let switch = use_form::<SetIdpEnabled>();
        let delete = use_form::<DeleteIdp>();
        let test = use_form::<TestIdpToken>();
        page(this.data, move |data, me| {
            let manages = me.can(Permission::SsoManage);
            let included = data.plan.own_identity_provider();
            let provider = data.provider.clone();
            let main = match (provider.clone(), manages && included) {
                (old, true) => provider_form(save, old, data.endpoint.clone()),
                (Some(provider), false) => provider_facts(provider),
                (None, false) => example(data.endpoint.clone()),
            };
            let audience =
                provider.as_ref().map_or_else(|| data.endpoint.clone(), |old| old.audience.clone());
            let note = note(&data, manages);
            let state = provider.as_ref().map(|provider| state(provider, &data, switch, manages, included));
            let tester = provider.is_some().then(|| manages.then(|| tester(test))).flatten();
            let remove = provider.as_ref().filter(|_| manages).map(|provider| remove(provider, delete));
            view! {
                <div class="narrow">
                    <PageHeader title="Single sign-on" about=ABOUT />
                    <p class="page-note">
                        <a href=paths::settings_sso_login()>"Dashboard log-in"</a>
                        " is a page of its own: members log in at your provider instead of with a password."
                    </p>
                    {note}
                    {state}
                    {main}
                    {ours(data.endpoint.clone(), audience)}
                    {tester}
                    {remove}
                </div>
            }
            .erase()
        })
    }
}

/// Why somebody cannot change anything here.
fn note(data: &Page, manages: bool) -> Option<AnyView> {
    if !data.plan.own_identity_provider() {
        let kept = data.provider.is_some().then_some(
            " What is configured is kept but does nothing: its tokens get 401. It can be switched off or deleted, and works again with that plan.",
        );
        let plan = data.plan.to_string();
        return Some(
            view! {
                <div class="page-note">
                    <Callout tone=Tone::Info title="Included in the plan Enterprise">
                        <p>
                            "This organisation has the plan " {plan} "." {kept} " " "An owner changes plans in " <a href=paths::settings_plan()>"Settings → Plan"</a> "."
                        </p>
                    </Callout>
                </div>
            }
            .erase(),
        );
    }
    (!manages).then(|| {
        let who = Role::holders(Permission::SsoManage).map(Role::as_str).collect::<Vec<_>>().join(" or ");
        view! {
            <div class="page-note">
                <Callout tone=Tone::Neutral>
                    <p>
                        "You need " <code>{Permission::SsoManage.as_str()}</code> " to change this. Ask an " {who}
                        " of this organisation."
                    </p>
                </Callout>
            </div>
        }
        .erase()
    })
}

fn state(
    provider: &IdentityProvider,
    data: &Page,
    switch: Form<SetIdpEnabled>,
    manages: bool,
    included: bool,
) -> AnyView {
    let (label, tone) =
        if provider.enabled { ("Accepting tokens", Tone::Ok) } else { ("Off", Tone::Neutral) };
    let (updated_at, by, now) = (provider.updated_at, provider.updated_by.clone(), data.now);
    let button = (manages && (provider.enabled || included)).then(|| {
        let (word, value) = if provider.enabled { ("Switch off", "false") } else { ("Switch on", "true") };
        view! {
            <ButtonForm form=switch label=word name=format!("{word} the identity provider")>
                <input type="hidden" name="enabled" value=value />
            </ButtonForm>
        }
        .erase()
    });
    let button = button.into_any();
    let keys = keys(&data.keys, now);
    view! {
        <Card title="State" action=button>
            <ErrorSummary form=switch />
            <Facts>
                <Fact term="Tokens"><Badge label=label tone=tone /></Fact>
                <Fact term="Keys">{keys}</Fact>
                <Fact term="Changed"><Time at=updated_at now=now /> " by " {by}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}

fn keys(keys: &KeySet, now: i64) -> AnyView {
    let failed = keys.error.clone().map(|why| {
        view! { <p class="field-error">"The last attempt to fetch them failed. " {why}</p> }.erase()
    });
    let known = match keys.fetched_at {
        None => "Fetched with the first token.".into_any(),
        Some(at) => {
            let count = format!("{} of {} usable, fetched ", keys.usable, keys.total);
            view! { {count} <Time at=at now=now /> }.erase()
        }
    };
    view! { {known} {failed} }.erase()
}

fn provider_form(save: Form<PutIdp>, old: Option<IdentityProvider>, endpoint: String) -> AnyView {
    let label = if old.is_some() { "Save changes" } else { "Save provider" };
    let enabled = old.as_ref().is_none_or(|old| old.enabled);
    let (issuer, jwks_uri, audience, rules) = match old {
        Some(old) => (old.issuer, old.jwks_uri, old.audience, old.rules),
        None => (String::new(), String::new(), endpoint, IdpRules::default()),
    };
    let claims = rules.claims_text();
    let more = view! {
        <TextArea
            form=save
            name="claims"
            label="Claim rules"
            hint="Optional. One rule a line: claim = value, value. A token that breaks one gets 403."
            value=claims
            max=MAX_RULES
        />
        <TextField
            form=save
            name="scope"
            label="Required scope"
            hint="Optional. Without this word in `scope` or `scp` a token gets 403."
            value=rules.scope
            mono=true
        />
    }
    .erase();
    let keys = jwks_field(save, jwks_uri);
    let accepted = [(enabled, "tokens"), (rules.id_tokens, "id_tokens")];
    let accepted =
        accepted.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()).collect::<Vec<_>>();
    let choices = vec![
        Choice::new("tokens", "Tokens of this provider").hint("They work as soon as this is saved."),
        Choice::new("id_tokens", "ID tokens too").hint(
            "They are made for signing in, not for calling. Leave this off if your provider issues access tokens as JWT.",
        ),
    ];
    view! {
        <Card
            title="Identity provider for the MCP endpoint"
            about="RS256 tokens of this issuer, for this audience, may call every connector."
        >
            <PostForm form=save>
                <ErrorSummary form=save />
                <TextField
                    form=save
                    name="issuer"
                    label="Issuer"
                    hint="Exactly as tokens name it in `iss`, such as https://acme.okta.com/oauth2/default."
                    value=issuer
                    kind="url"
                    inputmode="url"
                    max=MAX_ADDRESS
                    mono=true
                />
                {keys}
                <TextField
                    form=save
                    name="audience"
                    label="Audience"
                    hint="What tokens have to name in `aud`."
                    value=audience
                    max=MAX_ADDRESS
                    mono=true
                />
                {more}
                <CheckboxGroup form=save name="accept[]" label="Accept" values=accepted choices=choices />
                <div class="actions">
                    <SubmitButton form=save label=label />
                    <SubmitButton
                        form=save
                        label="Discover JWKS URI"
                        busy="Working…"
                        kind=ButtonKind::Secondary
                        field="act"
                        value="discover"
                    />
                </div>
            </PostForm>
        </Card>
    }
    .erase()
}

/// What was discovered stands in the field until the page is left.
fn jwks_field(save: Form<PutIdp>, stored: String) -> AnyView {
    const NAME: &str = "jwks_uri";
    let typed = save.value_of(NAME).unwrap_or(stored);
    let found = move || save.ok().get().flatten();
    let said = move || {
        found().map(|found| {
            view! {
                <p class="hint" role="status">"Discovered: " {found.issuer} " names these keys. Save to use them."</p>
            }.erase()
        })
    };
    view! {
        <Field form=save name=NAME label="JWKS URI" hint="Where the public keys are. Left empty, it is discovered.">
            <input
                class="input mono"
                id=save.id_of(NAME)
                type="url"
                name=NAME
                value=move || found().map_or_else(|| typed.clone(), |found| found.jwks_uri)
                autocomplete="off"
                inputmode="url"
                maxlength=MAX_ADDRESS.to_string()
                spellcheck="false"
                autocapitalize="none"
                aria-describedby=described_by(save.into(), NAME, true)
                aria-invalid=invalid(save.into(), NAME)
            />
            {said}
        </Field>
    }
    .erase()
}

fn provider_facts(provider: IdentityProvider) -> AnyView {
    let IdentityProvider { issuer, jwks_uri, audience, rules, .. } = provider;
    let none = |text: String| if text.is_empty() { "None".to_owned() } else { text };
    let (claims, scope) = (none(rules.claims_text()), none(rules.scope));
    let id_tokens = if rules.id_tokens { "Accepted" } else { "Refused" };
    view! {
        <Card title="Identity provider for the MCP endpoint">
            <Facts>
                <Fact term="Issuer"><code>{issuer}</code></Fact>
                <Fact term="JWKS URI"><code>{jwks_uri}</code></Fact>
                <Fact term="Audience"><code>{audience}</code></Fact>
                <Fact term="Claim rules"><span class="lines">{claims}</span></Fact>
                <Fact term="Required scope">{scope}</Fact>
                <Fact term="ID tokens">{id_tokens}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}

/// What there would be: nothing is configured, and whoever looks cannot configure it.
fn example(endpoint: String) -> AnyView {
    view! {
        <Card title="Identity provider for the MCP endpoint" about="None is configured. It would look like this:">
            <div class="example">
                <Facts>
                    <Fact term="Issuer"><code>"https://acme.okta.com/oauth2/default"</code></Fact>
                    <Fact term="JWKS URI"><code>"https://acme.okta.com/oauth2/default/v1/keys"</code></Fact>
                    <Fact term="Audience"><code>{endpoint}</code></Fact>
                </Facts>
            </div>
        </Card>
    }
    .erase()
}

fn ours(endpoint: String, audience: String) -> AnyView {
    view! {
        <Card title="For your provider" about="Register an API (a resource) with these values, and let it issue RS256 access tokens.">
            <div class="stack">
                <div class="settings-copy">
                    <p>"Endpoint URL"</p>
                    <CopyField label="endpoint URL" text=endpoint />
                </div>
                <div class="settings-copy">
                    <p>"Audience (" <code>"aud"</code> ")"</p>
                    <CopyField label="audience" text=audience />
                </div>
                <p class="muted">
                    "Agents then send " <code>"Authorization: Bearer <token>"</code>
                    ". Clients that read the endpoint's metadata find your issuer there."
                </p>
            </div>
        </Card>
    }
    .erase()
}

fn tester(test: Form<TestIdpToken>) -> AnyView {
    let result = move || test.ok().get().map(|tested| tested_view(&tested));
    view! {
        <Card title="Test a token" about="It is looked at and forgotten: neither stored nor logged. Nobody is called with it.">
            <PostForm form=test>
                <ErrorSummary form=test />
                <TextArea form=test name="token" label="Token" hint="A JWT of your provider: three parts with dots between." rows=4 />
                <SubmitButton form=test label="Test token" busy="Testing…" kind=ButtonKind::Secondary />
            </PostForm>
            <div role="status">{result}</div>
        </Card>
    }
    .erase()
}

fn tested_view(tested: &TokenTest) -> AnyView {
    let (tone, title, about) = match &tested.subject {
        Some(subject) if tested.enabled => {
            (Tone::Ok, "This token is accepted", format!("Calls with it are made as {subject}."))
        }
        Some(subject) => (
            Tone::Warn,
            "This token would be accepted",
            format!("It is about {subject}, but the provider is switched off."),
        ),
        None => {
            let why = tested.checks.last().map(|check| check.title.clone()).unwrap_or_default();
            (Tone::Bad, "This token is refused", format!("It fails at: {why}."))
        }
    };
    let items = tested
        .checks
        .iter()
        .map(|check| {
            view! { <CheckItem passed=check.passed title=check.title.clone() detail=check.detail.clone() /> }
                .erase()
        })
        .collect_view();
    view! {
        <div class="stack outcome">
            <Callout tone=tone title=title>
                <p>{about}</p>
            </Callout>
            <CheckList>{items}</CheckList>
        </div>
    }
    .erase()
}

fn remove(provider: &IdentityProvider, delete: Form<DeleteIdp>) -> AnyView {
    view! {
        <Card title="Delete the provider" about=provider.issuer.clone()>
            <PostForm form=delete>
                <ErrorSummary form=delete />
                <ul class="consequences">
                    <li>"Requests with its tokens get 401 from then on."</li>
                    <li>"API keys and connections are not affected."</li>
                    <li>"Switching it off stops them just the same, and can be undone."</li>
                </ul>
                <Checkbox form=delete name="understood" label="I want to delete it with its rules" />
                <SubmitButton form=delete label="Delete provider" busy="Deleting…" kind=ButtonKind::Danger />
            </PostForm>
        </Card>
    }
    .erase()
}

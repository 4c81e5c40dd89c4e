//! Logging in to the dashboard at the organisation's own provider: the provider, a test of it, the domains.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, Role, paths,
    sso::MAX_ADDRESS,
    sso_login::{
        DomainSeen, LoginDomain, LoginProvider, LoginTest, MAX_CLIENT, SsoLoginPage as Page, SsoMode,
    },
};

use super::login_api::{
    AddSsoDomain, CheckSsoDomain, DeleteSsoLogin, LoadSsoLogin, PutSsoLogin, RemoveSsoDomain, TestSsoLogin,
};
use crate::{
    components::{
        Badge, ButtonForm, ButtonKind, Callout, Card, CheckItem, CheckList, Checkbox, Choice, CopyField,
        Crumb, EmptyState, Fact, Facts, PageHeader, PasswordField, RadioGroup, SelectField, SubmitButton,
        TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
    pages::auth::leaving,
};

const ABOUT: &str =
    "Members log in to the dashboard at your own OpenID provider, beside or instead of a password.";

/// Logging in at the organisation's own provider.
pub struct SsoLoginPage {
    data: Loaded<Page>,
}

#[derive(Clone, Copy)]
struct Forms {
    save: Form<PutSsoLogin>,
    test: Form<TestSsoLogin>,
    delete: Form<DeleteSsoLogin>,
    add: Form<AddSsoDomain>,
    check: Form<CheckSsoDomain>,
    remove: Form<RemoveSsoDomain>,
}

#[lazy_route]
impl LazyRoute for SsoLoginPage {
    fn data() -> Self {
        Self { data: load(LoadSsoLogin {}) }
    }

    fn view(this: Self) -> AnyView {
        let forms = Forms {
            save: use_form(),
            test: use_form(),
            delete: use_form(),
            add: use_form(),
            check: use_form(),
            remove: use_form(),
        };
        page(this.data, move |data, me| view_of(&forms, data, me.can(Permission::SsoManage)))
    }
}

fn view_of(forms: &Forms, data: Page, manages: bool) -> AnyView {
    let included = data.plan.own_identity_provider();
    let may = manages && included;
    let note = note(&data, manages, included);
    let provider = data.provider.clone();
    let main = match (provider.clone(), may) {
        (old, true) => provider_form(forms.save, old, data.roles.clone()),
        (Some(provider), false) => provider_facts(provider, &data.roles),
        (None, false) => view! {
            <EmptyState
                icon="shield-check"
                title="Nothing is configured"
                about="Members log in with their password. With a provider they would use the log-in of your company."
            />
        }
        .erase(),
    };
    let ours = may.then(|| for_provider(data.callback.clone()));
    let tested = provider.clone().map(|provider| test_card(forms.test, provider, may, data.now));
    let domains = domains_card(forms, &data.domains, (manages, may), data.now);
    let remove = provider.filter(|_| manages).map(|provider| remove(forms.delete, provider.issuer));
    view! {
        <div class="narrow">
            <PageHeader
                title="Dashboard log-in"
                crumbs=vec![Crumb::new(paths::settings_sso(), "Single sign-on")]
                about=ABOUT
            />
            {note}
            {main}
            {ours}
            {domains}
            {tested}
            {remove}
        </div>
    }
    .erase()
}

/// Why somebody cannot change anything here.
fn note(data: &Page, manages: bool, included: bool) -> Option<AnyView> {
    if included && manages {
        return None;
    }
    let words = if included {
        let who = Role::holders(Permission::SsoManage).map(Role::as_str).collect::<Vec<_>>().join(" or ");
        format!("You need {} to change this. Ask an {who} of this organisation.", Permission::SsoManage)
    } else {
        let kept = if data.provider.is_some() {
            " What is configured is kept but does nothing: members log in with their password. It can be deleted, and works again with that plan."
        } else {
            ""
        };
        format!("This organisation has the plan {}, which does not include it.{kept}", data.plan)
    };
    let plans = (!included).then(|| view! { " " "An owner changes plans in " <a href=paths::settings_plan()>"Settings → Plan"</a> "." }.erase());
    let title = if included { "" } else { "Included in the plan Enterprise" };
    Some(
        view! { <div class="page-note"><Callout tone=Tone::Info title=title><p>{words} {plans}</p></Callout></div> }
            .erase(),
    )
}

fn mode_words(mode: SsoMode) -> (&'static str, Tone) {
    match mode {
        SsoMode::Off => ("Off", Tone::Neutral),
        SsoMode::Optional => ("Optional", Tone::Ok),
        SsoMode::Required => ("Required", Tone::Ok),
    }
}

fn role_choices(roles: Vec<(String, String)>) -> Vec<Choice> {
    let mut choices: Vec<Choice> =
        roles.into_iter().map(|(key, name)| Choice::new(key, format!("Join as {name}"))).collect();
    choices.push(Choice::new("", "Nobody joins without an invitation"));
    choices
}

/// Whom it logs in, by who chose it.
fn reach_words(chosen_by: Option<Role>) -> String {
    match chosen_by {
        Some(Role::Owner) => "An owner chose this provider: it logs in every member.".to_owned(),
        by => format!(
            "{} chose this provider, so it logs in nobody who holds more rights: they use their password. An owner who \
             saves it vouches for it, and it logs in everybody.",
            by.map_or_else(
                || "A member in a role of this organisation".to_owned(),
                |role| format!("An {role}")
            )
        ),
    }
}

fn provider_form(
    save: Form<PutSsoLogin>,
    old: Option<LoginProvider>,
    roles: Vec<(String, String)>,
) -> AnyView {
    let label = if old.is_some() { "Save changes" } else { "Save provider" };
    let secret = match &old {
        Some(old) if old.has_secret => "Kept sealed. Leave it empty to keep the one that is stored.",
        _ => "Kept sealed, never shown again. Empty for a client without one.",
    };
    let reach = old.as_ref().map(|old| reach_words(old.chosen_by));
    let reach = reach.map(|words| view! { <p class="muted">{words}</p> }.erase());
    let (issuer, client, role, mode) = match old {
        Some(old) => (old.issuer, old.client_id, old.default_role, old.mode),
        None => (String::new(), String::new(), Role::Member.as_str().to_owned(), SsoMode::Optional),
    };
    let modes = vec![
        Choice::new("off", "Off").hint("Nobody logs in with it. Whoever did is logged out."),
        Choice::new("optional", "Optional").hint("Members choose between it and their password."),
        Choice::new("required", "Required").hint(
            "A password no longer opens this organisation, only others of the same person. Owners can always log in \
             with password and second factor.",
        ),
    ];
    view! {
        <Card title="Provider" about="OpenID Connect, with PKCE. RS256 and ES256 signatures.">
            <PostForm form=save>
                <ErrorSummary form=save />
                {reach}
                <TextField
                    form=save
                    name="issuer"
                    label="Issuer"
                    hint="Exactly as the provider spells it, such as https://acme.okta.com. The rest is discovered."
                    value=issuer
                    kind="url"
                    inputmode="url"
                    max=MAX_ADDRESS
                    mono=true
                />
                <TextField form=save name="client_id" label="Client id" value=client max=MAX_CLIENT mono=true />
                <PasswordField form=save name="client_secret" label="Client secret" hint=secret autocomplete="off" />
                <SelectField
                    form=save
                    name="default_role"
                    label="People who come for the first time"
                    hint="If the provider has verified their address, and its domain is proven below. An invitation goes before this."
                    value=role
                    choices=role_choices(roles)
                />
                <RadioGroup form=save name="mode" label="Members log in with it" value=mode.as_str() choices=modes />
                <SubmitButton form=save label=label />
            </PostForm>
        </Card>
    }
    .erase()
}

fn provider_facts(provider: LoginProvider, roles: &[(String, String)]) -> AnyView {
    let (label, tone) = mode_words(provider.mode);
    let newcomers = roles.iter().find(|(key, _)| *key == provider.default_role);
    let newcomers =
        newcomers.map_or_else(|| "Need an invitation".to_owned(), |(_, name)| format!("Join as {name}"));
    view! {
        <Card title="Provider">
            <Facts>
                <Fact term="Members log in with it"><Badge label=label tone=tone /></Fact>
                <Fact term="Issuer"><code>{provider.issuer}</code></Fact>
                <Fact term="Client id"><code>{provider.client_id}</code></Fact>
                <Fact term="People who come for the first time">{newcomers}</Fact>
                <Fact term="Whom it logs in">{reach_words(provider.chosen_by)}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}

fn for_provider(callback: String) -> AnyView {
    view! {
        <Card title="For your provider" about="Register a web application with these values.">
            <div class="stack">
                <div class="settings-copy">
                    <p>"Redirect URI"</p>
                    <CopyField label="redirect URI" text=callback />
                </div>
                <p class="muted">
                    "Grant type " <code>"authorization_code"</code> ", scopes " <code>"openid email profile"</code>
                    ". A provider that asks for a second factor should say so with " <code>"mfa"</code> " in "
                    <code>"amr"</code> ": then Gatehouse does not ask for another one."
                </p>
            </div>
        </Card>
    }
    .erase()
}

fn test_card(test: Form<TestSsoLogin>, provider: LoginProvider, may: bool, now: i64) -> AnyView {
    let tested = provider.tested.map(|tested| test_view(&tested, now));
    let stale = (!provider.test_passed)
        .then(|| view! { <p class="muted">"SSO can be required once a test went well."</p> }.erase());
    let button = may.then(|| {
        view! {
            <PostForm form=test>
                <SubmitButton form=test label="Test log-in" busy="Asking…" kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    });
    view! {
        <Card title="Test" about="You log in at the provider and come back here. Nothing is changed by it, and you stay who you are.">
            <div class="stack">
                <ErrorSummary form=test />
                {button}
                {move || test.ok().get().map(|link| leaving(link.url, &link.host))}
                {stale}
                {tested}
            </div>
        </Card>
    }
    .erase()
}

fn test_view(tested: &LoginTest, now: i64) -> AnyView {
    let (at, by) = (tested.at, tested.by.clone());
    let (tone, title) = if tested.passed {
        (Tone::Ok, "Somebody with this answer can log in")
    } else {
        (Tone::Bad, "Somebody with this answer is refused")
    };
    let items = tested
        .checks
        .iter()
        .map(|check| {
            view! { <CheckItem passed=check.passed title=check.title.clone() detail=check.detail.clone() /> }
                .erase()
        })
        .collect_view();
    let claims = tested
        .claims
        .clone()
        .into_iter()
        .map(|(name, value)| view! { <Fact term=name><code class="break">{value}</code></Fact> }.erase())
        .collect_view();
    let claims = (!tested.claims.is_empty())
        .then(|| view! { <h3>"What the provider says"</h3> <Facts>{claims}</Facts> }.erase());
    view! {
        <div class="stack outcome">
            <Callout tone=tone title=title>
                <p>"Tested " <Time at=at now=now /> " by " {by} "."</p>
            </Callout>
            <CheckList>{items}</CheckList>
            {claims}
        </div>
    }
    .erase()
}

fn domains_card(forms: &Forms, domains: &[LoginDomain], (manages, may): (bool, bool), now: i64) -> AnyView {
    let Forms { add, check, remove, .. } = *forms;
    let rows =
        domains.iter().map(|domain| domain_row(domain, check, remove, (manages, may), now)).collect_view();
    let none = domains.is_empty().then(|| {
        view! { <p class="muted">"None yet. Without one nobody finds the way to the provider."</p> }.erase()
    });
    let form = may.then(|| {
        view! {
            <PostForm form=add>
                <ErrorSummary form=add />
                <TextField
                    form=add
                    name="domain"
                    label="Domain"
                    hint="What stands behind the @ in your people's addresses, such as acme.com. Subdomains count by themselves."
                    max=200
                    inputmode="url"
                />
                <SubmitButton form=add label="Add domain" busy="Adding…" kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    });
    view! {
        <Card title="Email domains" about="Whoever enters an address of these on the log-in page is sent to your provider.">
            <div class="stack">
                <ErrorSummary form=check />
                <ErrorSummary form=remove />
                <div role="status">{move || check.ok().get().map(seen)}</div>
                {none}
                {rows}
                {form}
            </div>
        </Card>
    }
    .erase()
}

/// What the name server said just now.
fn seen(seen: DomainSeen) -> AnyView {
    let (tone, title) = if seen.verified {
        (Tone::Ok, format!("{} is proven", seen.domain))
    } else {
        (Tone::Warn, format!("{} is not proven yet", seen.domain))
    };
    let body = match (seen.verified, seen.found.is_empty()) {
        (true, _) => view! { <p>"The record is there. Its people can log in at your provider."</p> }.erase(),
        (false, true) => view! {
            <p>"There is no TXT record of that name at this moment. A new one can take a while to be seen everywhere."</p>
        }
        .erase(),
        (false, false) => {
            let found =
                seen.found.into_iter().map(|text| view! { <li><code class="break">{text}</code></li> }.erase());
            let found = found.collect_view();
            view! { <p>"What is there does not match:"</p> <ul>{found}</ul> }.erase()
        }
    };
    view! { <Callout tone=tone title=title>{body}</Callout> }.erase()
}

fn domain_row(
    domain: &LoginDomain,
    check: Form<CheckSsoDomain>,
    remove: Form<RemoveSsoDomain>,
    (manages, may): (bool, bool),
    now: i64,
) -> AnyView {
    let proven = domain.verified_at.is_some();
    let (label, tone) = match (proven, domain.missing_since) {
        (true, None) => ("Proven", Tone::Ok),
        (true, Some(_)) => ("Record missing", Tone::Warn),
        (false, _) => ("Not proven", Tone::Warn),
    };
    let state = match (domain.missing_since, domain.lapsed_at) {
        (Some(at), _) => {
            Some((at, "The record is missing since ", ". Three days after that the domain counts no longer."))
        }
        (None, Some(at)) => {
            Some((at, "The record was missing for three days, so the domain counts no longer since ", "."))
        }
        (None, None) => None,
    };
    let whole = domain.missing_since.is_none();
    let state = state.map(|(at, before, after)| {
        view! { <p class="muted">{before} <Time at=at now=now /> {after}</p> }.erase()
    });
    let id = domain.id.to_string();
    let again = id.clone();
    let name = domain.domain.clone();
    let check = may.then(|| {
        let label = if proven { "Check again" } else { "Check now" };
        view! {
            <ButtonForm form=check label=label name=format!("{label} {name}")>
                <input type="hidden" name="id" value=id />
            </ButtonForm>
        }
        .erase()
    });
    let remove = manages.then(|| {
        view! {
            <ButtonForm form=remove label="Remove" kind=ButtonKind::Quiet name=format!("Remove {}", domain.domain)>
                <input type="hidden" name="id" value=again />
            </ButtonForm>
        }
        .erase()
    });
    let record = ((!proven || !whole) && manages).then(|| {
        view! {
            <div class="settings-copy">
                <p>"Add a TXT record of this name"</p>
                <CopyField label=format!("name of the record of {}", domain.domain) text=domain.record.clone() />
            </div>
            <div class="settings-copy">
                <p>"with this value"</p>
                <CopyField label=format!("value of the record of {}", domain.domain) text=domain.value.clone() />
            </div>
        }
        .erase()
    });
    view! {
        <section class="sso-domain" aria-label=domain.domain.clone()>
            <div class="card-head">
                <p><strong class="break">{domain.domain.clone()}</strong> " " <Badge label=label tone=tone /></p>
                <div class="row-actions">{check} {remove}</div>
            </div>
            {state}
            {record}
        </section>
    }
    .erase()
}

fn remove(delete: Form<DeleteSsoLogin>, issuer: String) -> AnyView {
    view! {
        <Card title="Delete the provider" about=issuer>
            <PostForm form=delete>
                <ErrorSummary form=delete />
                <ul class="consequences">
                    <li>"Members who logged in with it are logged out now, but for you."</li>
                    <li>"They log in with a password from then on. Whoever has none sets one with “Forgot your password?”."</li>
                    <li>"Domains, members and their roles stay."</li>
                </ul>
                <Checkbox form=delete name="understood" label="I want to delete it with its client secret" />
                <SubmitButton form=delete label="Delete provider" busy="Deleting…" kind=ButtonKind::Danger />
            </PostForm>
        </Card>
    }
    .erase()
}

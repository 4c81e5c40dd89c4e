use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{
    Permission, Role,
    custom_domain::{CustomDomain, DomainAnswer, DomainPage as Page, DomainState, GRACE_HOURS, SEARCH_HOURS},
    paths,
};

use super::api::{AddDomain, LoadDomain, RemoveDomain, VerifyDomain};
use crate::{
    components::{
        Badge, ButtonKind, Callout, Card, CheckItem, CheckList, CodeBlock, CopyField, Crumb, DataTable,
        EmptyState, Fact, Facts, LinkButton, PageHeader, SubmitButton, TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// The organisation's own domain; at `/remove` the question before it is given up.
pub struct DomainPage {
    data: Loaded<Page>,
}

#[derive(Clone, Copy)]
struct Forms {
    add: Form<AddDomain>,
    verify: Form<VerifyDomain>,
    remove: Form<RemoveDomain>,
}

#[lazy_route]
impl LazyRoute for DomainPage {
    fn data() -> Self {
        Self { data: load(LoadDomain {}) }
    }

    fn view(this: Self) -> AnyView {
        let forms = Forms { add: use_form(), verify: use_form(), remove: use_form() };
        let path = use_location().pathname;
        page(this.data, move |data, me| {
            let manages = me.can(Permission::DomainsManage);
            let view = move || {
                let asked = path.with(|path| path == paths::remove_domain());
                match data.domain.as_ref().filter(|_| asked && manages) {
                    Some(domain) => question(forms.remove, domain, &data.endpoint),
                    None => overview(&forms, &data, manages),
                }
            };
            view.into_any()
        })
    }
}

fn overview(forms: &Forms, data: &Page, manages: bool) -> AnyView {
    let included = data.plan.custom_domain();
    let may = manages && included;
    let note = note(data, manages, included);
    let body = match (&data.domain, may) {
        (Some(domain), _) => entered(forms, domain, data, manages, may),
        (None, true) => enter(forms.add),
        (None, false) => view! {
            <EmptyState
                icon="globe"
                title="No domain"
                about="Agents reach this organisation at the address of this instance."
            />
        }
        .erase(),
    };
    view! {
        <div class="narrow">
            <PageHeader
                title="Custom domain"
                about="Agents reach this organisation at a name of your own, such as mcp.acme.com."
            />
            <div class="stack-wide">
                {note}
                {body}
                <div class="settings-copy">
                    <p>"This address works with or without a domain"</p>
                    <CopyField label="MCP endpoint URL" text=data.endpoint.clone() />
                </div>
            </div>
            <p class="key-help">"Help: " <a href=paths::help_domain()>"Custom domain"</a></p>
        </div>
    }
    .erase()
}

/// Why somebody cannot change anything here.
fn note(data: &Page, manages: bool, included: bool) -> Option<AnyView> {
    if included && manages {
        return None;
    }
    let (title, words) = if included {
        let who = Role::holders(Permission::DomainsManage).map(Role::as_str).collect::<Vec<_>>().join(" or ");
        let words = format!(
            "You need {} to change this. Ask an {who} of this organisation.",
            Permission::DomainsManage
        );
        ("", words)
    } else {
        let kept = match &data.domain {
            Some(domain) => {
                format!(" {} is kept, and does not answer as long as this is the plan.", domain.host)
            }
            None => String::new(),
        };
        let words = format!(
            "This organisation has the plan {}, which does not include a custom domain.{kept}",
            data.plan
        );
        ("Included in the plans Pro, Team and Enterprise", words)
    };
    let plans =
        (!included).then(|| view! { <p><a href=paths::settings_plan()>"Look at the plans"</a></p> }.erase());
    Some(view! { <Callout tone=Tone::Info title=title><p>{words}</p>{plans}</Callout> }.erase())
}

fn enter(add: Form<AddDomain>) -> AnyView {
    view! {
        <Card title="Enter a domain" about="You need to be able to set DNS records of it. The next page shows which.">
            <PostForm form=add>
                <ErrorSummary form=add />
                <TextField
                    form=add
                    name="host"
                    label="Domain"
                    hint="A name below your own domain, such as mcp.acme.com. A whole domain, such as acme.com, cannot have the record that is needed."
                    max=253
                    inputmode="url"
                    mono=true
                />
                <SubmitButton form=add label="Add domain" busy="Adding…" />
            </PostForm>
        </Card>
    }
    .erase()
}

fn badge(state: DomainState, included: bool) -> (&'static str, Tone) {
    match state {
        _ if !included => ("Not in the plan", Tone::Warn),
        DomainState::Pending => ("Waiting for records", Tone::Warn),
        DomainState::GaveUp => ("Records not found", Tone::Bad),
        DomainState::Verified => ("In use", Tone::Ok),
        DomainState::Failing => ("In use, records missing", Tone::Warn),
        DomainState::Lapsed => ("Removed, records missing", Tone::Bad),
    }
}

/// What the state means, and what comes next.
fn standing(domain: &CustomDomain, now: i64) -> AnyView {
    let since = domain.since;
    let ends = domain.ends_at.unwrap_or(now);
    match domain.state {
        DomainState::Pending => {
            let next = domain.next_check_at.map(|at| view! { ", next " <Time at=at.max(now) now=now /> }.erase());
            // With scripts the page hears of each look, and shows it.
            let without_scripts = r#"<noscript><meta http-equiv="refresh" content="30"></noscript>"#.to_owned();
            view! {
                <span hidden inner_html=without_scripts></span>
                <p>
                    "Set both records below. Gatehouse looks for them by itself" {next} ", and stops "
                    <Time at=ends now=now /> ". This page shows what it finds; you may leave it."
                </p>
            }
            .erase()
        }
        DomainState::GaveUp => view! {
            <Callout tone=Tone::Bad title=format!("The records were not found within {SEARCH_HOURS} hours")>
                <p>"Nobody looks for them any more. Set them and press Verify: then Gatehouse looks for another " {SEARCH_HOURS} " hours."</p>
            </Callout>
        }
        .erase(),
        DomainState::Verified => view! {
            <p>"The endpoint answers on this domain since " <Time at=since now=now /> ". Its records are looked at once a day: leave them there."</p>
        }
        .erase(),
        DomainState::Failing => view! {
            <Callout tone=Tone::Warn title="The records are missing">
                <p>
                    "They are missing since " <Time at=since now=now /> ". The domain goes on working until "
                    <strong>{crate::components::absolute(ends)}</strong>
                    ", and is removed then if they are not back. They are looked at every hour."
                </p>
            </Callout>
        }
        .erase(),
        DomainState::Lapsed => view! {
            <Callout tone=Tone::Bad title="The domain does not work any more">
                <p>
                    "Its records were missing for " {GRACE_HOURS} " hours, so it was removed " <Time at=since now=now />
                    ". Set them again and press Verify, or remove it."
                </p>
            </Callout>
        }
        .erase(),
    }
}

fn entered(forms: &Forms, domain: &CustomDomain, data: &Page, manages: bool, may: bool) -> AnyView {
    let verify = forms.verify;
    let (label, tone) = badge(domain.state, data.plan.custom_domain());
    let in_use = domain.state.is_in_use();
    let act = if in_use { "Check now" } else { "Verify" };
    let button = may.then(|| {
        view! {
            <PostForm form=verify>
                <SubmitButton
                    form=verify
                    label=act
                    busy="Asking…"
                    kind=if in_use { ButtonKind::Secondary } else { ButtonKind::Primary }
                />
            </PostForm>
        }
        .erase()
    });
    let outcome = move || {
        verify.ok().get().map(|done| {
            let words =
                if done { "Both records are there." } else { "Not yet: see what the name server says." };
            view! { <p>{words}</p> }.erase()
        })
    };
    let records = manages.then(|| records(domain, &data.target));
    let seen = domain.seen.as_ref().map(|seen| seen_card(seen, &data.target, data.now));
    let example = in_use.then(|| example(domain));
    let (host, standing) = (domain.host.clone(), standing(domain, data.now));
    let remove = manages.then(|| {
        view! {
            <Card title="Remove the domain" about="You are shown what stops working, and asked, first.">
                <LinkButton href=paths::remove_domain() label="Remove domain" />
            </Card>
        }
        .erase()
    });
    view! {
        <Card title="Domain">
            <div class="stack">
                <Facts>
                    <Fact term="Domain"><strong class="break">{host}</strong></Fact>
                    <Fact term="Status"><Badge label=label tone=tone /></Fact>
                </Facts>
                {standing}
                <ErrorSummary form=verify />
                {button}
                <div role="status">{outcome}</div>
            </div>
        </Card>
        {records}
        {seen}
        {example}
        {remove}
    }
    .erase()
}

/// The two records to set.
fn records(domain: &CustomDomain, target: &str) -> AnyView {
    let row = |kind: &'static str, name: &str, value: &str| {
        view! {
            <tr>
                <th scope="row" data-label="Type">{kind}</th>
                <td data-label="Name"><CopyField label=format!("name of the {kind} record") text=name /></td>
                <td data-label="Value"><CopyField label=format!("value of the {kind} record") text=value /></td>
            </tr>
        }
        .erase()
    };
    let cname = row("CNAME", &domain.host, target);
    let txt = row("TXT", &domain.record, &domain.value);
    view! {
        <Card
            title="DNS records"
            about="Set both where the DNS of your domain is managed. Some providers add the domain to a name by themselves: leave it out there."
        >
            <div class="stack">
                <DataTable caption="DNS records" columns=vec!["Type", "Name", "Value"]>{cname} {txt}</DataTable>
                <p class="hint">
                    "A provider that stands between (such as Cloudflare with the orange cloud) hides the CNAME record: switch it to DNS only. \
                     Where the domain has CAA records, they have to allow the authority that this instance gets certificates from."
                </p>
            </div>
        </Card>
    }
    .erase()
}

/// What is there, in words.
fn found(all: &[String]) -> String {
    if all.is_empty() { "There is none.".to_owned() } else { format!("It says {}.", all.join(", ")) }
}

fn seen_card(seen: &DomainAnswer, target: &str, now: i64) -> AnyView {
    let body = if seen.answered {
        let cname = if seen.cname_fits { format!("It leads to {target}.") } else { found(&seen.cname) };
        let txt = if seen.txt_fits { "It is there.".to_owned() } else { found(&seen.txt) };
        let (cname_fix, txt_fix) = (
            if seen.cname_fits { String::new() } else { format!("It has to lead to {target}.") },
            if seen.txt_fits { "" } else { "It has to hold the value above." },
        );
        let (cname_fits, txt_fits) = (seen.cname_fits, seen.txt_fits);
        view! {
            <CheckList>
                <CheckItem passed=cname_fits title="CNAME record" detail=cname fix=cname_fix />
                <CheckItem passed=txt_fits title="TXT record" detail=txt fix=txt_fix />
            </CheckList>
        }
        .erase()
    } else {
        view! {
            <Callout tone=Tone::Warn title="The name server did not answer">
                <p>"So nothing is known of the records, and nothing was changed. It is asked again by itself."</p>
            </Callout>
        }
        .erase()
    };
    let taken = seen.taken.then(|| {
        view! {
            <Callout tone=Tone::Bad title="Another organisation has proven this domain">
                <p>
                    "It is theirs as long as their records are there. Take their TXT record away: three days later the domain is free, \
                     and yours if yours is there. If you do not know them, ask whoever operates this instance."
                </p>
            </Callout>
        }
        .erase()
    });
    let at = seen.at;
    view! {
        <Card title="What the name server says">
            <div class="stack">
                <p class="muted">"Asked " <Time at=at now=now /> "."</p>
                {taken}
                {body}
            </div>
        </Card>
    }
    .erase()
}

fn example(domain: &CustomDomain) -> AnyView {
    let base = domain.endpoint.strip_suffix(paths::mcp_at_domain()).unwrap_or(&domain.endpoint);
    let curl = format!(
        "curl -X POST {base}{} \\\n  -H \"Authorization: Bearer YOUR_API_KEY\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{{\"connector\": \"weather\", \"tool\": \"forecast\", \"arguments\": {{\"city\": \"Oslo\"}}}}'",
        paths::rest_invoke()
    );
    let endpoint = domain.endpoint.clone();
    view! {
        <Card title="Use it" about="Keys, tokens and connectors are the same as at the address of this instance.">
            <div class="stack">
                <div class="settings-copy">
                    <p>"MCP endpoint"</p>
                    <CopyField label="MCP endpoint URL on the domain" text=endpoint />
                </div>
                <CodeBlock label="Terminal" text=curl />
            </div>
        </Card>
    }
    .erase()
}

fn question(form: Form<RemoveDomain>, domain: &CustomDomain, fallback: &str) -> AnyView {
    let host = domain.host.clone();
    let fallback = fallback.to_owned();
    let lines = if domain.state.is_in_use() {
        view! {
            <li>"Calls to " <code class="break">{domain.endpoint.clone()}</code> " and below get no answer of this organisation within a second."</li>
            <li>"MCP clients that signed in there have to sign in again: their access tokens for the domain are refused."</li>
            <li>"No new certificate is got for it. Whoever proves the domain next may have it."</li>
            <li>"API keys, connectors and members stay as they are. This address goes on working: " <code class="break">{fallback}</code></li>
        }
        .into_any()
    } else {
        view! {
            <li>"It is not in use, so no call is affected."</li>
            <li>"Its records count no more: entered again, it gets another TXT value."</li>
        }
        .into_any()
    };
    view! {
        <div class="narrow">
            <PageHeader
                title=format!("Remove {host}?")
                crumbs=vec![Crumb::new(paths::settings_domain(), "Custom domain")]
            />
            <Card title="What stops working">
                <div class="stack">
                    <ul class="consequences">{lines}</ul>
                    <PostForm form=form>
                        <ErrorSummary form=form />
                        <TextField form=form name="host" label=format!("Type {host} to confirm") max=253 mono=true />
                        <div class="actions">
                            <a class="button" href=paths::settings_domain()>"Cancel"</a>
                            <SubmitButton form=form label="Remove domain" busy="Removing…" kind=ButtonKind::Danger />
                        </div>
                    </PostForm>
                </div>
            </Card>
        </div>
    }
    .erase()
}

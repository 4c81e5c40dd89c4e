//! The addresses that the organisation may be reached from.

use leptos::{prelude::*, wasm_bindgen::JsCast, web_sys::HtmlFormElement};
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    allowlist::{AllowedRange, AllowlistPage as List, DryRun, MAX_NOTE, TRIAL_MINUTES},
    egress::{VENDORS, Vendor},
    orgs::{Me, PinAsked},
    paths,
};

use super::api::{
    AddAllowedRange, AddVendorRanges, KeepAllowlist, LoadAllowlist, RemoveAllowedRange, TurnOffAllowlist,
    TurnOnAllowlist,
};
use crate::{
    components::{
        Badge, ButtonForm, ButtonKind, Callout, Card, Checkbox, Crumb, DataTable, Day, Disclosure,
        PageHeader, SubmitButton, TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, load, page},
    pages::{
        deletion::pin_field,
        factors::{api::ConfirmIdentity, confirm_you},
    },
};

/// What the page can do.
#[derive(Clone, Copy)]
struct Forms {
    add: Form<AddAllowedRange>,
    vendor: Form<AddVendorRanges>,
    remove: Form<RemoveAllowedRange>,
    on: Form<TurnOnAllowlist>,
    keep: Form<KeepAllowlist>,
    off: Form<TurnOffAllowlist>,
    confirm_you: Form<ConfirmIdentity>,
}

/// IP allowlist.
pub struct AllowlistPage {
    list: Loaded<List>,
}

#[lazy_route]
impl LazyRoute for AllowlistPage {
    fn data() -> Self {
        Self { list: load(LoadAllowlist {}) }
    }

    fn view(this: Self) -> AnyView {
        let forms = Forms {
            add: use_form(),
            vendor: use_form(),
            remove: use_form(),
            on: use_form(),
            keep: use_form(),
            off: use_form(),
            confirm_you: use_form(),
        };
        // The proof grew too old meanwhile: load again, and the page asks for a new one.
        let list = this.list;
        let needing: [FormCore; 3] = [forms.add.into(), forms.remove.into(), forms.on.into()];
        Effect::new(move |_| {
            let old = needing.iter().filter(|form| code_is(**form, "reauth_required")).count();
            if old > 0 {
                list.refetch();
            }
        });
        // What was added is in the table: the next range begins with an empty field, or with one's own address.
        Effect::new(move |_| {
            if forms.add.ok().get().is_some()
                && let Ok(Some(form)) = document().query_selector("form[action*=add_allowed_range]")
                && let Ok(form) = JsCast::dyn_into::<HtmlFormElement>(form)
            {
                form.reset();
            }
        });
        page(this.list, move |list, me| view(&forms, &list, &me))
    }
}

fn code_is(form: FormCore, code: &str) -> bool {
    form.error().with(|error| error.as_ref().is_some_and(|error| error.code == code))
}

fn view(forms: &Forms, list: &List, me: &Me) -> AnyView {
    let forms = *forms;
    let may = me.can(Permission::SecurityManage);
    let badge = if list.on {
        view! { <Badge label="Enforced" tone=Tone::Ok /> }.erase()
    } else {
        view! { <Badge label="Not enforced" tone=Tone::Neutral /> }.erase()
    };
    let trial = list.trial_until.map(|until| trial(&forms, until, list.now, may));
    let add = may.then(|| add(&forms, list, me.pin));
    let enforce = may.then(|| enforce(&forms, list, me.pin));
    let (you, table) = (you(list), table(&forms, list, may));
    let vendors = VENDORS.iter().map(|vendor| published(&forms, vendor, list, may)).collect_view();
    view! {
        <div class="narrow">
            <PageHeader
                title="IP allowlist"
                crumbs=vec![Crumb::new(paths::settings(), "Settings"), Crumb::new(paths::settings_security(), "Security")]
                about="From elsewhere the dashboard, the MCP endpoint and the token endpoint of this organisation answer 403."
            />
            <div class="stack-wide">
                {trial}
                <Card title="Ranges" action=badge>
                    <div class="stack">
                        {you}
                        <ErrorSummary form=forms.remove />
                        {table}
                    </div>
                </Card>
                {add}
                {enforce}
                <Card title="Agents in somebody's cloud">
                    <div class="stack"><p>
                        "Claude.ai, ChatGPT and other hosted clients call from their maker's addresses, not from yours. "
                        "Add the ranges that their makers publish, or they are refused; an agent on your own machine comes from your address."
                    </p>
                    <ErrorSummary form=forms.vendor />
                    <ul class="vendors">{vendors}</ul>
                    <p class="hint">
                        "Locked out? Whoever operates this instance can stop enforcing the list: "
                        <code>"gatehouse admin org set --org SLUG --ip-allowlist off"</code>
                    </p></div>
                </Card>
            </div>
        </div>
    }
    .erase()
}

/// What a maker of hosted agents publishes, and a button that adds it.
fn published(forms: &Forms, vendor: &Vendor, list: &List, may: bool) -> AnyView {
    let (form, id, name, source) = (forms.vendor, vendor.id, vendor.name, vendor.source);
    let link = view! { <a href=source rel="external noreferrer">{source}</a> }.erase();
    if vendor.ranges.is_empty() {
        return view! {
            <li><p><strong>{name}</strong> ": a list that changes often. Add what stands at " {link} "."</p></li>
        }
        .erase();
    }
    let (ranges, on) = (vendor.ranges.join(", "), vendor.looked_up);
    let missing = vendor.ranges.iter().any(|range| list.ranges.iter().all(|known| known.range != *range));
    let add = (may && missing).then(|| {
        view! {
            <ButtonForm form=form label="Add these" icon="plus" name=format!("Add these: the ranges of {name}")>
                <input type="hidden" name="vendor" value=id />
            </ButtonForm>
        }
        .erase()
    });
    let there = (!missing).then(|| view! { <Badge label="In the list" tone=Tone::Ok /> }.erase());
    view! {
        <li>
            <p><strong>{name}</strong> ": " <code>{ranges}</code> ", as looked up on " {on} " at " {link} "."</p>
            {add} {there}
        </li>
    }
    .erase()
}

fn you(list: &List) -> AnyView {
    let address = list.your_address.clone().unwrap_or_else(|| "not known".to_owned());
    let inside = if list.you_are_in {
        view! { <Badge label="In a range" tone=Tone::Ok /> }.erase()
    } else {
        view! { <Badge label="In no range" tone=Tone::Warn /> }.erase()
    };
    view! { <p>"Your address: " <code>{address}</code> " · " {inside}</p> }.erase()
}

fn trial(forms: &Forms, until: i64, now: i64, may: bool) -> AnyView {
    let forms = *forms;
    let keep = may.then(|| {
        view! {
            <ErrorSummary form=forms.keep />
            <ButtonForm form=forms.keep label="Keep it" kind=ButtonKind::Primary />
        }
        .erase()
    });
    view! {
        <Callout tone=Tone::Warn title="On trial">
            <p>
                "What counts now was not kept yet. Unless somebody keeps it, the list is as it was before "
                <Time at=until now=now /> "."
            </p>
            {keep}
        </Callout>
    }
    .erase()
}

fn table(forms: &Forms, list: &List, may: bool) -> AnyView {
    let forms = *forms;
    if list.ranges.is_empty() {
        return view! { <p class="muted">"No ranges yet: the organisation can be reached from everywhere."</p> }.erase();
    }
    let (on, inside) = (list.on, list.you_are_in);
    let rows = list.ranges.iter().map(|range| row(&forms, range, may)).collect_view();
    let mut columns = vec!["Range", "Note", "Added"];
    if may {
        columns.push("");
    }
    let everybody = list.ranges.iter().any(|range| range.range.ends_with("/0")).then(|| {
        view! {
            <Callout tone=Tone::Warn title="One of these is everybody">
                <p>"A range that ends in /0 lets in every address of its kind. The list protects nothing as long as it is there."</p>
            </Callout>
        }
        .erase()
    });
    let about = (may && on && inside).then(|| {
        view! { <p class="hint">"Removing a range while the list is enforced is on trial for a quarter of an hour."</p> }.erase()
    });
    view! {
        {everybody}
        <DataTable caption="Allowed ranges" columns=columns>{rows}</DataTable>
        {about}
    }
    .erase()
}

fn row(forms: &Forms, range: &AllowedRange, may: bool) -> AnyView {
    let forms = *forms;
    let (text, value, name) = (range.range.clone(), range.range.clone(), format!("Remove {}", range.range));
    let (note, by, at) = (range.note.clone(), range.added_by.clone(), range.added_at);
    let remove = may.then(|| {
        view! {
            <td>
                <div class="row-actions">
                    <ButtonForm form=forms.remove label="Remove" kind=ButtonKind::Quiet icon="trash-2" name=name>
                        <input type="hidden" name="range" value=value />
                    </ButtonForm>
                </div>
            </td>
        }
        .erase()
    });
    view! {
        <tr>
            <th scope="row" data-label="Range"><code>{text}</code></th>
            <td data-label="Note">{note}</td>
            <td data-label="Added"><Day at=at /> " by " {by}</td>
            {remove}
        </tr>
    }
    .erase()
}

fn add(forms: &Forms, list: &List, asked: PinAsked) -> AnyView {
    let forms = *forms;
    let form = forms.add;
    let suggestion = list.your_address.clone().filter(|_| !list.you_are_in).unwrap_or_default();
    let confirm = move || {
        code_is(form.into(), "would_lock_out")
            .then(|| insist(form.into(), "Add it although my address is in no range"))
    };
    // It stays once it was asked for, whatever else has to be answered then.
    let wanted = Memo::new(move |before: Option<&bool>| {
        before == Some(&true)
            || form.error().with(|error| error.as_ref().is_some_and(|error| error.at("pin").is_some()))
    });
    let pin = move || wanted.get().then(|| pin_field(form.into(), asked));
    view! {
        <Card title="Add range">
            <PostForm form=form>
                <ErrorSummary form=form />
                <TextField
                    form=form
                    name="range"
                    label="Address or range"
                    hint="Such as `203.0.113.7`, `203.0.113.0/24` or `2001:db8::/48`."
                    value=suggestion
                    mono=true
                />
                <TextField form=form name="note" label="Note" hint="What it is, such as Office or VPN." max=MAX_NOTE />
                {confirm}
                {pin}
                <SubmitButton form=form label="Add range" busy="Adding…" kind=ButtonKind::Secondary />
            </PostForm>
        </Card>
    }
    .erase()
}

fn insist(form: FormCore, label: &'static str) -> AnyView {
    view! {
        <Checkbox form=form name="confirm" label=label hint="Within a quarter of an hour it is taken back by itself, unless somebody who is let in keeps it." />
    }
    .erase()
}

fn enforce(forms: &Forms, list: &List, pin: PinAsked) -> AnyView {
    let forms = *forms;
    if list.on {
        let form = forms.off;
        return view! {
            <Card title="Stop enforcing it" about="The ranges stay; everybody with a good credential is let in from everywhere.">
                <PostForm form=form>
                    <ErrorSummary form=form />
                    {pin_field(form.into(), pin)}
                    <SubmitButton form=form label="Stop enforcing" kind=ButtonKind::Danger />
                </PostForm>
            </Card>
        }
        .erase();
    }
    let form = forms.on;
    let act = if list.ranges.is_empty() {
        view! { <p class="muted">"Add a range first."</p> }.erase()
    } else if list.you_are_in {
        view! {
            <ErrorSummary form=form />
            <ButtonForm form=form label="Enforce it on trial" kind=ButtonKind::Primary />
        }
        .erase()
    } else if list.fresh {
        view! {
            <Callout tone=Tone::Warn title="You would lock yourself out">
                <p>"Your address is in none of the ranges. Add it, or insist: from then on you cannot undo it here, and after a quarter of an hour it is taken back by itself."</p>
            </Callout>
            <PostForm form=form>
                <ErrorSummary form=form />
                {insist(form.into(), "Enforce it although my address is in no range")}
                <SubmitButton form=form label="I understand, enforce it" kind=ButtonKind::Danger />
            </PostForm>
        }
        .erase()
    } else {
        let confirm = confirm_you(forms.confirm_you, paths::settings_allowlist(), list.own_factor);
        view! {
            <Callout tone=Tone::Warn title="You would lock yourself out">
                <p>"Your address is in none of the ranges. Add it first; to enforce the list all the same, confirm that it is you."</p>
            </Callout>
            <Disclosure title="Enforce it all the same">
                {confirm}
            </Disclosure>
        }
        .erase()
    };
    let dry_run = dry_run(&list.dry_run, list.ranges.is_empty());
    let about = format!(
        "It counts within a second, on trial: unless you keep it within {TRIAL_MINUTES} minutes, it is taken back by itself."
    );
    view! {
        <Card title="Enforce it" about=about>
            <div class="stack">
                {dry_run}
                {act}
            </div>
        </Card>
    }
    .erase()
}

/// What these ranges would have refused.
fn dry_run(run: &DryRun, empty: bool) -> Option<AnyView> {
    if empty {
        return None;
    }
    let all = if run.more {
        format!("the latest {} requests (there were more in the last 7 days)", run.requests)
    } else {
        format!("the {} requests of the last 7 days", run.requests)
    };
    let sentence = match (run.requests, run.outside) {
        (0, _) => "There were no requests to the endpoint in the last 7 days to try it on.".to_owned(),
        (_, 0) => format!("All of {all} came from these ranges."),
        (requests, outside) => {
            let percent = outside * 100 / requests.max(1);
            let percent = if percent == 0 { "less than 1".to_owned() } else { percent.to_string() };
            format!(
                "{outside} of {all} — {percent} % — of {} keys or clients, came from elsewhere. They would have got 403.",
                run.principals
            )
        }
    };
    let addresses = run
        .addresses
        .iter()
        .map(|(address, times)| {
            view! { <li><code>{address.clone()}</code> {format!(" — {times}")}</li> }.erase()
        })
        .collect_view();
    let members = run
        .members
        .iter()
        .map(|(name, address)| view! { <li>{name.clone()} " — " <code>{address.clone()}</code></li> }.erase())
        .collect_view();
    let from =
        (!run.addresses.is_empty()).then(|| view! { <ul class="consequences">{addresses}</ul> }.erase());
    let people = (!run.members.is_empty()).then(|| {
        view! {
            <p>"These members used the dashboard from elsewhere:"</p>
            <ul class="consequences">{members}</ul>
        }
        .erase()
    });
    Some(view! { <p>{sentence}</p> {from} {people} }.erase())
}

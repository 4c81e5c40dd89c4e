//! The fields that making and editing a key have in common.

use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{ConnectorId, api_keys::KeyScope};

use crate::{
    components::{Checkbox, CheckboxGroup, Choice, RadioGroup, SelectField, TextArea, TextField, absolute},
    form::FormCore,
};

/// A day in the calendar: `Mar 12, 2026`.
pub(super) fn day(ms: i64) -> String {
    let whole = absolute(ms);
    whole.rsplit_once(", ").map_or(whole.clone(), |(day, _)| day.to_owned())
}

/// A day, with the exact time for those who ask.
#[component]
pub(super) fn Day(
    /// Unix milliseconds.
    at: i64,
) -> impl IntoView {
    view! { <span title=absolute(at)>{day(at)}</span> }.erase()
}

/// What a key may do, as it is now.
pub(super) struct Limits {
    /// Which connectors it may use.
    pub(super) scope: KeyScope,
    /// When it ends, if it does.
    pub(super) ends: Option<i64>,
    /// Whether it may stand in a URL.
    pub(super) in_urls: bool,
    /// From where it may be used; empty for everywhere.
    pub(super) ranges: Vec<String>,
}

/// A new key may do everything but stand in a URL.
impl Default for Limits {
    fn default() -> Self {
        Self { scope: KeyScope::All, ends: None, in_urls: false, ranges: Vec::new() }
    }
}

/// The fields of what a key may do. `url_keys` tells whether the organisation accepts keys in URLs.
pub(super) fn limits(
    form: FormCore,
    now: Limits,
    connectors: Vec<(ConnectorId, String, String)>,
    url_keys: bool,
) -> AnyView {
    let (all, chosen) = match now.scope {
        KeyScope::All => (true, Vec::new()),
        KeyScope::Only(chosen) => (false, chosen),
    };
    view! {
        {access(form, all, chosen, connectors)}
        {expiry(form, now.ends)}
        <TextArea
            form=form
            name="ranges"
            label="Allowed addresses"
            hint="Optional. One address or range a line, such as 203.0.113.0/24; from elsewhere the key gets 403. Empty is everywhere."
            value=now.ranges.join("\n")
            rows=2
        />
        {in_urls(form, url_keys, now.in_urls)}
    }
    .erase()
}

/// Which connectors a key may use.
fn access(
    form: FormCore,
    all: bool,
    chosen: Vec<ConnectorId>,
    connectors: Vec<(ConnectorId, String, String)>,
) -> AnyView {
    if connectors.is_empty() && all {
        return view! {
            <input type="hidden" name="access" value="all" />
            <p class="hint">"There are no connectors yet. The key will reach all that are added."</p>
        }
        .erase();
    }
    let ways = vec![
        Choice::new("all", "All connectors").hint("Also those that are added later."),
        Choice::new("only", "Only selected connectors"),
    ];
    let choices =
        connectors.into_iter().map(|(id, name, slug)| Choice::new(id.to_string(), name).hint(slug)).collect();
    let values = chosen.iter().map(ToString::to_string).collect();
    view! {
        <RadioGroup form=form name="access" label="Access" value=if all { "all" } else { "only" } choices=ways />
        <div class="only-these">
            <CheckboxGroup
                form=form
                name="connectors[]"
                label="Selected connectors"
                hint="The key sees the tools of these and of no other."
                values=values
                choices=choices
            />
        </div>
    }
    .erase()
}

/// When a key ends. `ends` is when it does now, for a key that is changed and has an end.
fn expiry(form: FormCore, ends: Option<i64>) -> AnyView {
    let mut choices = Vec::new();
    if let Some(at) = ends {
        choices.push(Choice::new("keep", format!("As it is: {}", day(at))));
    }
    choices.push(Choice::new("never", "Never"));
    choices.extend(["30", "90", "365"].map(|days| Choice::new(days, format!("In {days} days"))));
    choices.push(Choice::new("date", "On a day of your choice"));
    view! {
        <SelectField
            form=form
            name="expires"
            label="Expires"
            hint="From then on, requests with this key get 401."
            value=if ends.is_some() { "keep" } else { "never" }
            choices=choices
        />
        <div class="on-day">
            <TextField form=form name="expires_on" label="Last day" hint="It works through this day, UTC." kind="date" />
        </div>
    }
    .erase()
}

/// Whether a key may stand in a URL: offered where the organisation allows it, and where it would have to be undone.
fn in_urls(form: FormCore, allowed: bool, marked: bool) -> Option<AnyView> {
    (allowed || marked).then(|| {
        let hint = if allowed {
            "For clients that take only an address. Addresses end up in logs and histories, so give such a key little access."
        } else {
            "The organisation does not accept keys in URLs now, so this has no effect. Once unticked, it cannot be ticked again."
        };
        view! {
            <Checkbox form=form name="url_key" label="May be used in a URL (?api_key=)" hint=hint checked=marked />
        }
        .erase()
    })
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn a_day_is_written_as_people_write_it() {
        assert_eq!(day(1_773_324_306_000), "Mar 12, 2026");
    }
}

//! What several pages of connectors show.

use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{AppError, ErrorKind, connectors::Transport};

use crate::{
    components::{ButtonKind, Callout, Checkbox, SubmitButton, Tone},
    form::FormCore,
};

/// How many rows for new headers a form has, so that it needs no scripts to have several.
const HEADER_ROWS: usize = 3;

/// How a server is reached, for people.
pub(super) const fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Http => "Streamable HTTP",
        Transport::Sse => "HTTP+SSE of 2024-11-05",
        Transport::Stdio => "Standard streams",
        Transport::Demo => "Built in",
    }
}

/// "1 tool", "12 tools".
pub(super) fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Whether a text holds what was typed into a filter, upper or lower case.
pub(super) fn matches(filter: &str, texts: &[&str]) -> bool {
    let filter = lower(filter.trim());
    texts.iter().any(|text| lower(text).contains(&filter))
}

/// In lower case, as far as Latin, Greek and Cyrillic go: the tables for all of Unicode would be twelve kilobytes of wasm.
/// (The browser's own are out of reach: code that the wasm is split at cannot call it for a text.)
fn lower(text: &str) -> String {
    let lower = |c: char| {
        let by = match c {
            'A'..='Z' | 'À'..='Ö' | 'Ø'..='Þ' | 'Α'..='Ϋ' | 'А'..='Я' => 32,
            'Ѐ'..='Џ' => 80,
            'Ā'..='ķ' | 'Ŋ'..='ŷ' => 1 - (u32::from(c) % 2),
            'Ĺ'..='ň' | 'Ź'..='ž' => u32::from(c) % 2,
            _ => 0,
        };
        char::from_u32(u32::from(c) + by).unwrap_or(c)
    };
    text.chars().map(lower).collect()
}

/// A filter by text: a GET form of its own.
#[component]
pub(super) fn Filter(
    /// What is filtered: "Filter connectors by name, slug or URL".
    label: &'static str,
    /// What is typed now.
    value: String,
    /// The page without the filter.
    clear: String,
) -> impl IntoView {
    let clear =
        (!value.is_empty()).then(|| view! { <a class="button quiet" href=clear>"Clear filter"</a> }.erase());
    view! {
        <form class="filter" method="get" role="search">
            <input class="input" type="search" name="q" value=value aria-label=label placeholder=label maxlength="100" />
            <button class="button" type="submit">"Filter"</button>
            {clear}
        </form>
    }
    .erase()
}

/// Why a small form in a row did not work.
#[component]
pub(super) fn RowError(
    /// The form.
    #[prop(into)]
    form: FormCore,
) -> impl IntoView {
    let error = form.error();
    move || error.get().map(|error| view! { <p class="field-error" role="alert">{error.message}</p> }.erase())
}

/// Rows for the headers that are sent with every request to the server.
#[component]
pub(super) fn HeaderRows(
    /// What stands above the rows.
    #[prop(default = "Static headers")]
    legend: &'static str,
    /// The form.
    #[prop(into)]
    form: FormCore,
) -> impl IntoView {
    let names = form.values_of("header_name[]").unwrap_or_default();
    // What was typed comes back without its secrets, so say so.
    let again = names.iter().any(|name| !name.trim().is_empty()).then(|| {
        view! { <p class="hint">"Enter the values again: they are secrets, and never sent back to a page."</p> }.erase()
    });
    let rows = (0..HEADER_ROWS)
        .map(|at| {
            let (name_id, value_id) = (row_id(form, "header_name", at), row_id(form, "header_value", at));
            view! {
                <div class="header-row">
                    <div>
                        <label for=name_id.clone()>"Name" <span class="visually-hidden">{format!(" of header {}", at + 1)}</span></label>
                        <input
                            class="input mono"
                            id=name_id
                            name="header_name[]"
                            value=names.get(at).cloned().unwrap_or_default()
                            placeholder=if at == 0 { "Authorization" } else { "" }
                            autocomplete="off"
                            autocapitalize="none"
                            spellcheck="false"
                        />
                    </div>
                    <div>
                        <label for=value_id.clone()>"Value" <span class="visually-hidden">{format!(" of header {}", at + 1)}</span></label>
                        <input
                            class="input mono"
                            id=value_id
                            name="header_value[]"
                            placeholder=if at == 0 { "Bearer …" } else { "" }
                            autocomplete="off"
                            autocapitalize="none"
                            spellcheck="false"
                        />
                    </div>
                </div>
            }.erase()
        })
        .collect_view();
    view! {
        <fieldset class="field">
            <legend>{legend}</legend>
            <p class="hint">
                "Sent with every request to this server, such as a token. Values are encrypted and never shown again. \
                 Leave the rows empty if it needs none."
            </p>
            {again}
            {field_error(form, "header_name")}
            {field_error(form, "header_value")}
            {rows}
        </fieldset>
    }
    .erase()
}

/// The id of a field that is there once a row. The first has the id that the error summary links to.
pub(super) fn row_id(form: FormCore, name: &str, at: usize) -> String {
    if at == 0 { form.id_of(name) } else { format!("{}-{at}", form.id_of(name)) }
}

/// The error at a field that is there once a row.
pub(super) fn field_error(form: FormCore, field: &'static str) -> impl IntoView {
    let error = form.error_at(field);
    move || error.get().map(|message| view! { <p class="field-error">{message}</p> }.erase())
}

/// Offered when the server did not answer in a way that may pass: keep the connector all the same.
#[component]
pub(super) fn KeepAnyway(
    /// The form.
    #[prop(into)]
    form: FormCore,
) -> impl IntoView {
    let error = form.error();
    let may_pass = Memo::new(move |_| error.with(|error| error.as_ref().is_some_and(may_pass)));
    move || {
        may_pass.get().then(|| {
            view! {
                <Checkbox
                    form=form
                    name="keep"
                    label="Keep it even if it does not answer now"
                    hint="It is checked again in the background, and its tools appear once it answers."
                />
            }
            .erase()
        })
    }
}

/// Offered when the server wants a sign-in with OAuth: add the connector, and go on to set that up.
#[component]
pub(super) fn SignInFirst(
    /// The form.
    #[prop(into)]
    form: FormCore,
) -> impl IntoView {
    let error = form.error();
    let wants =
        Memo::new(move |_| error.with(|e| e.as_ref().is_some_and(|e| e.code == "upstream_needs_oauth")));
    move || {
        wants.get().then(|| {
            view! {
                <Callout tone=Tone::Info title="This server wants a sign-in">
                    <p>"Add it now, and choose on the next page whether one person signs in for everybody or each member for themselves."</p>
                    <SubmitButton
                        form=form
                        label="Add it and set up the sign-in"
                        busy="Asking the server…"
                        kind=ButtonKind::Secondary
                        field="sign_in"
                        value="on"
                    />
                </Callout>
            }
            .erase()
        })
    }
}

/// A failure of the network or of the server, not of what was typed, and not of this instance's policy.
fn may_pass(error: &AppError) -> bool {
    error.kind == ErrorKind::Invalid
        && matches!(
            error.code.as_str(),
            "upstream_unavailable" | "upstream_timeout" | "upstream_needs_auth" | "upstream_rate_limited"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_ignores_case_and_space_around() {
        assert!(matches(" GitHub ", &["x", "my github server"]));
        assert!(matches("", &["x"]));
        assert!(!matches("gitlab", &["github"]));
    }

    #[test]
    fn only_what_may_pass_can_be_kept() {
        assert!(may_pass(&AppError::field("url", "upstream_timeout", "")));
        assert!(!may_pass(&AppError::field("url", "upstream_blocked", "")));
        assert!(!may_pass(&AppError::field("url", "url", "")));
    }

    #[test]
    fn a_filter_does_not_mind_upper_and_lower_case() {
        for text in ["GitHub", "MÜLLER", "Łódź", "Žižkov", "ΑΘΗΝΑ", "Київ", "Ёлка", "Øresund × 2", "日本"]
        {
            assert_eq!(lower(text), text.to_lowercase(), "{text}");
            assert!(matches(&text.to_lowercase(), &["", text]));
        }
        assert!(!matches("b", &["a"]));
    }
}

use crate::erase::Erase as _;
use leptos::prelude::*;

use super::some;
use crate::form::{FormCore, PostForm};

/// Label, hint and error around a control. The control gets its id from [`FormCore::id_of`], and from
/// [`described_by`] and [`invalid`] what refers to them.
#[component]
pub fn Field(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The name of the control.
    name: &'static str,
    /// What it is.
    #[prop(into)]
    label: String,
    /// What helps to fill it in.
    #[prop(optional, into)]
    hint: String,
    /// The control.
    children: Children,
) -> impl IntoView {
    let id = form.id_of(name);
    let hint =
        some(hint).map(|hint| view! { <p class="hint" id=format!("{id}-hint")>{marked(&hint)}</p> }.erase());
    view! {
        <div class="field" data-invalid=invalid(form, name)>
            <label for=id.clone()>{label}</label>
            {hint}
            {field_error(form, name)}
            {children()}
        </div>
    }
    .erase()
}

/// A text in which what stands between backticks is code.
fn marked(text: &str) -> Vec<AnyView> {
    let parts = text.split('`').map(str::to_owned).enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { view! { <code>{part}</code> }.erase() } else { part.into_any() })
        .collect()
}

/// The error at a field, for controls with their own surroundings.
fn field_error(form: FormCore, name: &str) -> AnyView {
    let id = format!("{}-error", form.id_of(name));
    let error = form.error_at(name);
    (move || error.get().map(|message| view! { <p class="field-error" id=id.clone()>{message}</p> }.erase()))
        .into_any()
}

/// For `aria-describedby`: hint and error, as far as they are there.
pub(crate) fn described_by(
    form: FormCore,
    name: &str,
    has_hint: bool,
) -> impl Fn() -> Option<String> + Clone + Send + Sync + 'static {
    let id = form.id_of(name);
    let error = form.error_at(name);
    move || match (has_hint, error.with(Option::is_some)) {
        (true, true) => Some(format!("{id}-hint {id}-error")),
        (true, false) => Some(format!("{id}-hint")),
        (false, true) => Some(format!("{id}-error")),
        (false, false) => None,
    }
}

/// For `aria-invalid`.
pub(crate) fn invalid(
    form: FormCore,
    name: &str,
) -> impl Fn() -> Option<&'static str> + Clone + Send + Sync + 'static {
    let error = form.error_at(name);
    move || error.with(Option::is_some).then_some("true")
}

/// One line of text.
#[component]
pub fn TextField(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function.
    name: &'static str,
    /// What it is.
    #[prop(into)]
    label: String,
    /// What helps to fill it in.
    #[prop(optional, into)]
    hint: String,
    /// What is there now.
    #[prop(optional, into)]
    value: String,
    /// The input's type.
    #[prop(default = "text")]
    kind: &'static str,
    /// What a browser may fill in.
    #[prop(default = "off")]
    autocomplete: &'static str,
    /// Which keyboard a phone shows.
    #[prop(optional)]
    inputmode: Option<&'static str>,
    /// The longest text in characters; the server checks it again.
    #[prop(optional)]
    max: Option<usize>,
    /// Set in the fixed-width face, without correction of spelling.
    #[prop(optional)]
    mono: bool,
) -> impl IntoView {
    let value = form.value_of(name).unwrap_or(value);
    let described = described_by(form, name, !hint.is_empty());
    view! {
        <Field form=form name=name label=label hint=hint>
            <input
                class=if mono { "input mono" } else { "input" }
                id=form.id_of(name)
                type=kind
                name=name
                value=value
                autocomplete=autocomplete
                inputmode=inputmode
                maxlength=max.map(|max| max.to_string())
                spellcheck=mono.then_some("false")
                autocapitalize=mono.then_some("none")
                aria-describedby=described
                aria-invalid=invalid(form, name)
            />
        </Field>
    }
    .erase()
}

/// A password with a button that shows it. What was typed never comes back from the server.
#[component]
pub fn PasswordField(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function.
    name: &'static str,
    /// What it is.
    #[prop(into)]
    label: String,
    /// What helps to fill it in.
    #[prop(optional, into)]
    hint: String,
    /// `current-password` or `new-password`.
    #[prop(default = "current-password")]
    autocomplete: &'static str,
) -> impl IntoView {
    let described = described_by(form, name, !hint.is_empty());
    let id = form.id_of(name);
    view! {
        <Field form=form name=name label=label hint=hint>
            <div class="with-button">
                <input
                    class="input"
                    id=id.clone()
                    type="password"
                    name=name
                    autocomplete=autocomplete
                    autocapitalize="none"
                    spellcheck="false"
                    aria-describedby=described
                    aria-invalid=invalid(form, name)
                />
                <button class="button" type="button" data-show=id aria-pressed="false" aria-label="Show password">
                    "Show"
                </button>
            </div>
        </Field>
    }
    .erase()
}

/// Several lines of text.
#[component]
pub fn TextArea(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function.
    name: &'static str,
    /// What it is.
    #[prop(into)]
    label: String,
    /// What helps to fill it in.
    #[prop(optional, into)]
    hint: String,
    /// What is there now.
    #[prop(optional, into)]
    value: String,
    /// How many lines it shows.
    #[prop(default = 3)]
    rows: u32,
    /// The longest text in characters; the server checks it again.
    #[prop(optional)]
    max: Option<usize>,
) -> impl IntoView {
    let value = form.value_of(name).unwrap_or(value);
    let described = described_by(form, name, !hint.is_empty());
    view! {
        <Field form=form name=name label=label hint=hint>
            <textarea
                class="input"
                id=form.id_of(name)
                name=name
                rows=rows.to_string()
                maxlength=max.map(|max| max.to_string())
                aria-describedby=described
                aria-invalid=invalid(form, name)
            >
                {textarea_text(value)}
            </textarea>
        </Field>
    }
    .erase()
}

/// Leptos writes what is inside a `<textarea>` as it is, so the server has to keep a value from closing it (HDR-04). The
/// browser sets text, where nothing has to be escaped.
fn textarea_text(value: String) -> String {
    if cfg!(feature = "ssr") { value.replace('&', "&amp;").replace('<', "&lt;") } else { value }
}

/// One thing to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is sent.
    pub value: String,
    /// What is read.
    pub label: String,
    /// A sentence under the label, where there is room.
    pub hint: Option<String>,
}

impl Choice {
    /// A choice without a hint.
    pub fn new(value: impl Into<String>, label: impl Into<String>) -> Self {
        Self { value: value.into(), label: label.into(), hint: None }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One of many, in the system's own list.
#[component]
pub fn SelectField(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function.
    name: &'static str,
    /// What it is.
    #[prop(into)]
    label: String,
    /// What helps to choose.
    #[prop(optional, into)]
    hint: String,
    /// What is chosen now.
    #[prop(optional, into)]
    value: String,
    /// What there is.
    choices: Vec<Choice>,
) -> impl IntoView {
    let value = form.value_of(name).unwrap_or(value);
    let described = described_by(form, name, !hint.is_empty());
    let options = choices
        .into_iter()
        .map(|choice| {
            let selected = choice.value == value;
            view! { <option value=choice.value selected=selected>{choice.label}</option> }.erase()
        })
        .collect_view();
    view! {
        <Field form=form name=name label=label hint=hint>
            <select
                class="input"
                id=form.id_of(name)
                name=name
                aria-describedby=described
                aria-invalid=invalid(form, name)
            >
                {options}
            </select>
        </Field>
    }
    .erase()
}

/// One box to tick; the argument is `Option<String>` (`Some("on")` when ticked).
#[component]
pub fn Checkbox(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function.
    name: &'static str,
    /// What ticking it means.
    #[prop(into)]
    label: String,
    /// What follows from it.
    #[prop(optional, into)]
    hint: String,
    /// Whether it is ticked now.
    #[prop(optional)]
    checked: bool,
) -> impl IntoView {
    let checked = form.values_of(name).map_or(checked, |values| !values.is_empty());
    let id = form.id_of(name);
    let described = described_by(form, name, !hint.is_empty());
    let hint = some(hint).map(|hint| view! { <p class="hint" id=format!("{id}-hint")>{hint}</p> }.erase());
    view! {
        <div class="choice" data-invalid=invalid(form, name)>
            {field_error(form, name)}
            <input
                type="checkbox"
                id=id.clone()
                name=name
                checked=checked
                aria-describedby=described
                aria-invalid=invalid(form, name)
            />
            <label for=id>{label}</label>
            {hint}
        </div>
    }
    .erase()
}

/// Any of many. Name it with brackets (`connectors[]`); the argument is `Vec<…>` without them, with `#[server(default)]`.
#[component]
pub fn CheckboxGroup(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function, with `[]`.
    name: &'static str,
    /// What they are.
    #[prop(into)]
    label: String,
    /// What helps to choose.
    #[prop(optional, into)]
    hint: String,
    /// What is chosen now.
    #[prop(optional)]
    values: Vec<String>,
    /// What there is.
    choices: Vec<Choice>,
) -> impl IntoView {
    let chosen = form.values_of(name).unwrap_or(values);
    choice_group(form, name, label, hint, choices, "checkbox", &chosen)
}

/// One of few, all in view.
#[component]
pub fn RadioGroup(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument of the server function.
    name: &'static str,
    /// What they are.
    #[prop(into)]
    label: String,
    /// What helps to choose.
    #[prop(optional, into)]
    hint: String,
    /// What is chosen now.
    #[prop(optional, into)]
    value: String,
    /// What there is.
    choices: Vec<Choice>,
) -> impl IntoView {
    let chosen = [form.value_of(name).unwrap_or(value)];
    choice_group(form, name, label, hint, choices, "radio", &chosen)
}

fn choice_group(
    form: FormCore,
    name: &'static str,
    label: String,
    hint: String,
    choices: Vec<Choice>,
    kind: &'static str,
    chosen: &[String],
) -> AnyView {
    let id = form.id_of(name);
    // The error of a group is reported under the argument's name, which has no brackets.
    let field = name.trim_end_matches("[]");
    let described = described_by(form, field, !hint.is_empty());
    let hint = some(hint).map(|hint| view! { <p class="hint" id=format!("{id}-hint")>{hint}</p> }.erase());
    let choices = choices
        .into_iter()
        .enumerate()
        .map(|(at, choice)| {
            // The first has the group's id, so that the error summary leads there.
            let own = if at == 0 { id.clone() } else { format!("{id}-{at}") };
            let checked = chosen.contains(&choice.value);
            let hint_id = format!("{own}-about");
            let described = choice.hint.is_some().then(|| hint_id.clone());
            let hint = choice.hint.map(|hint| view! { <p class="hint" id=hint_id>{hint}</p> }.erase());
            view! {
                <div class="choice">
                    <input
                        type=kind
                        id=own.clone()
                        name=name
                        value=choice.value
                        checked=checked
                        aria-describedby=described
                    />
                    <label for=own>{choice.label}</label>
                    {hint}
                </div>
            }
            .erase()
        })
        .collect_view();
    view! {
        <fieldset class="field" aria-describedby=described data-invalid=invalid(form, field)>
            <legend>{label}</legend>
            {hint}
            {field_error(form, field)}
            {choices}
        </fieldset>
    }
    .erase()
}

/// A switch that acts at once: a form whose button has the role. The form sends `enabled=true` or `enabled=false`;
/// what it is about goes into `children` as hidden inputs, or comes from [`crate::form::use_form_for`].
#[component]
pub fn Switch(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// What is switched, with its object: "Tool search_issues".
    #[prop(into)]
    label: String,
    /// Whether it is on.
    on: bool,
    /// Whether the person may switch it; otherwise it only shows the state.
    #[prop(default = true)]
    allowed: bool,
    /// Hidden inputs.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    if !allowed {
        return view! {
            <span class="switch-state" data-on=on.then_some("true")>{if on { "On" } else { "Off" }}</span>
        }
        .erase();
    }
    // Shows what was asked for while it is under way, and goes back if it failed.
    let shown = move || if form.pending().get() { !on } else { on };
    view! {
        <PostForm form=form class="inline-form">
            {children.map(|children| children())}
            <input type="hidden" name="enabled" value=(!on).to_string() />
            <button
                class="switch"
                type="submit"
                role="switch"
                aria-checked=move || shown().to_string()
                aria-label=label
            >
                <span class="switch-word" aria-hidden="true">{move || if shown() { "On" } else { "Off" }}</span>
            </button>
        </PostForm>
    }
    .erase()
}

use crate::erase::Erase as _;
use leptos::{html, prelude::*};
use model::slug::suggest;

use crate::{
    components::{Field, TextField},
    form::FormCore,
};

const NAME_MAX: usize = 64;

/// Name and slug of a new organisation. With scripts the slug follows the name until somebody types one.
#[component]
pub fn OrgFields(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The argument for the name.
    name: &'static str,
    /// The argument for the slug.
    slug: &'static str,
    /// What stands before the slug in an endpoint URL.
    endpoint: String,
) -> impl IntoView {
    let input = NodeRef::<html::Input>::new();
    let typed = form.value_of(slug).unwrap_or_default();
    let suggested = StoredValue::new(suggest(&form.value_of(name).unwrap_or_default()));
    let shown = RwSignal::new(typed.clone());
    let named = move |event: leptos::ev::Event| {
        let Some(input) = input.get_untracked() else { return };
        let current = input.value();
        if current.is_empty() || suggested.with_value(|was| *was == current) {
            let slug = suggest(&event_target_value(&event));
            input.set_value(&slug);
            suggested.set_value(slug.clone());
            shown.set(slug);
        }
    };

    let id = form.id_of(slug);
    let error = form.error_at(slug);
    let invalid = move || error.with(Option::is_some).then_some("true");
    let described = {
        let id = id.clone();
        move || {
            let error = if error.with(Option::is_some) { format!(" {id}-error") } else { String::new() };
            format!("{id}-hint {id}-preview{error}")
        }
    };
    let preview = format!("{id}-preview");
    let tail = move || shown.with(|slug| if slug.is_empty() { "your-slug".to_owned() } else { slug.clone() });
    view! {
        <div class="org-fields stack">
            // The event of the input bubbles up to here.
            <div on:input=named>
                <TextField
                    form=form
                    name=name
                    label="Organisation name"
                    autocomplete="organization"
                    max=NAME_MAX
                />
            </div>
            <Field
                form=form
                name=slug
                label="Slug"
                hint="3 to 63 lower-case letters, digits and hyphens. It cannot be changed later."
            >
                <input
                    class="input mono"
                    id=id.clone()
                    type="text"
                    name=slug
                    value=typed
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    maxlength="63"
                    aria-describedby=described
                    aria-invalid=invalid
                    node_ref=input
                    on:input=move |event| shown.set(event_target_value(&event))
                />
                <p class="hint" id=preview>
                    "Agents will connect to "
                    <code>{endpoint}<strong>{tail}</strong></code>
                </p>
            </Field>
        </div>
    }
    .erase()
}

use crate::erase::Erase as _;
use leptos::prelude::*;

use super::{Icon, some};
use crate::form::{FormCore, PostForm};

/// How a button looks. One primary on a view; danger only on what destroys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ButtonKind {
    /// Ink: the one thing to do here.
    Primary,
    /// A border: everything else.
    #[default]
    Secondary,
    /// Red: destroys.
    Danger,
    /// Bare: beside other things, in rows and menus.
    Quiet,
}

impl ButtonKind {
    /// The class names.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Primary => "button primary",
            Self::Secondary => "button",
            Self::Danger => "button danger",
            Self::Quiet => "button quiet",
        }
    }
}

fn icon(name: &'static str) -> Option<impl IntoView> {
    (!name.is_empty()).then(|| view! { <Icon name=name /> }.erase())
}

/// A link that looks like a button. For dialogs that are also pages, give `dialog`: scripts open it instead.
#[component]
pub fn LinkButton(
    /// Where to.
    #[prop(into)]
    href: String,
    /// Verb and noun.
    #[prop(into)]
    label: String,
    /// How it looks.
    #[prop(optional)]
    kind: ButtonKind,
    /// A Lucide name.
    #[prop(optional)]
    icon: &'static str,
    /// The name for screen readers, where the label leaves out the object: "Delete key ci-bot".
    #[prop(optional, into)]
    name: String,
) -> impl IntoView {
    view! {
        <a class=kind.class() href=href aria-label=some(name)>
            {self::icon(icon)}
            <span>{label}</span>
        </a>
    }
    .erase()
}

/// The button of a form. While the form is under way it says so; it is never disabled.
#[component]
pub fn SubmitButton(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// Verb and noun: "Create key".
    #[prop(into)]
    label: String,
    /// While it is under way: "Creating…".
    #[prop(default = "Saving…")]
    busy: &'static str,
    /// How it looks.
    #[prop(default = ButtonKind::Primary)]
    kind: ButtonKind,
    /// A Lucide name.
    #[prop(optional)]
    icon: &'static str,
    /// The field that this very button adds, for forms with several.
    #[prop(optional, into)]
    field: String,
    /// That field's value.
    #[prop(optional, into)]
    value: String,
    /// The name for screen readers, where the label leaves out the object.
    #[prop(optional, into)]
    name: String,
) -> impl IntoView {
    let pending = form.pending();
    view! {
        <button
            class=kind.class()
            type="submit"
            name=some(field)
            value=some(value)
            aria-label=some(name)
            aria-disabled=move || pending.get().then_some("true")
        >
            {self::icon(icon)}
            <span>{move || if pending.get() { busy.to_owned() } else { label.clone() }}</span>
        </button>
    }
    .erase()
}

/// Beside the button of a form that edits what is stored: says that something was changed and not saved, and takes it
/// back. boot.js shows it, and asks before the page is left. Without scripts it is not seen.
#[component]
pub fn Unsaved() -> impl IntoView {
    view! {
        <p class="unsaved">
            <span>{crate::copy::UNSAVED}</span>
            <button class="button quiet" type="reset">"Discard"</button>
        </p>
    }
    .erase()
}

/// A form that is one button: a reversible act on a row, an entry of a menu. Hidden fields are its children.
#[component]
pub fn ButtonForm(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// Verb and noun.
    #[prop(into)]
    label: String,
    /// How it looks.
    #[prop(optional)]
    kind: ButtonKind,
    /// A Lucide name.
    #[prop(optional)]
    icon: &'static str,
    /// The name for screen readers, where the label leaves out the object.
    #[prop(optional, into)]
    name: String,
    /// Hidden inputs.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    view! {
        <PostForm form=form class="inline-form">
            {children.map(|children| children())}
            <SubmitButton form=form label=label busy="Working…" kind=kind icon=icon name=name />
        </PostForm>
    }
    .erase()
}

/// A button that opens the [`super::Dialog`] with this id. Where the dialog acts, give the page that does the same
/// without scripts as `href`: then it is a link that scripts turn into a button.
#[component]
pub fn OpenDialog(
    /// The dialog's id.
    #[prop(into)]
    dialog: String,
    /// Verb and noun.
    #[prop(into)]
    label: String,
    /// How it looks.
    #[prop(optional)]
    kind: ButtonKind,
    /// A Lucide name.
    #[prop(optional)]
    icon: &'static str,
    /// The page that does the same.
    #[prop(optional, into)]
    href: String,
    /// The name for screen readers, where the label leaves out the object.
    #[prop(optional, into)]
    name: String,
) -> impl IntoView {
    let inner = view! {
        {self::icon(icon)}
        <span>{label}</span>
    }
    .erase();
    match some(href) {
        // `rel="external"` keeps the router away; boot.js opens the dialog unless a new tab is asked for.
        Some(href) => view! {
            <a class=kind.class() href=href rel="external" data-dialog=dialog aria-label=some(name) aria-haspopup="dialog">
                {inner}
            </a>
        }
        .erase(),
        None => view! {
            <button class=kind.class() type="button" command="show-modal" commandfor=dialog aria-label=some(name)>
                {inner}
            </button>
        }
        .erase(),
    }
}

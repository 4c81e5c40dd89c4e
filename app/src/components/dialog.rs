use crate::erase::Erase as _;
use leptos::prelude::*;

use super::{ButtonKind, Icon, SubmitButton};
use crate::{form::FormCore, state::Refresh};

/// A modal dialog; opened by [`super::OpenDialog`], or by `open`, as for a secret that was just made. Its title is a
/// question with the object's name. A dialog that acts holds a form that ends in [`DialogActions`]; give one that only
/// tells something a word to `close` it. It closes after every successful change, unless `open` holds it.
#[component]
pub fn Dialog(
    /// Its id.
    #[prop(into)]
    id: String,
    /// "Delete key ci-bot?"
    #[prop(into)]
    title: String,
    /// What closes it, where no form has a Cancel: "Done".
    #[prop(optional)]
    close: &'static str,
    /// Opens it while it is true. Without scripts it then stands open in the page.
    #[prop(optional, into)]
    open: MaybeProp<bool>,
    /// What follows, and the form.
    children: Children,
) -> impl IntoView {
    let heading = format!("{id}-title");
    let labelled = heading.clone();
    let node = NodeRef::<leptos::html::Dialog>::new();
    Effect::new(move |_| {
        if let (Some(open), Some(dialog)) = (open.get(), node.get()) {
            // As the server sends it, it is open but not modal: hence first closed.
            dialog.close();
            if open {
                _ = dialog.show_modal();
            }
        }
    });
    if let Some(refresh) = use_context::<Refresh>() {
        Effect::new(move |seen: Option<u32>| {
            let changes = refresh.me.get();
            if seen.is_some_and(|seen| seen != changes)
                && open.get_untracked() != Some(true)
                && let Some(dialog) = node.get_untracked()
            {
                dialog.close();
            }
            changes
        });
    }
    let close = (!close.is_empty()).then(|| {
        view! {
            <form class="dialog-actions" method="dialog">
                <button class="button" type="submit" autofocus>{close}</button>
            </form>
        }
        .erase()
    });
    let from_server = open.get_untracked() == Some(true);
    view! {
        <dialog class="dialog" id=id aria-labelledby=labelled closedby="any" open=from_server node_ref=node>
            <h2 id=heading>{title}</h2>
            {children()}
            {close}
        </dialog>
    }
    .erase()
}

/// The end of a form in a [`Dialog`]: Cancel, which has the focus, and the act.
#[component]
pub fn DialogActions(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// The dialog's id.
    #[prop(into)]
    dialog: String,
    /// Verb and noun: "Delete key".
    #[prop(into)]
    label: String,
    /// While it is under way: "Deleting…".
    #[prop(default = "Working…")]
    busy: &'static str,
    /// How the act looks.
    #[prop(default = ButtonKind::Danger)]
    kind: ButtonKind,
) -> impl IntoView {
    view! {
        <div class="dialog-actions">
            <button class="button" type="button" command="close" commandfor=dialog autofocus>"Cancel"</button>
            <SubmitButton form=form label=label busy=busy kind=kind />
        </div>
    }
    .erase()
}

/// A button that opens a list of links and forms. `details` works without scripts; boot.js closes it on Escape and on a
/// click elsewhere.
#[component]
pub fn Menu(
    /// The name of the button, with its object: "Actions for ci-bot".
    #[prop(into)]
    name: String,
    /// What the button shows; three dots if nothing.
    #[prop(optional)]
    button: Option<AnyView>,
    /// A class for its layout.
    #[prop(optional)]
    class: &'static str,
    /// Links and [`super::ButtonForm`]s.
    children: Children,
) -> impl IntoView {
    let button = button.unwrap_or_else(|| view! { <Icon name="ellipsis" /> }.erase());
    view! {
        <details class=format!("menu {class}")>
            <summary>
                <span class="visually-hidden">{name}</span>
                <span class="menu-button" aria-hidden="true">
                    {button}
                </span>
            </summary>
            <div class="menu-list">{children()}</div>
        </details>
    }
    .erase()
}

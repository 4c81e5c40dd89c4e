use leptos::prelude::*;

use super::Icon;

/// A modal dialog; opened by [`super::OpenDialog`]. Its title is a question with the object's name. Put the form with
/// the act into `children`; Cancel is here and has the focus.
#[component]
pub fn Dialog(
    /// Its id.
    #[prop(into)]
    id: String,
    /// "Delete key ci-bot?"
    #[prop(into)]
    title: String,
    /// What closes it.
    #[prop(default = "Cancel")]
    cancel: &'static str,
    /// Whether it is open from the start, as after a submission without scripts.
    #[prop(optional, into)]
    open: MaybeProp<bool>,
    /// What follows, and the form.
    children: Children,
) -> impl IntoView {
    let heading = format!("{id}-title");
    let labelled = heading.clone();
    view! {
        <dialog
            class="dialog"
            id=id
            aria-labelledby=labelled
            closedby="any"
            open=move || open.get().unwrap_or(false)
        >
            <h2 id=heading>{title}</h2>
            {children()}
            <form class="dialog-cancel" method="dialog">
                <button class="button" type="submit" autofocus>{cancel}</button>
            </form>
        </dialog>
    }
    .into_any()
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
    let button = button.unwrap_or_else(|| view! { <Icon name="ellipsis" /> }.into_any());
    view! {
        <details class=format!("menu {class}")>
            <summary aria-label=name>{button}</summary>
            <div class="menu-list">{children()}</div>
        </details>
    }
    .into_any()
}

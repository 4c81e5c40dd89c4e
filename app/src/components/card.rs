use crate::erase::Erase as _;
use leptos::prelude::*;

use super::{Icon, some};

/// A section of a page with its own heading, and at most one form with one Save.
#[component]
pub fn Card(
    /// The heading, `h2`.
    #[prop(into)]
    title: String,
    /// A sentence under it.
    #[prop(optional, into)]
    about: String,
    /// What stands at the right of the heading.
    #[prop(optional)]
    action: Option<AnyView>,
    /// A class for its layout.
    #[prop(optional)]
    class: &'static str,
    /// The content.
    children: Children,
) -> impl IntoView {
    let about = (!about.is_empty()).then(|| view! { <p class="muted">{about}</p> }.erase());
    view! {
        <section class=format!("card {class}")>
            <div class="card-head">
                <div>
                    <h2>{title}</h2>
                    {about}
                </div>
                {action}
            </div>
            {children()}
        </section>
    }
    .erase()
}

/// Terms and what they are, in two columns. Children are [`Fact`]s.
#[component]
pub fn Facts(
    /// The facts.
    children: Children,
) -> impl IntoView {
    view! { <dl class="facts">{children()}</dl> }.erase()
}

/// One term and what it is.
#[component]
pub fn Fact(
    /// The term.
    #[prop(into)]
    term: String,
    /// What it is.
    children: Children,
) -> impl IntoView {
    view! {
        <div>
            <dt>{term}</dt>
            <dd>{children()}</dd>
        </div>
    }
    .erase()
}

/// More, for those who ask. A list of these stands in for tabs.
#[component]
pub fn Disclosure(
    /// What opens it.
    #[prop(into)]
    title: String,
    /// Whether it is open at first.
    #[prop(optional)]
    open: bool,
    /// Those with the same name close each other.
    #[prop(optional, into)]
    group: String,
    /// The content.
    children: Children,
) -> impl IntoView {
    view! {
        <details class="disclosure" open=open name=some(group)>
            <summary>
                <Icon name="chevron-right" />
                <span>{title}</span>
            </summary>
            <div class="disclosure-body">{children()}</div>
        </details>
    }
    .erase()
}

/// One step of a [`Checklist`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether it is done.
    pub done: bool,
    /// Verb and noun.
    pub title: String,
    /// One sentence.
    pub about: String,
    /// Where it is done.
    pub href: String,
}

/// Steps towards something, with how far one has come.
#[component]
pub fn Checklist(
    /// The steps, in order.
    steps: Vec<Step>,
) -> impl IntoView {
    let done = steps.iter().filter(|step| step.done).count();
    let progress = format!("{done} of {} done", steps.len());
    let items = steps
        .into_iter()
        .map(|step| {
            let icon = if step.done { "circle-check" } else { "circle-dashed" };
            let state = if step.done { "Done: " } else { "To do: " };
            let title = if step.done {
                view! { <span class="step-title">{step.title}</span> }.erase()
            } else {
                view! { <a class="step-title" href=step.href>{step.title}</a> }.erase()
            };
            view! {
                <li data-done=step.done.then_some("true")>
                    <Icon name=icon />
                    <div>
                        <span class="visually-hidden">{state}</span>
                        {title}
                        <p class="muted">{step.about}</p>
                    </div>
                </li>
            }
            .erase()
        })
        .collect_view();
    view! {
        <p class="muted">{progress}</p>
        <ol class="checklist">{items}</ol>
    }
    .erase()
}

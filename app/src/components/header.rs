use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_query_map};

use super::Icon;

/// A step on the way to the page: where, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crumb(pub String, pub String);

impl Crumb {
    /// A crumb.
    pub fn new(href: impl Into<String>, label: impl Into<String>) -> Self {
        Self(href.into(), label.into())
    }
}

/// The head of a page: the way here, the one `h1`, a line about it, and the one primary action. It also sets the
/// document's title.
#[component]
pub fn PageHeader(
    /// The `h1`.
    #[prop(into)]
    title: String,
    /// The pages above this one.
    #[prop(optional)]
    crumbs: Vec<Crumb>,
    /// One line under the title.
    #[prop(optional, into)]
    about: String,
    /// The primary action.
    #[prop(optional)]
    action: Option<AnyView>,
) -> impl IntoView {
    let way = (!crumbs.is_empty()).then(|| {
        let links = crumbs
            .into_iter()
            .map(|Crumb(href, label)| view! { <li><a href=href>{label}</a></li> }.erase())
            .collect_view();
        view! {
            <nav class="crumbs" aria-label="Breadcrumb">
                <ol>
                    {links}
                    <li><span aria-current="page">{title.clone()}</span></li>
                </ol>
            </nav>
        }
        .erase()
    });
    let about = (!about.is_empty()).then(|| view! { <p class="muted">{about}</p> }.erase());
    let document_title = title.clone();
    view! {
        <Title text=document_title />
        {way}
        <div class="page-head">
            <div>
                <h1 tabindex="-1">{title}</h1>
                {about}
            </div>
            {action}
        </div>
    }
    .erase()
}

/// What `?notice=` says after a redirect. The live region is always there, so that screen readers notice a change.
#[component]
pub fn Notice() -> impl IntoView {
    let query = use_query_map();
    let location = use_location();
    let text = move || query.with(|q| q.get_str("notice").and_then(crate::copy::notice));
    view! {
        <div class="notices" role="status">
            {move || {
                text()
                    .map(|text| {
                        let href = location.pathname.get();
                        view! {
                            <p class="toast">
                                <Icon name="circle-check" />
                                <span>{text}</span>
                                <a class="button quiet" href=href aria-label="Close this message">
                                    <Icon name="x" />
                                </a>
                            </p>
                        }.erase()
                    })
            }}
        </div>
    }
    .erase()
}

use crate::erase::Erase as _;
use leptos::prelude::*;

/// A table that becomes cards where it is narrow. Cells need `data-label` for that; give the first cell of a row
/// `scope="row"`. Rows go into `children`, which always stand in a `tbody`.
#[component]
pub fn DataTable(
    /// What the table shows; read by screen readers.
    #[prop(into)]
    caption: String,
    /// The heads of the columns; an empty one is for actions.
    columns: Vec<&'static str>,
    /// The rows.
    children: Children,
) -> impl IntoView {
    let heads = columns
        .into_iter()
        .map(|head| {
            if head.is_empty() {
                view! { <th scope="col"><span class="visually-hidden">"Actions"</span></th> }.erase()
            } else {
                view! { <th scope="col">{head}</th> }.erase()
            }
        })
        .collect_view();
    view! {
        <div class="table-box">
            <table class="table">
                <caption class="visually-hidden">{caption}</caption>
                <thead>
                    <tr>{heads}</tr>
                </thead>
                <tbody>{children()}</tbody>
            </table>
        </div>
    }
    .erase()
}

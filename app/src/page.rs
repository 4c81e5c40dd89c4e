//! What every page does alike: load its data, and show it or say why it cannot.

use std::{pin::Pin, sync::Arc};

use leptos::prelude::*;
use model::{AppError, orgs::Me};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    components::error_page,
    state::{Refresh, use_me},
};

/// The data of a page: loaded before the page is sent, loaded again after every change that stays on the page.
pub type Loaded<T> = Resource<Result<T, AppError>>;

/// Loads a page's data with a server function that takes no argument.
pub fn load<T, Fut>(fetch: impl Fn() -> Fut + Send + Sync + 'static) -> Loaded<T>
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T, AppError>> + Send + 'static,
{
    load_by(|| (), move |()| fetch())
}

/// Loads a page's data with a server function that takes what `source` says, and again when that changes.
pub fn load_by<A, T, Fut>(
    source: impl Fn() -> A + Send + Sync + 'static,
    fetch: impl Fn(A) -> Fut + Send + Sync + 'static,
) -> Loaded<T>
where
    A: Clone + PartialEq + Send + Sync + 'static,
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T, AppError>> + Send + 'static,
{
    let refresh = expect_context::<Refresh>();
    Resource::new_blocking(move || (refresh.page.get(), source()), move |(_, source)| fetch(source))
}

/// Shows a page's data, or the state that stands for its error: the way to sign in, who can grant the permission,
/// "not found", or what failed. While data is loaded again the old view stays.
pub fn page<T>(data: Loaded<T>, render: impl Fn(T, Me) -> AnyView + Clone + Send + Sync + 'static) -> AnyView
where
    T: Clone + Send + Sync + 'static,
{
    let me = use_me();
    when_there(Arc::new(move || {
        let render = render.clone();
        Box::pin(async move {
            match (data.await, me.await) {
                (Ok(data), Ok(me)) => render(data, me),
                (Err(error), _) | (_, Err(error)) => error_page(error),
            }
        })
    }))
}

/// Shows a page that needs nothing but the signed-in person.
pub fn page_for_me(render: impl Fn(Me) -> AnyView + Clone + Send + Sync + 'static) -> AnyView {
    let me = use_me();
    when_there(Arc::new(move || {
        let render = render.clone();
        Box::pin(async move {
            match me.await {
                Ok(me) => render(me),
                Err(error) => error_page(error),
            }
        })
    }))
}

/// Shows a page that is there for everybody; `None` is somebody who is not signed in.
pub fn page_for_all(render: impl Fn(Option<Me>) -> AnyView + Clone + Send + Sync + 'static) -> AnyView {
    let me = use_me();
    when_there(Arc::new(move || {
        let render = render.clone();
        Box::pin(async move { render(me.await.ok()) })
    }))
}

type Coming = Pin<Box<dyn Future<Output = AnyView> + Send>>;

/// What waits is the same code for all pages: each of their chunks has only what makes its own view.
fn when_there(view: Arc<dyn Fn() -> Coming + Send + Sync>) -> AnyView {
    view! { <Transition>{move || Suspend::new(view())}</Transition> }.into_any()
}

/// Goes to another path of ours: a redirect while the server renders, a navigation in the browser.
pub fn go(path: &str) {
    #[cfg(feature = "ssr")]
    crate::ssr::redirect(path);
    #[cfg(not(feature = "ssr"))]
    leptos_router::hooks::use_navigate()(
        path,
        leptos_router::NavigateOptions { replace: true, ..Default::default() },
    );
}

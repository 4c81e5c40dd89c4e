//! What every page does alike: load its data, and show it or say why it cannot.

use core::marker::PhantomData;
use std::{pin::Pin, sync::Arc};

use crate::erase::Erase as _;
use leptos::{prelude::*, server::codee::string::FromToStringCodec};
use leptos_router::{
    hooks::{use_location, use_params_map},
    location::{Location, Url},
};
use model::{AppError, orgs::Me};
use serde::{Serialize, de::DeserializeOwned};
use server_fn::ServerFn;

use crate::{
    call::{Answer, Call, call, read},
    components::error_page,
    form::made_elsewhere,
    pages::auth::other_org,
    state::{Refresh, use_me},
};

/// The data of a page: loaded before the page is sent, loaded again after every change that stays on the page.
///
/// Inside it is JSON, whatever `T` is. See [`crate::call`] for why.
pub struct Loaded<T> {
    json: Json,
    reads: PhantomData<fn() -> T>,
}

type Json = Resource<Answer, FromToStringCodec>;

impl<T> Clone for Loaded<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Loaded<T> {}

impl<T> Loaded<T> {
    /// Loads it again.
    pub fn refetch(self) {
        self.json.refetch();
    }
}

/// Loads a page's data with a server function that takes no argument: `load(LoadSettings {})`.
pub fn load<S>(args: S) -> Loaded<S::Output>
where
    S: ServerFn<Error = AppError, Output: Serialize> + Clone + Send + Sync + 'static,
{
    const { assert!(size_of::<S>() == 0, "a function with an argument is for load_by") };
    Loaded { json: load_page(None, call("", move |_| args.clone())), reads: PhantomData }
}

/// Loads a page's data with a server function that takes one text, which is in the path, and again when that changes:
/// `load_by("id", |id| LoadConnector { id })`. The argument has to have the name that the text has in the path.
pub fn load_by<S>(name: &'static str, args: impl Fn(String) -> S + Send + Sync + 'static) -> Loaded<S::Output>
where
    S: ServerFn<Error = AppError, Output: Serialize> + 'static,
{
    Loaded { json: load_page(Some(name), call(name, args)), reads: PhantomData }
}

/// The same with a text that is in the query: `load_by_query("next", |next| LoadSignIn { next })`.
pub fn load_by_query<S>(
    name: &'static str,
    args: impl Fn(String) -> S + Send + Sync + 'static,
) -> Loaded<S::Output>
where
    S: ServerFn<Error = AppError, Output: Serialize> + 'static,
{
    let refresh: Refresh = expect_context();
    Loaded { json: load_json(refresh.page, Some(query_param(name)), call(name, args)), reads: PhantomData }
}

/// The same with the whole query, without the question mark: for pages with several filters.
pub fn load_by_search<S>(
    name: &'static str,
    args: impl Fn(String) -> S + Send + Sync + 'static,
) -> Loaded<S::Output>
where
    S: ServerFn<Error = AppError, Output: Serialize> + 'static,
{
    let refresh: Refresh = expect_context();
    let search = use_location().search;
    let search = Memo::new(move |_| search.with(|search| search.trim_start_matches('?').to_owned()));
    Loaded { json: load_json(refresh.page, Some(search), call(name, args)), reads: PhantomData }
}

/// Loads who is signed in; once, for all pages.
pub(crate) fn load_me() -> Loaded<Me> {
    let refresh: Refresh = expect_context();
    let call = call("", |_| crate::pages::auth::api::LoadMe {});
    Loaded { json: load_json(refresh.me, None, call), reads: PhantomData }
}

#[inline(never)]
fn load_page(name: Option<&'static str>, call: Call) -> Json {
    let refresh: Refresh = expect_context();
    load_json(refresh.page, name.map(path_param), call)
}

#[inline(never)]
fn load_json(stale: RwSignal<u32>, param: Option<Memo<String>>, call: Call) -> Json {
    Resource::new_str_blocking(
        move || (stale.get(), param.map(|param| param.get()).unwrap_or_default()),
        move |(_, text)| call(text),
    )
}

/// What stands in the path for `:name`.
#[inline(never)]
pub fn path_param(name: &'static str) -> Memo<String> {
    let params = use_params_map();
    Memo::new(move |_| params.with(|params| params.get(name).unwrap_or_default()))
}

/// What the query says for `name`. The router's own map decodes twice, which changes what is encoded within a value,
/// such as the `next` of the log-in page. It stays what it was while the next page is on its way, whose query is
/// nothing to this one.
#[inline(never)]
pub fn query_param(name: &'static str) -> Memo<String> {
    let Location { pathname, search, .. } = use_location();
    let here = pathname.get_untracked();
    Memo::new(move |before: Option<&String>| match before {
        Some(before) if pathname.with(|path| *path != here) => before.clone(),
        _ => search.with(|search| query_value(search, name)),
    })
}

fn query_value(search: &str, name: &str) -> String {
    let pairs = search.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| Url::unescape(&value.replace('+', " "))).unwrap_or_default()
}

/// Shows a page's data, or the state that stands for its error: the way to sign in, who can grant the permission,
/// "not found", or what failed. While data is loaded again the old view stays.
pub fn page<T: DeserializeOwned + 'static>(
    data: Loaded<T>,
    render: impl Fn(T, Me) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    show(Some(data.json), Some(use_me()), Arc::new(move |json, me| Ok(render(read(&json)?, me?))))
}

/// Shows a page that needs nothing but the signed-in person.
pub fn page_for_me(render: impl Fn(Me) -> AnyView + Send + Sync + 'static) -> AnyView {
    show(None, Some(use_me()), Arc::new(move |_, me| me.map(&render)))
}

/// Shows a page that is there for everybody; `None` is somebody who is not signed in.
pub fn page_for_all(render: impl Fn(Option<Me>) -> AnyView + Send + Sync + 'static) -> AnyView {
    show(None, Some(use_me()), Arc::new(move |_, me| Ok(render(me.ok()))))
}

/// Shows a page's data to anybody, and does not ask who it is.
pub fn page_of_data<T: DeserializeOwned + 'static>(
    data: Loaded<T>,
    render: impl Fn(T) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    show(Some(data.json), None, Arc::new(move |json, _| read(&json).map(&render)))
}

pub(crate) type Render = Arc<dyn Fn(String, Result<Me, AppError>) -> Result<AnyView, AppError> + Send + Sync>;
type Coming = Pin<Box<dyn Future<Output = AnyView> + Send>>;

/// What waits is the same code for all pages: each of their chunks has only what makes its own view.
#[inline(never)]
fn show(data: Option<Json>, me: Option<Loaded<Me>>, render: Render) -> AnyView {
    let (data, me, render) = match made_elsewhere() {
        Some((error, org)) => (None, Some(use_me()), other_org(error, org)),
        None => (data, me, render),
    };
    when_there(Arc::new(move || {
        let coming = coming(data, me, Arc::clone(&render));
        Box::pin(async move {
            let view = coming.await;
            mark_hydrated();
            view
        })
    }))
}

/// Says on `<html>` that the page answers to scripts from now on: for whoever drives a browser and must not type too early.
#[cfg(feature = "hydrate")]
fn mark_hydrated() {
    // The view is taken over in the same turn, so nobody sees the mark before it. (No timer: a closure for the browser that
    // is made in code that the wasm is split at fails with a signature mismatch.)
    if let Some(root) = document().document_element() {
        _ = root.set_attribute("data-hydrated", "");
    }
}

#[cfg(not(feature = "hydrate"))]
fn mark_hydrated() {}

/// Waits for data and person, and makes the view.
#[inline(never)]
pub(crate) fn coming(data: Option<Json>, me: Option<Loaded<Me>>, render: Render) -> Coming {
    let refresh: Refresh = expect_context();
    Box::pin(async move {
        let json = match data {
            Some(data) => data.await.0,
            None => Ok(String::new()),
        };
        let me = match me {
            Some(me) => me.json.await.0.and_then(|json| read_me(&json)),
            None => Err(AppError::new(model::ErrorKind::Internal, "nobody", "")),
        };
        let org = me.as_ref().ok().and_then(|me| me.org.as_ref()).map(|org| org.org.to_string());
        // For the forms in the view, which is made now.
        refresh.org.set_value(org.unwrap_or_default());
        json.and_then(|json| render(json, me)).unwrap_or_else(error_page)
    })
}

#[inline(never)]
fn read_me(json: &str) -> Result<Me, AppError> {
    read(json)
}

/// Shows what is coming, and the old view until it is there.
#[inline(never)]
pub(crate) fn when_there(view: Arc<dyn Fn() -> Coming + Send + Sync>) -> AnyView {
    view! { <Transition>{move || Suspend::new(view())}</Transition> }.erase()
}

/// Goes to another path of ours: a redirect while the server renders, a navigation in the browser.
pub fn go(path: &str) {
    #[cfg(feature = "ssr")]
    crate::ssr::redirect(path);
    #[cfg(not(feature = "ssr"))]
    if !leave_for(path) {
        leptos_router::hooks::use_navigate()(
            path,
            leptos_router::NavigateOptions { replace: true, ..Default::default() },
        );
    }
}

/// What lies under `/oauth/` is answered by the server alone, or needs a policy of its own for where its form may lead:
/// the browser loads it whole. Whether it does.
pub(crate) fn leave_for(path: &str) -> bool {
    path.starts_with("/oauth/") && window().location().set_href(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::query_value;

    #[test]
    fn oaz_05_a_value_of_the_query_is_decoded_once() {
        let search = "?again=1&next=/oauth/authorize%3Fstate%3Da%252Bb%2520c%26x%3D1&q=a+b";
        assert_eq!(query_value(search, "next"), "/oauth/authorize?state=a%2Bb%20c&x=1");
        assert_eq!(query_value(search, "q"), "a b");
        assert_eq!(query_value(search, "nothing"), "");
    }
}

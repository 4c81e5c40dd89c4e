//! Where the pages are, and their code: a path such as `/connectors/:id`, matched whole, and what loads and shows the page.
//! The router makes a type of each shape of path and of each page, and all of its code once more for each; here is one type
//! for all.

use core::{any::Any, future::ready, pin::Pin};
use std::borrow::Cow;

use leptos::{prelude::*, tachys::view::iterators::StaticVec};
use leptos_router::{
    ChooseView, LazyRoute, MatchNestedRoutes, NestedRoute, PartialPathMatch, PathSegment, PossibleRouteMatch,
    SsrMode,
};

/// A path in which `:name` stands for any text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At(pub(crate) &'static str);

impl PossibleRouteMatch for At {
    fn optional(&self) -> bool {
        false
    }

    fn test<'a>(&self, path: &'a str) -> Option<PartialPathMatch<'a>> {
        let mut params = Vec::new();
        let mut asked = segments(path);
        for wanted in segments(self.0) {
            let found = asked.next()?;
            if let Some(name) = wanted.strip_prefix(':') {
                if found.is_empty() {
                    return None;
                }
                params.push((Cow::Borrowed(name), found.to_owned()));
            } else if wanted != found {
                return None;
            }
        }
        asked.next().is_none().then(|| PartialPathMatch::new("", params, path))
    }

    fn generate_path(&self, path: &mut Vec<PathSegment>) {
        path.extend(segments(self.0).map(|segment| match segment.strip_prefix(':') {
            Some(name) => PathSegment::Param(name.into()),
            None => PathSegment::Static(segment.into()),
        }));
    }
}

type Data = Box<dyn Any + Send + Sync>;
type Later<T> = Pin<Box<dyn Future<Output = T>>>;

/// What loads a page, and what shows it.
#[derive(Clone, Copy)]
pub(crate) struct PageCode {
    data: fn() -> Data,
    view: fn(Data) -> Later<AnyView>,
    fetch: fn() -> Later<()>,
}

/// A page with a part of the wasm to itself.
pub(crate) const fn lazy<T: LazyRoute + Sync>() -> PageCode {
    PageCode {
        data: || Box::new(T::data()),
        view: |data| match data.downcast::<T>() {
            Ok(data) => Box::pin(T::view(*data)),
            Err(_) => unreachable!("data and view are of one page"),
        },
        fetch: || Box::pin(T::preload()),
    }
}

/// The gallery, which is for development and has no part of its own.
pub(crate) const fn gallery() -> PageCode {
    PageCode {
        data: || Box::new(()),
        view: |_| Box::pin(ready(crate::pages::gallery::view())),
        fetch: || Box::pin(ready(())),
    }
}

/// A page at its path, with its data when that was loaded ahead.
#[derive(Clone)]
pub(crate) struct Page {
    code: PageCode,
    data: ArcStoredValue<Option<Data>>,
}

impl ChooseView for Page {
    async fn choose(self) -> AnyView {
        let ahead = self.data.write_value().take();
        (self.code.view)(ahead.unwrap_or_else(self.code.data)).await
    }

    async fn preload(&self) {
        *self.data.write_value() = Some((self.code.data)());
        (self.code.fetch)().await;
    }
}

/// The routes of pages. Everything is rendered whole before it is sent: only so are redirects, statuses and cookies real.
pub(crate) fn routes(pages: &'static [(&'static str, PageCode)]) -> impl MatchNestedRoutes + Clone + Send {
    let route = |(path, code): &(&'static str, PageCode)| {
        let page = Page { code: *code, data: ArcStoredValue::new(None) };
        NestedRoute::new(At(path), page).ssr_mode(SsrMode::Async)
    };
    StaticVec::from(pages.iter().map(route).collect::<Vec<_>>())
}

/// What stands between the slashes; one at the end is no matter.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pattern: &'static str, path: &str) -> Option<Vec<(Cow<'static, str>, String)>> {
        At(pattern).test(path).map(PartialPathMatch::params)
    }

    #[test]
    fn a_path_is_matched_whole() {
        assert_eq!(params("/", "/"), Some(Vec::new()));
        assert_eq!(params("/", ""), Some(Vec::new()));
        assert_eq!(params("/", "/connectors"), None);
        assert_eq!(params("/connectors", "/connectors/"), Some(Vec::new()));
        assert_eq!(params("/connectors", "/"), None);
        assert_eq!(params("/connectors", "/connectorsx"), None);
        assert_eq!(params("/connectors", "/connectors/new"), None);
        let id = vec![("id".into(), "mcp_1".to_owned())];
        assert_eq!(params("/connectors/:id/edit", "/connectors/mcp_1/edit"), Some(id));
        assert_eq!(params("/connectors/:id/edit", "/connectors/mcp_1"), None);
        assert_eq!(params("/connectors/:id/edit", "/connectors//edit"), None);
        assert_eq!(params("/connectors/:id", "/connectors/"), None);
    }
}

//! Where the pages are: a path such as `/connectors/:id`, matched whole. The router's own segments make a type of each
//! shape of path, and all of its code once more for each; this is one type for all.

use std::borrow::Cow;

use leptos_router::{PartialPathMatch, PathSegment, PossibleRouteMatch};

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

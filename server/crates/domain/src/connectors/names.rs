//! The names under which tools are published: such as every known client takes, and each only once.

use std::{borrow::Cow, collections::HashMap};

use model::connectors::MAX_TOOL_NAME;
use sha2::{Digest as _, Sha256};
use store::connectors::Tool as Row;

use crate::mcp::tools::SEPARATOR;

/// How much of a name is left however long the prefix is.
const LEAST: usize = 16;
/// The end of a name that was shortened: `_` and so many hexadecimal digits.
const MARK: usize = 6;

/// How long a name may be behind a connector's prefix.
pub(crate) fn room(slug: &str) -> usize {
    MAX_TOOL_NAME.saturating_sub(slug.len() + SEPARATOR.len()).max(LEAST)
}

/// A name that fits: the same, or its beginning and a mark of the whole, so that it depends on nothing else.
fn fit(name: &str, room: usize) -> Cow<'_, str> {
    if name.len() <= room {
        return Cow::Borrowed(name);
    }
    let mark = data_encoding::HEXLOWER.encode(&Sha256::digest(name.as_bytes()));
    // Names are ASCII.
    Cow::Owned(format!("{}_{}", &name[..room - MARK - 1], &mark[..MARK]))
}

/// How a tool is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Its name, without the prefix.
    pub(crate) name: String,
    /// Whether that is the server's name shortened.
    pub(crate) shortened: bool,
    /// The tool that has this name already.
    pub(crate) clash: Option<String>,
}

/// How the tools of a connector are published, in their order. Names that people chose come first, then the server's order.
pub(crate) fn publish(slug: &str, tools: &[Row]) -> Vec<Published> {
    let room = room(slug);
    let mut all: Vec<_> = tools
        .iter()
        .map(|tool| {
            if let Some(alias) = &tool.alias {
                return Published { name: alias.clone(), shortened: false, clash: None };
            }
            let name = fit(&tool.name, room);
            let shortened = matches!(name, Cow::Owned(_));
            Published { name: name.into_owned(), shortened, clash: None }
        })
        .collect();
    let mut taken: HashMap<String, &str> = HashMap::new();
    let there = |tool: &Row| tool.gone_at.is_none();
    for aliased in [true, false] {
        for (tool, published) in tools.iter().zip(&mut all) {
            if there(tool) && tool.alias.is_some() == aliased {
                match taken.get(&published.name) {
                    Some(other) => published.clash = Some((*other).to_owned()),
                    None => drop(taken.insert(published.name.clone(), &tool.name)),
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use model::ConnectorId;

    use super::*;

    fn tool(name: &str, alias: Option<&str>) -> Row {
        Row {
            connector: ConnectorId::from_uuid(uuid::Uuid::nil()),
            name: name.to_owned(),
            definition: String::new(),
            enabled: true,
            alias: alias.map(str::to_owned),
            description: None,
            timeout_seconds: None,
            pinned: None,
            rejected: None,
            reviewed_at: None,
            reviewed_by: None,
            gone_at: None,
        }
    }

    #[test]
    fn ups_12_names_fit_every_client_and_stay_what_they_are() {
        let long = "list_all_the_pull_requests_of_a_repository_with_their_reviews";
        let published = publish("github-enterprise", &[tool("get_me", None), tool(long, None)]);
        assert_eq!((published[0].name.as_str(), published[0].shortened), ("get_me", false));
        assert_eq!("github-enterprise__".len() + published[1].name.len(), MAX_TOOL_NAME);
        assert!(published[1].shortened && published[1].name.starts_with("list_all_the_pull_requests_of_a"));
        // Another tool with the same beginning has another name, and neither depends on the other.
        let other = format!("{long}_and_comments");
        let both = publish("github-enterprise", &[tool(&other, None), tool(long, None)]);
        assert_eq!(both[1], published[1]);
        assert_ne!(both[0].name, both[1].name);
        // However long the prefix is.
        let slug = "a".repeat(63);
        assert_eq!(publish(&slug, &[tool(long, None)])[0].name.len(), LEAST);
    }

    #[test]
    fn ups_12_a_name_is_given_once_and_people_come_first() {
        let mut gone = tool("away", Some("search"));
        gone.gone_at = Some(1);
        let all = [gone, tool("search", None), tool("find", Some("search")), tool("look", Some("search"))];
        let published = publish("docs", &all);
        assert_eq!(published[0].clash, None);
        assert_eq!(published[1].clash.as_deref(), Some("find"));
        assert_eq!(published[2].clash, None);
        assert_eq!(published[3].clash.as_deref(), Some("find"));
    }
}

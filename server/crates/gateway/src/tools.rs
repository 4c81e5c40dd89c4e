//! The list of tools as it is sent, and where the name of a tool leads.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use domain::{
    dataplane::PlaneScope,
    mcp::{code, json},
};
use http::StatusCode;

use crate::{
    auth::Endpoint,
    planes::{Ready, ReadyConnector, ReadyTool},
    reply::RpcError,
};

/// The tools that one scope sees, as JSON arrays of one page each.
#[derive(Debug)]
pub(crate) struct Listing {
    pages: Vec<Bytes>,
    /// Of the whole list: a cursor of another list leads nowhere.
    checksum: u32,
}

impl Listing {
    /// Definitions byte for byte, but for the name. The order is that of slugs, then of the server, so that it is the same each time (2026-07-28, server/tools).
    pub(crate) fn new(ready: &Ready, scope: &PlaneScope, only: Option<&ReadyConnector>, page: usize) -> Self {
        let mut pages: Vec<Bytes> = Vec::new();
        let mut current = vec![b'['];
        let mut on_page = 0;
        for connector in &ready.connectors {
            let wanted = only.is_none_or(|only| only.plane.id == connector.plane.id);
            if !wanted || !scope.includes(connector.plane.id) {
                continue;
            }
            for tool in &connector.plane.tools {
                if !connector
                    .tools
                    .get(tool.published.as_str())
                    .is_some_and(|ready| ready.enabled && !ready.held)
                {
                    continue;
                }
                let definition = tool.definition.get();
                let Some(name) =
                    json::members(definition).find(|(key, ..)| key.is("name")).map(|(_, value, _)| value)
                else {
                    continue;
                };
                let public = match only {
                    Some(_) => Some(tool.published.clone()),
                    None => ready.public_name(connector, &tool.published),
                };
                // The dashboard says that this one's name is another's.
                let Some(public) = public else { continue };
                if on_page == page {
                    current.push(b']');
                    pages.push(std::mem::replace(&mut current, vec![b'[']).into());
                    on_page = 0;
                }
                if on_page > 0 {
                    current.push(b',');
                }
                on_page += 1;
                let at = name.as_ptr() as usize - definition.as_ptr() as usize;
                current.extend_from_slice(&definition.as_bytes()[..at]);
                json::write_string(&mut current, &public);
                current.extend_from_slice(&definition.as_bytes()[at + name.len()..]);
            }
        }
        current.push(b']');
        pages.push(current.into());
        let mut checksum = crc32fast::Hasher::new();
        for page in &pages {
            checksum.update(page);
        }
        Self { pages, checksum: checksum.finalize() }
    }

    /// Differs when the list does.
    pub(crate) const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// A page, and the cursor of the next as a JSON string.
    ///
    /// # Errors
    /// -32602 for a cursor that is not of this list.
    pub(crate) fn page(&self, cursor: Option<&str>) -> Result<(Bytes, Option<String>), RpcError> {
        let at = match cursor {
            None | Some("null") => 0,
            Some(cursor) => self.read(cursor).ok_or_else(|| {
                RpcError::new(
                    StatusCode::BAD_REQUEST,
                    code::INVALID_PARAMS,
                    "The cursor is not of this list, or the list has changed. Start again without a cursor.",
                )
                .word("invalid_cursor")
            })?,
        };
        let next = (at + 1 < self.pages.len())
            .then(|| format!("\"{}\"", URL_SAFE_NO_PAD.encode(format!("{}.{:08x}", at + 1, self.checksum))));
        Ok((self.pages[at].clone(), next))
    }

    fn read(&self, cursor: &str) -> Option<usize> {
        let text = URL_SAFE_NO_PAD.decode(json::string(cursor)?.as_bytes()).ok()?;
        let (page, checksum) = std::str::from_utf8(&text).ok()?.split_once('.')?;
        let page = page.parse().ok()?;
        (checksum == format!("{:08x}", self.checksum) && (1..self.pages.len()).contains(&page))
            .then_some(page)
    }
}

/// Finds the tool that a name means, if the scope allows it. Policy is decided on the parsed name alone.
///
/// # Errors
/// 403 for a connector out of the scope; -32602 for a tool that is not there or is switched off; -32014 for one that waits
/// to be approved (UPS-13).
pub(crate) fn find<'r>(
    ready: &'r Ready,
    scope: &PlaneScope,
    only: Option<&'r ReadyConnector>,
    name: &'r str,
    endpoint: Endpoint<'_>,
) -> Result<(&'r ReadyConnector, &'r ReadyTool), RpcError> {
    let unknown = || {
        // The name is the client's own words; it is cut so that an answer stays small.
        let shown: String = name.chars().take(160).collect();
        RpcError::new(
            StatusCode::OK,
            code::INVALID_PARAMS,
            format!("There is no tool \"{shown}\" here, or it is switched off. List the tools to see what there is."),
        )
        .word("unknown_tool")
    };
    let (connector, tool) =
        if let Some(connector) = only { (connector, name) } else { ready.place(name).ok_or_else(unknown)? };
    if !scope.includes(connector.plane.id) {
        return Err(endpoint.insufficient_scope(connector.plane.slug.as_str()));
    }
    let found = connector.tools.get(tool).filter(|tool| tool.enabled).ok_or_else(unknown)?;
    if found.held {
        return Err(RpcError::new(
            StatusCode::OK,
            code::TOOL_QUARANTINED,
            format!(
                "The tool \"{tool}\" of the connector \"{}\" is new or was changed by its server, and waits until an admin approves it. Nothing was sent.",
                connector.plane.slug
            ),
        )
        .data(format!(r#"{{"code":"tool_quarantined","connector":"{}"}}"#, connector.plane.slug)));
    }
    Ok((connector, found))
}

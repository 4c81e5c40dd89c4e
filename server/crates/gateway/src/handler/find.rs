//! Which connector a prompt's name or a resource's URI means. Policy is decided on the parsed name alone.

use domain::mcp::{code, json};
use futures_util::future::join_all;
use http::StatusCode;

use super::{Era, Exchange, outcome::RESOURCE_NOT_FOUND};
use crate::{planes::ReadyConnector, reply::RpcError, uris};

impl Exchange<'_> {
    /// Checks that the credential reaches a connector.
    fn in_scope<'r>(&self, connector: &'r ReadyConnector) -> Result<&'r ReadyConnector, RpcError> {
        if self.caller.access.scope.includes(connector.plane.id) {
            Ok(connector)
        } else {
            Err(self.endpoint.insufficient_scope(connector.plane.slug.as_str()))
        }
    }

    /// The connectors that this request may reach.
    pub(super) fn reachable(&self) -> impl Iterator<Item = &ReadyConnector> {
        self.caller.ready.connectors.iter().filter(|connector| {
            self.only.is_none_or(|only| only.plane.id == connector.plane.id)
                && self.caller.access.scope.includes(connector.plane.id)
        })
    }

    /// The connector of a prompt, and its own name for it.
    ///
    /// # Errors
    /// 403 for a connector out of the scope; -32602 for one that is not there.
    pub(super) fn find_prompt<'n>(&self, name: &'n str) -> Result<(&ReadyConnector, &'n str), RpcError> {
        if let Some(only) = self.only {
            return Ok((only, name));
        }
        let Some((connector, prompt)) = self.caller.ready.place(name) else {
            let shown: String = name.chars().take(160).collect();
            return Err(RpcError::new(
                StatusCode::OK,
                code::INVALID_PARAMS,
                format!("There is no prompt \"{shown}\" here. List the prompts to see what there is."),
            )
            .word("unknown_prompt"));
        };
        Ok((self.in_scope(connector)?, prompt))
    }

    /// The connector of a resource, and its own URI. A URI without a prefix is accepted where only one connector can mean
    /// it: servers name their resources to clients in places that Gatehouse does not know.
    ///
    /// # Errors
    /// 403 for a connector out of the scope; the era's own for one that is not there.
    pub(super) async fn find_resource(
        &self,
        era: Era,
        uri: &str,
    ) -> Result<(&ReadyConnector, String), RpcError> {
        if let Some(only) = self.only {
            return Ok((only, uri.to_owned()));
        }
        if let Some((slug, own)) = uris::split(uri)
            && let Some(connector) = self.caller.ready.connector(slug)
        {
            return Ok((self.in_scope(connector)?, own.to_owned()));
        }
        if let Some(connector) = self.caller.ready.unprefixed() {
            return Ok((self.in_scope(connector)?, uri.to_owned()));
        }
        let offering = join_all(self.reachable().map(|connector| async move {
            self.upstream(connector).offers("resources").await.unwrap_or(false).then_some(connector)
        }));
        let mut offering = offering.await.into_iter().flatten();
        if let (Some(connector), None) = (offering.next(), offering.next()) {
            return Ok((connector, uri.to_owned()));
        }
        let (code, data) = if era == Era::Modern {
            (code::INVALID_PARAMS, format!(r#"{{"uri":{}}}"#, json::quoted(uri)))
        } else {
            (RESOURCE_NOT_FOUND, format!(r#"{{"uri":{}}}"#, json::quoted(uri)))
        };
        Err(RpcError::new(StatusCode::OK, code, "Resource not found").data(data))
    }
}

//! Calls of members from the dashboard: the same way as any other, but for how it was found out who asks.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    dataplane::{Access, PlaneScope, Principal},
    mcp::{code, json},
    playground::{Called, MemberCall, Playground},
    request::{ClientIp, RequestId},
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::{Caller, suspended, unavailable};
use crate::{
    Gateway,
    auth::{Credential, Endpoint},
    journal::Trace,
    reply::RpcError,
};

impl Playground for Gateway {
    fn call(&self, call: MemberCall) -> BoxFuture<'_, Called> {
        Box::pin(async move {
            let began = Instant::now();
            let response = match self.as_member(&call).await {
                Ok(response) => response,
                Err(error) => error.respond(Some("1")),
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            Called {
                status,
                body: String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
                took_us: i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX),
            }
        })
    }
}

impl Gateway {
    async fn as_member(&self, call: &MemberCall) -> Result<axum::response::Response, RpcError> {
        let (inner, started) = (&self.0, Instant::now());
        let ready = inner.planes.ready(call.org).await.map_err(|_| unavailable())?;
        let gone =
            || RpcError::new(StatusCode::NOT_FOUND, code::INVALID_REQUEST, "The organisation is gone.");
        let ready = ready.ok_or_else(gone)?;
        if ready.plane.suspended {
            return Err(suspended());
        }
        let access = Arc::new(Access {
            principal: Principal::Member { id: call.user, name: call.name.as_str().into() },
            scope: PlaneScope::All,
            expires_at: None,
            grant: None,
        });
        let body = Bytes::from(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{},"arguments":{}}}}}"#,
            json::quoted(&call.tool),
            call.arguments
        ));
        let mut head = http::Request::new(()).into_parts().0;
        head.method = http::Method::POST;
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(agent) = call.origin.user_agent.as_deref().and_then(|agent| agent.parse().ok()) {
            head.headers.insert(header::USER_AGENT, agent);
        }
        head.extensions.insert(RequestId(call.origin.request_id.clone()));
        if let Some(address) = call.origin.address {
            head.extensions.insert(ClientIp(address));
        }
        let trace = Trace::new(inner, &ready.plane, &access, &head, started);
        let slug = ready.plane.slug.to_string();
        let endpoint =
            Endpoint { site: &inner.site, slug: &slug, connector: Some(&call.connector), at: None };
        let credential = Credential::Member(Arc::clone(&access));
        let caller = Caller { inner: Arc::clone(inner), ready, access, credential, trace };
        Ok(super::asked(&caller, endpoint, head, body.into()).await)
    }
}

//! What every request passes on its way in and every answer on its way out, around all routes.
//!
//! One service and not one layer on the other: a layer of axum's copies all that is behind it for each request and boxes
//! its future, which was a tenth of what a call cost. Calls of the data plane go past the router too; it has the same
//! routes, for whatever is not as plain as those. What is for an organisation's own domain is the data plane's alone.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, response::Response};
use futures_util::{FutureExt as _, future::BoxFuture};
use gateway::Gateway;
use tower::{Service, ServiceExt as _};

use crate::middleware::{
    body,
    client::{self, Edge},
    headers,
};

/// The whole server, for one request after the other. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    edge: Edge,
    gateway: Gateway,
    routes: Router,
}

impl Front {
    /// What stands before these routes, which have those of the data plane among them.
    pub fn new(edge: Edge, gateway: Gateway, routes: Router) -> Self {
        Self(Arc::new(Inner { edge, gateway, routes }))
    }

    async fn answer(self, mut request: Request) -> Response {
        let edge = &self.0.edge;
        let arrival = client::identify(edge, &mut request);
        let refused = client::refuse_long(&request, &arrival.id)
            .or_else(|| headers::refuse_plain(&edge.env, &request, &arrival.id));
        let mut response = match refused {
            Some(refused) => refused,
            None => AssertUnwindSafe(self.routed(request))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| client::panicked(panic.as_ref())),
        };
        headers::secure(&edge.env, response.headers_mut());
        arrival.leave(edge, response)
    }

    async fn routed(&self, request: Request) -> Response {
        if let Some(domain) = self.0.gateway.domain_of(&request) {
            return self.0.gateway.answer_at(domain, body::paced(request)).await;
        }
        if Gateway::is_message(&request) {
            return self.0.gateway.answer(request).await;
        }
        match self.0.routes.clone().oneshot(body::paced(request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// With every path that is routed: a test of tenancy walks them.
impl core::fmt::Debug for Front {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Front").field("routes", &self.0.routes).finish_non_exhaustive()
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().answer(request).map(Ok))
    }
}

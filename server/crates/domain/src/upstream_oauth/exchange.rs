//! Requests to a server that wants OAuth: each goes with the token of today, and once more with a newer one if the server
//! refuses that.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture};
use http::{StatusCode, header};

use super::{
    discovery::Challenge,
    keeper::{Held, Keeper},
    standing::{Holder, NotAuthorized, Standing},
};
use crate::mcp::exchange::{BodyStream, Exchange, NetError};

/// The way to one server with one authorisation.
pub struct Authorized {
    inner: Arc<dyn Exchange>,
    keeper: Arc<dyn Keeper>,
    standing: Standing,
}

impl Authorized {
    /// Goes the way of `inner` with these tokens, or not at all.
    pub fn new(inner: Arc<dyn Exchange>, keeper: Arc<dyn Keeper>, standing: Standing) -> Self {
        Self { inner, keeper, standing }
    }

    async fn with(
        &self,
        mut request: http::Request<Bytes>,
        held: &Held,
    ) -> Result<http::Response<BodyStream>, NetError> {
        request.headers_mut().insert(header::AUTHORIZATION, held.header.clone());
        self.inner.send(request).await
    }

    async fn go(
        &self,
        holder: &Holder,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<BodyStream>, Stop> {
        let held = match self.keeper.at_hand(holder) {
            Some(held) => held,
            None => self.keeper.obtain(holder, None).await?,
        };
        let response = self.with(request.clone(), &held).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED {
            // It refused before it did anything, so asking again repeats nothing (UPS-07).
            drop(response);
            let newer = self.keeper.obtain(holder, Some(held.generation)).await?;
            let response = self.with(request, &newer).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                return Err(self.keeper.refused(holder, newer.generation).await.into());
            }
            response
        } else {
            response
        };
        if response.status() == StatusCode::FORBIDDEN
            && let Some(challenge) = Challenge::read(response.headers())
            && challenge.error.as_deref() == Some("insufficient_scope")
        {
            return Err(self.keeper.wants_more(holder, challenge.scope).await.into());
        }
        Ok(response)
    }
}

enum Stop {
    NotAuthorized(NotAuthorized),
    Net(NetError),
}

impl From<NotAuthorized> for Stop {
    fn from(why: NotAuthorized) -> Self {
        Self::NotAuthorized(why)
    }
}

impl From<NetError> for Stop {
    fn from(why: NetError) -> Self {
        Self::Net(why)
    }
}

/// An answer that came from nowhere: the reason is among its extensions, where a server cannot put anything.
fn refusal(why: NotAuthorized) -> http::Response<BodyStream> {
    let mut response = http::Response::new(futures_util::stream::empty().boxed());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.extensions_mut().insert(why);
    response
}

impl Exchange for Authorized {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        Box::pin(async move {
            let outcome = match &self.standing {
                Ok(holder) => self.go(holder, request).await,
                Err(why) => Err(why.clone().into()),
            };
            match outcome {
                Ok(response) => Ok(response),
                Err(Stop::NotAuthorized(why)) => Ok(refusal(why)),
                Err(Stop::Net(why)) => Err(why),
            }
        })
    }
}

//! What may be asked in every era: the list of tools, and calls.

use axum::response::Response;
use domain::mcp::{
    code,
    envelope::{self, Params},
    json,
    tools::{check_headers, headers_for},
    upstream::{Call, CallStream, Method, Reply, Session},
};
use http::StatusCode;

use super::{
    Era, Exchange, Running, failed, invalid_params,
    modern::{self, mismatch},
    render,
};
use crate::{
    limits::CallSlot,
    reply::{self, RpcError, empty},
    stream::Streaming,
    tools,
};

impl Exchange<'_> {
    pub(super) fn list(&self, era: Era) -> Result<Response, RpcError> {
        let page = self.caller.inner.settings.page;
        let listing = self.caller.ready.listing(&self.caller.access.scope, self.only, page);
        let (tools, next) = listing.page(self.message.params.cursor)?;
        let next = next.map_or(String::new(), |cursor| format!(r#","nextCursor":{cursor}"#));
        let tail = if era == Era::Modern { modern::tail() } else { "}".to_owned() };
        let message = reply::Message::new(self.message.id, "result")
            .text(r#"{"tools":"#)
            .value(tools)
            .text(&next)
            .text(&tail);
        Ok(self.respond(era, message))
    }

    pub(super) fn tool_name(&self) -> Result<std::borrow::Cow<'_, str>, RpcError> {
        self.message
            .params
            .name
            .and_then(json::string)
            .ok_or_else(|| invalid_params("tools/call needs params.name, a string."))
    }

    pub(super) async fn call(&self, era: Era, session: Option<&str>) -> Result<Response, RpcError> {
        let Params { arguments, others, meta, request_state, input_responses, .. } = &self.message.params;
        let name = self.tool_name()?;
        let (connector, ready) =
            tools::find(&self.caller.ready, &self.caller.access.scope, self.only, &name, self.endpoint)?;
        self.caller.trace.goes_to(&connector.plane, &ready.name);
        let arguments = arguments.filter(|a| *a != "null");
        if arguments.is_some_and(|a| !a.starts_with('{')) {
            return Err(invalid_params("params.arguments must be an object."));
        }
        if request_state.is_some() || input_responses.is_some() {
            // Nobody was given a state by Gatehouse, so this one is not its own (RSV-12).
            return Err(invalid_params("requestState and inputResponses are not supported here."));
        }
        if era == Era::Modern {
            check_headers(&ready.params, arguments, self.headers)
                .map_err(|header| mismatch(header.as_str(), "does not match the arguments"))?;
        }
        let mut headers = headers_for(&ready.params, arguments);
        if era == Era::Modern {
            // Headers of this kind that the tool does not know are passed on (RFC 9110, MCP "Custom Headers").
            let known = headers.len();
            for (name, value) in self.headers {
                if name.as_str().starts_with("mcp-param-") && !headers[..known].iter().any(|(n, _)| n == name)
                {
                    headers.push((name.clone(), value.clone()));
                }
            }
        }
        let slot = self.caller.inner.limits.call(self.caller, connector).await?;
        let meta = meta.as_ref();
        let call = Call {
            method: Method::CallTool,
            name: &ready.name,
            arguments,
            others,
            meta: meta.map_or(&[], |meta| &meta.others),
            progress_token: meta.and_then(|meta| meta.progress_token).filter(|token| envelope::is_id(token)),
            capabilities: meta.and_then(|meta| meta.client_capabilities),
            log_level: meta
                .and_then(|meta| meta.log_level)
                .filter(|level| json::string(level).is_some())
                .or((era == Era::Legacy).then_some("\"debug\"")),
            session: Session::default(),
            headers: &headers,
            timeout: ready.timeout,
        };
        let person = self.caller.ready.plane.person(&self.caller.access);
        let upstream = connector.upstream.of(&connector.plane, person);
        let running = session.map(|session| Running::new(&self.caller.inner, session, self.message.id));
        let streaming = era != Era::Bare && self.accepts.events;
        let work = self.caller.trace.passing(async {
            match upstream.call(&call).await {
                Ok(Reply::Stream(stream)) if streaming => Ok(Reply::Stream(stream)),
                Ok(reply) => reply.finish().await.map(Reply::Answer),
                Err(error) => Err(error),
            }
        });
        let outcome = match &running {
            None => work.await,
            Some(running) => tokio::select! {
                biased;
                outcome = work => outcome,
                // The client has said that it does not wait any more: no answer is due.
                () = running.token.cancelled() => return Ok(empty(StatusCode::ACCEPTED)),
            },
        };
        let slug = connector.plane.slug.as_str();
        match outcome {
            Ok(Reply::Answer(answer)) => {
                self.caller.trace.answered(&answer);
                match render(era, self.message.id, slug, answer) {
                    Ok(message) => Ok(self.respond(era, message)),
                    Err(error) => Err(error),
                }
            }
            Ok(Reply::Stream(stream)) => self.stream(era, slug, *stream, slot, running).await,
            Err(error) => Err(failed(self.caller, slug, &error)),
        }
    }

    async fn stream(
        &self,
        era: Era,
        slug: &str,
        stream: CallStream,
        slot: CallSlot,
        running: Option<Running>,
    ) -> Result<Response, RpcError> {
        let Some(permit) = slot.stream() else {
            // Too many streams: the result is what counts, so it is collected, and its notifications are lost.
            let answer = Reply::Stream(Box::new(stream)).finish().await;
            let answer = answer.map_err(|error| failed(self.caller, slug, &error))?;
            self.caller.trace.answered(&answer);
            return render(era, self.message.id, slug, answer).map(|message| self.respond(era, message));
        };
        let streaming =
            Streaming::new(self.caller.clone(), era, slug, self.message.id, stream, (slot, permit), running);
        Ok(reply::events(streaming.into_body()))
    }
}

pub(super) fn unknown_method(era: Era, method: &str) -> RpcError {
    let shown: String = method.chars().take(64).collect();
    // A legacy client takes 404 for the end of its session.
    let status = if era == Era::Legacy { StatusCode::OK } else { StatusCode::NOT_FOUND };
    RpcError::new(status, code::METHOD_NOT_FOUND, format!("Method not found: {shown}"))
}

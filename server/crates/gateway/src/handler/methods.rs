//! What may be asked in every era, and where it goes.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::response::Response;
use domain::mcp::{
    code,
    envelope::{self, Raw},
    json,
    tools::{check_headers, headers_for},
    upstream::{Call, CallEvent, CallStream, LEVELS, Method, Reply, ResultType, Session, Upstream},
};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    Era, Exchange, View, invalid_params,
    modern::{self, mismatch},
};
use crate::{
    attend,
    held::key,
    owned::OwnedCall,
    planes::ReadyConnector,
    reply::{self, RpcError, empty},
    resume,
    sessions::{Live, Running},
    state::{self, State},
    stream::{Asking, Job, Streaming, hold},
    tools,
};

/// One request on its way to a connector.
pub(super) struct Target<'r> {
    pub(super) connector: &'r ReadyConnector,
    pub(super) method: Method,
    /// The name or URI upstream.
    pub(super) name: Cow<'r, str>,
    pub(super) arguments: Option<&'r str>,
    /// Members of `params` that pass as they are.
    pub(super) others: Vec<Raw<'r>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The tool's own time-out.
    pub(super) timeout: Option<Duration>,
}

impl Exchange<'_> {
    /// The methods that every era has.
    pub(super) async fn common(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        method: &str,
    ) -> Result<Response, RpcError> {
        match method {
            "tools/list" => self.list(era),
            "tools/call" => self.call_tool(era, session).await,
            "prompts/list" => self.list_all(era, session, Method::ListPrompts).await,
            "prompts/get" => self.get_prompt(era, session).await,
            "resources/list" => self.list_all(era, session, Method::ListResources).await,
            "resources/templates/list" => self.list_all(era, session, Method::ListTemplates).await,
            "resources/read" => self.read_resource(era, session).await,
            "completion/complete" => self.complete(era, session).await,
            _ => Err(unknown_method(era, method)),
        }
    }

    fn list(&self, era: Era) -> Result<Response, RpcError> {
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

    /// The name or URI that the request is about.
    pub(super) fn subject(&self, method: Method) -> Result<Cow<'_, str>, RpcError> {
        let params = &self.message.params;
        let member = method.subject().unwrap_or_default();
        let value = if member == "uri" { params.uri } else { params.name };
        value
            .and_then(json::string)
            .ok_or_else(|| invalid_params(&format!("{} needs params.{member}, a string.", method.as_str())))
    }

    fn arguments(&self) -> Result<Option<&str>, RpcError> {
        let arguments = self.message.params.arguments.filter(|a| *a != "null");
        if arguments.is_some_and(|a| !a.starts_with('{')) {
            return Err(invalid_params("params.arguments must be an object."));
        }
        Ok(arguments)
    }

    async fn call_tool(&self, era: Era, session: Option<&Arc<Live>>) -> Result<Response, RpcError> {
        let name = self.subject(Method::CallTool)?;
        let (connector, ready) =
            tools::find(&self.caller.ready, &self.caller.access.scope, self.only, &name, self.endpoint)?;
        let arguments = self.arguments()?;
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
        let others = self.message.params.others.clone();
        let (method, name) = (Method::CallTool, Cow::Borrowed(&*ready.name));
        self.forward(
            era,
            session,
            Target { connector, method, name, arguments, others, headers, timeout: ready.timeout },
        )
        .await
    }

    async fn get_prompt(&self, era: Era, session: Option<&Arc<Live>>) -> Result<Response, RpcError> {
        let name = self.subject(Method::GetPrompt)?;
        let (connector, prompt) = self.find_prompt(&name)?;
        let target = Target {
            connector,
            method: Method::GetPrompt,
            name: Cow::Borrowed(prompt),
            arguments: self.arguments()?,
            others: self.message.params.others.clone(),
            headers: Vec::new(),
            timeout: None,
        };
        self.forward(era, session, target).await
    }

    async fn read_resource(&self, era: Era, session: Option<&Arc<Live>>) -> Result<Response, RpcError> {
        let uri = self.subject(Method::ReadResource)?;
        let (connector, name) = self.find_resource(era, &uri).await?;
        let target = Target {
            connector,
            method: Method::ReadResource,
            name: Cow::Owned(name),
            arguments: None,
            others: self.message.params.others.clone(),
            headers: Vec::new(),
            timeout: None,
        };
        self.forward(era, session, target).await
    }

    /// Completion goes to the connector that the prompt or template is of, with its own name for it.
    async fn complete(&self, era: Era, session: Option<&Arc<Live>>) -> Result<Response, RpcError> {
        let others = &self.message.params.others;
        let wrong =
            || invalid_params("completion/complete needs params.ref, a prompt's name or a resource's URI.");
        let reference = others.iter().find(|(key, _)| *key == "ref").map(|(_, value)| *value);
        let reference = reference.filter(|r| r.starts_with('{')).ok_or_else(wrong)?;
        let member = match json::get(reference, "type").and_then(json::string).as_deref() {
            Some("ref/prompt") => "name",
            Some("ref/resource") => "uri",
            _ => return Err(wrong()),
        };
        let raw = json::get(reference, member).ok_or_else(wrong)?;
        let public = json::string(raw).ok_or_else(wrong)?;
        let (connector, own) = if member == "name" {
            let (connector, name) = self.find_prompt(&public)?;
            (connector, name.to_owned())
        } else {
            self.find_resource(era, &public).await?
        };
        let at = raw.as_ptr() as usize - reference.as_ptr() as usize;
        let rewritten = format!(
            "{}{}{}",
            &reference[..at],
            if own == public { raw.to_owned() } else { json::quoted(&own) },
            &reference[at + raw.len()..]
        );
        let others = others
            .iter()
            .map(|(key, value)| (*key, if *key == "ref" { rewritten.as_str() } else { *value }))
            .collect();
        let target = Target {
            connector,
            method: Method::Complete,
            name: Cow::Borrowed(""),
            arguments: None,
            others,
            headers: Vec::new(),
            timeout: None,
        };
        self.forward(era, session, target).await
    }

    /// What the client can be asked, and whose sessions with legacy servers are used.
    pub(super) fn upstream_session(&self, era: Era, session: Option<&Arc<Live>>) -> Session {
        match (era, session) {
            (Era::Legacy, Some(live)) => attend::session(live),
            (Era::Modern, _) => {
                let capabilities =
                    self.message.params.meta.as_ref().and_then(|meta| meta.client_capabilities);
                let asks = capabilities.map(domain::mcp::asks::Asks::read).unwrap_or_default();
                Session { client: None, asks, legacy: false }
            }
            _ => Session::default(),
        }
    }

    /// The way of this caller to a connector's server.
    pub(super) fn upstream(&self, connector: &ReadyConnector) -> Upstream {
        connector.upstream.of(&connector.plane, self.caller.ready.plane.person(&self.caller.access))
    }

    /// What a call of this client begins with.
    pub(super) fn call_of<'c>(
        &'c self,
        session: Option<&Arc<Live>>,
        upstream: Session,
        capabilities: Option<&'c str>,
    ) -> Call<'c> {
        let meta = self.message.params.meta.as_ref();
        let level = match session {
            Some(live) => live.level().and_then(|level| QUOTED.get(level).copied()),
            None => meta.and_then(|meta| meta.log_level).filter(|level| json::string(level).is_some()),
        };
        Call {
            meta: meta.map_or(&[], |meta| &meta.others),
            progress_token: meta.and_then(|meta| meta.progress_token).filter(|token| envelope::is_id(token)),
            capabilities: capabilities.or(meta.and_then(|meta| meta.client_capabilities)),
            log_level: level,
            logs: session.is_some(),
            session: upstream,
            ..Call::default()
        }
    }

    /// Sends a request to its connector and tells what came of it.
    async fn forward(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        target: Target<'_>,
    ) -> Result<Response, RpcError> {
        let params = &self.message.params;
        let upstream_session = self.upstream_session(era, session);
        let declared = session.map(|live| live.asks.capabilities());
        let view = View {
            caller: self.caller,
            era,
            id: self.message.id,
            method: target.method,
            connector: &target.connector.plane,
            name: &target.name,
            prefixed: self.only.is_none() && !target.connector.plane.unprefixed,
            asks: upstream_session.asks,
        };
        if params.input_responses.is_some_and(|responses| !responses.starts_with('{')) {
            return Err(invalid_params("params.inputResponses must be an object."));
        }
        let state = self.state(&view)?;
        self.caller.trace.goes_to(&target.connector.plane, &target.name);
        // The further rounds of a call that is held open send nothing new.
        let paid = !matches!(state, Some(State::Held(_)));
        let slot = self.caller.inner.limits.call(self.caller, target.connector, paid).await?;
        let call = Call {
            method: target.method,
            name: &target.name,
            arguments: target.arguments,
            others: &target.others,
            headers: &target.headers,
            timeout: target.timeout,
            request_state: match &state {
                Some(State::Upstream(state)) => Some(state),
                _ => None,
            },
            input_responses: params.input_responses.filter(|_| era == Era::Modern),
            ..self.call_of(session, upstream_session, declared.as_deref())
        };
        let running = session.map(|live| Running::new(live, self.message.id));
        let held = match state {
            Some(State::Held(id)) => match self.resume(&view, id)? {
                Ok(reply) => Some(reply),
                Err(asked_again) => return Ok(self.respond(era, asked_again)),
            },
            _ => None,
        };
        let upstream = self.upstream(target.connector);
        let work = self.caller.trace.passing(async {
            match held {
                Some(reply) => Ok(reply),
                None => upstream.call(&call).await.map_err(|error| view.failed(&error)),
            }
        });
        let reply = match &running {
            None => work.await?,
            Some(running) => tokio::select! {
                biased;
                outcome = work => outcome?,
                // The client has said that it does not wait any more: no answer is due.
                () = running.token.cancelled() => return Ok(empty(StatusCode::ACCEPTED)),
            },
        };
        if let Some(live) = session.filter(|live| !live.asks.is_empty()) {
            live.called.notify_one();
        }
        let asks_first = |answer: &domain::mcp::upstream::Answer| {
            answer.result_type == ResultType::InputRequired && era == Era::Legacy && !view.asks.is_empty()
        };
        let streaming = era != Era::Bare && self.accepts.events;
        let permit = match &reply {
            Reply::Answer(answer) if !(streaming && asks_first(answer)) => None,
            _ if streaming => slot.stream(),
            // The result is what counts, so it is collected, and its notifications are lost.
            _ => None,
        };
        match (reply, permit) {
            (reply, Some(permit)) => {
                let asking = running.as_ref().filter(|_| !view.asks.is_empty());
                let asking =
                    asking.map(|running| Asking::new(running, OwnedCall::new(&call), upstream.clone()));
                let job = Job {
                    era,
                    id: self.message.id.map(str::to_owned),
                    method: target.method,
                    connector: Arc::clone(&target.connector.plane),
                    name: target.name.clone().into_owned(),
                    prefixed: view.prefixed,
                    asks: view.asks,
                };
                let caller = self.caller.clone();
                let streaming = Streaming::new(caller, job, reply, slot, running, asking);
                Ok(reply::events(match session {
                    Some(live) => resume::open(live, &self.caller.inner, self.message.id, streaming, permit),
                    None => streaming.into_body(permit),
                }))
            }
            (Reply::Answer(answer), None) => {
                self.caller.trace.answered(&answer);
                view.render(answer).map(|(status, message)| self.respond_as(era, status, message))
            }
            (Reply::Stream(stream), None) => self.collect(&view, stream).await,
        }
    }

    /// Waits for the answer of a stream.
    async fn collect(&self, view: &View<'_>, mut stream: Box<CallStream>) -> Result<Response, RpcError> {
        loop {
            match stream.next().await.map_err(|error| view.failed(&error))? {
                CallEvent::Notification(_) => {}
                CallEvent::Request(question) if view.era == Era::Modern => {
                    let (_, status, message) = hold(view, stream, question).await?;
                    return Ok(self.respond_as(view.era, status, message));
                }
                CallEvent::Request(question) => stream.refuse(&question.id),
                CallEvent::Answer(answer) => {
                    self.caller.trace.answered(&answer);
                    let (status, message) = view.render(answer)?;
                    return Ok(self.respond_as(view.era, status, message));
                }
            }
        }
    }

    /// What the client sends back of the state that it was given.
    fn state(&self, view: &View<'_>) -> Result<Option<State>, RpcError> {
        let Some(text) = self.message.params.request_state else { return Ok(None) };
        let opened = json::string(text)
            .filter(|_| view.era == Era::Modern)
            .and_then(|text| state::open(view.caller, &view.place(), &text));
        opened.map(Some).ok_or_else(|| {
            invalid_params(
                "params.requestState is not of this call, was changed, or is too old. Nothing was done: call again without it.",
            )
            .word("invalid_request_state")
        })
    }

    /// Goes on with a call that was held open for the client's answer, or asks again when there is none.
    fn resume(&self, view: &View<'_>, id: u128) -> Result<Result<Reply, reply::Message>, RpcError> {
        let gone = || {
            RpcError::new(
                StatusCode::OK,
                code::INVALID_PARAMS,
                "The call that waited for this input has ended, or waits on another node. Call again without requestState.",
            )
            .word("request_state_expired")
        };
        let inner = &self.caller.inner;
        let mut held = inner.held.take(id).ok_or_else(gone)?;
        let params = &self.message.params;
        let told: Option<Vec<&str>> = (0..held.questions.len())
            .map(|place| json::get(params.input_responses?, &key(place)).filter(|told| told.starts_with('{')))
            .collect();
        let Some(told) = told else {
            // They are asked again: the same questions, as a result of this request.
            let message = view.questions(id, &held.questions);
            let owner = (view.caller.ready.plane.org, view.caller.access.principal.clone());
            inner.held.put(id, owner, held.stream, held.questions);
            return Ok(Err(message));
        };
        let progress = params.meta.as_ref().and_then(|meta| meta.progress_token);
        held.stream.set_progress_token(progress.filter(|token| envelope::is_id(token)));
        for (question, told) in held.questions.iter().zip(told) {
            held.stream.answer(&question.id, &format!(r#""result":{told}"#));
        }
        Ok(Ok(Reply::Stream(held.stream)))
    }
}

/// The levels of log messages as JSON.
const QUOTED: [&str; LEVELS.len()] = [
    "\"debug\"",
    "\"info\"",
    "\"notice\"",
    "\"warning\"",
    "\"error\"",
    "\"critical\"",
    "\"alert\"",
    "\"emergency\"",
];

pub(super) fn unknown_method(era: Era, method: &str) -> RpcError {
    let shown: String = method.chars().take(64).collect();
    // A legacy client takes 404 for the end of its session.
    let status = if era == Era::Legacy { StatusCode::OK } else { StatusCode::NOT_FOUND };
    RpcError::new(status, code::METHOD_NOT_FOUND, format!("Method not found: {shown}"))
}

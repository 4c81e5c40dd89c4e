//! How a change becomes lasting: with its audit event and its outbox row, in one transaction, or not at all (AUD-03, WHK-02).

use model::{AuditEventId, OrgId, OutboxId, audit::category_of, permissions::Grant, webhooks::is_topic};
use serde_json::{Map, Value, json};
use store::Tx;

use crate::{
    Env, OrgActor, Result, audit,
    authz::Principal,
    request::{AuthMethod, Origin},
    webhooks::payload,
};

/// What happened, for the audit log and, where somebody may subscribe to it, for webhooks.
#[derive(Clone, Debug)]
pub struct Event {
    action: &'static str,
    targets: Vec<Value>,
    changes: Map<String, Value>,
    metadata: Map<String, Value>,
    outbox: Option<(&'static str, Value)>,
}

impl Event {
    /// An event called `resource.verb`.
    pub fn new(action: &'static str) -> Self {
        Self { action, targets: Vec::new(), changes: Map::new(), metadata: Map::new(), outbox: None }
    }

    /// Something it was done to.
    #[must_use]
    pub fn target(mut self, kind: &str, id: impl ToString, name: &str) -> Self {
        self.targets.push(json!({"type": kind, "id": id.to_string(), "name": name}));
        self
    }

    /// A field's old and new value. Left out when they are the same. Secrets go through [`Event::secret`].
    #[must_use]
    pub fn changed(mut self, field: &str, old: impl Into<Value>, new: impl Into<Value>) -> Self {
        let (old, new) = (old.into(), new.into());
        if old != new {
            self.changes.insert(field.to_owned(), json!([old, new]));
        }
        self
    }

    /// A secret field that was set or changed: the value stays out (AUD-01).
    #[must_use]
    pub fn secret(mut self, field: &str, was_set: bool) -> Self {
        self.changes.insert(field.to_owned(), json!([if was_set { "•set" } else { "" }, "•changed"]));
        self
    }

    /// Anything else worth knowing.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Also tells subscribers: `event` is a webhook's event name, `data` its payload.
    #[must_use]
    pub fn publish(mut self, event: &'static str, data: Value) -> Self {
        self.outbox = Some((event, data));
        self
    }

    fn detail(&self) -> String {
        json!({"targets": self.targets, "changes": self.changes, "metadata": self.metadata}).to_string()
    }
}

fn context(origin: &Origin, node: &str) -> String {
    json!({
        "ip": origin.address_text(),
        "user_agent": origin.user_agent.as_deref().unwrap_or_default(),
        "request_id": origin.request_id,
        "node": node,
    })
    .to_string()
}

/// How whoever acts had shown who they are, and with which credential (AUD-01). Empty for somebody who had not, such as a
/// stranger whose password was wrong.
fn authentication<'a>(principal: &Principal, origin: &'a Origin) -> (&'static str, &'a str) {
    let method = match principal {
        Principal::Operator => Some(AuthMethod::Cli),
        Principal::System if origin.request_id.is_empty() => Some(AuthMethod::System),
        Principal::System | Principal::User { .. } => origin.auth.method,
    };
    (method.map_or("", AuthMethod::as_str), &origin.auth.key)
}

/// A change of one organisation in the making. Dropped without [`Change::commit`], nothing happened.
#[derive(Debug)]
pub struct Change {
    env: Env,
    tx: Tx,
    org: OrgId,
    principal: Principal,
    origin: Origin,
}

impl Env {
    /// Begins a change by somebody who may make it.
    pub async fn change<P: Grant>(&self, actor: &OrgActor<P>) -> Result<Change> {
        let mut tx = self.db.write().await?;
        store::orgs::lock(&mut tx, actor.org()).await?;
        Ok(Change {
            env: self.clone(),
            tx,
            org: actor.org(),
            principal: actor.principal().clone(),
            origin: actor.origin().clone(),
        })
    }
}

impl Change {
    /// A change inside a transaction that is already open, for operations that begin before the organisation exists.
    pub(crate) fn within(env: &Env, tx: Tx, org: OrgId, principal: Principal, origin: Origin) -> Self {
        Self { env: env.clone(), tx, org, principal, origin }
    }

    /// The transaction again, for what goes on beyond the organisation. Whoever commits it tells [`crate::env::Changes`].
    pub(crate) fn into_tx(self) -> Tx {
        self.tx
    }

    /// The transaction, for `store`'s functions.
    pub fn tx(&mut self) -> &mut Tx {
        &mut self.tx
    }

    /// What follows is done by somebody else: the person whose account was found, or made, on the way.
    pub(crate) fn act_as(&mut self, principal: Principal) {
        self.principal = principal;
    }

    /// Writes a further event of the same change.
    pub async fn record(&mut self, event: &Event) -> Result<()> {
        let now = self.env.clock.now_micros();
        let (auth_method, key_id) = authentication(&self.principal, &self.origin);
        let seq = store::orgs::bump(&mut self.tx, self.org).await?;
        let line = store::audit::NewEvent {
            id: AuditEventId::from_uuid(self.env.uuid()),
            org: Some(self.org),
            seq,
            occurred_at: now,
            action: event.action,
            category: category_of(event.action),
            result: "ok",
            actor_kind: self.principal.kind(),
            actor_id: &self.principal.id(),
            actor_name: self.principal.name(),
            detail: &event.detail(),
            context: &context(&self.origin, &self.env.settings.node),
            version: audit::VERSION,
            auth_method,
            key_id,
        };
        audit::append(&self.env, &mut self.tx, line).await?;
        if let Some((name, data)) = &event.outbox {
            let id = OutboxId::from_uuid(self.env.uuid());
            store::outbox::insert(&mut self.tx, id, self.org, name, &payload::fit(data), now / 1000).await?;
            if is_topic(name) {
                store::webhook_deliveries::enqueue(&mut self.tx, self.org, id, name, now / 1000).await?;
            }
        }
        Ok(())
    }

    /// Makes observations last that nobody needs to hear of, such as the time of a check that found nothing new.
    pub(crate) async fn keep_quiet(self) -> Result<()> {
        Ok(self.tx.commit().await?)
    }

    /// Writes the event, makes the change last, and tells this process's caches.
    pub async fn commit(mut self, event: Event) -> Result<()> {
        self.record(&event).await?;
        self.tx.commit().await?;
        self.env.changes.notify(self.org);
        Ok(())
    }
}

/// Appends an event to the logs of organisations, or to the instance's when `orgs` is empty: for things that change no
/// organisation, such as signing in. `result` is `ok`, `denied` or `failed`.
pub(crate) async fn note(
    env: &Env,
    tx: &mut Tx,
    orgs: &[OrgId],
    principal: &Principal,
    origin: &Origin,
    event: &Event,
    result: &str,
) -> Result<()> {
    let now = env.clock.now_micros();
    let (detail, context) = (event.detail(), context(origin, &env.settings.node));
    let actor_id = principal.id();
    let (auth_method, key_id) = authentication(principal, origin);
    let mut line = store::audit::NewEvent {
        id: AuditEventId::from_uuid(env.uuid()),
        org: None,
        seq: 0,
        occurred_at: now,
        action: event.action,
        category: category_of(event.action),
        result,
        actor_kind: principal.kind(),
        actor_id: &actor_id,
        actor_name: principal.name(),
        detail: &detail,
        context: &context,
        version: audit::VERSION,
        auth_method,
        key_id,
    };
    if orgs.is_empty() {
        audit::append(env, tx, line.clone()).await?;
    }
    for org in orgs {
        line.id = AuditEventId::from_uuid(env.uuid());
        line.org = Some(*org);
        line.seq = store::orgs::bump(tx, *org).await?;
        audit::append(env, tx, line.clone()).await?;
    }
    Ok(())
}

//! A whole environment for tests: a throwaway database, a clock that is moved, seeded randomness, cheap passwords.

mod authenticator;
mod names;
pub mod receiver;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{
    ConnectionId, ConnectionKeyId, GrantId, OrgId, Plan, UserId, factors::PasskeyPurpose, oauth::ClientKind,
    orgs::Org, permissions::Grant,
};
use sha2::{Digest as _, Sha256};
use store::{Kind, testing::TestDb};

use crate::{
    Env, OrgActor, Rng, Settings, accounts,
    doctor::Journal,
    env::{Changes, ManualClock},
    idp::Jwks,
    mail::{Letter, Mailer, SendError},
    mcp::upstream::{UpstreamSettings, Upstreams},
    mfa,
    net::{Outbound, OutboundSettings},
    oauth::Shared,
    orgs, passkeys,
    password::{PasswordSettings, Passwords},
    pin::Guarded,
    request::{BySso, Origin, RequestContext, SessionControl, SignedIn},
    sealer::{MasterKey, Sealer},
    signing::KeyRing,
    step_up::Proven,
    tokens::TokenGrant,
    upstream_oauth,
};

pub use self::{authenticator::Authenticator, names::NameServer};

/// A password that the policy accepts.
pub const PASSWORD: &str = "correct horse battery staple 9";

/// How long a grant lasts that [`TestEnv::grant`] makes, milliseconds: 30 days.
pub const GRANT: i64 = 30 * 24 * 60 * 60 * 1000;

/// Randomness that repeats from run to run and never within one.
#[derive(Debug, Default)]
pub struct SeededRng(AtomicU64);

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = Sha256::digest(self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

/// An environment and what holds it up.
#[derive(Debug)]
pub struct TestEnv {
    /// The environment.
    pub env: Env,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// Its database.
    pub db: TestDb,
    /// Where its mails go.
    pub mailbox: Arc<Mailbox>,
}

/// Keeps the mails that are sent, and refuses them on demand.
#[derive(Debug, Default)]
pub struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    refusal: Mutex<Option<SendError>>,
}

impl Mailbox {
    /// Refuses what comes from now on, or takes it again.
    pub fn refuse(&self, refusal: Option<SendError>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Takes the mails out, the oldest first.
    pub fn take(&self) -> Vec<Letter> {
        core::mem::take(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mailer for Mailbox {
    fn send<'a>(
        &'a self,
        letter: &'a Letter,
        _id: &'a str,
        _at: i64,
    ) -> futures_util::future::BoxFuture<'a, Result<(), SendError>> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter.clone());
            Ok(())
        })
    }
}

/// The token of the one link in a mail.
pub fn token_of(letter: &Letter) -> String {
    let link = letter.text.lines().find(|line| line.starts_with("http")).expect("a link in the mail");
    link.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A person in an organisation.
#[derive(Clone, Debug)]
pub struct TestMember {
    /// The person.
    pub user: UserId,
    /// The organisation.
    pub org: Org,
    /// A context in which they are signed in.
    pub ctx: RequestContext,
}

impl TestMember {
    /// The person with a permission; panics if they do not hold it.
    pub async fn actor<P: Grant>(&self) -> OrgActor<P> {
        OrgActor::require(&self.ctx).await.expect("the member holds the permission")
    }

    /// The person with a permission for an act that is protected by a PIN, which is not asked for.
    pub async fn guarded<P: Grant>(&self) -> Guarded<P> {
        Guarded::for_tests(self.actor().await)
    }

    /// The organisation's id.
    pub fn org_id(&self) -> OrgId {
        self.org.id
    }
}

/// What the operator of a test's instance decided.
pub fn settings() -> Settings {
    Settings {
        public_url: "http://localhost:3000".parse().expect("a URL"),
        default_plan: Plan::Enterprise,
        demo: true,
        node: "test".to_owned(),
        sign_up: model::links::SignUp::default(),
        session_idle_ms: 8 * 60 * 60 * 1000,
        registration: true,
        cimd: true,
        native_schemes: Vec::new(),
        gateway_host: "gateway.gate.test".to_owned(),
    }
}

impl TestEnv {
    /// An environment on a database of the kind. `GATEHOUSE_EGRESS_ALLOW` is loopback, so that tests can start servers.
    pub async fn new(kind: Kind) -> Self {
        Self::with_egress(kind, "127.0.0.0/8").await
    }

    /// The same with other destinations allowed.
    pub async fn with_egress(kind: Kind, allow: &str) -> Self {
        let db = TestDb::new(kind).await;
        let clock = ManualClock::at(1_790_000_000_000);
        let rng = Arc::new(SeededRng::default());
        let mailbox = Arc::new(Mailbox::default());
        let outbound = Outbound::new(OutboundSettings {
            allow: allow.parse().expect("an allow list"),
            user_agent: "gatehouse/test".to_owned(),
            ..OutboundSettings::default()
        })
        .expect("an outbound client");
        let env = Env {
            db: db.db.clone(),
            clock: clock.clone(),
            sealer: Arc::new(Sealer::new(MasterKey::generate(rng.as_ref()))),
            rng,
            keys: Arc::new(KeyRing::for_tests()),
            jwks: Arc::new(Jwks::default()),
            journal: Arc::new(Journal::default()),
            passwords: Arc::new(Passwords::new(PasswordSettings::for_tests())),
            upstreams: Upstreams::new(
                Arc::new(outbound.clone()),
                {
                    let clock = clock.clone();
                    Arc::new(move || crate::Clock::now(clock.as_ref()))
                },
                UpstreamSettings::default(),
            ),
            outbound,
            mailer: Some(mailbox.clone()),
            settings: Arc::new(settings()),
            changes: Changes::default(),
            oauth: Arc::new(Shared::with_patience(Duration::from_millis(500))),
            upstream: Arc::new(upstream_oauth::Shared::with_patience(Duration::from_secs(2))),
        };
        Self { env, clock, db, mailbox }
    }

    /// Sends all mails that are due, and takes them out of the mailbox.
    pub async fn mails(&self) -> Vec<Letter> {
        while crate::mail::deliver_due(&self.env).await.expect("mails are sent") > 0 {}
        self.mailbox.take()
    }

    /// An organisation with one owner, `owner@{slug}.example`.
    pub async fn org(&self, slug: &str) -> TestMember {
        let email = format!("owner@{slug}.example");
        let (user, org) = accounts::setup_by_operator(&self.env, &email, PASSWORD, slug, slug)
            .await
            .expect("an organisation");
        TestMember { user, ctx: self.signed_in(user, org.id), org }
    }

    /// Another member of an organisation.
    pub async fn member(&self, of: &TestMember, name: &str, role: impl Into<model::RoleKey>) -> TestMember {
        let email = format!("{name}@{}.example", of.org.slug);
        let user =
            accounts::create_by_operator(&self.env, &email, PASSWORD, Some(name)).await.expect("a user");
        orgs::put_member(&self.env, &OrgActor::operator(of.org.id), &email, role).await.expect("a member");
        TestMember { user, ctx: self.signed_in(user, of.org.id), org: of.org.clone() }
    }

    /// What a consent leaves behind: a connection of this person and client with one grant, of [`GRANT`]. It tells what
    /// its access tokens name.
    pub async fn grant(&self, member: &TestMember, client: &str, scope: &str) -> TokenGrant {
        let env = &self.env;
        let (now, org) = (env.now(), member.org_id());
        let (connection, grant) = (ConnectionId::from_uuid(env.uuid()), GrantId::from_uuid(env.uuid()));
        let key = ConnectionKeyId::from_uuid(env.uuid());
        let mut tx = env.db.write().await.expect("a transaction");
        let row = store::connections::Connection {
            id: connection,
            user: Some(member.user),
            user_email: String::new(),
            client: client.to_owned(),
            client_name: client.to_owned(),
            client_kind: ClientKind::Registered,
            redirect_host: "localhost".to_owned(),
            scope: scope.to_owned(),
            key,
            key_hash: Sha256::digest(key.to_string()).to_vec(),
            key_prefix: String::new(),
            key_made_at: now,
            created_at: now,
            created_address: String::new(),
            created_agent: String::new(),
            expires_at: now + GRANT,
            last_token_at: None,
            last_used_at: None,
            last_used_address: None,
            last_used_agent: None,
            revoked_at: None,
            revoked_by: None,
            revoked_reason: None,
        };
        store::connections::insert(&mut tx, org, &row).await.expect("a connection");
        let row = store::oauth_grants::Grant {
            id: grant,
            org,
            connection,
            client: client.to_owned(),
            scope: scope.to_owned(),
            resource: String::new(),
            generation: 1,
            rotated_at: None,
            repeats: 0,
            used_generation: 0,
            created_at: now,
            expires_at: now + GRANT,
            revoked_at: None,
            presented: 1,
        };
        store::oauth_grants::insert(&mut tx, &row).await.expect("a grant");
        tx.commit().await.expect("a commit");
        env.changes.notify(org);
        TokenGrant { grant, key, generation: 1 }
    }

    /// A machine client of an organisation, without a secret.
    pub async fn machine(&self, member: &TestMember, id: &str, scope: &str) {
        let now = self.env.now();
        let row = store::oauth_clients::OauthClient {
            id: id.to_owned(),
            org: Some(member.org_id()),
            kind: ClientKind::Machine,
            name: id.to_owned(),
            redirect_uris: "[]".to_owned(),
            auth_method: "client_secret_basic".to_owned(),
            scope: scope.to_owned(),
            metadata: "{}".to_owned(),
            management_hash: None,
            fresh_until: None,
            created_at: now,
            created_by: "test".to_owned(),
            updated_at: now,
            last_used_at: None,
        };
        let mut tx = self.env.db.write().await.expect("a transaction");
        store::oauth_clients::insert(&mut tx, &row).await.expect("a client");
        tx.commit().await.expect("a commit");
        self.env.changes.notify(member.org_id());
    }

    /// A context in which somebody is signed in.
    pub fn signed_in(&self, user: UserId, org: OrgId) -> RequestContext {
        let session = model::SessionId::from_uuid(self.env.uuid());
        RequestContext {
            signed_in: Some(SignedIn { session, user, org: Some(org), sso: None }),
            ..self.anonymous()
        }
    }

    /// Puts the session of a context into the database, begun at this moment: its person has just shown who they are.
    pub async fn prove(&self, ctx: &RequestContext) -> Proven {
        let signed_in = ctx.signed_in.as_ref().expect("somebody is signed in");
        let now = self.env.now();
        let row = store::sessions::Session {
            token_hash: Sha256::digest(signed_in.session.to_string()).to_vec(),
            id: signed_in.session,
            user: Some(signed_in.user),
            data: "{}".to_owned(),
            address: String::new(),
            user_agent: String::new(),
            created_at: now,
            last_seen_at: now,
            expires_at: now + GRANT,
            in_view: signed_in.org,
            renew: false,
            sso_org: signed_in.sso.map(|sso| sso.org),
            method: None,
        };
        let mut tx = self.env.db.write().await.expect("a transaction");
        store::sessions::upsert(&mut tx, &row).await.expect("a session");
        store::sign_in_steps::set_proved_at(&mut tx, signed_in.user, signed_in.session, now)
            .await
            .expect("a proof");
        tx.commit().await.expect("a commit");
        Proven::require(ctx).await.expect("it is fresh")
    }

    /// Gives somebody an authenticator app; answers with their backup codes.
    pub async fn enrol(&self, ctx: &RequestContext) -> Vec<String> {
        let proven = self.prove(ctx).await;
        let told = mfa::enrol(ctx, &proven).await.expect("an app");
        let code = mfa::code_of(&told.secret, self.env.now());
        let codes = mfa::confirm(ctx, &proven, &code).await.expect("backup codes");
        // The code of this step is used up.
        self.clock.advance(30_000);
        codes
    }

    /// Gives somebody a passkey; answers with its authenticator and their backup codes.
    pub async fn passkey(&self, ctx: &RequestContext) -> (Authenticator, Vec<String>) {
        let proven = self.prove(ctx).await;
        let mut authenticator = Authenticator::new(self.env.rng.as_ref());
        let options = passkeys::begin(ctx, PasskeyPurpose::Register).await.expect("a challenge");
        let answer = authenticator.create(&options);
        let codes = passkeys::add(ctx, &proven, "Laptop", &answer).await.expect("a passkey");
        (authenticator, codes)
    }

    /// A context in which nobody is signed in.
    pub fn anonymous(&self) -> RequestContext {
        RequestContext {
            env: self.env.clone(),
            signed_in: None,
            wants: crate::request::Wants::default(),
            origin: Origin {
                address: Some("203.0.113.7".parse().expect("an address")),
                user_agent: Some("test".to_owned()),
                request_id: "request".to_owned(),
                auth: crate::request::Auth::default(),
            },
            session: Arc::new(NoSession),
            form_token: "form-token".to_owned(),
            device: None,
            step: None,
            trusted: None,
        }
    }
}

/// There is no browser.
struct NoSession;

impl SessionControl for NoSession {
    fn begin(
        &self,
        _: UserId,
        _: Option<OrgId>,
        _: crate::request::AuthMethod,
        _: Option<BySso>,
    ) -> futures_util::future::BoxFuture<'_, crate::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn set_org(&self, _: OrgId) -> futures_util::future::BoxFuture<'_, crate::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn end(&self) -> futures_util::future::BoxFuture<'_, crate::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Defines a test that runs once on `SQLite` and once on `PostgreSQL`, each time in an environment of its own:
/// `env_test!(name, |t| async { … })`, where `t` is a [`TestEnv`].
#[macro_export]
macro_rules! env_test {
    ($(#[$meta:meta])* $name:ident, |$t:ident| $body:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn run(kind: store::Kind) {
                let $t = $crate::testing::TestEnv::new(kind).await;
                $body.await;
            }

            #[tokio::test]
            async fn sqlite() {
                run(store::Kind::Sqlite).await;
            }

            #[tokio::test]
            async fn postgres() {
                run(store::Kind::Postgres).await;
            }
        }
    };
}

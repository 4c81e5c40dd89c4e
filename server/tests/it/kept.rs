//! Lines of the process's log that are written whatever level the operator asks for.

use axum::http::StatusCode;
use domain::{audit, testing::PASSWORD};
use model::Role;
use store::Kind;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

use crate::support::TestApp;

const NEW: &str = "a wholly different horse 7 saddles";

/// What the process logs meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Logged(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    /// Listens on this thread as the process does that was asked for warnings only.
    pub(crate) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let filter = server::cli::log_filter("warn").unwrap();
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        (logged, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The path of the last link that stands in the log with this beginning.
    fn link(&self, path: &str) -> String {
        let text = self.text();
        let begin = format!("http://localhost:3000{path}");
        let at = text.rfind(&begin).unwrap_or_else(|| panic!("no {path} in {text}"));
        let rest = &text[at + "http://localhost:3000".len()..];
        rest.split(['"', ' ', '\n']).next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn without_mail_the_link_of_an_invitation_is_shown_and_in_the_log_of_the_process() {
    let (logged, _guard) = Logged::begin();
    let app = TestApp::with_env(Kind::Sqlite, &[], |env| env.mailer = None).await;
    let acme = app.org("acme").await;
    let env = &app.test.env;
    let sent = domain::invitations::invite(env, &acme.actor().await, "dev@x.example", Role::Viewer).await;
    let model::links::Outcome::Link(link) = sent.unwrap().lines.remove(0).1 else {
        panic!("there is nobody to send it")
    };
    assert!(logged.text().contains(&link), "{}", logged.text());
    let open = domain::invitations::list(env, &acme.actor().await).await.unwrap().open.remove(0);
    let renewed = domain::invitations::renew(env, &acme.actor().await, open.id, false).await.unwrap();
    let model::links::Outcome::Link(renewed) = renewed else { panic!("there is nobody to send it") };
    assert_ne!(link, renewed);
    assert!(logged.text().contains(&renewed), "{}", logged.text());
}

#[tokio::test]
async fn pwd_08_without_mail_links_to_accounts_are_in_the_log_of_the_process() {
    let (logged, _guard) = Logged::begin();
    let open = [("GATEHOUSE_SIGN_UP", "open"), ("GATEHOUSE_SMTP_URL", "smtp://127.0.0.1:1")];
    let app = TestApp::with_env(Kind::Sqlite, &open, |env| env.mailer = None).await;
    let acme = app.org("acme").await;
    let env = &app.test.env;
    let mut browser = app.browser();
    let csrf = browser.form_token("/forgot-password").await;
    // The answer is the same for every address, and only one of them has a link.
    for email in ["nobody@acme.example", "owner@acme.example"] {
        let asked = browser.post("/forgot-password?do=ask_reset", &[("email", email), ("csrf", &csrf)]).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text);
        assert!(asked.text.contains("Ask whoever operates this instance"), "{}", asked.text);
    }
    domain::mail::deliver_due(env).await.unwrap();
    assert_eq!(logged.text().matches("/reset-password/").count(), 1, "{}", logged.text());
    let path = logged.link("/reset-password/");
    let token = path.rsplit('/').next().unwrap();
    let csrf = browser.form_token(&path).await;
    let fields = [("token", token), ("csrf", &csrf), ("password", NEW)];
    let done = browser.post(&format!("{path}?do=reset_password"), &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(browser.log_in("owner@acme.example", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.log_in("owner@acme.example", NEW).await.status, StatusCode::SEE_OTHER);

    // Proof of an address, another address, and an account.
    let page = browser.get("/profile/account").await;
    assert!(page.text.contains("whoever operates it gives you the link"), "{}", page.text);
    let asked = browser.post("/api/ask_for_address", &[("email", "ada@x.example"), ("password", NEW)]).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text);
    domain::mail::deliver_due(env).await.unwrap();
    let path = logged.link("/confirm-address/");
    let (csrf, token) = (browser.form_token(&path).await, path.rsplit('/').next().unwrap());
    let fields = [("token", token), ("csrf", &csrf)];
    let done = browser.post(&format!("{path}?do=confirm_address"), &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(domain::accounts::find_by_email(env, "ada@x.example").await.unwrap(), acme.user);
    let mut stranger = app.browser();
    let csrf = stranger.form_token("/sign-up").await;
    stranger.post("/sign-up?do=ask_sign_up", &[("email", "new@x.example"), ("csrf", &csrf)]).await;
    domain::mail::deliver_due(env).await.unwrap();
    assert_eq!(stranger.get(&logged.link("/sign-up/")).await.status, StatusCode::OK);
    let mut tx = env.db.read().await.unwrap();
    assert_eq!(store::mails::count(&mut tx).await.unwrap(), 0, "nothing waits for a mailer that never comes");
}

#[tokio::test]
async fn aud_04_checkpoints_are_emitted_at_any_level() {
    let (logged, _guard) = Logged::begin();
    let app = TestApp::new(Kind::Sqlite).await;
    let acme = app.org("acme").await;
    domain::connectors::add_demo(&app.test.env, &acme.actor().await).await.unwrap();
    tracing::info!("this is not asked for");
    audit::take_checkpoints(&app.test.env).await.unwrap();
    let text = logged.text();
    assert!(!text.contains("this is not asked for"), "{text}");
    let org = acme.org_id().to_string();
    let line = text.lines().find(|line| line.contains("audit checkpoint") && line.contains(&org));
    let line = line.unwrap_or_else(|| panic!("no checkpoint of {org} in {text}"));
    let mut tx = app.test.env.db.read().await.unwrap();
    let points = store::audit_chain::list_checkpoints(&mut tx, Some(acme.org_id())).await.unwrap();
    let point = points.last().expect("the same is kept");
    assert!(line.contains(&point.signature) && line.contains(&point.kid), "{line}");
    assert!(line.contains(&format!("seq={}", point.seq)), "{line}");
}

//! Clients that are named by the URL of a document (OAD-05), fetched over TLS as in production: the document's server has a
//! certificate of an authority of its own, which `GATEHOUSE_EXTRA_CA_FILE` makes trusted.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use domain::net::{Outbound, OutboundSettings};
use serde_json::{Value, json};
use store::Kind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    oauth::{authorize, code_for, redeem, text},
    support::{
        TestApp,
        tls::{AUTHORITY, acceptor},
    },
};

/// A server of one document over TLS, and what it answers.
struct Documents {
    url: String,
    document: Arc<Mutex<Value>>,
}

impl Documents {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/client.json", listener.local_addr().unwrap().port());
        let acceptor = acceptor();
        let document = Arc::new(Mutex::new(json!({})));
        let answered = Arc::clone(&document);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let body = answered.lock().unwrap().to_string();
                let mut buffer = [0; 2048];
                let _ = stream.read(&mut buffer).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, document }
    }

    fn say(&self, redirect_uris: &Value) {
        *self.document.lock().unwrap() = json!({
            "client_id": self.url,
            "client_name": "Client of a document",
            "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": "none",
        });
    }
}

/// The way out of an instance whose operator allows this server of documents.
fn outbound(documents: &Documents, extra_ca_pem: Option<Vec<u8>>) -> Outbound {
    let url: url::Url = documents.url.parse().unwrap();
    let allow = format!("localhost:{}", url.port().unwrap()).parse().unwrap();
    let user_agent = "gatehouse/test".to_owned();
    Outbound::new(OutboundSettings { allow, user_agent, extra_ca_pem, ..OutboundSettings::default() })
        .unwrap()
}

#[tokio::test]
async fn oad_05_a_client_is_known_by_its_document_over_tls() {
    let documents = Documents::start().await;
    documents.say(&json!(["http://localhost/callback"]));
    let app = TestApp::with_env(Kind::Sqlite, &[], |env| {
        env.outbound = outbound(&documents, Some(AUTHORITY.to_vec()));
    })
    .await;
    let member = app.org("acme").await;
    let mut browser = app.signed_in(&member).await;
    let id = documents.url.as_str();

    // A certificate that nobody vouches for: no client, and no word about why.
    let stranger =
        TestApp::with_env(Kind::Sqlite, &[], |env| env.outbound = outbound(&documents, None)).await;
    let other = stranger.org("acme").await;
    let refused = stranger.signed_in(&other).await.get(&authorize(id, &[])).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(!refused.text.to_lowercase().contains("certificate"), "{}", refused.text);

    let code = code_for(&mut browser, &member, id, &[]).await;
    let issued = redeem(&app, id, &code).await;
    assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
    assert_eq!(issued.json()["scope"], "mcp:call offline_access");

    // The document names another address now, and counts once it was fetched again: what was granted before says nothing
    // about the new address, and the person is asked.
    let open = browser.get(&authorize(id, &[])).await.header("location").to_owned();
    assert_eq!(browser.get(&open).await.status, StatusCode::OK);
    documents.say(&json!(["http://localhost/elsewhere"]));
    app.test.clock.advance(5 * 60 * 1000 + 1);
    let old = browser.get(&authorize(id, &[])).await;
    assert_eq!(old.status, StatusCode::BAD_REQUEST, "the old address is no longer registered");
    let page = browser.get(&open).await;
    assert!(
        !page.text.contains("value=\"allow\""),
        "a request for the old address cannot be allowed any more"
    );
    let new = [("redirect_uri", Some("http://localhost:4444/elsewhere"))];
    let asked = browser.get(&authorize(id, &new)).await;
    let page = browser.get(asked.header("location")).await;
    assert!(
        page.text.contains("value=\"allow\"") && page.text.contains("Client of a document"),
        "{}",
        page.text
    );
    let silent = [new[0], ("prompt", Some("none"))];
    let silent = browser.get(&authorize(id, &silent)).await;
    assert!(silent.header("location").contains("error=consent_required"), "{}", silent.header("location"));
    assert!(text(&issued.json(), "refresh_token").starts_with("gth_rt_"));
}

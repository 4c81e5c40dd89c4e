//! An audit log of a million rows: pages with filters, an export, and whether one byte that was changed in the database is
//! found. The rows are put into the database as a release from before the chain left them, and taken in by Gatehouse.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use sqlx::Connection as _;
use tokio::net::TcpStream;

use crate::{
    Done, Plan,
    machine::{Gatehouse, Place},
    stats::Times,
};

pub(crate) const PASSWORD: &str = "correct horse battery staple 9";
/// Looks at each page.
const LOOKS: usize = 15;
/// What stands in the one row that is looked for in the file.
const MARK: &str = "the row that is going to be changed";

/// A browser with its cookies.
pub(crate) struct Browser {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    cookies: Vec<(String, String)>,
}

impl Browser {
    pub(crate) async fn open(address: &str) -> Done<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_owned(), cookies: Vec::new() })
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        form: Option<&str>,
    ) -> Done<http::Response<hyper::body::Incoming>> {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::COOKIE, cookies.join("; "))
            .header(header::ACCEPT, "text/html")
            .header("sec-fetch-site", if form.is_some() { "same-origin" } else { "none" });
        if form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default().to_owned()));
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(body)?).await?;
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let (name, value) =
                line.to_str()?.split(';').next().and_then(|pair| pair.split_once('=')).ok_or("a cookie")?;
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        Ok(answer)
    }

    pub(crate) async fn page(&mut self, path: &str) -> Done<(u16, String)> {
        let answer = self.send(Method::GET, path, None).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    pub(crate) async fn log_in(&mut self, email: &str) -> Done {
        let (_, page) = self.page("/sign-in").await?;
        let csrf = input(&page, "csrf").ok_or("no field csrf")?;
        let form = format!(
            "email={}&password={}&csrf={csrf}",
            email.replace('@', "%40"),
            PASSWORD.replace(' ', "+")
        );
        let answer = self.send(Method::POST, "/sign-in?do=sign_in", Some(&form)).await?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await?;
        if status == 303 { Ok(()) } else { Err(format!("logging in was answered with {status}").into()) }
    }
}

fn input(html: &str, name: &str) -> Option<String> {
    let tag = html.split("<input").find(|tag| tag.contains(&format!("name=\"{name}\"")))?;
    Some(tag.split("value=\"").nth(1)?.split('"').next()?.to_owned())
}

/// The database, directly: what somebody who has it in their hands can do.
pub(crate) enum Hands {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Hands {
    pub(crate) async fn on(place: &Place) -> Done<Self> {
        if let Some(url) = place.postgres() {
            return Ok(Self::Postgres(sqlx::PgConnection::connect(url).await?));
        }
        let url = format!("sqlite:{}", place.file().display());
        Ok(Self::Sqlite(sqlx::SqliteConnection::connect(&url).await?))
    }

    pub(crate) async fn run(&mut self, sql: &str) -> Done {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(one) => sqlx::raw_sql(sql).execute(one).await.map(|_| ())?,
            Self::Postgres(one) => sqlx::raw_sql(sql).execute(one).await.map(|_| ())?,
        }
        Ok(())
    }

    pub(crate) async fn one(&mut self, sql: &str) -> Done<i64> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let (value,): (i64,) = match self {
            Self::Sqlite(one) => sqlx::query_as(sql).fetch_one(one).await?,
            Self::Postgres(one) => sqlx::query_as(sql).fetch_one(one).await?,
        };
        Ok(value)
    }

    pub(crate) async fn text(&mut self, sql: &str) -> Done<String> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let (value,): (String,) = match self {
            Self::Sqlite(one) => sqlx::query_as(sql).fetch_one(one).await?,
            Self::Postgres(one) => sqlx::query_as(sql).fetch_one(one).await?,
        };
        Ok(value)
    }

    /// Puts that many events into the log of an organisation, nearly all of one person and one action: what is looked for
    /// is rare. One of them has a mark.
    async fn fill(&mut self, org: &str, person: &str, rows: i64) -> Done<i64> {
        let first = self.one(&format!("SELECT version FROM orgs WHERE id = '{org}'")).await? + 1;
        let (last, marked) = (first + rows, first + rows / 2);
        let (rules, numbers, id) = match self {
            Self::Sqlite(_) => (
                "DROP TRIGGER audit_events_fixed; DROP TRIGGER audit_events_kept".to_owned(),
                format!(
                    "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
                ),
                "'evt_' || printf('%026d', i)",
            ),
            Self::Postgres(_) => (
                "DROP TRIGGER audit_events_fixed ON audit_events".to_owned(),
                format!("WITH n AS (SELECT generate_series(CAST({first} AS BIGINT), {last}) AS i)"),
                "'evt_' || lpad(CAST(i AS TEXT), 26, '0')",
            ),
        };
        self.run(&rules).await?;
        self.run(&format!(
            "UPDATE audit_events SET mac = NULL, version = 1, auth_method = '', key_id = '' WHERE org_id = '{org}'; \
             DELETE FROM audit_heads WHERE chain = '{org}'; \
             INSERT INTO audit_events (id, org_id, seq, occurred_at, action, category, result, actor_kind, actor_id, actor_name, \
             detail, context) {numbers} SELECT {id}, '{org}', i, 1790000000000000 + i * 15000000, 'auth.signed_in', \
             'authentication', 'ok', 'user', '{person}', CASE WHEN i = {marked} THEN '{MARK}' ELSE 'Owner' END, \
             '{{\"targets\":[],\"changes\":{{}},\"metadata\":{{}}}}', '{{\"ip\":\"203.0.113.7\"}}' FROM n; \
             UPDATE orgs SET version = {last} WHERE id = '{org}'"
        ))
        .await?;
        if matches!(self, Self::Postgres(_)) {
            self.run("ANALYZE").await?;
        }
        Ok(marked)
    }
}

/// Changes one byte of the marked row, in the file itself, or where there is none of ours, in the row; and has the log
/// verified.
async fn change_a_byte(place: &Place) -> Done<serde_json::Value> {
    let mut hands = Hands::on(place).await?;
    if let Hands::Postgres(_) = hands {
        let sql = format!("UPDATE audit_events SET actor_name = '{MARK}.' WHERE actor_name = '{MARK}'");
        hands.run(&sql).await?;
        return place.verify_audit("ledger").await;
    }
    hands.run("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    drop(hands);
    // Pages that were divided keep what stood in them, where nobody reads it: of several places one is the row.
    for at in places(&std::fs::read(place.file())?, MARK.as_bytes()) {
        let mut bytes = std::fs::read(place.file())?;
        bytes[at] ^= 0x20;
        std::fs::write(place.file(), bytes)?;
        let report = place.verify_audit("ledger").await?;
        if report["ok"] != true {
            return Ok(report);
        }
        let mut bytes = std::fs::read(place.file())?;
        bytes[at] ^= 0x20;
        std::fs::write(place.file(), bytes)?;
    }
    Err("the row with the mark is not in the file, or its change was not found".into())
}

/// Where a text stands.
fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == wanted[0]) {
        if bytes[from + at..].starts_with(wanted) {
            found.push(from + at);
        }
        from += at + 1;
    }
    found
}

/// The figures.
pub(crate) async fn figures(plan: &Plan) -> Done {
    let place = Place::new(plan)?;
    let email = "ledger@example.com";
    place
        .admin(&[
            "setup",
            "--email",
            email,
            "--password",
            PASSWORD,
            "--org-name",
            "Ledger",
            "--org-slug",
            "ledger",
        ])
        .await?;
    let (marked, filled) = {
        let mut hands = Hands::on(&place).await?;
        let org = hands.text("SELECT id FROM orgs WHERE slug = 'ledger'").await?;
        let person = hands.text(&format!("SELECT id FROM users WHERE email = '{email}'")).await?;
        let began = Instant::now();
        (hands.fill(&org, &person, plan.rows).await?, began.elapsed())
    };
    println!("## {} · an audit log of {} events\n", place.database(), plan.rows);
    println!("put in after {:.0} s", filled.as_secs_f64());
    let began = Instant::now();
    let report = place.verify_audit("ledger").await?;
    if report["ok"] != true {
        return Err(format!("it does not verify: {report}").into());
    }
    println!(
        "taken into the chain and verified after {:.0} s: {} events",
        began.elapsed().as_secs_f64(),
        report["chains"][0]["events"]
    );
    let began = Instant::now();
    place.verify_audit("ledger").await?;
    println!("verified again in {:.1} s", began.elapsed().as_secs_f64());

    let gatehouse = Gatehouse::start(&place).await?;
    let mut browser = Browser::open(&gatehouse.server.address).await?;
    browser.log_in(email).await?;
    println!("\n| page | median ms | slowest ms |\n| --- | ---: | ---: |");
    let pages = [
        ("everything", ""),
        ("the person of nearly everything", "?user=PERSON"),
        ("nobody", "?user=usr_none"),
        ("a rare group", "?action=settings"),
        ("a rare action", "?action=org.created"),
        ("a rare action of a busy group", "?action=auth.user_created"),
        ("the same of one person", "?user=PERSON&action=auth.user_created"),
        ("a day", "?from=2026-10-20&to=2026-10-20"),
        ("a rare group on a day", "?from=2026-10-20&to=2026-10-20&action=settings"),
        ("the oldest page", "?before=40"),
        ("a page in the middle", "?before=500000"),
    ];
    let (_, first) = browser.page("/settings/audit").await?;
    let person =
        first.split("value=\"usr_").nth(1).and_then(|rest| rest.split('"').next()).ok_or("no person")?;
    for (what, query) in pages {
        let path = format!("/settings/audit{}", query.replace("PERSON", &format!("usr_{person}")));
        let mut times = Times::default();
        for _ in 0..LOOKS {
            let began = Instant::now();
            let (status, page) = browser.page(&path).await?;
            times.push(began.elapsed());
            if status != 200 || !page.contains("Audit log") {
                return Err(format!("{path} was answered with {status}").into());
            }
        }
        println!("| {what} | {:.1} | {:.1} |", times.at(0.5), times.at(1.0));
    }
    let made_in = input(&first, "made_in_org").ok_or("the form says where it was made")?;
    for format in ["csv", "json"] {
        export(&gatehouse, &mut browser, &made_in, format).await?;
    }
    drop(browser);
    drop(gatehouse);

    let report = change_a_byte(&place).await?;
    let broken = &report["chains"][0]["broken"];
    if report["ok"] != false || broken["seq"] != marked {
        return Err(format!("event {marked} was changed, and this was found: {report}").into());
    }
    println!(
        "\none byte of event {marked} was changed: found, \"{}\"",
        broken["why"].as_str().unwrap_or_default()
    );
    Ok(())
}

async fn export(gatehouse: &Gatehouse, browser: &mut Browser, made_in: &str, format: &str) -> Done {
    let before = gatehouse.server.resident()?;
    let began = Instant::now();
    let form = format!("made_in_org={made_in}&format={format}");
    let answer = browser.send(Method::POST, "/settings/audit-export", Some(&form)).await?;
    if answer.status().as_u16() != 200 {
        return Err(format!("the export was answered with {}", answer.status()).into());
    }
    let (mut lines, mut bytes, mut most) = (0_usize, 0_usize, before);
    let mut looked = Instant::now();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            lines += data.split(|b| *b == b'\n').count() - 1;
            bytes += data.len();
        }
        if looked.elapsed() > Duration::from_millis(50) {
            most = most.max(gatehouse.server.resident()?);
            looked = Instant::now();
        }
    }
    println!(
        "\nexport as {format}: {lines} lines, {:.0} MiB in {:.1} s; resident {before:.1} MiB before, {most:.1} at the most, {:.1} after",
        bytes as f64 / 1_048_576.0,
        began.elapsed().as_secs_f64(),
        gatehouse.server.resident()?
    );
    Ok(())
}

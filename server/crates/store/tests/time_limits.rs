//! A database that does not answer: an error in bounded time, and business as usual once it is back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use store::{Db, Error, Kind, Tx, testing::TestDb};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

async fn ask(tx: &mut Tx, sql: &'static str) -> sqlx::Result<String> {
    let Tx::Postgres(inner) = tx else { panic!("this is about PostgreSQL") };
    sqlx::query_as(sql).fetch_one(&mut **inner).await.map(|(text,): (String,)| text)
}

#[tokio::test]
async fn postgres_is_told_its_limits() {
    let test = TestDb::new(Kind::Postgres).await;
    let mut tx = test.db.read().await.unwrap();
    for (sql, limit) in [
        ("SHOW statement_timeout", "10s"),
        ("SHOW lock_timeout", "5s"),
        ("SHOW idle_in_transaction_session_timeout", "30s"),
    ] {
        assert_eq!(ask(&mut tx, sql).await.unwrap(), limit, "{sql}");
    }
    ask(&mut tx, "SELECT set_config('statement_timeout', '50ms', true)").await.unwrap();
    let slow = ask(&mut tx, "SELECT pg_sleep(20)::text").await.unwrap_err();
    assert!(Error::from(slow).is_transient());
}

#[tokio::test]
async fn err_03_a_standby_is_not_ready() {
    let test = TestDb::new(Kind::Postgres).await;
    store::maintenance::check_ready(&test.db).await.unwrap();
    let mut tx = test.db.write().await.unwrap();
    let Tx::Postgres(inner) = &mut tx else { panic!("this is about PostgreSQL") };
    // What a session on a hot standby looks like.
    sqlx::raw_sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
        .execute(&mut **inner)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let standby = Db::connect(&test.url).await.unwrap();
    assert!(store::maintenance::check_ready(&standby).await.is_err());
    assert!(store::maintenance::check_writable(&standby).await.is_err());
}

#[tokio::test]
async fn a_database_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u:p@{}/db", listener.local_addr().unwrap());
    tokio::time::pause();
    assert!(Db::connect(&url).await.unwrap_err().is_transient());
}

/// Passes bytes on until the cable is cut; then it holds them back.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: Arc<AtomicBool>) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        while cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_database_behind_a_cut_cable_is_given_up_and_found_again() {
    let test = TestDb::new(Kind::Postgres).await;
    let (before, after) = test.url.split_once('@').unwrap();
    let (server, name) = after.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{before}@{}/{name}", listener.local_addr().unwrap());
    let cut = Arc::new(AtomicBool::new(false));
    let (server, cable) = (server.to_owned(), cut.clone());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
            tokio::spawn(pass(from_client, to_server, cable.clone()));
            tokio::spawn(pass(from_server, to_client, cable.clone()));
        }
    });
    let db = Db::connect(&url).await.unwrap();
    let mut open = db.write().await.unwrap();
    store::users::count(&mut open).await.unwrap();

    cut.store(true, Ordering::SeqCst);
    tokio::time::pause();
    let error = store::users::count(&mut open).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(db.read().await.unwrap_err().is_transient(), "a new one is not there either");
    drop(open);
    tokio::time::sleep(Duration::from_secs(10)).await;

    cut.store(false, Ordering::SeqCst);
    tokio::time::resume();
    let mut tx = db.read().await.unwrap();
    assert_eq!(store::users::count(&mut tx).await.unwrap(), 0);
}

//! TEN-01: nobody meets what is another organisation's. Every server function, every page and every other address is asked
//! for the things of one organisation by those who are none of it, and for things that there are nowhere: the answers are
//! the same, and nothing of it is changed. What is routed and not in the tables fails the test.
//!
//! [`acts`] and [`pages`] say what is asked for, [`world`] makes an organisation with one of everything.

mod acts;
mod pages;
mod same;
mod walk;
mod world;

use std::collections::BTreeSet;

use app::functions::FUNCTIONS;
use store::Kind;

use self::{
    acts::ACTS,
    pages::{OTHERS, PAGES},
    walk::Walk,
    world::{Outside, World},
};
use crate::{
    idp::Provider,
    support::{TestApp, upstream::Upstream},
};

/// The organisation whose things others ask for, and the one that they are of.
const VICTIM: &str = "quarry";
const RIVAL: &str = "rival";

async fn matrix(kind: Kind) {
    let app = TestApp::new(kind).await;
    let (upstream, provider) = (Upstream::start().await, Provider::start("0").await);
    let outside = Outside { upstream: &upstream, issuer: &provider.issuer };
    let victim = Box::pin(World::furnished(&app, VICTIM, &outside)).await;
    let rival = Box::pin(World::furnished(&app, RIVAL, &outside)).await;
    victim.check_furniture(&app).await;

    let mut walk = Box::pin(Walk::new(&app, &victim, &rival)).await;
    let before = victim.rows(&app).await;
    Box::pin(walk.as_owner_of_another()).await;
    Box::pin(walk.as_former_member()).await;
    Box::pin(walk.as_nobody_and_programs()).await;
    walk.unchanged(&before, &victim.rows(&app).await, &[]);
    let before = victim.rows(&app).await;
    Box::pin(walk.as_another_client()).await;
    // A token in another client's hands is noted, and dies of it (OAR-03).
    walk.unchanged(&before, &victim.rows(&app).await, walk::NOTED);
    let before = victim.rows(&app).await;
    Box::pin(walk.with_less_rights()).await;
    walk.unchanged(&before, &victim.rows(&app).await, walk::NOTED);
    walk.end();
}

/// Runs a future that is too large for the stack of a test's thread.
fn on_a_large_stack(
    future: impl FnOnce() -> futures_util::future::LocalBoxFuture<'static, ()> + Send + 'static,
) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future());
    };
    let running = std::thread::Builder::new().stack_size(64 << 20).spawn(run).expect("a thread");
    if let Err(panic) = running.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn ten_01_nobody_meets_what_is_another_organisations_sqlite() {
    on_a_large_stack(|| Box::pin(matrix(Kind::Sqlite)));
}

#[test]
fn ten_01_nobody_meets_what_is_another_organisations_postgres() {
    on_a_large_stack(|| Box::pin(matrix(Kind::Postgres)));
}

/// The paths that a router has, as its description names them.
fn routed(description: &str) -> BTreeSet<String> {
    description
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|path| path.starts_with('/') && !path.contains("__private"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn ten_01_the_matrix_has_every_function_and_every_address() {
    let app = TestApp::new(Kind::Sqlite).await;
    let linked: BTreeSet<String> = leptos::server_fn::axum::server_fn_paths()
        .filter_map(|(path, _)| path.strip_prefix("/api/").map(str::to_owned))
        .filter(|name| !name.starts_with("gallery_"))
        .collect();
    let acts: BTreeSet<String> = ACTS.iter().copied().flatten().map(|act| act.name.to_owned()).collect();
    assert_eq!(linked, acts, "functions and server/tests/it/tenancy/acts.rs");
    assert!(FUNCTIONS.iter().all(|function| acts.contains(function.name)));

    let routed = routed(&format!("{:?}", app.front));
    let pages: BTreeSet<String> = PAGES.iter().map(|page| page.route.to_owned()).collect();
    let others: BTreeSet<String> = OTHERS.iter().map(|(route, _)| (*route).to_owned()).collect();
    assert_eq!(app::ssr::page_paths().into_iter().collect::<BTreeSet<_>>(), pages, "pages.rs: PAGES");
    assert_eq!(routed.difference(&pages).cloned().collect::<BTreeSet<_>>(), others, "pages.rs: OTHERS");

    // Whatever has a place for an id in its path is asked for with the id of something.
    for page in PAGES.iter().filter(|page| page.needs != acts::Needs::Nobody && page.route.contains('{')) {
        let asked: Vec<&str> = PAGES.iter().filter(|p| p.route == page.route).map(|p| p.path).collect();
        let named = asked.iter().any(|path| path.contains('{'));
        assert!(named || page.foreign == 200, "{}", page.route);
    }
}

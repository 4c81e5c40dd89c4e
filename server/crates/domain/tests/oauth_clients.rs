//! OAuth clients and connections on both databases.

use domain::{
    Error, OrgActor, connections, env_test, key_format,
    oauth_clients::{self, ClientChanges, NewClient, Proof},
    testing::{TestEnv, TestMember},
};
use model::{
    ConnectionId, ErrorKind, GrantId, Role, Scope,
    oauth::{ClientKind, NewOauthClient, OauthSettings, Overlap, RefreshLifetime, ReusePolicy},
    permissions::can,
};
use store::{
    connections::Connection as Row,
    oauth_clients::OauthClient as ClientRow,
    oauth_grants::{self, Grant},
};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

fn app(error: Error) -> model::AppError {
    match error {
        Error::App(app) => app,
        other => panic!("no words for people: {other}"),
    }
}

fn machine(name: &str) -> NewClient {
    NewClient {
        name: name.to_owned(),
        redirect_uris: None,
        proof: Proof::Post,
        scope: Scope::everything(),
        keep_refresh_tokens: false,
    }
}

fn code(name: &str, uri: &str) -> NewClient {
    NewClient { redirect_uris: Some(vec![uri.to_owned()]), proof: Proof::None, ..machine(name) }
}

async fn create(t: &TestEnv, member: &TestMember, new: &NewClient) -> NewOauthClient {
    oauth_clients::create(&t.env, &member.actor().await, new).await.unwrap()
}

/// A client that registered itself.
async fn registered(t: &TestEnv, id: &str) {
    let mut tx = t.env.db.write().await.unwrap();
    let row = ClientRow {
        id: id.to_owned(),
        org: None,
        kind: ClientKind::Registered,
        name: "Claude Desktop".to_owned(),
        redirect_uris: r#"["http://localhost/callback"]"#.to_owned(),
        auth_method: "none".to_owned(),
        scope: "mcp:call".to_owned(),
        metadata: r#"{"client_uri":"https://claude.ai"}"#.to_owned(),
        management_hash: None,
        fresh_until: None,
        created_at: t.env.now(),
        created_by: "203.0.113.9".to_owned(),
        updated_at: t.env.now(),
        last_used_at: None,
    };
    store::oauth_clients::insert(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
}

/// What completing a flow leaves behind.
async fn connect(t: &TestEnv, member: &TestMember, client: &str) -> (ConnectionId, GrantId) {
    let (env, now) = (&t.env, t.env.now());
    let key = connections::new_key(env);
    let id = ConnectionId::from_uuid(env.uuid());
    let grant = GrantId::from_uuid(env.uuid());
    let row = Row {
        id,
        user: Some(member.user),
        user_email: "at consent".to_owned(),
        client: client.to_owned(),
        client_name: String::new(),
        client_kind: ClientKind::Registered,
        redirect_host: "localhost".to_owned(),
        scope: "mcp:call".to_owned(),
        key: key.id,
        key_hash: key.hash,
        key_prefix: key.prefix,
        key_made_at: now,
        created_at: now,
        created_address: String::new(),
        created_agent: String::new(),
        expires_at: now + 30 * DAY,
        last_token_at: None,
        last_used_at: None,
        last_used_address: None,
        last_used_agent: None,
        revoked_at: None,
        revoked_by: None,
        revoked_reason: None,
    };
    let mut tx = env.db.write().await.unwrap();
    store::connections::insert(&mut tx, member.org_id(), &row).await.unwrap();
    let family = Grant {
        id: grant,
        org: member.org_id(),
        connection: id,
        client: client.to_owned(),
        scope: "mcp:call".to_owned(),
        resource: String::new(),
        generation: 1,
        rotated_at: None,
        repeats: 0,
        used_generation: 0,
        created_at: now,
        expires_at: now + 30 * DAY,
        revoked_at: None,
        presented: 1,
    };
    oauth_grants::insert(&mut tx, &family).await.unwrap();
    tx.commit().await.unwrap();
    (id, grant)
}

async fn row(t: &TestEnv, member: &TestMember, id: ConnectionId) -> Row {
    let mut tx = t.env.db.read().await.unwrap();
    store::connections::find(&mut tx, member.org_id(), id).await.unwrap().unwrap()
}

async fn grant_lives(t: &TestEnv, member: &TestMember, id: GrantId) -> bool {
    let mut tx = t.env.db.read().await.unwrap();
    let live = oauth_grants::list_live(&mut tx, member.org_id(), t.env.now()).await.unwrap();
    live.iter().any(|grant| grant.id == id)
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
    all.into_iter().map(|(action, _)| action).collect()
}

env_test!(oar_04_revoking_a_connection_ends_its_grants_and_is_told, |t| async {
    let owner = t.org("acme").await;
    registered(&t, "gth_client_x").await;
    let (id, grant) = connect(&t, &owner, "gth_client_x").await;
    let (other, _) = connect(&t, &owner, "gth_client_x").await;
    assert!(grant_lives(&t, &owner, grant).await);
    let mut heard = t.env.changes.subscribe();
    connections::revoke(&t.env, &owner.guarded().await, id).await.unwrap();
    assert_eq!(heard.try_recv().unwrap(), owner.org_id());
    assert!(!grant_lives(&t, &owner, grant).await);
    let revoked = row(&t, &owner, id).await;
    assert_eq!(revoked.revoked_at, Some(t.env.now()));
    assert!(row(&t, &owner, other).await.revoked_at.is_none());
    assert_eq!(actions(&t, &owner).await.last().map(String::as_str), Some("connection.revoked"));
    let mut tx = t.env.db.read().await.unwrap();
    let outbox = store::outbox::list(&mut tx, owner.org_id()).await.unwrap();
    assert!(outbox.iter().any(|(event, data)| event == "connection.revoked" && data.contains("MCP Client")));
    drop(tx);
    let again = app(connections::revoke(&t.env, &owner.guarded().await, id).await.unwrap_err());
    assert_eq!((again.kind, again.code.as_str()), (ErrorKind::Conflict, "already_revoked"));
    let list = connections::list(&t.env, &owner.actor().await).await.unwrap();
    assert_eq!(list.iter().map(|c| c.id).collect::<Vec<_>>(), [other, id], "live ones first");
    assert_eq!(list[0].client_name, "MCP Client");
    assert_eq!(list[0].user_email, "owner@acme.example", "the address of now, while the account lives");
});

env_test!(apk_10_a_new_key_ends_what_hangs_on_the_old_one_and_nothing_else, |t| async {
    let owner = t.org("acme").await;
    registered(&t, "gth_client_x").await;
    let (id, grant) = connect(&t, &owner, "gth_client_x").await;
    let old = row(&t, &owner, id).await;
    assert!(old.key_prefix.starts_with(key_format::CONNECTION_PREFIX) && old.key_prefix.len() == 16);
    connections::regenerate(&t.env, &owner.guarded().await, id, Some(&old.key_prefix)).await.unwrap();
    let new = row(&t, &owner, id).await;
    assert!(new.key != old.key && new.key_hash != old.key_hash && new.key_prefix != old.key_prefix);
    assert!(new.revoked_at.is_none() && grant_lives(&t, &owner, grant).await);
    assert_eq!(actions(&t, &owner).await.last().map(String::as_str), Some("connection.key_regenerated"));
    // The same question in a second tab was about a key that is gone.
    let second = connections::regenerate(&t.env, &owner.guarded().await, id, Some(&old.key_prefix)).await;
    let second = app(second.unwrap_err());
    assert_eq!((second.kind, second.code.as_str()), (ErrorKind::Conflict, "changed_meanwhile"));
    assert_eq!(row(&t, &owner, id).await.key, new.key);
    connections::revoke(&t.env, &owner.guarded().await, id).await.unwrap();
    let late = app(connections::regenerate(&t.env, &owner.guarded().await, id, None).await.unwrap_err());
    assert_eq!(late.code, "already_revoked");
});

env_test!(ten_01_connections_and_clients_of_others_are_not_found, |t| async {
    let (acme, other) = (t.org("acme").await, t.org("other").await);
    let client = create(&t, &acme, &machine("ci")).await.client;
    registered(&t, "gth_client_x").await;
    let (id, _) = connect(&t, &acme, "gth_client_x").await;
    let env = &t.env;
    let errors = [
        connections::get(env, &other.actor().await, id).await.map(drop).unwrap_err(),
        connections::revoke(env, &other.guarded().await, id).await.unwrap_err(),
        connections::regenerate(env, &other.guarded().await, id, None).await.unwrap_err(),
        connections::revoke_own(&other.ctx, id, "").await.unwrap_err(),
        oauth_clients::get(env, &other.actor().await, &client.id).await.map(drop).unwrap_err(),
        oauth_clients::get(env, &other.actor().await, "gth_client_x").await.map(drop).unwrap_err(),
        oauth_clients::delete(env, &other.actor().await, &client.id, false).await.map(drop).unwrap_err(),
        oauth_clients::delete(env, &other.actor().await, "gth_client_x", false).await.map(drop).unwrap_err(),
        oauth_clients::rotate_secret(env, &other.actor().await, &client.id, Overlap::Day)
            .await
            .map(drop)
            .unwrap_err(),
    ];
    assert!(errors.into_iter().all(|error| app(error).kind == ErrorKind::NotFound));
    assert!(oauth_clients::page(env, &other.actor().await).await.unwrap().own.is_empty());
    assert!(row(&t, &acme, id).await.revoked_at.is_none());
});

env_test!(ten_04_who_may_see_and_cut_connections, |t| async {
    let owner = t.org("acme").await;
    registered(&t, "gth_client_x").await;
    let viewer = t.member(&owner, "vera", Role::Viewer).await;
    let member = t.member(&owner, "mo", Role::Member).await;
    let (theirs, _) = connect(&t, &owner, "gth_client_x").await;
    let (own, _) = connect(&t, &member, "gth_client_x").await;
    assert_eq!(connections::list(&t.env, &viewer.actor().await).await.unwrap().len(), 2);
    for (ctx, permission) in [(&viewer.ctx, "api-keys:revoke"), (&member.ctx, "api-keys:revoke")] {
        let denied = app(OrgActor::<can::ApiKeysRevoke>::require(ctx).await.unwrap_err());
        assert!(denied.kind == ErrorKind::Forbidden && denied.message.contains(permission));
    }
    let denied = app(OrgActor::<can::OauthClientsWrite>::require(&viewer.ctx).await.unwrap_err());
    assert!(denied.message.contains("oauth-clients:write"));
    let mine = connections::list_own(&member.ctx).await.unwrap();
    assert_eq!(mine.iter().map(|own| own.connection.id).collect::<Vec<_>>(), [own]);
    assert_eq!(mine[0].org, "acme");
    let error = app(connections::revoke_own(&member.ctx, theirs, "").await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::NotFound);
    connections::revoke_own(&member.ctx, own, "").await.unwrap();
    assert_eq!(row(&t, &owner, own).await.revoked_by.as_deref(), Some("mo"));
    assert!(row(&t, &owner, theirs).await.revoked_at.is_none());
    let error = app(connections::revoke_own(&t.anonymous(), theirs, "").await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::Unauthenticated);
});

env_test!(oar_04_making_a_client_cuts_the_connections_of_the_organisation_unless_told_not_to, |t| async {
    let (acme, other) = (t.org("acme").await, t.org("other").await);
    registered(&t, "gth_client_x").await;
    let (id, grant) = connect(&t, &acme, "gth_client_x").await;
    let (elsewhere, _) = connect(&t, &other, "gth_client_x").await;
    let keep = NewClient { keep_refresh_tokens: true, ..machine("kept") };
    assert_eq!(create(&t, &acme, &keep).await.revoked, 0);
    assert!(grant_lives(&t, &acme, grant).await);
    let made = create(&t, &acme, &machine("ci")).await;
    assert_eq!(made.revoked, 1);
    assert!(!grant_lives(&t, &acme, grant).await);
    let cut = row(&t, &acme, id).await;
    assert_eq!(cut.revoked_reason.as_deref(), Some("An OAuth client was created"));
    assert!(row(&t, &other, elsewhere).await.revoked_at.is_none());
    let actions = actions(&t, &acme).await;
    assert_eq!(actions[actions.len() - 2..], ["connection.revoked", "oauth_client.created"]);
    let page = oauth_clients::page(&t.env, &acme.actor().await).await.unwrap();
    assert_eq!(page.live(), 0);
    assert_eq!(page.own.len(), 2);
    assert_eq!(page.others.len(), 1, "a client that was cut is still shown");
});

env_test!(oar_04_a_deleted_clients_own_connections_die_in_any_case, |t| async {
    let owner = t.org("acme").await;
    registered(&t, "gth_client_x").await;
    let own = create(&t, &owner, &code("Desk", "https://desk.example/cb")).await.client;
    let machine = create(&t, &owner, &machine("ci")).await.client;
    let (one, _) = connect(&t, &owner, &own.id).await;
    let (two, _) = connect(&t, &owner, "gth_client_x").await;
    let page = oauth_clients::page(&t.env, &owner.actor().await).await.unwrap();
    assert_eq!(page.lifetimes, [(30, 2)]);
    assert_eq!(page.own.iter().find(|client| client.id == own.id).unwrap().connections, 1);
    assert_eq!(oauth_clients::delete(&t.env, &owner.actor().await, &own.id, true).await.unwrap(), 1);
    assert_eq!(row(&t, &owner, one).await.revoked_reason.as_deref(), Some("Its OAuth client was deleted"));
    assert!(row(&t, &owner, two).await.revoked_at.is_none());
    assert_eq!(oauth_clients::delete(&t.env, &owner.actor().await, &machine.id, false).await.unwrap(), 1);
    assert_eq!(row(&t, &owner, two).await.revoked_reason.as_deref(), Some("An OAuth client was deleted"));
    assert!(oauth_clients::page(&t.env, &owner.actor().await).await.unwrap().own.is_empty());
    let gone = app(oauth_clients::delete(&t.env, &owner.actor().await, &own.id, true).await.unwrap_err());
    assert_eq!(gone.kind, ErrorKind::NotFound);
});

env_test!(a_client_of_nobody_is_cut_off_but_stays, |t| async {
    let (acme, other) = (t.org("acme").await, t.org("other").await);
    registered(&t, "gth_client_x").await;
    registered(&t, "gth_client_y").await;
    let (id, _) = connect(&t, &acme, "gth_client_x").await;
    let (beside, _) = connect(&t, &acme, "gth_client_y").await;
    let (elsewhere, _) = connect(&t, &other, "gth_client_x").await;
    let seen = oauth_clients::get(&t.env, &acme.actor().await, "gth_client_x").await.unwrap();
    assert_eq!((seen.connections, seen.claims.len()), (1, 1));
    let cut = oauth_clients::delete(&t.env, &acme.actor().await, "gth_client_x", false).await.unwrap();
    assert_eq!(cut, 1);
    assert!(row(&t, &acme, id).await.revoked_at.is_some());
    assert!(row(&t, &acme, beside).await.revoked_at.is_none());
    assert!(row(&t, &other, elsewhere).await.revoked_at.is_none());
    let again = oauth_clients::delete(&t.env, &acme.actor().await, "gth_client_x", false).await.unwrap_err();
    assert_eq!(app(again).code, "already_revoked");
    let names = app(oauth_clients::rotate_secret(&t.env, &acme.actor().await, "gth_client_x", Overlap::Day)
        .await
        .unwrap_err());
    assert_eq!(names.kind, ErrorKind::NotFound, "nobody of the organisation made it");
});

env_test!(oat_04_two_secrets_live_at_most_and_only_hashes_are_kept, |t| async {
    let owner = t.org("acme").await;
    let made = create(&t, &owner, &machine("ci")).await;
    let first = made.secret.unwrap();
    assert!(key_format::check_as(key_format::CLIENT_SECRET_PREFIX, &first));
    assert!(made.client.id.starts_with(key_format::CLIENT_PREFIX));
    let id = made.client.id;
    let secrets = async || {
        let mut tx = t.env.db.read().await.unwrap();
        let all = store::oauth_clients::list_secrets(&mut tx, &id).await.unwrap();
        all.into_iter().map(|secret| (secret.hash, secret.expires_at)).collect::<Vec<_>>()
    };
    let hash = |secret: &str| key_format::hash(secret).to_vec();
    assert_eq!(secrets().await, [(hash(&first), None)]);
    t.clock.advance(1000);
    let rotate = async |overlap| {
        let made = oauth_clients::rotate_secret(&t.env, &owner.actor().await, &id, overlap).await.unwrap();
        t.clock.advance(1000);
        made
    };
    let made_at = t.env.now();
    let second = rotate(Overlap::Day).await;
    assert_eq!(second.client.secrets.len(), 2);
    let second = second.secret.unwrap();
    assert_eq!(secrets().await, [(hash(&second), None), (hash(&first), Some(made_at + DAY))]);
    let made_at = t.env.now();
    let third = rotate(Overlap::Hour).await.secret.unwrap();
    assert_eq!(secrets().await, [(hash(&third), None), (hash(&second), Some(made_at + HOUR))]);
    t.clock.advance(HOUR);
    let shown = oauth_clients::get(&t.env, &owner.actor().await, &id).await.unwrap();
    assert_eq!(shown.secrets.len(), 1, "the overlap has ended");
    let fourth = rotate(Overlap::None).await.secret.unwrap();
    assert_eq!(secrets().await, [(hash(&fourth), None)]);
    assert_eq!(actions(&t, &owner).await.last().map(String::as_str), Some("oauth_client.secret_rotated"));
    let public = create(&t, &owner, &code("Desk", "https://desk.example/cb")).await;
    assert_eq!(public.secret, None);
    let actor = owner.actor().await;
    let refused = oauth_clients::rotate_secret(&t.env, &actor, &public.client.id, Overlap::None).await;
    assert_eq!(app(refused.unwrap_err()).code, "public_client");
});

env_test!(oad_02_what_a_client_may_be_is_checked_at_its_fields, |t| async {
    let owner = t.org("acme").await;
    let refused = async |new: NewClient| {
        let error = oauth_clients::create(&t.env, &owner.actor().await, &new).await.unwrap_err();
        app(error).fields[0].field.clone()
    };
    assert_eq!(refused(machine(" ")).await, "name");
    assert_eq!(refused(machine("a\u{202E}b")).await, "name");
    assert_eq!(refused(NewClient { scope: Scope::default(), ..machine("ci") }).await, "connectors");
    let unknown = "mcp:call:nothing".parse().unwrap();
    assert_eq!(refused(NewClient { scope: unknown, ..machine("ci") }).await, "connectors");
    assert_eq!(refused(NewClient { proof: Proof::None, ..machine("ci") }).await, "proof");
    assert_eq!(refused(code("Desk", "http://desk.example/cb")).await, "redirect_uris");
    assert_eq!(
        refused(NewClient { redirect_uris: Some(Vec::new()), ..machine("Desk") }).await,
        "redirect_uris"
    );
    let client = create(&t, &owner, &code("Desk", "com.example.desk:/cb")).await.client;
    let changes = ClientChanges {
        name: "Desktop".to_owned(),
        redirect_uris: vec!["javascript:alert(1)".to_owned()],
        scope: Scope::everything(),
    };
    let error = oauth_clients::update(&t.env, &owner.actor().await, &client.id, &changes).await.unwrap_err();
    assert!(app(error).at("redirect_uris").unwrap().starts_with("javascript:alert(1): "));
    let changes = ClientChanges { redirect_uris: vec!["https://desk.example/cb".to_owned()], ..changes };
    oauth_clients::update(&t.env, &owner.actor().await, &client.id, &changes).await.unwrap();
    let after = oauth_clients::get(&t.env, &owner.actor().await, &client.id).await.unwrap();
    assert_eq!((after.name.as_str(), after.redirect_uris.len()), ("Desktop", 1));
});

env_test!(oar_01_the_settings_are_the_organisations_and_audited, |t| async {
    let owner = t.org("acme").await;
    let before = oauth_clients::settings(&t.env, &owner.actor().await).await.unwrap();
    let standard =
        OauthSettings { lifetime: RefreshLifetime::Month, reuse: ReusePolicy::Revoke, open_clients: true };
    assert_eq!(before, standard);
    let chosen =
        OauthSettings { lifetime: RefreshLifetime::Day, reuse: ReusePolicy::Reject, open_clients: false };
    oauth_clients::set_settings(&t.env, &owner.actor().await, chosen).await.unwrap();
    assert_eq!(oauth_clients::settings(&t.env, &owner.actor().await).await.unwrap(), chosen);
    let count = actions(&t, &owner).await.len();
    oauth_clients::set_settings(&t.env, &owner.actor().await, chosen).await.unwrap();
    assert_eq!(actions(&t, &owner).await.len(), count, "what changes nothing is no event");
});

env_test!(the_log_in_page_knows_which_client_sent_somebody, |t| async {
    registered(&t, "gth_client_x").await;
    let of = async |next: &str| oauth_clients::name_on_the_way(&t.env, next).await.unwrap();
    let next = "/oauth/authorize?response_type=code&client_id=gth_client_x&state=1";
    assert_eq!(of(next).await.as_deref(), Some("Claude Desktop"));
    let packed = domain::oauth::authorize::pack("response_type=code&client_id=gth_client_x&state=1");
    assert_eq!(of(&format!("/oauth/authorize?{packed}")).await.as_deref(), Some("Claude Desktop"));
    for nothing in
        ["", "/", "/oauth/authorize", "/oauth/authorize?client_id=gth_client_y", "/x?client_id=gth_client_x"]
    {
        assert_eq!(of(nothing).await, None, "{nothing}");
    }
});

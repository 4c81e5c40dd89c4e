//! The question before somebody goes.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, orgs::Me, paths, team::Leaving};

use super::api::{LeaveOrg, LoadLeaving, RemoveMember};
use crate::{
    components::{Ago, ButtonKind, Callout, Card, Crumb, DeniedState, PageHeader, SubmitButton, Tone},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
    pages::deletion::pin_field,
};

/// Asks before a member is removed, or leaves.
pub struct RemoveMemberPage {
    leaving: Loaded<(Leaving, i64)>,
}

#[lazy_route]
impl LazyRoute for RemoveMemberPage {
    fn data() -> Self {
        Self { leaving: load_by("id", |id| LoadLeaving { id }) }
    }

    fn view(this: Self) -> AnyView {
        let (remove, leave) = (use_form::<RemoveMember>(), use_form::<LeaveOrg>());
        page(this.leaving, move |(leaving, now), me| question(remove, leave, &leaving, &me, now))
    }
}

fn counted(count: i64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

fn question(
    remove: Form<RemoveMember>,
    leave: Form<LeaveOrg>,
    leaving: &Leaving,
    me: &Me,
    now: i64,
) -> AnyView {
    let member = &leaving.member;
    if !member.you && !me.can(Permission::TeamRemove) {
        return view! { <DeniedState permission=Some(Permission::TeamRemove) /> }.erase();
    }
    let org = me.org.as_ref().map(|org| org.name.clone()).unwrap_or_default();
    let title =
        if member.you { format!("Leave {org}?") } else { format!("Remove {} from {org}?", member.name) };
    let crumbs = vec![Crumb::new(paths::team(), "Team")];
    if member.last_owner {
        return view! {
            <div class="narrow">
                <PageHeader title=title crumbs=crumbs />
                <Callout tone=Tone::Warn title="This is the last owner">
                    <p>"An organisation keeps at least one owner. Make another member an owner first."</p>
                </Callout>
                <p><a class="button" href=paths::team()>"Back to the team"</a></p>
            </div>
        }
        .erase();
    }
    let sessions = if member.you {
        "You stay logged in, and see this organisation no more.".to_owned()
    } else {
        format!("{} at once.", counted(leaving.sessions, "session ends", "sessions end"))
    };
    let connections = format!(
        "{} at once: the clients get 401 with their next request.",
        counted(leaving.connections, "MCP connection is revoked", "MCP connections are revoked")
    );
    let keys = format!(
        "{}: they belong to the organisation. Look through them, and delete those that only this person used.",
        counted(
            i64::try_from(leaving.keys.len()).unwrap_or(i64::MAX),
            "API key of theirs stays",
            "API keys of theirs stay"
        )
    );
    let list = leaving
        .keys
        .iter()
        .map(|key| {
            let used = match key.last_used_at {
                Some(at) => view! { " — last used " <Ago at=at now=now /> }.into_any(),
                None => " — never used".into_any(),
            };
            view! { <li><a href=paths::edit_api_key(key.id)>{key.name.clone()}</a> {used}</li> }.erase()
        })
        .collect_view();
    let form = if member.you {
        let id = me.org.as_ref().map(|org| org.org.to_string()).unwrap_or_default();
        view! {
            <PostForm form=leave>
                <ErrorSummary form=leave />
                <input type="hidden" name="org" value=id />
                <div class="actions">
                    <a class="button" href=paths::team() autofocus>"Cancel"</a>
                    <SubmitButton form=leave label="Leave organisation" busy="Leaving…" kind=ButtonKind::Danger />
                </div>
            </PostForm>
        }
        .erase()
    } else {
        let label = format!("Remove {}", member.name);
        let (user, pin) = (member.user.to_string(), me.pin);
        view! {
            <PostForm form=remove>
                <ErrorSummary form=remove />
                <input type="hidden" name="id" value=user />
                {pin_field(remove.into(), pin)}
                <div class="actions">
                    <a class="button" href=paths::team() autofocus>"Cancel"</a>
                    <SubmitButton form=remove label=label busy="Removing…" kind=ButtonKind::Danger />
                </div>
            </PostForm>
        }
        .erase()
    };
    view! {
        <div class="narrow">
            <PageHeader title=title crumbs=crumbs about=member.email.clone() />
            <Card title="What happens">
                <div class="stack">
                    <ul class="consequences">
                        <li>{sessions}</li>
                        <li>{connections}</li>
                        <li>{keys} <ul>{list}</ul></li>
                    </ul>
                    {form}
                </div>
            </Card>
        </div>
    }
    .erase()
}

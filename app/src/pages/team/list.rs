use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{MemberRole, Permission, orgs::Me, paths, roles::Roles, team::TeamMember};

use super::api::{LoadTeam, SetMemberRole};
use crate::{
    components::{Badge, ButtonKind, DataTable, Day, Icon, LinkButton, PageHeader, SubmitButton, Time, Tone},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form, use_form_for},
    page::{Loaded, load, page},
};

/// The members.
pub struct TeamPage {
    team: Loaded<(Vec<TeamMember>, Roles, i64)>,
}

#[lazy_route]
impl LazyRoute for TeamPage {
    fn data() -> Self {
        Self { team: load(LoadTeam {}) }
    }

    fn view(this: Self) -> AnyView {
        // Without scripts, somebody who is gone already has no row any more to say so.
        let gone = use_form::<SetMemberRole>();
        page(this.team, move |(team, roles, now), me| view_of(gone, &team, &roles, &me, now))
    }
}

fn view_of(gone: Form<SetMemberRole>, team: &[TeamMember], roles: &Roles, me: &Me, now: i64) -> AnyView {
    let may_set = me.can(Permission::TeamRoles);
    let all: Vec<MemberRole> = roles.all().into_iter().filter(|role| roles.own.covers(role)).collect();
    let s = if team.len() == 1 { "" } else { "s" };
    let about = format!("{} member{s}. A change of a role counts with the next request.", team.len());
    let gone = gone
        .value_of("id")
        .is_some_and(|id| team.iter().all(|member| member.user.to_string() != id))
        .then(|| view! { <ErrorSummary form=gone /> }.erase());
    let (rows, failures): (Vec<_>, Vec<_>) = team
        .iter()
        .map(|member| {
            let form = use_form_for::<SetMemberRole>("id", member.user);
            // Nobody deals with a member whose role reaches further than their own.
            let within = !member.last_owner && roles.own.covers(&member.role);
            let settable = (may_set && within).then_some(all.as_slice());
            let removable = me.can(Permission::TeamRemove) && within;
            (row(member, form, settable, removable, now), view! { <ErrorSummary form=form /> }.erase())
        })
        .unzip();
    let invite = me.can(Permission::TeamInvite).then(|| {
        view! { <LinkButton href=paths::team_invitations() label="Invite people" kind=ButtonKind::Primary icon="user-plus" /> }
            .erase()
    });
    view! {
        <PageHeader title="Team" about=about nostrip:action=invite />
        <div class="stack">
            {gone}
            {failures}
            <DataTable caption="Members" columns=vec!["Member", "Role", "2FA", "Joined", "Last active", ""]>{rows}</DataTable>
            <p class="key-help">
                <a href=paths::team_invitations()>"Invitations"</a> " · "
                <a href=paths::team_roles()>"What each role may do"</a> " · "
                <a href=paths::settings_audit()>"Audit log"</a>
            </p>
        </div>
    }
    .erase()
}

/// What somebody may do, one by one.
fn rights(role: &MemberRole) -> AnyView {
    let title = format!("{} of {} rights", role.rights.count(), Permission::ALL.len());
    let all =
        role.rights.iter().map(|permission| view! { <li><code>{permission.as_str()}</code></li> }.erase());
    let all = all.collect_view();
    view! {
        <details class="member-rights">
            <summary>{title}</summary>
            <ul>{all}</ul>
        </details>
    }
    .erase()
}

fn row(
    member: &TeamMember,
    form: Form<SetMemberRole>,
    settable: Option<&[MemberRole]>,
    removable: bool,
    now: i64,
) -> AnyView {
    let you = member.you.then(|| view! { <Badge label="You" tone=Tone::Info /> }.erase());
    let seen = match member.last_seen_at {
        Some(at) => {
            let way = (!member.way.is_empty())
                .then(|| view! { <span class="fine">{member.way.clone()}</span> }.erase());
            view! { <span class="two-lines"><Time at=at now=now />{way}</span> }.erase()
        }
        None => "Logged out".into_any(),
    };
    let role = if let Some(roles) = settable {
        let options = roles
            .iter()
            .map(|role| {
                let selected = role.key == member.role.key;
                view! { <option value=role.key.to_string() selected=selected>{role.name.clone()}</option> }
                    .erase()
            })
            .collect_view();
        let label = format!("Role of {}", member.name);
        let name = format!("Change the role of {}", member.name);
        view! {
            <PostForm form=form class="inline-form">
                <select class="input" name="role" aria-label=label>{options}</select>
                <SubmitButton form=form label="Change" name=name busy="Changing…" kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    } else {
        let why = member.last_owner.then(|| {
            view! { <span class="fine">"The last owner stays one. Make another member an owner first."</span> }.erase()
        });
        view! { <span class="two-lines"><span>{member.role.name.clone()}</span>{why}</span> }.erase()
    };
    let remove = (removable || (member.you && !member.last_owner)).then(|| {
        let (label, name) = if member.you {
            ("Leave", "Leave the organisation".to_owned())
        } else {
            ("Remove", format!("Remove {}, {}", member.name, member.email))
        };
        view! {
            <a class="button quiet" href=paths::remove_member(member.user) title=label aria-label=name>
                <Icon name="trash-2" />
                <span class="on-card" aria-hidden="true">{label}</span>
            </a>
        }
        .erase()
    });
    view! {
        <tr>
            <th scope="row" data-label="Member">
                <span class="two-lines">
                    <span>{member.name.clone()} " " {you}</span>
                    <span class="fine">{member.email.clone()}</span>
                </span>
            </th>
            <td data-label="Role"><div class="member-role">{role} {rights(&member.role)}</div></td>
            <td data-label="2FA">{if member.second_factor { "On" } else { "Off" }}</td>
            <td data-label="Joined"><Day at=member.joined_at /></td>
            <td data-label="Last active">{seen}</td>
            <td><div class="row-actions">{remove}</div></td>
        </tr>
    }
    .erase()
}

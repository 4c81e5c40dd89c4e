//! One role that the organisation makes: a new one, or one to change or delete.

use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, Role, paths,
    roles::{CustomRole, MAX_ROLE_ABOUT, MAX_ROLE_NAME, MemberRole, Rights, Roles},
};

use super::roles_api::{DeleteRole, LoadRoles, PutRole};
use crate::{
    components::{
        ButtonKind, Card, CheckboxGroup, Choice, Crumb, LinkButton, NotFound, PageHeader, SelectField,
        SubmitButton, TextArea, TextField,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page, path_param},
};

/// A role of the organisation.
pub struct RolePage {
    id: Memo<String>,
    roles: Loaded<Roles>,
}

#[lazy_route]
impl LazyRoute for RolePage {
    fn data() -> Self {
        Self { id: path_param("id"), roles: load(LoadRoles {}) }
    }

    fn view(this: Self) -> AnyView {
        let (save, delete) = (use_form::<PutRole>(), use_form::<DeleteRole>());
        let id = this.id;
        page(this.roles, move |roles, me| {
            let id = id.get();
            let old = roles.custom.iter().find(|one| one.role.key.to_string() == id).cloned();
            if old.is_none() && id != NEW {
                return view! { <NotFound message="There is no such role in this organisation. It may have been deleted." /> }
                    .erase();
            }
            let refusal = if !me.can(Permission::TeamRoles) {
                Some("You need the permission team:roles to make and change roles. Ask an owner or admin.")
            } else if old.as_ref().is_some_and(|old| !roles.own.covers(&old.role)) {
                Some(
                    "This role holds rights that yours does not, so you cannot change it. Ask an owner or admin.",
                )
            } else {
                None
            };
            view_of(save, delete, &roles, old, refusal)
        })
    }
}

/// In the path, where there is no role yet.
const NEW: &str = "new";

fn view_of(
    save: Form<PutRole>,
    delete: Form<DeleteRole>,
    roles: &Roles,
    old: Option<CustomRole>,
    refusal: Option<&'static str>,
) -> AnyView {
    let title = old.as_ref().map_or_else(|| "New role".to_owned(), |old| old.role.name.clone());
    let about = old.as_ref().map(used).unwrap_or_default();
    let remove = old.as_ref().filter(|_| refusal.is_none()).map(|old| delete_card(delete, roles, old));
    let body = match refusal {
        Some(why) => facts(why, old),
        None => form(save, roles.own.rights, old),
    };
    view! {
        <div class="narrow">
            <PageHeader
                title=title
                crumbs=vec![Crumb::new(paths::team(), "Team"), Crumb::new(paths::team_roles(), "Roles")]
                about=about
            />
            {body}
            {remove}
        </div>
    }
    .erase()
}

fn counted(count: i64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Who has it.
fn used(role: &CustomRole) -> String {
    let newcomers = if role.newcomers { " Newcomers by SSO get it." } else { "" };
    format!(
        "{}, {}.{newcomers}",
        counted(role.members, "member has it", "members have it"),
        counted(role.invitations, "invitation is open", "invitations are open"),
    )
}

/// What a permission is for, beside its name.
const fn about(permission: Permission) -> &'static str {
    use Permission as P;
    match permission {
        P::ApiKeysRead => "See API keys and MCP connections",
        P::ApiKeysCreate => "Make API keys and copy sealed ones",
        P::ApiKeysUpdate => "Rename, limit, enable and disable API keys",
        P::ApiKeysRevoke => "Delete API keys, revoke connections",
        P::ConnectorsRead => "See connectors and their tools",
        P::ConnectorsWrite => "Add and change connectors, switch tools",
        P::ConnectorsDelete => "Delete connectors",
        P::OauthClientsRead => "See OAuth clients",
        P::OauthClientsWrite => "Make, change and delete OAuth clients",
        P::TeamRead => "See members and invitations",
        P::TeamInvite => "Invite people to roles that hold no more than this one",
        P::TeamRemove => "Remove members whose roles hold no more than this one",
        P::TeamRoles => "Give, make and change roles that hold no more than this one",
        P::WebhooksRead => "See webhooks and deliveries",
        P::WebhooksWrite => "Make, change and delete webhooks",
        P::SecurityRead => "See the security settings",
        P::SecurityManage => "Change the security settings",
        P::SsoRead => "See identity providers",
        P::SsoManage => "Change identity providers",
        P::DomainsRead => "See custom domains",
        P::DomainsManage => "Change custom domains",
        P::AuditRead => "Read the audit log",
        P::AuditExport => "Export the audit log",
        P::ExportCreate => "Make data exports",
        P::UsageRead => "See usage",
        P::LogsRead => "See the request log",
        P::PlaygroundUse => "Call tools from the dashboard, have connections of one's own",
        P::OrgUpdate => "Change the settings of the organisation",
        P::OrgDelete => "Delete the organisation",
        P::BillingManage => "Change the plan",
    }
}

fn form(save: Form<PutRole>, own: Rights, old: Option<CustomRole>) -> AnyView {
    let label = if old.is_some() { "Save role" } else { "Create role" };
    let (id, name, description, rights) = match old {
        Some(old) => (old.role.key.to_string(), old.role.name, old.description, old.role.rights),
        None => (String::new(), String::new(), String::new(), Rights::of(Role::Member)),
    };
    let reserved = [Permission::OrgDelete, Permission::BillingManage];
    let choices = own
        .iter()
        .filter(|permission| !reserved.contains(permission))
        .map(|permission| Choice::new(permission.as_str(), permission.as_str()).hint(about(permission)))
        .collect::<Vec<_>>();
    let chosen: Vec<String> = rights.iter().map(|permission| permission.as_str().to_owned()).collect();
    view! {
        <Card title="What it allows" about="A change counts for everybody who has the role with their next request.">
            <PostForm form=save>
                <ErrorSummary form=save />
                <input type="hidden" name="id" value=id />
                <TextField form=save name="name" label="Name" value=name max=MAX_ROLE_NAME />
                <TextArea
                    form=save
                    name="description"
                    label="Description"
                    hint="Optional. What it is for."
                    value=description
                    rows=2
                    max=MAX_ROLE_ABOUT
                />
                <CheckboxGroup
                    form=save
                    name="permissions[]"
                    label="Permissions"
                    hint="Those that you hold yourself. Whoever may change something also sees it."
                    values=chosen
                    choices=choices
                />
                <div class="actions">
                    <SubmitButton form=save label=label />
                    <LinkButton href=paths::team_roles() label="Cancel" kind=ButtonKind::Quiet />
                </div>
            </PostForm>
        </Card>
    }
    .erase()
}

/// For whoever cannot change it, and why.
fn facts(why: &'static str, old: Option<CustomRole>) -> AnyView {
    let card = old.map(|old| {
        let rights = old.role.rights.iter().map(|permission| {
            view! { <li><code>{permission.as_str()}</code> " " <span class="muted">{about(permission)}</span></li> }
                .erase()
        });
        let rights = rights.collect_view();
        view! {
            <Card title="What it allows" about=old.description>
                <ul class="rights">{rights}</ul>
            </Card>
        }
        .erase()
    });
    view! { <p class="muted">{why}</p> {card} }.erase()
}

fn delete_card(delete: Form<DeleteRole>, roles: &Roles, old: &CustomRole) -> AnyView {
    let id = old.role.key.to_string();
    let instead = old.in_use().then(|| {
        let mut choices = vec![Choice::new("", "Choose a role")];
        let others = roles.all().into_iter().filter(|role| may_replace(&roles.own, role, &old.role));
        choices.extend(others.map(|role| Choice::new(role.key.to_string(), role.name)));
        view! {
            <SelectField
                form=delete
                name="instead"
                label="What they get instead"
                hint="Members, open invitations, and newcomers by SSO, as far as they have this role."
                choices=choices
            />
        }
        .erase()
    });
    let who = used(old);
    view! {
        <Card title="Delete the role" about=who>
            <PostForm form=delete>
                <ErrorSummary form=delete />
                <input type="hidden" name="id" value=id />
                {instead}
                <SubmitButton form=delete label="Delete role" busy="Deleting…" kind=ButtonKind::Danger />
            </PostForm>
        </Card>
    }
    .erase()
}

fn may_replace(own: &MemberRole, role: &MemberRole, old: &MemberRole) -> bool {
    role.key != old.key && *role != Role::Owner && own.covers(role)
}

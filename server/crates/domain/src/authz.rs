//! Authority as a type. Who holds an [`OrgActor`] for a permission has proven membership and permission.

use core::marker::PhantomData;

use model::{
    AppError, ErrorKind, MemberRole, OrgId, Permission, Role, UserId, error::OTHER_ORGANISATION,
    orgs::told_apart, permissions::Grant,
};

use crate::{
    Error, Result, org_security,
    request::{Origin, RequestContext, Wants},
    suspension,
};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A person who signed in.
    User {
        /// Their account.
        id: UserId,
        /// Their name.
        name: String,
    },
    /// Whoever runs the instance, through the CLI.
    Operator,
    /// Gatehouse itself: checks and clean-up.
    System,
}

impl Principal {
    /// `user`, `operator` or `system`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }

    /// The name in lists and audit lines.
    pub fn name(&self) -> &str {
        match self {
            Self::User { name, .. } => name,
            Self::Operator => "Operator",
            Self::System => "Gatehouse",
        }
    }

    /// The account's id; empty for operator and system.
    pub fn id(&self) -> String {
        match self {
            Self::User { id, .. } => id.to_string(),
            Self::Operator | Self::System => String::new(),
        }
    }
}

/// Somebody who may do `P` in one organisation. The field-less marker types are in [`model::permissions::can`].
#[derive(Clone, Debug)]
pub struct OrgActor<P> {
    org: OrgId,
    principal: Principal,
    role: Option<MemberRole>,
    origin: Origin,
    proof: PhantomData<fn() -> P>,
}

impl<P: Grant> OrgActor<P> {
    /// Checks that the signed-in person is a member of the organisation in view, brings what it asks of its members (a
    /// second factor, where it is required), and that their role holds `P`.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody is signed in, `NotFound` when the person is in no organisation (or no longer in
    /// this one), `Forbidden` naming the permission and who can grant it, or what the organisation asks for, `Conflict` when a form was made in another
    /// organisation than the one in view.
    pub async fn require(ctx: &RequestContext) -> Result<Self> {
        let signed_in = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?;
        let mut tx = ctx.env.db.read().await?;
        let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(unauthenticated)?;
        let in_view = signed_in.sso.map_or(signed_in.org, |sso| Some(sso.org));
        let (org, role) = membership(&mut tx, &user, in_view).await?;
        same_org(&mut tx, ctx, &user, org).await?;
        suspension::check(&mut tx, org).await?;
        org_security::admit(&ctx.env, &mut tx, &ctx.origin, org, signed_in).await?;
        Self::of_member(org, role, Principal::User { id: user.id, name: user.name }, ctx.origin.clone())
    }

    fn of_member(org: OrgId, role: MemberRole, principal: Principal, origin: Origin) -> Result<Self> {
        if !role.allows(P::PERMISSION) {
            return Err(denied(P::PERMISSION).into());
        }
        Ok(Self { org, principal, role: Some(role), origin, proof: PhantomData })
    }

    /// The operator, who may do everything in every organisation.
    pub fn operator(org: OrgId) -> Self {
        Self {
            org,
            principal: Principal::Operator,
            role: None,
            origin: Origin::default(),
            proof: PhantomData,
        }
    }

    /// Gatehouse itself.
    pub fn system(org: OrgId) -> Self {
        Self { org, principal: Principal::System, role: None, origin: Origin::default(), proof: PhantomData }
    }

    /// The organisation.
    pub fn org(&self) -> OrgId {
        self.org
    }

    /// Who acts.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Where from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the same person may also do this.
    pub fn also(&self, permission: Permission) -> bool {
        self.role.as_ref().is_none_or(|role| role.allows(permission))
    }

    /// The same person with another permission.
    ///
    /// # Errors
    /// `Forbidden` when the role does not hold it.
    pub fn with<Q: Grant>(&self) -> Result<OrgActor<Q>> {
        if !self.also(Q::PERMISSION) {
            return Err(denied(Q::PERMISSION).into());
        }
        Ok(OrgActor {
            org: self.org,
            principal: self.principal.clone(),
            role: self.role.clone(),
            origin: self.origin.clone(),
            proof: PhantomData,
        })
    }
}

/// The organisation that a session shows: the one it remembers, else the last one of the person, else their first.
pub(crate) async fn membership(
    tx: &mut store::Tx,
    user: &store::users::User,
    in_view: Option<OrgId>,
) -> Result<(OrgId, MemberRole)> {
    for org in [in_view, user.last_org].into_iter().flatten() {
        if let Some(role) = store::members::find_role(tx, org, user.id).await? {
            return Ok((org, role));
        }
    }
    for org in store::orgs::list_of_user(tx, user.id).await? {
        if let Some(role) = store::members::find_role(tx, org.id, user.id).await? {
            return Ok((org.id, role));
        }
    }
    Err(AppError::new(
        ErrorKind::NotFound,
        "no_organisation",
        "You are not a member of any organisation. Create one, or ask for an invitation.",
    )
    .into())
}

/// Refuses a form that was made in another organisation than the one in view.
pub(crate) async fn same_org(
    tx: &mut store::Tx,
    ctx: &RequestContext,
    user: &store::users::User,
    in_view: OrgId,
) -> Result<()> {
    let remembered = ctx.signed_in.as_ref().and_then(|signed_in| signed_in.org);
    if let Wants::Change { made_in } = ctx.wants
        && let Some(meant) = made_in.or(remembered).filter(|meant| *meant != in_view)
    {
        return Err(other_org(tx, user, meant, in_view).await?.into());
    }
    Ok(())
}

/// The refusal of a form that was made in another organisation than the one in view, as with two tabs.
async fn other_org(
    tx: &mut store::Tx,
    user: &store::users::User,
    meant: OrgId,
    in_view: OrgId,
) -> Result<AppError> {
    let names: Vec<String> =
        store::orgs::list_of_user(tx, user.id).await?.into_iter().map(|org| org.name).collect();
    let label =
        |org: model::orgs::Org| told_apart(&org.name, org.slug.as_str(), names.iter().map(String::as_str));
    let here = store::orgs::find(tx, in_view).await?.map(label).unwrap_or_default();
    // Its name is for its members only.
    let message = match store::members::find_role(tx, meant, user.id).await? {
        Some(_) => {
            let there = store::orgs::find(tx, meant).await?.map(label).unwrap_or_default();
            format!(
                "This form belongs to {there}, and you are now in {here}. Nothing was changed. Switch back to {there}, then send it again."
            )
        }
        None => format!(
            "This form belongs to an organisation that you are not a member of. You are now in {here}. Nothing was changed."
        ),
    };
    Ok(AppError::new(ErrorKind::Conflict, OTHER_ORGANISATION, message))
}

pub(crate) fn unauthenticated() -> Error {
    AppError::new(
        ErrorKind::Unauthenticated,
        "unauthenticated",
        "You are not logged in, or your session ended. Log in and try again.",
    )
    .into()
}

/// The refusal that names the permission and who can grant it.
pub fn denied(permission: Permission) -> AppError {
    let holders: Vec<_> = Role::holders(permission)
        .filter(|r| matches!(r, Role::Owner | Role::Admin))
        .map(Role::as_str)
        .collect();
    AppError::new(
        ErrorKind::Forbidden,
        "permission_denied",
        format!(
            "You need the permission {permission} for this. Ask an {} of the organisation.",
            holders.join(" or ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use model::permissions::can;
    use store::Kind;

    use super::*;
    use crate::testing::TestEnv;

    #[tokio::test]
    async fn a_change_never_falls_back_to_another_organisation() {
        let test = TestEnv::new(Kind::Sqlite).await;
        let (acme, beta) = (test.org("acme").await, test.org("beta").await);
        // A member of acme whose session still shows beta.
        let mut ctx = test.signed_in(acme.user, beta.org_id());
        let looks = OrgActor::<can::OrgUpdate>::require(&ctx).await.expect("looking goes on");
        assert_eq!(looks.org(), acme.org_id());
        for made_in in [None, Some(beta.org_id())] {
            ctx.wants = Wants::Change { made_in };
            let error = OrgActor::<can::OrgUpdate>::require(&ctx).await.expect_err("a refusal").into_app("");
            assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, OTHER_ORGANISATION));
            assert!(!error.message.contains(&beta.org.name), "{}", error.message);
        }
        ctx.wants = Wants::Change { made_in: Some(acme.org_id()) };
        assert!(OrgActor::<can::OrgUpdate>::require(&ctx).await.is_ok());
    }
}

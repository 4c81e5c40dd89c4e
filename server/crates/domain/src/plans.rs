//! The plan of an organisation, as its own people see and change it. What plans give is one table, [`Plan::limits`].

use model::{AppError, Plan, activity::UsageSettings, permissions::can};

use crate::{Env, Error, OrgActor, Result, change::Event, pin::Guarded, request::RequestContext, sso, usage};

/// The plan, the limits that hold, and what is used of them.
pub async fn overview(env: &Env, actor: &OrgActor<can::UsageRead>) -> Result<UsageSettings> {
    usage::of_org(env, actor.org()).await
}

/// Changes the plan; what holds, holds from the next request on. Done again, it changes nothing.
pub async fn change(ctx: &RequestContext, actor: &Guarded<can::BillingManage>, plan: &str) -> Result<()> {
    let env = &ctx.env;
    let plan = Plan::parse(plan).ok_or_else(|| AppError::field("plan", "plan", "Choose one of the plans"))?;
    let mut change = env.change(actor).await?;
    let mut org =
        store::orgs::find(change.tx(), actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))?;
    if org.plan == plan {
        return Ok(());
    }
    let old = core::mem::replace(&mut org.plan, plan);
    store::orgs::update(change.tx(), &org).await?;
    let own = ctx.signed_in.as_ref().map(|signed_in| signed_in.session.to_string()).unwrap_or_default();
    let ended = sso::end_with_plan(change.tx(), org.id, (old, plan), &own).await?;
    let event = Event::new("billing.plan_changed").target("org", org.id, &org.name).changed(
        "plan",
        old.as_str(),
        plan.as_str(),
    );
    change.commit(if ended > 0 { event.with("sessions_ended", ended) } else { event }).await?;
    usage::alerts::limits_changed(env, actor.org()).await;
    Ok(())
}

//! The addresses that an organisation may be reached from: its dashboard, its endpoint, its tokens (IPA-01 to IPA-04).
//!
//! What is enforced may be a trial: unless somebody keeps it in time, from an address that it lets in, the list is as it was
//! before. That needs no job, because both are in every snapshot with the time in between.

mod keys;
mod ranges;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use model::{
    AppError, ErrorKind, OrgId,
    allowlist::{AllowedRange, AllowlistPage, DryRun, MAX_NOTE, MAX_RANGES, TRIAL_MINUTES},
    factors::SecondStep,
    permissions::can,
    text,
};
use store::{Tx, allowlists::Stored};

pub use self::keys::{KeyRanges, not_from_here};
use self::ranges::{List, Range};
use crate::{
    Env, Error, OrgActor, Result,
    authz::Principal,
    change::{Change, Event},
    mfa,
    pin::{self, Guarded},
    request::RequestContext,
    step_up::{self, Proven},
};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// How far back the dry run looks, milliseconds.
const LOOK_BACK: i64 = 7 * DAY;
/// The most requests and sessions that it looks at.
const LOOK_AT: i64 = 5000;
/// The most lines that it tells of each kind.
const TOLD: usize = 10;

/// What an organisation's list is, now and after a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist {
    list: List,
    /// What counts from that time on, Unix milliseconds.
    before: Option<(List, i64)>,
}

impl Allowlist {
    fn read(stored: Option<Stored>, org: OrgId) -> Result<Self> {
        let Some(stored) = stored else { return Ok(Self::default()) };
        let read = |json: &str| {
            serde_json::from_str(json)
                .map_err(|why| Error::Internal(format!("the allowlist of {org} does not read: {why}")))
        };
        Ok(Self {
            list: read(&stored.entries)?,
            before: match (&stored.before, stored.revert_at) {
                (Some(before), Some(at)) => Some((read(before)?, at)),
                _ => None,
            },
        })
    }

    /// The list of an organisation.
    pub(crate) async fn load(tx: &mut Tx, org: OrgId) -> Result<Self> {
        Self::read(store::allowlists::find(tx, org).await?, org)
    }

    fn at(&self, now: i64) -> &List {
        match &self.before {
            Some((before, at)) if now >= *at => before,
            _ => &self.list,
        }
    }

    /// Whether a request from this address may come in at this time. `None` is an address that could not be made out, which
    /// no list has.
    pub fn admits(&self, address: Option<IpAddr>, now: i64) -> bool {
        self.at(now).admits(address)
    }

    /// The same without a trial that is over; whether one was.
    fn settled(self, now: i64) -> (Self, bool) {
        match self.before {
            Some((before, at)) if now >= at => (Self { list: before, before: None }, true),
            before => (Self { list: self.list, before }, false),
        }
    }

    fn stored(&self) -> Result<Stored> {
        let write = |list: &List| serde_json::to_string(list).map_err(|why| Error::Internal(why.to_string()));
        Ok(Stored {
            entries: write(&self.list)?,
            before: self.before.as_ref().map(|(before, _)| write(before)).transpose()?,
            revert_at: self.before.as_ref().map(|(_, at)| *at),
        })
    }

    /// A list of these ranges that is enforced.
    ///
    /// # Errors
    /// As somebody who types a range is told.
    pub fn enforced(ranges: &[&str]) -> core::result::Result<Self, AppError> {
        let range = |text: &&str| {
            let net = ranges::parse(text)?;
            Ok(Range { net, note: String::new(), by: String::new(), at: 0 })
        };
        let ranges = ranges.iter().map(range).collect::<core::result::Result<_, AppError>>()?;
        Ok(Self { list: List { on: true, ranges }, before: None })
    }
}

/// The refusal of an address. It is the same for everybody, and says nothing of the list.
pub fn not_allowed() -> AppError {
    AppError::new(
        ErrorKind::Forbidden,
        "ip_not_allowed",
        "This organisation can be reached from certain addresses only, and yours is none of them. Ask an admin to add it; nothing was done.",
    )
}

/// Refuses an address that may not reach the organisation (IPA-03).
pub(crate) async fn admit(env: &Env, tx: &mut Tx, org: OrgId, address: Option<IpAddr>) -> Result<()> {
    if Allowlist::load(tx, org).await?.admits(address, env.now()) {
        Ok(())
    } else {
        Err(not_allowed().into())
    }
}

/// The refusal of a removal: there is another way.
fn would_lock_out_by_removing(address: Option<IpAddr>) -> Error {
    let you = told(address);
    let mut error = AppError::new(
        ErrorKind::Conflict,
        "would_lock_out",
        format!(
            "Your address is {you}: without this range it is in none, and you would be locked out. Nothing was changed. Add a range with your address first, or stop enforcing the list."
        ),
    );
    error.your_ip = address.map(Box::new);
    error.into()
}

/// An address in words.
fn told(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "not known".to_owned(), |address| address.to_string())
}

fn would_lock_out(address: Option<IpAddr>) -> Error {
    let you = told(address);
    let mut error = AppError::field(
        "confirm",
        "would_lock_out",
        format!(
            "Your address is {you}, which is in none of the ranges: this would lock you out. Nothing was changed. Tick this to do it all the same"
        ),
    );
    error.kind = ErrorKind::Conflict;
    error.your_ip = address.map(Box::new);
    error.into()
}

/// What the page shows.
pub async fn page(ctx: &RequestContext, actor: &OrgActor<can::SecurityRead>) -> Result<AllowlistPage> {
    let env = &ctx.env;
    let now = env.now();
    let mut tx = env.db.read().await?;
    let (allowlist, _) = Allowlist::load(&mut tx, actor.org()).await?.settled(now);
    let dry_run = dry_run(&mut tx, actor.org(), &allowlist.list, now).await?;
    let address = ctx.origin.address;
    let (fresh, own_factor) = match (&ctx.signed_in, actor.principal()) {
        (Some(signed_in), Principal::User { id, .. }) => {
            (step_up::is_fresh(&mut tx, signed_in, now).await?, mfa::ways(&mut tx, *id).await?)
        }
        _ => (false, SecondStep::default()),
    };
    Ok(AllowlistPage {
        on: allowlist.list.on,
        your_address: address.map(|address| address.to_string()),
        you_are_in: allowlist.list.contains(address),
        trial_until: allowlist.before.as_ref().map(|(_, at)| *at),
        ranges: allowlist
            .list
            .ranges
            .iter()
            .map(|range| AllowedRange {
                range: range.net.to_string(),
                note: range.note.clone(),
                added_by: range.by.clone(),
                added_at: range.at,
            })
            .collect(),
        dry_run,
        fresh,
        own_factor,
        now,
    })
}

/// What a list would have refused lately. Of many requests the latest are looked at, and it says so.
async fn dry_run(tx: &mut Tx, org: OrgId, list: &List, now: i64) -> Result<DryRun> {
    let mut told = DryRun::default();
    let (mut principals, mut addresses) = (BTreeSet::new(), BTreeMap::<String, i64>::new());
    let mut latest = store::allowlists::list_recent(tx, org, now - LOOK_BACK, LOOK_AT + 1).await?;
    let most = usize::try_from(LOOK_AT).unwrap_or(usize::MAX);
    told.more = latest.len() > most;
    latest.truncate(most);
    for (detail, kind, principal) in latest {
        let detail: serde_json::Value = serde_json::from_str(&detail).unwrap_or_default();
        let Some(address) = detail["address"].as_str().and_then(ranges::read_address) else { continue };
        told.requests += 1;
        if !list.contains(Some(address)) {
            told.outside += 1;
            principals.insert((kind, principal));
            *addresses.entry(address.to_string()).or_default() += 1;
        }
    }
    told.principals = i64::try_from(principals.len()).unwrap_or(i64::MAX);
    told.addresses = addresses.into_iter().collect();
    told.addresses.sort_by_key(|(_, times)| -times);
    told.addresses.truncate(TOLD);
    let mut seen = BTreeSet::new();
    for (name, address) in store::allowlists::list_sessions(tx, org, now - LOOK_BACK, LOOK_AT).await? {
        let outside = ranges::read_address(&address).is_some_and(|address| !list.contains(Some(address)));
        if outside && told.members.len() < TOLD && seen.insert((name.clone(), address.clone())) {
            told.members.push((name, address));
        }
    }
    Ok(told)
}

/// How somebody answers the warning that they would lock themselves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Insists<'a>(pub Option<&'a Proven>);

/// Adds a range.
///
/// # Errors
/// `Forbidden` with the code `pin_required` where the list is enforced, the organisation protects acts with a PIN, and this
/// range would make it so wide that it might as well be off: that takes [`add_wide`] (PIN-04).
pub async fn add(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    range: &str,
    note: &str,
    insists: Insists<'_>,
) -> Result<()> {
    add_any(env, actor, range, note, insists, false).await
}

/// Adds a range, however wide, for somebody who has shown their PIN.
pub async fn add_wide(
    env: &Env,
    actor: &Guarded<can::SecurityManage>,
    range: &str,
    note: &str,
    insists: Insists<'_>,
) -> Result<()> {
    add_any(env, actor, range, note, insists, true).await
}

async fn add_any(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    range: &str,
    note: &str,
    insists: Insists<'_>,
    shown: bool,
) -> Result<()> {
    let (net, note) = crate::both(
        ranges::parse(range).map_err(Into::into),
        text::description("note", note, MAX_NOTE).map_err(Into::into),
    )?;
    let new = Range { net, note, by: actor.principal().name().to_owned(), at: env.now() };
    let event =
        |event: Event| event.with("range", net.to_string()).with("everybody", ranges::is_everybody(&net));
    let guarded = (!shown).then_some(net);
    edit(env, actor, "security.allowlist_range_added", insists, guarded, event, |list| {
        if list.ranges.len() >= MAX_RANGES {
            let words = format!("There are {MAX_RANGES} ranges already. Remove one, or use wider ones");
            return Err(AppError::field("range", "too_many", words).into());
        }
        if list.ranges.iter().any(|known| known.net == new.net) {
            return Err(AppError::field("range", "known", "This range is in the list already").into());
        }
        list.ranges.push(new);
        Ok(())
    })
    .await
}

/// Adds the ranges that a maker of hosted agents publishes, those that are not in the list yet (IPA-05).
pub async fn add_vendor(env: &Env, actor: &OrgActor<can::SecurityManage>, vendor: &str) -> Result<()> {
    let vendor = model::egress::vendor(vendor).ok_or_else(|| Error::not_found("maker"))?;
    let nets: Vec<_> =
        vendor.ranges.iter().map(|range| ranges::parse(range)).collect::<core::result::Result<_, _>>()?;
    let note = format!("{}, published {}", vendor.name, vendor.looked_up);
    let (by, at) = (actor.principal().name().to_owned(), env.now());
    let event = |event: Event| event.with("vendor", vendor.id).with("range", vendor.ranges.join(" "));
    edit(env, actor, "security.allowlist_range_added", Insists::default(), None, event, |list| {
        let known = list.ranges.len();
        for net in nets {
            if list.ranges.iter().all(|known| known.net != net) {
                list.ranges.push(Range { net, note: note.clone(), by: by.clone(), at });
            }
        }
        if list.ranges.len() > MAX_RANGES {
            let words = format!("There can be {MAX_RANGES} ranges. Remove one, or use wider ones");
            return Err(AppError::field("range", "too_many", words).into());
        }
        if list.ranges.len() == known {
            return Err(
                AppError::new(ErrorKind::Conflict, "known", "These ranges are in the list already.").into()
            );
        }
        Ok(())
    })
    .await
}

/// Removes a range.
pub async fn remove(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    range: &str,
    insists: Insists<'_>,
) -> Result<()> {
    let net = ranges::parse(range)?;
    let event = |event: Event| event.with("range", net.to_string());
    edit(env, actor, "security.allowlist_range_removed", insists, None, event, |list| {
        let before = list.ranges.len();
        list.ranges.retain(|known| known.net != net);
        if list.ranges.len() == before { Err(Error::not_found("range")) } else { Ok(()) }
    })
    .await
}

/// Begins to enforce the list, on trial.
pub async fn turn_on(env: &Env, actor: &OrgActor<can::SecurityManage>, insists: Insists<'_>) -> Result<()> {
    edit(
        env,
        actor,
        "security.allowlist_on",
        insists,
        None,
        |event| event,
        |list| {
            if list.ranges.is_empty() {
                return Err(AppError::field(
                    "range",
                    "no_ranges",
                    "Add a range first: an empty list lets nobody in",
                )
                .into());
            }
            list.on = true;
            Ok(())
        },
    )
    .await
}

/// Stops enforcing the list. It is one of the acts that a PIN protects.
pub async fn turn_off(env: &Env, actor: &Guarded<can::SecurityManage>) -> Result<()> {
    off(env, actor).await
}

/// The same by the operator, for whoever locked themselves out.
pub async fn turn_off_by_operator(env: &Env, org: OrgId) -> Result<()> {
    off(env, &OrgActor::operator(org)).await
}

async fn off(env: &Env, actor: &OrgActor<can::SecurityManage>) -> Result<()> {
    let mut change = env.change(actor).await?;
    let (mut allowlist, _) = Allowlist::load(change.tx(), actor.org()).await?.settled(env.now());
    if !allowlist.list.on {
        return Ok(());
    }
    allowlist.list.on = false;
    allowlist.before = None;
    write(change, actor.org(), &allowlist, Event::new("security.allowlist_off")).await
}

/// Keeps what is on trial. Whoever can ask for it was let in by it.
pub async fn keep(env: &Env, actor: &OrgActor<can::SecurityManage>) -> Result<()> {
    let mut change = env.change(actor).await?;
    let (mut allowlist, _) = Allowlist::load(change.tx(), actor.org()).await?.settled(env.now());
    if allowlist.before.take().is_none() {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "no_trial",
            "Nothing is on trial any more. Look at the list as it is now; nothing was changed.",
        )
        .into());
    }
    if !allowlist.list.admits(actor.origin().address) {
        return Err(not_allowed().into());
    }
    write(change, actor.org(), &allowlist, Event::new("security.allowlist_kept")).await
}

/// Takes back changes that nobody kept in time; a job does it, for the log and for who looks at the page.
pub async fn settle(env: &Env) -> Result<()> {
    let due = {
        let mut tx = env.db.read().await?;
        store::allowlists::list_due(&mut tx, env.now()).await?
    };
    for org in due {
        let actor = OrgActor::<can::SecurityManage>::system(org);
        let mut change = env.change(&actor).await?;
        let (allowlist, reverted) = Allowlist::load(change.tx(), org).await?.settled(env.now());
        if reverted {
            write(change, org, &allowlist, Event::new("security.allowlist_reverted")).await?;
        }
    }
    Ok(())
}

/// Changes a list. While it is enforced, a change that takes addresses away is a trial of a quarter of an hour; and one that
/// would lock out whoever makes it is refused, unless they insist (IPA-04). So is a range, `guarded`, that would open an
/// enforced list to nearly everybody, where that takes a PIN.
async fn edit(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    action: &'static str,
    insists: Insists<'_>,
    guarded: Option<IpNet>,
    about: impl FnOnce(Event) -> Event,
    apply: impl FnOnce(&mut List) -> Result<()>,
) -> Result<()> {
    let now = env.now();
    let mut change = env.change(actor).await?;
    let (mut allowlist, _) = Allowlist::load(change.tx(), actor.org()).await?.settled(now);
    let old = allowlist.list.clone();
    if guarded.is_some_and(|net| old.on && old.opened_by(net)) {
        pin::require_shown(change.tx(), actor.org(), actor.principal()).await?;
    }
    apply(&mut allowlist.list)?;
    let address = actor.origin().address;
    if allowlist.list.on && !allowlist.list.contains(address) && insists.0.is_none() {
        let removing = allowlist.list.ranges.len() < old.ranges.len();
        return Err(if removing { would_lock_out_by_removing(address) } else { would_lock_out(address) });
    }
    let takes_away = (!old.on || !old.ranges.iter().all(|range| allowlist.list.ranges.contains(range)))
        || !allowlist.list.contains(address);
    if allowlist.list.on && takes_away {
        // A trial within a trial goes back to before the first.
        let (before, _) = allowlist.before.take().unwrap_or((old, now));
        allowlist.before = Some((before, now + TRIAL_MINUTES * 60 * 1000));
    }
    let event = about(Event::new(action)).with("insisted", insists.0.is_some());
    let event = event.with("trial_until", allowlist.before.as_ref().map(|(_, at)| *at));
    write(change, actor.org(), &allowlist, event).await
}

async fn write(mut change: Change, org: OrgId, allowlist: &Allowlist, event: Event) -> Result<()> {
    let stored = allowlist.stored()?;
    store::allowlists::put(change.tx(), org, &stored).await?;
    let name = store::orgs::find(change.tx(), org).await?.map(|org| org.name).unwrap_or_default();
    change.commit(event.target("org", org, &name)).await
}

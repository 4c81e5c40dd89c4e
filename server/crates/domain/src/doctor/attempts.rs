//! Single steps, told as attempts.

use model::doctor::{Attempt, Outcome, SeenStep, Stage};
use store::connect_events::ConnectEvent;

use super::advice::{self, Client};

const MINUTE: i64 = 60 * 1000;
/// Steps of one address and `User-Agent` belong together for so long.
const NEAR: i64 = 15 * MINUTE;
/// Who looks for the way to sign in and then registers does both within so long.
const AT_ONCE: i64 = 2 * MINUTE;
/// Steps of one client id belong together for so long: people take their time at the consent page.
const NEAR_BY_ID: i64 = 60 * MINUTE;
/// For so long an attempt may be under way.
const PATIENCE: i64 = 5 * MINUTE;

#[derive(Debug)]
struct Building<'e> {
    events: Vec<&'e ConnectEvent>,
    client_id: Option<&'e str>,
}

impl<'e> Building<'e> {
    fn last_at(&self) -> i64 {
        self.events.iter().map(|event| event.at).max().unwrap_or(i64::MIN)
    }

    fn comes_from(&self, event: &ConnectEvent) -> bool {
        self.events.iter().any(|own| own.address == event.address && own.user_agent == event.user_agent)
    }

    fn comes_from_address(&self, event: &ConnectEvent) -> bool {
        !event.address.is_empty() && self.events.iter().any(|own| own.address == event.address)
    }

    /// Whether all that is known of it is how it looked for the way to sign in: no id, and no credential that failed.
    fn is_looking(&self) -> bool {
        self.client_id.is_none() && !self.events.iter().any(|own| is_other_credential(own))
    }

    fn has_looked(&self) -> bool {
        self.events.iter().any(|own| own.client_id.is_none())
    }

    fn registered_at(&self) -> Option<i64> {
        let register = |own: &&&ConnectEvent| own.step == Stage::Register.as_str();
        self.events.iter().find(register).map(|own| own.at)
    }

    fn is_done(&self) -> bool {
        self.events.iter().any(|event| event.step == Stage::FirstCall.as_str() && event.error.is_none())
    }

    /// Tokens are renewed and calls are made without end; that is no attempt.
    fn is_attempt(&self) -> bool {
        self.events.iter().any(|event| {
            event.error.is_some()
                || (event.step != Stage::Token.as_str() && event.step != Stage::FirstCall.as_str())
        })
    }

    fn absorb(&mut self, other: Building<'e>) {
        self.client_id = self.client_id.or(other.client_id);
        self.events.extend(other.events);
        self.events.sort_by_key(|event| event.at);
    }
}

/// A credential that did not work, of whom nobody knows: a key, or a token of somewhere else. What signs in later from the
/// same place is another client, for all that can be told.
fn is_other_credential(event: &ConnectEvent) -> bool {
    event.client_id.is_none()
        && event.error.is_some()
        && (event.step == Stage::Challenge.as_str() || event.step == Stage::FirstCall.as_str())
}

/// Groups steps, which are in order of time, into attempts, the latest first.
///
/// A step belongs to the attempt of its client id. Without one it belongs to what the same program, by address and
/// `User-Agent`, did just before, unless that may be several clients or another credential. A client learns its id on the
/// way, so how it looked for the way to sign in joins it then; what was before its registration does so only if it
/// registered at once.
pub fn group(events: &[ConnectEvent], now: i64) -> Vec<Attempt> {
    let mut all: Vec<Building<'_>> = Vec::new();
    for event in events {
        let at = match event.client_id.as_deref() {
            Some(id) => of_id(&mut all, event, id),
            None => of_nobody(&all, event),
        };
        match at {
            Some(at) => {
                all[at].events.push(event);
                all[at].client_id = all[at].client_id.or(event.client_id.as_deref());
            }
            None => all.push(Building { events: vec![event], client_id: event.client_id.as_deref() }),
        }
    }
    let mut attempts: Vec<Attempt> =
        all.iter().filter(|building| building.is_attempt()).map(|building| told(building, now)).collect();
    attempts.sort_by_key(|attempt| core::cmp::Reverse(attempt.last_at()));
    attempts
}

fn is_open(building: &Building<'_>, event: &ConnectEvent, near: i64) -> bool {
    event.at - building.last_at() <= near && !building.is_done()
}

/// The attempt of a step that names no client.
fn of_nobody(all: &[Building<'_>], event: &ConnectEvent) -> Option<usize> {
    let near = |own: &&Building<'_>| is_open(own, event, NEAR) && own.comes_from(event);
    if is_other_credential(event) {
        let same =
            |own: &Building<'_>| own.client_id.is_none() && own.events.iter().all(|e| is_other_credential(e));
        return all.iter().rposition(|own| near(&own) && same(own));
    }
    if let Some(at) = all.iter().rposition(|own| near(&own) && own.is_looking()) {
        return Some(at);
    }
    let mut named = all.iter().enumerate().filter(|(_, own)| near(own) && own.client_id.is_some());
    let (at, _) = named.next()?;
    named.next().is_none().then_some(at)
}

/// The attempt of a step of this client; a program that was only looking so far joins it, or becomes it.
fn of_id(all: &mut Vec<Building<'_>>, event: &ConnectEvent, id: &str) -> Option<usize> {
    let known = all.iter().rposition(|own| own.client_id == Some(id) && is_open(own, event, NEAR_BY_ID));
    let looking = |own: &Building<'_>, near: i64| is_open(own, event, near) && own.is_looking();
    let Some(at) = known else {
        if event.step == Stage::Register.as_str() {
            return all.iter().rposition(|own| looking(own, AT_ONCE) && own.comes_from(event));
        }
        let by_source = all.iter().rposition(|own| looking(own, NEAR) && own.comes_from(event));
        // As seen from a browser: the only one of this address.
        let by_address = || {
            let mut near = all.iter().enumerate();
            let mut near =
                near.by_ref().filter(|(_, own)| looking(own, NEAR) && own.comes_from_address(event));
            let (at, _) = near.next()?;
            near.next().is_none().then_some(at)
        };
        return by_source.or_else(by_address);
    };
    // What it did before anybody knew its id, as seen from where it comes back to now.
    let other = all.iter().rposition(|own| looking(own, NEAR) && own.comes_from(event));
    let Some(other) = other.filter(|_| !all[at].has_looked()) else { return Some(at) };
    let first = all[other].events.first().map_or(i64::MIN, |own| own.at);
    if all[at].registered_at().is_some_and(|registered| first < registered - AT_ONCE) {
        return Some(at);
    }
    let other = all.remove(other);
    let at = all.iter().rposition(|own| own.client_id == Some(id))?;
    all[at].absorb(other);
    Some(at)
}

fn told(building: &Building<'_>, now: i64) -> Attempt {
    let mut steps: Vec<SeenStep> = Vec::new();
    for event in &building.events {
        // A step that a newer version wrote is not known here.
        let Some(stage) = Stage::parse(&event.step) else { continue };
        match steps.last_mut() {
            Some(last) if last.stage == stage && last.error == event.error && last.detail == event.detail => {
                last.times += 1;
                last.at = event.at;
            }
            _ => steps.push(SeenStep {
                stage,
                at: event.at,
                error: event.error.clone(),
                detail: event.detail.clone(),
                times: 1,
            }),
        }
    }
    let texts = building.events.iter().flat_map(|event| {
        [
            event.client_name.as_deref(),
            event.client_id.as_deref(),
            Some(&event.user_agent),
            Some(&event.detail),
        ]
        .into_iter()
        .flatten()
    });
    let client = Client::recognise(texts);
    let named = building.events.iter().rev().find_map(|event| event.client_name.clone());
    // The first is the program; a browser comes later.
    let first = building.events.iter().find(|event| !is_browser(&event.user_agent));
    let first = first.or(building.events.first());
    let agent = first.map(|event| event.user_agent.clone()).unwrap_or_default();
    let named = named.filter(|name| !name.is_empty()).unwrap_or(agent);
    let (outcome, stuck, (diagnosis, fix)) = judged(&steps, client, now);
    Attempt {
        client: client.name().map_or_else(|| generic(&named), str::to_owned),
        named,
        address: first.map(|event| event.address.clone()).unwrap_or_default(),
        client_id: building.client_id.map(str::to_owned),
        outcome,
        steps,
        stuck,
        diagnosis,
        fix,
        revoked: None,
    }
}

fn is_browser(agent: &str) -> bool {
    agent.starts_with("Mozilla/") && !agent.contains("Claude") && !agent.contains("Cursor")
}

/// What a client is called that is not known: the product of its `User-Agent`, or its name.
fn generic(named: &str) -> String {
    let product = named.split(['/', '(']).next().unwrap_or_default().trim();
    if product.is_empty() || product == "Mozilla" { "MCP client".to_owned() } else { product.to_owned() }
}

fn judged(steps: &[SeenStep], client: Client, now: i64) -> (Outcome, Option<Stage>, (String, String)) {
    if steps.iter().any(|step| step.stage == Stage::FirstCall && step.error.is_none()) {
        return (Outcome::Connected, None, ("It is connected.".to_owned(), String::new()));
    }
    // A failure counts until the same or a later stage went well.
    let failed = steps.iter().enumerate().rev().find_map(|(at, step)| {
        let error = step.error.as_deref()?;
        let mended = steps[at + 1..].iter().any(|later| later.error.is_none() && later.stage >= step.stage);
        (!mended).then_some((step.stage, error, step.detail.as_str()))
    });
    if let Some((stage, error, detail)) = failed {
        return (Outcome::Failed, Some(stage), advice::failure(client, stage, error, detail));
    }
    let last_at = steps.iter().map(|step| step.at).max().unwrap_or_default();
    let furthest = steps.iter().map(|step| step.stage).max().unwrap_or(Stage::Challenge);
    if now - last_at <= PATIENCE {
        let said = format!("The last that was seen of it is: {}.", furthest.title());
        return (Outcome::UnderWay, None, (said, String::new()));
    }
    let next = Stage::ALL.iter().copied().find(|stage| *stage > furthest);
    (Outcome::Stopped, next, advice::silence(client, furthest))
}

#[cfg(test)]
mod tests {
    use model::ConnectEventId;

    use super::*;

    const CODE: &str = "claude-code/2.1.329 (sdk-cli)";
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/144.0";
    const NOW: i64 = 100 * 60 * MINUTE;

    struct Story(Vec<ConnectEvent>);

    impl Story {
        /// A step so many seconds after the beginning: stage, error, client id, from where.
        fn step(
            mut self,
            seconds: i64,
            stage: Stage,
            error: Option<&str>,
            id: Option<&str>,
            from: (&str, &str),
        ) -> Self {
            let number = u128::try_from(self.0.len()).unwrap();
            self.0.push(ConnectEvent {
                id: ConnectEventId::from_uuid(uuid::Uuid::from_u128(number)),
                at: seconds * 1000,
                step: stage.as_str().to_owned(),
                error: error.map(str::to_owned),
                detail: String::new(),
                client_id: id.map(str::to_owned),
                client_name: None,
                address: from.0.to_owned(),
                user_agent: from.1.to_owned(),
            });
            self
        }

        fn told(&self, now: i64) -> Vec<Attempt> {
            group(&self.0, now)
        }
    }

    fn whole(start: i64, id: &str, client: (&str, &str), browser: (&str, &str)) -> Story {
        Story(Vec::new()).whole(start, id, client, browser)
    }

    impl Story {
        fn whole(self, start: i64, id: &str, client: (&str, &str), browser: (&str, &str)) -> Self {
            self.step(start, Stage::Challenge, None, None, client)
                .step(start + 1, Stage::ResourceMetadata, None, None, client)
                .step(start + 2, Stage::ServerMetadata, None, None, client)
                .step(start + 3, Stage::Register, None, Some(id), client)
                .step(start + 9, Stage::Authorize, None, Some(id), browser)
                .step(start + 60, Stage::Consent, None, Some(id), browser)
                .step(start + 61, Stage::Token, None, Some(id), client)
                .step(start + 62, Stage::FirstCall, None, Some(id), client)
        }
    }

    #[test]
    fn a_whole_way_is_one_attempt_that_connected() {
        let told = whole(0, "gth_client_a", ("192.0.2.1", CODE), ("192.0.2.1", BROWSER)).told(NOW);
        assert_eq!(told.len(), 1);
        let attempt = &told[0];
        assert_eq!((attempt.client.as_str(), attempt.outcome), ("Claude Code", Outcome::Connected));
        assert_eq!(attempt.client_id.as_deref(), Some("gth_client_a"));
        assert_eq!(attempt.steps.iter().map(|step| step.stage).collect::<Vec<_>>(), Stage::ALL);
        assert!(attempt.stuck.is_none() && attempt.fix.is_empty());
        assert_eq!((attempt.named.as_str(), attempt.address.as_str()), (CODE, "192.0.2.1"));
    }

    #[test]
    fn two_clients_of_one_address_stay_two() {
        let one = whole(0, "a", ("192.0.2.1", CODE), ("192.0.2.1", BROWSER));
        let told = one.whole(5, "b", ("192.0.2.1", "cursor/2"), ("192.0.2.1", BROWSER)).told(NOW);
        // In order of time they are mixed.
        let mut names: Vec<_> = told.iter().map(|attempt| attempt.client.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["Claude Code", "Cursor"]);
        assert!(told.iter().all(|attempt| attempt.outcome == Outcome::Connected), "{told:#?}");
    }

    #[test]
    fn a_client_in_a_cloud_and_the_browser_of_its_person_are_one_attempt() {
        let id = "https://claude.ai/oauth/mcp-oauth-client-metadata";
        let cloud = ("203.0.113.9", "python-httpx/0.28");
        let told = Story(Vec::new())
            .step(0, Stage::Challenge, None, None, cloud)
            .step(1, Stage::ResourceMetadata, None, None, cloud)
            .step(5, Stage::Authorize, None, Some(id), ("192.0.2.1", BROWSER))
            .step(30, Stage::Consent, None, Some(id), ("192.0.2.1", BROWSER))
            .step(31, Stage::Token, None, Some(id), cloud)
            .told(NOW);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert_eq!((told[0].client.as_str(), told[0].outcome), ("Claude.ai", Outcome::Stopped));
        assert_eq!(told[0].stuck, Some(Stage::FirstCall));
        assert!(told[0].fix.contains("exactly the endpoint URL"));
        assert_eq!(told[0].steps.len(), 5);
    }

    #[test]
    fn a_failure_names_its_step_and_what_this_client_does_about_it() {
        let client = ("192.0.2.1", CODE);
        let told = Story(Vec::new())
            .step(0, Stage::Challenge, None, None, client)
            .step(1, Stage::Authorize, Some("unknown_client"), Some("gone"), ("192.0.2.1", BROWSER))
            .told(NOW);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].outcome, told[0].stuck), (Outcome::Failed, Some(Stage::Authorize)));
        assert!(told[0].fix.contains("claude mcp logout"), "{}", told[0].fix);
        // What went well afterwards mends it.
        let mended = Story(Vec::new())
            .step(0, Stage::Token, Some("invalid_grant"), Some("x"), client)
            .step(5, Stage::Authorize, None, Some("x"), client)
            .step(9, Stage::Token, None, Some("x"), client)
            .step(10, Stage::FirstCall, None, Some("x"), client)
            .told(NOW);
        assert_eq!(mended[0].outcome, Outcome::Connected);
    }

    #[test]
    fn a_credential_that_failed_before_is_no_part_of_a_clients_way() {
        let here = ("192.0.2.1", "node");
        let told = Story(Vec::new())
            .step(0, Stage::Challenge, Some("credential_in_query"), None, here)
            .step(5, Stage::Challenge, Some("key_invalid"), None, here)
            .step(240, Stage::Challenge, None, None, here)
            .step(241, Stage::Register, None, Some("a"), here)
            .step(243, Stage::Authorize, None, Some("a"), ("192.0.2.1", BROWSER))
            .step(244, Stage::Challenge, Some("key_invalid"), None, here)
            .step(245, Stage::Consent, Some("access_denied"), Some("a"), ("192.0.2.1", BROWSER))
            .told(NOW);
        assert_eq!(told.len(), 2, "{told:#?}");
        let of = |id: Option<&str>| told.iter().find(|attempt| attempt.client_id.as_deref() == id).unwrap();
        let stages: Vec<_> = of(Some("a")).steps.iter().map(|step| step.stage).collect();
        assert_eq!(stages, [Stage::Challenge, Stage::Register, Stage::Authorize, Stage::Consent]);
        assert!(of(Some("a")).steps[..3].iter().all(|step| step.error.is_none()));
        assert_eq!(of(Some("a")).diagnosis, "The person chose Deny.");
        assert!(of(Some("a")).fix.contains("choose Allow"));
        assert!(of(None).steps.iter().all(|step| step.stage == Stage::Challenge && step.error.is_some()));
    }

    #[test]
    fn what_was_long_before_a_registration_belongs_to_somebody_else() {
        let here = ("192.0.2.1", "node");
        let told = Story(Vec::new())
            .step(0, Stage::Challenge, None, None, here)
            .step(240, Stage::Register, None, Some("a"), here)
            .step(243, Stage::Authorize, None, Some("a"), ("192.0.2.1", BROWSER))
            .step(244, Stage::Token, None, Some("a"), here)
            .told(NOW);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert_eq!(told[0].steps[0].stage, Stage::Register);
        assert_eq!((told[1].client_id.as_deref(), told[1].steps.len()), (None, 1));
    }

    #[test]
    fn two_clients_of_one_program_at_one_address_stay_two() {
        let (here, browser) = (("192.0.2.1", "node"), ("192.0.2.1", BROWSER));
        let told = Story(Vec::new())
            .step(0, Stage::Register, None, Some("a"), here)
            .step(1, Stage::Register, None, Some("b"), here)
            .step(2, Stage::Authorize, None, Some("a"), browser)
            .step(3, Stage::Authorize, None, Some("b"), browser)
            .step(4, Stage::Challenge, None, None, here)
            .step(5, Stage::Consent, None, Some("b"), browser)
            .step(6, Stage::Token, Some("invalid_grant"), Some("b"), here)
            .told(NOW);
        let steps = |id: &str| {
            let found = told.iter().find(|attempt| attempt.client_id.as_deref() == Some(id)).unwrap();
            found.steps.iter().map(|step| step.stage).collect::<Vec<_>>()
        };
        assert_eq!(steps("a"), [Stage::Register, Stage::Authorize]);
        assert!(!steps("a").contains(&Stage::Token) && steps("b").ends_with(&[Stage::Consent, Stage::Token]));
    }

    #[test]
    fn a_refresh_token_that_ended_is_told_apart_from_a_code() {
        let client = ("192.0.2.1", CODE);
        let mut story = Story(Vec::new()).step(0, Stage::Token, Some("invalid_grant"), Some("a"), client);
        assert!(story.told(NOW)[0].diagnosis.starts_with("Its code"));
        story.0[0].detail = super::super::RENEWING.to_owned();
        let told = story.told(NOW);
        assert_eq!(told[0].diagnosis, "Its connection was revoked or has ended.");
        assert_eq!(told[0].fix, "Sign in again in the client.");
    }

    #[test]
    fn who_goes_silent_stopped_and_who_was_just_here_is_under_way() {
        let client = ("192.0.2.1", "mcp-remote/0.15.1");
        let story = Story(Vec::new()).step(0, Stage::Challenge, None, None, client).step(
            70,
            Stage::Challenge,
            None,
            None,
            client,
        );
        let told = story.told(6 * MINUTE);
        assert_eq!((told.len(), told[0].outcome), (1, Outcome::UnderWay));
        let told = story.told(NOW);
        assert_eq!((told[0].outcome, told[0].stuck), (Outcome::Stopped, Some(Stage::ResourceMetadata)));
        assert_eq!((told[0].steps.len(), told[0].steps[0].times), (1, 2));
        assert_eq!(told[0].client, "mcp-remote");
    }

    #[test]
    fn later_ways_are_attempts_of_their_own_and_renewals_are_none() {
        let client = ("192.0.2.1", CODE);
        let story = whole(0, "a", client, ("192.0.2.1", BROWSER))
            .step(4000, Stage::Token, None, Some("a"), client)
            .step(4001, Stage::FirstCall, None, Some("a"), client)
            .step(20_000, Stage::Challenge, None, None, client)
            .step(20_000 + 16 * 60, Stage::Challenge, None, None, client);
        let told = story.told(NOW);
        assert_eq!(told.len(), 3);
        assert_eq!(told.last().unwrap().outcome, Outcome::Connected);
        assert!(told[0].last_at() > told[1].last_at());
    }

    #[test]
    fn clients_are_known_by_what_they_say() {
        for (text, name) in [
            ("Claude Code (gatehouse)", "Claude Code"),
            ("https://chatgpt.com/oauth/codex/client.json", "Codex"),
            ("openai-mcp/1.0", "ChatGPT"),
            ("Claude", "Claude.ai"),
            ("Visual Studio Code", "VS Code"),
            ("MCP Inspector", "MCP Inspector"),
            ("MCP CLI Client", "mcp-remote"),
            ("Cursor", "Cursor"),
        ] {
            assert_eq!(Client::recognise([text].into_iter()).name(), Some(name), "{text}");
        }
        assert_eq!(Client::recognise(["FastMCP Client"].into_iter()).name(), None);
        assert_eq!(generic("python-httpx/0.28 (x)"), "python-httpx");
        assert_eq!(generic(BROWSER), "MCP client");
    }
}

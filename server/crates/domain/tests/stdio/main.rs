//! Servers on standard streams, with real processes: those of the server beside this file.

use std::{sync::Arc, time::Duration};

use domain::{
    mcp::upstream::{
        Answer, Call, CallEvent, CallStream, Reply, Session, Upstream, UpstreamError, UpstreamSettings,
        Upstreams, Wanted,
        stdio::{Offered, Stdio, StdioServer},
    },
    mcp::{asks::Asks, exchange::Exchange},
    net::{Ending, NetError, Outbound, OutboundSettings, ProcessFault},
};
use model::ConnectorId;
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stdio-server");

fn server(arguments: &[&str]) -> StdioServer {
    let args = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    StdioServer { args, ..StdioServer::new("fixture", PROGRAM) }
}

struct Set {
    upstreams: Upstreams,
    connector: ConnectorId,
}

impl Set {
    fn new(server: StdioServer) -> Self {
        Self::with(server, UpstreamSettings::default())
    }

    fn with(server: StdioServer, settings: UpstreamSettings) -> Self {
        let stdio =
            Stdio::new(vec![server], Arc::new(|| 1_790_000_000_000), |exchange: Arc<dyn Exchange>| exchange);
        let outbound = Arc::new(Outbound::new(OutboundSettings::default()).unwrap());
        let upstreams = Upstreams::with_stdio(outbound, Arc::new(|| 0), settings, stdio);
        Self { upstreams, connector: ConnectorId::from_uuid(uuid::Uuid::from_u128(7)) }
    }

    fn open(&self) -> Client {
        Client(Upstream::Http(self.upstreams.local("fixture", "acme", Some(self.connector), None)))
    }

    fn log(&self) -> String {
        let lines = self.upstreams.stdio().report(self.connector).log;
        lines.into_iter().map(|line| line.text + "\n").collect()
    }

    fn running(&self) -> usize {
        self.upstreams.stdio().report(self.connector).running.len()
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: {}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[derive(Clone)]
struct Client(Upstream);

impl Client {
    async fn reply(&self, tool: &str, arguments: &str, with: Call<'_>) -> Result<Reply, UpstreamError> {
        self.0.call(&Call { name: tool, arguments: Some(arguments), ..with }).await
    }

    async fn answer(&self, tool: &str, arguments: &str) -> Result<Answer, UpstreamError> {
        self.reply(tool, arguments, Call::default()).await?.finish().await
    }

    /// The text of a result.
    async fn text(&self, tool: &str, arguments: &str) -> String {
        text(&self.answer(tool, arguments).await.unwrap())
    }

    async fn stream(&self, tool: &str, arguments: &str, with: Call<'_>) -> Box<CallStream> {
        match self.reply(tool, arguments, with).await.unwrap() {
            Reply::Stream(stream) => stream,
            Reply::Answer(answer) => panic!("no stream: {}", answer.text()),
        }
    }
}

fn text(answer: &Answer) -> String {
    let value: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    value["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn is_running(pid: &str) -> bool {
    // A zombie is no process any more; whoever adopted it will look.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

async fn gone(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(pid) {
        assert!(Instant::now() < deadline, "{pid} is still there");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn both_eras_are_spoken_and_calls_run_side_by_side_in_one_process() {
    for (era, version) in [("modern", "2026-07-28"), ("legacy", "2025-11-25")] {
        let set = Set::new(server(&["--era", era]));
        let client = set.open();
        let report = client.0.probe(0).await.unwrap();
        assert_eq!(report.protocol_version, version);
        assert!(report.list.tools.iter().any(|tool| tool.name == "echo"));
        let slow = client.text("slow", r#"{"ms":400}"#);
        let quick = async {
            let mut texts = Vec::new();
            for n in 0..20 {
                texts.push(client.text("echo", &format!("{{\n\"text\":\"{n} \\n ü\"\n}}")).await);
            }
            (texts, Instant::now())
        };
        let began = Instant::now();
        let (slow, (texts, done)) = tokio::join!(slow, quick);
        assert_eq!(slow, "400");
        assert!(done - began < Duration::from_millis(400), "{era}: nobody waits for others");
        assert_eq!(texts[3], "3 \n ü");
        assert_eq!(set.running(), 1, "{era}");
        set.upstreams.end().await;
    }
}

#[tokio::test]
async fn a_server_that_dies_of_the_first_question_is_asked_the_older_way() {
    let set = Set::new(server(&["--die-on-discover"]));
    let client = set.open();
    assert_eq!(client.0.probe(0).await.unwrap().protocol_version, "2025-11-25");
    assert_eq!(client.text("echo", r#"{"text":"x"}"#).await, "x");
    set.upstreams.end().await;
}

#[tokio::test]
async fn ups_08_a_crash_fails_the_calls_under_way_and_the_next_call_starts_another() {
    for era in ["modern", "legacy"] {
        let set = Set::new(server(&["--era", era]));
        let client = set.open();
        assert_eq!(client.text("count", "{}").await, "1");
        assert_eq!(client.text("count", "{}").await, "2");
        let began = Instant::now();
        let other = client.answer("hang", "{}");
        let crash = async {
            sleep(Duration::from_millis(50)).await;
            client.answer("crash", "{}").await
        };
        let (other, crash) = tokio::join!(other, crash);
        let ended = UpstreamError::Net(NetError::Process(ProcessFault::Ended(Ending::Status(3))));
        assert_eq!((other.unwrap_err(), crash.unwrap_err()), (ended.clone(), ended), "{era}");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(client.text("count", "{}").await, "1", "{era}: it is another process");
        assert!(set.log().contains("ended by itself (exit status 3)"));
        set.upstreams.end().await;
    }
}

#[tokio::test]
async fn a_server_that_keeps_ending_is_left_alone_for_longer_and_longer() {
    let set = Set::new(server(&["--era", "modern"]));
    let client = set.open();
    for _ in 0..2 {
        assert!(matches!(
            client.answer("crash", "{}").await,
            Err(UpstreamError::Net(NetError::Process(ProcessFault::Ended(_))))
        ));
    }
    let error = client.answer("echo", "{}").await.unwrap_err();
    assert_eq!(error, UpstreamError::Net(NetError::Process(ProcessFault::Resting(1))));
    assert_eq!(error.retry_after(), Some(1));
    assert_eq!(set.upstreams.stdio().report(set.connector).rests, Some(1));
    assert!(!set.upstreams.stdio().sleeps("fixture", set.connector), "a check shall look");
    set.until("it may be started again", |set| set.upstreams.stdio().report(set.connector).rests.is_none())
        .await;
    assert_eq!(client.text("echo", r#"{"text":"back"}"#).await, "back");
    set.upstreams.end().await;
}

#[tokio::test]
async fn ups_02_a_hanging_call_ends_in_time_and_the_server_is_told() {
    for era in ["modern", "legacy"] {
        let settings =
            UpstreamSettings { first_byte: Duration::from_millis(300), ..UpstreamSettings::default() };
        let set = Set::with(server(&["--era", era]), settings);
        let client = set.open();
        client.text("echo", r#"{"text":"x"}"#).await;
        let error = client.answer("hang", "{}").await.unwrap_err();
        assert_eq!(error, UpstreamError::Timeout(Duration::from_millis(300)), "{era}");
        let deadline = Instant::now() + Duration::from_secs(5);
        while client.text("cancelled", "{}").await == "[]" {
            assert!(Instant::now() < deadline, "{era}: the server was not told");
            sleep(Duration::from_millis(10)).await;
        }
        set.upstreams.end().await;
    }
}

#[tokio::test]
async fn ups_05_garbage_on_the_output_is_noted_and_harms_nobody() {
    let set = Set::new(server(&["--era", "legacy"]));
    let client = set.open();
    assert_eq!(client.text("garbage", "{}").await, "after the garbage");
    assert!(set.log().contains("on its output, and no message: Listening on nothing"), "{}", set.log());
    set.upstreams.end().await;
}

#[tokio::test]
async fn ups_04_a_message_over_the_limit_fails_the_call_that_it_answers_and_no_other() {
    let settings = UpstreamSettings { max_bytes: 1 << 20, ..UpstreamSettings::default() };
    let set = Set::with(server(&["--era", "modern"]), settings);
    let client = set.open();
    let pid = client.text("pid", "{}").await;
    let (huge, slow) =
        tokio::join!(client.answer("huge", r#"{"mib":6}"#), client.text("slow", r#"{"ms":500}"#));
    let error = huge.unwrap_err();
    assert_eq!(
        (error.word(), error.to_string().as_str()),
        ("upstream_too_large", "The server's answer is larger than 1 MiB.")
    );
    assert_eq!(slow, "500");
    assert_eq!(client.text("pid", "{}").await, pid, "it is still the same process");
    // One that never ends is cut off with its process.
    let endless =
        timeout(Duration::from_secs(20), client.answer("endless", "{}")).await.unwrap().unwrap_err();
    assert_eq!(endless.word(), "upstream_too_large");
    gone(&pid).await;
    assert_ne!(client.text("pid", "{}").await, pid);
    set.upstreams.end().await;
}

#[tokio::test]
async fn a_flood_on_standard_error_stops_nothing_and_is_kept_in_bounds() {
    let set = Set::new(server(&["--era", "modern"]));
    let client = set.open();
    assert_eq!(client.text("flood", r#"{"lines":50000}"#).await, "flooded");
    assert_eq!(client.text("echo", r#"{"text":"x"}"#).await, "x");
    set.until("the last line", |set| set.log().contains("line 49999 of a flood")).await;
    assert!(set.log().len() <= 128 << 10);
    set.upstreams.end().await;
}

#[tokio::test]
async fn nothing_is_inherited_and_what_the_operator_wrote_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    let set = Set::new(StdioServer {
        env: vec![("TOKEN".to_owned(), SecretString::from("hunter2hunter2".to_owned()))],
        dir: Some(folder.clone()),
        ..server(&["--era", "modern"])
    });
    let client = set.open();
    let environment = client.text("environment", "{}").await;
    assert_eq!(
        environment,
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nTOKEN=hunter2hunter2"
    );
    assert_eq!(client.text("folder", "{}").await, folder.display().to_string());
    set.upstreams.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_over_the_operators_limit_ends_the_process_and_not_gatehouse() {
    let set = Set::new(StdioServer { memory: Some(64 << 20), ..server(&["--era", "modern"]) });
    let client = set.open();
    assert!(client.answer("memory", r#"{"mib":16}"#).await.is_ok());
    let error = client.answer("memory", r#"{"mib":256}"#).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Net(NetError::Process(ProcessFault::Ended(_)))), "{error}");
    assert_eq!(client.text("echo", r#"{"text":"x"}"#).await, "x");
    set.upstreams.end().await;
}

#[tokio::test]
async fn stopping_leaves_no_process_behind_not_even_the_children_of_one_that_does_not_listen() {
    let set = Set::new(server(&["--era", "modern", "--deaf"]));
    let client = set.open();
    let (pid, child) = (client.text("pid", "{}").await, client.text("child", "{}").await);
    assert!(is_running(&pid) && is_running(&child));
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.answer("hang", "{}").await }
    });
    sleep(Duration::from_millis(50)).await;
    set.upstreams.end().await;
    assert!(!is_running(&pid));
    gone(&child).await;
    let stopped = UpstreamError::Net(NetError::Process(ProcessFault::Stopped));
    assert_eq!(under_way.await.unwrap().unwrap_err(), stopped);
    assert_eq!(client.answer("echo", "{}").await.unwrap_err(), stopped, "nothing is started any more");
}

#[tokio::test]
async fn a_process_ends_with_the_last_who_holds_it_and_when_nobody_uses_it() {
    let set = Set::new(StdioServer { idle: Duration::from_millis(300), ..server(&["--era", "modern"]) });
    let client = set.open();
    let first = client.text("pid", "{}").await;
    assert!(!set.upstreams.stdio().sleeps("fixture", set.connector));
    // Checks are no use.
    let deadline = Instant::now() + Duration::from_secs(10);
    while set.running() > 0 {
        assert!(Instant::now() < deadline);
        client.0.list_tools(0).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        if set.log().contains("nobody used it") {
            break;
        }
    }
    gone(&first).await;
    let second = client.text("pid", "{}").await;
    assert_ne!(first, second);
    set.until("asleep", |set| set.upstreams.stdio().sleeps("fixture", set.connector)).await;
    let third = client.text("pid", "{}").await;
    drop(client);
    gone(&third).await;
    set.upstreams.end().await;
}

#[tokio::test]
async fn no_more_processes_run_than_the_operator_allows() {
    let one = StdioServer { processes: 1, ..server(&["--era", "legacy"]) };
    let set = Set::new(one);
    let (first, second) = (set.open(), set.open());
    assert_eq!(first.text("echo", r#"{"text":"x"}"#).await, "x");
    let error = second.answer("echo", "{}").await.unwrap_err();
    assert_eq!(error, UpstreamError::Net(NetError::Process(ProcessFault::TooMany(1))));
    assert_eq!(error.word(), "connector_busy");
    // A process of its own that nobody uses makes room.
    let with = Call { session: Session { asks: asks(), ..Session::default() }, ..Call::default() };
    let answer = first.reply("can", "{}", with).await.unwrap().finish().await.unwrap();
    assert!(text(&answer).contains("elicitation"));
    assert_eq!(first.text("can", "{}").await, "{}");
    set.upstreams.end().await;
}

fn asks() -> Asks {
    Asks::read(r#"{"elicitation":{"form":{}}}"#)
}

fn session(client: u128) -> Call<'static> {
    Call { session: Session { client: Some(client), asks: asks(), legacy: true }, ..Call::default() }
}

#[tokio::test]
async fn ups_11_a_question_in_the_middle_of_a_call_reaches_its_client_and_no_other() {
    let set = Set::new(server(&["--era", "legacy"]));
    let client = set.open();
    let mut stream = client.stream("ask", "{}", session(1)).await;
    let CallEvent::Request(question) = stream.next().await.unwrap() else { panic!("a question") };
    assert_eq!(question.method, "elicitation/create");
    stream.answer(&question.id, r#""result":{"action":"accept"}"#);
    let CallEvent::Answer(answer) = stream.next().await.unwrap() else { panic!("an answer") };
    assert_eq!(text(&answer), r#"{"action":"accept"}"#);
    // Two at once in one process: nobody is asked what may be meant for the other.
    let (one, two) = tokio::join!(
        async { client.reply("ask", r#"{"ms":200}"#, session(1)).await.unwrap().finish().await.unwrap() },
        async { client.reply("slow", r#"{"ms":600}"#, session(2)).await.unwrap().finish().await.unwrap() },
    );
    assert!(text(&one).contains("not certain whom this asks"), "{}", text(&one));
    assert_eq!(text(&two), "600");
    assert_eq!(set.running(), 1);
    // Who can be asked nothing gets a server that knows so.
    assert_eq!(client.text("can", "{}").await, "{}");
    assert_eq!(set.running(), 2);
    set.upstreams.end().await;
}

#[tokio::test]
async fn ups_11_while_somebody_thinks_about_a_question_others_are_served_elsewhere() {
    let set = Set::new(server(&["--era", "legacy"]));
    let client = set.open();
    let shared = Call { session: Session { client: None, asks: asks(), legacy: false }, ..Call::default() };
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = client.stream("ask", "{}", shared).await;
        let CallEvent::Request(question) = stream.next().await.unwrap() else { panic!("a question") };
        open.push((stream, question));
    }
    assert_eq!(set.running(), 3, "each in a process of its own");
    for (stream, question) in &mut open {
        stream.answer(&question.id, r#""result":{"action":"accept"}"#);
        let CallEvent::Answer(answer) = stream.next().await.unwrap() else { panic!("an answer") };
        assert_eq!(text(&answer), r#"{"action":"accept"}"#);
    }
    // No more are started once all have been answered.
    let answer = client.reply("echo", r#"{"text":"x"}"#, shared).await.unwrap().finish().await.unwrap();
    assert_eq!((text(&answer).as_str(), set.running()), ("x", 3));
    set.upstreams.end().await;
}

#[tokio::test]
async fn a_session_has_a_process_of_its_own_where_the_operator_wants_it() {
    let set = Set::new(StdioServer { per_session: true, ..server(&["--era", "legacy"]) });
    let client = set.open();
    let pid = |of| {
        let client = client.clone();
        async move { text(&client.reply("pid", "{}", session(of)).await.unwrap().finish().await.unwrap()) }
    };
    let (one, two) = (pid(1).await, pid(2).await);
    assert_ne!(one, two);
    assert_eq!(pid(1).await, one);
    client.0.close(1);
    gone(&one).await;
    assert!(is_running(&two));
    set.upstreams.end().await;
}

#[tokio::test]
async fn progress_logs_and_news_arrive() {
    for era in ["modern", "legacy"] {
        let set = Set::new(server(&["--era", era]));
        let client = set.open();
        let with = Call { progress_token: Some("\"mine\""), logs: true, ..Call::default() };
        let mut stream = client.stream("steps", r#"{"steps":2,"ms":10}"#, with).await;
        for step in 1..=2 {
            let CallEvent::Notification(message) = stream.next().await.unwrap() else { panic!("{era}") };
            let message = String::from_utf8(message.to_vec()).unwrap();
            assert!(message.contains(r#""progressToken":"mine""#), "{message}");
            assert!(message.contains(&format!(r#""progress":{step}"#)), "{message}");
        }
        assert!(matches!(stream.next().await.unwrap(), CallEvent::Answer(_)));
        let mut stream = client.stream("log", "{}", with).await;
        assert!(matches!(stream.next().await.unwrap(), CallEvent::Notification(_)), "{era}");

        let wanted = Wanted { tools: true, ..Wanted::default() };
        let mut listener = client.0.listen(&wanted).await.unwrap().expect("a stream of news");
        client.text("changed", "{}").await;
        loop {
            let message = timeout(Duration::from_secs(5), listener.next()).await.unwrap().unwrap().unwrap();
            let message = String::from_utf8(message.to_vec()).unwrap();
            if message.contains("notifications/tools/list_changed") {
                break;
            }
            assert!(message.contains("acknowledged"), "{message}");
        }
        // With the process the stream ends, and says so.
        let _ = client.answer("crash", "{}").await;
        assert!(timeout(Duration::from_secs(5), listener.next()).await.unwrap().is_err(), "{era}");
        set.upstreams.end().await;
    }
}

#[tokio::test]
async fn only_the_operators_organisations_reach_a_server() {
    let set = Set::new(StdioServer {
        offered: Offered::To(["acme".to_owned()].into()),
        ..server(&["--era", "modern"])
    });
    let stdio = set.upstreams.stdio();
    assert_eq!(stdio.offered("acme").count(), 1);
    assert_eq!(stdio.offered("other").count(), 0);
    for (name, org) in [("fixture", "other"), ("other", "acme")] {
        let client = Client(Upstream::Http(set.upstreams.local(name, org, None, None)));
        let error = client.answer("echo", "{}").await.unwrap_err();
        assert_eq!(error, UpstreamError::Net(NetError::Process(ProcessFault::NotListed)));
    }
    set.upstreams.end().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_is_told_with_the_reason_in_the_log() {
    let set = Set::new(StdioServer::new("fixture", "/nowhere/at/all"));
    let client = set.open();
    let error = client.0.probe(0).await.unwrap_err();
    assert_eq!(error, UpstreamError::Net(NetError::Process(ProcessFault::NotStarted)));
    assert!(set.log().contains("could not be started: No such file"), "{}", set.log());
    set.upstreams.end().await;
}

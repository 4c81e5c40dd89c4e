use super::*;
use crate::net::ProcessFault;

fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

const ASK: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}"#;
const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;

fn refused(heard: &Heard) -> bool {
    matches!(heard, Heard::Reply(reply) if reply.contains(r#""id":"q","error""#))
}

#[test]
fn ups_11_a_question_reaches_a_client_only_where_no_other_can_be_meant() {
    let link = Arc::new(Link::default());
    assert!(refused(&link.hear(message(ASK))), "nobody is there");
    let mut first = link.expect(1, Owner::Client(7), false).unwrap();
    let _handshake = link.expect(9, Owner::Handshake, false).unwrap();
    assert_eq!(link.hear(message(ASK)), Heard::Done);
    assert_eq!(first.outlet.receiver.try_recv().unwrap().unwrap(), ASK);

    let mut second = link.expect(2, Owner::Client(7), false).unwrap();
    assert_eq!(link.hear(message(ASK)), Heard::Done, "both are the same client's");
    assert_eq!(second.outlet.receiver.try_recv().unwrap().unwrap(), ASK);
    link.hear(message(LOG));
    assert!(second.outlet.receiver.try_recv().is_ok());

    let mut other = link.expect(3, Owner::Client(8), false).unwrap();
    assert!(refused(&link.hear(message(ASK))));
    link.hear(message(LOG));
    drop((first, second));
    assert_eq!(link.hear(message(ASK)), Heard::Done);
    assert_eq!(other.outlet.receiver.try_recv().unwrap().unwrap(), ASK, "and nothing before it");

    let _anybody = link.expect(4, Owner::Anybody, false).unwrap();
    drop(other);
    let _another = link.expect(5, Owner::Anybody, false).unwrap();
    assert!(refused(&link.hear(message(ASK))), "who has no session may be anybody");
}

#[test]
fn ups_06_answers_go_to_whoever_asked_and_to_nobody_else() {
    let link = Arc::new(Link::default());
    let mut first = link.expect(1, Owner::Anybody, false).unwrap();
    let mut second = link.expect(2, Owner::Anybody, false).unwrap();
    for nobodys in [
        r#"{"jsonrpc":"2.0","id":3,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":""}}"#,
    ] {
        assert_eq!(link.hear(message(nobodys)), Heard::Done);
    }
    for garbage in
        ["", "{", "[]", r#"{"id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#]
    {
        assert_eq!(link.hear(message(garbage)), Heard::Garbage, "{garbage}");
    }
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}"#;
    link.hear(message(progress));
    link.hear(message(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#));
    link.hear(message(r#"{"jsonrpc":"2.0","id":2,"result":{"again":1}}"#));
    assert!(first.outlet.receiver.try_recv().is_err());
    assert_eq!(second.outlet.receiver.try_recv().unwrap().unwrap(), progress);
    assert_eq!(
        second.outlet.receiver.try_recv().unwrap().unwrap(),
        r#"{"jsonrpc":"2.0","id":2,"result":{}}"#
    );
    assert!(second.outlet.receiver.try_recv().is_err());
    // An error without an id is about the only call there is.
    link.hear(message(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":""}}"#));
    assert!(first.outlet.receiver.try_recv().is_ok());
}

#[test]
fn who_does_not_read_loses_news_and_never_the_answer() {
    let link = Arc::new(Link::default());
    let mut waiting = link.expect(1, Owner::Anybody, false).unwrap();
    for _ in 0..MOST_QUEUED * 3 {
        link.hear(message(LOG));
    }
    link.hear(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    let mut all = 0;
    let mut last = Bytes::new();
    while let Ok(parcel) = waiting.outlet.receiver.try_recv() {
        (all, last) = (all + 1, parcel.unwrap());
    }
    assert_eq!(all, MOST_QUEUED + 1);
    assert_eq!(last, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
}

#[test]
fn the_end_is_told_to_all_and_an_unanswered_request_is_told_that_it_was_given_up() {
    let link = Arc::new(Link::default());
    let told = Arc::new(AtomicUsize::new(0));
    let count = || {
        let told = Arc::clone(&told);
        move || {
            told.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut given_up = link.expect(1, Owner::Anybody, false).unwrap();
    given_up.when_dropped(count());
    drop(given_up);
    let mut answered = link.expect(2, Owner::Anybody, false).unwrap();
    answered.when_dropped(count());
    link.hear(message(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#));
    drop(answered);
    assert_eq!(told.load(Ordering::Relaxed), 1);

    let mut pending = link.expect(3, Owner::Anybody, false).unwrap();
    let mut listener = link.listen().unwrap();
    assert!(!link.end_if_quiet(ProcessFault::Stopped.into()));
    link.end(ProcessFault::NotStarted.into());
    let why = NetError::Process(ProcessFault::NotStarted);
    assert_eq!(pending.outlet.receiver.try_recv().unwrap(), Err(why));
    assert_eq!(listener.receiver.try_recv().unwrap(), Err(why));
    assert_eq!(link.expect(4, Owner::Anybody, false).unwrap_err(), why);
}

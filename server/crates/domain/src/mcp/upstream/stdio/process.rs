//! One process: its start, its streams and its end.

use std::{
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{Notify, OwnedSemaphorePermit, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    Common, FAREWELL, StdioServer,
    log::{LINE, Log},
    os,
    processes::Processes,
};
use crate::{
    mcp::upstream::link::{Heard, Link},
    net::{Ending, NetError, ProcessFault},
};

/// Where programs are looked for, unless the operator says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Messages that wait to be written.
const QUEUE: usize = 64;
/// What is kept of the ends of a line that is too long, to tell which request it answers.
const ENDS: usize = 256;
/// A line that is so many times too long never ends.
const ENDLESS: usize = 8;
/// Lines that are no messages of which each is noted; then one in a thousand.
const NOTED: u64 = 50;
/// How long what a process wrote last may take to arrive after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running process.
pub(super) struct Process {
    pub(super) serial: u64,
    /// What is under way on its streams.
    pub(super) link: Arc<Link>,
    /// When it began, Unix milliseconds.
    pub(super) since: i64,
    /// The result of its handshake in the legacy era. The lock is held while the handshake is made.
    pub(super) handshake: tokio::sync::Mutex<Option<Bytes>>,
    pub(super) initialized: AtomicBool,
    /// The place among the levels from which on it sends log messages.
    pub(super) level: AtomicU8,
    queue: mpsc::Sender<Bytes>,
    stop: Notify,
    began: Instant,
    /// When it was last used, milliseconds since `began`.
    used: AtomicU64,
}

/// What a process needs besides its command.
pub(super) struct Place {
    pub(super) owner: Weak<Processes>,
    pub(super) common: Arc<Common>,
    pub(super) log: Arc<Log>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) max_bytes: usize,
}

impl Place {
    /// Notes what happens to the process.
    fn note(&self, text: &str) {
        self.log.push((self.common.now)(), true, text.as_bytes());
    }
}

enum Why {
    Exited(Option<ExitStatus>),
    Closed,
    /// On purpose, because of this.
    Stopped(&'static str),
}

impl Process {
    /// Starts a process.
    ///
    /// # Errors
    /// When the system does not; the reason is in the log.
    pub(super) fn start(server: &StdioServer, serial: u64, place: Place) -> Result<Arc<Self>, ProcessFault> {
        let mut command = Command::new(&server.command);
        command
            .args(&server.args)
            .env_clear()
            .env("PATH", PATH)
            .envs(server.env.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(dir) = &server.dir {
            command.current_dir(dir);
        }
        os::prepare(&mut command, server);
        let failed = |what: &str, why: &dyn core::fmt::Display| {
            tracing::warn!(server = server.name, %why, "{what}");
            place.note(&format!("{what}: {why}"));
            ProcessFault::NotStarted
        };
        let mut child =
            command.spawn().map_err(|why| failed("the command of a server could not be started", &why))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (child.id(), streams) else {
            return Err(failed("the command of a server could not be started", &"it has no streams"));
        };
        if let Err(why) = os::limit(pid, server) {
            os::kill(pid);
            return Err(failed("the limits of a server's process could not be set", &why));
        }
        place.note(&format!("started as process {pid}"));
        tracing::info!(server = server.name, pid, "a server on this machine was started");
        let (queue, written) = mpsc::channel(QUEUE);
        let process = Arc::new(Self {
            serial,
            link: Arc::default(),
            since: (place.common.now)(),
            handshake: tokio::sync::Mutex::default(),
            initialized: AtomicBool::new(false),
            level: AtomicU8::new(u8::MAX),
            queue,
            stop: Notify::new(),
            began: Instant::now(),
            used: AtomicU64::new(0),
        });
        place.common.alive.send_modify(|alive| *alive += 1);
        let writer = tokio::spawn(write(stdin, written));
        let errors = tokio::spawn(read_errors(stderr, Arc::clone(&place.common), Arc::clone(&place.log)));
        let output = tokio::spawn(read_output(stdout, Arc::clone(&process), Reader::new(&place)));
        let streams = Streams { writer, output, errors };
        let idle = (!server.always).then_some(server.idle);
        tokio::spawn(Arc::clone(&process).keep(child, pid, streams, idle, place, server.name.clone()));
        Ok(process)
    }

    /// Sends a message. It waits while the process does not read.
    ///
    /// # Errors
    /// When the process has ended.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), NetError> {
        self.queue.send(one_line(message)).await.map_err(|_| ProcessFault::Stopped.into())
    }

    /// Sends a message that nobody waits for, unless the process does not read.
    pub(super) fn send_soon(&self, message: Bytes) {
        if self.queue.try_send(one_line(message)).is_err() {
            tracing::debug!("a message to a server on this machine was left out: it does not read");
        }
    }

    /// Somebody uses it.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// For how long nobody has used it.
    pub(super) fn unused(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.used.load(Ordering::Relaxed)))
    }

    /// Has it end.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Returns when nobody has used it for so long. Nothing new is begun then.
    async fn idle(&self, idle: Option<Duration>) {
        let Some(idle) = idle else { return std::future::pending().await };
        loop {
            let left = idle.saturating_sub(self.unused());
            if left.is_zero() && self.link.end_if_quiet(ProcessFault::Stopped.into()) {
                return;
            }
            sleep(if left.is_zero() { idle.min(Duration::from_secs(15)) } else { left }).await;
        }
    }

    /// Looks after it until it has ended.
    async fn keep(
        self: Arc<Self>,
        mut child: Child,
        pid: u32,
        mut streams: Streams,
        idle: Option<Duration>,
        place: Place,
        name: String,
    ) {
        // Should the runtime end before it.
        let group = Group(pid);
        let mut stopping = place.common.stopping.subscribe();
        let why = tokio::select! {
            status = child.wait() => Why::Exited(status.ok()),
            _ = &mut streams.output => match timeout(FAREWELL, child.wait()).await {
                Ok(status) => Why::Exited(status.ok()),
                Err(_) => Why::Closed,
            },
            () = self.stop.notified() => Why::Stopped("it is not needed any more"),
            () = self.idle(idle) => Why::Stopped("nobody used it"),
            () = told(&mut stopping) => Why::Stopped("Gatehouse stops"),
        };
        // Whoever comes now gets another one.
        self.link.close(ProcessFault::Stopped.into());
        let ending = match why {
            Why::Stopped(because) => {
                place.note(&format!("stopped: {because}"));
                self.over(&place, None);
                // The end of its input is how it is asked to go.
                streams.writer.abort();
                if timeout(FAREWELL, child.wait()).await.is_err() {
                    os::terminate(pid);
                    let _ = timeout(FAREWELL, child.wait()).await;
                }
                None
            }
            Why::Exited(Some(status)) => Some(match (status.code(), os::signal_of(status)) {
                (_, Some(signal)) => Ending::Signal(signal),
                (code, None) => Ending::Status(code.unwrap_or(-1)),
            }),
            Why::Exited(None) | Why::Closed => Some(Ending::Closed),
        };
        // Whatever it started goes with it, and with that the last writers of its streams.
        drop(group);
        let _ = child.start_kill();
        let _ = timeout(FAREWELL, child.wait()).await;
        streams.writer.abort();
        for reader in [&mut streams.output, &mut streams.errors] {
            if !reader.is_finished() && timeout(LAST_WORDS, &mut *reader).await.is_err() {
                reader.abort();
            }
        }
        if let Some(ending) = ending {
            place.note(&format!("ended by itself ({ending})"));
            tracing::warn!(server = name, pid, %ending, "a server on this machine has ended by itself");
            self.over(&place, Some(ending));
        } else {
            tracing::info!(server = name, pid, "a server on this machine was stopped");
        }
        place.common.alive.send_modify(|alive| *alive -= 1);
        drop(place.permit);
    }

    /// From now on another process is used. First that, then those who wait for this one are told.
    fn over(&self, place: &Place, ending: Option<Ending>) {
        if let Some(owner) = place.owner.upgrade() {
            owner.ended(self.serial, ending.is_some(), self.began.elapsed());
        }
        self.link.end(ending.map_or(ProcessFault::Stopped, ProcessFault::Ended).into());
    }
}

/// Returns when all processes are to end.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A process and all that it started; ended when dropped.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        os::kill(self.0);
    }
}

struct Streams {
    writer: JoinHandle<()>,
    output: JoinHandle<()>,
    errors: JoinHandle<()>,
}

/// A message as one line. Between its tokens there may be line ends; inside strings JSON has none.
fn one_line(message: Bytes) -> Bytes {
    if !message.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return message;
    }
    message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(message) = queue.recv().await {
        let written = async {
            stdin.write_all(&message).await?;
            stdin.write_all(b"\n").await?;
            stdin.flush().await
        };
        // That it has gone is noticed by whoever looks after it.
        if written.await.is_err() {
            break;
        }
    }
}

/// Reads to the end, always: a server whose standard error nobody reads stands still.
async fn read_errors(mut stderr: ChildStderr, common: Arc<Common>, log: Arc<Log>) {
    let mut buffer = BytesMut::with_capacity(8 << 10);
    // Whether the beginning of this line was kept already.
    let mut cut = false;
    while matches!(stderr.read_buf(&mut buffer).await, Ok(read) if read > 0) {
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1);
            if !std::mem::take(&mut cut) {
                log.push((common.now)(), false, line.trim_ascii_end());
            }
        }
        if buffer.len() >= LINE {
            if !std::mem::replace(&mut cut, true) {
                log.push((common.now)(), false, &buffer);
            }
            buffer.clear();
        }
    }
    if !buffer.is_empty() && !cut {
        log.push((common.now)(), false, buffer.trim_ascii_end());
    }
}

struct Reader {
    common: Arc<Common>,
    log: Arc<Log>,
    max_bytes: usize,
    /// Lines that were no messages.
    garbage: u64,
}

impl Reader {
    fn new(place: &Place) -> Self {
        let (common, log) = (Arc::clone(&place.common), Arc::clone(&place.log));
        Self { common, log, max_bytes: place.max_bytes, garbage: 0 }
    }

    fn line(&mut self, process: &Process, line: BytesMut) {
        let line = line.freeze();
        let line = line.slice_ref(line.trim_ascii());
        if line.is_empty() {
            return;
        }
        match process.link.hear(line.clone()) {
            Heard::Done => {}
            Heard::Reply(reply) => process.send_soon(reply.into()),
            Heard::Garbage => {
                self.garbage += 1;
                if self.garbage <= NOTED || self.garbage.is_multiple_of(1000) {
                    let mut noted = b"on its output, and no message: ".to_vec();
                    noted.extend_from_slice(&line[..line.len().min(LINE)]);
                    self.log.push((self.common.now)(), false, &noted);
                }
            }
        }
    }

    /// A line over the limit, of which only the ends are known.
    fn too_long(&self, process: &Process, head: &[u8], tail: &[u8]) {
        self.log.push((self.common.now)(), true, b"a message was over the limit and was dropped");
        let fault = ProcessFault::TooLarge(self.max_bytes);
        if !process.link.fail(id_of(head, tail), fault.into()) {
            // Whoever it was for waits in vain, and nobody knows who that is.
            process.link.end(fault.into());
            process.stop();
        }
    }
}

/// Reads messages, a line each. At most one is held, bounded by the limit.
async fn read_output(mut stdout: ChildStdout, process: Arc<Process>, mut reader: Reader) {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    let mut searched = 0;
    // The head of a line that is too long, and how much of it was left out.
    let mut long: Option<(Vec<u8>, usize)> = None;
    while matches!(stdout.read_buf(&mut buffer).await, Ok(read) if read > 0) {
        while let Some(at) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(searched + at + 1);
            searched = 0;
            match long.take() {
                None if line.len() > reader.max_bytes + 1 => {
                    reader.too_long(
                        &process,
                        &line[..ENDS.min(line.len())],
                        &line[line.len().saturating_sub(ENDS)..],
                    );
                }
                None => reader.line(&process, line),
                Some((head, _)) => reader.too_long(&process, &head, &line[line.len().saturating_sub(ENDS)..]),
            }
        }
        searched = buffer.len();
        if buffer.len() > reader.max_bytes || (long.is_some() && buffer.len() > 64 * ENDS) {
            let (_, left_out) = long.get_or_insert_with(|| (buffer[..ENDS.min(buffer.len())].to_vec(), 0));
            *left_out += buffer.len();
            if *left_out > ENDLESS * reader.max_bytes {
                process.link.close(ProcessFault::Stopped.into());
                reader.too_long(&process, &[], &[]);
                process.stop();
                return;
            }
            buffer = BytesMut::from(&buffer[buffer.len().saturating_sub(ENDS)..]);
            searched = buffer.len();
        }
        if buffer.is_empty() && buffer.capacity() > 1 << 20 {
            buffer = BytesMut::with_capacity(16 << 10);
        }
        buffer.reserve(16 << 10);
    }
}

/// The id of a message of which only the ends are known: servers put it first or last.
fn id_of(head: &[u8], tail: &[u8]) -> Option<u64> {
    fn number(text: &str) -> Option<(u64, &str)> {
        let text = text.trim_start().strip_prefix(':')?.trim_start();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        Some((text[..end].parse().ok()?, &text[end..]))
    }
    let (head, tail) = (String::from_utf8_lossy(head), String::from_utf8_lossy(tail));
    let before = head.find("\"result\"").or_else(|| head.find("\"error\"")).unwrap_or(0);
    if let Some(at) = head[..before].find("\"id\"") {
        return number(&head[at + 4..]).map(|(id, _)| id);
    }
    let at = tail.rfind("\"id\"")?;
    let (id, rest) = number(&tail[at + 4..])?;
    let rest: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    matches!(rest.as_str(), "}" | ",\"jsonrpc\":\"2.0\"}").then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_long_message_is_found_at_either_end() {
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"text":"xx"#, b"xx"), Some(17));
        assert_eq!(id_of(br#"{"result":{"text":"xx"#, br#"xx"}]},"jsonrpc":"2.0","id":4}"#), Some(4));
        assert_eq!(id_of(br#"{"result":{"text":"xx"#, br#"xx"}]}, "id": 4, "jsonrpc": "2.0"}"#), Some(4));
        // What the text of a result says is nothing to go by.
        assert_eq!(id_of(br#"{"result":{"id":9,"text":"xx"#, br#"\"id\":8}"}]}}"#), None);
    }

    #[test]
    fn a_message_is_one_line() {
        let spread = Bytes::from_static(b"{\n \"a\":\r\n\"b\\n\"}");
        assert_eq!(one_line(spread), Bytes::from_static(b"{  \"a\":  \"b\\n\"}"));
    }
}

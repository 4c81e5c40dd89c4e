//! An MCP server on standard streams for the tests: it does what is asked of it, also what no server should.
//!
//! `stdio-server [--era modern|legacy] [--die-on-discover] [--deaf]`

#![expect(clippy::print_stderr, reason = "it is what is tested")]

use std::{
    collections::HashMap,
    env,
    io::{self, BufRead as _, Write as _},
    process::{self, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

#[derive(Default)]
struct Server {
    modern: bool,
    die_on_discover: bool,
    calls: AtomicU64,
    questions: AtomicU64,
    waiting: Mutex<HashMap<u64, Sender<Value>>>,
    cancelled: Mutex<Vec<Value>>,
    listening: Mutex<Option<Value>>,
    can: Mutex<Value>,
}

fn say(message: &Value) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{message}");
    let _ = out.flush();
}

fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

impl Server {
    fn tool(&self, id: &Value, params: &Value) -> Result<Value, (i64, String)> {
        let arguments = &params["arguments"];
        let number = |name: &str| arguments[name].as_u64().unwrap_or(0);
        Ok(match params["name"].as_str().unwrap_or_default() {
            "echo" => text(arguments["text"].as_str().unwrap_or_default()),
            "count" => text((self.calls.fetch_add(1, Ordering::SeqCst) + 1).to_string()),
            "pid" => text(process::id().to_string()),
            "can" => text(self.can.lock().unwrap().to_string()),
            "environment" => {
                #[expect(clippy::disallowed_methods, reason = "what it was given is what the test is about")]
                let mut names: Vec<_> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                names.sort();
                text(names.join("\n"))
            }
            "folder" => text(env::current_dir().unwrap().display().to_string()),
            "crash" => process::exit(3),
            "hang" => {
                thread::sleep(Duration::from_mins(10));
                text("late")
            }
            "slow" => {
                thread::sleep(Duration::from_millis(number("ms")));
                text(number("ms").to_string())
            }
            "garbage" => {
                let mut out = io::stdout().lock();
                let _ = writeln!(
                    out,
                    "Listening on nothing\n{{\"half\":\n[1,2]\n\u{feff}\n{{\"jsonrpc\":\"1.0\",\"id\":{id},\"result\":{{}}}}"
                );
                let _ = out.write_all(b"\xff\xfe\n");
                drop(out);
                text("after the garbage")
            }
            "huge" => text("x".repeat(usize::try_from(number("mib")).unwrap() << 20)),
            "endless" => {
                let mut out = io::stdout().lock();
                while out.write_all(&vec![b'x'; 64 << 10]).is_ok() {}
                process::exit(0)
            }
            "flood" => {
                for n in 0..number("lines") {
                    eprintln!("line {n} of a flood {}", "x".repeat(100));
                }
                text("flooded")
            }
            "memory" => {
                let taken = vec![1u8; usize::try_from(number("mib")).unwrap() << 20];
                text(taken.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string())
            }
            "child" => {
                #[expect(
                    clippy::zombie_processes,
                    reason = "it shall outlive this one, unless somebody ends it"
                )]
                let child = Command::new("sleep").arg("600").spawn().unwrap();
                text(child.id().to_string())
            }
            "steps" => {
                let token = &params["_meta"]["progressToken"];
                for step in 1..=number("steps") {
                    thread::sleep(Duration::from_millis(number("ms")));
                    say(&json!({"jsonrpc": "2.0", "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": step}}));
                }
                text("done")
            }
            "log" => {
                say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "warning", "data": "here"}}),
                );
                text("logged")
            }
            "changed" => {
                let mut params = json!({});
                if let Some(subscription) = &*self.listening.lock().unwrap() {
                    params["_meta"] = json!({SUBSCRIPTION: subscription});
                }
                say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": params}),
                );
                text("told")
            }
            "ask" if self.modern => json!({"resultType": "input_required", "requestState": "s"}),
            "ask" => {
                thread::sleep(Duration::from_millis(number("ms")));
                let question = self.questions.fetch_add(1, Ordering::SeqCst) + 1;
                let (sender, answer) = channel();
                self.waiting.lock().unwrap().insert(question, sender);
                say(&json!({"jsonrpc": "2.0", "id": question, "method": "elicitation/create",
                    "params": {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}}));
                text(answer.recv().unwrap().to_string())
            }
            "cancelled" => text(json!(*self.cancelled.lock().unwrap()).to_string()),
            other => return Err((-32602, format!("no tool {other}"))),
        })
    }

    fn answer(&self, id: &Value, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        let modern = params["_meta"][VERSION].is_string();
        if modern != self.modern && method != "initialize" {
            return Err((-32601, "Method not found".to_owned()));
        }
        let tools = || {
            let names = "echo count pid can environment folder crash hang slow garbage huge endless flood memory child steps \
                         log changed ask cancelled";
            let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}});
            json!({"tools": names.split_whitespace().map(tool).collect::<Vec<_>>(), "ttlMs": 0, "cacheScope": "private"})
        };
        match method {
            "server/discover" => Ok(
                json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": true}}}),
            ),
            "initialize" if !self.modern => {
                *self.can.lock().unwrap() = params["capabilities"].clone();
                Ok(json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "stdio-server", "version": "1"}}))
            }
            "tools/list" => Ok(tools()),
            "tools/call" => self.tool(id, params),
            "ping" => Ok(json!({})),
            _ => Err((-32601, "Method not found".to_owned())),
        }
    }

    fn serve(self: &Arc<Self>, message: Value) {
        let id = message["id"].clone();
        let Some(method) = message["method"].as_str() else {
            let waiting = id.as_u64().and_then(|id| self.waiting.lock().unwrap().remove(&id));
            if let Some(waiting) = waiting {
                let _ = waiting.send(if message["error"].is_null() {
                    message["result"].clone()
                } else {
                    message["error"].clone()
                });
            }
            return;
        };
        if id.is_null() {
            if method == "notifications/cancelled" {
                self.cancelled.lock().unwrap().push(message["params"]["requestId"].clone());
            }
            return;
        }
        if method == "server/discover" && self.die_on_discover {
            process::exit(1);
        }
        if method == "subscriptions/listen" {
            *self.listening.lock().unwrap() = Some(id.clone());
            say(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": message["params"]["notifications"], "_meta": {SUBSCRIPTION: id}}}));
            return;
        }
        let server = Arc::clone(self);
        thread::spawn(move || {
            let method = message["method"].as_str().unwrap_or_default();
            let answer = server.answer(&id, method, &message["params"]);
            say(&match answer {
                Ok(mut result) => {
                    if server.modern && result["resultType"].is_null() {
                        result["resultType"] = json!("complete");
                    }
                    json!({"jsonrpc": "2.0", "id": id, "result": result})
                }
                Err((code, message)) => {
                    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
                }
            });
        });
    }
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let server = Arc::new(Server {
        modern: has("modern"),
        die_on_discover: has("--die-on-discover"),
        can: Mutex::new(json!({})),
        ..Server::default()
    });
    eprintln!("stdio-server is ready");
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(message) => server.serve(message),
            Err(why) => eprintln!("not a message: {why}"),
        }
    }
    // What a server should not do: go on without anybody to talk to.
    while has("--deaf") {
        thread::sleep(Duration::from_secs(1));
    }
}

use super::*;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Default)]
struct State {
    audit: AtomicBool,
    console: Option<Console>,
}

impl AdminState for State {
    fn readiness(&self) -> Vec<(&'static str, bool)> {
        vec![("serving", true), ("audit", self.audit.load(Ordering::Relaxed))]
    }

    fn metrics(&self, exposition: Exposition, out: &mut String) {
        out.push_str(match exposition {
            Exposition::OpenMetrics => "# EOF\n",
            Exposition::PlainText => "up 1\n",
        });
    }

    fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }
}

struct Port {
    address: SocketAddr,
    state: Arc<State>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

async fn open() -> Port {
    open_with(State::default()).await
}

async fn open_with(state: State) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(state);
    let (stop, stopped) = oneshot::channel();
    let until = async move { drop(stopped.await) };
    let served = tokio::spawn(serve(listener, Arc::clone(&state), until));
    Port { address, state, stop, served }
}

impl Port {
    /// Sends the bytes and reads until the connection is closed.
    async fn say(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is closed before all was read is reset; what was answered counts.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }

    /// As a browser on the same machine does.
    async fn look(&self, method: &str, path: &str, host: &str) -> String {
        self.say(&format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
    }
}

fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let port = open().await;
    for path in [
        "/",
        "/console",
        "/console?refresh=off",
        "/metrics/",
        "//livez",
        "/livez/..",
        "/debug/pprof",
        "/LIVEZ",
    ] {
        assert_status(&port.get(path).await, 404);
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let port = open().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let answer = port.say(&format!("{method} /metrics HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_status(&answer, 405);
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_without_measure_is_refused() {
    let port = open().await;
    let many = "x: 1\r\n".repeat(HEADERS_MAX + 1);
    let long = format!("x: {}\r\n", "y".repeat(HEAD_BYTES_MAX));
    for headers in [many, long] {
        let answer = port.say(&format!("GET /livez HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        assert_status(&answer, 431);
    }
}

#[tokio::test]
async fn who_does_not_finish_is_cut_off() {
    let (soon, late) = (Duration::from_millis(20), Duration::from_hours(1));
    for patience in [Patience { head: soon, whole: late }, Patience { head: late, whole: soon }] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let (stream, place) = accept(&listener, Arc::clone(&places)).await.unwrap();
        converse(stream, Arc::new(State::default()), place, patience).await;
        assert_eq!(places.available_permits(), 1);
        let mut answer = String::new();
        drop(client.read_to_string(&mut answer).await);
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_named_and_nothing_else() {
    let port = open().await;
    let answer = port.get("/readyz").await;
    assert_status(&answer, 503);
    assert!(answer.ends_with("\r\n\r\nserving: ok\naudit: not ready\n"), "{answer}");
    port.state.audit.store(true, Ordering::Relaxed);
    assert_status(&port.get("/readyz?verbose").await, 200);
}

#[tokio::test]
async fn a_connection_serves_one_request() {
    let port = open().await;
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = port.say(&request.repeat(3)).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let places = Arc::new(Semaphore::new(1));
    let (_, first) = accept(&listener, Arc::clone(&places)).await.unwrap();
    let mut second = std::pin::pin!(accept(&listener, Arc::clone(&places)));
    assert!(tokio::time::timeout(Duration::ZERO, &mut second).await.is_err());
    drop(first);
    assert!(second.await.is_some());
    drop(clients);
}

#[tokio::test]
async fn probes_and_scrapes_are_answered() {
    let port = open().await;
    let alive = port.get("/livez").await;
    assert_status(&alive, 200);
    assert!(alive.ends_with("\r\n\r\nok\n"), "{alive}");
    let plain = port.get("/metrics").await;
    assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{plain}");
    assert!(plain.contains("vary: accept\r\n") && plain.ends_with("\r\n\r\nup 1\n"), "{plain}");
    let accept = "accept: application/openmetrics-text; version=1.0.0\r\n";
    let scraped = port.say(&format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{accept}\r\n")).await;
    assert!(scraped.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(scraped.ends_with("\r\n\r\n# EOF\n"), "{scraped}");
    let head = port.say("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_status(&head, 200);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_shutdown_closes_the_port() {
    let port = open().await;
    port.get("/livez").await;
    port.stop.send(()).unwrap();
    port.served.await.unwrap().unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

/// With a console of a sidecar to which nothing has happened.
async fn open_with_console() -> Port {
    let console = Console::new(&console::Settings::default(), console::tests::view);
    open_with(State { console: Some(console), ..State::default() }).await
}

#[tokio::test]
async fn the_console_is_not_given_under_a_name_that_somebody_else_resolves() {
    let port = open_with_console().await;
    for path in ["/", "/console"] {
        for host in ["evil.example", "evil.example:8002", "127.0.0.1.evil.example", "localhost.evil.example"]
        {
            let answer = port.look("GET", path, host).await;
            assert_status(&answer, 421);
            assert!(!answer.contains("Asepsis"), "{answer}");
        }
    }
    assert_status(&port.say("GET /console HTTP/1.1\r\n\r\n").await, 400);
    let absolute = "GET http://evil.example/console HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_status(&port.say(absolute).await, 421);
    // Prometheus comes by whatever name it knows.
    assert_status(&port.look("GET", "/metrics", "asepsis.monitoring.svc:8002").await, 200);
}

#[tokio::test]
async fn the_console_is_only_read() {
    let port = open_with_console().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = port.look(method, "/console", "localhost").await;
        assert_status(&answer, 405);
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn the_console_lets_a_browser_do_nothing_but_show_it() {
    let port = open_with_console().await;
    let answer = port.look("GET", "/console", "localhost:8002").await;
    assert_status(&answer, 200);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for line in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
    }
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    assert!(body.starts_with("<!DOCTYPE html>") && body.contains("</html>"), "{body}");
    let head_alone = port.look("HEAD", "/console", "localhost").await;
    assert_status(&head_alone, 200);
    assert!(head_alone.ends_with("\r\n\r\n"), "{head_alone}");
    let moved = port.look("GET", "/", "127.0.0.1").await;
    assert_status(&moved, 302);
    assert!(moved.contains("location: /console\r\n"), "{moved}");
}

#[tokio::test]
async fn what_a_proxy_of_the_same_pod_hands_on_is_not_this_machine() {
    for (peer, local) in [
        ("127.0.0.6", false),
        ("127.0.0.2", false),
        ("::ffff:127.0.0.6", false),
        ("10.1.2.3", false),
        ("::2", false),
        ("127.0.0.1", true),
        ("::ffff:127.0.0.1", true),
        ("::1", true),
    ] {
        assert_eq!(is_this_machine(peer.parse().unwrap()), local, "{peer}");
    }
    let port = open_with_console().await;
    let by_proxy = tokio::net::TcpSocket::new_v4().unwrap();
    by_proxy.bind("127.0.0.6:0".parse().unwrap()).unwrap();
    let mut stream = by_proxy.connect(port.address).await.unwrap();
    stream.write_all(b"GET /console HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_status(&answer, 403);
    assert!(!answer.contains("Asepsis"), "{answer}");
}

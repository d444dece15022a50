//! A caller that costs little beside the server: gRPC over HTTP/2 over TLS from frames that are written once.
//!
//! Every request of a connection is the same: its headers are in the dynamic table after the first (RFC 7541), as
//! those of any gRPC client are. Answers are followed by frame; their contents are not decoded.

use asepsis::transport::tls::{ClientTls, dial};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::client::TlsStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WINDOW: u32 = 1 << 30;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Calls that one connection has open at once; the sidecar allows 128.
const STREAMS_MAX: usize = 100;

/// One connection and the request that is sent on it.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    /// Name and value of what the first request puts into the dynamic table.
    headers: Vec<(&'static str, String)>,
    message: Vec<u8>,
    next: u32,
    frame_max: usize,
    out: Vec<u8>,
    read: Vec<u8>,
    /// Streams that are open and have brought a message; a refusal has none.
    answered: Vec<u32>,
}

impl Connection {
    /// Shakes hands and exchanges settings.
    pub async fn open(address: SocketAddr, tls: ClientTls, message: &[u8]) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = dial(tls, "localhost", socket).await.unwrap();
        let headers = vec![
            (":authority", format!("localhost:{}", address.port())),
            (":path", "/inference.GRPCInferenceService/ModelInfer".to_owned()),
            ("content-type", "application/grpc".to_owned()),
            ("te", "trailers".to_owned()),
            ("grpc-timeout", "60000000u".to_owned()),
            ("user-agent", "grpc-bench/1".to_owned()),
        ];
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        let (out, read) = (Vec::new(), Vec::with_capacity(1 << 16));
        let mut connection = Self {
            stream,
            headers,
            message: framed,
            next: 1,
            frame_max: 16_384,
            out,
            read,
            answered: Vec::new(),
        };
        let out = &mut connection.out;
        out.extend_from_slice(PREFACE);
        frame(out, SETTINGS, 0, 0, &[&[0, 4][..], &WINDOW.to_be_bytes()].concat());
        frame(out, 8, 0, 0, &(WINDOW - 65_535).to_be_bytes());
        connection.flush().await;
        while connection.frame_max == 16_384 {
            connection.receive(|_| {}).await;
            if connection.next == 1 && connection.read.is_empty() {
                break;
            }
        }
        connection
    }

    /// One request, to the end of its answer.
    pub async fn ask(&mut self) {
        self.send().await;
        let mut ended = 0;
        while ended == 0 {
            self.receive(|_| ended += 1).await;
        }
    }

    /// Answers the server's pings until `over`.
    pub async fn hold(&mut self, mut over: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.receive(|_| {}) => {}
                _ = over.wait_for(|over| *over) => return,
            }
        }
    }

    async fn send(&mut self) -> u32 {
        let id = self.next;
        self.next += 2;
        let mut block = vec![0x83, 0x87];
        let count = u8::try_from(self.headers.len()).unwrap();
        for (at, (name, value)) in (0..count).zip(&self.headers) {
            if id > 1 {
                block.push(0x80 | (62 + count - 1 - at));
                continue;
            }
            block.push(0x40);
            for text in [name.as_bytes(), value.as_bytes()] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text);
            }
        }
        frame(&mut self.out, HEADERS, END_HEADERS, id, &block);
        let chunks = self.message.len().div_ceil(self.frame_max);
        for (n, chunk) in self.message.chunks(self.frame_max).enumerate() {
            frame(&mut self.out, DATA, if n + 1 == chunks { END_STREAM } else { 0 }, id, chunk);
        }
        self.flush().await;
        id
    }

    /// Reads once, and tells of each stream that ended.
    async fn receive(&mut self, mut ended: impl FnMut(u32)) {
        // Dropped while it waits, it has read nothing.
        let count = self.stream.read_buf(&mut self.read).await.unwrap();
        assert!(count > 0, "the server hung up");
        let mut at = 0;
        while let Some([a, b, c, kind, flags, id @ ..]) = self.read.get(at..at + 9) {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            let id = u32::from_be_bytes(<[u8; 4]>::try_from(id).unwrap());
            let Some(payload) = self.read.get(at + 9..at + 9 + length) else { break };
            match (*kind, *flags & ACK) {
                (DATA, _) if length > 16 => self.answered.push(id),
                (SETTINGS, 0) => {
                    for setting in payload.as_chunks::<6>().0 {
                        if setting[..2] == [0, 5] {
                            let max = u32::from_be_bytes(<[u8; 4]>::try_from(&setting[2..]).unwrap());
                            self.frame_max = usize::try_from(max).unwrap();
                        }
                    }
                    frame(&mut self.out, SETTINGS, ACK, 0, &[]);
                }
                (PING, 0) => frame(&mut self.out, PING, ACK, 0, payload),
                (RESET | GOAWAY, _) => panic!("the server gave up: {payload:?}"),
                _ => {}
            }
            if matches!(*kind, DATA | HEADERS) && *flags & END_STREAM != 0 {
                let answered = self.answered.iter().position(|other| *other == id);
                self.answered.swap_remove(answered.expect("a request was refused"));
                ended(id);
            }
            at += 9 + length;
        }
        self.read.drain(..at);
        if !self.out.is_empty() {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        self.stream.write_all(&self.out).await.unwrap();
        self.stream.flush().await.unwrap();
        self.out.clear();
    }

    /// Sends what is due, by the moment at which it was to be sent, and measures from that moment.
    async fn follow(
        mut self,
        mut due: mpsc::UnboundedReceiver<Instant>,
        mut times: Vec<Duration>,
    ) -> Vec<Duration> {
        let mut open: Vec<(u32, Instant)> = Vec::new();
        let mut closed = false;
        while !closed || !open.is_empty() {
            tokio::select! {
                sent = due.recv(), if !closed && open.len() < STREAMS_MAX => match sent {
                    Some(moment) => {
                        let id = self.send().await;
                        open.push((id, moment));
                    }
                    None => closed = true,
                },
                () = self.receive(|id| {
                    let at = open.iter().position(|(other, _)| *other == id).unwrap();
                    times.push(open.swap_remove(at).1.elapsed());
                }), if !open.is_empty() => {}
            }
        }
        times
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Each connection asks without a pause for that long; the time of each request.
pub async fn closed(connections: &mut [Connection], lasts: Duration) -> Vec<Duration> {
    let until = Instant::now() + lasts;
    let ask = |connection| async move {
        let connection: &mut Connection = connection;
        let mut times = Vec::with_capacity(1 << 16);
        loop {
            let started = Instant::now();
            connection.ask().await;
            let ended = Instant::now();
            times.push(ended - started);
            if ended >= until {
                return times;
            }
        }
    };
    futures_util::future::join_all(connections.iter_mut().map(ask)).await.concat()
}

/// So many requests a second over all connections, whether or not those before them were answered.
pub async fn open(connections: Vec<Connection>, per_second: f64, lasts: Duration) -> Vec<Duration> {
    let mut senders = Vec::new();
    let mut asking = Vec::new();
    for connection in connections {
        let (sender, due) = mpsc::unbounded_channel();
        senders.push(sender);
        asking.push(connection.follow(due, Vec::new()));
    }
    let schedule = async move {
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let mut sent = 0_usize;
        while started.elapsed() < lasts {
            let now = tick.tick().await.into_std();
            while (sent as f64) < now.saturating_duration_since(started).as_secs_f64() * per_second {
                senders[sent % senders.len()].send(now).unwrap();
                sent += 1;
            }
        }
    };
    futures_util::future::join(futures_util::future::join_all(asking), schedule).await.0.concat()
}

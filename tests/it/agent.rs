//! A SPIFFE agent for tests: the public protocol, served by tonic on a real socket, and certificates to send.

use futures_util::stream::{self, BoxStream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
pub use workload::{X509svid, X509svidResponse};

mod workload {
    #![expect(
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code; tests/it/proto/workload.proto is its documentation"
    )]
    include!(concat!(env!("OUT_DIR"), "/agent/_.rs"));
}

/// What the agent answers.
type Answer = Result<X509svidResponse, Status>;

#[derive(Default)]
struct State {
    /// What a new stream begins with; without it a stream stays silent.
    answer: Option<Answer>,
    streams: Vec<mpsc::UnboundedSender<Answer>>,
    /// `workload.spiffe.io` of every call.
    headers: Vec<Option<String>>,
}

/// An agent; it dies with the value, as suddenly as a process that is killed.
pub struct Agent {
    state: Arc<Mutex<State>>,
    runtime: Option<Runtime>,
}

impl Agent {
    /// On a Unix socket; one that a dead agent left is replaced.
    pub fn start(socket: &Path, answer: Option<Answer>) -> Self {
        let _ = std::fs::remove_file(socket);
        let (agent, service) = Self::new(answer);
        let runtime = agent.runtime.as_ref().unwrap();
        let _inside = runtime.enter();
        let listener = UnixListener::bind(socket).unwrap();
        let incoming = stream::unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
        agent
    }

    /// On TCP; its port.
    pub fn start_on_tcp(answer: Option<Answer>) -> (Self, u16) {
        let (agent, service) = Self::new(answer);
        let runtime = agent.runtime.as_ref().unwrap();
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let incoming = stream::unfold(TcpListener::from_std(listener).unwrap(), |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
        (agent, port)
    }

    fn new(answer: Option<Answer>) -> (Self, SpiffeWorkloadApiServer<Service>) {
        let state = Arc::new(Mutex::new(State { answer, ..State::default() }));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let service = SpiffeWorkloadApiServer::new(Service(Arc::clone(&state)));
        (Self { state, runtime: Some(runtime.unwrap()) }, service.max_encoding_message_size(usize::MAX))
    }

    /// Sends this on every open stream, and first on every later one.
    pub fn send(&self, answer: Answer) {
        let mut state = self.state.lock().unwrap();
        state.streams.retain(|stream| stream.send(answer.clone()).is_ok());
        state.answer = Some(answer);
    }

    /// Value of `workload.spiffe.io` of each call so far.
    pub fn headers(&self) -> Vec<Option<String>> {
        self.state.lock().unwrap().headers.clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

struct Service(Arc<Mutex<State>>);

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = BoxStream<'static, Answer>;

    async fn fetch_x509svid(
        &self,
        request: Request<workload::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let header = request.metadata().get("workload.spiffe.io");
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.0.lock().unwrap();
        state.headers.push(header.clone());
        // SPIFFE Workload Endpoint, section 3.
        if header.as_deref() != Some("true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        if let Some(answer) = &state.answer {
            sender.send(answer.clone()).unwrap();
        }
        state.streams.push(sender);
        let answers = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|answer| (answer, receiver))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A CA of one trust domain.
pub struct Authority {
    domain: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn of(domain: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { domain: domain.to_owned(), der, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, DER.
    pub fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    /// An X.509-SVID for `spiffe://DOMAIN/path`.
    pub fn issue(&self, path: &str) -> X509svid {
        self.issue_with(path, |_| {})
    }

    /// One that `change` may spoil.
    pub fn issue_with(&self, path: &str, change: impl FnOnce(&mut CertificateParams)) -> X509svid {
        let id = format!("spiffe://{}/{path}", self.domain);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![uri(&id)];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        X509svid {
            spiffe_id: id,
            x509_svid: certificate.der().to_vec(),
            x509_svid_key: key.serialize_der(),
            bundle: self.der(),
            hint: String::new(),
        }
    }
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// An update with these identities and no foreign trust domain.
pub fn update(svids: impl IntoIterator<Item = X509svid>) -> X509svidResponse {
    X509svidResponse { svids: svids.into_iter().collect(), ..X509svidResponse::default() }
}

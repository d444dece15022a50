//! Identities from a SPIFFE agent: over a real socket, by the public protocol, through every way it can fail.

use crate::agent::{Agent, Authority, X509svid, X509svidResponse, update, uri};
use crate::sidecar::block_on;
use asepsis::transport::workload::{Fallback, Problem, Settings, SourceError, Status, Svid, Workload};
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Long enough for a loaded machine; only a test of the timeout waits for another.
const PATIENT_MS: u64 = 60_000;

struct Fixture {
    _directory: TempDir,
    socket: PathBuf,
    hospital: Authority,
}

fn fixture() -> Fixture {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    Fixture { _directory: directory, socket, hospital: Authority::of("hospital.example") }
}

impl Fixture {
    fn settings(&self) -> Settings {
        Settings {
            socket: Some(format!("unix://{}", self.socket.display())),
            timeout_ms: PATIENT_MS,
            ..Settings::default()
        }
    }

    fn agent(&self, answer: X509svidResponse) -> Agent {
        Agent::start(&self.socket, Some(Ok(answer)))
    }
}

/// What was taken, in order.
type Taken = mpsc::UnboundedReceiver<Svid>;

async fn start(settings: Settings) -> Result<(Workload, Taken), SourceError> {
    let (sender, taken) = mpsc::unbounded_channel();
    let source = settings.source().unwrap().unwrap();
    let workload =
        source.start(move |svid| sender.send(svid).map_err(|_| "the test is over".to_owned())).await?;
    Ok((workload, taken))
}

/// Waits until the status is so.
async fn until(workload: &Workload, so: impl FnMut(&Status) -> bool) -> Status {
    workload.watch().wait_for(so).await.unwrap().clone()
}

async fn refused(settings: Settings) -> SourceError {
    start(settings).await.map(drop).unwrap_err()
}

fn same(taken: &Svid, sent: &X509svid) -> bool {
    taken.chain == [sent.x509_svid.clone()] && taken.key.as_bytes() == sent.x509_svid_key
}

#[test]
fn an_agent_that_never_answers_ends_the_start_when_the_time_is_over() {
    let fixture = fixture();
    let hurried = || Settings { timeout_ms: 1_000, ..fixture.settings() };
    let expect = |error: SourceError, expected: fn(&Problem) -> bool| {
        let SourceError::Unanswered { problem, .. } = &error else { panic!("{error}") };
        assert!(expected(problem), "{error}");
        assert!(error.to_string().starts_with("workload_api.socket: "), "{error}");
    };
    block_on(async {
        expect(refused(hurried()).await, |problem| matches!(problem, Problem::Unreachable(_)));

        // It takes the call and says nothing.
        let silent = Agent::start(&fixture.socket, None);
        expect(refused(hurried()).await, |problem| *problem == Problem::Silent);
        assert!(!silent.headers().is_empty(), "it was asked");
        drop(silent);

        // It takes the connection and says nothing, not even in HTTP/2.
        std::fs::remove_file(&fixture.socket).unwrap();
        let _mute = std::os::unix::net::UnixListener::bind(&fixture.socket).unwrap();
        expect(refused(hurried()).await, |problem| *problem == Problem::Silent);

        let denying = Agent::start(&fixture.socket, Some(Err(tonic::Status::permission_denied("who?"))));
        expect(refused(hurried()).await, |problem| matches!(problem, Problem::Denied(_)));
        drop(denying);

        let malformed = fixture.agent(update([]));
        expect(refused(hurried()).await, |problem| matches!(problem, Problem::Malformed(_)));
        drop(malformed);
    });
}

#[test]
fn an_agent_that_does_not_serve_identities_is_not_waited_for() {
    let fixture = fixture();
    for status in [tonic::Status::unimplemented("no"), tonic::Status::invalid_argument("no")] {
        let agent = Agent::start(&fixture.socket, Some(Err(status)));
        let error = block_on(refused(Settings { timeout_ms: u64::MAX, ..fixture.settings() }));
        assert!(
            matches!(&error, SourceError::Unanswered { problem: Problem::Unsupported(_), .. }),
            "{error}"
        );
        drop(agent);
    }
}

#[test]
fn files_serve_only_where_configured_and_only_until_the_agent_answers() {
    let fixture = fixture();
    let sent = fixture.hospital.issue("sidecar");
    let settings = Settings { timeout_ms: 1_000, fallback: Fallback::Files, ..fixture.settings() };
    block_on(async {
        let (workload, mut taken) = start(settings).await.unwrap();
        let status = until(&workload, |status| status.failures > 0).await;
        assert_eq!((status.last_update, status.connected), (None, false));
        assert!(matches!(status.problem, Some(Problem::Unreachable(_))), "{status:?}");

        let _agent = fixture.agent(update([sent.clone()]));
        let status = until(&workload, |status| status.updates == 1).await;
        assert!(status.last_update.is_some() && status.connected && status.problem.is_none());
        assert!(same(&taken.recv().await.unwrap(), &sent));
    });
}

#[test]
fn every_call_carries_the_header_that_keeps_forged_requests_out() {
    let fixture = fixture();
    let agent = fixture.agent(update([fixture.hospital.issue("sidecar")]));
    block_on(async {
        let (workload, _taken) = start(fixture.settings()).await.unwrap();
        agent.send(Err(tonic::Status::unavailable("again")));
        until(&workload, |status| status.failures == 1).await;
        agent.send(Ok(update([fixture.hospital.issue("sidecar")])));
        until(&workload, |status| status.updates == 2).await;
    });
    let headers = agent.headers();
    assert!(headers.len() >= 2);
    assert!(headers.iter().all(|header| header.as_deref() == Some("true")), "{headers:?}");
}

#[test]
fn an_identity_that_the_agent_does_not_send_is_not_replaced_by_another() {
    let fixture = fixture();
    let wanted = |id: &str| Settings {
        spiffe_id: Some(format!("spiffe://hospital.example/{id}")),
        ..fixture.settings()
    };
    let _agent = fixture.agent(update(["first", "second"].map(|path| fixture.hospital.issue(path))));
    block_on(async {
        let error = refused(Settings { timeout_ms: 1_000, ..wanted("third") }).await;
        assert!(matches!(&error, SourceError::Unanswered { problem: Problem::Missing(_), .. }), "{error}");

        let (_workload, mut taken) = start(wanted("second")).await.unwrap();
        assert_eq!(taken.recv().await.unwrap().spiffe_id, "spiffe://hospital.example/second");

        let (_workload, mut taken) = start(fixture.settings()).await.unwrap();
        assert_eq!(taken.recv().await.unwrap().spiffe_id, "spiffe://hospital.example/first");
    });
}

#[test]
fn every_rotation_is_delivered_whole_and_in_order() {
    let fixture = fixture();
    let sent: Vec<X509svid> = (0..20).map(|_| fixture.hospital.issue("sidecar")).collect();
    let agent = fixture.agent(update([sent[0].clone()]));
    block_on(async {
        let (workload, mut taken) = start(fixture.settings()).await.unwrap();
        for svid in &sent[1..] {
            agent.send(Ok(update([svid.clone()])));
        }
        for svid in &sent {
            assert!(same(&taken.recv().await.unwrap(), svid));
        }
        let status = until(&workload, |status| status.updates == 20).await;
        assert_eq!((status.failures, status.problem), (0, None));
    });
}

#[test]
fn bundles_come_one_a_trust_domain_and_go_when_they_are_left_out() {
    let fixture = fixture();
    let (clinic, laboratory) = (Authority::of("clinic.example"), Authority::of("laboratory.example"));
    let next = Authority::of("hospital.example");
    let mut both = fixture.hospital.issue("sidecar");
    both.bundle.extend(next.der());
    let federated = X509svidResponse {
        federated_bundles: [
            ("spiffe://clinic.example".to_owned(), clinic.der()),
            ("spiffe://laboratory.example".to_owned(), laboratory.der()),
            ("spiffe://closed.example".to_owned(), Vec::new()),
        ]
        .into(),
        ..update([both])
    };
    let agent = fixture.agent(federated);
    block_on(async {
        let (_workload, mut taken) = start(fixture.settings()).await.unwrap();
        let bundles = taken.recv().await.unwrap().bundles;
        assert_eq!(bundles["hospital.example"], [fixture.hospital.der(), next.der()]);
        assert_eq!(bundles["clinic.example"], [clinic.der()]);
        assert_eq!(bundles["laboratory.example"], [laboratory.der()]);
        assert_eq!(bundles.len(), 3, "nobody is believed of a trust domain without a CA");

        agent.send(Ok(update([fixture.hospital.issue("sidecar")])));
        let bundles = taken.recv().await.unwrap().bundles;
        assert_eq!(
            bundles.into_iter().collect::<Vec<_>>(),
            [("hospital.example".to_owned(), vec![fixture.hospital.der()])]
        );
    });
}

/// Updates that are no good, each for one reason.
fn malformed(hospital: &Authority) -> Vec<(&'static str, X509svidResponse)> {
    let good = || hospital.issue("sidecar");
    let one = |change: fn(&mut X509svid)| {
        let mut svid = good();
        change(&mut svid);
        update([svid])
    };
    let federated = |name: &str, bundle: Vec<u8>| X509svidResponse {
        federated_bundles: [(name.to_owned(), bundle)].into(),
        ..update([good()])
    };
    let spoilt = |change: fn(&mut rcgen::CertificateParams)| update([hospital.issue_with("sidecar", change)]);
    let domains = (0..300).map(|i| (format!("spiffe://d{i}.example"), hospital.der()));
    let many_domains = X509svidResponse { federated_bundles: domains.collect(), ..update([good()]) };
    let small = good();
    vec![
        ("no identity", update([])),
        ("no key", one(|svid| svid.x509_svid_key.clear())),
        ("no certificate", one(|svid| svid.x509_svid.clear())),
        ("no bundle", one(|svid| svid.bundle.clear())),
        ("no name", one(|svid| svid.spiffe_id.clear())),
        ("a key that is none", one(|svid| svid.x509_svid_key = vec![7; 64])),
        ("a key in PEM", one(|svid| svid.x509_svid_key = b"-----BEGIN PRIVATE KEY-----".to_vec())),
        ("half a certificate", one(|svid| svid.x509_svid.truncate(100))),
        ("something behind the certificate", one(|svid| svid.x509_svid.push(0))),
        ("a bundle that is none", one(|svid| svid.bundle = vec![7; 64])),
        ("a bad second identity", update([good(), X509svid { x509_svid: vec![7], ..good() }])),
        ("a CA", spoilt(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("a signing key", spoilt(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign))),
        ("two names", spoilt(|params| params.subject_alt_names.push(uri("spiffe://hospital.example/b")))),
        ("no SPIFFE ID", spoilt(|params| params.subject_alt_names = vec![uri("https://hospital.example")])),
        ("a federated bundle that is none", federated("spiffe://clinic.example", vec![7; 64])),
        ("a trust domain that is none", federated("spiffe://clinic example", hospital.der())),
        ("its own trust domain taken away", federated("spiffe://hospital.example", Vec::new())),
        ("too many identities", update(vec![small.clone(); 65])),
        ("too many trust domains", many_domains),
        ("too many CAs", update([X509svid { bundle: small.bundle.repeat(1025), ..small.clone() }])),
        ("too many bytes", update([X509svid { hint: "x".repeat(5 << 20), ..small }])),
    ]
}

#[test]
fn a_malformed_update_changes_nothing_and_the_next_good_one_is_taken() {
    let fixture = fixture();
    let first = fixture.hospital.issue("sidecar");
    let agent = fixture.agent(update([first.clone()]));
    block_on(async {
        let (workload, mut taken) = start(fixture.settings()).await.unwrap();
        assert!(same(&taken.recv().await.unwrap(), &first));
        for (case, bad) in malformed(&fixture.hospital) {
            let before = workload.status();
            agent.send(Ok(bad));
            let heard =
                |status: &Status| (status.updates, status.failures) != (before.updates, before.failures);
            let status = until(&workload, heard).await;
            assert_eq!(status.last_update, before.last_update, "{case} was taken");
            assert!(status.problem.is_some() && !status.denied, "{case}: {status:?}");
            assert!(taken.try_recv().is_err(), "{case} was delivered");

            let good = fixture.hospital.issue("sidecar");
            agent.send(Ok(update([good.clone()])));
            assert!(same(&taken.recv().await.unwrap(), &good), "after {case}");
            until(&workload, |status| status.updates > before.updates && status.problem.is_none()).await;
        }
    });
}

#[test]
fn what_whoever_serves_with_it_does_not_take_counts_as_refused() {
    let fixture = fixture();
    let agent = fixture.agent(update([fixture.hospital.issue("good")]));
    let picky = |svid: Svid| {
        if svid.spiffe_id.ends_with("/good") { Ok(()) } else { Err("the key\nis another's".to_owned()) }
    };
    block_on(async {
        let source = fixture.settings().source().unwrap().unwrap();
        let workload = source.start(picky).await.unwrap();
        agent.send(Ok(update([fixture.hospital.issue("bad")])));
        let status = until(&workload, |status| status.failures == 1).await;
        assert_eq!(status.problem, Some(Problem::Refused("the key is another's".to_owned())));
        assert_eq!((status.updates, status.connected), (1, true));
    });
}

#[test]
fn an_agent_that_dies_and_comes_back_is_found_again() {
    let fixture = fixture();
    block_on(async {
        let agent = fixture.agent(update([fixture.hospital.issue("sidecar")]));
        let (workload, mut taken) = start(fixture.settings()).await.unwrap();
        taken.recv().await.unwrap();
        drop(agent);
        let status = until(&workload, |status| !status.connected).await;
        assert!(status.last_update.is_some() && !status.denied, "{status:?}");

        let renewed = fixture.hospital.issue("sidecar");
        let _agent = fixture.agent(update([renewed.clone()]));
        assert!(same(&taken.recv().await.unwrap(), &renewed));
        until(&workload, |status| status.connected && status.updates == 2).await;
    });
}

#[test]
fn an_identity_that_is_taken_back_is_reported_and_one_given_again_too() {
    let fixture = fixture();
    let agent = fixture.agent(update([fixture.hospital.issue("sidecar")]));
    block_on(async {
        let (workload, mut taken) = start(fixture.settings()).await.unwrap();
        taken.recv().await.unwrap();
        agent.send(Err(tonic::Status::permission_denied("no identity issued")));
        let status = until(&workload, |status| status.denied).await;
        assert!(matches!(status.problem, Some(Problem::Denied(_))) && status.last_update.is_some());
        assert!(taken.try_recv().is_err());

        agent.send(Ok(update([fixture.hospital.issue("sidecar")])));
        taken.recv().await.unwrap();
        until(&workload, |status| !status.denied && status.connected).await;
    });
}

#[test]
fn an_agent_on_a_port_of_this_machine_will_do() {
    let fixture = fixture();
    let sent = fixture.hospital.issue("sidecar");
    let (_agent, port) = Agent::start_on_tcp(Some(Ok(update([sent.clone()]))));
    let settings = Settings { socket: Some(format!("tcp://127.0.0.1:{port}")), ..fixture.settings() };
    block_on(async {
        let (_workload, mut taken) = start(settings).await.unwrap();
        assert!(same(&taken.recv().await.unwrap(), &sent));
    });
}

#[test]
fn nobody_hears_of_an_update_once_the_source_is_dropped() {
    let fixture = fixture();
    let _agent = fixture.agent(update([fixture.hospital.issue("sidecar")]));
    block_on(async {
        let (workload, mut taken) = start(fixture.settings()).await.unwrap();
        taken.recv().await.unwrap();
        drop(workload);
        // The callback is gone with the task.
        assert!(taken.recv().await.is_none());
    });
}

#[test]
fn an_identity_shown_in_a_log_shows_no_key() {
    let fixture = fixture();
    let sent = fixture.hospital.issue("sidecar");
    let _agent = fixture.agent(update([sent.clone()]));
    block_on(async {
        let (_workload, mut taken) = start(fixture.settings()).await.unwrap();
        let shown = format!("{:?}", taken.recv().await.unwrap());
        assert!(shown.contains("spiffe://hospital.example/sidecar"), "{shown}");
        assert!(!shown.contains("key") && shown.len() < 200, "{shown}");
    });
}

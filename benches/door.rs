//! What the door costs a call: who is it, may it, is there a place, and is its rate kept?
//!
//! `cargo bench --bench door`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../tests/it/house.rs"]
mod house;
#[path = "../tests/it/provider.rs"]
mod provider;

use asepsis::admission::in_flight::InFlight;
use asepsis::admission::rate_limit::Budgets;
use asepsis::admission::{Access, Admission, Circumstances, Rpc};
use asepsis::clock::Now;
use asepsis::guard::{Guard, Head, Visitor};
use asepsis::identity::certificate::Certificate;
use asepsis::identity::jwt::{Jwt, Settings};
use asepsis::identity::{Authenticator, Credentials, Header, Peer};
use criterion::{Criterion, criterion_group, criterion_main};
use provider::Provider;
use serde_json::json;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

const LIMITS: &str = "
    [limits.each_principal]
    requests = { per_second = 1000000, burst = 3600000000, per_day = 281474976710655 }
    in_flight = 64
    [limits.roles.Clinicians_AI_Query]
    requests = { per_second = 1000000, burst = 3600000000, per_day = 281474976710655 }";

/// The shipped policy with limits, certificates and tokens.
fn guard(jwks: &Path, provider: &Provider) -> Guard {
    let policy = std::fs::read_to_string(house::root().join("deploy/access.toml")).unwrap();
    let known = asepsis::catalog::Repository::new(house::models()).known().unwrap();
    let (policy, limits) = asepsis::app::access::parse(&format!("{policy}{LIMITS}"), &known).unwrap();
    let access = Access { policy, budgets: Budgets::new(limits, Now::read()) };
    std::fs::write(jwks, provider.jwks()).unwrap();
    let settings = Settings {
        issuer: Some(provider::ISSUER.to_owned()),
        audience: vec![provider::AUDIENCE.to_owned()],
        jwks: jwks.display().to_string(),
        ..Settings::default()
    };
    let jwt: Box<dyn Authenticator> = Box::new(Jwt::new(settings, Now::read()).unwrap());
    let Ok(mut guard) = Arc::try_unwrap(house::guard()) else { unreachable!("nobody else has it") };
    guard.of_connection = vec![Box::new(Certificate::default())];
    guard.of_call = vec![jwt];
    guard.admission = Admission::new(access, InFlight::new(1024));
    guard
}

fn visitor() -> Visitor {
    let mut params = rcgen::CertificateParams::default();
    let id = "spiffe://asepsis.dev/role/Clinicians_AI_Query";
    params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let address = Some([192, 0, 2, 1].into());
    Visitor::new(Peer { chain: vec![certificate.der().to_vec()], tls: true, address, uid: None })
}

fn pass(guard: &Guard, visitor: &Visitor, head: &mut Head) {
    head.now = Now::read();
    let standing = guard.identify(visitor, head).unwrap();
    let circumstances = Circumstances { now: head.now, address: visitor.peer.address, emergency: None };
    black_box(guard.admission.admit(&standing, Rpc::ModelInfer, circumstances).unwrap());
}

fn bearing(token: &str) -> Head {
    let authorization = Header::Once(format!("Bearer {token}").into_bytes());
    let credentials = Credentials { authorization, ..Credentials::default() };
    Head { credentials, ..house::head(1, Rpc::ModelInfer) }
}

fn door(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let provider = Provider::new("1");
    let guard = guard(&directory.path().join("jwks.json"), &provider);
    let visitor = visitor();
    let mut group = criterion.benchmark_group("door");
    let mut certified = house::head(1, Rpc::ModelInfer);
    group.bench_function("a certificate, known on its connection", |bencher| {
        bencher.iter(|| pass(&guard, &visitor, &mut certified));
    });
    let mut tokens: Vec<Head> = (0..16)
        .map(|n| bearing(&provider.token("Clinicians_AI_Query", &json!({ "jti": n.to_string() }))))
        .collect();
    group.bench_function("a token beside it, known on its connection", |bencher| {
        bencher.iter(|| pass(&guard, &visitor, &mut tokens[0]));
    });
    let mut turn = 0;
    group.bench_function("one of sixteen tokens in turn on one connection", |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % 16;
            pass(&guard, &visitor, &mut tokens[turn]);
        });
    });
    group.finish();
}

criterion_group!(benches, door);
criterion_main!(benches);

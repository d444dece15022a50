//! Is nobody believed who should not be, and nothing but what Envoy writes?

use super::*;
use crate::clock::Now;
use crate::identity::Peer;
use crate::identity::{Credentials, identify, plaintext::Plaintext};
use rcgen::{CertificateParams, KeyPair, SanType};

const PROXY: &str = "spiffe://mesh.example/ns/edge/sa/envoy";
const GOOD: &str = "URI=spiffe://mesh.example/ns/ward/sa/viewer";

/// A proxy's own certificate.
fn certificate(uri: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn tls(uri: &str) -> Peer {
    Peer { chain: vec![certificate(uri)], tls: true, ..Peer::default() }
}

fn unix(uid: u32) -> Peer {
    Peer { uid: Some(uid), ..Peer::default() }
}

fn forwarded() -> Forwarded {
    let settings = Settings { peers: vec![PROXY.into()], unix_uids: vec![1337] };
    Forwarded::new(&settings, &["mesh.example".to_owned()], None)
}

fn ask(peer: &Peer, forwarded_header: Header) -> Result<Option<Identity>, IdentityError> {
    let credentials = Credentials { forwarded: forwarded_header, ..Credentials::default() };
    forwarded().authenticate(&Presented { peer, credentials: &credentials, now: Now::read() })
}

fn once(text: &str) -> Header {
    Header::Once(text.as_bytes().to_vec())
}

fn principal(header: &str) -> Result<String, IdentityError> {
    ask(&unix(1337), once(header)).map(|identity| identity.unwrap().principal().to_owned())
}

#[test]
fn from_anybody_who_is_not_on_the_list_the_header_is_refused_and_not_ignored() {
    let mut garbled = tls(PROXY);
    garbled.chain[0].pop();
    let peers = [
        Peer::default(),
        Peer { tls: true, ..Peer::default() },
        tls("spiffe://mesh.example/ns/edge/sa/envoy2"),
        tls("spiffe://mesh.example/ns/edge/sa"),
        tls("spiffe://other.example/ns/edge/sa/envoy"),
        garbled,
        // What the caller's issuer is called counts for nothing.
        Peer {
            chain: vec![certificate("spiffe://mesh.example/ns/x/sa/y"), certificate(PROXY)],
            ..tls(PROXY)
        },
        unix(1338),
        unix(0),
    ];
    for peer in &peers {
        for header in [once(GOOD), once("nonsense"), once(""), Header::Repeated] {
            assert_eq!(ask(peer, header.clone()), Err(NOT_TRUSTED), "{peer:?} {header:?}");
        }
    }
    let nobody = Forwarded::new(&Settings::default(), &[], None);
    let credentials = Credentials { forwarded: once(GOOD), ..Credentials::default() };
    for peer in [tls(PROXY), unix(1337), unix(0), Peer::default()] {
        let presented = Presented { peer: &peer, credentials: &credentials, now: Now::read() };
        assert_eq!(nobody.authenticate(&presented), Err(NOT_TRUSTED));
    }
}

#[test]
fn headers_that_are_not_one_element_as_envoy_writes_it_are_refused() {
    let hash = "0a".repeat(32);
    let cases = [
        ("", "malformed"),
        ("spiffe://mesh.example/a", "malformed"),
        ("URI", "malformed"),
        ("=", "a key that Envoy does not write"),
        ("URI=spiffe://mesh.example/a;", "malformed"),
        (";URI=spiffe://mesh.example/a", "a key that Envoy"),
        ("URI=\"spiffe://mesh.example/a", "malformed"),
        ("URI=\"spiffe://mesh.example/a\\\"", "malformed"),
        ("URI=\"spiffe://mesh.example/a\"b", "malformed"),
        ("URI=\"spiffe://mesh.example/a\" ;DNS=a", "malformed"),
        ("URI=spiffe://mesh.example/a\";DNS=b\"", "malformed"),
        ("URI=spiffe://mesh.example/a ;DNS=a", "malformed"),
        ("URI=spiffe://mesh.example/a\t", "malformed"),
        ("URI=spiffe://mesh.example/ä", "malformed"),
        (" URI=spiffe://mesh.example/a", "a key that Envoy"),
        ("URI =spiffe://mesh.example/a", "a key that Envoy"),
        ("SAN=spiffe://mesh.example/a", "a key that Envoy"),
        ("URL=a;URI=spiffe://mesh.example/a", "a key that Envoy"),
        ("URI=spiffe://mesh.example/a;URI=spiffe://mesh.example/b", "a key twice"),
        ("URI=spiffe://mesh.example/a;uri=spiffe://mesh.example/a", "a key twice"),
        ("URI=;URI=spiffe://mesh.example/a", "a key twice"),
        ("Hash=HASH;Hash=HASH;URI=spiffe://mesh.example/a", "a key twice"),
        ("Subject=\"\";Subject=\"\";URI=spiffe://mesh.example/a", "a key twice"),
        ("DNS=a.example;URI=spiffe://mesh.example/a", "another order"),
        ("URI=spiffe://mesh.example/a;Subject=\"\"", "another order"),
        ("Hash=0a;URI=spiffe://mesh.example/a", "no SHA-256"),
        ("Hash=;URI=spiffe://mesh.example/a", "no SHA-256"),
        ("Hash=0HASH;URI=spiffe://mesh.example/a", "no SHA-256"),
        ("URI=spiffe://mesh.example/a,URI=spiffe://mesh.example/b", "more than one element"),
        ("URI=spiffe://mesh.example/a,", "more than one element"),
        // A comma in a name of the caller's choice, which Envoy does not quote.
        ("Hash=HASH;URI=http://x,By=y;Hash=HASH;URI=spiffe://mesh.example/victim", "more than one element"),
        ("Hash=HASH;URI=", "neither a URI nor a DNS name"),
        ("Hash=HASH;Subject=\"CN=viewer.example,URI=spiffe://mesh.example/a\"", "neither a URI nor"),
        ("URI=spiffe://other.example/a", "trust domain is not one of ours"),
        ("URI=spiffe://mesh.example", "not a SPIFFE ID"),
        ("URI=spiffe://mesh.example/a/../b", "not a SPIFFE ID"),
        ("URI=\"spiffe://mesh.example/a\"", "malformed"),
        ("URI=https://mesh.example/a;DNS=viewer.example", "not a SPIFFE ID"),
        ("URI=;DNS=*.example", "not a plain host name"),
        ("URI=;DNS=", "not a plain host name"),
        ("DNS=\"a.example\"", "malformed"),
    ];
    for (header, problem) in cases {
        let refused = principal(&header.replace("HASH", &hash)).unwrap_err().to_string();
        assert!(refused.contains(problem), "{header}: {refused}");
    }
    let long = format!("Cert=\"{}\";{GOOD}", "a".repeat(16 << 10));
    assert!(principal(&long).unwrap_err().to_string().contains("16 KiB"));
    assert_eq!(ask(&unix(1337), Header::Repeated), Err(xfcc::SEVERAL));
    assert!(ask(&unix(1337), Header::Once(vec![0xff])).is_err());
}

#[test]
fn the_uri_of_the_one_element_speaks_then_the_first_dns_name_and_the_subject_never() {
    let hash = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
    for (header, expected) in [
        (GOOD, "spiffe://mesh.example/ns/ward/sa/viewer"),
        ("uRi=spiffe://mesh.example/a", "spiffe://mesh.example/a"),
        (
            "By=spiffe://m/a;By=spiffe://m/b;Hash=HASH;URI=spiffe://mesh.example/a;DNS=b",
            "spiffe://mesh.example/a",
        ),
        (
            "Hash=HASH;Cert=\"-----BEGIN%20\";Chain=\"x\";Subject=\"\";URI=;DNS=One.example;DNS=two",
            "dns:one.example",
        ),
        ("Subject=\"CN=a\\\\\";Cert=\"c=,;\";URI=spiffe://mesh.example/a", "spiffe://mesh.example/a"),
        ("Subject=\"CN=\\\";URI=spiffe://mesh.example/b\\;\\\\\";DNS=one.example", "dns:one.example"),
    ] {
        assert_eq!(principal(&header.replace("HASH", hash)).as_deref(), Ok(expected), "{header}");
    }
}

#[test]
fn a_proxy_on_the_list_speaks_for_its_callers_and_without_the_header_for_itself() {
    assert_eq!(ask(&tls(PROXY), Header::Absent), Ok(None));
    assert_eq!(ask(&Peer::default(), Header::Absent), Ok(None));
    let rules = Certificate { trust_domains: vec!["mesh.example".into()], trust: None };
    let authenticators: [Box<dyn Authenticator>; 3] =
        [Box::new(Plaintext), Box::new(rules), Box::new(forwarded())];
    let ask = |peer: &Peer, header: Header| {
        let credentials = Credentials { forwarded: header, ..Credentials::default() };
        identify(None, &authenticators, &Presented { peer, credentials: &credentials, now: Now::read() })
            .unwrap()
    };
    let caller = ask(&tls(PROXY), once(GOOD));
    assert_eq!(caller.principal(), "spiffe://mesh.example/ns/ward/sa/viewer");
    assert_eq!(caller.names(), ["spiffe://mesh.example/ns/ward/sa/viewer"]);
    assert_eq!(caller.workload(), None);
    assert_eq!(caller.mechanisms(), [Mechanism::Forwarded]);
    assert_eq!(ask(&tls(PROXY), Header::Absent).principal(), PROXY);
    assert_eq!(ask(&unix(1337), once(GOOD)).principal(), "spiffe://mesh.example/ns/ward/sa/viewer");
    assert_eq!(ask(&unix(1337), Header::Absent).principal(), "plaintext");
}

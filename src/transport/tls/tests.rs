//! Is everybody refused who should be, in a real handshake and again on an open connection, and nobody else?

mod pki;
mod reload;
mod revocation;

use super::*;
use pki::{Ca, Client, DAY, HOUR, House, dns, identify, uri, valid};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::AlertDescription;

/// The handshake fails, and so does whoever presents the same chain on a connection that was there before.
fn refused(house: &House, tls: &Arc<Tls>, client: &Client, words: &str, case: &str) {
    let handshake = house.handshake(tls, Some(client));
    assert!(matches!(handshake, Err(rustls::Error::InvalidCertificate(_))), "{case}: {handshake:?}");
    let again = identify(tls, client.presented(), Now::read()).expect_err(case);
    assert!(again.to_string().contains(words), "{case}: {again}");
}

fn welcome(house: &House, tls: &Arc<Tls>, client: &Client, name: &str) {
    let presented = house.handshake(tls, Some(client)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(presented, client.presented());
    assert_eq!(identify(tls, presented, Now::read()).unwrap().principal(), name);
}

fn pacs() -> SanType {
    uri("spiffe://hospital.example/pacs")
}

#[test]
fn a_certificate_that_is_wrong_in_itself_is_refused() {
    let house = House::new();
    let tls = house.start().unwrap();
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| {
        move |params: &mut CertificateParams| params.extended_key_usages = usages
    };
    let purpose = "not for clients";
    let cases: [(&str, Client, &str); 8] = [
        ("expired", house.ca.client(pacs(), |params| valid(params, -2 * DAY, -HOUR)), "has expired"),
        ("not yet valid", house.ca.client(pacs(), |params| valid(params, HOUR, DAY)), "not valid yet"),
        ("for servers", house.ca.client(pacs(), usage(vec![ExtendedKeyUsagePurpose::ServerAuth])), purpose),
        ("for nothing in particular", house.ca.client(pacs(), usage(vec![])), purpose),
        ("for anything", house.ca.client(pacs(), usage(vec![ExtendedKeyUsagePurpose::Any])), purpose),
        (
            "a CA",
            house.ca.client(pacs(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "trusted here",
        ),
        ("of another CA", Ca::root("others").client(pacs(), |_| {}), "trusted here"),
        ("of another CA of the same name", Ca::root("clients").client(pacs(), |_| {}), "trusted here"),
    ];
    for (case, client, words) in cases {
        refused(&house, &tls, &client, words, case);
    }
    for garbage in [vec![], vec![b"no certificate".to_vec()], vec![vec![0x30; 70_000]]] {
        assert!(identify(&tls, garbage, Now::read()).is_err());
    }
}

#[test]
fn a_chain_that_is_wrong_is_refused() {
    let mut house = House::new();
    let constrained = |length: u8| {
        move |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length))
    };
    let anchor = Ca::root_with("short", constrained(0));
    let expired = Ca::root_with("expired", |params| valid(params, -2 * DAY, -HOUR));
    let future = Ca::root_with("future", |params| valid(params, HOUR, DAY));
    let bundle = [&house.ca, &anchor, &expired, &future].map(|ca| ca.pem.clone()).concat();
    house.settings.client_ca = Some(house.write("ca.pem", bundle));
    let tls = house.start().unwrap();
    let issuing = house.ca.intermediate("issuing", constrained(0));
    let below = |ca: &Ca| ca.intermediate("below", |_| {}).client(pacs(), |_| {});
    let long =
        (0..10).fold(house.ca.intermediate("0", |_| {}), |ca, n| ca.intermediate(&format!("+{n}"), |_| {}));
    let ended = house.ca.intermediate("ended", |params| valid(params, -2 * DAY, -HOUR));
    let leaf = house.ca.intermediate("leaf", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![];
    });
    for (case, client, words) in [
        ("an intermediate below one that may have none", below(&issuing), "trusted here"),
        ("an intermediate below an anchor that may have none", below(&anchor), "trusted here"),
        ("more certificates than anybody needs", long.client(pacs(), |_| {}), "too long"),
        ("an intermediate that has expired", ended.client(pacs(), |_| {}), "has expired"),
        ("an anchor that has expired", expired.client(pacs(), |_| {}), "has expired"),
        ("an anchor that is not valid yet", future.client(pacs(), |_| {}), "not valid yet"),
        ("issued by somebody who is no CA", leaf.client(pacs(), |_| {}), "trusted here"),
    ] {
        refused(&house, &tls, &client, words, case);
    }
    welcome(&house, &tls, &issuing.client(pacs(), |_| {}), "spiffe://hospital.example/pacs");
    welcome(&house, &tls, &anchor.client(pacs(), |_| {}), "spiffe://hospital.example/pacs");
}

#[test]
fn a_ca_that_has_renewed_its_certificate_is_trusted_beside_the_expired_one() {
    let mut house = House::new();
    let expired = house.ca.renewed("clients", |params| valid(params, -2 * DAY, -HOUR));
    for bundle in [[expired.as_str(), &house.ca.pem], [house.ca.pem.as_str(), &expired]] {
        house.settings.client_ca = Some(house.write("ca.pem", bundle.concat()));
        let tls = house.start().unwrap();
        welcome(&house, &tls, &house.ca.client(pacs(), |_| {}), "spiffe://hospital.example/pacs");
    }
    house.write("ca.pem", expired);
    let error = house.start().err().unwrap().to_string();
    assert!(error.starts_with("tls.client_ca: ") && error.contains("has expired"), "{error}");
}

#[test]
fn what_is_no_ca_is_no_anchor_of_trust() {
    let mut house = House::new();
    let client = house.ca.client(pacs(), |_| {});
    for (content, words) in [
        ([house.ca.pem.as_str(), client.pem()].concat(), "certificate 2 of it: is not one of a CA"),
        (String::new(), "no certificate in it"),
        (house.ca.pem.replace("MII", "MIJ"), "certificate 1 of it: cannot be read"),
        (house.ca.pem.replace("MII", "*"), "no base64"),
    ] {
        house.settings.client_ca = Some(house.write("ca.pem", content));
        let error = house.start().err().expect(words).to_string();
        assert!(error.starts_with("tls.client_ca: ") && error.contains(words), "{error}");
    }
    house.settings.client_ca = Some(house.path().to_owned());
    assert!(house.start().err().unwrap().to_string().contains("not a file"));
    house.settings.client_ca = Some(house.path().join("nowhere.pem"));
    assert!(house.start().err().unwrap().to_string().contains("No such file"));
}

#[test]
fn names_that_a_ca_may_not_give_are_refused() {
    let house = House::new();
    let tls = house.start().unwrap();
    let only = |subtree: &str| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName(subtree.to_owned())];
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: vec![] };
        move |params: &mut CertificateParams| params.name_constraints = Some(constraints)
    };
    let radiology = house.ca.intermediate("radiology", only("radiology.example"));
    refused(&house, &tls, &radiology.client(dns("lab.example"), |_| {}), "trusted here", "another name");
    refused(
        &house,
        &tls,
        &radiology
            .client(dns("a.radiology.example"), |params| params.subject_alt_names.push(dns("b.example"))),
        "trusted here",
        "another name beside one of its own",
    );
    welcome(&house, &tls, &radiology.client(dns("a.radiology.example"), |_| {}), "dns:a.radiology.example");
    // Constraints of an anchor count too.
    let mut house = House::new();
    house.ca = Ca::root_with("constrained", only("radiology.example"));
    house.settings.client_ca = Some(house.write("ca.pem", &house.ca.pem));
    let tls = house.start().unwrap();
    refused(&house, &tls, &house.ca.client(dns("lab.example"), |_| {}), "trusted here", "another name");
    welcome(&house, &tls, &house.ca.client(dns("a.radiology.example"), |_| {}), "dns:a.radiology.example");
}

#[test]
fn a_trust_domain_is_vouched_for_by_its_own_bundle_alone() {
    let mut house = House::new();
    let (lab, ward) = (Ca::root("lab"), Ca::root("ward"));
    for (domain, ca) in [("lab.example", &lab), ("ward.example", &ward)] {
        let path = house.write(&format!("{domain}.pem"), &ca.pem);
        house.settings.trust_bundles.insert(domain.to_owned(), path);
    }
    let tls = house.start().unwrap();
    let (of_lab, of_ward) = (uri("spiffe://lab.example/a"), uri("spiffe://ward.example/a"));
    for (case, client) in [
        ("a domain's name by another domain's CA", ward.client(of_lab.clone(), |_| {})),
        ("a domain's name by the common CA", house.ca.client(of_lab.clone(), |_| {})),
        ("a common name by a domain's CA", lab.client(pacs(), |_| {})),
        ("a host's name by a domain's CA", lab.client(dns("host.example"), |_| {})),
        (
            "a host's name beside it",
            ward.client(of_lab.clone(), |p| p.subject_alt_names.push(dns("a.example"))),
        ),
    ] {
        refused(&house, &tls, &client, "trusted here", case);
    }
    welcome(&house, &tls, &lab.client(of_lab, |_| {}), "spiffe://lab.example/a");
    welcome(&house, &tls, &ward.client(of_ward.clone(), |_| {}), "spiffe://ward.example/a");
    welcome(&house, &tls, &house.ca.client(pacs(), |_| {}), "spiffe://hospital.example/pacs");
    welcome(&house, &tls, &house.ca.client(dns("host.example"), |_| {}), "dns:host.example");

    house.settings.client_ca = None;
    let tls = house.start().unwrap();
    refused(&house, &tls, &house.ca.client(pacs(), |_| {}), "trusted here", "no common CA at all");
    refused(&house, &tls, &lab.client(dns("host.example"), |_| {}), "trusted here", "no common CA at all");
    welcome(&house, &tls, &ward.client(of_ward, |_| {}), "spiffe://ward.example/a");
}

/// A name by its context tag, 2 for DNS and 6 for URI.
type Name<'n> = (u8, &'n [u8]);

/// A subject alternative name whose bytes rcgen would not write.
fn names(names: &[Name<'_>]) -> impl FnOnce(&mut CertificateParams) {
    let mut content = Vec::new();
    for (tag, name) in names {
        content.extend([0x80 | tag, u8::try_from(name.len()).unwrap()]);
        content.extend(*name);
    }
    let mut der = vec![0x30, 0x82];
    der.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    if content.len() < 128 {
        der = vec![0x30, u8::try_from(content.len()).unwrap()];
    }
    der.extend(content);
    move |params| {
        params.subject_alt_names.clear();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], der)];
    }
}

#[test]
fn names_that_can_be_read_in_two_ways_are_refused() {
    let mut house = House::new();
    house.settings.trust_bundles.insert("lab.example".into(), house.write("lab.pem", &Ca::root("lab").pem));
    let tls = house.start().unwrap();
    let good: Name<'_> = (6, b"spiffe://hospital.example/pacs");
    let many: Vec<Name<'_>> = vec![(2, b"a.example"); 65];
    let cases: [(&str, &[Name<'_>], &str); 9] = [
        ("two URIs", &[good, (6, b"spiffe://lab.example/a")], "more than one URI"),
        ("a URI with a NUL", &[(6, b"spiffe://hospital.example/pacs\0.lab.example")], "not plain ASCII"),
        ("a host with a NUL", &[(2, b"a.example\0.lab.example")], "not plain ASCII"),
        (
            "letters beyond ASCII",
            &[(6, "spiffe://hospital.example/pac\u{455}".as_bytes())],
            "not plain ASCII",
        ),
        ("bytes that are no text", &[good, (2, b"\xff\xfe")], "cannot be read"),
        (
            "a host beyond ASCII that does not count",
            &[good, (2, "\u{430}.example".as_bytes())],
            "not plain ASCII",
        ),
        ("capitals in the trust domain", &[(6, b"spiffe://LAB.example/a")], "not a SPIFFE ID"),
        ("a path that goes up", &[(6, b"spiffe://hospital.example/../pacs")], "not a SPIFFE ID"),
        ("too many", &many, "too many names"),
    ];
    for (case, list, words) in cases {
        refused(&house, &tls, &house.ca.client(pacs(), names(list)), words, case);
    }
    welcome(&house, &tls, &house.ca.client(pacs(), names(&[good])), "spiffe://hospital.example/pacs");
    welcome(&house, &tls, &house.ca.client(pacs(), names(&many[..64])), "dns:a.example");
}

#[test]
fn a_good_chain_that_names_nobody_is_refused_at_the_door() {
    let house = House::new();
    let tls = house.start().unwrap();
    let signs = |params: &mut CertificateParams| params.key_usages.push(KeyUsagePurpose::CrlSign);
    for (client, words) in [
        (house.ca.client(dns("*.example"), |_| {}), "not a plain host name"),
        (house.ca.client(SanType::IpAddress([127, 0, 0, 1].into()), |_| {}), "neither a URI nor a DNS name"),
        (house.ca.client(uri("https://hospital.example/pacs"), |_| {}), "not a SPIFFE ID"),
        (house.ca.client(pacs(), signs), "signs others"),
    ] {
        let presented = house.handshake(&tls, Some(&client)).unwrap();
        let error = identify(&tls, presented, Now::read()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn without_a_certificate_the_handshake_fails_unless_it_is_optional() {
    let mut house = House::new();
    let tls = house.start().unwrap();
    let error = house.handshake(&tls, None).unwrap_err();
    assert_eq!(error, rustls::Error::NoCertificatesPresented);
    house.settings.client_certificate = ClientCertificate::Optional;
    let tls = house.start().unwrap();
    assert_eq!(house.handshake(&tls, None).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(identify(&tls, vec![], Now::read()), Err(IdentityError::Missing));
    // A bad one is no better than none only because none is needed.
    refused(&house, &tls, &Ca::root("others").client(pacs(), |_| {}), "trusted here", "another CA");
    refused(
        &house,
        &tls,
        &house.ca.client(pacs(), |params| valid(params, -DAY, -HOUR)),
        "expired",
        "expired",
    );
    welcome(&house, &tls, &house.ca.client(pacs(), |_| {}), "spiffe://hospital.example/pacs");
}

#[tokio::test]
async fn a_refused_client_is_told_why_by_the_alert_and_an_accepted_one_is_known_by_its_whole_chain() {
    let house = House::new();
    let tls = house.start().unwrap();
    let issuing = house.ca.intermediate("issuing", |_| {});
    let (client, server) = tokio::io::duplex(64 << 10);
    let good = issuing.client(pacs(), |_| {});
    let key = house.write("client.key", good.key_pem());
    let chain = house.write("client.pem", [good.pem(), &issuing.pem].concat());
    let roots = house.write("servers.pem", &house.server_ca.pem);
    let config = super::client(&roots, Some((&chain, &key))).unwrap();
    let acceptor = tls.acceptor();
    let (accepted, dialled) = tokio::join!(super::accept(&acceptor, server), async {
        tokio_rustls::TlsConnector::from(config).connect("localhost".try_into().unwrap(), client).await
    });
    let (_, presented) = accepted.unwrap();
    assert!(dialled.is_ok() && presented == good.presented() && presented.len() == 2);

    let expired = house.ca.client(pacs(), |params| valid(params, -DAY, -HOUR));
    for (client, wanted) in [
        (expired, AlertDescription::CertificateExpired),
        (Ca::root("others").client(pacs(), |_| {}), AlertDescription::UnknownCA),
        (
            house.ca.client(pacs(), |p| p.extended_key_usages.clear()),
            AlertDescription::UnsupportedCertificate,
        ),
    ] {
        let Err(rustls::Error::InvalidCertificate(error)) = house.handshake(&tls, Some(&client)) else {
            panic!("it was accepted");
        };
        assert_eq!(AlertDescription::from(error), wanted);
    }
}

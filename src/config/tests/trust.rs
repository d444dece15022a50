//! Is whatever would trust anybody, or nobody, refused at its key?

use super::*;

#[test]
fn trust_that_cannot_work_is_refused_at_its_key() {
    let bundles =
        "[tls.trust_bundles]\n\"Lab.example\" = \"lab.pem\"\n\"ward.example\" = \"\"\n\"c\" = \"c.pem\"\n";
    let text = with("[access]", &format!("trust_domains = [\"ward.example\"]\n{bundles}[access]"));
    let found = problems(&text, &[("ASEPSIS__TLS__CRL_GRACE_S", "604801")]);
    let starts = [
        "asepsis.toml:13: tls.trust_bundles.Lab.example: `Lab.example`: a bare name",
        "asepsis.toml:14: tls.trust_bundles.ward.example: set it to a PEM file",
        "asepsis.toml:15: tls.trust_bundles.c: not one of tls.trust_domains",
        "ASEPSIS__TLS__CRL_GRACE_S: tls.crl_grace_s: 604801 is not between 0 and 604800",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
    let found = problems(&with("[access]", "crl = 5\nclient_certificate = \"never\"\n[access]"), &[]);
    assert!(found[0].starts_with("asepsis.toml:11: tls.crl: invalid type: integer `5`, expected a path or"));
    assert!(found[1].starts_with("asepsis.toml:12: tls.client_certificate: unknown variant `never`"));
    let many = format!("crl = {:?}\n[access]", vec!["x"; 65]);
    assert!(problems(&with("[access]", &many), &[])[0].contains("tls.crl: more than 64 files"));
}

#[test]
fn trust_is_named_by_files_beside_the_configuration() {
    let text = with("client_ca = \"/etc/pki/ca.pem\"", "trust_bundles = { \"lab.example\" = \"lab.pem\" }");
    let env = [
        ("ASEPSIS__TLS__DENY_LIST", "deny.toml"),
        ("ASEPSIS__TLS__CRL", "[\"a.crl\", \"/b.crl\"]"),
        ("ASEPSIS__TLS__CLIENT_CERTIFICATE", "optional"),
    ];
    let (directory, config) = read(&text, &env);
    let tls = config.unwrap().tls;
    assert_eq!(tls.client_ca, None);
    assert_eq!(tls.trust_bundles["lab.example"], directory.join("lab.pem"));
    assert_eq!(tls.crl.0, [directory.join("a.crl"), PathBuf::from("/b.crl")]);
    assert_eq!(tls.deny_list, Some(directory.join("deny.toml")));
    assert_eq!(tls.client_certificate, crate::transport::tls::ClientCertificate::Optional);
    let one = good(&[("ASEPSIS__TLS__CRL", "a.crl")]);
    assert_eq!(one.tls.crl.0.len(), 1);
    let again = read(&one.to_string(), &[]).1.unwrap();
    assert_eq!(one.tls, again.tls);
    assert!(good(&[("ASEPSIS__TLS__CRL", ""), ("ASEPSIS__TLS__DENY_LIST", "")]).tls.crl.0.is_empty());
}

#[test]
fn api_keys_without_their_secret_or_without_tls_are_refused() {
    let with_keys = |keys: &str| format!("{GOOD}\n[api_keys]\n{keys}");
    for (keys, start) in [
        ("file = \"keys.toml\"", "asepsis.toml:20: api_keys.secret: set it"),
        ("file = \"keys.toml\"\nsecret = \"\"", "asepsis.toml:22: api_keys.secret: set it"),
        ("secret = \"keys.secret\"", "asepsis.toml:20: api_keys.file: set it"),
        ("file = \"keys\"\nsecret = \"keys\"", "asepsis.toml:22: api_keys.secret: the same as"),
        ("files = \"keys\"", "asepsis.toml:21: api_keys.files: unknown key"),
    ] {
        let found = problems(&with_keys(keys), &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(start), "{found:#?}");
    }
    let both = with_keys("file = \"keys.toml\"\nsecret = \"keys.secret\"");
    let plaintext = problems(&both, &[("ASEPSIS__TLS__PLAINTEXT", "true")]);
    assert_eq!(plaintext.len(), 1, "{plaintext:#?}");
    assert!(plaintext[0].contains("api_keys.file: API keys are taken over TLS alone"), "{plaintext:#?}");
    let (directory, config) = read(&both, &[]);
    let files = (directory.join("keys.toml"), directory.join("keys.secret"));
    assert_eq!(config.unwrap().api_keys.files(), Some((files.0.as_path(), files.1.as_path())));
    assert_eq!(good(&[]).api_keys.files(), None);
}

#[test]
fn proxies_that_could_be_anybody_or_nobody_are_refused() {
    let with_forwarded = |peers: &str| format!("{GOOD}\n[forwarded]\n{peers}");
    for peer in
        ["*", "spiffe://mesh.example/*", "spiffe://mesh.example", "dns:envoy", "https://mesh.example/a", ""]
    {
        let found = problems(&with_forwarded(&format!("peers = [\"{peer}\"]")), &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("asepsis.toml:21: forwarded.peers: `{peer}`: ")), "{found:#?}");
    }
    let peer = "peers = [\"spiffe://mesh.example/envoy\"]";
    for (text, env, problem) in [
        (peer, ("ASEPSIS__TLS__TRUST_DOMAINS", "[\"other.example\"]"), "forwarded.peers: `spiffe://"),
        (
            peer,
            ("ASEPSIS__TLS__PLAINTEXT", "true"),
            "forwarded.peers: proxies are known by their certificates",
        ),
        ("unix_uids = [1337]", ("ASEPSIS__LISTEN__UNIX", ""), "forwarded.unix_uids: set listen.unix, too"),
        ("unix_uids = [-1]", ("ASEPSIS__LISTEN__UNIX", "s"), "forwarded.unix_uids: invalid value"),
    ] {
        let found = problems(&with_forwarded(text), &[env]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(problem), "{found:#?}");
    }
    let many = format!("peers = [{}]", "\"spiffe://mesh.example/envoy\",".repeat(257));
    assert!(problems(&with_forwarded(&many), &[])[0].contains("forwarded: more than 256"));
    let text = with_forwarded(&format!("{peer}\nunix_uids = [1337]"));
    let config = read(&text, &[("ASEPSIS__LISTEN__UNIX", "s")]).1.unwrap();
    assert_eq!(config.forwarded.unix_uids, [1337]);
}

#[test]
#[cfg(not(feature = "cedar"))]
fn cedar_policies_are_refused_by_a_build_that_would_not_ask_them() {
    let text = with("policy = \"access.toml\"", "policy = \"access.toml\"\ncedar = \"access.cedar\"");
    let problems = problems(&text, &[]);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].starts_with("asepsis.toml:13: access.cedar: this build knows no Cedar"),
        "{problems:#?}"
    );
}

//! Is there a place to listen, and none that lets in others than it says?

use super::*;

#[test]
fn plaintext_is_refused_beyond_this_machine() {
    let text = with("[tls]", "[tls]\nplaintext = true");
    let beyond = text.replace("grpc = \"127.0.0.1:0\"", "grpc = \"0.0.0.0:8001\"");
    let found = problems(&beyond, &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("asepsis.toml:7: tls.plaintext: only where"), "{found:#?}");
    for local in ["127.0.0.1:8001", "[::1]:8001"] {
        assert!(read(&text, &[("ASEPSIS__LISTEN__GRPC", local)]).1.is_ok(), "{local}");
    }
    let bare = "[access]\npolicy = \"a\"\n[models]\nrepository = \"m\"\n[audit]\ndirectory = \"a\"\n\
                [listen]\nunix = \"s\"\n[tls]\nplaintext = true";
    assert!(read(bare, &[]).1.unwrap().listen.grpc.is_none());
}

#[test]
fn a_server_that_listens_nowhere_is_refused() {
    assert!(
        problems(GOOD, &[("ASEPSIS__LISTEN__GRPC", "")])[0].contains("listen.grpc: set it, or listen.unix")
    );
    let same = [("ASEPSIS__LISTEN__GRPC", "127.0.0.1:9"), ("ASEPSIS__LISTEN__ADMIN", "127.0.0.1:9")];
    assert!(problems(GOOD, &same)[0].contains("listen.admin: the same as listen.grpc"));
    assert!(problems(GOOD, &[("ASEPSIS__LISTEN__ADMIN", "")])[0].contains("listen.admin: an IP address"));
    let long = "x".repeat(200);
    assert!(problems(GOOD, &[("ASEPSIS__LISTEN__UNIX", &long)])[0].contains("listen.unix: longer than 107"));
    let domain = [("ASEPSIS__TLS__TRUST_DOMAINS", r#"["spiffe://hospital.example"]"#)];
    assert!(problems(GOOD, &domain)[0].contains("tls.trust_domains: `spiffe://"));
    assert!(
        problems(GOOD, &[("ASEPSIS__OTLP__ENDPOINT", "127.0.0.1:4317")])[0].contains("otlp.endpoint: a URL")
    );
}

#[test]
fn traces_go_where_their_protocol_can_go_and_in_a_share_that_is_one() {
    const ENDPOINT: &str = "ASEPSIS__OTLP__ENDPOINT";
    let http = ("ASEPSIS__OTLP__PROTOCOL", "http");
    let https = (ENDPOINT, "https://collector.hospital.example");
    let ca = ("ASEPSIS__OTLP__CA", "ca.pem");
    for (env, key) in [
        (&[https][..], "otlp.endpoint: a URL such as http://127.0.0.1:4317"),
        (&[http, (ENDPOINT, "127.0.0.1:4318")], "otlp.endpoint: a URL such as http://127.0.0.1:4318"),
        (&[http, (ENDPOINT, "http://127.0.0.1:4318"), ca], "otlp.ca: only where"),
        (&[("ASEPSIS__OTLP__SAMPLE_SHARE", "1.01")], "otlp.sample_share: 1.01 is not between 0 and 1"),
        (&[("ASEPSIS__OTLP__SAMPLE_SHARE", "nan")], "otlp.sample_share: NaN is not between 0 and 1"),
        (&[("ASEPSIS__OTLP__SLOW_MS", "0")], "otlp.slow_ms: 0 is not between 1 and"),
    ] {
        let problems = problems(GOOD, env);
        assert!(problems.len() == 1 && problems[0].contains(key), "{env:?} {problems:?}");
    }
    assert!(good(&[http, https, ca]).otlp.ca.unwrap().ends_with("ca.pem"));
}

#[test]
fn a_unix_socket_alone_needs_no_tcp() {
    let text = with("grpc = \"127.0.0.1:0\"", "unix = \"s\"");
    assert_eq!(read(&text, &[]).1.unwrap().listen.grpc, None);
    let empty = good(&[("ASEPSIS__LISTEN__UNIX", "s"), ("ASEPSIS__LISTEN__GRPC", "")]);
    assert_eq!(empty.listen.grpc, None);
    assert!(good(&[("ASEPSIS__LISTEN__UNIX", "s")]).listen.grpc.is_some());
}

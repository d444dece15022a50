//! Is everything found that would keep a sidecar from starting?

use super::*;
use crate::clock::Now;
use std::fs;

/// A home with everything in its place: a PKI, a policy, the `wdbc` model and its calibration.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        crate::cli::certs::issue(&home.path("pki"), false, Now::read()).unwrap();
        let access = "[roles.all]\nmembers = [\"spiffe://asepsis.dev/client\"]\n\
                      permissions = [{ rpcs = [\"*\"], models = [\"wdbc\"] }]\n";
        fs::write(home.path("access.toml"), access).unwrap();
        fs::create_dir_all(home.path("models/wdbc/1")).unwrap();
        for file in ["model.onnx", "twin.onnx", "contract.toml", "labels.txt", "calibration.json"] {
            fs::copy(format!("models/wdbc/1/{file}"), home.path("models/wdbc/1").join(file)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the command on a configuration.
    fn check(&self, more: &str) -> Result<String, Vec<String>> {
        let library = Path::new(".onnxruntime/libonnxruntime.so.1.31.1").canonicalize().unwrap();
        let text = format!(
            "listen = {{ grpc = \"127.0.0.1:0\", admin = \"127.0.0.1:0\", operations = \"127.0.0.2:0\", \
             unix = \"sock\" }}\n\
             tls.certificate = \"pki/server.pem\"\n\
             tls.key = \"pki/server.key\"\n\
             tls.client_ca = \"pki/ca.pem\"\n\
             access.policy = \"access.toml\"\n\
             models.repository = \"models\"\n\
             onnxruntime.library = \"{}\"\n\
             audit.directory = \"state/audit\"\n",
            library.display()
        );
        self.check_text(&format!("{text}{more}"))
    }

    fn check_text(&self, text: &str) -> Result<String, Vec<String>> {
        fs::write(self.path("asepsis.toml"), text).unwrap();
        let mut out = Vec::new();
        match run(&Args { config: self.path("asepsis.toml") }, &mut out) {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(Failure::Configuration(problems)) => {
                let home = format!("{}/", self.0.path().display());
                Err(problems.lines().map(|line| line.replace(&home, "")).collect())
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn expect(problems: &[String], starts: &[&str]) {
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
}

#[test]
fn everything_that_is_missing_is_named_at_once_with_its_line() {
    let home = Home::new();
    let text = "[listen]\nadmin = \"192.0.2.1:1\"\ngrpc = \"127.0.0.1:0\"\nunix = \"no/where\"\n\
                [tls]\ncertificate = \"a.pem\"\nkey = \"b.key\"\nclient_ca = \"pki/ca.pem\"\n\
                [access]\npolicy = \"none.toml\"\n[models]\nrepository = \"none\"\n\
                [onnxruntime]\nlibrary = \"none.so\"\n[audit]\ndirectory = \"access.toml\"\nsize = 1\n";
    let problems = home.check_text(text).unwrap_err();
    expect(
        &problems,
        &[
            "asepsis.toml:2: listen.admin: 192.0.2.1:1: ",
            "asepsis.toml:4: listen.unix: no/where: ",
            "asepsis.toml:6: tls.certificate: a.pem: No such file",
            "asepsis.toml:7: tls.key: b.key: No such file",
            "asepsis.toml:10: access.policy: none.toml: No such file",
            "asepsis.toml:12: models.repository: model ",
            "asepsis.toml:14: onnxruntime.library: ONNX Runtime is not at ",
            "asepsis.toml:16: audit.directory: access.toml: cannot be written to: ",
            "asepsis.toml:17: audit.size: unknown key `size`",
        ],
    );
}

#[test]
fn a_model_that_does_not_load_and_a_role_for_an_unknown_one_are_refused() {
    let home = Home::new();
    fs::write(home.path("models/wdbc/1/model.onnx"), b"no model").unwrap();
    fs::create_dir_all(home.path("models/other/1")).unwrap();
    let access = fs::read_to_string(home.path("access.toml")).unwrap().replace("\"wdbc\"", "\"wbdc\"");
    fs::write(home.path("access.toml"), access).unwrap();
    let problems = home.check("").unwrap_err();
    expect(
        &problems,
        &[
            "asepsis.toml:5: access.policy: access.toml:3: role `all`: unknown model `wbdc`",
            "asepsis.toml:6: models.repository: model other/1: contract.toml: ",
            "asepsis.toml:6: models.repository: model wdbc/1: model.onnx: ",
        ],
    );
    fs::write(home.path("access.toml"), "[roles.all]\nmembers = []\npermission = []\n").unwrap();
    let problems = home.check("").unwrap_err();
    let policy = "asepsis.toml:5: access.policy: access.toml:3: role `all`: unknown field `permission`";
    assert!(problems[0].starts_with(policy), "{problems:#?}");
}

#[test]
fn a_key_that_fits_no_certificate_or_is_read_by_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    fs::copy(home.path("pki/client.key"), home.path("pki/server.key")).unwrap();
    expect(
        &home.check("").unwrap_err(),
        &["asepsis.toml:2: tls.certificate: pki/server.pem: does not belong to the key"],
    );
    fs::set_permissions(home.path("pki/server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    expect(&home.check("").unwrap_err(), &["asepsis.toml:3: tls.key: pki/server.key: readable by others"]);
}

#[test]
fn each_file_of_trust_that_holds_something_else_is_refused_at_its_key() {
    let home = Home::new();
    fs::write(home.path("deny.toml"), "serials = [\"xyz\"]\nspiffe_ids = []\n").unwrap();
    fs::write(home.path("empty.pem"), "").unwrap();
    let more = "tls.deny_list = \"deny.toml\"\n\
                tls.crl = [\"pki/ca.pem\", \"none.crl\"]\n\
                tls.trust_bundles.\"a.example\" = \"empty.pem\"\n\
                tls.trust_bundles.\"b.example\" = \"pki/client.pem\"\n\
                tls.trust_bundles.\"c.example\" = \"pki/ca.pem\"\n";
    expect(
        &home.check(more).unwrap_err(),
        &[
            "asepsis.toml:9: tls.deny_list: deny.toml: serials: `xyz`: hexadecimal digits",
            "asepsis.toml:10: tls.crl: none.crl: No such file",
            "asepsis.toml:10: tls.crl: pki/ca.pem: no revocation list in it",
            "asepsis.toml:11: tls.trust_bundles.a.example: empty.pem: no certificate in it",
            "asepsis.toml:12: tls.trust_bundles.b.example: pki/client.pem: certificate 1 of it: is not one of a CA",
        ],
    );
    let good = "tls.trust_bundles.\"c.example\" = \"pki/ca.pem\"\n";
    assert!(home.check(good).is_ok());
}

#[test]
fn what_another_process_uses_is_refused() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = crate::audit::file::Settings {
        directory: home.path("state/audit"),
        ..crate::audit::file::Settings::default()
    };
    let ledger = crate::audit::file::FileLedger::open(&settings).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(home.path("sock")).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = home.check("").unwrap_err();
    expect(
        &text,
        &["asepsis.toml:1: listen.unix: sock: ", "asepsis.toml:8: audit.directory: state/audit: in use"],
    );
    drop((ledger, socket));
    let text = fs::read_to_string(home.path("asepsis.toml")).unwrap().replace("127.0.0.1:0", &address);
    let text = text.replacen(&address, "127.0.0.1:0", 1);
    expect(&home.check_text(&text).unwrap_err(), &[&format!("asepsis.toml:1: listen.admin: {address}: ")]);
}

#[test]
fn what_would_start_is_summed_up_and_nothing_is_left_behind() {
    let home = Home::new();
    let said = home.check("").unwrap();
    assert!(
        said.starts_with("good: ") && said.contains("\nmodel wdbc/1: ") && said.ends_with("\n1 roles\n"),
        "{said}"
    );
    let mut left: Vec<_> =
        fs::read_dir(home.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["access.toml", "asepsis.toml", "models", "pki"]);
}

#[test]
#[cfg(feature = "cedar")]
fn cedar_policies_that_do_not_fit_the_schema_are_refused() {
    let home = Home::new();
    let more = "access.cedar = \"access.cedar\"\n";
    expect(&home.check(more).unwrap_err(), &["asepsis.toml:9: access.cedar: access.cedar: No such file"]);
    fs::write(home.path("access.cedar"), "permit (principal, action == Action::\"Infer\", resource);")
        .unwrap();
    expect(&home.check(more).unwrap_err(), &["asepsis.toml:9: access.cedar: access.cedar: "]);
    fs::write(home.path("access.cedar"), "permit (principal, action, resource);").unwrap();
    home.check(more).unwrap();
}

#[test]
fn where_the_spiffe_agent_brings_certificates_no_files_are_asked_for() {
    let home = Home::new();
    home.check("").unwrap();
    let text = fs::read_to_string(home.path("asepsis.toml")).unwrap();
    let tls_from_files = |line: &&str| !line.starts_with("tls.");
    let text = text.lines().filter(tls_from_files).collect::<Vec<_>>().join("\n") + "\n";
    let agent = "workload_api.socket = \"unix:///run/agent.sock\"\n";
    // What comes from files all the same is looked at, and so are files that may serve in the agent's stead.
    let denied = home.check_text(&format!("{text}{agent}tls.deny_list = \"none.toml\"\n")).unwrap_err();
    expect(&denied, &["asepsis.toml:7: tls.deny_list: none.toml: No such file"]);
    let fallback = format!("{text}{agent}workload_api.fallback = \"files\"\n");
    assert_eq!(home.check_text(&fallback).unwrap_err().len(), 3);
    home.check_text(&format!("{text}{agent}")).unwrap();
}

//! `asepsis certs dev`: certificates to try the sidecar with, for every role of the shipped access policy.

use super::Failure;
use crate::admission::rbac::{AccessErrors, AccessFile};
use crate::clock::Now;
use crate::file;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The shipped access policy, whose members these certificates are.
pub const ACCESS: &str = include_str!("../../deploy/access.toml");

/// The trust domain of development certificates.
pub const TRUST_DOMAIN: &str = "asepsis.dev";

/// How long they are valid, and how far the reader's clock may be behind.
const DAYS_VALID: u64 = 30;
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Issue a CA, a server and client certificates for development.
    Dev(DevArgs),
}

/// Arguments of `dev`.
#[derive(clap::Args)]
pub struct DevArgs {
    /// The directory to write to; created if need be.
    #[arg(long)]
    out: PathBuf,
    /// Replace certificates that are there.
    #[arg(long)]
    force: bool,
}

/// Why no certificates were issued.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// There is one already.
    #[error("{} exists; name another directory, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The policy that names the roles cannot be read.
    #[error("deploy/access.toml: {0}")]
    Access(#[from] AccessErrors),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Runs one of the commands.
///
/// # Errors
/// There are certificates already, or they cannot be written.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let Command::Dev(DevArgs { out: directory, force }) = command;
    let written = issue(directory, *force, Now::read()).map_err(|error| match error {
        CertsError::Exists(_) => Failure::Usage(error.to_string()),
        CertsError::Io { .. } | CertsError::Access(_) | CertsError::Certificate(_) => {
            Failure::Other(error.to_string())
        }
    })?;
    for path in &written {
        writeln!(out, "{}", path.display())?;
    }
    writeln!(
        out,
        "For development only: valid for {DAYS_VALID} days, and whoever reads ca.key can be anybody."
    )?;
    Ok(())
}

/// Writes `ca`, `server`, `client` and `client-ROLE`, each as `.pem` and `.key`, and returns their paths.
///
/// # Errors
/// One of the files exists and `force` is not set (nothing is written then), or cannot be written.
pub fn issue(out: &Path, force: bool, now: Now) -> Result<Vec<PathBuf>, CertsError> {
    let mut files = Vec::new();
    let authority = KeyPair::generate()?;
    let mut params = params("Asepsis development CA, never for production", now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&authority)?;
    files.push(("ca.pem".to_owned(), certificate.pem()));
    files.push(("ca.key".to_owned(), authority.serialize_pem()));
    let issuer = Issuer::new(params, authority);

    let localhost = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
    ];
    files.extend(leaf("server", localhost, ExtendedKeyUsagePurpose::ServerAuth, &issuer, now)?);
    let mut clients = vec![("client".to_owned(), "client".to_owned())];
    for role in AccessFile::parse(ACCESS)?.role_names() {
        clients.push((format!("client-{role}"), format!("role/{role}")));
    }
    for (name, path) in clients {
        let id = SanType::URI(format!("spiffe://{TRUST_DOMAIN}/{path}").try_into()?);
        files.extend(leaf(&name, vec![id], ExtendedKeyUsagePurpose::ClientAuth, &issuer, now)?);
    }
    write_all(out, force, &files)
}

fn params(name: &str, now: Now) -> CertificateParams {
    let since_epoch = now.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since_epoch + Duration::from_hours(24 * DAYS_VALID);
    params
}

/// A certificate and its key as files.
fn leaf(
    name: &str,
    names: Vec<SanType>,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
    now: Now,
) -> Result<[(String, String); 2], CertsError> {
    let key = KeyPair::generate()?;
    let mut params = params(&format!("asepsis development {name}"), now);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok([(format!("{name}.pem"), certificate.pem()), (format!("{name}.key"), key.serialize_pem())])
}

fn write_all(out: &Path, force: bool, files: &[(String, String)]) -> Result<Vec<PathBuf>, CertsError> {
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| out.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| !force && path.symlink_metadata().is_ok()) {
        return Err(CertsError::Exists(path.clone()));
    }
    let failed = |path: &Path, error| CertsError::Io { path: path.to_owned(), error };
    std::fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    for (path, (_, pem)) in paths.iter().zip(files) {
        let key = path.extension().is_some_and(|extension| extension == "key");
        file::replace(path, pem, if key { 0o600 } else { 0o644 }).map_err(|error| failed(path, error))?;
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Rpc;
    use crate::admission::rbac::{AccessPolicy, Grant, Known, Question, Severity};
    use crate::identity::{Identity, Mechanism};
    use crate::transport::tls::{self, Settings};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use x509_parser::pem::Pem;

    const ROLES: [&str; 6] = [
        "Clinicians_AI_Query",
        "DataScientists_AI_Full",
        "Developers_Demo",
        "Emergency_Access",
        "Radiologists_AI_Read",
        "Security_Incident_Response",
    ];

    fn issued() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        issue(directory.path(), false, Now::read()).unwrap();
        directory
    }

    fn settings(pki: &Path) -> Settings {
        Settings {
            certificate: Some(pki.join("server.pem")),
            key: Some(pki.join("server.key")),
            client_ca: Some(pki.join("ca.pem")),
            ..Settings::default()
        }
    }

    /// A handshake in memory between a server and a client of two directories.
    fn handshake(server: &Path, client: &Path, name: &str, host: &str) -> Result<(), rustls::Error> {
        let server_config = tls::Tls::start(&settings(server), Now::read()).unwrap().server();
        let pem = client.join(format!("{name}.pem"));
        let key = client.join(format!("{name}.key"));
        let client_config = tls::client(&client.join("ca.pem"), Some((&pem, &key))).unwrap();
        let mut server = rustls::ServerConnection::new(server_config).unwrap();
        let host = host.to_owned().try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::clone(&client_config), host).unwrap();
        for _ in 0..4 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!server.is_handshaking() && !client.is_handshaking());
        Ok(())
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let directory = issued();
        let key = || std::fs::read(directory.path().join("server.key")).unwrap();
        let before = key();
        let again = issue(directory.path(), false, Now::read());
        assert!(matches!(again, Err(CertsError::Exists(_))));
        assert_eq!(key(), before);
        issue(directory.path(), true, Now::read()).unwrap();
        assert_ne!(key(), before);
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 2 * (3 + ROLES.len()));
    }

    #[test]
    fn another_ca_another_host_and_a_server_as_client_are_refused() {
        let (one, other) = (issued(), issued());
        std::fs::copy(one.path().join("ca.pem"), other.path().join("ca.pem")).unwrap();
        assert!(handshake(one.path(), other.path(), "client", "localhost").is_err());
        assert!(handshake(one.path(), one.path(), "client", "example.org").is_err());
        assert!(handshake(one.path(), one.path(), "server", "localhost").is_err());
    }

    #[test]
    fn every_client_is_welcome_at_every_name_of_this_machine() {
        let directory = issued();
        for host in ["localhost", "127.0.0.1", "::1"] {
            handshake(directory.path(), directory.path(), "client", host).unwrap();
        }
        for role in ROLES {
            handshake(directory.path(), directory.path(), &format!("client-{role}"), "localhost").unwrap();
        }
    }

    #[test]
    fn keys_are_their_owners_alone_and_certificates_end_after_thirty_days() {
        let directory = tempfile::tempdir().unwrap();
        let now = Now::read();
        for path in issue(&directory.path().join("new/pki"), false, now).unwrap() {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            if path.extension().unwrap() == "key" {
                assert_eq!(mode, 0o600, "{}", path.display());
                continue;
            }
            assert_eq!(mode & 0o022, 0, "{}", path.display());
            let pem = std::fs::read(&path).unwrap();
            let certificates: Vec<_> = Pem::iter_from_buffer(&pem).map(Result::unwrap).collect();
            assert_eq!(certificates.len(), 1);
            let validity = certificates[0].parse_x509().unwrap().validity().clone();
            assert_eq!(validity.not_after.timestamp(), now.unix_seconds() + 30 * 86_400);
            assert_eq!(validity.not_before.timestamp(), now.unix_seconds() - 300);
        }
    }

    fn shipped() -> AccessPolicy {
        let known = ["wdbc", "pneumonia", "digits"];
        let known = known.map(|name| Known { name: name.to_owned(), versions: vec![1] });
        AccessPolicy::parse(ACCESS, &known).unwrap()
    }

    /// What the bearer of the certificate of this role is granted.
    fn granted(path: &str, rpc: Rpc, model: Option<&str>, emergency: Option<&str>) -> Option<Grant> {
        let name = format!("spiffe://{TRUST_DOMAIN}/{path}");
        let identity = Identity::new(Mechanism::Certificate, name, None);
        let model = model.map(|name| (name, Some(1)));
        let question = Question { rpc, model, now: Now::read(), address: None, emergency };
        let policy = shipped();
        policy.decide(&policy.standing(&identity), &identity, &question).ok()
    }

    fn may(role: &str, rpc: Rpc, model: Option<&str>) -> bool {
        granted(&format!("role/{role}"), rpc, model, None).is_some()
    }

    #[test]
    fn shipped_roles_may_not_do_what_others_may() {
        assert!(!may("Radiologists_AI_Read", Rpc::ModelInfer, Some("wdbc")));
        assert!(!may("Radiologists_AI_Read", Rpc::ModelInfer, Some("digits")));
        assert!(!may("Clinicians_AI_Query", Rpc::ModelInfer, Some("digits")));
        assert!(!may("Clinicians_AI_Query", Rpc::RepositoryModelUnload, None));
        assert!(!may("Security_Incident_Response", Rpc::ModelInfer, None));
        assert!(!may("Security_Incident_Response", Rpc::ModelStreamInfer, None));
        assert!(!may("Nobody", Rpc::ServerLive, None));
        assert!(!may("Emergency_Access", Rpc::ModelInfer, Some("wdbc")));
        assert!(granted("role/Emergency_Access", Rpc::ModelInfer, Some("wdbc"), Some("curiosity")).is_none());
        for (role, model) in [("Radiologists_AI_Read", "pneumonia"), ("Clinicians_AI_Query", "wdbc")] {
            let grant = granted(&format!("role/{role}"), Rpc::ModelInfer, Some(model), None).unwrap();
            assert!(!grant.sees_action);
        }
    }

    #[test]
    fn shipped_roles_may_do_what_they_are_for() {
        for role in ROLES.into_iter().filter(|role| *role != "Emergency_Access") {
            for rpc in [Rpc::ServerLive, Rpc::ServerReady, Rpc::HealthCheck] {
                assert!(may(role, rpc, None), "{role} {rpc:?}");
            }
        }
        assert!(may("Radiologists_AI_Read", Rpc::ModelInfer, Some("pneumonia")));
        assert!(may("Clinicians_AI_Query", Rpc::ModelInfer, Some("wdbc")));
        assert!(may("Clinicians_AI_Query", Rpc::ModelInfer, Some("pneumonia")));
        let emergency =
            granted("role/Emergency_Access", Rpc::ModelInfer, Some("wdbc"), Some("mass-casualty"));
        assert_eq!(&*emergency.unwrap().emergency.unwrap().reason, "mass-casualty");
        let scientist =
            granted("role/DataScientists_AI_Full", Rpc::ModelInfer, Some("digits"), None).unwrap();
        assert!(scientist.sees_action);
        for rpc in Rpc::ALL.iter().filter(|rpc| !rpc.is_operation()) {
            let grant = granted("client", *rpc, Some("digits"), None).unwrap();
            assert_eq!(&*grant.role, "Developers_Demo");
            assert!(grant.sees_action);
        }
    }

    #[test]
    fn the_linter_finds_in_the_shipped_policy_what_its_comments_say_and_nothing_else() {
        let findings = shipped().lint();
        let found: Vec<_> =
            findings.iter().map(|finding| (finding.severity, finding.rule.as_str())).collect();
        let expected = [
            (Severity::Warning, "roles.Emergency_Access"),
            (Severity::Warning, "roles.Developers_Demo.permissions[0]"),
        ];
        assert_eq!(found, expected, "{findings:#?}");
    }

    #[test]
    fn the_command_says_what_it_wrote_and_what_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let command = Command::Dev(DevArgs { out: directory.path().to_owned(), force: false });
        let mut out = Vec::new();
        run(&command, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(
            said.contains("/client-Radiologists_AI_Read.pem\n") && said.contains("development only"),
            "{said}"
        );
        assert!(matches!(run(&command, &mut Vec::new()), Err(Failure::Usage(_))));
    }
}

//! `asepsis key`: API keys from the first day to the last. A key is printed once, and kept nowhere.

use super::Failure;
use crate::admission::rbac::AccessFile;
use crate::app::access;
use crate::clock::Now;
use crate::config::Config;
use crate::identity::api_key::key::{ENTROPY_BYTES, Key, mint};
use crate::identity::api_key::keyring::{DAYS_MAX, Entry, Keyring, Moment};
use crate::identity::api_key::secret::SECRET_BYTES;
use crate::identity::api_key::store::Store;
use crate::transport::tls::ClientCertificate;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Issue a key and print it: the only time that it is shown.
    New(NewArgs),
    /// End a key at once.
    Revoke(RevokeArgs),
    /// Say which keys there are, for whom and until when.
    List(ListArgs),
}

/// Arguments of `new`.
#[derive(clap::Args)]
pub struct NewArgs {
    /// The role that the holder of the key may have.
    #[arg(long, required_unless_present = "replaces", conflicts_with = "replaces")]
    role: Option<String>,
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// In how many days the key ends.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    expires_days: u32,
    /// For whom or what the key is, in the words of people.
    #[arg(long)]
    note: Option<String>,
    /// The id of a key that the new one takes the place of, for the same role.
    #[arg(long)]
    replaces: Option<String>,
    /// In how many hours the replaced key ends, if it does not end earlier.
    #[arg(long, default_value_t = 24, conflicts_with = "role", value_parser = clap::value_parser!(u16).range(0..=744))]
    overlap_hours: u16,
}

/// Arguments of `revoke`.
#[derive(clap::Args)]
pub struct RevokeArgs {
    /// The id of the key: the part after `ask_`, never the key itself.
    id: String,
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// Arguments of `list`.
#[derive(clap::Args)]
pub struct ListArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// Runs one of the commands.
///
/// # Errors
/// The configuration is wrong, the role or the id is unknown, or the files cannot be used.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let now = Now::read();
    match command {
        Command::New(args) => {
            let mut entropy = [0; ENTROPY_BYTES];
            let mut secret = [0; SECRET_BYTES];
            // From the system itself: these are used for longer than a process lives.
            aws_lc_rs::rand::fill(&mut entropy)
                .and_then(|()| aws_lc_rs::rand::fill(&mut secret))
                .map_err(|_| Failure::Other("the system gives no random bytes".to_owned()))?;
            new(args, (&entropy, &secret), now, out)
        }
        Command::Revoke(RevokeArgs { id, config }) => {
            let mut store = open(&configuration(config)?)?;
            let entry = store.keyring.revoke(id, now).map_err(Failure::Usage)?;
            let role = entry.role.clone();
            store.save().map_err(other)?;
            writeln!(
                out,
                "revoked: {id} of role {role}; refused as soon as the sidecar has read the file again"
            )?;
            Ok(())
        }
        // A reader needs no lock: the file is replaced whole.
        Command::List(ListArgs { config }) => {
            let config = configuration(config)?;
            let file = config.api_keys.file.as_deref().ok_or_else(unset)?;
            list(&Keyring::read(file).map_err(other)?, now, out)
        }
    }
}

fn new(
    args: &NewArgs,
    (entropy, secret): (&[u8; ENTROPY_BYTES], &[u8; SECRET_BYTES]),
    now: Now,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = configuration(&args.config)?;
    let mut store = open(&config)?;
    let role = match (&args.replaces, &args.role) {
        (Some(id), _) => replaced_role(&store.keyring, id)?,
        (None, Some(role)) => role.clone(),
        (None, None) => return Err(Failure::Usage("--role or --replaces is needed".to_owned())),
    };
    let members = members(&config.access.policy, &role)?;
    let text = mint(entropy);
    let key = Key::parse(text.as_bytes()).ok_or_else(|| Failure::Other("no key was made".to_owned()))?;
    let created = Moment::of(now);
    let expires = created.after(days(args.expires_days));
    let hash = store.secret(secret).map_err(other)?.hash(&key);
    let entry = Entry { role: role.clone(), created, expires, revoked: None, note: args.note.clone(), hash };
    let mut until = None;
    if let Some(id) = &args.replaces {
        let overlap = Duration::from_hours(args.overlap_hours.into());
        let old = store.keyring.end_soon(id, now, overlap).map_err(Failure::Usage)?;
        until = Some((id, old.expires));
    }
    store.keyring.add(key.id(), entry, now).map_err(Failure::Other)?;
    // Written before it is shown: a key that is shown works.
    store.save().map_err(other)?;
    let id = key.id();
    writeln!(out, "{text}")?;
    writeln!(out, "key {id} of role {role} until {expires}; shown this once, sent as `x-api-key` over TLS")?;
    if let Some((old, until)) = until {
        writeln!(out, "key {old}, which it replaces, is taken until {until}")?;
    }
    if config.tls.client_certificate == ClientCertificate::Required && !config.tls.plaintext {
        writeln!(
            out,
            "note: tls.client_certificate is \"required\": whoever sends the key needs a client certificate as well"
        )?;
    }
    let named = |member: &String| *member == "api_key:*" || member.strip_prefix("api_key:") == Some(id);
    if !members.iter().any(named) {
        writeln!(
            out,
            "warning: role {role} has no member for it, so that it opens nothing: add `api_key:{id}`, or \
             `api_key:*` for every key of the role, to its members in {}",
            config.access.policy.display()
        )?;
    }
    Ok(())
}

fn list(keyring: &Keyring, now: Now, out: &mut dyn Write) -> Result<(), Failure> {
    let mut keys: Vec<_> = keyring.keys.iter().map(|(id, entry)| (entry.status(now), id, entry)).collect();
    keys.sort_by_key(|(status, id, entry)| (*status, entry.expires, *id));
    writeln!(out, "{:<12}  {:<7}  {:>4}  {:<20}  ROLE, note", "ID", "STATUS", "DAYS", "UNTIL")?;
    for (status, id, entry) in keys {
        let Entry { role, expires, revoked, note, .. } = entry;
        let until = revoked.unwrap_or(*expires).to_string();
        let note = note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
        writeln!(out, "{id:<12}  {status:<7}  {:>4}  {until:<20}  {role}{note}", entry.days_left(now))?;
    }
    Ok(())
}

/// The role of a key that may be replaced.
fn replaced_role(keyring: &Keyring, id: &str) -> Result<String, Failure> {
    let entry = keyring.get(id).map_err(Failure::Usage)?;
    if entry.revoked.is_some() {
        let problem = format!("key {id} was revoked, for whatever reason; issue a new one with --role");
        return Err(Failure::Usage(problem));
    }
    Ok(entry.role.clone())
}

/// The members of a role of the access policy.
fn members(policy: &Path, role: &str) -> Result<Vec<String>, Failure> {
    let at =
        |problem: String| Failure::Configuration(format!("access.policy: {}: {problem}", policy.display()));
    let text = access::text(policy).map_err(|error| at(error.to_string()))?;
    let file = AccessFile::parse(&text).map_err(|errors| {
        at(errors.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    file.members(role).ok_or_else(|| {
        let known = file.role_names().collect::<Vec<_>>().join(", ");
        Failure::Usage(format!("{} has no role `{role}`; its roles are {known}", policy.display()))
    })
}

fn configuration(path: &Path) -> Result<Config, Failure> {
    Config::load(path, std::env::vars_os()).map_err(|problems| Failure::Configuration(problems.to_string()))
}

fn open(config: &Config) -> Result<Store, Failure> {
    Store::open(&config.api_keys).map_err(other)?.ok_or_else(unset)
}

fn unset() -> Failure {
    Failure::Configuration("api_keys.file: set it and api_keys.secret to the files of API keys".to_owned())
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

#[cfg(test)]
mod tests;

//! `asepsis access`: what would the access policy decide, by which rule, and what in it is probably not meant?

use super::Failure;
use crate::admission::Rpc;
use crate::admission::conditional;
use crate::admission::rbac::{AccessPolicy, Explanation, Known, Question, Severity};
use crate::app;
use crate::catalog::Repository;
use crate::clock::Now;
use crate::config::Config;
use crate::identity::{Identity, Mechanism, SignIn};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether a call would be allowed, which rule decides, and why each role grants it or not.
    Explain(Box<ExplainArgs>),
    /// Find rules that never apply, that grant too much, or that disagree.
    Lint(LintArgs),
}

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct ExplainArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Who asks: `spiffe://…`, `dns:…`, `sub:…`, `api_key:…` or `plaintext`; then its other names, as
    /// `role:…`, `group:…`, or `issued_for:ROLE` of a key.
    #[arg(long = "as", value_name = "NAME", required = true)]
    names: Vec<String>,
    /// The workload that carries the call of a person or a key.
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Credentials that are presented. Default: the one that the first name comes from.
    #[arg(long, value_name = "KIND")]
    mechanism: Vec<Kind>,
    /// The method, as the access policy names it.
    #[arg(long)]
    rpc: String,
    /// The model, and its version after a `/`. Without one: whether any model would do.
    #[arg(long, value_name = "NAME[/VERSION]")]
    model: Option<String>,
    /// The reason for which a role for emergencies is to be assumed.
    #[arg(long, value_name = "REASON")]
    emergency: Option<String>,
    /// The peer's address. Without one: a Unix socket.
    #[arg(long)]
    address: Option<IpAddr>,
    /// When (RFC 3339), as 2026-11-22T09:30:00Z. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// An authentication context that the token has.
    #[arg(long)]
    acr: Vec<String>,
    /// An authentication method that the token has, as `mfa`.
    #[arg(long)]
    amr: Vec<String>,
    /// How long ago the person authenticated, as 30s, 15m, 8h or 7d.
    #[arg(long, value_name = "TIME")]
    auth_age: Option<String>,
    /// The token says that the device is compliant.
    #[arg(long)]
    device_compliant: bool,
}

/// Arguments of `lint`.
#[derive(clap::Args)]
pub struct LintArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    /// None.
    Plaintext,
    /// A client certificate.
    Certificate,
    /// A client certificate that a proxy vouches for.
    Forwarded,
    /// An API key.
    ApiKey,
    /// A bearer token.
    Token,
}

/// Runs one of the commands.
///
/// # Errors
/// The call would be denied, or an error was found in the policy: 1. The arguments make no sense: 64. The
/// configuration or the policy cannot be used: 78.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Explain(args) => explain(args, Now::read(), out),
        Command::Lint(args) => lint(args, out),
    }
}

fn explain(args: &ExplainArgs, now: Now, out: &mut dyn Write) -> Result<(), Failure> {
    let now = match &args.at {
        None => now,
        Some(text) => Now { wall: time(text)?, ..now },
    };
    let identity = identity(args, now)?;
    let rpc = Rpc::named(&args.rpc).ok_or_else(|| {
        Failure::Usage(format!("--rpc {}: unknown method; write one as ModelInfer", args.rpc))
    })?;
    let (_, policy, known) = policy(&args.config)?;
    let model = args.model.as_deref().map(|text| model(text, rpc, &known)).transpose()?;
    let (address, emergency) = (args.address, args.emergency.as_deref());
    let door = Question { rpc, model: None, now, address, emergency };
    let mut explanation = policy.explain(&identity, &door);
    if explanation.decision.is_ok()
        && let Some((name, version)) = model
    {
        if let (Some(version), false) =
            (version, args.model.as_deref().is_some_and(|text| text.contains('/')))
        {
            writeln!(out, "{name}/{version}: the newest version of {name}")?;
        }
        explanation = policy.explain(&identity, &Question { model: Some((name, version)), ..door });
    } else if model.is_none() && rpc.is_about_models() {
        writeln!(out, "no --model: whether any model would do")?;
    }
    write!(out, "{explanation}")?;
    verdict(&explanation)
}

fn verdict(explanation: &Explanation) -> Result<(), Failure> {
    match &explanation.decision {
        Ok(_) => Ok(()),
        Err(denial) => Err(Failure::Other(format!("denied: {}", denial.reason))),
    }
}

fn lint(args: &LintArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (config, policy, _) = policy(&args.config)?;
    let findings = policy.lint();
    let path = config.access.policy.display();
    for finding in &findings {
        writeln!(out, "{path}:{}: {finding}", finding.line)?;
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    writeln!(out, "{path}: {} roles, {errors} errors, {warnings} warnings", policy.role_names().count())?;
    if errors > 0 { Err(Failure::Other(format!("{errors} errors in the access policy"))) } else { Ok(()) }
}

/// The policy that a sidecar with this configuration starts with, and the models it may speak of.
fn policy(path: &Path) -> Result<(Config, AccessPolicy, Vec<Known>), Failure> {
    let config = Config::load(path, std::env::vars_os())
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    let repository = Repository::new(&config.models.repository);
    let known = repository.known().map_err(|error| Failure::Configuration(error.to_string()))?;
    let source = app::access::Source::new(&config, repository, None);
    let access = source.start(Now::read()).map_err(|error| Failure::Configuration(error.to_string()))?;
    Ok((config, access.policy, known))
}

fn time(text: &str) -> Result<SystemTime, Failure> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(SystemTime::from)
        .map_err(|_| Failure::Usage(format!("--at {text}: write a time as 2026-11-22T09:30:00Z")))
}

/// The model and the version that a call would reach: the newest when none is named, and all of them for
/// methods that are about a model as a whole.
fn model<'a>(text: &'a str, rpc: Rpc, known: &[Known]) -> Result<(&'a str, Option<u32>), Failure> {
    if let Some((name, version)) = text.split_once('/') {
        let version =
            version.parse().map_err(|_| Failure::Usage(format!("--model {text}: write NAME/NUMBER")))?;
        return Ok((name, Some(version)));
    }
    let whole = matches!(
        rpc,
        Rpc::RepositoryModelLoad | Rpc::RepositoryModelUnload | Rpc::HealthCheck | Rpc::HealthWatch
    );
    let newest = known.iter().find(|model| model.name == text).and_then(|model| model.versions.iter().max());
    Ok((text, newest.copied().filter(|_| !whole)))
}

/// The identity that these credentials would give.
fn identity(args: &ExplainArgs, now: Now) -> Result<Identity, Failure> {
    let usage = |problem: &str| Failure::Usage(problem.to_owned());
    let mut names = args.names.iter().map(|name| named(name));
    let (principal, own) = names.next().ok_or_else(|| usage("--as is missing"))??;
    let others = names.map(|name| name.map(|(name, _)| name)).collect::<Result<Vec<_>, _>>()?;
    let mut mechanisms: Vec<Mechanism> = args.mechanism.iter().map(|kind| kind.mechanism()).collect();
    if mechanisms.is_empty() {
        mechanisms.push(own);
    }
    let carried = |mechanism: &Mechanism| matches!(mechanism, Mechanism::Certificate | Mechanism::Forwarded);
    if args.workload.is_some() && !mechanisms.iter().any(carried) {
        mechanisms.push(Mechanism::Certificate);
    }
    let speaker = mechanisms.iter().copied().max().unwrap_or(own);
    let speaks_for_itself = speaker <= Mechanism::Forwarded;
    if speaker != own && !(speaks_for_itself && carried(&own)) {
        return Err(usage("--as: the first name is not one that the most telling of the credentials gives"));
    }
    if args.workload.is_some() && speaks_for_itself {
        return Err(usage("--workload: only the call of a person or a key is carried by a workload"));
    }
    if args.workload.is_none() && !speaks_for_itself && mechanisms.iter().any(carried) {
        return Err(usage("--workload: name whom the certificate stands for"));
    }
    let sign_in = sign_in(args, now)?;
    if speaker != Mechanism::Token && sign_in != SignIn::default() {
        return Err(usage("--acr, --amr, --auth-age and --device-compliant: only a token says so"));
    }
    let beside =
        args.workload.as_deref().map_or(Ok(principal.clone()), |name| named(name).map(|(name, _)| name))?;
    let mut identity = Identity::new(speaker, principal, None).also_known_as(others).signed_in(sign_in);
    for mechanism in mechanisms.into_iter().filter(|mechanism| *mechanism != speaker) {
        identity = identity.with(Identity::new(mechanism, beside.clone(), None));
    }
    Ok(identity)
}

fn sign_in(args: &ExplainArgs, now: Now) -> Result<SignIn, Failure> {
    let mut auth_time = None;
    if let Some(text) = &args.auth_age {
        let age = conditional::duration(text).ok_or_else(|| {
            Failure::Usage(format!("--auth-age {text}: write a time such as 30s, 15m, 8h or 7d"))
        })?;
        auth_time = Some(now.unix_seconds().saturating_sub_unsigned(age.as_secs()));
    }
    let device_compliant = args.device_compliant.then_some(true);
    Ok(SignIn { acrs: args.acr.clone(), amr: args.amr.clone(), auth_time, device_compliant })
}

/// A name as identities have it, and the credential that it comes from.
fn named(name: &str) -> Result<(String, Mechanism), Failure> {
    let mechanism = match name.split_once(':').map_or(name, |(kind, _)| kind) {
        "plaintext" => Mechanism::Plaintext,
        "spiffe" => Mechanism::Certificate,
        "dns" => return Ok((name.to_ascii_lowercase(), Mechanism::Certificate)),
        "api_key" | "issued_for" => Mechanism::ApiKey,
        "sub" | "role" | "group" => Mechanism::Token,
        _ => {
            let problem =
                "write spiffe://…, dns:…, sub:…, role:…, group:…, api_key:…, issued_for:… or plaintext";
            return Err(Failure::Usage(format!("`{name}`: {problem}")));
        }
    };
    Ok((name.to_owned(), mechanism))
}

impl Kind {
    fn mechanism(self) -> Mechanism {
        match self {
            Self::Plaintext => Mechanism::Plaintext,
            Self::Certificate => Mechanism::Certificate,
            Self::Forwarded => Mechanism::Forwarded,
            Self::ApiKey => Mechanism::ApiKey,
            Self::Token => Mechanism::Token,
        }
    }
}

#[cfg(test)]
mod tests;

//! Does the command say what a sidecar would decide, and with the right exit status?

use super::*;
use clap::Parser;
use std::fs;

/// A configuration whose policy is this text, beside the models of the clone.
struct Home(tempfile::TempDir);

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

const POLICY: &str = r#"
[roles.Readers]
members = ["role:Readers", "spiffe://d/pacs", "api_key:*"]
permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc", "digits/1"] }, { rpcs = ["RepositoryModelUnload"], models = ["digits/1"] }]
[roles.Clinicians]
members = ["role:Clinicians"]
requires = ["token", "certificate"]
workloads = ["dns:desk"]
permissions = [{ rpcs = ["ModelInfer"], models = ["wdbc"] }]
[roles.Clinicians.conditions]
acrs = ["c1"]
mfa = true
device_compliant = true
authenticated_within = "8h"
networks = ["10.0.0.0/8"]
hours = "07:00-19:00"
[roles.Break-Glass]
members = ["sub:ada"]
permissions = [{ rpcs = ["ModelInfer"], models = ["*"] }]
emergency = { reasons = ["fire"], minutes = 5, per_day = 2 }
[[deny]]
members = ["spiffe://d/pacs"]
models = ["digits"]
because = "retired"
"#;

impl Home {
    fn new(policy: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::write(home.0.path().join("access.toml"), policy).unwrap();
        let models = Path::new("models").canonicalize().unwrap();
        let text = format!(
            "listen = {{ grpc = \"127.0.0.1:0\", admin = \"127.0.0.1:0\" }}\ntls.plaintext = true\n\
             access.policy = \"access.toml\"\nmodels.repository = {models:?}\naudit.directory = \"audit\"\n"
        );
        fs::write(home.0.path().join("asepsis.toml"), text).unwrap();
        home
    }

    /// What is printed, and the error.
    fn run(&self, line: &str) -> (String, Option<Failure>) {
        let config = self.0.path().join("asepsis.toml").display().to_string();
        let words = ["access"].into_iter().chain(line.split_whitespace()).chain(["--config", &config]);
        let mut out = Vec::new();
        let command = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command;
        let failure = run(&command, &mut out).err();
        (String::from_utf8(out).unwrap(), failure)
    }

    fn explain(&self, line: &str) -> (String, Option<Failure>) {
        self.run(&format!("explain {line}"))
    }
}

/// A clinician who meets every condition.
const CLINICIAN: &str = "--rpc ModelInfer --model wdbc --as sub:ada --as role:Clinicians --workload dns:Desk \
     --acr c1 --amr mfa --auth-age 7h --device-compliant --address 10.1.2.3 --at 2026-11-22T09:30:00Z";

#[test]
fn a_call_that_would_be_denied_fails_and_says_why() {
    let home = Home::new(POLICY);
    for (line, expected) in [
        ("--rpc ModelInfer --as dns:nobody", "denied (method_forbidden): a member of no role\n"),
        ("--rpc ServerLive --as spiffe://d/pacs", "denied (method_forbidden): no role grants it\n"),
        (
            "--rpc ModelInfer --model digits --as spiffe://d/pacs",
            "denied (model_forbidden): deny[0] (retired)\n",
        ),
        (
            "--rpc ModelInfer --model digits/2 --as role:Readers",
            "denied (model_forbidden): no role grants it\n",
        ),
        ("--rpc RepositoryModelUnload --model digits --as role:Readers", "denied (model_forbidden)"),
        ("--rpc ModelInfer --as api_key:7 --as issued_for:Others", "denied (method_forbidden)"),
        ("--rpc ModelInfer --as sub:ada --emergency flood", "denied (emergency_refused)"),
    ] {
        let (said, failure) = home.explain(line);
        assert!(said.contains(expected), "{line}\n{said}");
        assert!(matches!(failure, Some(Failure::Other(_))), "{line}");
    }
}

#[test]
fn each_condition_that_is_not_met_is_named() {
    let home = Home::new(POLICY);
    for (from, to, reason, unmet) in [
        ("--acr c1", "", "step_up_required", "acrs"),
        ("--amr mfa", "--amr pwd", "step_up_required", "mfa"),
        ("--auth-age 7h", "--auth-age 9h", "step_up_required", "authenticated_within"),
        ("--device-compliant", "", "step_up_required", "device_compliant"),
        ("--address 10.1.2.3", "", "condition_unmet", "networks"),
        ("T09:30:00Z", "T19:00:00Z", "condition_unmet", "hours"),
        ("--workload dns:Desk", "--workload dns:other", "condition_unmet", "workloads"),
        ("--workload dns:Desk", "", "condition_unmet", "workloads, requires"),
    ] {
        let line = CLINICIAN.replace(from, to);
        assert_ne!(line, CLINICIAN);
        let (said, _) = home.explain(&line);
        let expected = format!("denied ({reason}): roles.Clinicians: {unmet}\n");
        assert!(said.contains(&expected), "{expected}\n{said}");
        assert!(said.contains(&format!("\nroles.Clinicians: would grant it, but for: {unmet}\n")), "{said}");
    }
}

#[test]
fn a_call_that_would_be_allowed_names_the_rule() {
    let home = Home::new(POLICY);
    for (line, expected) in [
        (CLINICIAN, "wdbc/1: the newest version of wdbc\nallowed by roles.Clinicians.permissions[0]: "),
        (
            "--rpc ModelInfer --model digits/1 --as api_key:7 --as issued_for:Readers",
            "allowed by roles.Readers.permissions[0]: the answer in full\n",
        ),
        (
            "--rpc ModelInfer --as role:Readers",
            "no --model: whether any model would do\nallowed by roles.Readers.",
        ),
        (
            "--rpc ModelInfer --model digits --as sub:ada --emergency fire",
            "for an emergency: alarmed, for 5 minutes, at most 2 times a day",
        ),
    ] {
        let (said, failure) = home.explain(line);
        assert!(failure.is_none() && said.contains(expected), "{line}\n{said}\n{failure:?}");
    }
}

#[test]
fn arguments_that_no_caller_could_present_are_refused() {
    let home = Home::new(POLICY);
    for line in [
        "--rpc Infer --as dns:host",
        "--rpc ModelInfer --as somebody",
        "--rpc ModelInfer --as dns:host --model wdbc/x",
        "--rpc ModelInfer --as dns:host --at noon",
        "--rpc ModelInfer --as dns:host --workload dns:other",
        "--rpc ModelInfer --as dns:host --mechanism token",
        "--rpc ModelInfer --as dns:host --amr mfa",
        "--rpc ModelInfer --as sub:ada --mechanism token --mechanism certificate",
        "--rpc ModelInfer --as sub:ada --mechanism certificate",
        "--rpc ModelInfer --as sub:ada --auth-age 8",
    ] {
        let (_, failure) = home.explain(line);
        assert!(matches!(failure, Some(Failure::Usage(_))), "{line}: {failure:?}");
    }
}

#[test]
fn a_policy_with_mistakes_is_a_configuration_error_with_all_of_them() {
    let home = Home::new("[roles.r]\nmember = []\npermissions = [{ rpcs = [\"X\"] }]\n");
    for line in ["lint", "explain --rpc ModelInfer --as dns:host"] {
        let (_, failure) = home.run(line);
        let Some(Failure::Configuration(problems)) = failure else { panic!("{failure:?}") };
        assert_eq!(problems.lines().count(), 2, "{problems}");
        assert!(problems.contains("access.toml:2: role `r`: unknown field `member`"), "{problems}");
    }
}

#[test]
fn lint_fails_on_errors_and_not_on_warnings() {
    let home = Home::new(POLICY);
    let (said, failure) = home.run("lint");
    assert!(failure.is_none(), "{said}");
    assert!(said.contains("access.toml:17: warning: roles.Break-Glass: may be assumed"), "{said}");
    assert!(said.ends_with(": 3 roles, 0 errors, 3 warnings\n"), "{said}");

    let home = Home::new(&POLICY.replace("07:00-19:00", "07:00-07:00"));
    let (said, failure) = home.run("lint");
    assert!(matches!(failure, Some(Failure::Other(_))));
    assert!(said.contains(":5: error: roles.Clinicians: conditions.hours"), "{said}");
}

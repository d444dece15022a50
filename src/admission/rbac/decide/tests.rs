//! What holds of every policy, every caller and every question.

use crate::admission::Rpc;
use crate::admission::rbac::{AccessPolicy, Known, Question, RuleId, Stand};
use crate::clock::Now;
use crate::identity::{Identity, Mechanism, SignIn};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::time::{Duration, UNIX_EPOCH};

const MEMBERS: [&str; 10] = [
    "spiffe://d/a/x",
    "spiffe://d/a/*",
    "spiffe://d/*",
    "dns:h",
    "role:A",
    "group:g",
    "sub:s",
    "api_key:*",
    "api_key:k",
    "plaintext",
];
const METHODS: [&str; 5] = ["ModelInfer", "ModelStreamInfer", "ServerLive", "health.v1.Health/Check", "*"];
const MODELS: [&str; 5] = ["m", "m/1", "m/2", "n", "*"];
const NOON: u64 = 1_795_348_800;

/// A policy that can be changed and written down.
#[derive(Clone, Debug)]
struct Written {
    roles: Vec<WrittenRole>,
    denies: Vec<String>,
}

#[derive(Clone, Debug)]
struct WrittenRole {
    head: String,
    permissions: Vec<String>,
}

#[derive(Clone, Debug)]
struct Asked {
    rpc: Rpc,
    model: Option<(&'static str, Option<u32>)>,
    hour: u64,
    address: Option<[u8; 4]>,
    emergency: Option<&'static str>,
}

impl Written {
    fn parse(&self) -> AccessPolicy {
        let known = ["m", "n"].map(|name| Known { name: name.to_owned(), versions: vec![1, 2] });
        let mut text = String::new();
        for (number, role) in self.roles.iter().enumerate() {
            let permissions = role.permissions.join(", ");
            let role = format!("[roles.r{number}]\n{}\npermissions = [{permissions}]\n", role.head);
            text.push_str(&role);
        }
        text += &self.denies.concat();
        AccessPolicy::parse(&text, &known).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }
}

impl Asked {
    fn question(&self) -> Question<'_> {
        let wall = UNIX_EPOCH + Duration::from_secs(NOON) + Duration::from_hours(self.hour);
        let now = Now { wall, ..Now::read() };
        let address = self.address.map(Into::into);
        Question { rpc: self.rpc, model: self.model, now, address, emergency: self.emergency }
    }
}

fn some_of<const N: usize>(of: [&'static str; N], min: usize) -> impl Strategy<Value = String> {
    subsequence(of.to_vec(), min..=N.min(3)).prop_map(|some| format!("{some:?}"))
}

fn permission() -> impl Strategy<Value = String> {
    let answers = select(vec!["full", "rounded", "label"]);
    (some_of(METHODS, 1), some_of(MODELS, 0), answers).prop_map(|(rpcs, models, answer)| {
        format!("{{ rpcs = {rpcs}, models = {models}, answer = {answer:?} }}")
    })
}

/// Empty, or one of these.
fn maybe(lines: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    let lines = [lines, &[""]].concat();
    prop_oneof![3 => Just(""), 1 => select(lines)]
}

fn role() -> impl Strategy<Value = WrittenRole> {
    let emergency = maybe(&["emergency = { reasons = ['fire'], minutes = 5, per_day = 2 }"]);
    let conditions = maybe(&[
        "conditions = { mfa = true }",
        "conditions = { acrs = ['c1'], authenticated_within = '1h' }",
        "conditions = { networks = ['10.0.0.0/8'] }",
        "conditions = { hours = '08:00-20:00', mfa = true }",
    ]);
    let lines = (
        maybe(&[
            "requires = ['token']",
            "requires = ['certificate']",
            "requires = ['api_key', 'certificate']",
        ]),
        maybe(&["workloads = ['spiffe://d/a/*']", "workloads = ['dns:h']"]),
        maybe(&["sees_action = true"]),
        maybe(&["priority = 'clinical'", "priority = 'batch'"]),
        conditions,
    );
    // Nobody in particular is no member of a role for emergencies.
    let some = subsequence(MEMBERS.to_vec(), 1..=6);
    (some, lines, emergency, prop::collection::vec(permission(), 1..4)).prop_map(
        |(mut members, (a, b, c, d, e), emergency, permissions)| {
            members.retain(|member| emergency.is_empty() || *member != "plaintext");
            let head = format!("members = {members:?}\n{a}\n{b}\n{c}\n{d}\n{e}\n{emergency}");
            WrittenRole { head, permissions }
        },
    )
}

fn deny() -> impl Strategy<Value = String> {
    (some_of(MEMBERS, 1), some_of(METHODS, 0), some_of(MODELS, 0)).prop_map(|(members, rpcs, models)| {
        format!("[[deny]]\nmembers = {members}\nrpcs = {rpcs}\nmodels = {models}\n")
    })
}

fn policies() -> impl Strategy<Value = Written> {
    let denies = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(deny(), 1..3)];
    (prop::collection::vec(role(), 1..5), denies).prop_map(|(roles, denies)| Written { roles, denies })
}

fn identities() -> impl Strategy<Value = Identity> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let workload =
        || select(vec!["spiffe://d/a/x", "spiffe://d/a/y", "spiffe://d/b", "dns:h", "spiffe://e/a"]);
    let certificate = || workload().prop_map(|name| Identity::new(Mechanism::Certificate, name.into(), None));
    let signed_in = (any::<bool>(), any::<bool>(), select(vec![None, Some(600), Some(7200)]));
    let signed_in = signed_in.prop_map(move |(mfa, acr, age)| SignIn {
        amr: owned(if mfa { vec!["mfa"] } else { vec![] }),
        acrs: owned(if acr { vec!["c1"] } else { vec![] }),
        auth_time: age.map(|age| i64::try_from(NOON).unwrap() - age),
        device_compliant: None,
    });
    let token =
        (select(vec!["sub:s", "sub:t"]), subsequence(vec!["role:A", "role:B", "group:g"], 0..=3), signed_in)
            .prop_map(move |(sub, names, sign_in)| {
                let person = Identity::new(Mechanism::Token, sub.into(), None);
                person.also_known_as(owned(names)).signed_in(sign_in)
            });
    let key = (select(vec!["api_key:k", "api_key:l"]), 0..4).prop_map(|(id, role)| {
        let key = Identity::new(Mechanism::ApiKey, id.into(), None);
        key.also_known_as([format!("issued_for:r{role}")])
    });
    let bearer = prop_oneof![token, key];
    prop_oneof![
        certificate(),
        bearer.clone(),
        (bearer, certificate()).prop_map(|(bearer, certificate)| bearer.with(certificate)),
        Just(Identity::new(Mechanism::Plaintext, "plaintext".into(), None)),
    ]
}

fn questions() -> impl Strategy<Value = Asked> {
    let rpcs =
        vec![Rpc::ModelInfer, Rpc::ModelStreamInfer, Rpc::ServerLive, Rpc::HealthCheck, Rpc::LogSettings];
    let models = (select(vec!["m", "n", "unknown"]), select(vec![None, Some(1), Some(2), Some(3)]));
    let (hours, addresses) = (0..24_u64, select(vec![None, Some([10, 0, 0, 1]), Some([11, 0, 0, 1])]));
    let emergencies = select(vec![None, None, Some("fire"), Some("flood")]);
    (select(rpcs), prop::option::of(models), hours, addresses, emergencies)
        .prop_map(|(rpc, model, hour, address, emergency)| Asked { rpc, model, hour, address, emergency })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn one_more_denial_never_allows_more(
        before in policies(), rule in deny(), who in identities(), asked in questions(),
    ) {
        let mut after = before.clone();
        after.denies.push(rule);
        let (before, after) = (before.parse(), after.parse());
        if let Ok(grant) = after.decide(&after.standing(&who), &who, &asked.question()) {
            prop_assert_eq!(before.decide(&before.standing(&who), &who, &asked.question()).ok(), Some(grant));
        }
    }

    #[test]
    fn one_permission_less_never_allows_more(
        before in policies(), place in any::<prop::sample::Index>(), who in identities(), asked in questions(),
    ) {
        let mut after = before.clone();
        let role = place.index(after.roles.len());
        prop_assume!(!after.roles[role].permissions.is_empty());
        let permission = place.index(after.roles[role].permissions.len());
        after.roles[role].permissions.remove(permission);
        let (before, after) = (before.parse(), after.parse());
        if let Ok(less) = after.decide(&after.standing(&who), &who, &asked.question()) {
            let more = before.decide(&before.standing(&who), &who, &asked.question());
            let more = more.expect("allowed only without the permission");
            // A role for emergencies takes the place of one that is gone, with an answer of its own.
            prop_assert!(less.emergency.is_some() || less.answer <= more.answer);
            prop_assert!(less.emergency.is_some() || !less.sees_action || more.sees_action);
        }
    }

    #[test]
    fn what_is_explained_is_what_is_decided(
        policy in policies(), who in identities(), asked in questions(),
    ) {
        let policy = policy.parse();
        let decided = policy.decide(&policy.standing(&who), &who, &asked.question());
        let explained = policy.explain(&who, &asked.question());
        prop_assert_eq!(&explained.decision, &decided);
        let granting = |stand: &Stand| matches!(stand, Stand::Grants { .. });
        match decided {
            Ok(grant) => {
                prop_assert!(explained.denies.is_empty());
                let stand = explained.roles.iter().find(|(role, _)| *role == grant.role).map(|(_, stand)| stand);
                let RuleId::Permission(_, permission) = grant.rule else { panic!("a grant by a denial") };
                prop_assert_eq!(stand, Some(&Stand::Grants { permission, answer: grant.answer }));
            }
            Err(denial) if explained.denies.is_empty() => {
                prop_assert!(!explained.roles.iter().any(|(_, stand)| granting(stand)), "{:?}", denial);
                let nearly = explained.roles.iter().any(|(_, stand)| matches!(stand, Stand::Unmet { .. }));
                prop_assert_eq!(nearly, matches!(denial.reason.as_str(), "step_up_required" | "condition_unmet"));
                prop_assert_eq!(denial.challenge.is_some(), denial.reason.as_str() == "step_up_required");
            }
            Err(denial) => prop_assert_eq!(denial.detail, explained.denies[0].0.to_string()),
        }
    }

    #[test]
    fn what_is_granted_on_a_model_is_let_in_at_the_door(
        policy in policies(), who in identities(), asked in questions(),
    ) {
        let policy = policy.parse();
        let standing = policy.standing(&who);
        let question = asked.question();
        if policy.decide(&standing, &who, &question).is_ok() {
            let door = Question { model: None, ..question };
            prop_assert!(policy.decide(&standing, &who, &door).is_ok());
        }
    }

    #[test]
    fn what_is_granted_on_a_model_is_granted_on_each_of_its_versions(
        policy in policies(), who in identities(), asked in questions(), version in 1..4_u32,
    ) {
        let policy = policy.parse();
        let standing = policy.standing(&who);
        let (question, name) = (asked.question(), asked.model.map_or("m", |(name, _)| name));
        let on = |version| policy.decide(&standing, &who, &Question { model: Some((name, version)), ..question });
        if on(None).is_ok() {
            prop_assert!(on(Some(version)).is_ok());
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,200}", line in "(\\[roles.a\\]\n)?(members|requires|permissions|deny|emergency|conditions)( = |\\.)[\\[\\]{}a-z0-9\"=, .]{0,40}") {
        drop(AccessPolicy::parse(&text, &[]));
        drop(AccessPolicy::parse(&line, &[]));
    }
}

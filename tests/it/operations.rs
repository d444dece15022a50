//! What an operator may ask of a running sidecar, and who may not.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::probes::get;
use crate::sidecar::{Sidecar, block_on, client_tls, entries, refused};
use asepsis::proto::ModelInferRequest;
use asepsis::proto::operations::Phase;
use asepsis::transport::client::{Client, Operator, Outcome};
use asepsis::transport::tls::ClientCertificate;

const OPERATOR: &str = "client-Security_Incident_Response";

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

async fn operator(sidecar: &Sidecar, who: &str) -> Operator {
    Operator::connect(&sidecar.operations(), client_tls(Some(who))).await.unwrap()
}

fn reason(ended: Outcome) -> Option<String> {
    match ended {
        Outcome::Refused(refused) => refused.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_asks_models_may_not_operate_and_whoever_operates_may_not_ask_models() {
    let sidecar = Sidecar::start();
    block_on(async {
        for who in ["client", "client-Clinicians_AI_Query", "client-DataScientists_AI_Full"] {
            let mut operator = operator(&sidecar, who).await;
            assert_eq!(reason(operator.reload().await.unwrap_err()).as_deref(), Some("method_forbidden"));
            assert_eq!(reason(operator.status().await.unwrap_err()).as_deref(), Some("method_forbidden"));
        }
        assert!(Operator::connect(&sidecar.operations(), client_tls(None)).await.is_err());
        let mut asking = sidecar.client(OPERATOR).await;
        assert_eq!(refused(&mut asking, good()).await.reason.as_deref(), Some("method_forbidden"));
        // Nor on the other port: neither port answers what the other one is for.
        let wrong = Client::connect(&sidecar.operations(), Some(client_tls(Some("client")))).await.unwrap();
        assert_eq!(refused(&mut wrong.clone(), good()).await.reason.as_deref(), Some("unsupported"));
        let mut wrong = Operator::connect(&sidecar.target(), client_tls(Some(OPERATOR))).await.unwrap();
        assert_eq!(reason(wrong.status().await.unwrap_err()).as_deref(), Some("unsupported"));
    });
}

#[test]
fn an_operator_needs_a_certificate_also_where_callers_need_none() {
    let sidecar = Sidecar::start_with(|config| config.tls.client_certificate = ClientCertificate::Optional);
    block_on(async {
        assert!(Operator::connect(&sidecar.operations(), client_tls(None)).await.is_err());
        assert!(operator(&sidecar, OPERATOR).await.status().await.is_ok());
    });
}

#[test]
fn a_policy_is_in_force_when_the_operator_is_told_so_and_a_bad_one_changes_nothing() {
    let policy = include_str!("../../deploy/access.toml");
    let sidecar = Sidecar::start_under(policy, |_| {});
    let file = sidecar.directory().join("access.toml");
    block_on(async {
        let mut operator = operator(&sidecar, OPERATOR).await;
        let mut client = sidecar.client("client-Clinicians_AI_Query").await;
        answered(&mut client, good()).await;
        std::fs::write(&file, policy.replace("\"wdbc\", \"pneumonia\"", "\"pneumonia\"")).unwrap();
        let told = operator.reload().await.unwrap();
        assert!(told.sources.iter().all(|source| source.error.is_empty()), "{told:?}");
        assert_eq!(refused(&mut client, good()).await.reason.as_deref(), Some("model_forbidden"));

        std::fs::write(&file, policy.replace("ModelInfer", "ModelInfr")).unwrap();
        let told = operator.reload().await.unwrap();
        let access = told.sources.iter().find(|source| source.name == "access").unwrap();
        assert!(access.error.contains("ModelInfr"), "{access:?}");
        assert_eq!(refused(&mut client, good()).await.reason.as_deref(), Some("model_forbidden"));

        let status = operator.status().await.unwrap();
        assert_eq!(status.phase(), Phase::Serving);
        let access = status.sources.iter().find(|source| source.name == "access").unwrap();
        assert_eq!((access.current, access.good, access.failed), (false, 2, 1));
        let (_, metrics) = get(sidecar.admin(), "/metrics");
        for line in [
            "asepsis_reload_current{source=\"access\"} 0.0",
            "asepsis_reload_current{source=\"tls\"} 1.0",
            "asepsis_reloads_total{source=\"access\",reason=\"reload_failed\"} 1",
            "asepsis_certificate_expiry_timestamp_seconds{certificate=\"server\"} ",
        ] {
            assert!(metrics.lines().any(|found| found.starts_with(line)), "{line}\n{metrics}");
        }
        let server = status.certificates.iter().find(|it| it.name == "server").unwrap();
        assert!(server.expires.unwrap().seconds > status.started.unwrap().seconds);
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    let of = |reason: &str| entries.iter().filter(|entry| entry["reason"] == reason).count();
    assert_eq!((of("reload_failed"), of("reloaded")), (1, 3));
    let operated: Vec<_> = entries.iter().filter(|entry| entry["rpc"] == "operations/Reload").collect();
    assert_eq!(operated.len(), 2);
    assert_eq!(operated[0]["role"], "Security_Incident_Response");
}

use super::memory::MemoryLedger;
use super::*;
use crate::reason::Stage;
use std::sync::Mutex;

/// Keeps what it is told of.
#[derive(Default)]
struct Told(Mutex<Vec<ClosedEntry>>);

impl Observer for Told {
    fn observe(&self, closed: &ClosedEntry) {
        self.0.lock().unwrap().push(closed.clone());
    }
}

const PEER: &str = "192.0.2.7";

/// A call from [`PEER`] that was refused so; what observers are told of it.
fn refused(auditor: &Arc<Auditor>, told: &Told, reason: Reason) -> ClosedEntry {
    let (now, request_id) = (Now::read(), RequestId::new(7));
    let opening = Opening { now, request_id, parent: None, peer: PEER, rpc: Some(Rpc::ModelInfer) };
    let status = reason.status();
    let outcome = Outcome { action: Action::Refused, reason, status, detail: "expired".to_owned() };
    Entry::open(Arc::clone(auditor), &opening).close(outcome).unwrap();
    told.0.lock().unwrap().pop().unwrap()
}

#[test]
fn where_an_unknown_caller_called_from_stands_in_the_ledger_and_is_told_to_no_observer() {
    let (ledger, told) = (MemoryLedger::new(8), Arc::new(Told::default()));
    let observers = vec![Arc::clone(&told) as Arc<dyn Observer>];
    let auditor = Auditor::new(Box::new(ledger.clone()), observers, Pseudonyms::new(&[0; 32]));
    let auditor = Arc::new(auditor);
    for reason in [Reason::NoCredential, Reason::BadCredential, Reason::GroupsOverage] {
        // The first of a minute is written as it is, and the second counted.
        for _ in 0..2 {
            let record = refused(&auditor, &told, reason).record;
            assert!(!format!("{record:?}").contains(PEER), "{record:?}");
            assert_eq!(record.detail, "expired");
        }
        assert_eq!(ledger.last().unwrap().detail, format!("peer={PEER} expired"));
    }
    assert_eq!(ledger.records().len(), 3);
    assert_eq!(refused(&auditor, &told, Reason::NonFinite).record.detail, "expired");
    assert_eq!(ledger.last().unwrap().detail, "expired");
}

#[test]
fn stages_of_the_baseline_are_none_of_the_models_own_and_the_answer_is() {
    let told = Arc::new(Told::default());
    let observers = vec![Arc::clone(&told) as Arc<dyn Observer>];
    let auditor = Auditor::new(Box::new(MemoryLedger::new(1)), observers, Pseudonyms::new(&[0; 32]));
    let mut observation = refused(&Arc::new(auditor), &told, Reason::NonFinite).observation;
    let at = observation.closed;
    let stages = [Stage::Infer, Stage::Queue, Stage::Infer, Stage::Judge, Stage::Respond];
    observation.stages = stages.map(|stage| StageTime { stage, from: at, to: at }).to_vec();
    let own = |observation: &Observation| observation.own_stages().map(|own| own.stage).collect::<Vec<_>>();
    assert_eq!(own(&observation), stages);
    observation.baseline_from = Some(1);
    assert_eq!(own(&observation), [Stage::Infer, Stage::Respond]);
}

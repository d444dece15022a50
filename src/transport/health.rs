//! `grpc.health.v1`: "" and the inference service stand for the server, any other name for a model.

use super::door::Passing;
use super::status;
use crate::guard::{Call, Guard, Phase};
use crate::reason::Reason;
use crate::refusal::Refusal;
use futures_util::stream::{self, Stream};
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

/// Health of a guard and its models.
pub struct Health {
    guard: Arc<Guard>,
}

/// What a check is about, as far as this caller may know.
#[derive(Clone)]
enum Subject {
    Server,
    Model(String),
    Unknown,
}

impl Health {
    /// Of this guard.
    #[must_use]
    pub fn new(guard: Arc<Guard>) -> Self {
        Self { guard }
    }

    fn ask(request: &Request<HealthCheckRequest>) -> Result<(Call, Subject), Status> {
        let passing = request.extensions().get::<Passing>().and_then(Passing::take);
        let call = passing.ok_or_else(|| Status::internal("a call came in by no door"))?;
        let subject = match request.get_ref().service.as_str() {
            "" | "inference.GRPCInferenceService" => Subject::Server,
            model if call.admitted().sees(model, None) => Subject::Model(model.to_owned()),
            _ => Subject::Unknown,
        };
        Ok((call, subject))
    }
}

fn serving(guard: &Guard, subject: &Subject) -> ServingStatus {
    let up = match subject {
        Subject::Unknown => return ServingStatus::ServiceUnknown,
        Subject::Server => guard.catalog.ready(),
        // Asked anew each time: a model that a watch came too early for may be there by now.
        Subject::Model(name) if !guard.catalog.knows(name) => return ServingStatus::ServiceUnknown,
        Subject::Model(name) => !guard.catalog.versions(name).is_empty(),
    };
    if up && *guard.phase.borrow() == Phase::Serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let (call, subject) = Self::ask(&request)?;
        let id = call.request_id();
        let told = self.guard.tell(call, |guard, _| match serving(guard, &subject) {
            ServingStatus::ServiceUnknown => {
                Err(Refusal::new(Reason::UnknownService, "there is no such service, or not for you"))
            }
            known @ (ServingStatus::Unknown | ServingStatus::Serving | ServingStatus::NotServing) => {
                Ok(response(known))
            }
        });
        told.map(Response::new).map_err(|refusal| status::of(&refusal, id))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (call, subject) = Self::ask(&request)?;
        let id = call.request_id();
        let told: Result<(), Refusal> = self.guard.tell(call, |_, _| Ok(()));
        told.map_err(|refusal| status::of(&refusal, id))?;
        let guard = Arc::clone(&self.guard);
        let changes = (guard.phase.subscribe(), guard.catalog.changes());
        let start = Watch { guard, subject, changes, last: None, ended: false };
        Ok(Response::new(Box::pin(stream::unfold(start, Watch::next))))
    }
}

struct Watch {
    guard: Arc<Guard>,
    subject: Subject,
    changes: (tokio::sync::watch::Receiver<Phase>, tokio::sync::watch::Receiver<u64>),
    last: Option<ServingStatus>,
    ended: bool,
}

impl Watch {
    /// The status now, then each time it changes; a stream ends after it has told of the shutdown.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            let phase = *self.changes.0.borrow_and_update();
            self.changes.1.borrow_and_update();
            let now = serving(&self.guard, &self.subject);
            self.ended = phase == Phase::Draining;
            if self.last != Some(now) {
                self.last = Some(now);
                return Some((Ok(response(now)), self));
            }
            if self.ended {
                return None;
            }
            let (phase, catalog) = (&mut self.changes.0, &mut self.changes.1);
            let changed = tokio::select! {
                changed = phase.changed() => changed,
                changed = catalog.changed() => changed,
            };
            changed.ok()?;
        }
    }
}

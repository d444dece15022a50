//! What an operator may ask of a running sidecar, over mutual TLS on a port of its own: as thin as it can be.
//!
//! Identity, access policy and audit are those of every call. Only roles that name `operations/…` may call, and
//! these may ask no model.

use super::door::Passing;
use super::{status, stubs};
use crate::guard::{Call, Guard};
use crate::proto::operations::{ReloadRequest, ReloadResponse, Reloaded, StatusRequest, StatusResponse};
use crate::refusal::Refusal;
use crate::trace::handed_on;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What can be done with the running sidecar; both may block.
pub trait Control: Send + Sync + 'static {
    /// Reads everything anew that can be, and says what came of each source.
    fn reload(&self) -> Vec<Reloaded>;

    /// How the sidecar stands.
    fn status(&self) -> StatusResponse;
}

/// The service in front of a guard.
#[derive(Clone)]
pub struct Operations {
    guard: Arc<Guard>,
    control: Arc<dyn Control>,
}

impl Operations {
    /// In front of `guard`, for those whom it admits.
    #[must_use]
    pub fn new(guard: Arc<Guard>, control: Arc<dyn Control>) -> Self {
        Self { guard, control }
    }

    pub(super) fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Asks where waiting holds nobody up, and gives the answer once it is on record.
    async fn ask<M, T: Send + 'static>(
        &self,
        request: &Request<M>,
        question: impl FnOnce(&dyn Control) -> T + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let call: Option<Call> = request.extensions().get::<Passing>().and_then(Passing::take);
        let call = call.ok_or_else(|| Status::internal("a call came in by no door"))?;
        let id = call.request_id();
        let (guard, control) = (Arc::clone(&self.guard), Arc::clone(&self.control));
        let told = handed_on(move || guard.tell(call, |_, _| Ok(question(&*control))));
        let told = tokio::task::spawn_blocking(told).await;
        let told = told.unwrap_or_else(|_| Err(Refusal::internal("an operation panicked")));
        told.map(Response::new).map_err(|refusal| status::of(&refusal, id))
    }
}

#[tonic::async_trait]
impl stubs::operations_server::Operations for Operations {
    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        self.ask(&request, |control| ReloadResponse { sources: control.reload() }).await
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.ask(&request, Control::status).await
    }
}

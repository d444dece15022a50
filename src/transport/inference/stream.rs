//! `ModelStreamInfer`: each message is admitted, judged and recorded by itself, in order.

use super::{Inference, Streaming};
use crate::clock::Now;
use crate::guard::{Head, Phase};
use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::{InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trace::RequestId;
use crate::transport::status;
use futures_util::stream::{self, Stream};
use std::pin::Pin;
use std::time::Duration;
use tonic::Status;

/// The answers of one stream.
pub(super) type Answers = dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send;

/// Answers each message of `requests` as it comes.
pub(super) fn answers(
    service: Inference,
    pass: Streaming,
    requests: tonic::Streaming<ModelInferRequest>,
) -> Pin<Box<Answers>> {
    let state = State { service, pass, requests, ended: false };
    Box::pin(stream::unfold(state, State::next))
}

struct State {
    service: Inference,
    pass: Streaming,
    requests: tonic::Streaming<ModelInferRequest>,
    ended: bool,
}

/// What a stream brings next.
enum Next {
    Message(Box<ModelInferRequest>),
    Undecodable(Status),
    Over,
    Idle,
    Draining,
}

impl State {
    async fn next(mut self) -> Option<(Result<ModelStreamInferResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        let next = self.wait().await;
        let head = self.head();
        let refusal = match next {
            Next::Over => return None,
            Next::Message(message) => {
                let answer = head.ids().during(self.serve(head, *message)).await;
                return Some((Ok(answer), self));
            }
            Next::Undecodable(status) => self.undecodable(&status),
            Next::Idle => Refusal::new(Reason::DeadlineExceeded, "the stream was silent for too long"),
            Next::Draining => Refusal::new(Reason::Draining, "the server is shutting down"),
        };
        self.ended = true;
        Some((Err(self.end(&head, refusal)), self))
    }

    async fn wait(&mut self) -> Next {
        let mut phase = self.service.guard.phase.subscribe();
        let idle = Duration::from_millis(self.service.limits.stream_idle_ms);
        tokio::select! {
            // The phase first: a stream whose next message is always there must see the end too.
            biased;
            () = Phase::draining(&mut phase) => Next::Draining,
            message = tokio::time::timeout(idle, self.requests.message()) => match message {
                Ok(Ok(Some(message))) => Next::Message(Box::new(message)),
                Ok(Ok(None)) => Next::Over,
                Ok(Err(status)) => Next::Undecodable(status),
                Err(_) => Next::Idle,
            },
        }
    }

    fn undecodable(&self, status: &Status) -> Refusal {
        if self.pass.meter.exhausted() {
            return Refusal::no_room();
        }
        status::undecoded(status, self.service.limits.message_bytes_max)
    }

    /// A new head for each message: its own id, its own moment, its own chance.
    fn head(&self) -> Head {
        let head = self.pass.head.clone();
        Head { now: Now::read(), request_id: RequestId::new(rand::random()), timeout: None, ..head }
    }

    /// A refused message is an answer with an error in it: the stream goes on.
    async fn serve(&self, head: Head, message: ModelInferRequest) -> ModelStreamInferResponse {
        let id = message.id.clone();
        let guard = &self.service.guard;
        let identified = guard.identify_awaiting_keys(&self.pass.visitor, &head).await;
        let answered = match guard.admit(&self.pass.visitor, &head, &identified) {
            Ok(call) => guard.serve(call, message).await,
            Err(refusal) => Err(refusal),
        };
        self.pass.meter.answered();
        match answered {
            Ok(answer) => ModelStreamInferResponse {
                error_message: String::new(),
                infer_response: Some(answer.into_response()),
            },
            Err(refusal) => ModelStreamInferResponse {
                error_message: status::of(&refusal, head.request_id).message().to_owned(),
                infer_response: Some(refused(&refusal, head.request_id, id)),
            },
        }
    }

    /// Ends the stream. What could not be decoded was a request and is recorded as one.
    fn end(&self, head: &Head, refusal: Refusal) -> Status {
        let no_request = [Reason::DeadlineExceeded, Reason::Draining, Reason::HungUp];
        if no_request.contains(&refusal.reason()) {
            return status::of(&refusal, head.request_id);
        }
        let identified = self.service.guard.identify(&self.pass.visitor, head);
        let refusal = match self.service.guard.admit(&self.pass.visitor, head, &identified) {
            Err(denied) => denied,
            Ok(call) => match call.close(refusal.outcome()) {
                Ok(()) => refusal,
                Err(error) => Refusal::unrecorded(&error),
            },
        };
        status::of(&refusal, head.request_id)
    }
}

/// What a status would carry in its details, for a message of a stream that has none.
fn refused(refusal: &Refusal, request_id: RequestId, id: String) -> ModelInferResponse {
    let text = |text: String| InferParameter { parameter_choice: Some(ParameterChoice::StringParam(text)) };
    let parameters = [
        ("asepsis_request_id", request_id.to_string()),
        ("asepsis_status", refusal.status().to_string()),
        ("asepsis_action", refusal.action().to_string()),
        ("asepsis_reason", refusal.reason().to_string()),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), text(value))).into();
    ModelInferResponse { id, parameters, ..ModelInferResponse::default() }
}

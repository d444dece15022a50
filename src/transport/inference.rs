//! The Open Inference Protocol, as thin as it can be: take the admitted call, ask the guard, give its word.

mod describe;
mod stream;

use super::door::{Passing, Streaming};
use super::{Limits, status, stubs};
use crate::guard::{Call, Guard};
use crate::proto::{
    CudaSharedMemoryRegisterRequest, CudaSharedMemoryRegisterResponse, CudaSharedMemoryStatusRequest,
    CudaSharedMemoryStatusResponse, CudaSharedMemoryUnregisterRequest, CudaSharedMemoryUnregisterResponse,
    LogSettingsRequest, LogSettingsResponse, ModelConfigRequest, ModelConfigResponse, ModelInferRequest,
    ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelStatisticsRequest, ModelStatisticsResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse, SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryRegisterResponse, SystemSharedMemoryStatusRequest, SystemSharedMemoryStatusResponse,
    SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse, TraceSettingRequest,
    TraceSettingResponse,
};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::telemetry::Statistics;
use crate::trace::handed_on;
use std::pin::Pin;
use std::sync::Arc;
use stubs::grpc_inference_service_server::GrpcInferenceService;
use tonic::{Request, Response, Status};

/// The service in front of a guard.
#[derive(Clone)]
pub struct Inference {
    guard: Arc<Guard>,
    statistics: Arc<Statistics>,
    limits: Limits,
}

impl Inference {
    /// In front of `guard`; `statistics` are what it tells of models.
    #[must_use]
    pub fn new(guard: Arc<Guard>, statistics: Arc<Statistics>, limits: &Limits) -> Self {
        Self { guard, statistics, limits: limits.clone() }
    }

    pub(super) fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Answers what needs no model run.
    fn tell<M, T>(
        &self,
        request: Request<M>,
        tell: impl FnOnce(&Guard, &mut Call, M) -> Result<T, Refusal>,
    ) -> Result<Response<T>, Status> {
        let (call, message) = take(request)?;
        let id = call.request_id();
        let told = self.guard.tell(call, |guard, call| tell(guard, call, message));
        told.map(Response::new).map_err(|refusal| status::of(&refusal, id))
    }

    /// Answers what has to load a model, which takes long and so happens on no runtime thread.
    async fn tell_slowly<M: Send + 'static, T: Send + 'static>(
        &self,
        request: Request<M>,
        tell: impl FnOnce(&Guard, &mut Call, M) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let (call, message) = take(request)?;
        let id = call.request_id();
        let guard = Arc::clone(&self.guard);
        let told = handed_on(move || guard.tell(call, |guard, call| tell(guard, call, message)));
        let told = tokio::task::spawn_blocking(told)
            .await
            .unwrap_or_else(|_| Err(Refusal::internal("loading panicked")));
        told.map(Response::new).map_err(|refusal| status::of(&refusal, id))
    }

    fn unsupported<M, T>(&self, request: Request<M>, what: &str) -> Result<Response<T>, Status> {
        self.tell(request, |_, _, _| {
            Err(Refusal::new(Reason::Unsupported, format!("{what} is not supported")))
        })
    }
}

/// The admitted call and its message.
fn take<M>(request: Request<M>) -> Result<(Call, M), Status> {
    let call = request.extensions().get::<Passing>().and_then(Passing::take);
    let call = call.ok_or_else(|| Status::internal("a call came in by no door"))?;
    Ok((call, request.into_inner()))
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let (call, message) = take(request)?;
        let id = call.request_id();
        match self.guard.serve(call, message).await {
            Ok(answer) => Ok(Response::new(answer.into_response())),
            Err(refusal) => Err(status::of(&refusal, id)),
        }
    }

    type ModelStreamInferStream = Pin<Box<stream::Answers>>;

    async fn model_stream_infer(
        &self,
        request: Request<tonic::Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let pass = request.extensions().get::<Passing<Streaming>>().and_then(Passing::take);
        let pass = pass.ok_or_else(|| Status::internal("a stream came in by no door"))?;
        Ok(Response::new(stream::answers(self.clone(), pass, request.into_inner())))
    }

    async fn server_live(
        &self,
        request: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        self.tell(request, |_, _, _| Ok(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        request: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        self.tell(request, |guard, _, _| Ok(ServerReadyResponse { ready: guard.ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        self.tell(request, |guard, call, asked| describe::ready(guard, call, &asked))
    }

    async fn server_metadata(
        &self,
        request: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        self.tell(request, |_, _, _| Ok(describe::server()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        self.tell(request, |guard, call, asked| describe::metadata(guard, call, &asked))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        self.tell(request, |guard, call, asked| describe::config(guard, call, &asked))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let statistics = Arc::clone(&self.statistics);
        self.tell(request, move |guard, call, asked| describe::statistics(guard, &statistics, call, &asked))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        self.tell(request, |guard, call, asked| Ok(describe::index(guard, call, &asked)))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let load = |guard: &Guard, call: &mut Call, asked: RepositoryModelLoadRequest| {
            let name = describe::loadable(
                guard,
                call,
                (&asked.repository_name, &asked.model_name),
                &asked.parameters,
            )?;
            guard.catalog.load(&name)?;
            Ok(RepositoryModelLoadResponse { model_name: name, is_loaded: true })
        };
        self.tell_slowly(request, load).await
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let unload = |guard: &Guard, call: &mut Call, mut asked: RepositoryModelUnloadRequest| {
            // tritonclient always sends it; there is nothing here that depends on another model.
            asked.parameters.remove("unload_dependents");
            let name = describe::loadable(
                guard,
                call,
                (&asked.repository_name, &asked.model_name),
                &asked.parameters,
            )?;
            guard.catalog.unload(&name);
            Ok(RepositoryModelUnloadResponse { model_name: name, is_unloaded: true })
        };
        self.tell_slowly(request, unload).await
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<SystemSharedMemoryStatusResponse>, Status> {
        self.unsupported(request, "shared memory")
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<SystemSharedMemoryRegisterResponse>, Status> {
        self.unsupported(request, "shared memory")
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<SystemSharedMemoryUnregisterResponse>, Status> {
        self.unsupported(request, "shared memory")
    }

    async fn cuda_shared_memory_status(
        &self,
        request: Request<CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<CudaSharedMemoryStatusResponse>, Status> {
        self.unsupported(request, "shared memory")
    }

    async fn cuda_shared_memory_register(
        &self,
        request: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<CudaSharedMemoryRegisterResponse>, Status> {
        self.unsupported(request, "shared memory")
    }

    async fn cuda_shared_memory_unregister(
        &self,
        request: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<CudaSharedMemoryUnregisterResponse>, Status> {
        self.unsupported(request, "shared memory")
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Result<Response<TraceSettingResponse>, Status> {
        self.unsupported(request, "changing trace settings by a caller")
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Result<Response<LogSettingsResponse>, Status> {
        self.unsupported(request, "changing log settings by a caller")
    }
}

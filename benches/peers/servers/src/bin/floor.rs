//! What an answer costs at the least: tonic, rustls and ONNX Runtime, and nothing checked but the client's
//! certificate and the count of bytes. The run stands in the call itself, since a thread of its own would cost more.

use asepsis_peers::{Arguments, Fault, Model};
use std::sync::Arc;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

mod protocol {
    tonic::include_proto!("inference");
}
use protocol::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use protocol::model_infer_response::InferOutputTensor;
use protocol::*;

struct Floor(Arc<Vec<Model>>);

#[tonic::async_trait]
impl GrpcInferenceService for Floor {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: true }))
    }

    async fn model_ready(
        &self,
        _: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        Ok(Response::new(ModelReadyResponse { ready: true }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse { name: "floor".into(), ..Default::default() }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let model = self.model(&request.get_ref().name)?;
        let [input, output] = model.tensors.clone().map(|(name, shape)| {
            vec![model_metadata_response::TensorMetadata { name, datatype: "FP32".into(), shape }]
        });
        Ok(Response::new(ModelMetadataResponse {
            name: model.name.clone(),
            versions: vec!["1".into()],
            platform: "onnxruntime_onnx".into(),
            inputs: input,
            outputs: output,
            ..Default::default()
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let request = request.into_inner();
        let model = self.model(&request.model_name)?;
        let ([input], [raw]) = (&request.inputs[..], &request.raw_input_contents[..]) else {
            return Err(Status::invalid_argument("one input, and raw"));
        };
        let values: Vec<f32> = raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let answer = model.run(&input.shape, &values, |shape, values| {
            let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (shape.to_vec(), raw)
        });
        let (shape, raw) = answer.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let output = InferOutputTensor {
            name: model.tensors[1].0.clone(),
            datatype: "FP32".into(),
            shape,
            ..Default::default()
        };
        Ok(Response::new(ModelInferResponse {
            model_name: model.name.clone(),
            model_version: "1".into(),
            id: request.id,
            outputs: vec![output],
            raw_output_contents: vec![raw.into()],
            ..Default::default()
        }))
    }
}

impl Floor {
    fn model(&self, name: &str) -> Result<&Model, Status> {
        self.0.iter().find(|model| model.name == name).ok_or_else(|| Status::not_found("no such model"))
    }
}

fn main() -> Result<(), Fault> {
    let workers = std::thread::available_parallelism()?.get();
    let Arguments { pki, port, models } = Arguments::read(workers)?;
    let service =
        GrpcInferenceServiceServer::new(Floor(Arc::new(models))).max_decoding_message_size(64 << 20);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        // Frames and windows that carry a 600 kB tensor in few round trips, as the sidecar's do.
        let mut server = Server::builder()
            .max_frame_size(1 << 20)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        if let Some(pki) = pki {
            let file = |name: &str| std::fs::read(pki.join(name));
            let tls = ServerTlsConfig::new()
                .identity(Identity::from_pem(file("server.pem")?, file("server.key")?))
                .client_ca_root(Certificate::from_pem(file("ca.pem")?));
            server = server.tls_config(tls)?;
        }
        Ok(server.add_service(service).serve(([127, 0, 0, 1], port).into()).await?)
    })
}

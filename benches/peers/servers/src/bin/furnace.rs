//! furnace-server with its own mutual TLS, over the same ONNX Runtime by its own trait for other engines. Its settings
//! are its defaults, and its allocator that of its `furnace` command.

use asepsis_peers::{Arguments, Fault, Model};
use furnace::api::TlsSettings;
use furnace::{DataType, FurnaceError, HostTensor, IoSpec, Server, TensorModel, Values};

#[global_allocator]
static ALLOCATOR: kamui::BlockCache = kamui::BlockCache::new();

#[derive(Debug)]
struct OnnxRuntime(Model);

impl TensorModel for OnnxRuntime {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn backend(&self) -> &str {
        "cpu"
    }

    fn inputs(&self) -> Vec<IoSpec> {
        let (name, shape) = &self.0.tensors[0];
        let row: Vec<_> = shape.iter().skip(1).map(|&length| usize::try_from(length).ok()).collect();
        vec![IoSpec::new(name, DataType::Fp32, &row)]
    }

    /// A dimension is left open: with a shape that is fixed it would call the tensors `input` and `output`.
    fn outputs(&self) -> Vec<IoSpec> {
        vec![IoSpec::new(&self.0.tensors[1].0, DataType::Fp32, &[None])]
    }

    fn run(&self, inputs: Vec<HostTensor>) -> furnace::Result<Vec<HostTensor>> {
        let [HostTensor { shape, values: Values::F32(values) }] = &inputs[..] else {
            return Err(failed("one FP32 tensor was promised"));
        };
        let shape: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
        let answer = self.0.run(&shape, values, |shape, values| HostTensor {
            shape: shape.iter().map(|&length| length as usize).collect(),
            values: Values::F32(values.to_vec()),
        });
        answer.map(|tensor| vec![tensor]).map_err(|error| failed(&error.to_string()))
    }
}

fn failed(message: &str) -> FurnaceError {
    furnace::error::ModelError::InferenceFailed(message.into()).into()
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let Arguments { pki, port, models } = Arguments::read(std::thread::available_parallelism()?.get())?;
    let server = Server::new().configure(|config| {
        // Its HTTP stands beside it, on a port that nobody asks.
        config.port = 0;
        config.grpc_port = Some(port);
        config.tls = pki.map(|pki| TlsSettings {
            cert: pki.join("server.pem"),
            key: pki.join("server.key"),
            client_ca: Some(pki.join("ca.pem")),
        });
    });
    let served = models
        .into_iter()
        .fold(server, |server, model| server.model(furnace::Model::custom(OnnxRuntime(model))));
    Ok(served.serve().await?)
}

//! The methods this server answers, by their exact canonical path.
//!
//! Architecture Invariant: authorisation is on the whole path as it stands in `:path`, compared byte by
//! byte. A path that is merely similar (`//x`, percent-encoded, a trailing slash) is no method at all.

macro_rules! rpcs {
    ($($variant:ident = $path:literal;)+) => {
        /// One method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rpc { $(#[doc = $path] $variant,)+ }

        impl Rpc {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The method at that path.
            #[must_use]
            pub fn at(path: &str) -> Option<Self> {
                match path { $($path => Some(Self::$variant),)+ _ => None }
            }

            /// `/package.Service/Method`.
            #[must_use]
            pub fn path(self) -> &'static str {
                match self { $(Self::$variant => $path,)+ }
            }
        }
    };
}

rpcs! {
    ModelInfer = "/inference.GRPCInferenceService/ModelInfer";
    ModelStreamInfer = "/inference.GRPCInferenceService/ModelStreamInfer";
    ServerLive = "/inference.GRPCInferenceService/ServerLive";
    ServerReady = "/inference.GRPCInferenceService/ServerReady";
    ModelReady = "/inference.GRPCInferenceService/ModelReady";
    ServerMetadata = "/inference.GRPCInferenceService/ServerMetadata";
    ModelMetadata = "/inference.GRPCInferenceService/ModelMetadata";
    ModelConfig = "/inference.GRPCInferenceService/ModelConfig";
    ModelStatistics = "/inference.GRPCInferenceService/ModelStatistics";
    RepositoryIndex = "/inference.GRPCInferenceService/RepositoryIndex";
    RepositoryModelLoad = "/inference.GRPCInferenceService/RepositoryModelLoad";
    RepositoryModelUnload = "/inference.GRPCInferenceService/RepositoryModelUnload";
    SystemSharedMemoryStatus = "/inference.GRPCInferenceService/SystemSharedMemoryStatus";
    SystemSharedMemoryRegister = "/inference.GRPCInferenceService/SystemSharedMemoryRegister";
    SystemSharedMemoryUnregister = "/inference.GRPCInferenceService/SystemSharedMemoryUnregister";
    CudaSharedMemoryStatus = "/inference.GRPCInferenceService/CudaSharedMemoryStatus";
    CudaSharedMemoryRegister = "/inference.GRPCInferenceService/CudaSharedMemoryRegister";
    CudaSharedMemoryUnregister = "/inference.GRPCInferenceService/CudaSharedMemoryUnregister";
    TraceSetting = "/inference.GRPCInferenceService/TraceSetting";
    LogSettings = "/inference.GRPCInferenceService/LogSettings";
    HealthCheck = "/grpc.health.v1.Health/Check";
    HealthWatch = "/grpc.health.v1.Health/Watch";
    Reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    ReflectionAlpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    OperationsReload = "/asepsis.v1.Operations/Reload";
    OperationsStatus = "/asepsis.v1.Operations/Status";
}

impl Rpc {
    /// The name access policies and audit entries use: the method, or `Service/Method` outside inference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.path() {
            "/asepsis.v1.Operations/Reload" => "operations/Reload",
            "/asepsis.v1.Operations/Status" => "operations/Status",
            path => {
                let name = path.strip_prefix("/inference.GRPCInferenceService/");
                name.or_else(|| path.strip_prefix("/grpc.")).unwrap_or(path)
            }
        }
    }

    /// Whether this is a method of the operations service: it changes or watches the server and asks no model.
    #[must_use]
    pub fn is_operation(self) -> bool {
        self.path().starts_with("/asepsis.v1.Operations/")
    }

    /// Whether it asks a model for answers.
    #[must_use]
    pub fn infers(self) -> bool {
        matches!(self, Self::ModelInfer | Self::ModelStreamInfer)
    }

    /// Whether a call of it is about one model, or several, and about nothing else: whether it is allowed can
    /// be known only when its message has named them.
    #[must_use]
    pub fn is_about_models(self) -> bool {
        matches!(
            self,
            Self::ModelInfer
                | Self::ModelStreamInfer
                | Self::ModelReady
                | Self::ModelMetadata
                | Self::ModelConfig
                | Self::ModelStatistics
                | Self::RepositoryIndex
                | Self::RepositoryModelLoad
                | Self::RepositoryModelUnload
        )
    }

    /// The method of that name in an access policy.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_merely_similar_is_no_method() {
        for path in [
            "",
            "/",
            "/inference.GRPCInferenceService/ModelInfer/",
            "//inference.GRPCInferenceService/ModelInfer",
            "/inference.GRPCInferenceService//ModelInfer",
            "/inference.GRPCInferenceService/modelinfer",
            "/inference.GRPCInferenceService/Model%49nfer",
            "/inference.GRPCInferenceService/ModelInfer?x",
        ] {
            assert_eq!(Rpc::at(path), None, "{path}");
        }
    }

    #[test]
    fn every_method_is_found_by_path_and_by_name() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::at(rpc.path()), Some(*rpc));
            assert_eq!(Rpc::named(rpc.as_str()), Some(*rpc));
        }
        assert_eq!(Rpc::HealthCheck.as_str(), "health.v1.Health/Check");
        assert_eq!(Rpc::OperationsReload.as_str(), "operations/Reload");
        assert_eq!(Rpc::OperationsStatus.as_str(), "operations/Status");
    }

    #[test]
    fn every_method_of_the_operations_service_is_an_operation_and_no_other() {
        for rpc in Rpc::ALL {
            assert_eq!(rpc.is_operation(), rpc.path().starts_with("/asepsis.v1.Operations/"), "{rpc:?}");
        }
    }

    #[test]
    fn every_method_of_proto_has_its_path_here_and_no_other() {
        use prost::Message;
        let mut paths = Vec::new();
        for descriptors in [crate::proto::DESCRIPTORS, crate::proto::operations::DESCRIPTORS] {
            for file in prost_types::FileDescriptorSet::decode(descriptors).unwrap().file {
                for service in &file.service {
                    let methods = service.method.iter();
                    paths.extend(
                        methods.map(|method| {
                            format!("/{}.{}/{}", file.package(), service.name(), method.name())
                        }),
                    );
                }
            }
        }
        for path in &paths {
            assert!(Rpc::at(path).is_some(), "{path}");
        }
        let ours = Rpc::ALL.iter().filter(|rpc| !rpc.path().starts_with("/grpc."));
        assert_eq!(ours.count(), paths.len());
    }
}

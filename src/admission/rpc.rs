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
}

impl Rpc {
    /// The name access policies and audit entries use: the method, or `Service/Method` outside inference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let path = self.path();
        let name = path.strip_prefix("/inference.GRPCInferenceService/");
        name.or_else(|| path.strip_prefix("/grpc.")).unwrap_or(path)
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
    }
}

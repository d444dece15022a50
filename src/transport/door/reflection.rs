//! What is there to call, by gRPC reflection, for roles that may ask?

use super::{BoxError, Inner};
use crate::proto::DESCRIPTORS;
use bytes::Bytes;
use http_body::Body as HttpBody;
use tower::util::BoxCloneSyncService;

/// Both versions of the service, for the descriptors of what callers may ask.
pub(super) fn services<B>() -> Result<(Inner<B>, Inner<B>), String>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().map_err(|error| error.to_string())?;
    let alpha = builder().build_v1alpha().map_err(|error| error.to_string())?;
    Ok((BoxCloneSyncService::new(v1), BoxCloneSyncService::new(alpha)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_reads_our_descriptors() {
        assert!(services::<tonic::body::Body>().is_ok());
    }
}

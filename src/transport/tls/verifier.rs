//! What does rustls ask in a handshake, and what does it answer a client that is not trusted?

use super::trust::{Bundle, Distrust, Trust};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// Names of CAs that are sent as a hint, in bytes; with more, clients choose for themselves. RFC 8446, 4.2.4
/// would allow 64 kB.
const HINT_BYTES_MAX: usize = 16 << 10;

/// Verifies client certificates by one [`Trust`].
pub(super) struct Verifier {
    trust: Arc<Trust>,
    required: bool,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, required: bool, algorithms: WebPkiSupportedAlgorithms) -> Self {
        let mut subjects: Vec<&[u8]> = trust.bundles.values().flat_map(Bundle::subjects).collect();
        subjects.sort_unstable();
        subjects.dedup();
        if subjects.iter().map(|subject| subject.len()).sum::<usize>() > HINT_BYTES_MAX {
            subjects.clear();
        }
        let hints = subjects.into_iter().map(DistinguishedName::in_sequence).collect();
        Self { trust, required, hints, algorithms }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        match self.trust.verify(&chain, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(distrust) => Err(alert(distrust).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The error that makes rustls send the fitting alert (RFC 8446, section 6.2).
fn alert(distrust: Distrust) -> CertificateError {
    match distrust {
        Distrust::Purpose => CertificateError::InvalidPurpose,
        Distrust::Denied | Distrust::Revoked => CertificateError::Revoked,
        Distrust::Expired => CertificateError::Expired,
        Distrust::NotYetValid => CertificateError::NotValidYet,
        Distrust::ListTooOld => CertificateError::ExpiredRevocationList,
        Distrust::RevocationUnknown(_) => CertificateError::UnknownRevocationStatus,
        Distrust::Untrusted(webpki::Error::UnknownIssuer) => CertificateError::UnknownIssuer,
        Distrust::Unclear(_) | Distrust::TooLong | Distrust::Untrusted(_) => {
            CertificateError::Other(OtherError(Arc::new(distrust)))
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("required", &self.required).finish_non_exhaustive()
    }
}

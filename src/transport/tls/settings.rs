//! What may be said in `[tls]`?

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Certificates and versions (`[tls]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The server's certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; readable by its owner alone.
    pub key: Option<PathBuf>,
    /// The CAs that sign client certificates, PEM. May be left out where `trust_bundles` names all there are.
    pub client_ca: Option<PathBuf>,
    /// Whether callers must have a certificate.
    pub client_certificate: ClientCertificate,
    /// SPIFFE trust domains that are believed; empty: any that `client_ca` signs.
    pub trust_domains: Vec<String>,
    /// Certificate revocation lists, PEM or DER: one path or several. As soon as there is one, every certificate
    /// of a caller and every intermediate above it needs a list of its CA; one without is refused.
    pub crl: Files,
    /// How long after its `nextUpdate` a revocation list is still believed, in seconds.
    pub crl_grace_s: u64,
    /// A TOML file with `serials` and `spiffe_ids` of callers that are turned away at once.
    pub deny_list: Option<PathBuf>,
    /// The oldest protocol version.
    pub minimum_version: Version,
    /// Serve without TLS. Only on loopback or a Unix socket; callers are then the member `plaintext`.
    pub plaintext: bool,
    /// The CAs of a SPIFFE trust domain, PEM, by its name: its SPIFFE IDs are vouched for by these and no others.
    pub trust_bundles: BTreeMap<String, PathBuf>,
}

/// Whether callers must have a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Without one the handshake fails.
    #[default]
    Required,
    /// Without one the handshake succeeds, and the caller needs another credential. A bad one is still refused.
    Optional,
}

/// TLS versions that are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Version {
    /// TLS 1.2 and 1.3.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// Some paths; a single one may be written without brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Files(pub Vec<PathBuf>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Files, E> {
                // Nothing set is nothing named, as with every other path.
                Ok(Files(if path.is_empty() { Vec::new() } else { vec![path.into()] }))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut paths: A) -> Result<Files, A::Error> {
                let mut files = Vec::new();
                while let Some(path) = paths.next_element()? {
                    files.push(path);
                }
                Ok(Files(files))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl schemars::JsonSchema for Files {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Files".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Some paths; a single one may be written without brackets.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        })
    }
}

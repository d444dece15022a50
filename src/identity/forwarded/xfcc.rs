//! What does `x-forwarded-client-cert` say? Strictly as Envoy writes it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>).
//!
//! Envoy quotes Cert, Chain and Subject, whose backslashes are escapes (RFC 2253), and nothing else. So the order of
//! keys counts, too: it writes URI, then DNS, and a URI that follows a DNS stood in a name of the caller's choice.

use crate::identity::IdentityError;

/// The largest header that is read; it may carry a certificate chain.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// There is more than one element, or header.
pub(super) const SEVERAL: IdentityError = IdentityError::Invalid(
    "x-forwarded-client-cert has more than one element; have the proxy replace the header (Envoy: SANITIZE_SET)",
);

const MALFORMED: IdentityError = IdentityError::Invalid("x-forwarded-client-cert is malformed");

/// The names in the certificate of the proxy's caller.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Caller<'a> {
    /// The URI name; there is none where it is empty.
    pub(super) uri: Option<&'a str>,
    /// The first DNS name.
    pub(super) dns: Option<&'a str>,
}

/// In the order in which Envoy writes names; what stands before them comes in several orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    By,
    Hash,
    Cert,
    Chain,
    Subject,
    Uri,
    Dns,
}

impl Key {
    fn named(name: &str) -> Option<Self> {
        let keys = [
            ("by", Self::By),
            ("hash", Self::Hash),
            ("cert", Self::Cert),
            ("chain", Self::Chain),
            ("subject", Self::Subject),
            ("uri", Self::Uri),
            ("dns", Self::Dns),
        ];
        keys.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, key)| key)
    }

    /// A proxy has a By, and a caller a DNS, for each such name in the certificate.
    fn repeats(self) -> bool {
        matches!(self, Self::By | Self::Dns)
    }
}

/// Reads the one element of a header.
///
/// # Errors
/// It is not one element, or not as Envoy writes it.
pub(super) fn parse(header: &[u8]) -> Result<Caller<'_>, IdentityError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(IdentityError::Invalid("x-forwarded-client-cert is larger than 16 KiB"));
    }
    let mut rest = std::str::from_utf8(header).map_err(|_| MALFORMED)?;
    if !rest.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(MALFORMED);
    }
    let mut caller = Caller::default();
    let mut seen = Vec::new();
    loop {
        let (name, after) = rest.split_once('=').ok_or(MALFORMED)?;
        let key = Key::named(name)
            .ok_or(IdentityError::Invalid("x-forwarded-client-cert has a key that Envoy does not write"))?;
        if seen.contains(&key) && !key.repeats() {
            return Err(IdentityError::Invalid("x-forwarded-client-cert has a key twice"));
        }
        if seen.iter().any(|before| *before >= Key::Uri && *before > key) {
            return Err(IdentityError::Invalid(
                "x-forwarded-client-cert has its names in another order than Envoy's",
            ));
        }
        seen.push(key);
        // Envoy quotes no name, so that quotes around one are part of it: a URI of the caller's choice in its
        // certificate, which a CA that compares names would not have taken for another's.
        let quoted = matches!(key, Key::By | Key::Hash | Key::Uri | Key::Dns) && after.starts_with('"');
        let (value, after) = value(after).filter(|_| !quoted).ok_or(MALFORMED)?;
        match key {
            Key::Hash if !is_sha256(value) => {
                return Err(IdentityError::Invalid("x-forwarded-client-cert has a Hash that is no SHA-256"));
            }
            // The key stands there also when the certificate has no such name.
            Key::Uri => caller.uri = Some(value).filter(|value| !value.is_empty()),
            Key::Dns => caller.dns = caller.dns.or(Some(value)),
            Key::By | Key::Hash | Key::Cert | Key::Chain | Key::Subject => {}
        }
        rest = match after.split_at_checked(1) {
            None => return Ok(caller),
            Some((";", next)) => next,
            Some((",", _)) => return Err(SEVERAL),
            Some(_) => return Err(MALFORMED),
        };
    }
}

/// The value at the beginning, without its quotes, and what follows. Escapes stay: no name has any.
fn value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end)?;
        return (!value.contains(['"', ' '])).then_some((value, after));
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            // A backslash takes the next character with it, also another backslash.
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((quoted.get(..at)?, quoted.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    /// A subject as OpenSSL prints it for Envoy (RFC 2253, section 2.4, with control and high bytes as hex).
    fn rfc2253(subject: &str) -> String {
        let mut text = String::new();
        for byte in subject.bytes() {
            match byte {
                b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', char::from(byte)]),
                b' '..=b'~' => text.push(char::from(byte)),
                _ => write!(text, "\\{byte:02X}").unwrap(),
            }
        }
        text
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_dns_name_of_a_caller_makes_a_uri(
            name in prop_oneof!["[ -~]{0,40}", "[a-c\"\\\\;,=]{0,6}[;,]URI=[\"]?spiffe://victim.example/a[\"]?[;,=a]{0,3}"],
        ) {
            let header = format!("Hash={};URI=;DNS={name}", "0a".repeat(32));
            if let Ok(caller) = parse(header.as_bytes()) {
                prop_assert_eq!(caller.uri, None);
            }
            if let Ok(caller) = parse(format!("DNS={name}").as_bytes()) {
                prop_assert_eq!(caller.uri, None);
            }
        }

        #[test]
        fn whatever_the_subject_is_the_names_are_those_that_envoy_wrote(
            subject in prop_oneof![any::<String>(), "[\"\\\\;,=A-Z]{0,12}"],
        ) {
            let uri = "spiffe://a.example/ns/b/sa/c";
            let header = format!(
                "By=spiffe://a.example/proxy;Hash={};Subject=\"CN={}\";URI={uri};DNS=x.example;DNS=y.example",
                "0a".repeat(32),
                rfc2253(&subject),
            );
            let caller = parse(header.as_bytes()).unwrap();
            prop_assert_eq!(caller, Caller { uri: Some(uri), dns: Some("x.example") });
        }
    }
}

//! What would the caller have to present to be let in? In the forms that its libraries understand.

use crate::admission::Challenge;
use crate::reason::Reason;
use crate::refusal::Refusal;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::{Map, Value, json};

/// `WWW-Authenticate` of a refusal that a token would have prevented: which kind of error it was (RFC 6750,
/// section 3.1), or how to sign in again, as RFC 9470 (section 3) and as Microsoft Entra ID have it, whose
/// libraries know the one error and not the other.
pub(in crate::transport) fn headers(refusal: &Refusal) -> Vec<HeaderValue> {
    let texts = match (refusal.challenge(), refusal.reason()) {
        (Some(challenge), _) => vec![step_up(challenge), insufficient_claims(challenge)],
        (None, Reason::NoCredential) => vec!["Bearer".to_owned()],
        (None, Reason::BadCredential | Reason::GroupsOverage) => {
            vec!["Bearer error=\"invalid_token\"".to_owned()]
        }
        (None, _) => Vec::new(),
    };
    texts.iter().filter_map(|text| HeaderValue::from_str(text).ok()).collect()
}

/// The `claims` parameter with which the caller asks its provider for a token that will do (OpenID Connect
/// Core, section 5.5): JSON in base64url.
pub(super) fn claims(challenge: &Challenge) -> String {
    URL_SAFE_NO_PAD.encode(wanted(challenge).to_string())
}

fn wanted(challenge: &Challenge) -> Value {
    let mut wanted = Map::new();
    let mut want = |claim: &str, value: Value| drop(wanted.insert(claim.to_owned(), value));
    match challenge.acrs.as_slice() {
        [] => {}
        // Entra ID asks for one authentication context by `value`.
        [only] => want("acrs", json!({ "essential": true, "value": only })),
        several => want("acrs", json!({ "essential": true, "values": several })),
    }
    if challenge.mfa {
        want("amr", json!({ "essential": true, "values": ["mfa"] }));
    }
    if let Some(claim) = &challenge.device_claim {
        want(claim, json!({ "essential": true, "value": true }));
    }
    if challenge.max_age.is_some() {
        want("auth_time", json!({ "essential": true }));
    }
    json!({ "access_token": wanted })
}

/// Claims challenge of the Microsoft identity platform: the same claims in base64 with its padding.
fn insufficient_claims(challenge: &Challenge) -> String {
    let claims = STANDARD.encode(wanted(challenge).to_string());
    format!("Bearer error=\"insufficient_claims\", claims=\"{claims}\"")
}

fn step_up(challenge: &Challenge) -> String {
    let mut parts = vec!["error=\"insufficient_user_authentication\"".to_owned()];
    if !challenge.acrs.is_empty() {
        // Only characters of a token can stand in a policy's acrs, so nothing here needs an escape.
        parts.push(format!("acr_values=\"{}\"", challenge.acrs.join(" ")));
    }
    if let Some(age) = challenge.max_age {
        parts.push(format!("max_age=\"{}\"", age.as_secs()));
    }
    parts.push(format!("claims=\"{}\"", claims(challenge)));
    format!("Bearer {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Denial;
    use std::time::Duration;

    #[test]
    fn a_step_up_says_what_to_sign_in_with() {
        let challenge = Challenge {
            acrs: vec!["c1".into(), "c2".into()],
            mfa: true,
            device_claim: Some("managed".into()),
            max_age: Some(Duration::from_mins(5)),
        };
        let denial = Denial::new(Reason::StepUpRequired, "sign in again");
        let refusal = Refusal::from(Denial { challenge: Some(Box::new(challenge.clone())), ..denial });
        let headers = headers(&refusal);
        let text = headers[0].to_str().unwrap();
        let before =
            "Bearer error=\"insufficient_user_authentication\", acr_values=\"c1 c2\", max_age=\"300\", ";
        assert!(text.starts_with(before), "{text}");
        let decoded = URL_SAFE_NO_PAD.decode(claims(&challenge)).unwrap();
        let entra = headers[1].to_str().unwrap();
        let entra = entra.strip_prefix("Bearer error=\"insufficient_claims\", claims=\"").unwrap();
        assert_eq!(STANDARD.decode(entra.strip_suffix('"').unwrap()).unwrap(), decoded);
        let claims: Value = serde_json::from_slice(&decoded).unwrap();
        assert_eq!(claims["access_token"]["amr"]["values"][0], "mfa");
        // Called as in `jwt.device_claim`, or the provider does not know what is asked for.
        assert_eq!(claims["access_token"]["managed"], json!({ "essential": true, "value": true }));
        assert!(claims["access_token"].get("device_compliant").is_none());
        let nothing = wanted(&Challenge::default());
        assert_eq!(nothing, json!({ "access_token": {} }));
    }

    #[test]
    fn only_refusals_that_a_token_would_have_prevented_ask_for_one() {
        let asks = |reason| {
            let headers = headers(&Refusal::new(reason, "x"));
            headers.first().map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(asks(Reason::NoCredential).as_deref(), Some("Bearer"));
        assert_eq!(asks(Reason::BadCredential).as_deref(), Some("Bearer error=\"invalid_token\""));
        assert_eq!(asks(Reason::MethodForbidden), None);
    }
}

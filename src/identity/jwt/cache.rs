//! Has this very token been verified already, under the keys of now?
//!
//! Verifying costs a hundred times a look-up. Only tokens that were verified and admitted are kept, by their
//! SHA-256, so nobody without a good token can fill it. What may differ from call to call (time, certificate) is
//! asked anew of what is found.

use super::claims::Vouched;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest as hash};
use std::sync::Arc;

/// Tokens that are remembered; the least used give way.
const TOKENS_MAX: usize = 4096;

/// SHA-256.
pub(super) type Digest = [u8; SHA256_OUTPUT_LEN];

/// SHA-256 of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(hash(&SHA256, bytes).as_ref());
    digest
}

/// What verified tokens said.
pub(super) struct Cache(quick_cache::sync::Cache<Digest, (u64, Arc<Vouched>)>);

impl Cache {
    pub(super) fn new() -> Self {
        Self(quick_cache::sync::Cache::new(TOKENS_MAX))
    }

    /// What the token with this digest said, if it was verified under this generation of keys.
    pub(super) fn get(&self, token: &Digest, generation: u64) -> Option<Arc<Vouched>> {
        let (verified_under, vouched) = self.0.get(token)?;
        (verified_under == generation).then_some(vouched)
    }

    pub(super) fn insert(&self, token: Digest, generation: u64, vouched: Vouched) {
        self.0.insert(token, (generation, Arc::new(vouched)));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::jwt::Settings;

    fn vouched() -> Vouched {
        let settings =
            Settings { issuer: Some("i".to_owned()), audience: vec!["a".to_owned()], ..Settings::default() };
        Vouched::read(br#"{"iss":"i","aud":"a","sub":"s","iat":1,"exp":2}"#, &settings).unwrap()
    }

    #[test]
    fn what_was_verified_under_other_keys_is_not_found() {
        let cache = Cache::new();
        cache.insert(digest(b"token"), 1, vouched());
        assert!(cache.get(&digest(b"token"), 2).is_none());
        assert!(cache.get(&digest(b"other"), 1).is_none());
        assert!(cache.get(&digest(b"token"), 1).is_some());
    }

    #[test]
    fn a_hundred_thousand_tokens_take_no_more_room_than_the_table_has() {
        let cache = Cache::new();
        for n in 0..100_000_u32 {
            cache.insert(digest(&n.to_be_bytes()), 1, vouched());
        }
        assert!(cache.len() <= TOKENS_MAX, "{}", cache.len());
        assert!(cache.len() > TOKENS_MAX / 2);
    }
}

//! How does an API key look? `ask_ID_SECRET`: what a scanner of secrets finds, and what a typo does not survive.
//!
//! As a pattern: `ask_[a-z2-7]{12}_[0-9A-Za-z]{49}`. The id may be known: it names the key in the policy and the
//! audit log. The secret is 43 digits of base 62, which hold 256 bits, and 6 more that check all before them.

use crate::digest;
use std::fmt;

/// What every key begins with.
const PREFIX: &str = "ask_";

/// Digits of the id: 60 bits, so that ids do not meet by chance.
const ID_DIGITS: usize = 12;

/// Digits of the secret: the fewest of base 62 that hold 256 bits.
const SECRET_DIGITS: usize = 43;

/// Digits of the checksum: the fewest of base 62 that hold the first 32 bits of a SHA-256.
const CHECKSUM_DIGITS: usize = 6;

/// Random bytes that make a key: 8 for the id, 32 for the secret.
pub const ENTROPY_BYTES: usize = 40;

/// A key that is well formed; whether it opens anything, the keyring says.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    id: &'a str,
    /// All but the checksum: what is hashed, so that a hash belongs to its id.
    body: &'a str,
}

impl<'a> Key<'a> {
    /// Reads a key; `None` if it is none, or its checksum does not fit.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id(id) || secret.len() != SECRET_DIGITS + CHECKSUM_DIGITS || !digits(secret) {
            return None;
        }
        let (body, given) = text.split_at_checked(text.len() - CHECKSUM_DIGITS)?;
        (checksum(body) == given).then_some(Self { id, body })
    }

    /// What the key is called.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// What is hashed.
    pub(super) fn body(&self) -> &'a [u8] {
        self.body.as_bytes()
    }
}

/// Tells which key it is, and nothing of its secret.
impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

/// A new key of random bytes.
#[must_use]
pub fn mint(entropy: &[u8; ENTROPY_BYTES]) -> String {
    let (for_id, for_secret) = entropy.split_at(ENTROPY_BYTES - 32);
    let mut bits = for_id.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    let mut key = PREFIX.to_owned();
    for _ in 0..ID_DIGITS {
        key.push(base32_digit(bits & 31));
        bits >>= 5;
    }
    key.push('_');
    key.push_str(&base62(for_secret, SECRET_DIGITS));
    let checksum = checksum(&key);
    key + &checksum
}

/// Whether `text` has the form of an id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

fn checksum(body: &str) -> String {
    let digest = digest::sha256(body.as_bytes());
    let first: u32 = digest.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
    base62(&first.to_be_bytes(), CHECKSUM_DIGITS)
}

/// A big-endian number in `digits` digits of base 62, the most significant first.
fn base62(number: &[u8], digits: usize) -> String {
    let mut number = number.to_vec();
    let mut text = Vec::with_capacity(digits);
    for _ in 0..digits {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let here = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(here / 62).unwrap_or(u8::MAX);
            remainder = here % 62;
        }
        text.push(base62_digit(remainder));
    }
    text.iter().rev().collect()
}

/// The digit of a number below 62.
fn base62_digit(value: u32) -> char {
    match value {
        0..10 => char::from_u32(u32::from('0') + value),
        10..36 => char::from_u32(u32::from('A') + value - 10),
        _ => char::from_u32(u32::from('a') + value - 36),
    }
    .unwrap_or('0')
}

/// The digit of a number below 32, as RFC 4648 (section 6) has them, in small letters.
fn base32_digit(value: u64) -> char {
    let value = u8::try_from(value & 31).unwrap_or(0);
    char::from(if value < 26 { b'a' + value } else { b'2' + value - 26 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_written_as_a_key_is_none() {
        let good = mint(&[7; ENTROPY_BYTES]);
        assert!(Key::parse(good.as_bytes()).is_some());
        let (head, tail) = good.split_at(good.len() - 1);
        for bad in [
            String::new(),
            "ask_".to_owned(),
            head.to_owned(),
            format!("{good}0"),
            format!(" {good}"),
            format!("{good}\n"),
            good.replacen("ask_", "ASK_", 1),
            good.replacen("ask_", "ask", 1),
            good.replacen("ask_", "ask__", 1),
            good.to_uppercase(),
            format!("{head}{}", if tail == "0" { "1" } else { "0" }),
            format!("{head}ü"),
            "ask_aaaaaaaaaaaa_".to_owned() + &"é".repeat(24) + "0",
        ] {
            assert!(Key::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Key::parse(&[0xff; 66]).is_none());
    }

    #[test]
    fn a_key_is_made_of_all_its_random_bits() {
        assert_eq!(base62(&[0xff; 32], 43), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
        assert_eq!(base62(&62_u32.to_be_bytes(), 6), "000010");
        let same = mint(&[0; ENTROPY_BYTES]);
        assert!(same.starts_with("ask_aaaaaaaaaaaa_0000000000000000000000000000000000000000000"), "{same}");
        let mut seen = std::collections::BTreeSet::from([same]);
        // The first four bits of the eight bytes for the id are not used.
        for bit in 4..ENTROPY_BYTES * 8 {
            let mut entropy = [0_u8; ENTROPY_BYTES];
            entropy[bit / 8] = 0x80 >> (bit % 8);
            assert!(seen.insert(mint(&entropy)), "bit {bit} is lost");
        }
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let text = mint(&[9; ENTROPY_BYTES]);
        let key = Key::parse(text.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), format!("Key(\"{}\")", key.id()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Key::parse(&bytes);
        }

        #[test]
        fn one_wrong_character_is_noticed(entropy in any::<[u8; 32]>(), at in 0_usize..66, wrong in 0x21_u8..0x7f) {
            let mut whole = [3; ENTROPY_BYTES];
            whole[8..].copy_from_slice(&entropy);
            let text = mint(&whole);
            let mut bytes = text.clone().into_bytes();
            prop_assume!(bytes[at] != wrong);
            prop_assert_eq!(Key::parse(text.as_bytes()).unwrap().id().len(), ID_DIGITS);
            bytes[at] = wrong;
            prop_assert!(Key::parse(&bytes).is_none());
        }
    }
}

//! Is every mistake in the file found, and does what is written say the same when it is read?

use super::*;
use crate::identity::api_key::key::{ENTROPY_BYTES, Key, mint};
use crate::identity::api_key::secret::Secret;
use proptest::prelude::*;

const GOOD: &str = r#"
[keys.abcdefghij27]
role = "Clinicians_AI_Query"
created = 2026-11-22T10:00:00Z
expires = 2027-02-20T10:00:00Z
note = "PACS viewer, ward 3"
hash = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
"#;

const ID: &str = "abcdefghij27";

fn good() -> Keyring {
    Keyring::parse(GOOD).unwrap()
}

fn at(time: &str) -> Now {
    let time: jiff::Timestamp = time.parse().unwrap();
    Now { wall: time.into(), ..Now::read() }
}

#[test]
fn a_file_with_one_mistake_is_refused_at_its_line_without_repeating_it() {
    let hash = "0f".repeat(32);
    let year_later = "2027-11-23T10:00:01Z";
    for (from, to, problem) in [
        ("note =", "notes =", "line 6: unknown key"),
        ("[keys.", "[key.", "line 2: unknown key"),
        ("role = \"Clinicians_AI_Query\"", "", "line 2: missing field `role`"),
        ("Clinicians_AI_Query", "", "role: 1 to 128 bytes"),
        ("Clinicians_AI_Query", "a\\u001b[2J", "role: 1 to 128 bytes"),
        ("PACS viewer", "a\\nb", "note: at most 200 bytes"),
        ("PACS viewer", &"x".repeat(200), "note: at most 200 bytes"),
        ("expires = 2027-02-20T10:00:00Z", "", "line 2: missing field `expires`"),
        ("2027-02-20T10:00:00Z", year_later, "expires: more than 366 days after `created`"),
        ("2027-02-20T10:00:00Z", "2027-02-20T10:00:00", "line 5: a time with its offset"),
        ("2027-02-20T10:00:00Z", "2027-02-20", "line 5: a time with its offset"),
        ("2027-02-20T10:00:00Z", "1800000000", "line 5: "),
        (&hash, &hash[2..], "line 7: a hash is 64 hexadecimal digits"),
        (&hash, "ask_abcdefghij27_x", "line 7: a hash is 64 hexadecimal digits"),
        ("2026-11-22T10:00:00Z", "\"ask_\"", "line 4: expected a TOML datetime"),
        ("\"Clinicians_AI_Query\"", "[\"ask_\"]", "line 3: expected a string"),
        (
            "[keys.abcdefghij27]",
            "[keys]\nabcdefghij27 = \"ask_, a\"\n[keys.b]",
            "line 3: expected struct Entry",
        ),
        ("role", "ask_ rale", "line 3: "),
        ("role", "ask_", "line 3: unknown key"),
        (ID, "ABCDEFGHIJ27", "an id is twelve of the characters"),
        (ID, "abcdefghij278", "an id is twelve of the characters"),
        (ID, "\"\"", "an id is twelve of the characters"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let refused = Keyring::parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(refused.contains(problem), "{to}: {refused}");
        assert!(!refused.contains("ask_") && !refused.contains("notes"), "{refused}");
    }
}

#[test]
fn more_keys_than_the_most_are_refused_and_none_is_valid_that_goes() {
    let now = at("2026-12-01T00:00:00Z");
    let entry = good().keys[ID].clone();
    let id = |number: usize| {
        let mut entropy = [0; ENTROPY_BYTES];
        entropy[4..8].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        Key::parse(mint(&entropy).as_bytes()).unwrap().id().to_owned()
    };
    let mut keyring = Keyring::default();
    for number in 0..KEYS_MAX {
        keyring.add(&id(number), entry.clone(), now).unwrap();
    }
    assert!(keyring.add(&id(0), entry.clone(), now).unwrap_err().contains("already"));
    assert!(keyring.add(ID, entry.clone(), now).unwrap_err().contains("10000 valid keys"));
    // Of the dead, the one that ended first goes.
    keyring.revoke(&id(5), now).unwrap();
    keyring.end_soon(&id(6), at("2026-11-25T00:00:00Z"), Duration::ZERO).unwrap();
    keyring.add(ID, entry.clone(), now).unwrap();
    assert_eq!(keyring.keys.len(), KEYS_MAX);
    assert!(keyring.get(&id(6)).is_err() && keyring.get(&id(5)).is_ok() && keyring.get(ID).is_ok());
    keyring.keys.insert("zzzzzzzzzzzz".into(), entry);
    assert_eq!(keyring.check().unwrap_err(), "more than 10000 keys");
}

#[test]
fn what_would_not_be_read_again_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let mut keyring = good();
    keyring.keys.get_mut(ID).unwrap().note = Some("a\nb".into());
    assert!(matches!(keyring.write(&path), Err(KeyError::Content { .. })));
    assert!(!path.exists());
    let mut large = Keyring::default();
    let mut entry = good().keys[ID].clone();
    (entry.note, entry.role) = (Some("n".repeat(200)), "r".repeat(128));
    for number in 0..KEYS_MAX {
        let digits: String =
            format!("{number:012}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        large.keys.insert(digits, entry.clone());
    }
    assert!(large.write(&path).unwrap_err().to_string().contains("would be larger than"));
    assert!(!path.exists());
}

#[test]
fn an_unknown_id_is_named_only_if_it_is_one() {
    assert_eq!(good().get("aaaaaaaaaaaa").unwrap_err(), "there is no key `aaaaaaaaaaaa`");
    let key = mint(&[1; ENTROPY_BYTES]);
    assert_eq!(good().revoke(&key, Now::read()).unwrap_err(), "this is not the id of a key");
    assert!(good().end_soon(&key, Now::read(), Duration::ZERO).is_err());
}

#[test]
fn a_key_ends_at_its_time_earlier_when_it_is_replaced_and_at_once_when_it_is_revoked() {
    let mut keyring = good();
    let status = |keyring: &Keyring, time| keyring.keys[ID].status(at(time));
    assert_eq!(status(&keyring, "2027-02-20T10:00:01Z"), Status::Expired);
    assert_eq!(status(&keyring, "2027-02-20T09:59:59Z"), Status::Valid);
    assert_eq!(keyring.keys[ID].days_left(at("2027-02-18T09:00:00Z")), 2);
    assert_eq!(keyring.keys[ID].days_left(at("2027-02-21T09:00:00Z")), 0);
    let overlap = Duration::from_hours(24);
    keyring.end_soon(ID, at("2027-02-20T09:00:00Z"), overlap).unwrap();
    assert_eq!(keyring, good());
    keyring.end_soon(ID, at("2026-12-01T10:00:00Z"), overlap).unwrap();
    assert_eq!(keyring.keys[ID].expires.to_string(), "2026-12-02T10:00:00Z");
    keyring.revoke(ID, at("2026-12-02T00:00:00Z")).unwrap();
    keyring.revoke(ID, at("2026-12-03T00:00:00Z")).unwrap();
    assert_eq!(keyring.keys[ID].revoked.unwrap().to_string(), "2026-12-02T00:00:00Z");
    assert_eq!(status(&keyring, "2026-11-23T00:00:00Z"), Status::Revoked);
    assert_eq!(keyring.keys[ID].days_left(at("2026-11-23T00:00:00Z")), 0);
}

#[test]
fn what_is_written_is_what_is_read_and_stays_readable_for_later_versions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let mut keyring = good();
    keyring.revoke(ID, at("2026-12-02T00:00:00Z")).unwrap();
    keyring.write(&path).unwrap();
    assert_eq!(Keyring::read(&path).unwrap(), keyring);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# ") && text.contains("\nexpires = 2027-02-20T10:00:00Z\n"), "{text}");
    // HMAC-SHA-256 under 32 times 0x5c, computed elsewhere: a stored hash has to be true for ever.
    let key = mint(&[1; ENTROPY_BYTES]);
    assert_eq!(key, "ask_biacqaeabiac_0El6XFXwsUFD8J2vGxsaboW7rZYnQRBP5d9erwRwd290gWnit");
    let hash = Secret::new(&[0x5c; 32]).hash(&Key::parse(key.as_bytes()).unwrap());
    keyring.keys.get_mut(ID).unwrap().hash = hash;
    let golden = "a350d0ad2babcdc1797e96f8b7e5dfe1f7ae9ac6bcfd9520f8f76be5ac787545";
    assert!(toml::to_string(&keyring).unwrap().contains(golden));
    assert!(!format!("{keyring:?}").contains("0f0f"));
}

proptest! {
    #[test]
    fn any_damage_to_a_file_is_a_mistake_or_harmless_and_never_a_panic(
        at in 0..GOOD.len(), damage in "[\\PC\n\"=\\[\\]]{0,3}", cut in 0_usize..4,
    ) {
        let end = (at + cut).min(GOOD.len());
        let _ = Keyring::parse(&format!("{}{damage}{}", &GOOD[..at], &GOOD[end..]));
    }
}

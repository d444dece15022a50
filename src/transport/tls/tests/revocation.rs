//! Is a revoked certificate refused, and any of which nobody can tell?

use super::pki::{Ca, Client, DAY, FRESH, HOUR, House, List, identify, serial_of};
use super::*;
use rcgen::CrlScope;

const STALE: List = List { this_update: -2 * DAY, next_update: -HOUR, number: 1, scope: None };
const UNKNOWN: &str = "no revocation list tells";

fn client(ca: &Ca) -> Client {
    ca.client(pacs(), |_| {})
}

#[test]
fn a_revoked_certificate_is_refused_and_one_of_which_no_list_tells() {
    let mut house = House::new();
    let issuing = house.ca.intermediate("issuing", |_| {});
    let direct = client(&house.ca);
    let (below, other_below) = (client(&issuing), client(&issuing));
    let of_root = house.ca.revokes(&[], FRESH);
    let of_issuing = issuing.revokes(&[], FRESH);
    let forged = Ca::root("clients").revokes(&[], FRESH);
    let cas_only = house.ca.revokes(&[], List { scope: Some(CrlScope::CaCertsOnly), ..FRESH });
    let cases: [(&str, Vec<Vec<u8>>, &Client, &str); 9] = [
        ("the certificate itself", vec![house.ca.revokes(&[direct.serial], FRESH)], &direct, "been revoked"),
        (
            "the certificate itself, by its issuing CA",
            vec![of_root.clone(), issuing.revokes(&[below.serial], FRESH)],
            &below,
            "been revoked",
        ),
        (
            "the intermediate above it",
            vec![house.ca.revokes(&[serial_of(&issuing)], FRESH), of_issuing.clone()],
            &below,
            "been revoked",
        ),
        ("a list of another CA alone", vec![Ca::root("others").revokes(&[], FRESH)], &direct, UNKNOWN),
        ("no list of the issuing CA", vec![of_root.clone()], &below, UNKNOWN),
        ("no list of the CA above", vec![of_issuing.clone()], &below, UNKNOWN),
        ("a list with a bad signature", vec![forged], &direct, UNKNOWN),
        ("a list about CAs alone", vec![cas_only], &direct, UNKNOWN),
        ("a list that is too old", vec![house.ca.revokes(&[], STALE)], &direct, "too old"),
    ];
    for (case, lists, client, words) in cases {
        house.crls(&lists);
        refused(&house, &house.start().unwrap(), client, words, case);
    }
    house.crls(&[of_root, issuing.revokes(&[below.serial], FRESH)]);
    let tls = house.start().unwrap();
    welcome(&house, &tls, &direct, "spiffe://hospital.example/pacs");
    welcome(&house, &tls, &other_below, "spiffe://hospital.example/pacs");
}

#[test]
fn a_list_that_is_too_old_is_believed_within_the_grace_period_and_speaks_for_nobody_else() {
    let mut house = House::new();
    let others = Ca::root("others");
    house.settings.client_ca = Some(house.write("ca.pem", [house.ca.pem.as_str(), &others.pem].concat()));
    let (revoked, bystander, other) = (client(&house.ca), client(&house.ca), client(&others));
    house.crls(&[house.ca.revokes(&[revoked.serial], STALE), others.revokes(&[], FRESH)]);
    house.settings.crl_grace_s = 3590;
    let tls = house.start().unwrap();
    refused(&house, &tls, &bystander, "too old", "ten seconds after the grace period");
    welcome(&house, &tls, &other, "spiffe://hospital.example/pacs");
    house.settings.crl_grace_s = 2 * 3600;
    let tls = house.start().unwrap();
    refused(&house, &tls, &revoked, "been revoked", "an old list revokes all the same");
    welcome(&house, &tls, &bystander, "spiffe://hospital.example/pacs");
    // What is believed ends by itself, also on a connection that stays open.
    let identity = identify(&tls, bystander.presented(), Now::read()).unwrap();
    let after = |seconds: u64| {
        let now = Now::read();
        Now { wall: now.wall + std::time::Duration::from_secs(seconds), ..now }
    };
    assert!(identity.still_valid(after(3500)).is_ok());
    assert!(identity.still_valid(after(3700)).is_err());
    let error = identify(&tls, bystander.presented(), after(3700)).unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
    let expired = identify(&tls, other.presented(), after(31 * 24 * 3600)).unwrap_err();
    assert!(expired.to_string().contains("has expired"), "{expired}");
}

#[test]
fn of_two_lists_the_newer_one_counts_wherever_it_stands() {
    let mut house = House::new();
    let client = client(&house.ca);
    let older = house.ca.revokes(&[], List { this_update: -2 * HOUR, next_update: 30 * DAY, ..FRESH });
    let newer = house.ca.revokes(&[client.serial], List { number: 2, ..FRESH });
    let same_second = house.ca.revokes(&[], FRESH);
    for lists in
        [[older.clone(), newer.clone()], [newer.clone(), older.clone()], [same_second, newer.clone()]]
    {
        house.crls(&lists);
        refused(&house, &house.start().unwrap(), &client, "been revoked", "an older list beside");
    }
    // Nor does an older one with a longer life stand in for a newer one that is too old.
    let newer = house.ca.revokes(&[client.serial], List { this_update: -HOUR, next_update: -60, ..FRESH });
    house.crls(&[older, newer]);
    refused(&house, &house.start().unwrap(), &client, "too old", "an older list with a longer life");
}

#[test]
fn a_ca_that_has_renewed_its_key_under_the_same_name_has_a_list_for_each() {
    let mut house = House::new();
    let renewed = Ca::root("clients");
    house.settings.client_ca = Some(house.write("ca.pem", [house.ca.pem.as_str(), &renewed.pem].concat()));
    let (old, new) = (client(&house.ca), client(&renewed));
    let lists = [house.ca.revokes(&[], FRESH), renewed.revokes(&[], FRESH)];
    for lists in [lists.clone(), [lists[1].clone(), lists[0].clone()]] {
        house.crls(&lists);
        let tls = house.start().unwrap();
        welcome(&house, &tls, &old, "spiffe://hospital.example/pacs");
        welcome(&house, &tls, &new, "spiffe://hospital.example/pacs");
    }
    house.crls(&[house.ca.revokes(&[old.serial], FRESH), renewed.revokes(&[new.serial], FRESH)]);
    let tls = house.start().unwrap();
    refused(&house, &tls, &old, "been revoked", "by the old key");
    refused(&house, &tls, &new, "been revoked", "by the new key");
}

#[test]
fn who_is_on_the_deny_list_is_refused_in_each_notation() {
    let mut house = House::new();
    let issuing = house.ca.intermediate("issuing", |_| {});
    let (denied, bystander) =
        (client(&issuing), issuing.client(uri("spiffe://hospital.example/viewer"), |_| {}));
    let hex = format!("{:X}", denied.serial);
    let colons = format!("00:{}:{}:{}", &hex[..2], &hex[2..4], &hex[4..]);
    let words = "on the deny list";
    for serial in [hex.clone(), hex.to_lowercase(), colons] {
        house.deny(&[serial], &[]);
        let tls = house.start().unwrap();
        refused(&house, &tls, &denied, words, "its serial number");
        welcome(&house, &tls, &bystander, "spiffe://hospital.example/viewer");
    }
    house.deny(&[], &["spiffe://hospital.example/pacs"]);
    let tls = house.start().unwrap();
    refused(&house, &tls, &denied, words, "its SPIFFE ID");
    welcome(&house, &tls, &bystander, "spiffe://hospital.example/viewer");
    for ca in [&issuing, &house.ca] {
        let serial = format!("{:x}", serial_of(ca));
        let deny = format!("serials = [\"{serial}\"]\nspiffe_ids = []\n");
        house.settings.deny_list = Some(house.write("deny.toml", deny));
        refused(&house, &house.start().unwrap(), &bystander, words, "a CA above it");
    }
}

#[test]
fn files_that_are_no_lists_are_refused_by_their_key_and_name() {
    let mut house = House::new();
    let good = house.ca.list(&[1], FRESH);
    let mut trailing = good.der().to_vec();
    trailing.push(0);
    let pem = good.pem().unwrap();
    let delta = without_next_update(good.der());
    for (content, words) in [
        (b"".to_vec(), "no revocation list in it"),
        (house.ca.pem.clone().into_bytes(), "no revocation list in it"),
        (pem.as_bytes()[..pem.len() / 2].to_vec(), "cut off"),
        (good.der()[..good.der().len() / 2].to_vec(), "not a revocation list"),
        (house.ca.der.to_vec(), "not a revocation list"),
        (trailing, "trailing bytes"),
        (delta, "no nextUpdate"),
    ] {
        house.crls(&[content]);
        let Err(TlsError::File { key, path, problem }) = house.start() else { panic!("{words}: it started") };
        assert_eq!((key.as_str(), path.ends_with("0.crl")), ("crl", true));
        assert!(problem.contains(words), "{problem}");
    }
    house.crls(&[pem.into_bytes()]);
    welcome(&house, &house.start().unwrap(), &client(&house.ca), "spiffe://hospital.example/pacs");
    house.deny(&["no serial".to_owned()], &[]);
    let error = house.start().err().unwrap().to_string();
    assert!(error.starts_with("tls.deny_list: ") && error.contains("`no serial`"), "{error}");
}

/// The same list without its second time; the signature does not fit any more, but nobody comes that far.
fn without_next_update(der: &[u8]) -> Vec<u8> {
    // Lengths of the two outer SEQUENCEs are in the long form: 30 82 LL LL, or 30 81 LL.
    fn open(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, content) = match der[1] {
            0x81 => (usize::from(der[2]), &der[3..]),
            0x82 => (usize::from(u16::from_be_bytes([der[2], der[3]])), &der[4..]),
            short => (usize::from(short), &der[2..]),
        };
        content.split_at(length)
    }
    fn close(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82], &length[..], content].concat()
    }
    let (list, _) = open(der);
    let (signed, signature) = open(list);
    // UTCTime is tag 17 with 13 characters.
    let times: Vec<usize> =
        (0..signed.len() - 1).filter(|at| signed[*at..].starts_with(&[0x17, 13])).collect();
    let shorter = [&signed[..times[1]], &signed[times[1] + 15..]].concat();
    close(&[close(&shorter), signature.to_vec()].concat())
}

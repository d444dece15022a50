//! Is everything replaced that changes on disk, at once or not at all?

use super::pki::{Ca, Client, DAY, FRESH, HOUR, House, dns, identify, valid};
use super::*;
use crate::reload::Reloader;
use std::path::Path;
use std::time::Duration;

fn client(ca: &Ca) -> Client {
    ca.client(pacs(), |_| {})
}

fn later(seconds: i64) -> Now {
    let now = Now::read();
    Now { wall: now.wall + Duration::from_secs(u64::try_from(seconds).unwrap()), ..now }
}

/// The expiry of the server certificate in service.
fn expires(tls: &Tls) -> SystemTime {
    tls.status().iter().find(|status| status.name == "server").unwrap().expires
}

fn reloader(tls: &Arc<Tls>) -> Reloader {
    let source = Arc::clone(tls) as Arc<dyn Reloadable>;
    let reloader = Reloader::new(vec![source], Arc::default(), Box::new(|_, _| {}), Now::read());
    settle(&reloader);
    reloader
}

fn settle(reloader: &Reloader) {
    reloader.poll(Now::read());
    reloader.poll(Now::read());
}

#[test]
fn a_new_pair_that_cannot_serve_leaves_the_old_one_in_service() {
    let house = House::new();
    let tls = house.start().unwrap();
    let (before, good) = (expires(&tls), client(&house.ca));
    let original = std::fs::read(house.path().join("server.pem")).unwrap();
    let ended = house.server_ca.server(|params| valid(params, -2 * DAY, -HOUR));
    let early = house.server_ca.server(|params| valid(params, HOUR, DAY));
    let other = house.server_ca.server(|params| valid(params, -HOUR, DAY));
    let key = std::fs::read(house.path().join("server.key")).unwrap();
    for (certificate, key, named, words) in [
        (other.0.as_bytes(), key.as_slice(), "tls.certificate: ", "does not belong to the key"),
        (ended.0.as_bytes(), ended.1.as_bytes(), "tls.certificate: ", "has expired on "),
        (early.0.as_bytes(), early.1.as_bytes(), "tls.certificate: ", "is not valid before "),
        (&original[..original.len() / 2], key.as_slice(), "tls.certificate: ", "cut off"),
        (b"", key.as_slice(), "tls.certificate: ", "no certificate in it"),
        (original.as_slice(), b"no key", "tls.key: ", "no such PEM block"),
    ] {
        house.write("server.pem", certificate);
        house.write("server.key", key);
        let error = tls.reload(Now::read()).unwrap_err().to_string();
        assert!(error.starts_with(named) && error.contains(words), "{error}");
        assert_eq!((tls.generation(), expires(&tls)), (1, before));
        welcome(&house, &tls, &good, "spiffe://hospital.example/pacs");
    }
    assert!(house.start().is_err());
    house.write("server.pem", other.0);
    house.write("server.key", other.1);
    tls.reload(Now::read()).unwrap();
    assert_eq!(tls.generation(), 2);
    assert!(expires(&tls) < before);
    welcome(&house, &tls, &good, "spiffe://hospital.example/pacs");
}

#[test]
fn a_key_that_others_may_read_is_refused_and_taken_once_it_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    let tls = house.start().unwrap();
    let reloader = reloader(&tls);
    let generation = tls.generation();
    let (certificate, key) = house.server_ca.server(|params| valid(params, -HOUR, DAY));
    house.write("server.pem", certificate);
    let path = house.write("server.key", key);
    for mode in [0o640, 0o604] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        settle(&reloader);
        assert_eq!(tls.generation(), generation);
        assert!(!reloader.status()[0].current);
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    settle(&reloader);
    assert_eq!(tls.generation(), generation + 1);
    assert!(reloader.status()[0].current);
}

/// The deny list alone is read anew.
fn denied_anew(tls: &Tls) {
    tls.denials().unwrap().reload(Now::read()).unwrap();
}

#[test]
fn what_expires_in_service_does_not_keep_a_revocation_out() {
    let mut house = House::new();
    house.deny(&[], &[]);
    let tls = house.start().unwrap();
    let client = house.ca.client(pacs(), |params| valid(params, -HOUR, 400 * DAY));
    house.deny(&[], &["spiffe://hospital.example/pacs"]);
    tls.reload(later(60 * DAY)).unwrap();
    denied_anew(&tls);
    let error = identify(&tls, client.presented(), Now::read()).unwrap_err();
    assert!(error.to_string().contains("on the deny list"), "{error}");
    // The CA has expired too, and its clients with it.
    tls.reload(later(100 * DAY)).unwrap();
    let error = Tls::start(&house.settings, later(100 * DAY)).err().unwrap();
    assert!(error.to_string().contains("has expired on"), "{error}");
    let (pem, key) = house.server_ca.server(|params| valid(params, -HOUR, 400 * DAY));
    house.write("server.pem", pem);
    house.write("server.key", key);
    let errors = examine(&house.settings, later(100 * DAY));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().contains("tls.client_ca: "), "{errors:?}");
}

#[test]
fn an_open_connection_is_refused_as_soon_as_its_certificate_is() {
    let mut house = House::new();
    house.deny(&[], &[]);
    house.crls(&[house.ca.revokes(&[], FRESH)]);
    let tls = house.start().unwrap();
    let open = house.handshake(&tls, Some(&client(&house.ca))).unwrap();
    let revoked = client(&house.ca);
    let denied = client(&house.ca);
    let (to_revoke, to_deny) =
        (house.handshake(&tls, Some(&revoked)).unwrap(), house.handshake(&tls, Some(&denied)).unwrap());
    let words = |chain: &Vec<Vec<u8>>| identify(&tls, chain.clone(), Now::read()).map_err(|e| e.to_string());
    for chain in [&open, &to_revoke, &to_deny] {
        assert!(words(chain).is_ok());
    }
    house.crls(&[house.ca.revokes(&[revoked.serial], pki::List { number: 2, ..FRESH })]);
    house.deny(&[format!("{:x}", denied.serial)], &[]);
    tls.reload(Now::read()).unwrap();
    denied_anew(&tls);
    assert!(words(&to_revoke).unwrap_err().contains("been revoked"));
    assert!(words(&to_deny).unwrap_err().contains("on the deny list"));
    assert!(words(&open).is_ok());
    house.deny(&[], &["spiffe://hospital.example/pacs"]);
    denied_anew(&tls);
    assert!(words(&open).unwrap_err().contains("on the deny list"));
    house.deny(&[], &[]);
    denied_anew(&tls);
    house.write("ca.pem", &Ca::root("others").pem);
    tls.reload(Now::read()).unwrap();
    assert!(words(&open).unwrap_err().contains("no longer, trusted"));
    house.write("ca.pem", &house.ca.pem);
    tls.reload(Now::read()).unwrap();
    assert!(words(&open).is_ok());
}

#[test]
fn a_connection_under_way_shakes_hands_with_what_it_was_given_and_is_judged_by_what_there_is() {
    let mut house = House::new();
    house.deny(&[], &[]);
    let tls = house.start().unwrap();
    let given = tls.server();
    house.write("ca.pem", &Ca::root("others").pem);
    tls.reload(Now::read()).unwrap();
    assert!(!Arc::ptr_eq(&given, &tls.server()));
    let error = identify(&tls, client(&house.ca).presented(), Now::read()).unwrap_err();
    assert!(error.to_string().contains("no longer, trusted"), "{error}");
    // The deny list is one for all, also for those who shake hands with what they were given before.
    house.write("ca.pem", &house.ca.pem);
    tls.reload(Now::read()).unwrap();
    let again = tls.server();
    assert!(house.handshake(&tls, Some(&client(&house.ca))).is_ok());
    house.deny(&[], &["spiffe://hospital.example/pacs"]);
    denied_anew(&tls);
    assert!(Arc::ptr_eq(&again, &tls.server()));
    assert!(house.handshake(&tls, Some(&client(&house.ca))).is_err());
}

#[test]
fn what_is_wrong_with_other_files_does_not_keep_the_deny_list_out_nor_the_other_way_round() {
    let mut house = House::new();
    house.deny(&[], &[]);
    house.crls(&[house.ca.revokes(&[], FRESH)]);
    let tls = house.start().unwrap();
    let (denied, revoked) = (client(&house.ca), client(&house.ca));
    house.write("0.crl", "not a list");
    house.deny(&[format!("{:x}", denied.serial)], &[]);
    let before = tls.generation();
    assert!(tls.reload(Now::read()).is_err());
    assert_eq!(tls.generation(), before);
    denied_anew(&tls);
    // Open connections are told by it.
    assert_eq!(tls.generation(), before + 1);
    refused(&house, &tls, &denied, "on the deny list", "whatever the revocation list is");
    house.write("deny.toml", "serials = [");
    let broken = tls.denials().unwrap().reload(Now::read()).unwrap_err();
    assert!(broken.starts_with("tls.deny_list: "), "{broken}");
    assert_eq!(tls.generation(), before + 1);
    refused(&house, &tls, &denied, "on the deny list", "the last good list stays");
    house.crls(&[house.ca.revokes(&[revoked.serial], pki::List { number: 2, ..FRESH })]);
    tls.reload(Now::read()).unwrap();
    refused(&house, &tls, &revoked, "been revoked", "whatever the deny list is");
    refused(&house, &tls, &denied, "on the deny list", "the last good list stays after it");
    // Where no file is named there is nothing to read.
    house.settings.deny_list = None;
    assert!(house.start().unwrap().denials().is_none());
}

/// A directory as Kubernetes mounts a secret: each name leads over `..data` into a directory with a date.
fn mount(directory: &Path, version: &str, files: [(&str, &str); 3]) {
    use std::os::unix::fs::{OpenOptionsExt, symlink};
    let dated = directory.join(version);
    std::fs::create_dir(&dated).unwrap();
    for (name, content) in files {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o400).open(dated.join(name)).unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
        let link = directory.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    symlink(version, directory.join("..data_tmp")).unwrap();
    std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

#[test]
fn a_swapped_symlink_is_noticed_after_it_has_settled() {
    let house = House::new();
    let secret = house.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    let (certificate, key) = house.server_ca.server(|params| valid(params, -HOUR, 20 * DAY));
    mount(&secret, "..1", [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &house.ca.pem)]);
    let settings = Settings {
        certificate: Some(secret.join("tls.crt")),
        key: Some(secret.join("tls.key")),
        client_ca: Some(secret.join("ca.crt")),
        ..Settings::default()
    };
    let tls = Tls::start(&settings, Now::read()).unwrap();
    let reloader = reloader(&tls);
    let (before, generation) = (expires(&tls), tls.generation());
    settle(&reloader);
    assert_eq!(tls.generation(), generation, "nothing has changed");
    let (certificate, key) = house.server_ca.server(|params| valid(params, -HOUR, 10 * DAY));
    mount(&secret, "..2", [("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &house.ca.pem)]);
    reloader.poll(Now::read());
    assert_eq!(tls.generation(), generation, "it may not be whole yet");
    reloader.poll(Now::read());
    assert_eq!(tls.generation(), generation + 1);
    assert!(expires(&tls) < before);
    welcome(&house, &tls, &client(&house.ca), "spiffe://hospital.example/pacs");
}

#[test]
fn a_half_written_file_changes_nothing_and_its_other_half_everything() {
    let house = House::new();
    let tls = house.start().unwrap();
    let reloader = reloader(&tls);
    let generation = tls.generation();
    let others = Ca::root("others");
    let (old, new) = (client(&house.ca), client(&others));
    let path = house.path().join("ca.pem");
    std::fs::write(&path, &others.pem[..others.pem.len() / 2]).unwrap();
    settle(&reloader);
    settle(&reloader);
    let status = reloader.status()[0];
    assert_eq!((tls.generation(), status.current, status.failed), (generation, false, 1));
    welcome(&house, &tls, &old, "spiffe://hospital.example/pacs");
    std::fs::write(&path, &others.pem).unwrap();
    settle(&reloader);
    let status = reloader.status()[0];
    assert_eq!((tls.generation(), status.current, status.failed), (generation + 1, true, 1));
    welcome(&house, &tls, &new, "spiffe://hospital.example/pacs");
    refused(&house, &tls, &old, "no longer, trusted", "the CA before");
}

/// A certificate as an agent hands it over.
fn material(server_ca: &Ca, days: i64, bundles: &[(&str, &Ca)]) -> Material {
    let server = server_ca.client(dns("localhost"), |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        valid(params, -HOUR, days * DAY);
    });
    let bundles = bundles.iter().map(|(domain, ca)| ((*domain).to_owned(), vec![ca.der.clone()]));
    Material { key: server.key(), chain: server.chain, bundles: bundles.collect() }
}

#[test]
fn what_is_handed_over_takes_the_place_of_files_but_not_of_revocations() {
    let mut house = House::new();
    house.deny(&[], &[]);
    let tls = house.start().unwrap();
    let lab = Ca::root("lab");
    let of_lab = lab.client(uri("spiffe://lab.example/a"), |_| {});
    let common = client(&house.ca);
    refused(&house, &tls, &of_lab, "trusted here", "nobody knows it yet");
    let before = expires(&tls);
    tls.replace(material(&house.server_ca, 9, &[("lab.example", &lab)]), Now::read()).unwrap();
    assert!(expires(&tls) < before);
    welcome(&house, &tls, &of_lab, "spiffe://lab.example/a");
    welcome(&house, &tls, &common, "spiffe://hospital.example/pacs");
    assert_eq!(tls.files(), [house.path().join("ca.pem")]);
    assert_eq!(tls.denials().unwrap().files(), [house.path().join("deny.toml")]);
    // Its files are not needed any more; those that are not handed over still count.
    std::fs::remove_file(house.path().join("server.key")).unwrap();
    house.deny(&[], &["spiffe://lab.example/a"]);
    tls.reload(Now::read()).unwrap();
    denied_anew(&tls);
    refused(&house, &tls, &of_lab, "on the deny list", "denied beside the agent");
    house.deny(&[], &[]);
    denied_anew(&tls);
    // A bundle that is handed over no more is not trusted any more.
    tls.replace(material(&house.server_ca, 8, &[]), Now::read()).unwrap();
    refused(&house, &tls, &of_lab, "trusted here", "the agent has taken it back");
    // A bad one changes nothing.
    let generation = tls.generation();
    let mut mismatched = material(&house.server_ca, 7, &[("lab.example", &lab)]);
    mismatched.key = common.key();
    assert!(tls.replace(mismatched, Now::read()).is_err());
    let empty = Material { chain: vec![], ..material(&house.server_ca, 7, &[]) };
    assert!(tls.replace(empty, Now::read()).is_err());
    let mut no_ca = material(&house.server_ca, 7, &[]);
    no_ca.bundles.insert("lab.example".into(), vec![]);
    assert!(tls.replace(no_ca, Now::read()).is_err());
    tls.reload(Now::read()).unwrap();
    assert_eq!(tls.generation(), generation + 1);
    refused(&house, &tls, &of_lab, "trusted here", "what was bad was not kept for later");
}

#[test]
fn with_an_agent_no_file_is_needed_at_all() {
    let house = House::new();
    let settings = Settings::default();
    let named = |key: &'static str| Some(TlsError::Unset(key));
    assert_eq!(Tls::start(&settings, Now::read()).err(), named("certificate"));
    let bare = material(&house.server_ca, 9, &[]);
    assert_eq!(Tls::start_with(&settings, bare, Now::read()).err(), named("client_ca"));
    let whole = material(&house.server_ca, 9, &[("hospital.example", &house.ca)]);
    let tls = Tls::start_with(&settings, whole, Now::read()).unwrap();
    welcome(&house, &tls, &client(&house.ca), "spiffe://hospital.example/pacs");
    assert!(tls.files().is_empty());
    tls.reload(Now::read()).unwrap();
}

#[test]
fn the_end_of_everything_in_service_is_told() {
    let mut house = House::new();
    let lab = Ca::root_with("lab", |params| valid(params, -DAY, 5 * DAY));
    house.settings.trust_bundles.insert("lab.example".into(), house.write("lab.pem", &lab.pem));
    house
        .crls(&[house.ca.revokes(&[], FRESH), lab.revokes(&[], pki::List { next_update: 2 * DAY, ..FRESH })]);
    let tls = house.start().unwrap();
    let now = Now::read().wall;
    let told: Vec<_> = tls
        .status()
        .into_iter()
        .map(|status| {
            let left = status.expires.duration_since(now).unwrap() + Duration::from_mins(1);
            (status.name, left.as_secs() / 86_400)
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(name, days)| (name.as_str(), *days)).collect();
    let wanted = [("server", 30), ("bundle:lab.example", 5), ("client_ca", 90), ("crl:0", 1), ("crl:1", 2)];
    assert_eq!(told, wanted);
}

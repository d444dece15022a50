//! The console as a browser on the same machine gets it: what was kept back and why, and nothing of who sent it.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::probes::{get, until};
use crate::sidecar::{PATIENCE, Sidecar, block_on, refused};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The whole answer to a GET by that name.
fn ask(admin: SocketAddr, host: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /console HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The rows of the table with that id, as text.
fn rows<'a>(page: &'a str, table: &str) -> Vec<&'a str> {
    let start = page.find(&format!("id=\"{table}\"")).unwrap();
    let table = page[start..].split("</table>").next().unwrap();
    table.split("<tbody").nth(1).unwrap().split("<tr").skip(1).collect()
}

#[test]
fn a_page_of_the_operators_browser_that_resolves_its_name_to_this_machine_learns_nothing() {
    let sidecar = Sidecar::start();
    let answer = ask(sidecar.admin(), "rebound.example:8002");
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(!answer.contains("wdbc"), "{answer}");
    assert_eq!(get(sidecar.admin(), "/metrics").0, 200);
}

#[test]
fn switched_off_there_is_no_console_and_the_rest_of_the_port_stays() {
    let sidecar = Sidecar::start_with(|config| config.console.enabled = false);
    for path in ["/", "/console", "/console?refresh=off"] {
        assert_eq!(get(sidecar.admin(), path), (404, "not found\n".to_owned()), "{path}");
    }
    assert_eq!(get(sidecar.admin(), "/readyz").0, 200);
}

#[test]
fn what_was_refused_flagged_and_withheld_is_on_the_console_with_its_reason_and_no_name() {
    let sidecar = Sidecar::start_with(|config| {
        // Every doubt flags: what is allowed by default is a request to show here.
        config.policy.alpha_flag = 0.999;
        config.console.hosts = vec!["console.hospital.example".into()];
    });
    let (mut withheld, mut turned_away) = (String::new(), String::new());
    block_on(async {
        let mut client = sidecar.client("client").await;
        let (wdbc, digits) = (samples("wdbc"), samples("digits"));
        for row in &wdbc.clean {
            let mut sent = request("wdbc", row);
            sent.id = "Jane Doe, born 1961".into();
            client.infer(sent, PATIENCE).await;
        }
        let attacked = refused(&mut client, request("digits", &digits.attacked[0])).await;
        withheld = attacked.request_id.unwrap();
        let mut bad = request("wdbc", &wdbc.clean[0]);
        bad.inputs[0].name = "caller-word".into();
        turned_away = refused(&mut client, bad).await.request_id.unwrap();
        refused(&mut client, request("caller-model", &wdbc.clean[0])).await;
    });
    let admin = sidecar.admin();
    // A page is kept for a second: one that was made before is not waited for here, none was asked for.
    let (status, page) = get(admin, "/console");
    assert_eq!(status, 200);
    let judged = rows(&page, "judged");
    let row = judged.iter().find(|row| row.contains(&withheld)).unwrap();
    for word in ["withheld", "anomalous", "digits 1", "<strong>"] {
        assert!(row.contains(word), "{word} is not in {row}");
    }
    assert!(judged.iter().any(|row| row.contains("flagged") && row.contains("wdbc 1")), "{judged:?}");
    let refusals = rows(&page, "refused");
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].contains("model_forbidden"), "the newest comes first: {refusals:?}");
    assert!(refusals[1].contains(&turned_away) && refusals[1].contains("bad_name"), "{refusals:?}");
    for model in ["wdbc", "digits", "pneumonia"] {
        let served = rows(&page, "models");
        let row = served.iter().find(|row| row.contains(&format!(">{model} <"))).unwrap();
        assert!(row.contains("serving") && row.contains("≤ 1% kept back, ≤ 99.9% with flags"), "{row}");
    }
    let counted = rows(&page, "actions");
    let withheld = counted.iter().find(|row| row.contains("<th scope=\"row\">withheld</th>")).unwrap();
    assert!(withheld.contains("withheld: 1 requests"), "{withheld}");
    assert!(rows(&page, "stages")[0].contains("whole request"));
    for word in
        ["Jane", "spiffe", "asepsis.dev", "hmac", "caller-word", "caller-model", "127.0.0.1", "<script"]
    {
        assert!(!page.contains(word), "{word}");
    }
    assert!(ask(admin, "console.hospital.example").starts_with("HTTP/1.1 200 "));
}

#[test]
fn in_shadow_mode_the_console_shows_what_would_have_been_done() {
    let sidecar = Sidecar::start_with(|config| config.policy.shadow = true);
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, request("digits", &samples("digits").attacked[0])).await;
    });
    let (_, page) = get(sidecar.admin(), "/console");
    assert!(rows(&page, "judged")[0].contains("shadow: withheld"), "{page}");
    assert!(rows(&page, "models").iter().all(|row| row.contains("serving, shadow mode")));
}

#[test]
fn a_model_that_is_unloaded_is_shown_as_not_served_and_the_page_says_so_within_a_second() {
    let sidecar = Sidecar::start();
    let admin = sidecar.admin();
    assert!(get(admin, "/console").1.contains("<title>Ready · Asepsis</title>"));
    block_on(async {
        let mut client = sidecar.client("client").await;
        for model in ["wdbc", "digits", "pneumonia", "pneumonia-baseline"] {
            let unload = asepsis::proto::RepositoryModelUnloadRequest {
                model_name: model.into(),
                ..Default::default()
            };
            client.inner().repository_model_unload(unload).await.unwrap();
        }
    });
    until("not ready: no model is served", || {
        let page = get(admin, "/console").1;
        page.contains("Not ready: no model is served") && page.matches("not served</span>").count() == 4
    });
}

use super::*;
use crate::admission::Rpc;
use crate::reason::{Action, Reason, Stage};
use crate::telemetry::recent::{KEPT_MAX, Recent};
use crate::trace::RequestId;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A sidecar with one model, to which nothing has happened.
pub(in crate::admin) fn view(now: Now) -> View {
    View {
        now: now.wall,
        started: now.wall - Duration::from_secs(90),
        version: "0.0.0",
        readiness: vec![("serving", true), ("models", true), ("audit", true)],
        models: vec![model("wdbc", Vec::new())],
        window: Recent::new(now).window(now),
        judged: Vec::new(),
        refused: Vec::new(),
        in_flight: (0, 1_024),
        queue: (0, 256),
        durability: Durability::Interval,
        audit_lag: Duration::ZERO,
        certificates: Vec::new(),
        sources: Vec::new(),
        jwks: None,
        workload: None,
    }
}

fn even(rows: u32) -> Vec<f64> {
    (1..=rows).map(|row| f64::from(row) / f64::from(rows)).collect()
}

fn model(name: &str, p_values: Vec<f64>) -> Model {
    let calibration = Calibrated { created: 1_795_000_000, site: String::new(), p_values: even(100) };
    Model {
        name: name.to_owned(),
        version: "1".to_owned(),
        serving: Some(Serving {
            since: SystemTime::UNIX_EPOCH,
            is_stale: false,
            shadow_share: None,
            alpha: 0.01,
            alpha_flag: 0.05,
            calibration: Some(calibration),
            has_twin: true,
            baseline: None,
            p_values,
        }),
    }
}

fn kept(word: &str) -> Arc<Kept> {
    Arc::new(Kept {
        time_us: 1_795_000_000_000_000,
        request_id: RequestId::new(7),
        rpc: Some(Rpc::ModelInfer),
        model: word.to_owned(),
        version: word.to_owned(),
        role: word.to_owned(),
        action: Action::Allowed,
        shadowed: Some(Action::Withheld),
        reason: Reason::Anomalous,
        took: Duration::from_micros(901),
        stages: vec![(Stage::Door, Duration::from_micros(9)), (Stage::Infer, Duration::from_micros(500))],
    })
}

/// The view with `word` wherever a text of configuration, catalog or caller stands.
fn filled_with(now: Now, word: &str) -> View {
    let mut named = model(word, even(1_000));
    named.version = word.to_owned();
    if let Some(serving) = &mut named.serving {
        serving.baseline = Some(word.to_owned());
        if let Some(made) = &mut serving.calibration {
            made.site = word.to_owned();
        }
    }
    let certificate = CertificateStatus { name: word.to_owned(), expires: now.wall };
    View {
        models: vec![named],
        judged: vec![kept(word); KEPT_MAX],
        refused: vec![kept(word); KEPT_MAX],
        certificates: vec![certificate],
        ..view(now)
    }
}

fn shown(view: impl Fn(Now) -> View + Send + Sync + 'static) -> String {
    let console = Console::new(&Settings::default(), view);
    String::from_utf8(console.page(Now::read(), false).to_vec()).unwrap()
}

fn answers(settings: &Settings, local: bool, target: &str, hosts: &[&str]) -> Result<(), u16> {
    let console = Console::new(settings, view);
    let mut headers = HeaderMap::new();
    for host in hosts {
        headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
    }
    console.admit(local, &target.parse().unwrap(), &headers).map_err(|(status, _)| status.as_u16())
}

#[test]
fn who_comes_by_another_name_or_from_another_machine_is_turned_away_unless_it_is_configured() {
    let own = Settings::default();
    let more = Settings { hosts: vec!["Console.Hospital.example".into(), "10.1.2.3".into()], ..own.clone() };
    for (settings, local, hosts, expected) in [
        (&own, true, &["localhost"][..], Ok(())),
        (&own, true, &["LOCALHOST:8002"], Ok(())),
        (&own, true, &["127.0.0.1:8002"], Ok(())),
        (&own, true, &["[::1]:8002"], Ok(())),
        (&own, true, &["10.1.2.3:8002"], Ok(())),
        (&own, true, &["rebound.example:8002"], Err(421)),
        (&own, true, &["localhost.rebound.example"], Err(421)),
        (&own, true, &["127.0.0.1@rebound.example"], Err(400)),
        (&own, true, &["rebound.example@127.0.0.1"], Err(400)),
        (&own, true, &[], Err(400)),
        (&own, true, &[""], Err(400)),
        (&own, true, &["localhost", "rebound.example"], Err(400)),
        (&own, false, &["localhost"], Err(403)),
        (&own, false, &["10.1.2.3:8002"], Err(403)),
        (&own, false, &["console.hospital.example"], Err(403)),
        (&more, true, &["console.hospital.example:8002"], Ok(())),
        (&more, false, &["console.hospital.EXAMPLE"], Ok(())),
        (&more, false, &["10.1.2.3:8002"], Ok(())),
        (&more, false, &["10.1.2.4:8002"], Err(403)),
        (&more, true, &["rebound.example"], Err(421)),
    ] {
        assert_eq!(answers(settings, local, "/console", hosts), expected, "{local} {hosts:?}");
    }
    assert_eq!(answers(&own, true, "http://rebound.example/console", &["localhost"]), Err(421));
}

#[test]
fn hosts_that_are_none_are_refused() {
    for host in ["", "https://console.example", "console.example:8002", "a b", "[::1]", "x/y", "*"] {
        let settings = Settings { hosts: vec![host.to_owned()], ..Settings::default() };
        assert_eq!(settings.check().map_err(|(key, _)| key), Err("hosts"), "{host}");
    }
    let settings = |hosts: Vec<String>| Settings { hosts, ..Settings::default() };
    assert!(settings(vec!["a".to_owned(); HOSTS_MAX + 1]).check().is_err());
    let good = ["console.example", "10.1.2.3", "::1", "pod-7_x"].map(str::to_owned);
    assert!(settings(good.to_vec()).check().is_ok());
}

#[test]
fn however_hostile_a_name_is_it_stays_text() {
    let benign = shown(|now| filled_with(now, "xxxxxxxx"));
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style><base href=//evil.example>",
        "<!--",
        "]]>",
        "{{7*7}}",
        "&lt;b&gt;",
        "\u{202e}gnp.exe\u{0}",
    ] {
        let page = shown(move |now| filled_with(now, hostile));
        for mark in ["<", ">", "\"", "'"] {
            assert_eq!(page.matches(mark).count(), benign.matches(mark).count(), "{mark} of {hostile}");
        }
        assert!(!page.contains(hostile) || !hostile.contains(['<', '>', '"', '\'', '&']), "{hostile}");
    }
    assert_eq!(benign.matches("xxxxxxxx 1").count(), 0);
    assert!(benign.matches("xxxxxxxx").count() >= 3 * 2 * KEPT_MAX, "the names are on the page");
}

#[test]
fn nothing_is_set_unescaped_but_the_style_sheet_whose_digest_the_policy_names() {
    let template = include_str!("../../../templates/console.html");
    assert_eq!(template.matches("safe").collect::<Vec<_>>(), ["safe"]);
    assert!(template.contains("<style>{{ style|safe }}</style>"));
    let page = shown(view);
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    let policy = page::content_security_policy();
    let policy = policy.to_str().unwrap();
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        )
    );
}

#[test]
fn the_page_needs_no_script_and_loads_nothing() {
    let page = shown(|now| filled_with(now, "x")).to_lowercase();
    for word in
        ["<script", "javascript:", " style=", "@import", "url(", "<iframe", "<form", "srcset", " src="]
    {
        assert!(!page.contains(word), "{word}");
    }
    // The name of SVG in the icon is no address.
    let addresses: Vec<_> = page.match_indices("://").map(|(at, _)| &page[at - 5..at + 14]).collect();
    assert_eq!(addresses, ["'http://www.w3.org/"]);
}

#[test]
fn with_every_list_full_the_page_is_small() {
    let page = shown(|now| filled_with(now, &"w".repeat(64)));
    assert!(page.len() < 160 << 10, "{} bytes", page.len());
}

#[test]
fn a_flood_of_readers_is_given_what_was_made_a_second_ago() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let look = move |now| {
        counted.fetch_add(1, Ordering::Relaxed);
        view(now)
    };
    let console = Console::new(&Settings::default(), look);
    let now = Now::read();
    let at = |ms| Now { monotonic: now.monotonic + Duration::from_millis(ms), ..now };
    let first = console.page(at(0), false);
    assert!((0..1_000).all(|ms| console.page(at(ms), false) == first));
    assert_ne!(console.page(at(999), true), first, "paused, it is another page of the same view");
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    drop(console.page(at(1_000), true));
    assert_eq!(looks.load(Ordering::Relaxed), 2);
}

#[test]
fn paused_it_does_not_come_again() {
    let console = Console::new(&Settings::default(), view);
    let page = |paused| String::from_utf8(console.page(Now::read(), paused).to_vec()).unwrap();
    assert!(page(false).contains("http-equiv=\"refresh\""));
    assert!(!page(true).contains("http-equiv"));
}

#[test]
fn what_keeps_it_from_being_ready_is_said_in_words() {
    let page = shown(|now| View {
        readiness: vec![("serving", true), ("models", false), ("audit", false)],
        ..view(now)
    });
    assert!(page.contains("<title>Not ready · Asepsis</title>"));
    assert!(page.contains("Not ready: no model is served; the audit log cannot be written"), "{page}");
    assert!(page.contains("✕ not writable"));
    assert!(shown(view).contains("<title>Ready · Asepsis</title>"));
}

#[test]
fn a_disk_that_hangs_is_not_called_written() {
    let tile = |lag_s, holds| {
        let page = shown(move |now| View {
            readiness: vec![("serving", true), ("models", true), ("audit", holds)],
            audit_lag: Duration::from_secs(lag_s),
            ..view(now)
        });
        let (before, after) = page.split_once("<dt>Audit log</dt>").unwrap();
        let tone = before.rsplit_once("class=\"tile ").unwrap().1.to_owned();
        format!("{tone}{}", after.split_once("</div>").unwrap().0).replace('\u{a0}', " ")
    };
    let hangs = tile(11, true);
    assert!(hangs.starts_with("warn") && hangs.contains("! behind by 11 s"), "{hangs}");
    assert!(!hangs.contains("written"), "{hangs}");
    let failed = tile(11, false);
    assert!(failed.starts_with("bad") && failed.contains("✕ not writable"), "{failed}");
    assert!(failed.contains("behind by 11 s"), "{failed}");
    let soon = tile(10, true);
    assert!(soon.starts_with("good") && soon.contains("✓ written"), "{soon}");
    assert!(soon.contains("flushed at intervals, behind by 10 s"), "{soon}");
    assert!(!tile(0, true).contains("behind"));
}

#[test]
fn a_model_says_how_it_is_served() {
    let with = |change: fn(&mut Serving)| {
        shown(move |now| {
            let mut models = vec![model("m", Vec::new())];
            models[0].serving.iter_mut().for_each(change);
            View { models, ..view(now) }
        })
    };
    for (page, state) in [
        (
            shown(|now| View {
                models: vec![Model { serving: None, ..model("m", Vec::new()) }],
                ..view(now)
            }),
            "not served",
        ),
        (with(|serving| (serving.is_stale, serving.calibration) = (true, None)), "uncalibrated: all flagged"),
        (with(|serving| serving.calibration = None), "serving, not judged"),
        (with(|serving| serving.shadow_share = Some(1.0)), "serving, shadow mode<"),
        (with(|serving| serving.shadow_share = Some(0.01)), "serving, shadow mode, a share judged"),
        (with(|_| ()), "≤ 1% kept back, ≤ 5% with flags"),
    ] {
        assert!(page.contains(state), "{state}");
    }
}

#[test]
fn evidence_is_held_against_its_promise_once_there_is_enough_of_it() {
    let of = |p_values: Vec<f64>| {
        shown(move |now| View { models: vec![model("m", p_values.clone())], ..view(now) })
    };
    for (page, verdict) in [
        (of(Vec::new()), "nothing judged yet"),
        (of(vec![0.001; 99]), "too few rows to tell"),
        (of(even(1_000)), "as promised"),
        (of([vec![0.005; 20], vec![0.5; 980]].concat()), "within chance"),
        (of(vec![0.04; 1_000]), "more than promised"),
        (of(vec![0.005; 1_000]), "more than promised"),
    ] {
        assert!(page.contains(verdict), "{verdict}");
    }
    assert!(of(even(1_000)).contains("1.0% <span class=\"muted\">(10; promised ≤ 1%)"));
}

#[test]
fn a_certificate_that_ends_soon_is_pointed_at() {
    let with = |left: i64| {
        shown(move |now| {
            let hours = Duration::from_hours(left.unsigned_abs());
            let expires = if left < 0 { now.wall - hours } else { now.wall + hours };
            View { certificates: vec![CertificateStatus { name: "server".into(), expires }], ..view(now) }
        })
    };
    for (left, tone, words) in
        [(-1, "bad", "expired"), (30, "warn", "ends in 1"), (30 * 24, "good", "ends in ")]
    {
        let page = with(left);
        let row = page.split_once("scope=\"row\">server</th>").unwrap().1.split_once("</tr>").unwrap().0;
        assert!(row.contains(&format!("pill {tone}")) && row.contains(words), "{row}");
    }
}

#[test]
fn a_request_is_told_by_its_reason_its_id_and_its_stages() {
    let page = shown(|now| View { judged: vec![kept("wdbc")], ..view(now) }).replace('\u{a0}', " ");
    assert!(!page.contains("door 9"), "a stage of a hundredth of the time");
    for word in
        ["anomalous", "shadow: withheld", "00000000000000000000000000000007", "901 µs", "infer 500 µs"]
    {
        assert!(page.contains(word), "{word}");
    }
}

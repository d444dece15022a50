//! A disk that fills up under the audit log: nothing is answered that cannot be recorded, and it ends by itself.

use crate::house::{request, samples};
use crate::probes::{get, recorded, requests};
use crate::sidecar::{PATIENCE, Sidecar, block_on};
use asepsis::transport::client::Outcome;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own, small enough to be filled.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=200k,mode=700", "asepsis-test"];
        let mounted = Command::new("mount").args(arguments).arg(at).output();
        let mounted = mounted.is_ok_and(|told| told.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// The entries of the log, but for the torn lines at the end of its files.
fn whole_lines(directory: &Path) -> Vec<serde_json::Value> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let text: String = logs.map(|path| std::fs::read_to_string(path).unwrap() + "\n").collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_full_disk_refuses_everything_until_there_is_room_and_no_answer_is_unrecorded() {
    let mut disk = None;
    let sidecar = Sidecar::start_with(|config| disk = SmallDisk::mount(&config.audit.directory));
    let Some(disk) = disk else {
        println!("skipped: a small file system can be mounted by root alone");
        return;
    };
    let admin = sidecar.admin();
    let good = request("wdbc", &samples("wdbc").clean[0]);
    let (mut answered, mut refused) = (0, 0);
    block_on(async {
        let mut client = sidecar.client("client").await;
        for _ in 0..3 {
            disk.fill();
            // What is left of the last page takes a few more entries, and perhaps half of one.
            let problem = loop {
                match client.infer(good.clone(), PATIENCE).await {
                    Outcome::Answer(_) => answered += 1,
                    Outcome::Refused(problem) => break problem,
                    Outcome::Transport(error) => panic!("{error}"),
                }
            };
            refused += 1;
            assert_eq!(problem.status, "UNAVAILABLE");
            assert_eq!(problem.reason.as_deref(), Some("audit_unwritable"));
            let (status, body) = get(admin, "/readyz");
            assert!(status == 503 && body.contains("audit: not ready"), "{body}");
            assert_eq!(get(admin, "/livez").0, 200);
            for _ in 0..3 {
                let again = client.infer(good.clone(), PATIENCE).await;
                assert!(matches!(again, Outcome::Refused(refused) if refused.status == "UNAVAILABLE"));
                refused += 1;
            }
            disk.empty();
            assert_eq!(get(admin, "/readyz").0, 200);
            assert!(matches!(client.infer(good.clone(), PATIENCE).await, Outcome::Answer(_)));
            answered += 1;
        }
    });
    let (_, metrics) = get(admin, "/metrics");
    // Entries are counted before the directory, and its mount with it, goes.
    let kept = whole_lines(&disk.0);
    let report = asepsis::audit::verify::verify(&sidecar.directory().join("audit")).unwrap();
    assert_eq!((kept.len(), report.records), (answered, answered as u64));
    // The metrics say what the callers were told: what was not recorded was not answered.
    let mut counted = requests(&metrics);
    let unrecorded = ["wdbc", "1", "refused", "audit_unwritable"].map(str::to_owned);
    assert_eq!(counted.remove(&unrecorded), Some(refused));
    assert_eq!(counted, recorded(&kept));
    drop(sidecar.stop());
}

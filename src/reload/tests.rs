//! Is each change noticed once, and is nothing lost that was good?

use super::*;
use std::fs;
use std::sync::atomic::AtomicBool;

/// Holds the number in its file; a file without a number is a bad one.
struct Number {
    path: PathBuf,
    value: Mutex<u32>,
    loads: AtomicU64,
    /// Whether a file without a number will do by now.
    accepts: AtomicBool,
}

impl Reloadable for Number {
    fn name(&self) -> &'static str {
        "number"
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reload(&self, _: Now) -> Result<(), String> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        if self.accepts.load(Ordering::Relaxed) {
            return Ok(());
        }
        *lock(&self.value) = text.parse().map_err(|_| "no number".to_owned())?;
        Ok(())
    }
}

struct Bench {
    directory: tempfile::TempDir,
    number: Arc<Number>,
    reloader: Reloader,
    told: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// In service with 1; the start is already confirmed.
    fn settled() -> Self {
        let bench = Self::started();
        bench.polls(2);
        bench.number.loads.store(0, Ordering::Relaxed);
        bench
    }

    fn started() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        fs::write(&path, "1").unwrap();
        let (value, loads, accepts) = (Mutex::new(1), AtomicU64::new(0), AtomicBool::new(false));
        let number = Arc::new(Number { path, value, loads, accepts });
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let on_outcome: OnOutcome = Box::new(move |name, outcome| {
            lock(&teller).push(format!("{name}: {outcome:?}"));
        });
        let source = Arc::clone(&number) as Arc<dyn Reloadable>;
        let reloader = Reloader::new(vec![source], Arc::default(), on_outcome, Now::read());
        Self { directory, number, reloader, told }
    }

    fn polls(&self, times: usize) {
        for _ in 0..times {
            self.reloader.poll(Now::read());
        }
    }

    fn write(&self, text: &str) {
        let temporary = self.directory.path().join("new");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, &self.number.path).unwrap();
    }

    fn value(&self) -> u32 {
        *lock(&self.number.value)
    }

    fn loads(&self) -> u64 {
        self.number.loads.load(Ordering::Relaxed)
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.told))
    }

    fn status(&self) -> (u64, u64, bool) {
        let status = self.reloader.status()[0];
        (status.good, status.failed, status.current)
    }

    fn epoch(&self) -> u64 {
        self.reloader.epoch.load(Ordering::Acquire)
    }
}

#[test]
fn a_bad_file_is_tried_once_and_keeps_the_last_good_one() {
    let bench = Bench::settled();
    let epoch = bench.epoch();
    bench.write("none");
    bench.polls(10);
    assert_eq!((bench.value(), bench.loads(), bench.epoch()), (1, 1, epoch));
    assert_eq!(bench.status(), (2, 1, false));
    assert_eq!(bench.told(), ["number: Err(\"no number\")"]);
    fs::remove_file(&bench.number.path).unwrap();
    bench.polls(2);
    assert_eq!((bench.value(), bench.status()), (1, (2, 2, false)));
    bench.write("3");
    bench.polls(2);
    assert_eq!((bench.value(), bench.status(), bench.epoch()), (3, (3, 2, true), epoch + 1));
}

#[test]
fn what_failed_is_tried_again_each_minute_and_told_of_when_that_ends_otherwise() {
    let bench = Bench::settled();
    bench.write("none");
    bench.polls(2);
    assert_eq!(bench.told(), ["number: Err(\"no number\")"]);
    let start = Now::read();
    let poll_after = |seconds| {
        let monotonic = start.monotonic + Duration::from_secs(seconds);
        bench.reloader.poll(Now { monotonic, ..start });
    };
    poll_after(59);
    assert_eq!(bench.loads(), 1);
    poll_after(61);
    poll_after(62);
    assert_eq!((bench.loads(), bench.told()), (2, vec![]));
    // It becomes good although its file stays as it is.
    bench.number.accepts.store(true, Ordering::Relaxed);
    poll_after(130);
    poll_after(200);
    assert_eq!((bench.loads(), bench.told()), (3, vec!["number: Ok(())".to_owned()]));
    assert!(bench.status().2);
}

#[test]
fn a_file_is_not_read_while_it_is_still_changing() {
    let bench = Bench::settled();
    for number in 2..20 {
        bench.write(&number.to_string());
        bench.polls(1);
    }
    assert_eq!((bench.loads(), bench.value()), (0, 1));
    bench.polls(5);
    assert_eq!((bench.loads(), bench.value()), (1, 19));
    assert_eq!(bench.told(), ["number: Ok(())"]);
}

#[test]
fn each_way_in_which_a_file_changes_is_noticed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let bench = Bench::settled();
    let (path, directory) = (&bench.number.path, bench.directory.path());
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    // The same size at the same time as before, as `cp -p` and coarse clocks leave it.
    bench.write("2");
    fs::File::open(path).unwrap().set_modified(modified).unwrap();
    bench.polls(2);
    assert_eq!(bench.value(), 2);
    // In place, by whoever has it open.
    fs::write(path, "3").unwrap();
    bench.polls(2);
    assert_eq!(bench.value(), 3);
    // Two symlinks away, the names before it untouched.
    for version in ["4", "5"] {
        fs::create_dir(directory.join(version)).unwrap();
        fs::write(directory.join(version).join("number"), version).unwrap();
    }
    symlink("4", directory.join("..data")).unwrap();
    fs::remove_file(path).unwrap();
    symlink("..data/number", path).unwrap();
    bench.polls(2);
    assert_eq!(bench.value(), 4);
    symlink("5", directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    bench.polls(2);
    assert_eq!(bench.value(), 5);
    let loads = bench.loads();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    bench.polls(2);
    assert_eq!(bench.loads(), loads + 1);
    bench.polls(5);
    assert_eq!(bench.loads(), loads + 1);
}

#[test]
fn what_changed_between_the_start_and_the_first_poll_is_not_missed() {
    let bench = Bench::started();
    bench.write("2");
    bench.polls(2);
    assert_eq!(bench.value(), 2);
    assert!(bench.told().is_empty(), "a start that holds is no news");
    let bench = Bench::started();
    bench.write("none");
    bench.polls(2);
    assert_eq!((bench.value(), bench.told().len()), (1, 1));
}

#[test]
fn who_asks_for_a_reload_gets_one_whether_or_not_anything_has_changed() {
    let bench = Bench::settled();
    let epoch = bench.epoch();
    assert_eq!(bench.reloader.reload_all(Now::read()), [("number", Ok(()))]);
    assert_eq!((bench.loads(), bench.epoch(), bench.told().len()), (1, epoch + 1, 1));
    bench.write("none");
    let outcomes = bench.reloader.reload_all(Now::read());
    assert_eq!(outcomes, [("number", Err("no number".to_owned()))]);
    bench.polls(5);
    assert_eq!(bench.loads(), 2, "it was tried already");
    bench.write("7");
    bench.reloader.reload_all(Now::read());
    assert_eq!((bench.value(), bench.loads()), (7, 3));
}

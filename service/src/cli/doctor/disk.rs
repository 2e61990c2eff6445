//! The data folder: whether it can be written, and how much room there is.

use std::path::Path;

use super::Check;

/// Below so many free bytes there is a warning.
const FEW_BYTES: u64 = 2 << 30;
/// Below so many free bytes something is wrong.
const NO_BYTES: u64 = 200 << 20;

pub(super) fn checks(data: &Path) -> Vec<Check> {
    let shown = data.display();
    let mut checks = vec![match write(data) {
        Ok(()) => Check::ok("data folder", format!("`{shown}` can be written")),
        Err(error) => Check::fail(
            "data folder",
            format!("`{shown}` cannot be written: {error}"),
            "give this user the right to write there, or name another folder: `data`",
        ),
    }];
    if let Ok(bytes) = fs4::available_space(data) {
        checks.push(space(bytes));
    }
    checks
}

/// Makes a file and takes it away again.
fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&probe, b"written by `anabranch doctor`")?;
    std::fs::remove_file(&probe)
}

fn space(bytes: u64) -> Check {
    let gib = bytes as f64 / f64::from(1 << 30);
    let found = format!("{gib:.1} GiB are free");
    let fix = "make room, or let the store forget sooner: `store.retention`";
    match bytes {
        ..NO_BYTES => Check::fail("disk space", found, fix),
        NO_BYTES..FEW_BYTES => Check::warn("disk space", found, fix),
        _ => Check::ok("disk space", found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_folder_is_made_and_a_full_disk_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let found = checks(&folder.path().join("new"));
        assert_eq!(found[0].state, State::Ok);
        assert_eq!(
            [100 << 20, 1 << 30, 100 << 30].map(|n| space(n).state),
            [State::Fail, State::Warn, State::Ok]
        );
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(checks(&file)[0].state, State::Fail);
    }
}

//! How much of the machine this process takes, by the names that Prometheus has for it. Only Linux tells.

use std::fmt;
use std::path::Path;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{counter, family, gauge};
use super::names;

/// Clock ticks a second in `/proc`: the same on every platform that Rust builds for.
const TICKS: f64 = 100.0;

/// This process and its build.
#[derive(Debug)]
pub(super) struct ThisProcess;

/// What `/proc/self` says.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    cpu_secs: f64,
    threads: f64,
    started_secs: f64,
    memory_bytes: f64,
    open_fds: f64,
    max_fds: f64,
}

impl Collector for ThisProcess {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seen) = look(Path::new("/proc")) {
            counter(&mut to, &names::CPU, seen.cpu_secs)?;
            gauge(&mut to, &names::MEMORY, seen.memory_bytes)?;
            gauge(&mut to, &names::THREADS, seen.threads)?;
            gauge(&mut to, &names::OPEN_FDS, seen.open_fds)?;
            gauge(&mut to, &names::MAX_FDS, seen.max_fds)?;
            gauge(&mut to, &names::START_TIME, seen.started_secs)?;
        }
        family(&mut to, &names::BUILD, [([env!("CARGO_PKG_VERSION")], 1.0)])
    }
}

fn look(proc: &Path) -> Option<Seen> {
    let read = |path: &str| std::fs::read_to_string(proc.join(path)).ok();
    let stat = read("self/stat")?;
    // The name stands in parentheses, and may hold spaces and parentheses itself.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number).and_then(|field| field.parse::<f64>().ok());
    let boot = read("stat")?.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let resident = read("self/status")?
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
    let limit = read("self/limits")?
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<f64>().ok());
    Some(Seen {
        cpu_secs: (field(11)? + field(12)?) / TICKS,
        threads: field(17)?,
        started_secs: boot? + field(19)? / TICKS,
        memory_bytes: resident? * 1024.0,
        open_fds: std::fs::read_dir(proc.join("self/fd")).ok()?.count() as f64,
        max_fds: limit.unwrap_or(f64::INFINITY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_whatever_the_process_is_called() {
        let proc = tempfile::tempdir().unwrap();
        let own = proc.path().join("self");
        std::fs::create_dir_all(own.join("fd/3")).unwrap();
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 900 0 0 0 250 50 0 0 20 0 9 0 4200 1000 20";
        std::fs::write(own.join("stat"), stat).unwrap();
        std::fs::write(own.join("status"), "Name:\ta\nVmRSS:\t    2048 kB\n").unwrap();
        std::fs::write(own.join("limits"), "Limit\nMax open files            1024   4096   files\n").unwrap();
        std::fs::write(proc.path().join("stat"), "cpu 1 2\nbtime 1000\n").unwrap();
        let seen = look(proc.path()).unwrap();
        let expected = Seen {
            cpu_secs: 3.0,
            threads: 9.0,
            started_secs: 1042.0,
            memory_bytes: 2_097_152.0,
            open_fds: 1.0,
            max_fds: 1024.0,
        };
        assert_eq!(seen, expected);
        assert_eq!(look(&proc.path().join("nowhere")), None);
    }
}

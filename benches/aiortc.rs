//! The first version of this project, for comparison: a bouncing ball served by aiortc, under the same
//! load generator. It is measured if `python3` has aiortc and NumPy.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::load::Load;
use crate::machine::{Core, Usage, spawn_on};
use crate::report::{self, Report};
use crate::server::{Sweep, Timing};
use crate::support::process::Server;
use crate::{Mode, say};

const FRAMES_PER_SECOND: u32 = 30;
const PROGRAM: &str = include_str!("original.py");

pub fn measure(mode: Mode, report: &mut Report) {
    let Some(version) = version() else {
        return report.skip("python3 lacks aiortc or NumPy (pip install aiortc numpy)".into());
    };
    say(&format!("aiortc {version}"));
    let program = report::directory().join("original.py");
    std::fs::create_dir_all(report::directory()).unwrap();
    std::fs::write(&program, PROGRAM).unwrap();
    let server = spawn_on(Core::Measured, || {
        let mut command = Command::new("python3");
        command.arg(&program);
        Server::start_command(command, "127.0.0.1", 0, &[])
    });
    let resident_mb = || Usage::of(server.pid()).resident_kb as f64 / 1e3;
    report.add("aiortc-resident-0", "resident without viewers", resident_mb(), "MB");
    report.note(format!("aiortc {version}"));

    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    let steps = mode.pick(&[1, 2, 3, 4, 5][..], &[1, 2]);
    let timing = Timing {
        settle: mode.pick(Duration::from_secs(2), Duration::from_millis(500)),
        window: mode.pick(Duration::from_secs(10), Duration::from_secs(1)),
        repetitions: 1,
    };
    let mut sweep = Sweep::new();
    for &viewers in steps {
        let share = sweep.step(&server, &mut load, viewers, timing).unwrap();
        if viewers == 1 {
            report.add("aiortc-cpu-1", "CPU with one viewer", share * 100.0, "%");
            report.add("aiortc-resident-1", "resident with one viewer", resident_mb(), "MB");
        }
        if share * (viewers + 1) as f64 / viewers as f64 > 1.0 {
            break;
        }
    }
    let figure = "CPU per viewer and second, aiortc, slope";
    report.add_spread("aiortc-cpu", figure, &sweep.cpu_slope_ms(), "ms");
    report.note(sweep.flaws.join("; "));
    report.add("aiortc-memory", "memory per viewer, slope", sweep.memory_slope_kb(), "kB");
}

/// The version of aiortc, if it is installed together with NumPy.
fn version() -> Option<String> {
    let check = "import aiortc, numpy; print(aiortc.__version__)";
    let output = Command::new("python3").args(["-c", check]).stderr(Stdio::null()).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| version.trim().to_owned())
}

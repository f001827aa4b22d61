//! A kernel in qemu, and the shell in it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::process::binary;

/// From the start to the shell, of which most is qemu's emulation; and the download of a kernel the first time.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// No command takes longer unless it hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// What the guest has as `/share`.
pub fn share() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel")
}

/// This folder of the source.
pub fn sources() -> PathBuf {
    tests().join("kernel")
}

pub fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub struct Guest {
    qemu: Child,
    input: ChildStdin,
    output: Receiver<String>,
    commands: usize,
    running: Vec<Job>,
}

/// A command that runs in the background of a guest.
#[derive(Debug, Clone)]
pub struct Job {
    pub pid: u32,
    output: PathBuf,
}

impl Job {
    /// What it has printed so far, on both outputs.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    pub fn wait_for_output(&self, words: &str) {
        let end = Instant::now() + COMMAND_LIMIT;
        while !self.output().contains(words) {
            assert!(Instant::now() < end, "no '{words}' in:\n{}", self.output());
            std::thread::sleep(POLL_EVERY);
        }
    }
}

impl Guest {
    /// Boots the kernel of this release of Debian. The ports lead to the same ones in the guest.
    pub fn boot(suite: &str, ports: &[u16]) -> Guest {
        let began = Instant::now();
        // qemu ends with this process, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(sources().join("run")).args(["-k", suite]);
        command.arg("-s").arg(share()).arg("-b").arg(binary().parent().unwrap());
        for port in ports {
            command.args(["-f", &port.to_string()]);
        }
        command.env("KERNEL_LOG", share().join("messages"));
        let mut qemu = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, output) = channel();
        let lines = BufReader::new(qemu.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = qemu.stdin.take().unwrap();
        let mut guest = Guest { qemu, input, output, commands: 0, running: Vec::new() };
        let up = guest.wait_for_line("guest: up ", BOOT_LIMIT);
        println!(
            "   {suite}: up {up}, {:.1} s from the start of qemu",
            began.elapsed().as_secs_f64()
        );
        guest
    }

    /// What follows these words in a line of the guest's shell.
    fn wait_for_line(&mut self, words: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        let mut others = Vec::new();
        while let Ok(line) = self.output.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if let Some(rest) = line.strip_prefix(words) {
                return rest.trim().to_owned();
            }
            others.push(line);
        }
        panic!("no '{words}' from the guest, but {others:#?}");
    }

    /// A file with a script, and one for its output.
    fn script(&mut self, script: &str) -> (String, PathBuf) {
        self.commands += 1;
        let name = format!("job-{}", self.commands);
        fs::write(share().join(&name), script).unwrap();
        let output = share().join(format!("{name}.out"));
        fs::write(&output, "").unwrap();
        (format!("dash /share/{name} >>/share/{name}.out 2>&1"), output)
    }

    /// Runs a script of the shell as root. Returns its exit status and what it printed.
    pub fn try_run(&mut self, script: &str) -> (i32, String) {
        let (command, output) = self.script(script);
        writeln!(self.input, "{command}").unwrap();
        let status = self.wait_for_line("guest: status ", COMMAND_LIMIT);
        let output = fs::read(output).unwrap();
        (status.parse().unwrap(), String::from_utf8_lossy(&output).trim().to_owned())
    }

    /// The same for one that must succeed.
    pub fn run(&mut self, script: &str) -> String {
        let (status, output) = self.try_run(script);
        assert_eq!(status, 0, "{script}\n{output}");
        output
    }

    /// Starts a command in the background.
    pub fn start(&mut self, command: &str) -> Job {
        let (script, output) = self.script(&format!("exec {command}"));
        let pid = self.run(&format!("setsid {script} </dev/null & echo $!"));
        let job = Job { pid: pid.parse().unwrap(), output };
        self.running.push(job.clone());
        job
    }

    pub fn is_running(&mut self, job: &Job) -> bool {
        self.try_run(&format!("kill -0 {}", job.pid)).0 == 0
    }

    /// Ends a command that runs in the background, and waits until it has ended.
    pub fn end(&mut self, job: &Job) {
        let pid = job.pid;
        self.running.retain(|other| other.pid != pid);
        self.run(&format!(
            "kill {pid} 2>/dev/null || exit 0
            for i in $(seq 50); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done
            kill -9 {pid}"
        ));
    }

    /// Ends all of them, the newest first.
    pub fn end_all(&mut self) {
        while let Some(job) = self.running.last().cloned() {
            self.end(&job);
        }
    }

    /// What runs in the background, and what it has printed.
    pub fn jobs(&self) -> &[Job] {
        &self.running
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

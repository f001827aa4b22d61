//! Streams from outside as the driver opens, reads and ends them: files, named pipes, standard input, and
//! commands with all their processes. No process and no descriptor is left of any of them.

use std::fs::{File, OpenOptions, read_to_string};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::process::{Server, binary, wait_until};
use crate::support::processes::{alone, children, descriptors, is_running, marked, processes};
use ballcast::testing::driver::process::reap;
use ballcast::testing::driver::source::{READ_BYTES, SourceOrigin, SourceReader};
use ballcast::testing::os_error::OsError;
use ballcast::testing::source::{Exit, Signal, SourceCommand, SourceEvent, SourceFailure};
use mio::{Events, Poll, Token};
use rustix::process::Signal as KernelSignal;

/// Of the stream; that of its standard error is another.
const BYTES: Token = Token(2);
const WAIT_LIMIT: Duration = Duration::from_secs(10);
/// With this variable, the test binary is a program that has the command in it running.
const HOLD: &str = "BALLCAST_TEST_HOLD";

/// One stream, and a loop that does for it what the driver's does.
struct Loop {
    source: SourceReader,
    poll: Poll,
    buffer: Vec<u8>,
    /// The kernel has told of bytes, or of an end.
    readable: bool,
    bytes: Vec<u8>,
}

impl Loop {
    fn new(origin: SourceOrigin) -> Loop {
        Loop {
            source: SourceReader::new(origin, &binary()),
            poll: Poll::new().unwrap(),
            buffer: vec![0; READ_BYTES],
            readable: false,
            bytes: Vec::new(),
        }
    }

    fn command(line: &str) -> Loop {
        Loop::new(SourceOrigin::Command(line.into()))
    }

    fn execute(&mut self, command: SourceCommand) -> Option<SourceEvent<'_>> {
        self.source.execute(command, self.poll.registry(), &mut self.buffer)
    }

    fn open(&mut self) {
        assert_eq!(self.execute(SourceCommand::Open), Some(SourceEvent::Opened));
    }

    /// What happens next but bytes, which are kept. `None` if nothing does for this long.
    fn next_within(&mut self, limit: Duration) -> Option<SourceEvent<'static>> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(Duration::from_millis(2))).unwrap();
            for event in &events {
                match event.token() {
                    BYTES => self.readable = true,
                    _ => self.source.read_stderr(Instant::now()),
                }
            }
            reap(|pid, status| self.source.note_reaped(pid, status));
            self.readable |= self.source.check_child(Instant::now());
            while self.readable {
                match self.source.read(&mut self.buffer) {
                    Some(SourceEvent::Bytes(bytes)) => self.bytes.extend(bytes),
                    Some(event) => return Some(without_bytes(event)),
                    None => self.readable = false,
                }
            }
        }
        None
    }

    fn next(&mut self) -> SourceEvent<'static> {
        self.next_within(WAIT_LIMIT).expect("something happens")
    }

    /// Waits until the command has written this many bytes.
    fn wait_for_bytes(&mut self, count: usize) {
        let end = Instant::now() + WAIT_LIMIT;
        while self.bytes.len() < count {
            assert!(Instant::now() < end);
            assert_eq!(self.next_within(Duration::from_millis(5)), None);
        }
    }

    /// The numbers that the command has written, one a line.
    fn pids(&self) -> Vec<i32> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }
}

/// An event that borrows nothing.
fn without_bytes(event: SourceEvent) -> SourceEvent<'static> {
    match event {
        SourceEvent::Opened => SourceEvent::Opened,
        SourceEvent::Bytes(bytes) => panic!("{bytes:?}"),
        SourceEvent::Paused => SourceEvent::Paused,
        SourceEvent::Ended => SourceEvent::Ended,
        SourceEvent::Failed(failure) => SourceEvent::Failed(failure),
        SourceEvent::Exited(exit, words) => SourceEvent::Exited(exit, words),
        SourceEvent::Camera(event) => panic!("{event:?}"),
    }
}

/// A path in a folder for temporary files.
fn path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    path.join(format!("source-{}-{name}", std::process::id()))
}

fn fifo(name: &str) -> PathBuf {
    let path = path(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[test]
fn all_that_a_command_writes_comes_then_the_end_of_the_stream_then_its_own() {
    let _alone = alone();
    let mut command =
        Loop::command("head -c 3000000 /dev/zero; echo the camera is busy. >&2; exit 3");
    command.open();
    assert_eq!(command.next(), SourceEvent::Ended);
    assert_eq!(command.bytes.len(), 3_000_000);
    let SourceEvent::Exited(Exit::Status(3), words) = command.next() else { panic!() };
    assert_eq!(words.unwrap().to_string(), "the camera is busy.");
    assert_eq!(command.next_within(Duration::from_millis(50)), None, "each is told once");
}

#[test]
fn a_command_that_does_not_exist_names_itself() {
    let _alone = alone();
    let mut command = Loop::command("no-such-camera --width 640");
    command.open();
    assert_eq!(command.next(), SourceEvent::Ended);
    let SourceEvent::Exited(exit, Some(words)) = command.next() else { panic!() };
    assert_eq!(exit.to_string(), "exited with status 127: a program in it was not found");
    let words = words.to_string();
    assert!(words.contains("no-such-camera") && words.contains("not found"), "{words}");
}

#[test]
fn the_first_and_the_last_lines_of_standard_error_are_kept_however_many_there_are() {
    let _alone = alone();
    let mut command = Loop::command("seq 40000 >&2");
    command.open();
    assert_eq!(command.next(), SourceEvent::Ended);
    let SourceEvent::Exited(Exit::Status(0), Some(words)) = command.next() else { panic!() };
    let expected = "1 / 2 / 3 … 39996 / 39997 / 39998 / 39999 / 40000";
    assert_eq!(words.to_string(), expected);
}

#[test]
fn a_command_has_no_standard_input_no_token_and_none_of_our_descriptors() {
    let _alone = alone();
    let mut command = Loop::command("readlink /proc/self/fd/0; ls /proc/self/fd; env");
    command.open();
    assert_eq!(command.next(), SourceEvent::Ended);
    let text = String::from_utf8(std::mem::take(&mut command.bytes)).unwrap();
    // Those that the test itself was started with are not ours.
    let list = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
    let expected = format!("/dev/null\n{}", String::from_utf8(list.stdout).unwrap());
    let rest = text.strip_prefix(&expected).unwrap_or_else(|| panic!("{text}"));
    assert!(!rest.starts_with(|c: char| c.is_ascii_digit()), "{text}");
    assert!(!text.contains("BALLCAST_TOKEN"), "{text}");
}

#[test]
fn a_command_that_ignores_signals_is_killed_with_all_its_processes() {
    let _alone = alone();
    let mut command = Loop::command(
        "trap '' INT TERM; (sleep 1000 & echo $!; sleep 1000 & echo $!; wait) & \
         echo $!; while :; do sleep 1000; done",
    );
    command.open();
    command.wait_for_bytes(3);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(command.next_within(Duration::from_millis(20)), None);
    let pids = command.pids();
    assert_eq!(pids.len(), 3);
    for signal in [Signal::Interrupt, Signal::Terminate] {
        command.execute(SourceCommand::Kill(signal));
        assert_eq!(command.next_within(Duration::from_millis(100)), None, "{signal:?}");
        assert!(pids.iter().all(|pid| is_running(*pid)));
    }
    command.execute(SourceCommand::Kill(Signal::Kill));
    assert_eq!(command.next(), SourceEvent::Ended);
    assert_eq!(command.next(), SourceEvent::Exited(Exit::Signal(9, Some("SIGKILL")), None));
    assert!(!pids.iter().any(|pid| is_running(*pid)));
}

#[test]
fn a_command_is_gone_when_the_last_of_its_processes_is() {
    let _alone = alone();
    let mut command = Loop::command("sleep 0.4 >/dev/null 2>&1 & exit 1");
    let started = Instant::now();
    command.open();
    assert_eq!(command.next(), SourceEvent::Ended);
    assert!(started.elapsed() < Duration::from_millis(300));
    assert_eq!(command.next(), SourceEvent::Exited(Exit::Status(1), None));
    assert!(started.elapsed() >= Duration::from_millis(400));
}

#[test]
fn processes_that_have_left_the_session_are_waited_for_and_sent_signals() {
    let _alone = alone();
    let mut command = Loop::command(&format!("{} exec >&-", crate::support::processes::DAEMONS));
    command.open();
    let (end, daemons) = (command.next(), command.pids());
    assert_eq!((end, daemons.len()), (SourceEvent::Ended, 3));
    for signal in [Signal::Interrupt, Signal::Terminate] {
        command.execute(SourceCommand::Kill(signal));
        assert_eq!(command.next_within(Duration::from_millis(100)), None, "{signal:?}");
        assert!(daemons.iter().all(|pid| is_running(*pid)), "they ignore it");
    }
    command.execute(SourceCommand::Kill(Signal::Kill));
    assert_eq!(command.next(), SourceEvent::Exited(Exit::Status(0), None));
    assert!(!daemons.iter().any(|pid| is_running(*pid)));
    assert_eq!(
        command.execute(SourceCommand::Open),
        Some(SourceEvent::Opened),
        "it is free for the next"
    );
}

#[test]
fn a_command_that_stops_its_supervisor_ends_all_the_same() {
    let _alone = alone();
    let mut command = Loop::command("kill -STOP $PPID; echo $$; exec sleep 1000");
    command.open();
    command.wait_for_bytes(2);
    command.execute(SourceCommand::Kill(Signal::Terminate));
    assert_eq!(command.next(), SourceEvent::Ended);
    assert_eq!(command.next(), SourceEvent::Exited(Exit::Signal(15, Some("SIGTERM")), None));
}

#[test]
fn a_command_that_starts_processes_faster_than_they_are_killed_ends() {
    let _alone = alone();
    let mark = format!("BALLCAST_TEST_MARK={}", path("forks").display());
    let mut command =
        Loop::command(&format!("export {mark}; while :; do (setsid sleep 1000 &); done"));
    command.open();
    wait_until("there are many", || marked(&mark).len() > 100);
    command.execute(SourceCommand::Kill(Signal::Kill));
    assert_eq!(command.next(), SourceEvent::Ended);
    assert_eq!(command.next(), SourceEvent::Exited(Exit::Signal(9, Some("SIGKILL")), None));
    assert_eq!(marked(&mark), [0; 0]);
}

#[test]
fn a_stream_that_is_let_go_of_ends_what_its_command_runs() {
    let _alone = alone();
    let mut command = Loop::command("sleep 1000 & echo $!; wait");
    command.open();
    command.wait_for_bytes(2);
    let pids = command.pids();
    drop(command);
    wait_until("all are gone", || !pids.iter().any(|pid| is_running(*pid)));
    assert_eq!(children(), []);
}

#[test]
fn a_hundred_restarts_leave_no_zombie_and_no_descriptor() {
    let _alone = alone();
    let (descriptors_before, children_before) = (descriptors(), children());
    let mut command = Loop::command("echo picture; sleep 1000 & exec sleep 1000");
    let first = {
        command.open();
        command.wait_for_bytes(8);
        descriptors()
    };
    for _ in 0..100 {
        command.execute(SourceCommand::Kill(Signal::Terminate));
        assert_eq!(command.next(), SourceEvent::Ended);
        assert_eq!(command.next(), SourceEvent::Exited(Exit::Signal(15, Some("SIGTERM")), None));
        command.execute(SourceCommand::Close);
        assert_eq!(children(), children_before);
        command.bytes.clear();
        command.open();
        command.wait_for_bytes(8);
        assert_eq!(descriptors(), first);
    }
    drop(command);
    assert_eq!((descriptors(), children()), (descriptors_before, children_before));
}

#[test]
fn a_second_command_is_not_started_while_one_runs() {
    let _alone = alone();
    let mut command = Loop::command("sleep 1000");
    command.open();
    let refused = SourceEvent::Failed(SourceFailure::StartAgain);
    assert_eq!(command.execute(SourceCommand::Open), Some(refused));
}

/// What the test binary does when another test starts it: runs a command until it is killed.
#[test]
fn hold_a_command() {
    let Ok(line) = std::env::var(HOLD) else { return };
    let mut command = Loop::command(&line);
    command.open();
    let mut printed = 0;
    loop {
        command.next_within(Duration::from_millis(50));
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&command.bytes[printed..]).unwrap();
        stdout.flush().unwrap();
        printed = command.bytes.len();
    }
}

#[test]
fn when_ballcast_is_killed_no_process_of_the_command_is_left() {
    let _alone = alone();
    let line = "trap '' INT TERM HUP; sleep 1000 & echo pid $!; (sleep 1000 & echo pid $!; wait) & \
                echo pid $!; echo pid $$; wait";
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "source::hold_a_command", "--nocapture"])
        .env(HOLD, line)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pids = lines.filter_map(|line| Some(line.split_once("pid ")?.1.parse().unwrap()));
    let pids: Vec<i32> = pids.take(4).collect();
    assert!(pids.iter().all(|pid| is_running(*pid)));
    holder.kill().unwrap();
    let killed = Instant::now();
    holder.wait().unwrap();
    // Who reaps them is not ours to say.
    let group = *pids.last().unwrap();
    wait_until("all are gone", || !processes().any(|p| p.group == group && !p.is_zombie));
    println!("all gone after {:?}", killed.elapsed());
}

#[test]
fn nothing_is_left_of_the_command_however_the_program_ends() {
    let _alone = alone();
    for signal in [KernelSignal::INT, KernelSignal::TERM, KernelSignal::KILL] {
        let list = path("pids");
        let line = format!(
            "trap '' INT TERM; sleep 1000 & echo $! $$ >{0}.new; mv {0}.new {0}; wait; wait",
            list.display()
        );
        let mut server = Server::start(&["--exec", &line]);
        wait_until("the command runs", || list.exists());
        let pids = read_to_string(&list).unwrap();
        let pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| is_running(*pid)));
        let asked = Instant::now();
        server.signal(signal);
        let status = server.wait();
        if signal == KernelSignal::KILL {
            wait_until("all are gone", || !pids.iter().any(|pid| is_running(*pid)));
        } else {
            assert!(status.success());
            assert!(!pids.iter().any(|pid| is_running(*pid)), "{signal:?}");
        }
        println!("{signal:?}: all gone after {:?}", asked.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(2));
        std::fs::remove_file(list).unwrap();
    }
}

#[test]
fn the_end_of_standard_input_is_one_sentence_and_exit_code_1() {
    let _alone = alone();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let output = std::process::Command::new(binary())
        .args(["--bind", "127.0.0.1", "--port", "0", "-"])
        .stdin(reader)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    let sentence = "ballcast: There is nothing left to show: standard input has ended.";
    assert_eq!(log.lines().last(), Some(sentence), "{log}");
}

#[test]
fn writers_of_a_named_pipe_come_and_go() {
    let _alone = alone();
    let path = fifo("fifo");
    let mut stream = Loop::new(SourceOrigin::Fifo(path.clone()));
    stream.open();
    stream.readable = true;
    assert_eq!(stream.next_within(Duration::from_millis(50)), None, "nobody writes yet");
    for round in 0..3 {
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"picture").unwrap();
        stream.wait_for_bytes(7 * (round + 1));
        assert_eq!(stream.next_within(Duration::from_millis(50)), None, "the writer is there");
        drop(writer);
        assert_eq!(stream.next(), SourceEvent::Ended);
        assert_eq!(stream.next_within(Duration::from_millis(50)), None, "the end is told once");
        stream.execute(SourceCommand::Close);
        stream.open();
        stream.readable = true;
    }
    std::fs::remove_file(&path).unwrap();
    stream.execute(SourceCommand::Close);
    let missing = OsError::Number(libc::ENOENT);
    assert_eq!(
        stream.execute(SourceCommand::Open),
        Some(SourceEvent::Failed(SourceFailure::Open(missing)))
    );
}

#[test]
fn a_file_is_read_when_it_is_asked_for_and_begins_again() {
    let _alone = alone();
    let path = path("clip");
    std::fs::write(&path, vec![7; READ_BYTES + 5]).unwrap();
    let mut stream = Loop::new(SourceOrigin::File(path.clone()));
    for _ in 0..2 {
        stream.open();
        stream.readable = true;
        assert_eq!(stream.next_within(Duration::from_millis(20)), None, "nobody has asked");
        assert_eq!(stream.execute(SourceCommand::Read), Some(SourceEvent::Bytes(&[7; READ_BYTES])));
        assert_eq!(stream.execute(SourceCommand::Read), Some(SourceEvent::Bytes(&[7; 5])));
        assert_eq!(stream.execute(SourceCommand::Read), Some(SourceEvent::Ended));
        assert_eq!(stream.execute(SourceCommand::Read), None);
    }
    std::fs::remove_file(path).unwrap();
}

/// What the test binary does when another test starts it: reads standard input to its end.
#[test]
fn read_standard_input() {
    if std::env::var_os("BALLCAST_TEST_STDIN").is_none() {
        return;
    }
    let mut stream = Loop::new(SourceOrigin::Stdin);
    stream.open();
    stream.readable = true;
    assert_eq!(stream.next(), SourceEvent::Ended);
    println!("read {} bytes", stream.bytes.len());
}

/// Lets a process of its own read this as standard input, and returns what it prints.
fn read_as_stdin(stdin: impl Into<Stdio>) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "source::read_standard_input", "--nocapture"])
        .env("BALLCAST_TEST_STDIN", "1")
        .stdin(stdin)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn standard_input_is_read_to_its_end_and_its_description_keeps_its_flags() {
    let _alone = alone();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let shared = File::from(reader.as_fd().try_clone_to_owned().unwrap());
    let thread = std::thread::spawn(move || read_as_stdin(reader));
    writer.write_all(&[7; 100_000]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let flags =
        read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&shared)));
    let flags = flags.unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    let flags = u32::from_str_radix(flags, 8).unwrap();
    assert_eq!(flags & libc::O_NONBLOCK as u32, 0, "{flags:o}");
    drop(writer);
    let printed = thread.join().unwrap();
    assert!(printed.contains("read 100000 bytes"), "{printed}");
}

#[test]
fn standard_input_may_have_ended_before_it_is_read_or_be_a_socket() {
    let _alone = alone();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    assert!(read_as_stdin(reader).contains("read 0 bytes"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || read_as_stdin(std::os::fd::OwnedFd::from(theirs)));
    (&ours).write_all(&[7; 100_000]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(ours);
    let printed = thread.join().unwrap();
    assert!(printed.contains("read 100000 bytes"), "{printed}");
}

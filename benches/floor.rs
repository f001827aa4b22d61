//! The CPU time of the kernel alone, without the server: the same number of datagrams of the same
//! size, to as many sockets of another process, in the same batches. This is the lower bound for any
//! server on this machine.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::Spread;
use crate::machine::{self, Core, spawn_on};
use crate::report::Report;
use crate::{Mode, say};

/// The first argument with which this executable is the receiver of the datagrams.
pub const ARGUMENT: &str = "--sink";
/// The size of a delta frame of the ball on the wire.
const DATAGRAM: [u8; 230] = [0x90; 230];
const FRAMES_PER_SECOND: u32 = 30;
/// As in src/driver/udp.rs.
const BATCH: usize = 256;

pub fn measure(mode: Mode, report: &mut Report) {
    let (viewers, seconds) = mode.pick((1_000, 4), (10, 1));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ARGUMENT, &viewers.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sink = spawn_on(Core::Load, || command.spawn()).unwrap();
    let mut line = String::new();
    BufReader::new(sink.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ports = line.split_whitespace().map(|port| port.parse::<u16>().unwrap());
    let addresses: Vec<SocketAddr> = ports.map(|p| (Ipv4Addr::LOCALHOST, p).into()).collect();
    assert_eq!(addresses.len(), viewers);
    let costs = (0..mode.pick(3, 1)).map(|_| {
        let cpu = spawn_on(Core::Measured, || {
            std::thread::scope(|scope| scope.spawn(|| send(&addresses, seconds)).join()).unwrap()
        });
        cpu.as_secs_f64() * 1e3 / (viewers as f64 * f64::from(seconds))
    });
    let costs = Spread::of(costs.collect());
    say(&format!("{:.3} ms per viewer and second", costs.median));
    drop(sink.stdin.take());
    sink.wait().unwrap();
    let figure = format!("CPU per viewer and second, kernel only, {viewers} viewers");
    report.add_spread("floor", &figure, &costs, "ms");
    report.note("a bare sendmmsg loop, one datagram of 230 bytes per frame".into());
}

/// Sends a datagram to each address for each frame, and returns the CPU time.
fn send(addresses: &[SocketAddr], seconds: u32) -> Duration {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (cpu, start) = (cpu_time(), Instant::now());
    for frame in 0..seconds * FRAMES_PER_SECOND {
        let due = start + Duration::from_secs(1) * frame / FRAMES_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for batch in addresses.chunks(BATCH) {
            let to: Vec<SocketAddrAny> = batch.iter().map(|to| (*to).into()).collect();
            let slice = [IoSlice::new(&DATAGRAM)];
            let mut controls: Vec<SendAncillaryBuffer> =
                batch.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let places = to.iter().zip(&mut controls);
            let mut messages: Vec<MMsgHdr> =
                places.map(|(to, c)| MMsgHdr::new_with_addr(to, &slice, c)).collect();
            assert_eq!(sendmmsg(&socket, &mut messages, SendFlags::empty()), Ok(batch.len()));
        }
    }
    cpu_time() - cpu
}

/// The CPU time of this thread.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Opens `COUNT` sockets and reads them as the load generator reads its own, until standard input
/// ends. Prints their ports in one line on standard output.
pub fn run_sink(arguments: &[String]) -> Result<(), String> {
    let [count] = arguments else { return Err("COUNT".into()) };
    let count: usize = count.parse().map_err(|error| format!("{count}: {error}"))?;
    machine::raise_open_files();
    serve_sink(count).map_err(|error| error.to_string())
}

fn serve_sink(count: usize) -> std::io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::new();
    let mut ports = String::new();
    for index in 0..count {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        ports += &format!("{} ", socket.local_addr()?.port());
        watch(&epoll, &socket, index as u64)?;
        sockets.push(socket);
    }
    let stdin = rustix::stdio::stdin();
    watch(&epoll, stdin, count as u64)?;
    println!("{ports}");
    std::io::stdout().flush()?;
    let mut events = Vec::with_capacity(512);
    let mut buffer = [0; 2_048];
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            match sockets.get(event.data.u64() as usize) {
                Some(socket) => while socket.recv(&mut buffer).is_ok() {},
                None => return Ok(()),
            }
        }
    }
}

fn watch(epoll: &OwnedFd, what: impl std::os::fd::AsFd, data: u64) -> std::io::Result<()> {
    let data = epoll::EventData::new_u64(data);
    Ok(epoll::add(epoll, what, data, epoll::EventFlags::IN)?)
}

//! The program: reads the command line, binds sockets, draws secrets, and runs the driver.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{self, CliCommand, Environment, Flags};
use crate::driver::encode::PictureEncoder;
use crate::driver::encode::assembly;
use crate::driver::encode::codec::Quality;
use crate::driver::net::addresses;
use crate::driver::panics;
use crate::driver::publish::sessions::Sessions;
use crate::driver::source::supervisor;
use crate::driver::{Driver, Endpoints};
use crate::server::{Config, Server};
use crate::web::access::AccessPolicy;
use crate::web::proxies::TrustedProxies;
use str0m::config::{CryptoProvider, DtlsCert};

const FAILURE: u8 = 1;
const USAGE: u8 = 2;

/// Runs the program.
pub fn run() -> ExitCode {
    let environment = Environment {
        token: std::env::var_os("BALLCAST_TOKEN"),
        publish_token: std::env::var_os("BALLCAST_PUBLISH_TOKEN"),
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        state: std::env::var_os("STATE_DIRECTORY"),
    };
    let command = match cli::parse(std::env::args_os().skip(1), environment) {
        Ok(command) => command,
        Err(error) => {
            cli::log::write_failure(&error.to_string());
            return ExitCode::from(USAGE);
        }
    };
    let done = match command {
        CliCommand::Print(text) => print(&text.render()),
        CliCommand::CheckHealth(server) => cli::health::check(&server),
        CliCommand::ListCameras => cli::cameras::list().and_then(|text| print(&text)),
        CliCommand::Supervise => supervisor::supervise(),
        CliCommand::Serve(flags) => serve(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            cli::log::write_failure(&sentence);
            ExitCode::from(FAILURE)
        }
    }
}

/// Serves until a signal asks the program to exit. An error is a sentence for the operator.
fn serve(flags: &Flags) -> Result<(), String> {
    cli::log::start();
    panics::limit_reports();

    if !assembly::is_there() {
        log::warn!(
            "built without nasm, which makes encoding two to three times slower: install nasm, run cargo \
             clean, and build again"
        );
    }
    if let Some(token) = &flags.token {
        log::info!("viewers need the token: add #token=TOKEN to the URL");
        if token.is_short() {
            log::warn!(
                "the token has fewer than 16 characters and can be guessed: generate one with \
                 openssl rand -hex 16"
            );
        }
    }
    let endpoints = Endpoints::bind(&flags.bind, flags.port).map_err(|error| error.to_string())?;
    let encoder =
        PictureEncoder::new(flags.size, flags.frames_per_second, flags.quality, flags.stamp)
            .with_hardware(flags.encoder.clone())
            .with_appearance(flags.appearance);
    let addresses = endpoints.addresses();
    if flags.announced.is_empty() && addresses::are_of_container(&addresses) {
        log::warn!(
            "this looks like a container with its own network, which browsers on other machines may not \
             reach: run it in the host's network (--network host), or publish the port for TCP and UDP and \
             pass the host's address with --announce"
        );
    }
    let sessions = flags.state.as_ref().map(|folder| Sessions::open(folder, &flags.targets));
    let sessions = sessions.unwrap_or_default();
    let secrets = DrawnSecrets::draw()?;
    let make_server = |addresses, now, wall_clock| {
        let config = Config {
            entropy: secrets.entropy,
            crypto: secrets.crypto,
            certificate: secrets.certificate,
            addresses,
            access: AccessPolicy {
                names: flags.allow_hosts.clone(),
                origins: flags.allow_origins.clone(),
                proxies: TrustedProxies(flags.trusted_proxies.clone()),
                ..AccessPolicy::default()
            },
            token: flags.token.clone(),
            limits: flags.limits(),
            frames_per_second: flags.frames_per_second,
            bitrate: match flags.quality {
                Quality::Constant => None,
                Quality::Bitrate(bits_per_second) => Some(bits_per_second),
            },
            announced: flags.announced.clone(),
            targets: flags.targets.clone(),
            stale_sessions: sessions.kept().clone(),
            source: flags.source.source(flags.source_interval),
            appearance: flags.appearance,
            when_watched: flags.when_watched,
            stamped: flags.stamp,
            title: flags.title.clone(),
            wall_clock,
        };
        Server::new(config, now)
    };
    let mut driver = Driver::new(endpoints, make_server, encoder)
        .map_err(|error| format!("The event loop cannot start: {error}."))?;
    if let Some(origin) = flags.source.origin() {
        driver.set_origin(origin);
    }
    driver.set_sessions(sessions);
    let urls = urls(&addresses);
    print(&urls)?;
    if let Some(url) = urls.lines().next() {
        let token = flags.token.as_ref().map(|token| format!("#token={}", token.text()));
        print(&cli::qr::code(&format!("{url}{}", token.unwrap_or_default()), flags.qr))?;
    }
    driver.run().map_err(|error| error.to_string())
}

/// Values that must be unpredictable, from the operating system's generator.
struct DrawnSecrets {
    entropy: [u8; 32],
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

impl DrawnSecrets {
    fn draw() -> Result<DrawnSecrets, String> {
        let failed = |error| format!("The operating system returns no random numbers: {error}.");
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(failed)?;
        // str0m draws ICE tie-breakers and transaction ids from this generator, which is otherwise seeded
        // from the clock.
        fastrand::seed(getrandom::u64().map_err(failed)?);
        let crypto = str0m::crypto::from_feature_flags();
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or("The DTLS certificate cannot be generated.")?;
        Ok(DrawnSecrets { entropy, crypto: Arc::new(crypto), certificate })
    }
}

/// A URL per line, those of the network first.
fn urls(addresses: &[SocketAddr]) -> String {
    let (local, network): (Vec<&SocketAddr>, Vec<&SocketAddr>) =
        addresses.iter().partition(|address| is_loopback(address.ip()));
    let ordered = network.into_iter().chain(local);
    ordered.map(|address| format!("http://{address}/\n")).collect()
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Prints to standard output. A closed pipe is not an error.
fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("Cannot write to standard output: {error}."))
        }
        _ => Ok(()),
    }
}

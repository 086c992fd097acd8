//! `kinesis-sim`: the simulated Kinesis as a local server.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use kinesis_sim::{ControlAccess, Limits, ServeError, ServeOptions, Server, ServiceLimits, Sim};

/// A simulated Amazon Kinesis Data Streams on this machine. Point any AWS client's endpoint URL at it; any
/// credentials will do.
#[derive(Debug, Parser)]
#[command(name = "kinesis-sim", version)]
struct Arguments {
    /// Port to listen on; 0 lets the system choose.
    #[arg(long, default_value_t = 4567)]
    port: u16,

    /// Port to listen on for HTTPS as well; 0 lets the system choose.
    #[arg(long, value_name = "PORT")]
    tls_port: Option<u16>,

    /// File to write the certificate to that HTTPS clients are to trust, made anew at each start.
    #[arg(long, value_name = "FILE", requires = "tls_port")]
    write_ca: Option<PathBuf>,

    /// Address to listen on. Anyone who reaches it can read and write everything.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// Whether the service's rates are enforced.
    #[arg(long, value_enum, default_value_t = LimitsArgument::Aws)]
    limits: LimitsArgument,

    /// Shards that an account may have open in a region, while limits are enforced.
    #[arg(long, default_value_t = ServiceLimits::default().open_shards, value_name = "N")]
    shard_limit: usize,

    /// How long creating, deleting and resharding take, in milliseconds.
    #[arg(long, default_value_t = 500, value_name = "N")]
    state_delay_ms: u64,

    /// How long a call that a rule loses stays without an answer at most, before its connection breaks, in milliseconds.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    call_timeout_ms: u64,

    /// Who may use the control endpoint, /_sim: faults, the trace, what is stored, a reset.
    #[arg(long, value_enum, default_value_t = ControlArgument::Local)]
    control: ControlArgument,

    /// How many calls the trace keeps.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    trace_lines: usize,

    /// A stream to begin with, as name:shards. May be given several times.
    #[arg(long = "stream", value_name = "NAME:SHARDS")]
    streams: Vec<StreamArgument>,

    /// Decides everything that is drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LimitsArgument {
    Aws,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ControlArgument {
    /// Whoever connects from this machine.
    Local,
    /// Whoever connects.
    Anyone,
    /// Nobody.
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StreamArgument {
    name: String,
    shard_count: u32,
}

impl FromStr for StreamArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let is_name = (1..=128).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if !is_name {
            return Err(format!(
                "`{name}` is no stream name: use 1 to 128 of a-z, A-Z, 0-9, `_`, `.` and `-`"
            ));
        }
        let shard_count = count
            .parse()
            .ok()
            .filter(|count| (1..=10_000).contains(count))
            .ok_or_else(|| format!("`{count}` is no shard count: use 1 to 10000, as in {name}:4"))?;
        Ok(Self { name: name.to_owned(), shard_count })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            let _best_effort = writeln!(io::stderr(), "kinesis-sim: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let limits = match arguments.limits {
        LimitsArgument::Aws => Limits::Aws,
        LimitsArgument::Off => Limits::Off,
    };
    let mut service_limits = ServiceLimits::default();
    service_limits.open_shards = arguments.shard_limit;
    let sim = Sim::builder()
        .seed(arguments.seed)
        .limits(limits)
        .service_limits(service_limits)
        .state_delay(Duration::from_millis(arguments.state_delay_ms))
        .call_timeout(Duration::from_millis(arguments.call_timeout_ms))
        .trace_lines(arguments.trace_lines)
        .wall_clock()
        .build();
    let mut names = std::collections::BTreeSet::new();
    for StreamArgument { name, shard_count } in &arguments.streams {
        if !names.insert(name) {
            return Err(format!("--stream names `{name}` twice: name each stream once"));
        }
        sim.create_stream(name, *shard_count);
    }
    // Before the line is printed, so that a signal right after it finds its handler.
    let mut stop = stop_signal()?;
    let server = serve(&sim, &arguments).await.map_err(|error| error.to_string())?;
    // A closed stdout is no reason to stop serving.
    let _best_effort = writeln!(io::stdout(), "kinesis-sim is listening on http://{}", server.addr());
    if let Some(addr) = server.tls_addr() {
        let _best_effort = writeln!(io::stdout(), "kinesis-sim is listening on https://{addr}");
    }
    stop.received().await;
    server.stop().await;
    Ok(())
}

async fn serve(sim: &Sim, arguments: &Arguments) -> Result<Server, ServeError> {
    let control = match arguments.control {
        ControlArgument::Local => ControlAccess::Local,
        ControlArgument::Anyone => ControlAccess::Anyone,
        ControlArgument::Off => ControlAccess::Off,
    };
    let at = |port| SocketAddr::new(arguments.host, port);
    let mut options = ServeOptions::new(at(arguments.port)).with_control(control);
    if let Some(port) = arguments.tls_port {
        options = options.with_tls(at(port));
    }
    let server = sim.serve_with(options).await?;
    if let Some(path) = &arguments.write_ca {
        server.write_ca(path)?;
    }
    Ok(server)
}

#[cfg(unix)]
struct StopSignal {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn stop_signal() -> Result<StopSignal, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    Ok(StopSignal {
        interrupt: listen(SignalKind::interrupt())?,
        terminate: listen(SignalKind::terminate())?,
    })
}

#[cfg(unix)]
impl StopSignal {
    async fn received(&mut self) {
        // Either ends the wait, so the order does not matter.
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct StopSignal;

#[cfg(not(unix))]
fn stop_signal() -> Result<StopSignal, String> {
    Ok(StopSignal)
}

#[cfg(not(unix))]
impl StopSignal {
    async fn received(&mut self) {
        // Without a handler for ctrl-c the program is ended by the system instead, which loses nothing.
        let _outcome = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_names_and_counts() {
        let parsed: Result<StreamArgument, _> = "orders:4".parse();
        assert_eq!(parsed, Ok(StreamArgument { name: "orders".to_owned(), shard_count: 4 }));
        assert_eq!("orders".parse::<StreamArgument>().unwrap().shard_count, 1);
        for text in ["", ":4", "a b:4", "orders:", "orders:0", "orders:-1", "orders:x", "orders:10001"] {
            assert!(text.parse::<StreamArgument>().is_err(), "{text:?}");
        }
    }
}

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread so far, in nanoseconds.
pub fn thread_time() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

/// CPU time of all threads of this process so far, in nanoseconds.
pub fn process_time() -> u64 {
    nanos(ClockId::ProcessCPUTime)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// What this process has of memory now, in bytes; 0 where the system does not say.
pub fn resident_bytes() -> f64 {
    status("VmRSS:")
}

/// The most that it ever had, in bytes.
pub fn peak_bytes() -> f64 {
    status("VmHWM:")
}

fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim().split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

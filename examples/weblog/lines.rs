//! The lines of an access log: from a file (plain or gzip), from stdin, or the one shipped with the examples.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/access.log.gz");

/// Why the input cannot be read, in one sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputError(pub String);

impl std::fmt::Display for InputError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for InputError {}

pub(crate) struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    number: u64,
    size: Option<u64>,
    taken: Arc<AtomicU64>,
}

impl Lines {
    /// Opens `-` (stdin), a path, or without one the shipped log.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, InputError> {
        match path {
            Some(path) if path == Path::new("-") => Self::new("stdin".into(), Box::new(io::stdin()), None),
            Some(path) => Self::open_file(path),
            None => Self::open_file(&PathBuf::from(SHIPPED)),
        }
    }

    fn open_file(path: &Path) -> Result<Self, InputError> {
        let name = path.display().to_string();
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                InputError(format!("{name} does not exist: pass the path of an access log, or - for stdin"))
            }
            _ => InputError(format!("{name} cannot be read: {error}")),
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(InputError(format!("{name} is a directory: pass one file of it")));
        }
        Self::new(name.clone(), Box::new(file), metadata.is_file().then_some(metadata.len()))
    }

    fn new(name: String, source: Box<dyn Read + Send>, size: Option<u64>) -> Result<Self, InputError> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut counted = BufReader::with_capacity(64 * 1024, Counted { source, taken: Arc::clone(&taken) });
        let start =
            counted.fill_buf().map_err(|error| InputError(format!("{name} cannot be read: {error}")))?;
        if start.is_empty() {
            return Err(InputError(format!("{name} is empty: there is nothing to put")));
        }
        let zipped = start.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> =
            if zipped { Box::new(BufReader::new(MultiGzDecoder::new(counted))) } else { Box::new(counted) };
        Ok(Self { name, reader, number: 0, size, taken })
    }

    /// Bytes of the input, where that is known before it was read.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes of the input read so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Half of a file was read, or of a stream of unknown length the first 10,000 lines.
    pub(crate) fn is_half_way(&self) -> bool {
        match self.size {
            Some(size) => self.taken() * 2 >= size,
            None => self.number >= 10_000,
        }
    }

    /// Names the last line read, for messages.
    pub(crate) fn here(&self) -> String {
        format!("line {} of {}", self.number, self.name)
    }
}

impl Iterator for Lines {
    type Item = Result<String, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        self.number += 1;
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    line.pop();
                }
                Some(String::from_utf8(line).map_err(|_| {
                    InputError(format!(
                        "{} is not valid UTF-8: convert the file, or remove the line",
                        self.here()
                    ))
                }))
            }
            Err(error) => Some(Err(InputError(format!("{} cannot be read: {error}", self.here())))),
        }
    }
}

struct Counted {
    source: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

//! A reader that writes down what it was given: `kcl::scan`, as a user would write it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use kcl::UserRecord;
use tokio::sync::Notify;

use crate::line::{Line, hex};
use crate::{Problem, Stream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stream: Stream,
    /// How many records there are at least; the scan ends one second after it has that many.
    #[arg(long)]
    expect: u64,
    /// Where to write the records down.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let out = Arc::new(Mutex::new((File::create(&arguments.out)?, 0_u64)));
    let enough = Arc::new(Notify::new());
    let (end, file, expect) = (Arc::clone(&enough), Arc::clone(&out), arguments.expect);
    let scan = kcl::scan(&arguments.stream.client(), arguments.stream.stream.as_str())
        .until(async move {
            end.notified().await;
            // Whoever gives too many is to be seen as well.
            tokio::time::sleep(Duration::from_secs(1)).await;
        })
        .run(move |record| {
            let written = write(&file, &record);
            if matches!(written, Ok(count) if count == expect) {
                enough.notify_one();
            }
            async move { written.map(drop).map_err(Problem::from) }
        });
    tokio::time::timeout(Duration::from_mins(1), scan).await.map_err(|_late| {
        let read = out.lock().unwrap_or_else(PoisonError::into_inner).1;
        format!("only {read} of {expect} records came within a minute")
    })??;
    let count = out.lock().unwrap_or_else(PoisonError::into_inner).1;
    Ok(format!("{count} records read"))
}

fn write(out: &Mutex<(File, u64)>, record: &UserRecord) -> std::io::Result<u64> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(out.0, "{}", line(record))?;
    out.1 += 1;
    Ok(out.1)
}

pub(crate) fn line(record: &UserRecord) -> Line {
    #[expect(clippy::disallowed_methods, reason = "a program in real time")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Line {
        shard: record.shard_id().to_string(),
        sequence_number: record.sequence_number(),
        sub_sequence_number: Some(record.sub_sequence_number()),
        key: record.partition_key().to_owned(),
        explicit_hash_key: record.explicit_hash_key(),
        data: hex(record.data()),
        is_aggregated: Some(record.is_aggregated()),
        millis: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }
}

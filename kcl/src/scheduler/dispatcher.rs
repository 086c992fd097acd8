use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Finished, Shared};
use crate::lease::held::HeldLease;
use crate::lease::keeper::KeeperCommand;
use crate::shard_consumer::End;

/// Starts a task for each lease gained, and ends everything in order.
pub(super) struct Dispatcher {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<KeeperCommand>,
    pub(super) gained: mpsc::Receiver<HeldLease>,
}

impl Dispatcher {
    /// Order of a shutdown: the keeper takes nothing more; the shards end and give their leases back, with the keeper
    /// still renewing the others; then the keeper stops; then what it had gained in the meantime is given back.
    pub(super) async fn run(mut self) -> Finished {
        let shared = Arc::clone(&self.shared);
        let (mut stopping, mut keeper_runs, mut stop_sent) = (false, true, false);
        loop {
            tokio::select! {
                // Nothing starves: the first fires once; tasks end only as often as leases were gained.
                biased;
                () = shared.worker.shutdown.rung(), if !stopping => {
                    stopping = true;
                    self.command(KeeperCommand::StopTaking);
                }
                finished = next_finished(&shared) => match finished {
                    Finished::Shard { key, tenure, result } => {
                        let ended = result == Ok(End::Finished);
                        if let Some(lease) = shared.ended(&key, tenure, result) {
                            shared.start(lease);
                        }
                        if ended && !stopping {
                            self.command(KeeperCommand::SyncShards);
                        }
                    }
                    Finished::Keeper(result) => {
                        keeper_runs = false;
                        if let Err(error) = result {
                            shared.worker.fail(error);
                        }
                    }
                    Finished::Dispatcher | Finished::Aside => {}
                },
                lease = self.gained.recv(), if !self.gained.is_closed() || !self.gained.is_empty() => {
                    if let Some(lease) = lease {
                        shared.start(lease);
                    }
                }
            }
            let idle = shared.book().running.is_empty();
            if stopping && idle && !stop_sent {
                stop_sent = true;
                self.command(KeeperCommand::Stop);
            }
            if stopping && idle && !keeper_runs && self.gained.is_empty() {
                shared.drained.ring();
                return Finished::Dispatcher;
            }
        }
    }

    fn command(&self, command: KeeperCommand) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, "the lease keeper takes no command now");
        }
    }
}

/// The next task that ended. Cancel safe. A task that was aborted belongs to a worker that is going down.
async fn next_finished(shared: &Shared) -> Finished {
    loop {
        let joined = std::future::poll_fn(|context| shared.tasks().poll_join_next(context)).await;
        match joined {
            Some(Ok(finished)) => return finished,
            Some(Err(error)) => tracing::debug!(%error, "a task was stopped"),
            None => std::future::pending().await,
        }
    }
}

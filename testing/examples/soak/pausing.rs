//! What callbacks and closures do: pause as an engine does, and as a lookup does.

use std::time::Duration;

use openssl_async_jobs::{suspend, CurrentJob, SuspendError};

use crate::device;
use crate::engine::{Operation, RESULT};
use crate::plan::{Pause, When};
use crate::round::COUNTS;

/// Inside a job, or outside, where nothing can pause. False if the job is to end.
pub fn pause(pauses: &[Pause]) -> bool {
    pauses
        .iter()
        .all(|pause| CurrentJob::get().is_none() || pause_once(*pause))
}

fn pause_once(pause: Pause) -> bool {
    COUNTS.pauses.add(1);
    match pause {
        Pause::Lookup(after) => match suspend(device::lookup(after)) {
            Ok(()) => true,
            Err(SuspendError::Cancelled) => false,
            Err(e) => panic!("{e}"),
        },
        Pause::Engine(tells, when) => {
            let operation = Operation::new(tells);
            // An engine's operation cannot be cancelled: its result is there, or memory was lost.
            assert_eq!(operation.run_with(|| submit(&operation, when)), RESULT);
            operation.assert_resumed_once();
            true
        }
    }
}

fn submit(operation: &Operation, when: When) {
    let operation = operation.clone();
    match when {
        When::Early => operation.complete(),
        When::Late(after) => device::later(after, move || operation.complete()),
        When::Twice(after) => device::later(after, move || {
            operation.complete();
            // Once more at once, or when the job has ended, or the next one runs.
            let again = operation.clone();
            operation.tell();
            device::later(Duration::from_millis(1), move || again.tell());
        }),
        When::Never => {
            COUNTS.nevers.add(1);
            device::hold(operation);
        }
    }
}

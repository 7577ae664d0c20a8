//! A thread's pool is made once, with sizes that make sense, and limits the thread's jobs.

use std::thread;

use crate::common::job::{Job, Outcome, WaitContext};
use openssl_async_jobs::{is_capable, CurrentJob, Error, JobPool};

fn on_a_new_thread(test: impl FnOnce() + Send + 'static) {
    thread::spawn(test).join().unwrap();
}

#[test]
fn this_platform_is_capable_as_c_says() {
    // SAFETY: takes nothing.
    let c = unsafe { openssl_async_jobs::ffi::ASYNC_is_capable() };
    assert_eq!(is_capable(), c == 1);
    assert!(is_capable(), "the tests that pause need it");
}

#[test]
fn wrong_sizes_are_refused_with_the_reason_and_leave_the_thread_as_it_was() {
    on_a_new_thread(|| {
        for (builder, reason) in [
            (JobPool::builder().max_jobs(0), "0 jobs"),
            (
                JobPool::builder().preallocate(1),
                "preallocate needs max_jobs",
            ),
            (
                JobPool::builder().max_jobs(3).preallocate(4),
                "more than max_jobs",
            ),
            (
                JobPool::builder()
                    .max_jobs(usize::MAX)
                    .preallocate(usize::MAX),
                "more than OpenSSL can count",
            ),
        ] {
            let refused = builder.init().unwrap_err();
            assert!(matches!(refused, Error::PoolSize { .. }), "{refused:?}");
            assert!(refused.to_string().contains(reason), "{refused}");
        }
        JobPool::builder()
            .max_jobs(4)
            .preallocate(4)
            .init()
            .unwrap();
    });
}

#[test]
fn a_second_pool_on_the_same_thread_is_refused() {
    on_a_new_thread(|| {
        JobPool::builder().init().unwrap();
        let again = JobPool::builder().max_jobs(2).init();
        assert!(matches!(again, Err(Error::PoolAlreadyInitialized)));
    });
    // Another thread has its own.
    on_a_new_thread(|| JobPool::builder().init().unwrap());
}

#[test]
fn a_pool_inside_a_job_is_refused_as_the_job_has_one() {
    on_a_new_thread(|| {
        let context = WaitContext::new();
        Job::new(&context, || {
            let refused = JobPool::builder().init();
            assert!(matches!(refused, Err(Error::PoolAlreadyInitialized)));
        })
        .finish();
    });
}

#[test]
fn no_more_jobs_than_the_limit_are_in_flight() {
    on_a_new_thread(|| {
        JobPool::builder()
            .max_jobs(3)
            .preallocate(1)
            .init()
            .unwrap();
        let context = WaitContext::new();
        let pausing = || Job::new(&context, || CurrentJob::get().unwrap().pause().unwrap());
        let mut jobs: Vec<Job<'_>> = (0..4).map(|_| pausing()).collect();
        let outcomes: Vec<Outcome> = jobs.iter_mut().map(Job::run).collect();
        use Outcome::{NoJobs, Paused};
        assert_eq!(outcomes, [Paused, Paused, Paused, NoJobs]);
        assert_eq!(jobs[1].run(), Outcome::Finished);
        assert_eq!(jobs[3].run(), Paused);
        for job in [0, 2, 3] {
            assert_eq!(jobs[job].run(), Outcome::Finished);
        }
    });
}

#[test]
fn without_a_limit_many_jobs_are_in_flight() {
    on_a_new_thread(|| {
        JobPool::builder().init().unwrap();
        let context = WaitContext::new();
        let mut jobs: Vec<Job<'_>> = (0..500)
            .map(|_| Job::new(&context, || CurrentJob::get().unwrap().pause().unwrap()))
            .collect();
        for job in &mut jobs {
            assert_eq!(job.run(), Outcome::Paused);
        }
        for job in &mut jobs {
            assert_eq!(job.run(), Outcome::Finished);
        }
    });
}

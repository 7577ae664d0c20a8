#include "device.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <openssl/async.h>

/*
 * Lives on the stack of the job's fibre: a paused job may not be freed, so it is there until the
 * job has seen `done`.
 */
struct operation {
    struct operation *next;
    int done;
    int fd; /* -1: none to signal */
    ASYNC_callback_fn callback;
    void *callback_arg;
};

static atomic_uint kinds = PAUSING_ALL;
static atomic_uint flags;
static atomic_ullong paused[3], completed, spurious;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all of these */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct operation *queue, **queue_end = &queue;
static int running, stopping, held;
static pthread_t thread;

/* The key of our fd in a wait context is an address nobody else has. */
static const char wait_key;

static void die(const char *what)
{
    perror(what);
    abort();
}

void pausing_set(unsigned int new_kinds, unsigned int new_flags)
{
    atomic_store(&kinds, new_kinds);
    atomic_store(&flags, new_flags);
}

void pausing_hold(int on)
{
    pthread_mutex_lock(&lock);
    held = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void pausing_get_counters(struct pausing_counters *counters)
{
    for (int i = 0; i < 3; i++)
        counters->paused[i] = atomic_load(&paused[i]);
    counters->completed = atomic_load(&completed);
    counters->spurious = atomic_load(&spurious);
}

/*
 * On the device's thread this runs under the lock: the job must not see `done`, and end, and its
 * wait context with it, before the fd has been signalled and the callback has returned.
 */
static void finish(struct operation *op)
{
    const uint64_t one = 1;

    op->done = 1;
    atomic_fetch_add(&completed, 1);
    if (op->fd >= 0) {
        while (write(op->fd, &one, sizeof(one)) < 0)
            if (errno != EINTR)
                die("pausing provider: signalling the wait fd");
    }
    if (op->callback != NULL)
        op->callback(op->callback_arg);
}

static void *serve(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while ((queue == NULL || held) && !stopping)
            pthread_cond_wait(&changed, &lock);
        struct operation *op = queue;
        if (op == NULL)
            break; /* stopping, and all is done */
        queue = op->next;
        if (queue == NULL)
            queue_end = &queue;
        finish(op);
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/*
 * The thread starts with the first operation, not with the provider: a server that loads its
 * configuration and then forks its workers would leave the thread behind.
 */
static int start(void)
{
    sigset_t all, before;
    int started;

    sigfillset(&all); /* the program's signals are for the program's threads */
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return 0;
    started = pthread_create(&thread, NULL, serve, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void submit(struct operation *op)
{
    pthread_mutex_lock(&lock);
    if (!running)
        running = start();
    if (running) {
        *queue_end = op;
        queue_end = &op->next;
        pthread_cond_broadcast(&changed);
    } else {
        finish(op); /* no thread to be had: complete at once rather than never */
    }
    pthread_mutex_unlock(&lock);
}

static int is_done(struct operation *op)
{
    pthread_mutex_lock(&lock);
    int done = op->done;
    pthread_mutex_unlock(&lock);
    return done;
}

void device_stop(void)
{
    pthread_mutex_lock(&lock);
    int join = running;
    running = 0;
    stopping = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (join)
        pthread_join(thread, NULL);
    stopping = 0;
}

static void close_fd(ASYNC_WAIT_CTX *waits, const void *key, OSSL_ASYNC_FD fd, void *custom)
{
    (void)waits, (void)key, (void)custom;
    close(fd);
}

/* The eventfd of ours in the wait context, put there by its first operation; -1 on failure. */
static int wait_fd(ASYNC_WAIT_CTX *waits)
{
    int fd;
    void *custom;

    if (ASYNC_WAIT_CTX_get_fd(waits, &wait_key, &fd, &custom))
        return fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd >= 0 && !ASYNC_WAIT_CTX_set_wait_fd(waits, &wait_key, fd, NULL, close_fd)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Pauses until done; pauses at least once, so that tests can count on it. */
static void pause_until_done(struct operation *op)
{
    do {
        if (!ASYNC_pause_job()) {
            /* Cannot switch back: the operation is the device's still, so wait for it here. */
            pthread_mutex_lock(&lock);
            while (!op->done)
                pthread_cond_wait(&changed, &lock);
            pthread_mutex_unlock(&lock);
            return;
        }
        if (is_done(op))
            return;
        atomic_fetch_add(&spurious, 1);
    } while (1);
}

void device_pause(unsigned int kind)
{
    ASYNC_JOB *job = ASYNC_get_current_job();
    unsigned int how = atomic_load(&flags);
    struct operation op = { NULL, 0, -1, NULL, NULL };
    uint64_t signals;

    if (job == NULL || (atomic_load(&kinds) & kind) == 0)
        return;
    ASYNC_WAIT_CTX *waits = ASYNC_get_wait_ctx(job);
    if ((how & PAUSING_FD_ONLY) != 0
        || !ASYNC_WAIT_CTX_get_callback(waits, &op.callback, &op.callback_arg))
        op.callback = NULL;
    if (op.callback == NULL || (how & PAUSING_FD_AND_CALLBACK) != 0) {
        op.fd = wait_fd(waits);
        if (op.fd < 0)
            die("pausing provider: no wait fd");
    }
    atomic_fetch_add(&paused[kind >> 1], 1); /* 1, 2, 4 are 0, 1, 2 */

    if ((how & PAUSING_BUSY_FIRST) != 0) {
        if (!ASYNC_WAIT_CTX_set_status(waits, ASYNC_STATUS_EAGAIN))
            die("pausing provider: no status");
        ASYNC_pause_job(); /* if it fails, the device is no longer busy a little earlier */
    }
    if ((how & (PAUSING_SET_STATUS | PAUSING_BUSY_FIRST)) != 0
        && !ASYNC_WAIT_CTX_set_status(waits, ASYNC_STATUS_OK))
        die("pausing provider: no status");

    if ((how & PAUSING_COMPLETE_FIRST) != 0)
        finish(&op);
    else
        submit(&op);
    pause_until_done(&op);

    /* Signalled exactly once, before `done` was seen. Empty means the application read our fd. */
    if (op.fd >= 0 && read(op.fd, &signals, sizeof(signals)) != sizeof(signals))
        die("pausing provider: draining the wait fd");
}

/* A pretended crypto device: pauses the running ASYNC_JOB until a thread of its own says it is done. */
#ifndef PAUSING_DEVICE_H
#define PAUSING_DEVICE_H

#include <stdint.h>

/* What may be given to the device; a mask of these says what is. Mirrored in src/provider.rs. */
enum { PAUSING_SIGNATURES = 1, PAUSING_KEY_EXCHANGES = 2, PAUSING_CIPHERS = 4, PAUSING_ALL = 7 };

/* How the device behaves. */
enum {
    /* Complete before the pause, without the thread, as OpenSSL's engine dasync does. */
    PAUSING_COMPLETE_FIRST = 1,
    /* Ignore a callback in the wait context: fd only. */
    PAUSING_FD_ONLY = 2,
    /* A callback in the wait context is called as well as, not instead of, signalling the fd. */
    PAUSING_FD_AND_CALLBACK = 4,
    /* Set the wait context's status. */
    PAUSING_SET_STATUS = 8,
    /*
     * Pause once with status "try again" before taking the operation, as a device does whose
     * queue is full: nothing is signalled for that pause.
     */
    PAUSING_BUSY_FIRST = 16
};

struct pausing_counters {
    uint64_t paused[3];  /* operations that paused: signatures, key exchanges, ciphers */
    uint64_t completed;  /* operations the device has completed */
    uint64_t spurious;   /* resumes that came before the completion */
};

void pausing_set(unsigned int kinds, unsigned int flags);
/* While held the device completes nothing (of what is not completed first). */
void pausing_hold(int on);
void pausing_get_counters(struct pausing_counters *counters);

/* Inside a job, for a kind that is switched on: pauses until the device is done. Else nothing. */
void device_pause(unsigned int kind);
/* Completes what is queued and joins the device's thread, if it runs. */
void device_stop(void);

#endif

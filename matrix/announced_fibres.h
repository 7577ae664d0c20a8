/*
 * Tells a sanitizer of the fibres of OpenSSL's jobs. announced_fibres.sed puts this into
 * crypto/async of an OpenSSL that matrix/build-openssl builds with one; nothing else is changed.
 *
 * AddressSanitizer has to know on which stack a thread is: else, when a panic or a longjmp leaves
 * frames behind, it clears its marks between the fibre's stack and the thread's, or nowhere.
 * ThreadSanitizer keeps a call stack and the jmp_bufs of each thread: without a word it takes the
 * fibre's longjmp for one to nowhere, and ends the process.
 */
#include <stddef.h>

struct announced {
    /* AddressSanitizer: the stack that it was on when it was left. */
    void *fake_stack;
    const void *bottom;
    size_t size;
    /* ThreadSanitizer: the fibre; of a thread's own stack the thread. */
    void *fibre;
};

#if defined(__SANITIZE_ADDRESS__)

void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);

/* Whom this thread has left. Each file has its own; only async.c switches. */
static __thread struct announced *announced_left;

static inline void announce_leaving(struct announced *from, struct announced *to,
                                    const void *stack, size_t size)
{
    announced_left = from;
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom != NULL ? to->bottom : stack,
                                   to->bottom != NULL ? to->size : size);
}

/* Where it came from is the crate's stack, if a job paused there (corosensei announces that). */
static inline void announce_arrival(void *fake_stack)
{
    __sanitizer_finish_switch_fiber(fake_stack, &announced_left->bottom, &announced_left->size);
}

# define announce_end(fibre)

#elif defined(__SANITIZE_THREAD__)

void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fibre);
void __tsan_switch_to_fiber(void *fibre, unsigned flags);

static inline void announce_leaving(struct announced *from, struct announced *to,
                                    const void *stack, size_t size)
{
    (void)stack;
    (void)size;
    if (from->fibre == NULL)
        from->fibre = __tsan_get_current_fiber();
    if (to->fibre == NULL)
        to->fibre = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(to->fibre, 0);
}

# define announce_arrival(fake_stack)

static inline void announce_end(struct announced *announced)
{
    if (announced->fibre != NULL)
        __tsan_destroy_fiber(announced->fibre);
    announced->fibre = NULL;
}

#endif

/* Between the fibres `from` and `to`, just before the switch. */
#define ANNOUNCE(from, to) \
    announce_leaving(&(from)->announced, &(to)->announced, (to)->fibre.uc_stack.ss_sp, \
                     (to)->fibre.uc_stack.ss_size)

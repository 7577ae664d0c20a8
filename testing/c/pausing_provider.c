/*
 * The provider "pausing" (OpenSSL 3.0 and later): all of the default provider, and a pause of the
 * running job (see device.h) before some of its functions.
 *
 * It loads the default provider into a library context of its own and answers queries with that
 * provider's algorithms. So that their functions get the provider context they expect, that
 * context is ours too. Which functions are replaced is in hooks.c.
 *
 * Its section of an OpenSSL configuration may hold `kinds` and `flags`, the numbers pausing_set()
 * takes, and `report`, which prints the counters to standard error at the end.
 */
#include "device.h"
#include "hooks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>

typedef void any_fn(void);

/* One load of the provider. Found by the inner provider's context, for that is ours as well. */
struct instance {
    struct instance *next;
    void *provctx;
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *inner;
    const OSSL_ALGORITHM *algorithms[OSSL_OP__HIGHEST + 1]; /* the inner provider's */
    OSSL_ALGORITHM *hooked[OSSL_OP__HIGHEST + 1];           /* ours, or NULL where nothing is hooked */
    int report;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards instances and the originals' setting */
static struct instance *instances;

static struct instance *find(const void *provctx)
{
    struct instance *i;

    pthread_mutex_lock(&lock);
    for (i = instances; i != NULL && i->provctx != provctx; i = i->next)
        ;
    pthread_mutex_unlock(&lock);
    return i;
}

static int hook_operation(struct instance *i, int operation)
{
    size_t count = 0;
    int no_cache, ok = 1;

    i->algorithms[operation] = OSSL_PROVIDER_query_operation(i->inner, operation, &no_cache);
    if (i->algorithms[operation] == NULL)
        return 1; /* 3.0 may lack an operation altogether */
    while (i->algorithms[operation][count].algorithm_names != NULL)
        count++;
    i->hooked[operation] = OPENSSL_memdup(i->algorithms[operation],
        (count + 1) * sizeof(OSSL_ALGORITHM));
    if (i->hooked[operation] == NULL)
        return 0;
    pthread_mutex_lock(&lock);
    for (size_t a = 0; ok && a < count; a++)
        ok = hook_algorithm(operation, &i->hooked[operation][a]);
    pthread_mutex_unlock(&lock);
    return ok;
}

static void free_instance(struct instance *i)
{
    for (int op = 0; op <= OSSL_OP__HIGHEST; op++) {
        if (i->hooked[op] == NULL)
            continue;
        for (size_t a = 0; i->hooked[op][a].algorithm_names != NULL; a++)
            if (i->hooked[op][a].implementation != i->algorithms[op][a].implementation)
                OPENSSL_free((void *)i->hooked[op][a].implementation);
        OPENSSL_free(i->hooked[op]);
    }
    if (i->inner != NULL)
        OSSL_PROVIDER_unload(i->inner);
    OSSL_LIB_CTX_free(i->libctx);
    OPENSSL_free(i);
}

static const OSSL_ALGORITHM *query(void *provctx, int operation, int *no_cache)
{
    struct instance *i = find(provctx);

    if (i == NULL)
        return NULL;
    if (operation < 0 || operation > OSSL_OP__HIGHEST || i->hooked[operation] == NULL)
        return OSSL_PROVIDER_query_operation(i->inner, operation, no_cache);
    *no_cache = 0;
    return i->hooked[operation];
}

static const OSSL_PARAM *gettable_params(void *provctx)
{
    struct instance *i = find(provctx);

    return i == NULL ? NULL : OSSL_PROVIDER_gettable_params(i->inner);
}

static int get_params(void *provctx, OSSL_PARAM params[])
{
    struct instance *i = find(provctx);
    OSSL_PARAM *name;

    if (i == NULL || !OSSL_PROVIDER_get_params(i->inner, params))
        return 0;
    name = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
    return name == NULL || OSSL_PARAM_set_utf8_ptr(name, "Pausing test provider");
}

static int get_capabilities(void *provctx, const char *capability, OSSL_CALLBACK *each, void *arg)
{
    struct instance *i = find(provctx);

    return i != NULL && OSSL_PROVIDER_get_capabilities(i->inner, capability, each, arg);
}

static void teardown(void *provctx)
{
    struct instance *i, **link;
    struct pausing_counters c;
    int last;

    pthread_mutex_lock(&lock);
    for (link = &instances; *link != NULL && (*link)->provctx != provctx; link = &(*link)->next)
        ;
    i = *link;
    if (i != NULL)
        *link = i->next;
    last = instances == NULL;
    pthread_mutex_unlock(&lock);
    if (i == NULL)
        return;
    if (last)
        device_stop();
    if (i->report) {
        pausing_get_counters(&c);
        fprintf(stderr, "pausing provider: %llu signatures, %llu key exchanges, %llu ciphers, "
                        "%llu completed, %llu spurious resumes\n",
            (unsigned long long)c.paused[0], (unsigned long long)c.paused[1],
            (unsigned long long)c.paused[2], (unsigned long long)c.completed,
            (unsigned long long)c.spurious);
    }
    free_instance(i);
}

static const OSSL_DISPATCH functions[] = {
    { OSSL_FUNC_PROVIDER_TEARDOWN, (any_fn *)teardown },
    { OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (any_fn *)gettable_params },
    { OSSL_FUNC_PROVIDER_GET_PARAMS, (any_fn *)get_params },
    { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (any_fn *)query },
    { OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (any_fn *)get_capabilities },
    { 0, NULL }
};

/* What the configuration says, if this was loaded by one. */
static int configure(struct instance *i, const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *upcalls)
{
    const char *kinds = NULL, *flags = NULL, *report = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_ptr("kinds", (char **)&kinds, 0),
        OSSL_PARAM_construct_utf8_ptr("flags", (char **)&flags, 0),
        OSSL_PARAM_construct_utf8_ptr("report", (char **)&report, 0),
        OSSL_PARAM_construct_end(),
    };

    while (upcalls->function_id != 0 && upcalls->function_id != OSSL_FUNC_CORE_GET_PARAMS)
        upcalls++;
    if (upcalls->function_id == 0 || !OSSL_FUNC_core_get_params(upcalls)(core, params))
        return 0;
    if (kinds != NULL || flags != NULL)
        pausing_set(kinds == NULL ? PAUSING_ALL : (unsigned int)strtoul(kinds, NULL, 0),
            flags == NULL ? 0 : (unsigned int)strtoul(flags, NULL, 0));
    i->report = report != NULL;
    return 1;
}

OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
    const OSSL_DISPATCH **out, void **provctx)
{
    struct instance *i = OPENSSL_zalloc(sizeof(*i));

    if (i == NULL)
        return 0;
    if ((i->libctx = OSSL_LIB_CTX_new()) == NULL
        || (i->inner = OSSL_PROVIDER_load(i->libctx, "default")) == NULL
        || (i->provctx = OSSL_PROVIDER_get0_provider_ctx(i->inner)) == NULL
        || !configure(i, core, in)
        || !hook_operation(i, OSSL_OP_SIGNATURE)
        || !hook_operation(i, OSSL_OP_KEYEXCH)
        || !hook_operation(i, OSSL_OP_KEM)
        || !hook_operation(i, OSSL_OP_CIPHER)
        || !hook_operation(i, OSSL_OP_RAND)) {
        free_instance(i);
        return 0;
    }
    pthread_mutex_lock(&lock);
    i->next = instances;
    instances = i;
    pthread_mutex_unlock(&lock);
    *provctx = i->provctx;
    *out = functions;
    return 1;
}

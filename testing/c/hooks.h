/* Which functions of the default provider are replaced: most, by ones that pause first. */
#ifndef PAUSING_HOOKS_H
#define PAUSING_HOOKS_H

#include <openssl/core.h>

/*
 * Where a hook applies, replaces the algorithm's dispatch table by a copy (OPENSSL_free) with
 * our functions. Calls must not overlap. 0 on failure.
 */
int hook_algorithm(int operation, OSSL_ALGORITHM *algorithm);

#endif

#include "hooks.h"

#include <stdio.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "device.h"

typedef void any_fn(void);

/*
 * Defines `name`_hooked, which pauses and then calls `name`_original. A call that only asks for
 * the size of the output, or hands over what is authenticated and not encrypted, does not pause.
 */
#define PAUSED(name, kind, type, output, parameters, arguments) \
    static any_fn *name##_original; \
    static int name##_hooked parameters \
    { \
        if ((output) != NULL) \
            device_pause(kind); \
        return ((OSSL_FUNC_##type##_fn *)name##_original) arguments; \
    }

#define SIGN(name) \
    PAUSED(name, PAUSING_SIGNATURES, signature_sign, sig, \
        (void *ctx, unsigned char *sig, size_t *len, size_t size, \
            const unsigned char *tbs, size_t tbslen), \
        (ctx, sig, len, size, tbs, tbslen))
#define SIGN_FINAL(name) \
    PAUSED(name, PAUSING_SIGNATURES, signature_digest_sign_final, sig, \
        (void *ctx, unsigned char *sig, size_t *len, size_t size), \
        (ctx, sig, len, size))
#define DERIVE(name) \
    PAUSED(name, PAUSING_KEY_EXCHANGES, keyexch_derive, secret, \
        (void *ctx, unsigned char *secret, size_t *len, size_t size), \
        (ctx, secret, len, size))

/* The default provider has one function of each sort for all RSA, and one for all ECDSA. */
SIGN(rsa_sign)
SIGN(rsa_digest_sign) /* same parameters as sign, message for digest */
SIGN_FINAL(rsa_digest_sign_final)
SIGN(ecdsa_sign)
SIGN(ecdsa_digest_sign)
SIGN_FINAL(ecdsa_digest_sign_final)
#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_FINAL /* 3.4: RSA-SHA256 and the like */
SIGN_FINAL(rsa_message_final)
SIGN_FINAL(ecdsa_message_final)
#endif
DERIVE(ecdh_derive)
DERIVE(x25519_derive)
PAUSED(hybrid_encapsulate, PAUSING_KEY_EXCHANGES, kem_encapsulate, out,
    (void *ctx, unsigned char *out, size_t *len, unsigned char *secret, size_t *secretlen),
    (ctx, out, len, secret, secretlen))
PAUSED(hybrid_decapsulate, PAUSING_KEY_EXCHANGES, kem_decapsulate, out,
    (void *ctx, unsigned char *out, size_t *len, const unsigned char *in, size_t inlen),
    (ctx, out, len, in, inlen))
PAUSED(gcm_update, PAUSING_CIPHERS, cipher_update, out,
    (void *ctx, unsigned char *out, size_t *len, size_t size, const unsigned char *in, size_t inlen),
    (ctx, out, len, size, in, inlen))
PAUSED(gcm_final, PAUSING_CIPHERS, cipher_final, out,
    (void *ctx, unsigned char *out, size_t *len, size_t size),
    (ctx, out, len, size))
PAUSED(gcm_cipher, PAUSING_CIPHERS, cipher_cipher, out,
    (void *ctx, unsigned char *out, size_t *len, size_t size, const unsigned char *in, size_t inlen),
    (ctx, out, len, size, in, inlen))

/*
 * In later releases (3.5) a DRBG is told the name of the provider it came from, to take its cipher from there.
 * It looks in the inner provider's library context, where no provider has our name.
 */
static int instantiate(any_fn *original, void *ctx, unsigned int strength, int resistance,
    const unsigned char *string, size_t length, const OSSL_PARAM params[])
{
    OSSL_PARAM renamed[32];
    size_t i = 0;

    for (; params != NULL && params[i].key != NULL; i++) {
        if (i + 1 == sizeof(renamed) / sizeof(*renamed))
            return 0;
        renamed[i] = params[i];
        if (strcmp(params[i].key, OSSL_PROV_PARAM_CORE_PROV_NAME) == 0)
            renamed[i] = OSSL_PARAM_construct_utf8_string(params[i].key, "default", 0);
    }
    renamed[i] = OSSL_PARAM_construct_end();
    return ((OSSL_FUNC_rand_instantiate_fn *)original)(
        ctx, strength, resistance, string, length, renamed);
}

#define INSTANTIATE(name) \
    static any_fn *name##_original; \
    static int name##_hooked(void *ctx, unsigned int strength, int resistance, \
        const unsigned char *string, size_t length, const OSSL_PARAM params[]) \
    { \
        return instantiate(name##_original, ctx, strength, resistance, string, length, params); \
    }

INSTANTIATE(ctr_drbg)
INSTANTIATE(hash_drbg)
INSTANTIATE(hmac_drbg)

#define HOOK(operation, algorithm, function, name) \
    { OSSL_OP_##operation, algorithm, OSSL_FUNC_##function, (any_fn *)name##_hooked, \
        &name##_original }

static const struct hook {
    int operation;
    const char *algorithm; /* its first name; of a signature also the part before "-SHA256" */
    int function;
    any_fn *hooked;
    any_fn **original;
} hooks[] = {
    HOOK(SIGNATURE, "RSA", SIGNATURE_SIGN, rsa_sign),
    HOOK(SIGNATURE, "RSA", SIGNATURE_DIGEST_SIGN, rsa_digest_sign),
    HOOK(SIGNATURE, "RSA", SIGNATURE_DIGEST_SIGN_FINAL, rsa_digest_sign_final),
    HOOK(SIGNATURE, "ECDSA", SIGNATURE_SIGN, ecdsa_sign),
    HOOK(SIGNATURE, "ECDSA", SIGNATURE_DIGEST_SIGN, ecdsa_digest_sign),
    HOOK(SIGNATURE, "ECDSA", SIGNATURE_DIGEST_SIGN_FINAL, ecdsa_digest_sign_final),
#ifdef OSSL_FUNC_SIGNATURE_SIGN_MESSAGE_FINAL
    HOOK(SIGNATURE, "RSA", SIGNATURE_SIGN_MESSAGE_FINAL, rsa_message_final),
    HOOK(SIGNATURE, "ECDSA", SIGNATURE_SIGN_MESSAGE_FINAL, ecdsa_message_final),
#endif
    HOOK(KEYEXCH, "ECDH", KEYEXCH_DERIVE, ecdh_derive),
    HOOK(KEYEXCH, "X25519", KEYEXCH_DERIVE, x25519_derive),
    HOOK(KEM, "X25519MLKEM768", KEM_ENCAPSULATE, hybrid_encapsulate), /* 3.5: TLS 1.3's first choice */
    HOOK(KEM, "X25519MLKEM768", KEM_DECAPSULATE, hybrid_decapsulate),
    HOOK(RAND, "CTR-DRBG", RAND_INSTANTIATE, ctr_drbg),
    HOOK(RAND, "HASH-DRBG", RAND_INSTANTIATE, hash_drbg),
    HOOK(RAND, "HMAC-DRBG", RAND_INSTANTIATE, hmac_drbg),
    HOOK(CIPHER, "AES-128-GCM", CIPHER_UPDATE, gcm_update),
    HOOK(CIPHER, "AES-128-GCM", CIPHER_FINAL, gcm_final),
    HOOK(CIPHER, "AES-128-GCM", CIPHER_CIPHER, gcm_cipher),
    HOOK(CIPHER, "AES-256-GCM", CIPHER_UPDATE, gcm_update),
    HOOK(CIPHER, "AES-256-GCM", CIPHER_FINAL, gcm_final),
    HOOK(CIPHER, "AES-256-GCM", CIPHER_CIPHER, gcm_cipher),
};

static int applies(const struct hook *hook, int operation, const char *names)
{
    size_t length = strlen(hook->algorithm);

    if (hook->operation != operation || strncmp(names, hook->algorithm, length) != 0)
        return 0;
    return names[length] == '\0' || names[length] == ':'
        || (names[length] == '-' && operation == OSSL_OP_SIGNATURE);
}

int hook_algorithm(int operation, OSSL_ALGORITHM *algorithm)
{
    const OSSL_DISPATCH *inner = algorithm->implementation;
    OSSL_DISPATCH *copy = NULL;
    size_t functions = 0;

    while (inner[functions].function_id != 0)
        functions++;
    for (size_t h = 0; h < sizeof(hooks) / sizeof(*hooks); h++) {
        if (!applies(&hooks[h], operation, algorithm->algorithm_names))
            continue;
        for (size_t f = 0; f < functions; f++) {
            if (inner[f].function_id != hooks[h].function)
                continue;
            if (*hooks[h].original == NULL)
                *hooks[h].original = inner[f].function;
            if (*hooks[h].original != inner[f].function) {
                fprintf(stderr, "pausing provider: %s has a function %d of its own\n",
                    algorithm->algorithm_names, hooks[h].function);
                return 0;
            }
            if (copy == NULL) {
                copy = OPENSSL_memdup(inner, (functions + 1) * sizeof(*inner));
                if (copy == NULL)
                    return 0;
                algorithm->implementation = copy;
            }
            copy[f].function = hooks[h].hooked;
        }
    }
    return 1;
}

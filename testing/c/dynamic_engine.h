/*
 * Before e_dasync.c where it becomes a shared object. An OpenSSL built without modules compiles its
 * engines as if they were linked in; loading one it can do all the same.
 */
#include <openssl/opensslconf.h>
#undef OPENSSL_NO_DYNAMIC_ENGINE

/*
 * Stands in for the header of this name in OpenSSL's source tree, which e_dasync.c (3.x)
 * includes. The real one would bring that tree's configuration along; the engine must see the
 * public headers of the OpenSSL it is loaded into and nothing else.
 */
#ifndef OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#endif

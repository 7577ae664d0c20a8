# async_posix.h: what is known of each fibre, and the switch.
s|^typedef struct async_fibre_st {|#include <string.h>\n#include "announced_fibres.h"\n&\n    struct announced announced;|
s|^ *_longjmp(n->env, 1);|{ ANNOUNCE(o, n); & }|
s|^ *setcontext(&n->fibre);|{ ANNOUNCE(o, n); & }|
s|^ *swapcontext(&o->fibre, &n->fibre);|ANNOUNCE(o, n); &|
/int async_fibre_swapcontext(async_fibre \*o/,/^}/s|^    return 1;|    announce_arrival(o->announced.fake_stack);\n&|
# A thread's own context is not zeroed in OpenSSL 1.1.
s|^\( *# *define async_fibre_init_dispatcher(d)\)$|\1 memset(\&(d)->announced, 0, sizeof((d)->announced))|
# async_posix.c
/^void async_fibre_free(/,/^}/s|^{|{\n    announce_end(\&fibre->announced);|
# async.c: where a new fibre begins.
/^void async_start_func(/,/^}/s|^    while (1) {|    announce_arrival(NULL);\n&|

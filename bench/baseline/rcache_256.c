// SPDX-License-Identifier: BSD-2-Clause
/*
 * rcache.c once more, with magazines for the CPUs that WORKLOAD_HELD plays. Compiled apart, so that
 * the other one is to the last instruction what it would be alone.
 */
#define RCACHE_PLAYS 1
#define rcache_open  rcache_256_open
#define rcache_close rcache_256_close
#define rcache_alloc rcache_256_alloc
#define rcache_free  rcache_256_free
#define rcache_drain rcache_256_drain
#define rcache_trim  rcache_256_trim

#include "rcache.c"

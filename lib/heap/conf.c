// SPDX-License-Identifier: BSD-2-Clause
/*
 * How the private jemalloc is set. MALLOC_CONF and /etc/malloc.conf are meant for the host's
 * allocator, which may be another jemalloc: here they are not read.
 */
#include "heap/jemalloc.h"

#include <errno.h>

/*
 * tcache:false - no automatic thread caches: they would cache blocks of all heaps together. Each
 *	heap has its own (cache.c).
 * retain:false - memory is asked for in exact lengths, not in a growing series: growing in large
 *	steps is done below, in step.c.
 * narenas:1 - the one automatic arena holds bookkeeping only.
 * tcache_max, tcache_nslots_large - a heap's caches take blocks of up to 256 KiB, which is what
 *	transfers are made of; beyond a cache a pair costs ten times as much. jemalloc's own 32 KiB
 *	suit objects. Eight of each large class bound what an idle thread keeps to 13 MiB.
 * background_thread:false - no threads in the host's process.
 * dss:disabled - the host's break stays the host's.
 */
const char *dr_je_conf = "tcache:false,retain:false,narenas:1,tcache_max:262144,"
	"tcache_nslots_large:8,background_thread:false,dss:disabled,abort_conf:false";

/*
 * Large blocks start on a page. jemalloc would shift each by some cache lines, at the price of a
 * page: for a device that is one more segment. 5.3 has no name for this in its settings.
 */
bool dr_je_cache_oblivious;

char *dr_je_getenv(const char *name)
{
	(void)name;
	return NULL;
}

char *dr_je_secure_getenv(const char *name)
{
	return dr_je_getenv(name);
}

long dr_je_readlink(const char *path, char *buf, size_t len)
{
	(void)path;
	(void)buf;
	(void)len;
	errno = ENOENT;
	return -1;
}

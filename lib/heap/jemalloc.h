/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The private jemalloc: the calls that lib/heap/private.sh leaves visible, under names of our own.
 * Its malloc, free and the rest are local to one object file, so that nothing, not even our own
 * code, can take them for the host's.
 */
#ifndef DR_HEAP_JEMALLOC_H
#define DR_HEAP_JEMALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Constants and extent_hooks_t, no functions: their names here are those of the host. */
#define JEMALLOC_NO_RENAME
#include <jemalloc/jemalloc.h>

#if JEMALLOC_VERSION_MAJOR < 5 || (JEMALLOC_VERSION_MAJOR == 5 && JEMALLOC_VERSION_MINOR < 3)
#error "jemalloc 5.3 or newer is needed: older ones keep an arena's bookkeeping inside the arena"
#endif

void *dr_je_mallocx(size_t len, int flags);
void dr_je_dallocx(void *p, int flags);
int dr_je_mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len);

/* What "experimental.arenas_create_ext" takes; the public header has no name for it. */
struct dr_je_arena_config {
	extent_hooks_t *hooks;
	bool metadata_use_hooks;
};

/* jemalloc's settings, in place of its malloc_conf, its link and its environment variable. */
extern const char *dr_je_conf;
extern bool dr_je_cache_oblivious;
char *dr_je_getenv(const char *name);
char *dr_je_secure_getenv(const char *name);
long dr_je_readlink(const char *path, char *buf, size_t len);

#endif

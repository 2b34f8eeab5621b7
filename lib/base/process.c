// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "base/process.h"
#include "base/hooks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* Guarded by lock for writing; read without it. What it points at is wiped to 0 in a child. */
_Atomic(_Atomic uint64_t *) dr_process_page;
/* Guarded by lock. Copied by fork, so a child goes on counting where its parent was. */
static uint64_t generation;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t number_process(void)
{
	_Atomic uint64_t *p;
	uint64_t id = 0;

	pthread_mutex_lock(&lock);
	p = atomic_load_explicit(&dr_process_page, memory_order_relaxed);
	if (!p) {
		size_t len = (size_t)sysconf(_SC_PAGESIZE);

		p = dr_hooks->mmap(NULL, len, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if ((void *)p == MAP_FAILED)
			goto out;
		if (dr_hooks->madvise((void *)p, len, MADV_WIPEONFORK)) {
			dr_hooks->munmap((void *)p, len);
			goto out;
		}
		/* Release: a reader that sees the page sees it wiped, not unmapped. */
		atomic_store_explicit(&dr_process_page, p, memory_order_release);
	}
	id = atomic_load_explicit(p, memory_order_relaxed);
	if (!id) {
		id = ++generation;
		atomic_store_explicit(p, id, memory_order_relaxed);
	}
out:
	pthread_mutex_unlock(&lock);
	return id;
}

uint64_t dr_process_id(void)
{
	_Atomic uint64_t *p = atomic_load_explicit(&dr_process_page, memory_order_acquire);
	uint64_t id = p ? atomic_load_explicit(p, memory_order_relaxed) : 0;

	return id ? id : number_process();
}

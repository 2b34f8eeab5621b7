// SPDX-License-Identifier: BSD-2-Clause
/*
 * Map and unmap as the Linux kernel's documentation and talks describe them for a domain in its
 * lazy mode, over the same page table and the same modelled hardware that dray uses.
 *
 * 1. Map: an IOVA from the kernel's cache (rcache.c, without a bound on the depot), entries into
 *    the page table. Unmap: entries are cleared at once; the IOVA goes into a ring, since devices
 *    may still reach its pages through what the IOTLB holds.
 *
 * 2. A ring for each thread (there: each CPU), of 256 places, one of them always empty. An entry
 *    has the number of the last invalidation that had begun when it came in; it is covered, and its
 *    IOVA goes back to the cache, once an invalidation that began later has ended: its number is
 *    below that of those ended.
 *
 * 3. Who puts an entry in gives back the covered ones at the front first. Is the ring full all the
 *    same, it asks for an invalidation of the whole domain, and then they are all covered.
 *
 * 4. The timer. The first entry after it came arms it; 10 ms later it asks for an invalidation and
 *    gives back what is covered in all rings, on whatever CPU it runs. It stays off while nothing
 *    is unmapped. Arming is one look at a word, and an exchange when that was off.
 *
 * 5. Locks. A ring has a spinlock, because the timer visits all; an invalidation is asked for with
 *    the ring's held, as in the kernel. The backend's queue has its own, below. The counters of
 *    invalidations are sequentially consistent increments around the call: an entry's number is
 *    read after its page-table entries were cleared, so one counted as begun after that sees them
 *    cleared.
 *
 * 6. What can fail: map, for want of an IOVA, of memory for tables; both undone. Unmap cannot.
 *
 *	         | map              | unmap              | timer
 *	map      | the cache orders | the cache orders   | the cache orders
 *	unmap    |                  | own rings          | the ring's lock
 *	timer    |                  |                    | one thread
 */
#define _GNU_SOURCE
#include "baseline/kernel_dma.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "backend/backend.h"
#include "backend/sim/sim.h"
#include "base/err.h"
#include "baseline/rcache.h"
#include "pgtable/pgtable.h"

/* Above the interrupt window of x86, so that no hole lies in between; up to what tables reach. */
#define FIRST (UINT64_C(1) << 32)
#define LAST  ((UINT64_C(1) << DR_PT_ADDR_BITS) - 1)

/* What the kernel waits between two magazines that its cache trims. */
#define TRIM_MS 100

struct entry {
	uint64_t iova;
	size_t len;
	uint64_t begun; /* invalidations begun when it came in */
};

struct ring {
	_Alignas(128) spinlock lock; /* guards the rest */
	unsigned head, tail;         /* the oldest entry, and the first empty place */
	uint64_t unmaps;
	struct entry entries[KERNEL_FQ_ENTRIES];
};

struct kernel_dma {
	struct dr_pgtable *pt;        /* these three constant */
	struct dr_backend *be;
	struct dr_backend_device *bd;
	struct dr_log log;
	struct rcache *iovas;         /* guards itself */
	unsigned n_rings, timer_ms;   /* constant */
	struct ring *rings;
	_Alignas(128) _Atomic uint64_t begun, ended; /* invalidations */
	_Atomic uint64_t by_full, by_timer;          /* only counts */
	_Alignas(128) _Atomic bool armed;            /* the timer */
	pthread_t timer;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool pending, stop;           /* guarded by lock */
};

static void invalidate(struct kernel_dma *dma)
{
	atomic_fetch_add(&dma->begun, 1);
	dma->be->ops->invalidate(dma->be, 0, LAST);
	atomic_fetch_add(&dma->ended, 1);
}

static bool is_full_locked(const struct ring *r)
{
	return (r->tail + 1) % KERNEL_FQ_ENTRIES == r->head;
}

/* What is covered goes back, oldest first. */
static void give_back_locked(struct kernel_dma *dma, struct ring *r)
{
	uint64_t ended = atomic_load(&dma->ended);

	while (r->head != r->tail && r->entries[r->head].begun < ended) {
		struct entry *e = &r->entries[r->head];

		rcache_free(dma->iovas, e->iova, e->len);
		r->head = (r->head + 1) % KERNEL_FQ_ENTRIES;
	}
}

static void arm(struct kernel_dma *dma)
{
	if (atomic_load_explicit(&dma->armed, memory_order_relaxed) ||
	    atomic_exchange_explicit(&dma->armed, true, memory_order_relaxed) || !dma->timer_ms)
		return;
	pthread_mutex_lock(&dma->lock);
	dma->pending = true;
	pthread_cond_signal(&dma->wake);
	pthread_mutex_unlock(&dma->lock);
}

void kernel_dma_timeout(struct kernel_dma *dma)
{
	atomic_store_explicit(&dma->armed, false, memory_order_relaxed);
	invalidate(dma);
	atomic_fetch_add_explicit(&dma->by_timer, 1, memory_order_relaxed);
	for (unsigned i = 0; i < dma->n_rings; i++) {
		spin_lock(&dma->rings[i].lock);
		give_back_locked(dma, &dma->rings[i]);
		spin_unlock(&dma->rings[i].lock);
	}
}

static void *timer_main(void *arg)
{
	struct kernel_dma *dma = arg;
	struct timespec at;

	pthread_mutex_lock(&dma->lock);
	while (!dma->stop) {
		if (!dma->pending) {
			pthread_cond_wait(&dma->wake, &dma->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &at);
		at.tv_nsec += dma->timer_ms * 1000000l;
		at.tv_sec += at.tv_nsec / 1000000000;
		at.tv_nsec %= 1000000000;
		while (!dma->stop &&
		       pthread_cond_clockwait(&dma->wake, &dma->lock, CLOCK_MONOTONIC, &at) !=
			       ETIMEDOUT)
			;
		dma->pending = false;
		pthread_mutex_unlock(&dma->lock);
		kernel_dma_timeout(dma);
		pthread_mutex_lock(&dma->lock);
	}
	pthread_mutex_unlock(&dma->lock);
	return NULL;
}

int kernel_dma_map(struct kernel_dma *dma, void *va, size_t len, uint64_t *ret_iova)
{
	uint64_t iova = rcache_alloc(dma->iovas, len, 0);
	int err;

	if (iova == CONTENDER_NONE)
		return dr_fail(ENOSPC, "kernel-fq has no IOVA for %zu bytes", len);
	/* Unlinked tables are freed here, as dray does it. */
	if (dr_pgtable_wants_reclaim(dma->pt))
		dr_pgtable_reclaim(dma->pt);
	err = dma->be->ops->map(dma->be, iova, va, len, DR_PTE_READ | DR_PTE_WRITE);
	if (err) {
		rcache_free(dma->iovas, iova, len);
		return err;
	}
	*ret_iova = iova;
	return 0;
}

void kernel_dma_unmap(struct kernel_dma *dma, unsigned thread, uint64_t iova, size_t len)
{
	struct ring *r = &dma->rings[thread];
	size_t gone;

	dma->be->ops->unmap(dma->be, iova, len, &gone);
	spin_lock(&r->lock);
	give_back_locked(dma, r);
	if (is_full_locked(r)) {
		invalidate(dma);
		atomic_fetch_add_explicit(&dma->by_full, 1, memory_order_relaxed);
		give_back_locked(dma, r);
	}
	r->entries[r->tail] = (struct entry){ iova, len, atomic_load(&dma->begun) };
	r->tail = (r->tail + 1) % KERNEL_FQ_ENTRIES;
	r->unmaps++;
	spin_unlock(&r->lock);
	arm(dma);
}

void kernel_dma_counts(struct kernel_dma *dma, struct kernel_dma_counts *ret_counts)
{
	struct kernel_dma_counts c = {
		.invalidations = atomic_load_explicit(&dma->ended, memory_order_relaxed),
		.by_full = atomic_load_explicit(&dma->by_full, memory_order_relaxed),
		.by_timer = atomic_load_explicit(&dma->by_timer, memory_order_relaxed),
	};

	for (unsigned i = 0; i < dma->n_rings; i++) {
		struct ring *r = &dma->rings[i];

		spin_lock(&r->lock);
		c.unmaps += r->unmaps;
		c.waiting += (r->tail - r->head) % KERNEL_FQ_ENTRIES;
		spin_unlock(&r->lock);
	}
	/* What is mapped is unmapped when somebody counts. */
	c.maps = c.unmaps;
	*ret_counts = c;
}

void *kernel_dma_va(struct kernel_dma *dma, uint64_t iova)
{
	return dr_pgtable_va(dma->pt, iova);
}

static int hardware_open(struct kernel_dma *dma, const struct kernel_dma_opts *opts)
{
	struct dr_backend_args args = { .type = DRAY_DOMAIN_PAGING, .log = &dma->log };
	uint64_t replayed;
	int err = dr_pgtable_open(DR_PT_PAGE_SIZES, &dma->pt);

	if (err)
		return err;
	args.pt = dma->pt;
	err = dr_sim_ops.open(&args, &dma->be);
	if (err)
		return err;
	err = dma->be->ops->attach(dma->be, opts->device, NULL, &dma->bd);
	if (err)
		return err;
	err = dma->be->ops->enable(dma->be, dma->bd, &replayed);
	if (!err)
		dr_sim_set_cost(dma->be, opts->invalidate_ns, opts->pin_ns_per_page,
				opts->cost_flags);
	return err;
}

static int timer_start(struct kernel_dma *dma)
{
	int err;

	pthread_mutex_init(&dma->lock, NULL);
	pthread_cond_init(&dma->wake, NULL);
	err = pthread_create(&dma->timer, NULL, timer_main, dma);
	if (!err)
		return 0;
	pthread_cond_destroy(&dma->wake);
	pthread_mutex_destroy(&dma->lock);
	dma->timer_ms = 0;
	return dr_fail(err, "cannot start the flush timer; allow more threads");
}

int kernel_dma_open(const struct kernel_dma_opts *opts, struct kernel_dma **ret_dma)
{
	struct kernel_dma *dma = aligned_alloc(128, sizeof(*dma));
	int err;

	if (!dma)
		return dr_fail(ENOMEM, "no memory for kernel-fq");
	*dma = (struct kernel_dma){ .n_rings = opts->threads };
	dma->rings = aligned_alloc(128, opts->threads * sizeof(*dma->rings));
	if (!dma->rings) {
		err = dr_fail(ENOMEM, "no memory for kernel-fq; ask for fewer threads");
		goto fail;
	}
	for (unsigned i = 0; i < opts->threads; i++)
		dma->rings[i] = (struct ring){ 0 };
	err = hardware_open(dma, opts);
	if (!err)
		err = rcache_open(FIRST, LAST, RCACHE_UNBOUNDED, TRIM_MS, &dma->iovas);
	dma->timer_ms = opts->timer_ms;
	if (!err && dma->timer_ms)
		err = timer_start(dma);
	if (err) {
		dma->timer_ms = 0;
		goto fail;
	}
	*ret_dma = dma;
	return 0;
fail:
	kernel_dma_close(dma);
	return err;
}

void kernel_dma_close(struct kernel_dma *dma)
{
	if (!dma)
		return;
	if (dma->timer_ms) {
		pthread_mutex_lock(&dma->lock);
		dma->stop = true;
		pthread_cond_signal(&dma->wake);
		pthread_mutex_unlock(&dma->lock);
		pthread_join(dma->timer, NULL);
		pthread_cond_destroy(&dma->wake);
		pthread_mutex_destroy(&dma->lock);
	}
	if (dma->iovas) {
		kernel_dma_timeout(dma);
		rcache_close(dma->iovas);
	}
	if (dma->bd)
		dma->be->ops->detach(dma->be, dma->bd, false);
	if (dma->be)
		dma->be->ops->close(dma->be);
	if (dma->pt)
		dr_pgtable_close(dma->pt);
	free(dma->rings);
	free(dma);
}

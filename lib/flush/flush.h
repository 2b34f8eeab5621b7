/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unmaps that wait for each other, so that one flush serves many. The theory is at the top of
 * flush.c. One queue object belongs to one I/O address space whose backend defers something
 * (be->defers); it decides nothing about who may be lazy.
 */
#ifndef DR_FLUSH_H
#define DR_FLUSH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iospace/iospace.h"

struct dr_flush;

/* Zero is the default named beside it. */
struct dr_flush_opts {
	/*
	 * Most bytes that wait. 64 MiB: a full queue of 256 KiB buffers, what a process that may
	 * pin an eighth of a small machine's memory can spare.
	 */
	size_t bytes;
	/*
	 * Most unmaps of one thread that wait. 256, as the kernel's queue: an invalidation of a
	 * microsecond then costs each of them four nanoseconds, and twice as many would gain two.
	 */
	uint32_t entries;
	/*
	 * Longest stale window. 10,000, as the kernel's: under load queues fill in tens of
	 * microseconds, so this bounds what a quiet application leaves behind.
	 */
	uint32_t timeout_us;
	bool polled; /* no thread of ours; dr_flush_poll() is all that knows of time */
	bool lazy;   /* begin so */
};

enum dr_flush_reason {
	DR_FLUSH_FULL,     /* a thread's queue had no room */
	DR_FLUSH_BYTES,    /* the bytes were used up */
	DR_FLUSH_TIMER,    /* something had waited long enough */
	DR_FLUSH_EXPLICIT, /* somebody wanted to be sure */
	DR_FLUSH_PRESSURE, /* no entries, memory or IOVAs left for a map */
	DR_FLUSH_SWITCH,   /* strict was published */
	DR_FLUSH_CLOSE,
	DR_FLUSH_REASONS
};

/* Sums since open, but for what waits now. */
struct dr_flush_stats {
	uint64_t flushes[DR_FLUSH_REASONS]; /* those that had something to do */
	uint64_t flushed;                   /* mappings that flushes covered */
	uint64_t ranges, ranged;            /* unmap calls of flushes; mappings they unmapped */
	uint64_t gaps;                      /* held for one of them */
	uint64_t waiting_entries, waiting_bytes;
	uint64_t longest_ns; /* no stale window was longer; some may have been shorter */
};

/* 0, -ENOMEM, -EAGAIN no thread. */
int dr_flush_open(struct dr_iospace *io, const struct dr_flush_opts *o,
		  struct dr_flush **ret_flush);

/* Flush everything, let the helper thread end. Nobody else is inside. */
void dr_flush_close(struct dr_flush *f);

/*
 * Publish the mode. Strict: on return nothing waits, and no unmap that has not returned by then
 * will leave anything waiting. 0; -ENOMEM, -EAGAIN no helper thread; -EPERM the kernel cannot order
 * other threads' unmaps before the flush: strict is published all the same.
 */
int dr_flush_set_lazy(struct dr_flush *f, bool lazy);

/*
 * In every map: have a queue for this thread, so that its unmaps need not allocate, and give IOVAs
 * back whose flush is over.
 */
void dr_flush_ready(struct dr_flush *f);

/* As dr_flush_put(), of a live range that is mapped but for @guard bytes at its end. */
bool dr_flush_put_guarded(struct dr_flush *f, dray_iova_t iova, size_t mapped, size_t guard,
			  bool *ret_live);

/*
 * Unmap one live mapping lazily. True: it is settled. The IOVA goes back after its flush; where the
 * backend refused, that is counted and logged and the IOVA quarantined. False and *ret_live false:
 * not live, nothing was done. False and *ret_live true: nothing was done, unmap it strictly. Never
 * allocates.
 */
static inline bool dr_flush_put(struct dr_flush *f, dray_iova_t iova, size_t len, bool *ret_live)
{
	return dr_flush_put_guarded(f, iova, len, 0, ret_live);
}

/*
 * On return no device reaches anything that was put before the call, and its IOVAs are back.
 * Always 0.
 */
int dr_flush_now(struct dr_flush *f, enum dr_flush_reason why);

/*
 * What the helper thread does when it wakes up: flush what waits for half the timeout or longer,
 * give back IOVAs of threads that have gone quiet, free tables. Any thread. Always 0.
 */
int dr_flush_poll(struct dr_flush *f);

void dr_flush_stats(const struct dr_flush *f, struct dr_flush_stats *ret_stats);

/* How many unmaps of @len bytes one thread leaves to one flush at most; at least 1. */
uint64_t dr_flush_depth(const struct dr_flush *f, size_t len);

/* --- The word that unmap asks first --- */

enum {
	DR_FLUSH_STRICT = 1 << 0, /* nothing may wait */
	DR_FLUSH_IDLE = 1 << 1,   /* nobody watches the clock: who puts says so */
};

/* First member of struct dr_flush. Bits change rarely; read by every unmap. */
struct dr_flush_face {
	_Atomic uint32_t signals;
};

static inline bool dr_flush_is_lazy(const struct dr_flush *f)
{
	const struct dr_flush_face *face = (const struct dr_flush_face *)f;

	return !(atomic_load_explicit(&face->signals, memory_order_relaxed) & DR_FLUSH_STRICT);
}

#endif

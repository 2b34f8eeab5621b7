/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An IOVA space as the layers above see it: who owns which IOVA. It never touches hardware.
 * Every range is in exactly one state: free, live, retired (its owner is done with it, a device
 * perhaps not), reserved (hole or fixed window), or quarantined. The theory is at the top of
 * space.c.
 */
#ifndef DR_IOVA_SPACE_H
#define DR_IOVA_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/iova.h>
#include <dray/types.h>

/* How a space is built. */
#define DR_IOVA_TREE  1u /* no caches: every call to the tree, one lock, highest address first */
#define DR_IOVA_DEBUG 2u /* caches that tell racing frees apart and delay reuse */

/*
 * Open a space; dray_iova_space_open() opens one of 0: magazines of each thread and a depot stand
 * before the tree (cache.c). 0; as dray_iova_space_open().
 */
int dr_iova_space_open(const struct dray_iova_opts *opts, unsigned how,
		       struct dray_iova_space **ret_space);

/* One request for an automatic address. */
struct dr_iova_request {
	size_t len;             /* bytes, whole granules, not 0 */
	size_t align;           /* power of two of at least the granule */
	uint64_t phase;         /* wanted iova % align; a multiple of the granule, below align */
	dray_iova_t last;       /* no byte above it; DRAY_IOVA_NONE is no limit */
	uint64_t boundary_mask; /* the range crosses no multiple of this + 1; 0 is none */
};

enum dr_iova_resv {
	DR_RESV_HOLE,  /* nobody uses it */
	DR_RESV_FIXED, /* only fixed addresses are taken from it */
};

/* What space_stats shows; the public struct comes with the cached allocator. */
struct dr_iova_counts {
	uint64_t live_ranges, live_bytes; /* all of 2^64 bytes live shows as 0 */
	uint64_t retired_bytes;
	uint64_t quarantined_bytes;
	uint64_t bad_frees; /* refused gives, retirements and quarantines */
};

/*
 * Take a range, as high as the limit allows; never the granule at address 0. 0; -EINVAL malformed,
 * or no address could ever satisfy it; -ENOSPC no room below the limit; -ENOMEM no memory for the
 * record.
 */
int dr_iova_take(struct dray_iova_space *s, const struct dr_iova_request *req,
		 dray_iova_t *ret_iova);

/*
 * Take exactly [first, last]: free, or inside fixed windows, or across both.
 * 0; -EINVAL not whole granules; -EEXIST something live, retired, quarantined, or a hole overlaps;
 * -ERANGE outside the space; -ENOMEM.
 */
int dr_iova_take_fixed(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last);

/*
 * Give back what dr_iova_take() or dr_iova_take_fixed() gave, whole. Every part becomes again what
 * it was. False, and counted, when it is not live with exactly this base and length: the space is
 * unchanged. Never allocates.
 */
bool dr_iova_give(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/* A live range is never to be handed out again. False as dr_iova_give(). Never allocates. */
bool dr_iova_quarantine(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/*
 * A live range waits for a flush: it is not live any more, and nobody gets it before
 * dr_iova_give_retired(), dr_iova_give_retired_home() or dr_iova_quarantine_retired() is called for
 * it. False as dr_iova_give(). Never allocates.
 */
bool dr_iova_retire(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/* As dr_iova_give(), of a retired range: into the calling thread's cache. Never allocates. */
bool dr_iova_give_retired(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/*
 * The same for who flushes what others retired: the range goes to where every thread finds it, not
 * into the caller's cache. Never allocates.
 */
bool dr_iova_give_retired_home(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/* As dr_iova_quarantine(), of a retired range. */
bool dr_iova_quarantine_retired(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/*
 * Take exactly [first, last], whole granules, if all of it is free and nobody's reservation, and
 * that is cheap to know and to do: false is never an error and leaves no message. What it took is
 * live until dr_iova_give() undoes it; nothing else may be done to it. Never allocates.
 */
bool dr_iova_hold_gap(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last);

/*
 * Is [iova, iova + len) exactly one live range? *ret_fixed, unless NULL, tells which call took it.
 */
bool dr_iova_is_live(struct dray_iova_space *s, dray_iova_t iova, size_t len, bool *ret_fixed);

/*
 * Reserve for the caller; the newest kind holds where reservations of callers overlap.
 * 0; -EINVAL; -EEXIST something live, retired or quarantined overlaps, nothing changes; -ERANGE;
 * -ENOMEM.
 */
int dr_iova_resv(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last,
		 enum dr_iova_resv kind);

/*
 * Undo dr_iova_resv() for every part of the range; parts that nobody reserved are fine.
 * 0; -EINVAL; -EBUSY a live or retired fixed range lies on a window in it; -ERANGE; -ENOMEM.
 */
int dr_iova_unresv(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last);

/*
 * Replace the hardware's holes, which are apart from the callers' reservations and stronger:
 * everything in the space outside @usable (ascending, disjoint, shrunk to whole granules) becomes a
 * hole, everything inside stops being one. What is quarantined stays so, in a hole or not.
 * 0; -EINVAL; -EEXIST something live or retired would fall into a hole (nothing changes); -ENOMEM.
 */
int dr_iova_set_usable(struct dray_iova_space *s, const struct dray_range *usable, unsigned n);

/* Any live, retired or quarantined byte in [first, last]? */
bool dr_iova_any_live(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last);

/* The nth (from 0) hole, hardware's and callers' merged, ascending; false past the last. */
bool dr_iova_nth_hole(struct dray_iova_space *s, unsigned n, struct dray_range *ret_hole);

/* The window the space was opened with, rounded. */
struct dray_range dr_iova_window(const struct dray_iova_space *s);

void dr_iova_counts(const struct dray_iova_space *s, struct dr_iova_counts *ret_counts);

/* Tree nodes looked at since open: tests hold costs by counting, not by time. */
uint64_t dr_iova_visits(struct dray_iova_space *s);

/* Every invariant; for tests and debug mode. */
bool dr_iova_space_is_valid(struct dray_iova_space *s);

#endif

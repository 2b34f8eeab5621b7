/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registered memory: mapped once, found by lookup. Lookups are inline, because they are all that a
 * map inside a region does. The theory is at the top of region.c.
 */
#ifndef DR_REGION_H
#define DR_REGION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/region.h>
#include <dray/types.h>

#include "iospace/iospace.h"
#include "region/count.h"
#include "region/table.h"

/* Beside DRAY_REGION_*: no IOMMU is between, IOVA is VA; nothing is mapped and no IOVA taken. */
#define DR_REGION_IDENTITY (1u << 31)

enum dr_region_state {
	DR_REGION_FREE,   /* nobody's */
	DR_REGION_ADDING, /* being registered: takes its range, is not found */
	DR_REGION_LIVE,
	DR_REGION_DYING,  /* being unregistered: translated until it is, but nothing new is mapped */
};

/* A region's descriptor keeps its type, its index and its place until the domain is freed. */
struct dray_region {
	struct dr_regions *regions;   /* constant */
	uint32_t index;               /* constant */
	_Atomic uint32_t shared_out;  /* mappings out, as far as no thread's own slot has them */
	/* Written by who registers, before the state is LIVE; constant from then on. */
	uint32_t flags;
	bool takes_iova;              /* its IOVA came from the domain's space */
	size_t guard;                 /* bytes behind it that came with it and stay unmapped */
	void *va;
	size_t len;
	dray_iova_t iova;
	struct dray_region *next_free; /* guarded by the lock of regions */
};

/*
 * Descriptors come in chunks, each twice as long as the one before, so that a small user pays for
 * few and an index finds its chunk by its highest bit. 64 first ones are a page of memory.
 */
#define DR_FIRST_CHUNK_SHIFT 6
#define DR_REGION_CHUNKS     18 /* of 2^6 .. 2^23 descriptors: indices of 24 bits */

struct dr_regions {
	struct dr_table table;                 /* VA to IOVA; writers under lock */
	/*
	 * Set under lock, once; read by who has an index, which is published later. States (enum
	 * dr_region_state, region.c 4 and 5) are bytes, so that those of many regions share a line.
	 */
	_Atomic(_Atomic uint8_t *) state[DR_REGION_CHUNKS];
	struct dray_region *chunk[DR_REGION_CHUNKS];
	_Atomic(struct dr_table *) reverse;    /* IOVA to VA, PREMAPPED only; set under lock, once */
	struct dr_iospace *io;                 /* constant */
	_Atomic uint32_t n;                    /* written under lock: descriptors there are */
	pthread_mutex_t lock;                  /* after every other but counts.lock; never over a
						* backend call or a grace period */
	struct dray_region *free, **free_end;  /* guarded by lock; first in first out, see region.c */
	struct dr_counts counts;
};

struct dr_region_args {
	dray_iova_t iova; /* DRAY_IOVA_NONE: anywhere; not with PREMAPPED */
	void *va;
	size_t len;
	uint32_t flags;
	/*
	 * Asked once the region is there for dr_regions_any() and before any device can reach it;
	 * 0, or why not. NULL: nobody asks.
	 */
	int (*may_add)(void *ctx, uint32_t flags);
	void *ctx;
};

/* 0, -ENOMEM. */
int dr_regions_open(struct dr_iospace *io, struct dr_regions **ret_regions);

/* Nobody is inside. What is still registered is unmapped. */
void dr_regions_close(struct dr_regions *r);

/*
 * Register. 0; -EINVAL; -EFAULT; -EEXIST overlaps a region, or the IOVAs are taken; -ENOSPC;
 * -ENOMEM; -ERANGE; what may_add says. Not inside a read section.
 */
int dr_region_add(struct dr_regions *r, const struct dr_region_args *args,
		  struct dray_region **ret_region);

/*
 * Unregister. 0; -EBUSY mappings are out, or another unregistration is under way; -EINVAL it is not
 * registered. *ret_gone: it is unregistered by this call; with an error, the backend's, its IOVAs
 * are quarantined and devices may still reach the memory. Not inside a read section.
 */
int dr_region_remove(struct dray_region *region, bool *ret_gone);

/* The I/O space a region, registered or not any more, is in. */
static inline struct dr_iospace *dr_region_iospace(const struct dray_region *region)
{
	return region->regions->io;
}

/* Out of line: what the inline ways below seldom need. */
bool dr_region_ends_in(const struct dr_regions *r, uint64_t word, uint64_t last);
void dr_region_enter_slow(struct dr_regions *r, uint32_t index, uint32_t more);
void dr_region_leave_shared(struct dr_regions *r, uint32_t index, uint32_t n);
size_t dr_region_run_on(const struct dr_regions *r, uint64_t key, dray_iova_t iova, size_t have,
			size_t want);

static inline unsigned dr_region_chunk(uint32_t index, uint32_t *ret_off)
{
	uint32_t at = index + (1u << DR_FIRST_CHUNK_SHIFT);
	unsigned k = 31u - (unsigned)__builtin_clz(at);

	*ret_off = at - (1u << k);
	return k - DR_FIRST_CHUNK_SHIFT;
}

static inline _Atomic uint8_t *dr_region_state(const struct dr_regions *r, uint32_t index)
{
	uint32_t off;
	unsigned k = dr_region_chunk(index, &off);

	/* Relaxed: who has the index had it from something published after the chunk. */
	return atomic_load_explicit(&r->state[k], memory_order_relaxed) + off;
}

/* So many mappings more are out; inside the read section in which the region was found live. */
static inline void dr_region_count_out(struct dr_regions *r, uint32_t index, uint32_t n)
{
	if (__builtin_expect(!dr_counts_add(&r->counts, index, n), 0))
		dr_region_enter_slow(r, index, n);
}

/* A region's bounds: whoever has many buffers finds it once, and counts them at once. */
struct dr_region_view {
	uint64_t va, len; /* all of it */
	dray_iova_t iova;
	uint32_t index;
};

/*
 * The live region that holds @va and allows @dir. It stays so until the read section ends; who maps
 * in it says so by dr_region_count_out() before. False: there is none.
 */
static inline bool dr_region_view(const struct dr_regions *r, const void *va, enum dray_dir dir,
				  struct dr_region_view *ret_view)
{
	uint64_t mask, word = dr_table_find(&r->table, (uintptr_t)va, &mask);
	const struct dray_region *g;
	uint32_t off;

	if (!dr_slot_is_entry(word) || (word & DR_SLOT_READ_ONLY && dir != DRAY_TO_DEVICE))
		return false;
	/* Relaxed, and the rest plain: the entry was published after they were written. */
	if (atomic_load_explicit(dr_region_state(r, dr_slot_index(word)), memory_order_relaxed) !=
	    DR_REGION_LIVE)
		return false;
	g = r->chunk[dr_region_chunk(dr_slot_index(word), &off)];
	g += off;
	*ret_view = (struct dr_region_view){
		.va = (uintptr_t)g->va, .len = g->len, .iova = g->iova, .index = g->index,
	};
	return true;
}

/*
 * Is [va, va + len), not empty, inside one region that is live and allows @dir? Then a mapping is
 * counted out, to be taken back by dr_region_leave(). Inside a read section. May allocate.
 */
static inline bool dr_region_enter(struct dr_regions *r, const void *va, size_t len,
				   enum dray_dir dir, dray_iova_t *ret_iova, uint32_t *ret_index)
{
	uint64_t key = (uintptr_t)va, mask;
	uint64_t word = dr_table_find(&r->table, key, &mask);
	uint32_t index;

	if (!dr_slot_is_entry(word))
		return false;
	if (len - 1 > mask - (key & mask) && !dr_region_ends_in(r, word, key + len - 1))
		return false;
	if (__builtin_expect(word & DR_SLOT_READ_ONLY, 0) && dir != DRAY_TO_DEVICE)
		return false;
	index = dr_slot_index(word);
	/* Relaxed: the grace period orders it and the count below. */
	if (__builtin_expect(atomic_load_explicit(dr_region_state(r, index),
						  memory_order_relaxed) != DR_REGION_LIVE, 0))
		return false;
	dr_region_count_out(r, index, 1);
	*ret_iova = dr_slot_value(word) + (key & mask);
	*ret_index = index;
	return true;
}

/* Mappings that dr_region_enter() counted are gone. Never allocates, opens no read section. */
static inline void dr_region_count_in(struct dr_regions *r, uint32_t index, uint32_t n)
{
	if (__builtin_expect(!dr_counts_add(&r->counts, index, 0 - n), 0))
		dr_region_leave_shared(r, index, n);
}

/* One is. */
static inline void dr_region_leave(struct dr_regions *r, uint32_t index)
{
	dr_region_count_in(r, index, 1);
}

/*
 * Where registered memory is, or DRAY_IOVA_NONE. *inout_len, unless NULL, becomes how much of it
 * goes on from there without a gap in IOVA, at most what it was. Needs no read section.
 */
static inline dray_iova_t dr_region_translate(const struct dr_regions *r, const void *va,
					      size_t *inout_len)
{
	uint64_t key = (uintptr_t)va, mask;
	uint64_t word = dr_table_find(&r->table, key, &mask);
	dray_iova_t iova;
	size_t have;

	if (!dr_slot_is_entry(word))
		return DRAY_IOVA_NONE;
	iova = dr_slot_value(word) + (key & mask);
	have = (size_t)(mask - (key & mask)) + 1;
	if (inout_len && *inout_len > have)
		*inout_len = dr_region_run_on(r, key, iova, have, *inout_len);
	return iova;
}

/*
 * The memory behind an IOVA that somebody else mapped (PREMAPPED), or NULL. The mapping table has
 * none of these: it is what the backends make true, and these are not theirs. No read section.
 */
void *dr_regions_va(const struct dr_regions *r, dray_iova_t iova);

/* Is any region, one that is being registered included, without @flag? */
bool dr_regions_any(struct dr_regions *r, uint32_t without_flag);

/* Any mapping out in a region that reaches above @mask? */
bool dr_regions_out_above(struct dr_regions *r, uint64_t mask);

/* No device is left that could use what is out: count it as none. Returns how many were out. */
uint64_t dr_regions_clear_leaks(struct dr_regions *r);

/* Every invariant, with no writer at work; for tests and debug mode. */
bool dr_regions_is_valid(struct dr_regions *r);

#endif

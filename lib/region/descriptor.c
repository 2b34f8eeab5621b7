// SPDX-License-Identifier: BSD-2-Clause
/*
 * Regions' descriptors, and the house they live in. Descriptors are never given back before it
 * closes: a handle always points at one, and an index always has a state.
 */
#include "region/descriptor.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>

/* A descriptor is written by who registers, and its shared count by everyone. */
#define LINE 64

int dr_regions_open(struct dr_iospace *io, struct dr_regions **ret_regions)
{
	struct dr_regions *r = dr_hooks->alloc(sizeof(*r), LINE);

	if (!r)
		return dr_fail(ENOMEM, "no memory for a domain's regions");
	if (dr_table_open(&r->table)) {
		dr_free(r);
		return dr_fail(ENOMEM, "no address space for a domain's table of regions");
	}
	r->io = io;
	r->free_end = &r->free;
	pthread_mutex_init(&r->lock, NULL);
	dr_counts_open(&r->counts);
	*ret_regions = r;
	return 0;
}

void dr_regions_close(struct dr_regions *r)
{
	struct dr_table *reverse = atomic_load_explicit(&r->reverse, memory_order_relaxed);
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		/* Acquire: who registered it may have been another thread. */
		if (atomic_load_explicit(dr_region_state(r, i), memory_order_acquire) ==
		    DR_REGION_LIVE)
			dr_region_unmap(r, dr_region_at_locked(r, i));
	dr_counts_close(&r->counts);
	dr_table_close(&r->table);
	if (reverse)
		dr_table_close(reverse);
	dr_free(reverse);
	for (unsigned k = 0; k < DR_REGION_CHUNKS; k++)
		dr_free(r->chunk[k]);
	pthread_mutex_destroy(&r->lock);
	dr_free(r);
}

struct dray_region *dr_region_at_locked(const struct dr_regions *r, uint32_t index)
{
	uint32_t off;
	unsigned k = dr_region_chunk(index, &off);

	return &r->chunk[k][off];
}

static void append_free_locked(struct dr_regions *r, struct dray_region *g)
{
	g->next_free = NULL;
	*r->free_end = g;
	r->free_end = &g->next_free;
}

/* One more chunk: descriptors, then as many states. */
static bool grow_locked(struct dr_regions *r)
{
	uint32_t first = atomic_load_explicit(&r->n, memory_order_relaxed), off, n;
	unsigned k = dr_region_chunk(first, &off);
	struct dray_region *chunk;

	if (k >= DR_REGION_CHUNKS)
		return false;
	n = UINT32_C(1) << (k + DR_FIRST_CHUNK_SHIFT);
	chunk = dr_hooks->alloc(n * (sizeof(*chunk) + 1), LINE);
	if (!chunk)
		return false;
	r->chunk[k] = chunk;
	/* Relaxed: found only by an index, and that is published later. */
	atomic_store_explicit(&r->state[k], (_Atomic uint8_t *)(chunk + n), memory_order_relaxed);
	atomic_store_explicit(&r->n, first + n, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++) {
		chunk[i].regions = r;
		chunk[i].index = first + i;
		append_free_locked(r, &chunk[i]);
	}
	return true;
}

struct dray_region *dr_region_take_locked(struct dr_regions *r)
{
	struct dray_region *g;

	if (!r->free && !grow_locked(r))
		return NULL;
	g = r->free;
	r->free = g->next_free;
	if (!r->free)
		r->free_end = &r->free;
	return g;
}

void dr_region_give_locked(struct dr_regions *r, struct dray_region *g)
{
	/* Release: who sees it free, by an old handle, sees that all of it is over. */
	atomic_store_explicit(dr_region_state(r, g->index), DR_REGION_FREE, memory_order_release);
	append_free_locked(r, g);
}

static struct dr_table *reach_reverse_locked(struct dr_regions *r)
{
	struct dr_table *t = atomic_load_explicit(&r->reverse, memory_order_relaxed);

	if (t)
		return t;
	t = dr_alloc(sizeof(*t));
	if (t && dr_table_open(t)) {
		dr_free(t);
		t = NULL;
	}
	/* Release: who finds the table finds its root. */
	atomic_store_explicit(&r->reverse, t, memory_order_release);
	return t;
}

static int claim_reverse_locked(struct dr_regions *r, const struct dray_region *g)
{
	struct dr_table *t = reach_reverse_locked(r);
	int err = t ? dr_table_claim(t, g->iova, g->len, g->index) : -ENOMEM;

	return err == -EEXIST ? dr_fail(EEXIST, "these IOVAs are another premapped region's; "
					"unregister it first") : err;
}

int dr_region_claim_locked(struct dr_regions *r, const struct dray_region *g)
{
	uint64_t key = (uintptr_t)g->va;
	int err = dr_table_claim(&r->table, key, g->len, g->index);

	if (err == -EEXIST)
		return dr_fail(EEXIST, "memory %p+0x%zx overlaps a registered region; register only "
			       "what is in none", g->va, g->len);
	if (!err && (g->flags & DRAY_REGION_PREMAPPED)) {
		err = claim_reverse_locked(r, g);
		if (err)
			dr_table_clear(&r->table, key, g->len);
	}
	return err == -ENOMEM ? dr_fail(ENOMEM, "no memory for the table of regions") : err;
}

void dr_region_clear_locked(struct dr_regions *r, const struct dray_region *g)
{
	dr_table_clear(&r->table, (uintptr_t)g->va, g->len);
	if (g->flags & DRAY_REGION_PREMAPPED)
		dr_table_clear(atomic_load_explicit(&r->reverse, memory_order_relaxed), g->iova,
			       g->len);
}

uint32_t dr_region_out(struct dr_regions *r, struct dray_region *g)
{
	/* Acquire: see dr_counts_sum(). */
	return dr_counts_sum(&r->counts, g->index) +
	       atomic_load_explicit(&g->shared_out, memory_order_acquire);
}

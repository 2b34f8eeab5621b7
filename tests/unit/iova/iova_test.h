/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the IOVA space share: spaces over a memory that can fail, short forms of the
 * calls, and pictures of a space's state. Included by one test program each, after cmocka.
 */
#ifndef IOVA_TEST_H
#define IOVA_TEST_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hooks.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/space.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define PAGE   KIB(4)

/* Which layer a program tests: the tree alone, every answer exact, or the caches in front of it. */
#ifndef SPACE_FLAGS
#define SPACE_FLAGS DR_IOVA_TREE
#endif

#define unused __attribute__((unused))

/* The memory behind the hooks. Single-threaded tests only. */
static struct {
	long until_failure; /* this many allocations succeed, the next one fails; < 0: none fails */
	long failures;      /* how many failed */
	long outstanding;   /* allocated and not freed */
	long calls;
} memory = {.until_failure = -1};

static unused void *memory_alloc(size_t len, size_t align)
{
	void *p;

	memory.calls++;
	if (!memory.until_failure) {
		memory.failures++;
		return NULL;
	}
	if (memory.until_failure > 0)
		memory.until_failure--;
	p = dr_hooks_system.alloc(len, align);
	if (p)
		memory.outstanding++;
	return p;
}

static unused void memory_free(void *p)
{
	if (p)
		memory.outstanding--;
	dr_hooks_system.free(p);
}

static struct dr_hooks test_hooks;

static unused void use_test_memory(void)
{
	test_hooks = dr_hooks_system;
	test_hooks.alloc = memory_alloc;
	test_hooks.free = memory_free;
	dr_hooks = &test_hooks;
}

static unused struct dray_iova_space *open_space(size_t granule, uint64_t first, uint64_t last)
{
	const struct dray_iova_opts opts = {
		.size = sizeof(opts),
		.granule = granule,
		.first = first,
		.last = last,
	};
	struct dray_iova_space *s = NULL;

	assert_int_equal(dr_iova_space_open(&opts, SPACE_FLAGS, &s), 0);
	assert_non_null(s);
	assert_true(dr_iova_space_is_valid(s));
	return s;
}

/* Take below @last, alignment the granule's where 0. DRAY_IOVA_NONE unless it succeeds. */
static unused dray_iova_t take_below(struct dray_iova_space *s, uint64_t len, uint64_t align,
				     uint64_t last)
{
	const struct dr_iova_request req = {
		.len = len,
		.align = align ? align : s->granule,
		.last = last,
	};
	dray_iova_t iova = DRAY_IOVA_NONE;
	int err = dr_iova_take(s, &req, &iova);

	assert_true(!err == (iova != DRAY_IOVA_NONE));
	return iova;
}

static unused dray_iova_t take(struct dray_iova_space *s, uint64_t len, uint64_t align)
{
	return take_below(s, len, align, DRAY_IOVA_NONE);
}

/* Round sizes up wherever that may ever be, however small the space is. */
static unused void always_round(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;

	for (unsigned z = 0; c && z < c->zones; z++)
		if (c->zone[z].first >> 32) {
			c->round_max[z] = UINT64_MAX;
			c->rounding |= 1u << z;
		}
}

/* Spare records would hide a failing allocation. */
static unused void use_up_spares(struct dray_iova_space *s)
{
	struct dr_piece *p;

	while ((p = s->spare)) {
		s->spare = p->right;
		s->spares--;
		dr_free(p);
	}
}

static unused struct dr_iova_counts counts_of(const struct dray_iova_space *s)
{
	struct dr_iova_counts c;

	dr_iova_counts(s, &c);
	return c;
}

/* A space's whole state: equal states have equal pictures, because trees are canonical. */
struct picture {
	size_t n;
	struct {
		uint64_t first, last;
		uint16_t bits;
	} piece[512];
	struct dr_iova_counts counts;
};

static unused void draw(struct dray_iova_space *s, struct picture *ret_picture)
{
	struct dr_piece *p = dr_tree_next(&s->tree, 0, DR_TREE_ANY);

	memset(ret_picture, 0, sizeof(*ret_picture));
	while (p) {
		size_t i = ret_picture->n++;

		assert_true(i < sizeof(ret_picture->piece) / sizeof(ret_picture->piece[0]));
		ret_picture->piece[i].first = p->first;
		ret_picture->piece[i].last = p->last;
		ret_picture->piece[i].bits = p->bits;
		p = p->last < UINT64_MAX ? dr_tree_next(&s->tree, p->last + 1, DR_TREE_ANY) : NULL;
	}
	ret_picture->counts = counts_of(s);
}

#define assert_same_picture(a, b) assert_memory_equal(a, b, sizeof(struct picture))

/* Small, seedable, good enough: a 64-bit xorshift with a multiplier. */
static unused uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

#endif

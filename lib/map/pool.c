// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pools of small coherent blocks.
 *
 * 1. A pool has slabs: coherent memory (coherent.c), a power of two long and aligned to its length,
 *    address and IOVA both. Blocks lie in it one after the other, a stride apart; where one would
 *    cross the boundary it begins behind it instead. Because a slab begins at a multiple of the
 *    boundary or lies inside one, places are the same in each slab and are counted once.
 *
 * 2. One bit a block says that it is out. A slab is found by its address in a sorted array, so a
 *    free is checked (is this a block, is it out, is its IOVA right) before it changes anything.
 *
 * 3. One mutex for the pool: it is meant for blocks that are taken at set-up and per command at
 *    most; it is held over the backend call when a slab is added. Free never allocates: slabs stay
 *    until the pool is closed.
 */
#include "map/map.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"

#include <dray/coherent.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* A slab has room for so many blocks at least: a ring's worth of entries for one backend call. */
#define MIN_BLOCKS 16u
/* Coherent memory is aligned to its own length up to here, which is what places rely on. */
#define MAX_SLAB ((size_t)1 << 21)

struct slab {
	char *va;
	struct dray_mapping m;
	unsigned out;      /* how many blocks are out */
	uint64_t *bits;    /* one for each block: it is out */
};

struct dray_pool {
	struct dray_device *dev;  /* constant */
	struct dray_domain *dom;  /* constant; held as long as a slab is mapped, for its log */
	uint64_t process;         /* constant */
	size_t block, stride, boundary; /* constant; boundary 0 none */
	size_t per_boundary;      /* constant; blocks between two boundaries */
	size_t slab_len;          /* constant */
	unsigned per_slab;        /* constant */
	pthread_mutex_t lock;
	/* Guarded by lock. */
	struct slab *slabs;       /* ascending by address */
	unsigned n_slabs, room;   /* of the array */
};

static size_t place_of(const struct dray_pool *p, unsigned i)
{
	if (!p->boundary)
		return i * p->stride;
	return i / p->per_boundary * p->boundary + i % p->per_boundary * p->stride;
}

/* The device takes a slab as one segment: no longer, and across no boundary. */
static size_t longest_slab(const struct dray_device *dev, size_t granule)
{
	size_t most = MAX_SLAB;

	if (dev->boundary_mask && dev->boundary_mask < most)
		most = (size_t)dev->boundary_mask + 1;
	while (dev->max_segment && most > dev->max_segment)
		most /= 2;
	return most < granule ? granule : most;
}

/* Lengths that follow from what was asked; -EINVAL. */
static int measure(struct dray_pool *p, size_t block, size_t align, size_t boundary,
		   size_t granule)
{
	size_t most = longest_slab(p->dev, granule), len;

	if (!align)
		align = 8;
	if (!block || block > SIZE_MAX / 64)
		return dr_fail(EINVAL, "a block of %zu bytes; ask for at least one, and for large "
			       "ones dray_coherent_alloc()", block);
	if (!dr_is_pow2(align) || (boundary && !dr_is_pow2(boundary)))
		return dr_fail(EINVAL, "alignment %zu and boundary %zu have to be powers of two",
			       align, boundary);
	if (align > MAX_SLAB)
		return dr_fail(EINVAL, "alignment %zu is more than 2 MiB", align);
	if (boundary && block > MAX_SLAB)
		return dr_fail(EINVAL, "a block of %zu bytes is longer than the 2 MiB within which "
			       "boundaries are kept; pass none", block);
	p->block = block;
	p->stride = (size_t)dr_align_up(block, align);
	if (boundary && p->stride > boundary && block > boundary)
		return dr_fail(EINVAL, "a block of %zu bytes crosses every boundary of %zu", block,
			       boundary);
	/* A stride beyond the boundary begins each block at a multiple of both. */
	if (boundary && p->stride > boundary)
		boundary = 0;
	p->boundary = boundary;
	p->per_boundary = boundary ? boundary / p->stride : 0;
	if (boundary && !p->per_boundary)
		p->per_boundary = 1;
	len = (size_t)dr_pow2_up(p->stride * MIN_BLOCKS);
	if (len < granule)
		len = granule;
	if (len > most)
		len = p->stride > most ? (size_t)dr_align_up(p->stride, granule) : most;
	p->slab_len = len;
	if (boundary && boundary < len)
		p->per_slab = (unsigned)(len / boundary * p->per_boundary);
	else
		p->per_slab = (unsigned)(len / p->stride);
	return 0;
}

int dray_pool_open(struct dray_device *dev, size_t block, size_t align, size_t boundary,
		   struct dray_pool **ret_pool)
{
	struct dray_domain *dom;
	struct dray_pool *p;
	int err = dr_device_domain(dev, &dom);

	if (err)
		return err;
	if (!ret_pool)
		return dr_fail(EINVAL, "ret_pool is NULL; pass where the pool goes");
	p = dr_alloc(sizeof(*p));
	if (!p)
		return dr_fail(ENOMEM, "no memory for a pool");
	*p = (struct dray_pool){ .dev = dev, .dom = dom, .process = dr_process_id() };
	err = measure(p, block, align, boundary, (size_t)dom->io.granule_mask + 1);
	if (err) {
		dr_free(p);
		return err;
	}
	pthread_mutex_init(&p->lock, NULL);
	dr_device_hold(dev);
	*ret_pool = p;
	return 0;
}

/* Room in the array for one slab more. */
static bool widen_locked(struct dray_pool *p)
{
	unsigned room = p->room ? 2 * p->room : 4;
	struct slab *slabs;

	if (p->n_slabs < p->room)
		return true;
	slabs = dr_alloc(room * sizeof(*slabs));
	if (!slabs)
		return false;
	if (p->n_slabs)
		memcpy(slabs, p->slabs, p->n_slabs * sizeof(*slabs));
	dr_free(p->slabs);
	p->slabs = slabs;
	p->room = room;
	return true;
}

/* One slab more, in its place. NULL: no memory, no IOVA. */
static struct slab *grow_locked(struct dray_pool *p)
{
	struct slab s = { 0 };
	unsigned i;
	void *va;

	if (!widen_locked(p)) {
		dr_fail(ENOMEM, "no memory for a pool's slab");
		return NULL;
	}
	s.bits = dr_alloc((p->per_slab + 63) / 64 * sizeof(*s.bits));
	if (!s.bits) {
		dr_fail(ENOMEM, "no memory for a pool's slab");
		return NULL;
	}
	memset(s.bits, 0, (p->per_slab + 63) / 64 * sizeof(*s.bits));
	if (dray_coherent_alloc(p->dev, p->slab_len, 0, &va, &s.m)) {
		dr_free(s.bits);
		return NULL;
	}
	s.va = va;
	for (i = p->n_slabs; i && p->slabs[i - 1].va > s.va; i--)
		p->slabs[i] = p->slabs[i - 1];
	p->slabs[i] = s;
	p->n_slabs++;
	return &p->slabs[i];
}

static struct slab *find_locked(struct dray_pool *p, const char *va)
{
	unsigned low = 0, high = p->n_slabs;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (va < p->slabs[mid].va)
			high = mid;
		else if (va >= p->slabs[mid].va + p->slab_len)
			low = mid + 1;
		else
			return &p->slabs[mid];
	}
	return NULL;
}

static struct slab *any_room_locked(struct dray_pool *p)
{
	for (unsigned i = 0; i < p->n_slabs; i++)
		if (p->slabs[i].out < p->per_slab)
			return &p->slabs[i];
	return grow_locked(p);
}

void *dray_pool_alloc(struct dray_pool *p, dray_iova_t *ret_iova)
{
	struct slab *s;
	void *va = NULL;

	if (!p || !ret_iova) {
		dr_fail(EINVAL, "%s is NULL", p ? "ret_iova" : "pool");
		return NULL;
	}
	if (p->process != dr_process_id()) {
		dr_fail(EPERM, "this process was forked after the pool was opened");
		return NULL;
	}
	pthread_mutex_lock(&p->lock);
	s = any_room_locked(p);
	for (unsigned i = 0; s && i < p->per_slab; i += 64) {
		uint64_t free_bits = ~s->bits[i / 64];
		unsigned at;

		if (!free_bits)
			continue;
		at = i + (unsigned)__builtin_ctzll(free_bits);
		s->bits[i / 64] |= UINT64_C(1) << (at % 64);
		s->out++;
		va = s->va + place_of(p, at);
		*ret_iova = s->m.iova + place_of(p, at);
		break;
	}
	pthread_mutex_unlock(&p->lock);
	if (va)
		memset(va, 0, p->block);
	return va;
}

/* Which block of the slab begins at @off and is out; -1: none. */
static long block_at(const struct dray_pool *p, const struct slab *s, size_t off)
{
	size_t i = p->boundary ? off / p->boundary * p->per_boundary + off % p->boundary / p->stride :
				 off / p->stride;

	if (i >= p->per_slab || place_of(p, (unsigned)i) != off ||
	    !(s->bits[i / 64] >> (i % 64) & 1))
		return -1;
	return (long)i;
}

void dray_pool_free(struct dray_pool *p, void *va, dray_iova_t iova)
{
	struct slab *s;
	long i = -1;

	if (!p || !va || p->process != dr_process_id())
		return;
	pthread_mutex_lock(&p->lock);
	s = find_locked(p, va);
	if (s && s->m.iova + (size_t)((char *)va - s->va) == iova)
		i = block_at(p, s, (size_t)((char *)va - s->va));
	if (i >= 0) {
		s->bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
		s->out--;
	}
	pthread_mutex_unlock(&p->lock);
	if (i >= 0)
		return;
	dr_fail(EINVAL, "%p at 0x%" PRIx64 " is not a block of the pool that is out; free what it "
		"gave, once", va, iova);
	dr_count(&p->dom->io.counters, DR_BAD_UNMAPS, 1);
}

void dray_pool_close(struct dray_pool *p)
{
	unsigned out = 0;

	if (!p || p->process != dr_process_id())
		return;
	for (unsigned i = 0; i < p->n_slabs; i++)
		out += p->slabs[i].out;
	if (out) {
		/* Before the slabs go: the device may have left this domain, which they hold. */
		dr_count(&p->dom->io.counters, DR_LEAKS, out);
		dr_log(&p->dom->io.log, LOG_WARNING, "pool closed with %u blocks of %zu bytes out",
		       out, p->block);
	}
	for (unsigned i = 0; i < p->n_slabs; i++) {
		dray_coherent_free(p->dev, p->slabs[i].va, &p->slabs[i].m);
		dr_free(p->slabs[i].bits);
	}
	pthread_mutex_destroy(&p->lock);
	dr_device_unhold(p->dev);
	dr_free(p->slabs);
	dr_free(p);
}

// SPDX-License-Identifier: BSD-2-Clause
/*
 * dray_iova_*: an IOVA space for callers outside. Arguments are checked, rounded to granules and
 * handed on; the work is in space.c and resv.c. Failures leave a message for dray_errmsg().
 */
#include <errno.h>
#include <inttypes.h>

#include <dray/iova.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/structs.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/space.h"
#include "iova/zone.h"

/* The smallest page of every IOMMU there is; no host has smaller ones. */
#define SMALLEST_GRANULE 4096u

/* What narrow page tables reach (four levels), when the caller wishes nothing else. */
#define DEFAULT_LAST (((uint64_t)1 << 48) - 1)

/* What a space without caches has in their place: the short way finds that there is none. */
static _Atomic(struct dr_tcache *) no_caches[DR_THREADS + 1];

/* By every space that has none, the same each time: an initializer would be a relocation each. */
static void open_without_caches(struct dray_iova_space *s)
{
	for (unsigned i = 0; i <= DR_THREADS; i++)
		atomic_store_explicit(&no_caches[i], &dr_tcache_none, memory_order_relaxed);
	s->by_thread = no_caches;
}

/* Whole granules inside [first, last]; -EINVAL where there is none. */
static int round_window(uint64_t first, uint64_t last, uint64_t granule,
			struct dray_range *ret_window)
{
	const uint64_t mask = granule - 1;
	struct dray_range w = {first, last};

	/* A granule begins at or above first, and one ends at or below last. */
	if (first <= UINT64_MAX - mask && last >= mask) {
		w.first = dr_align_up(first, granule);
		if (last < UINT64_MAX)
			w.last = dr_align_down(last + 1, granule) - 1;
		if (w.first <= w.last) {
			*ret_window = w;
			return 0;
		}
	}
	return dr_fail(EINVAL,
		       "IOVA window 0x%" PRIx64 "-0x%" PRIx64 " holds no whole granule of "
		       "0x%" PRIx64 " bytes; the last address is inclusive",
		       first, last, granule);
}

int dr_iova_space_open(const struct dray_iova_opts *opts, unsigned how,
		       struct dray_iova_space **ret_space)
{
	struct dray_iova_opts o = {0};
	struct dray_iova_space *s;
	struct dray_range window;
	int err;

	if (!ret_space)
		return dr_fail(EINVAL, "ret_space is NULL; pass where to store the space");
	if (opts) {
		err = dr_struct_in(&o, sizeof(o), opts);
		if (err)
			return err;
	}
	if (!o.granule)
		o.granule = SMALLEST_GRANULE;
	if (!dr_is_pow2(o.granule) || o.granule < SMALLEST_GRANULE)
		return dr_fail(EINVAL, "granule %zu is not a power of two of at least %u; pass one",
			       o.granule, SMALLEST_GRANULE);
	if (!o.first && !o.last)
		o.last = DEFAULT_LAST;
	err = round_window(o.first, o.last, o.granule, &window);
	if (err)
		return err;
	s = dr_hooks->alloc(sizeof(*s), _Alignof(struct dray_iova_space));
	if (!s)
		return dr_fail(ENOMEM, "no memory for an IOVA space; free some memory");
	s->states_first = UINT64_MAX;
	s->window = window;
	s->granule = o.granule;
	pthread_mutex_init(&s->lock, NULL);
	if (how & DR_IOVA_TREE) {
		open_without_caches(s);
	} else {
		err = dr_cache_open(s, how & DR_IOVA_DEBUG);
		if (err) {
			pthread_mutex_destroy(&s->lock);
			dr_free(s);
			return err;
		}
	}
	*ret_space = s;
	return 0;
}

int dray_iova_space_open(const struct dray_iova_opts *opts, struct dray_iova_space **ret_space)
{
	return dr_iova_space_open(opts, 0, ret_space);
}

void dray_iova_space_close(struct dray_iova_space *s)
{
	struct dr_piece *p;

	if (!s)
		return;
	dr_cache_close(s);
	while ((p = s->tree.root)) {
		dr_tree_erase(&s->tree, p);
		dr_free(p);
	}
	while ((p = s->spare)) {
		s->spare = p->right;
		dr_free(p);
	}
	pthread_mutex_destroy(&s->lock);
	dr_free(s);
}

/* What the short way did not serve. */
static __attribute__((noinline)) dray_iova_t alloc_on(struct dray_iova_space *s, size_t len,
						      size_t align, dray_iova_t last)
{
	struct dr_iova_request req;
	dray_iova_t iova;
	unsigned zone;

	/* A limit, and nothing else out of the ordinary. */
	if (s && s->cache && last && !align) {
		zone = dr_zone_below(s->cache, last);
		if (zone < s->cache->zones && dr_take_zone(s, zone, len, &iova))
			return iova;
	}

	if (!s) {
		dr_fail(EINVAL, "space is NULL; pass one from dray_iova_space_open()");
		return DRAY_IOVA_NONE;
	}
	if (!len || len > SIZE_MAX - (s->granule - 1)) {
		dr_fail(EINVAL, "length %zu %s; pass the number of bytes wanted", len,
			len ? "overflows when rounded to granules" : "is nothing");
		return DRAY_IOVA_NONE;
	}
	if (align && !dr_is_pow2(align)) {
		dr_fail(EINVAL, "alignment %zu is not a power of two; pass one, or 0 for natural",
			align);
		return DRAY_IOVA_NONE;
	}
	req = (struct dr_iova_request){.last = last ? last : DRAY_IOVA_NONE};
	req.len = (size_t)dr_align_up(len, s->granule);
	if (!(align | last) && req.len & (req.len - 1) && dr_take_short(s, req.len, &iova))
		return iova;
	req.align = align;
	if (!align && dr_is_pow2(req.len))
		req.align = req.len;
	if (req.align < s->granule)
		req.align = (size_t)s->granule;
	return dr_iova_take(s, &req, &iova) ? DRAY_IOVA_NONE : iova;
}

dray_iova_t dray_iova_alloc(struct dray_iova_space *s, size_t len, size_t align, dray_iova_t last)
{
	dray_iova_t iova;

	if (__builtin_expect(s && !(align | last) && dr_take_fast(s, len, &iova), 1))
		return iova;
	return alloc_on(s, len, align, last);
}

/* What the short way did not serve. */
static __attribute__((noinline)) void free_on(struct dray_iova_space *s, dray_iova_t iova,
					      size_t len)
{
	if (!s || (!(len & (len - 1)) && dr_give_zone(s, iova, len, DR_SLOT_LIVE)))
		return;
	/* A length that overflows was never taken; 0 was not either, and is refused and counted. */
	if (len > SIZE_MAX - (s->granule - 1))
		len = 0;
	len = (size_t)dr_align_up(len, s->granule);
	if (!(len & (len - 1)) || !dr_give_short(s, iova, len, DR_SLOT_LIVE))
		dr_iova_give(s, iova, len);
}

void dray_iova_free(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	if (__builtin_expect(s && dr_give_fast(s, iova, len, DR_SLOT_LIVE), 1))
		return;
	free_on(s, iova, len);
}

int dray_iova_reserve(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last)
{
	if (!s)
		return dr_fail(EINVAL, "space is NULL; pass one from dray_iova_space_open()");
	return dr_iova_resv(s, first, last, DR_RESV_HOLE);
}

// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bounce pools as a whole: open and close, restricted sets, trust, giving back, numbers. The theory
 * is at the top of bounce.c.
 */
#include "bounce/pool.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <inttypes.h>

/*
 * Long enough that a load that comes and goes keeps its pools, short enough that a burst's pinned
 * memory is soon somebody else's.
 */
#define IDLE_NS UINT64_C(1000000000)
/* A handle names no more slots than that in a pool, and a set has so many pools. */
#define MAX_CEILING (((size_t)DR_SET_POOLS / 2) << (DR_HANDLE_SLOT_BITS + DR_SLOT_SHIFT))

/* --- Open and close --------------------------------------------------------------------------- */

int dr_bounce_open(struct dr_iospace *io, const struct dr_bounce_opts *o,
		   struct dr_bounce **ret_bounce)
{
	size_t ceiling = o && o->bytes ? o->bytes : DR_DEFAULT_CEILING;
	struct dr_bounce *b;

	if (ceiling > MAX_CEILING)
		return dr_fail(EINVAL, "a bounce ceiling of 0x%zx bytes is more than 0x%zx; lower "
			       "bounce_bytes", ceiling, MAX_CEILING);
	b = dr_alloc(sizeof(*b));
	if (!b)
		return dr_fail(ENOMEM, "no memory for the list of bounce pools");
	b->io = io;
	b->granule = (size_t)io->granule_mask + 1;
	b->direct = !io->be->translates || io->be->type == DRAY_DOMAIN_IDENTITY;
	b->trimmed_ns = dr_hooks->clock_ns();
	pthread_mutex_init(&b->lock, NULL);
	dr_set_init(b, &b->shared, ceiling);
	b->sets = &b->shared;
	*ret_bounce = b;
	return 0;
}

/* Unmap what is still out of a private pool. */
static void unmap_slots(struct dr_bounce *b, struct dr_pool *p)
{
	for (unsigned i = 0; i < p->slots; i++) {
		struct dr_slot *s = &p->slot[i];
		dray_iova_t first;
		bool refused;

		if (!(atomic_load_explicit(&s->tag, memory_order_relaxed) & 1))
			continue;
		first = atomic_load_explicit(&s->iova, memory_order_relaxed) - s->off;
		refused = dr_act_unmap(b->io, first, (size_t)s->n << DR_SLOT_SHIFT) != 0;
		dr_act_release(b->io, first, ((size_t)s->n << DR_SLOT_SHIFT) + b->io->guard,
			       refused);
	}
}

static void free_sets(struct dr_bounce *b)
{
	while (b->sets) {
		struct dr_bounce_pool_set *set = b->sets;

		b->sets = set->next;
		if (set != &b->shared)
			dr_free(set);
	}
}

void dr_bounce_close(struct dr_bounce *b)
{
	if (!b)
		return;
	for (unsigned id = 1; id <= b->n_ids; id++) {
		struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_relaxed);

		if (p->linked && !p->permanent)
			unmap_slots(b, p);
		/* No device is left that could use what a backend refuses to unmap. */
		if (p->va && (!p->linked || !dr_pool_unmake(b, p)))
			dr_hooks->munmap(p->va, p->bytes);
	}
	free_sets(b);
	dr_bounce_free(b);
}

/* --- Restricted sets -------------------------------------------------------------------------- */

int dr_bounce_own_open(struct dr_bounce *b, size_t bytes, struct dr_bounce_pool_set **ret_own)
{
	struct dr_bounce_pool_set *set;
	int err;

	/* With less, a copy that keeps its buffer's place in a granule may not fit. */
	if (bytes < 2 * b->granule || bytes > MAX_CEILING)
		return dr_fail(EINVAL, "a device's bounce pool of 0x%zx bytes; ask for 0x%zx to "
			       "0x%zx", bytes, 2 * b->granule, MAX_CEILING);
	set = dr_alloc(sizeof(*set));
	if (!set)
		return dr_fail(ENOMEM, "no memory for a device's bounce pools");
	dr_set_init(b, set, (size_t)dr_align_down(bytes, b->granule));
	pthread_mutex_lock(&b->lock);
	err = dr_set_reserve_locked(b, set);
	if (!err) {
		set->next = b->sets;
		b->sets = set;
	}
	pthread_mutex_unlock(&b->lock);
	if (err) {
		dr_free(set);
		return err;
	}
	*ret_own = set;
	return 0;
}

/* Of all sets there are, or of one. */
static uint64_t high_water_locked(const struct dr_bounce *b, const struct dr_bounce_pool_set *only)
{
	uint64_t sum = 0;

	for (const struct dr_bounce_pool_set *set = b->sets; set; set = set->next) {
		uint64_t high = dr_set_high_bytes_locked(set);

		if (!only || set == only)
			sum += high > set->high_water ? high : set->high_water;
	}
	return sum;
}

static bool pick_any(const struct dr_bounce *b, const struct dr_pool *p, const void *ctx)
{
	(void)b;
	(void)p;
	(void)ctx;
	return true;
}

/* Slots that were lost keep a pool: it stays, as the domain's, until close. */
static void adopt_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set)
{
	for (unsigned id = 1; id <= b->n_ids; id++) {
		struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_relaxed);

		if (p->linked && p->set == set)
			dr_set_abandon_locked(b, p);
	}
}

void dr_bounce_own_close(struct dr_bounce *b, struct dr_bounce_pool_set *own)
{
	struct dr_bounce_pool_set **at = &b->sets;
	uint64_t high;

	if (!own)
		return;
	pthread_mutex_lock(&b->lock);
	high = high_water_locked(b, NULL);
	if (b->high_water < high)
		b->high_water = high;
	dr_set_retire_locked(b, own, pick_any, NULL);
	adopt_locked(b, own);
	dr_set_unreserve_locked(b, own);
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
	pthread_mutex_unlock(&b->lock);
	dr_free(own);
}

void dr_bounce_own_leave(struct dr_bounce *b, struct dr_bounce_pool_set *own)
{
	if (!own)
		return;
	pthread_mutex_lock(&b->lock);
	own->left = true;
	dr_set_retire_locked(b, own, pick_any, NULL);
	pthread_mutex_unlock(&b->lock);
}

void dr_bounce_own_return(struct dr_bounce *b, struct dr_bounce_pool_set *own)
{
	if (!own)
		return;
	pthread_mutex_lock(&b->lock);
	own->left = false;
	pthread_mutex_unlock(&b->lock);
}

size_t dr_bounce_max_len(const struct dr_bounce *b, const struct dr_bounce_pool_set *own,
			 bool trusted)
{
	if (!trusted && b->direct)
		return 0;
	return own ? own->max_len : b->shared.max_len;
}

/* --- Trust, and giving back ------------------------------------------------------------------- */

bool dr_bounce_is_present(const struct dr_bounce *b)
{
	return atomic_load_explicit(&b->permanent, memory_order_relaxed) != 0;
}

static bool pick_permanent(const struct dr_bounce *b, const struct dr_pool *p, const void *ctx)
{
	(void)b;
	(void)ctx;
	return p->permanent;
}

int dr_bounce_retire_idle(struct dr_bounce *b)
{
	bool was;
	int err = 0;

	pthread_mutex_lock(&b->lock);
	/* Where devices address memory itself, private slots cannot take the place of pools. */
	was = b->direct || atomic_exchange_explicit(&b->sealed, true, memory_order_relaxed);
	/* Who has read "unsealed" and not claimed yet finds all bits set, or is in time. */
	dr_set_retire_locked(b, NULL, pick_permanent, NULL);
	if (atomic_load_explicit(&b->permanent, memory_order_relaxed)) {
		atomic_store_explicit(&b->sealed, was && !b->direct, memory_order_relaxed);
		err = dr_fail(EBUSY, "a bounce slot is mapped; unmap its buffer before an "
			      "untrusted device joins");
	}
	pthread_mutex_unlock(&b->lock);
	return err;
}

void dr_bounce_allow_pools(struct dr_bounce *b)
{
	pthread_mutex_lock(&b->lock);
	atomic_store_explicit(&b->sealed, false, memory_order_relaxed);
	pthread_mutex_unlock(&b->lock);
}

struct idle {
	uint32_t since;              /* trims counted */
	const struct dr_pool *kept;
};

static bool pick_idle(const struct dr_bounce *b, const struct dr_pool *p, const void *ctx)
{
	const struct idle *idle = ctx;

	/* A device keeps one of its own where it is: no other's pool could stand in. */
	return p != idle->kept &&
	       (p->set == &b->shared || p->set->left || p->set->bytes > p->bytes) &&
	       !dr_pool_was_used_since(p, idle->since);
}

void dr_bounce_trim(struct dr_bounce *b)
{
	struct idle idle = { 0 };

	if (!atomic_load_explicit(&b->index, memory_order_relaxed) ||
	    pthread_mutex_trylock(&b->lock))
		return;
	if (dr_hooks->clock_ns() - b->trimmed_ns >= IDLE_NS) {
		b->trimmed_ns = dr_hooks->clock_ns();
		/* Claims from here on show a higher number; those since the last look, this one. */
		idle.since = atomic_fetch_add_explicit(&b->epoch, 1, memory_order_relaxed);
		for (unsigned id = 1; id <= b->n_ids && !idle.kept; id++) {
			const struct dr_pool *p =
				atomic_load_explicit(&b->by_id[id], memory_order_relaxed);

			if (p->linked && p->permanent && p->set == &b->shared)
				idle.kept = p;
		}
		dr_set_retire_locked(b, NULL, pick_idle, &idle);
	}
	pthread_mutex_unlock(&b->lock);
}

unsigned dr_bounce_unmap_owner(struct dr_bounce *b, uint64_t owner_bits,
			       void (*fn)(void *ctx, dray_iova_t iova, size_t len), void *ctx)
{
	unsigned owner = dr_pte_owner(owner_bits), n = 0;

	for (unsigned id = 1; id < DR_POOL_IDS; id++) {
		/* Acquire: the pool is seen whole. */
		struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_acquire);

		for (unsigned i = 0; p && i < p->room; i++) {
			struct dr_slot *s = &p->slot[i];

			/* Acquire: pairs with publish(). */
			if (!(atomic_load_explicit(&s->tag, memory_order_acquire) & 1) ||
			    atomic_load_explicit(&s->owner, memory_order_relaxed) != owner)
				continue;
			if (fn)
				fn(ctx, atomic_load_explicit(&s->iova, memory_order_relaxed),
				   atomic_load_explicit(&s->len, memory_order_relaxed));
			dr_slot_unmap(b, p, i, false);
			n++;
		}
	}
	return n;
}

bool dr_bounce_out_above(struct dr_bounce *b, uint64_t owner_bits, uint64_t mask)
{
	unsigned owner = dr_pte_owner(owner_bits);

	for (unsigned id = 1; id < DR_POOL_IDS; id++) {
		/* Acquire: the pool is seen whole. */
		struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_acquire);

		for (unsigned i = 0; p && i < p->room; i++) {
			struct dr_slot *s = &p->slot[i];

			/* Acquire: pairs with publish(). */
			if ((atomic_load_explicit(&s->tag, memory_order_acquire) & 1) &&
			    atomic_load_explicit(&s->owner, memory_order_relaxed) == owner &&
			    atomic_load_explicit(&s->iova, memory_order_relaxed) - 1 +
			    atomic_load_explicit(&s->len, memory_order_relaxed) > mask)
				return true;
		}
	}
	return false;
}

/* --- Numbers ---------------------------------------------------------------------------------- */

static void add_pool(struct dr_bounce_stats *st, const struct dr_pool *p)
{
	st->pools++;
	*(p->permanent ? &st->mapped_bytes : &st->private_bytes) += p->bytes;
	st->used_bytes += (uint64_t)dr_pool_used(p) << DR_SLOT_SHIFT;
	for (unsigned i = 0; i < p->slots; i++)
		st->slots_out += atomic_load_explicit(&p->slot[i].tag, memory_order_relaxed) & 1;
}

void dr_bounce_stats(struct dr_bounce *b, const struct dr_bounce_pool_set *own,
		     struct dr_bounce_stats *ret_stats)
{
	const struct dr_counters *c = &b->io->counters;
	struct dr_bounce_stats st = {
		.ceiling_bytes = (own ? own : &b->shared)->ceiling,
		.maps = dr_counters_sum(c, DR_BOUNCE_MAPS),
		.copied_in_bytes = dr_counters_sum(c, DR_BOUNCE_IN_BYTES),
		.copied_out_bytes = dr_counters_sum(c, DR_BOUNCE_OUT_BYTES),
		.grows = atomic_load_explicit(&b->grows, memory_order_relaxed),
		.shrinks = atomic_load_explicit(&b->shrinks, memory_order_relaxed),
		.failures = atomic_load_explicit(&b->failures, memory_order_relaxed),
		.bad_handles = atomic_load_explicit(&b->bad_handles, memory_order_relaxed),
		.lost_bytes = atomic_load_explicit(&b->lost_bytes, memory_order_relaxed),
	};

	pthread_mutex_lock(&b->lock);
	for (unsigned id = 1; id <= b->n_ids; id++) {
		const struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_relaxed);

		if (p->linked && (!own || p->set == own))
			add_pool(&st, p);
	}
	st.high_water_bytes = high_water_locked(b, own);
	/* What is out at one time was never more than the sets there were had at most. */
	if (!own && st.high_water_bytes < b->high_water)
		st.high_water_bytes = b->high_water;
	pthread_mutex_unlock(&b->lock);
	*ret_stats = st;
}

/* Slots of a pool, each in at most one request, and no bit set that is in none but lost ones. */
static bool is_pool_valid_locked(const struct dr_bounce *b, const struct dr_pool *p,
				 uint64_t *inout_lost)
{
	const struct dr_bounce_pool_set *set = b->sets;
	size_t used = dr_pool_used(p), out = 0;

	while (set && set != p->set)
		set = set->next;
	if (!set)
		return false;
	for (unsigned i = 0; i < p->slots;) {
		const struct dr_slot *s = &p->slot[i];

		if (!(atomic_load_explicit(&s->tag, memory_order_relaxed) & 1)) {
			i++;
			continue;
		}
		if (!s->n || i % p->area_slots + s->n > p->area_slots)
			return false;
		for (unsigned k = 0; k < s->n; k++)
			if (atomic_load_explicit(&p->back[i + k], memory_order_relaxed) != k ||
			    (k && (atomic_load_explicit(&p->slot[i + k].tag,
							memory_order_relaxed) & 1)))
				return false;
		out += s->n;
		i += s->n;
	}
	if (out > used)
		return false;
	*inout_lost += (uint64_t)(used - out) << DR_SLOT_SHIFT;
	return true;
}

bool dr_bounce_is_valid(struct dr_bounce *b)
{
	uint64_t lost = 0;
	unsigned permanent = 0;
	bool ok = true;

	pthread_mutex_lock(&b->lock);
	for (unsigned id = 1; id <= b->n_ids; id++) {
		const struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_relaxed);

		if (!p->linked)
			continue;
		permanent += p->permanent;
		ok &= is_pool_valid_locked(b, p, &lost);
	}
	for (const struct dr_bounce_pool_set *set = b->sets; set; set = set->next) {
		size_t bytes = 0;

		for (unsigned i = 0; i < DR_SET_POOLS; i++) {
			const struct dr_pool *p =
				atomic_load_explicit(&set->pool[i], memory_order_relaxed);

			ok &= !p || (p->linked && p->set == set);
			bytes += p ? p->bytes : 0;
		}
		ok &= bytes == set->bytes && bytes <= set->ceiling;
	}
	ok &= permanent == atomic_load_explicit(&b->permanent, memory_order_relaxed);
	ok &= lost <= atomic_load_explicit(&b->lost_bytes, memory_order_relaxed);
	pthread_mutex_unlock(&b->lock);
	return ok;
}

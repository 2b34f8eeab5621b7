// SPDX-License-Identifier: BSD-2-Clause
/*
 * The software IOMMU: a backend whose hardware is this library.
 *
 * 1. The machine (machine.c) has devices in groups, one IOTLB (iotlb.c), and one invalidation queue
 *    (invq.c). An open backend is one address space of it: a number and the domain's page table. A
 *    device in it has a context entry that points at the space. What a device does (dma.c) goes
 *    from its context to the IOTLB, from there to the page table, from there to memory, or ends as
 *    a fault record (fault.c).
 *
 * 2. Kinds. PAGING translates by the table. IDENTITY takes IOVAs for addresses of this process and
 *    checks nothing. BLOCKED faults every access and refuses maps.
 *
 * 3. Map: check that the memory could be pinned (pin.c), spend what pinning costs, prepare tables,
 *    publish entries. No lock is held. A new entry needs no invalidation: what is not present is
 *    never cached.
 *
 * 4. Unmap clears entries and stops there; devices may still use what the IOTLB or an access under
 *    way holds. Invalidate ends that, and only then are tables that were unlinked free to go. So
 *    whoever wants many unmaps for one invalidation can have it.
 *
 * 5. A device joins by claim (attach: its group is ours) and context entry (enable). The table is
 *    the hardware's own, so nothing is replayed. It moves by one store of its context entry; before
 *    the call returns its accesses to the old space have ended, and what the IOTLB holds of that
 *    space is gone.
 *
 * 6. Profiles say which hardware this stands for: page sizes, usable IOVAs, limits. They are a
 *    table; code asks the profile, never its name.
 *
 * 7. What can fail: open and attach for memory and for the claim; map for memory that cannot be
 *    pinned and for tables. Unmap only if its range cuts what was mapped, or maps nothing; detach
 *    and invalidate never.
 *
 * 8. Costs are zero until dr_sim_set_cost(). They are spun by the hooks' clock: the pin's here,
 *    with no lock held, an invalidation's in the queue.
 *
 *               | map, unmap       invalidate        attach … detach    device access
 *    -----------+-----------------------------------------------------------------------
 *    map, unmap | own IOVAs        own range         nothing shared     all or nothing of an entry
 *    invalidate |                  queue's lock      queue's lock       waits for earlier ones
 *    attach …   |                                    caller, machine's  old or new context; waits
 *    access     |                                                       free
 */
#include "backend/sim/invq.h"
#include "backend/sim/machine.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/process.h"
#include "base/rcu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const struct dr_sim_profile profiles[] = {
	{
		/* Where x86 has its interrupt doorbells nothing is translated. */
		.name = "vtd",
		.page_sizes = DR_PT_PAGE_SIZES,
		.granule = 4096,
		.max_op = UINT64_C(1) << DR_PT_ADDR_BITS,
		.entries_limit = 0,
		.n_usable = 2,
		.usable = {
			{ 0, UINT64_C(0xfedfffff) },
			{ UINT64_C(0xfef00000), (UINT64_C(1) << DR_PT_ADDR_BITS) - 1 },
		},
	},
};

#define N_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

static const struct dr_sim_profile *find_profile(const char *name)
{
	for (size_t i = 0; i < N_PROFILES; i++)
		if (!name || !strcmp(name, profiles[i].name))
			return &profiles[i];
	return NULL;
}

static int refuse_profile(const char *name)
{
	char known[128] = "";

	for (size_t i = 0; i < N_PROFILES; i++) {
		strncat(known, i ? ", " : "", sizeof(known) - strlen(known) - 1);
		strncat(known, profiles[i].name, sizeof(known) - strlen(known) - 1);
	}
	return dr_fail(ENOTSUP, "the software IOMMU has no profile \"%.32s\"; it has %s", name,
		       known);
}

static void fill_limits(struct dr_backend_limits *lim, const struct dr_sim_profile *p)
{
	lim->page_sizes = p->page_sizes;
	lim->granule = p->granule;
	lim->entries_limit = p->entries_limit;
	lim->n_usable = p->n_usable;
	memcpy(lim->usable, p->usable, p->n_usable * sizeof(p->usable[0]));
}

static int sim_open(const struct dr_backend_args *args, struct dr_backend **ret_be)
{
	const struct dr_sim_profile *profile = find_profile(args->profile);
	struct dr_sim *s;

	if (!profile)
		return refuse_profile(args->profile);
	s = dr_hooks->alloc(sizeof(*s), _Alignof(struct dr_sim));
	if (!s)
		return dr_fail(ENOMEM, "no memory for a software IOMMU");
	dr_machine_enter();
	s->base.ops = &dr_sim_ops;
	s->base.type = args->type == DRAY_DOMAIN_DEFAULT ? DRAY_DOMAIN_PAGING : args->type;
	s->base.pt = args->pt;
	s->base.log = args->log;
	s->base.max_op = profile->max_op;
	s->profile = profile;
	s->id = dr_machine_new_space();
	fill_limits(&s->base.limits, profile);
	/* Devices walk the table: its pages wait for invalidations. */
	dr_pgtable_set_cached(args->pt);
	*ret_be = &s->base;
	return 0;
}

/* The last device that left took with it whatever the IOTLB held. */
static void sim_close(struct dr_backend *be)
{
	dr_free(be);
}

/* There is no descriptor. The copy of the space goes with the child. */
static void sim_close_forked(struct dr_backend *be)
{
	(void)be;
}

static int sim_attach(struct dr_backend *be, const char *name, const struct dray_device_opts *opts,
		      struct dr_backend_device **ret_bd)
{
	struct dr_sim_device *dev = dr_hooks->alloc(sizeof(*dev), _Alignof(struct dr_sim_device));
	int err;

	(void)opts; /* limits are the domain's business */
	if (!dev)
		return dr_fail(ENOMEM, "no memory for a device");
	err = dr_machine_claim(name, dr_sim_of(be), dev);
	if (err) {
		dr_free(dev);
		return err;
	}
	dev->base.be = be;
	dev->process = dr_process_id();
	pthread_mutex_init(&dev->fault_lock, NULL);
	*ret_bd = &dev->base;
	return 0;
}

static int sim_enable(struct dr_backend *be, struct dr_backend_device *bd, uint64_t *ret_replayed)
{
	dr_invq_move(dr_sim_device_of(bd), dr_sim_of(be));
	*ret_replayed = 0;
	return 0;
}

static void sim_detach(struct dr_backend *be, struct dr_backend_device *bd, bool forked)
{
	struct dr_sim_device *dev = dr_sim_device_of(bd);

	(void)be;
	/* In a child the machine is another one, or a copy whose locks nobody will ever release. */
	if (forked)
		return;
	dr_invq_move(dev, NULL);
	dr_machine_release(dev);
	pthread_mutex_destroy(&dev->fault_lock);
	dr_free(dev);
}

static int sim_switch_to(struct dr_backend_device *bd, struct dr_backend *to)
{
	struct dr_sim_device *dev = dr_sim_device_of(bd);
	int err = dr_machine_move(dev, dr_sim_of(to));

	if (err)
		return err;
	dr_invq_move(dev, dr_sim_of(to));
	bd->be = to;
	return 0;
}

static int check_range(const struct dr_sim *s, dray_iova_t iova, size_t len)
{
	const struct dr_sim_profile *p = s->profile;

	if (!len || ((iova | len) & (p->granule - 1)) || len > s->base.max_op)
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx is not whole granules of %zu bytes, or "
			       "more than one call takes", iova, len, p->granule);
	if (iova + len - 1 < iova || iova + len - 1 > p->usable[p->n_usable - 1].last)
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx is outside the aperture", iova, len);
	return 0;
}

static int sim_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	struct dr_sim *s = dr_sim_of(be);
	uint64_t pin_ns = atomic_load_explicit(&s->pin_ns_per_page, memory_order_relaxed);
	uint32_t flags = atomic_load_explicit(&s->flags, memory_order_relaxed);
	int err = check_range(s, iova, len);

	if (err)
		return err;
	if (be->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; map in a PAGING domain");
	if (be->type == DRAY_DOMAIN_IDENTITY)
		return 0;
	if (((uintptr_t)va & (s->profile->granule - 1)) || !(bits & (DR_PTE_READ | DR_PTE_WRITE)))
		return dr_fail(EINVAL, "%p is not aligned to %zu bytes, or no access is allowed",
			       va, s->profile->granule);
	if (!(flags & DRAY_SIM_NOCHECK)) {
		err = dr_pin_check(va, len, bits & DR_PTE_WRITE);
		if (err)
			return err;
	}
	dr_sim_spin(pin_ns * (len / s->profile->granule));
	err = dr_pgtable_prepare(be->pt, iova, va, len);
	if (err)
		return err;
	dr_pgtable_set(be->pt, iova, va, len, bits);
	return 0;
}

/* How much of an unmap the armed failure lets through, in whole leaves; @len: all. */
static size_t allowed_length(struct dr_sim *s, dray_iova_t iova, size_t len)
{
	uint64_t armed = atomic_load_explicit(&s->fail_unmap_at, memory_order_relaxed);
	dray_iova_t stop, first;
	size_t leaf;

	if (!armed || (armed - 1) >= len / s->profile->granule)
		return len;
	if (!atomic_compare_exchange_strong_explicit(&s->fail_unmap_at, &armed, 0,
						     memory_order_relaxed, memory_order_relaxed))
		return len;
	stop = iova + (armed - 1) * s->profile->granule;
	if (dr_pgtable_own_leaf(s->base.pt, stop, &first, &leaf))
		stop = first;
	return (size_t)(stop - iova);
}

static int sim_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	struct dr_sim *s = dr_sim_of(be);
	size_t allowed;
	int err = check_range(s, iova, len);

	*ret_gone = 0;
	if (err)
		return err;
	if (be->type == DRAY_DOMAIN_IDENTITY) {
		*ret_gone = len;
		return 0;
	}
	if (dr_pgtable_is_cut(be->pt, iova, len))
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx cuts a mapping; unmap it whole", iova,
			       len);
	allowed = allowed_length(s, iova, len);
	if (allowed < len) {
		if (allowed)
			dr_pgtable_clear(be->pt, iova, allowed);
		*ret_gone = allowed;
		return dr_fail(EIO, "unmap of 0x%" PRIx64 "+0x%zx fails by order of a test", iova,
			       len);
	}
	if (!dr_pgtable_clear(be->pt, iova, len))
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx: nothing is mapped there", iova, len);
	*ret_gone = len;
	return 0;
}

static void sim_invalidate(struct dr_backend *be, dray_iova_t first, dray_iova_t last)
{
	uint64_t flush;

	if (be->type != DRAY_DOMAIN_PAGING)
		return;
	flush = dr_pgtable_flush_begin(be->pt);
	dr_invq_range(dr_sim_of(be), first, last);
	dr_pgtable_flush_end(be->pt, first, last, flush);
}

static uint64_t sim_entries_left(struct dr_backend *be)
{
	(void)be;
	return UINT64_MAX;
}

static int sim_device_fd(const struct dr_backend_device *bd)
{
	(void)bd;
	return dr_fail(ENOTSUP, "a device of the software IOMMU has no descriptor; use dray/sim.h");
}

void dr_sim_set_cost(struct dr_backend *be, uint32_t invalidate_ns, uint32_t pin_ns_per_page,
		     uint32_t flags)
{
	struct dr_sim *s = dr_sim_of(be);

	atomic_store_explicit(&s->invalidate_ns, invalidate_ns, memory_order_relaxed);
	atomic_store_explicit(&s->pin_ns_per_page, pin_ns_per_page, memory_order_relaxed);
	atomic_store_explicit(&s->flags, flags, memory_order_relaxed);
}

void dr_sim_walk(struct dr_backend *be, dray_iova_t iova, struct dr_pt_walk *ret_walk)
{
	dr_rcu_read_lock();
	dr_pgtable_walk(be->pt, iova, ret_walk);
	dr_rcu_read_unlock();
}

void dr_sim_counts(struct dr_backend *be, struct dr_sim_counts *ret_counts)
{
	struct dr_sim *s = dr_sim_of(be);

	*ret_counts = (struct dr_sim_counts){
		.hits = atomic_load_explicit(&s->hits, memory_order_relaxed),
		.misses = atomic_load_explicit(&s->misses, memory_order_relaxed),
		.dropped_fills = atomic_load_explicit(&s->dropped_fills, memory_order_relaxed),
		.invalidations = atomic_load_explicit(&s->invalidations, memory_order_relaxed),
	};
}

void dr_sim_invalidate_all(struct dr_backend *be)
{
	dr_invq_global(dr_sim_of(be));
}

void dr_sim_set_max_op(struct dr_backend *be, uint64_t max_op)
{
	be->max_op = max_op;
}

void dr_sim_fail_unmap_at(struct dr_backend *be, uint64_t pages)
{
	atomic_store_explicit(&dr_sim_of(be)->fail_unmap_at, pages + 1, memory_order_relaxed);
}

const struct dr_backend_ops dr_sim_ops = {
	.kind = DRAY_BACKEND_SIM,
	.name = "sim",
	.can_switch = true,
	.isolates = true,
	.pins = false,
	.open = sim_open,
	.close = sim_close,
	.close_forked = sim_close_forked,
	.attach = sim_attach,
	.enable = sim_enable,
	.detach = sim_detach,
	.switch_to = sim_switch_to,
	.map = sim_map,
	.unmap = sim_unmap,
	.invalidate = sim_invalidate,
	.entries_left = sim_entries_left,
	.device_fd = sim_device_fd,
};

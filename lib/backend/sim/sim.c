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
 *    checks nothing. BLOCKED faults every access and refuses maps. Where there is no IOMMU there is
 *    only IDENTITY, and DEFAULT means it. IDENTITY holds a device to nothing: it isolates none.
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
 * 6. Profiles say which hardware this stands for: page sizes, usable IOVAs, limits, what can wait
 *    (profile.c). Where nothing can, unmap invalidates what it cleared before it returns, also
 *    when it fails half-way. Where devices do not look into the CPU's caches, map sets an image
 *    of memory beside each page and unmap takes it away (image.c).
 *
 * 7. What can fail: open and attach for memory and for the claim; map for memory that cannot be
 *    pinned and for tables. Unmap only if its range cuts what was mapped, or maps nothing; detach
 *    and invalidate never.
 *
 * 8. Costs are zero until dr_sim_set_cost(). They are spun (spin.c): the pin's here, with no lock
 *    held, an invalidation's in the queue.
 *
 *               | map, unmap       invalidate        attach … detach    device access
 *    -----------+-----------------------------------------------------------------------
 *    map, unmap | own IOVAs        own range         nothing shared     all or nothing of an entry
 *    invalidate |                  queue's lock      queue's lock       waits for earlier ones
 *    attach …   |                                    caller, machine's  old or new context; waits
 *    access     |                                                       free
 */
#include "backend/sim/image.h"
#include "backend/sim/invq.h"
#include "backend/sim/machine.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/process.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void fill_limits(struct dr_backend_limits *lim, const struct dr_sim_profile *p)
{
	lim->page_sizes = p->page_sizes;
	lim->granule = p->granule;
	lim->entries_limit = p->entries_limit;
	lim->n_usable = p->n_usable;
	memcpy(lim->usable, p->usable, p->n_usable * sizeof(p->usable[0]));
}

/* What a space of @profile opened as @wanted is. */
static int resolve_type(const struct dr_sim_profile *profile, enum dray_domain_type wanted,
			enum dray_domain_type *ret_type)
{
	*ret_type = wanted;
	if (wanted == DRAY_DOMAIN_DEFAULT)
		*ret_type = profile->translates ? DRAY_DOMAIN_PAGING : DRAY_DOMAIN_IDENTITY;
	else if (wanted != DRAY_DOMAIN_IDENTITY && !profile->translates)
		return dr_fail(ENOTSUP, "profile \"%s\" has no IOMMU to translate or to block with; "
			       "open the domain as DRAY_DOMAIN_DEFAULT or DRAY_DOMAIN_IDENTITY",
			       profile->name);
	return 0;
}

static int sim_open(const struct dr_backend_args *args, struct dr_backend **ret_be)
{
	const struct dr_sim_profile *profile;
	struct dr_sim *s;
	enum dray_domain_type type;
	int err = dr_sim_find_profile(args->profile, &profile);

	if (!err)
		err = resolve_type(profile, args->type, &type);
	if (err)
		return err;
	s = dr_hooks->alloc(sizeof(*s), _Alignof(struct dr_sim));
	if (!s)
		return dr_fail(ENOMEM, "no memory for a software IOMMU");
	err = profile->walker_snoops ? 0 : dr_pgtable_set_apart(args->pt, NULL);
	if (err) {
		dr_free(s);
		return err;
	}
	dr_machine_enter();
	s->base.ops = &dr_sim_ops;
	s->base.type = type;
	s->base.pt = args->pt;
	s->base.log = args->log;
	s->base.defers = type == DRAY_DOMAIN_PAGING ? profile->defers : DR_DEFER_NOTHING;
	s->base.translates = profile->translates;
	s->base.isolates = type != DRAY_DOMAIN_IDENTITY;
	s->base.max_op = profile->max_op;
	s->profile = profile;
	s->granule_mask = profile->granule - 1;
	s->last = profile->usable[profile->n_usable - 1].last;
	s->simple = type == DRAY_DOMAIN_PAGING && profile->snoops && !profile->splits &&
		    !profile->refuses_override;
	s->id = dr_machine_new_space();
	fill_limits(&s->base.limits, profile);
	/* Devices walk the table: its pages wait for invalidations. */
	dr_pgtable_set_cached(args->pt);
	dr_pgtable_limit_sizes(args->pt, profile->page_sizes);
	*ret_be = &s->base;
	return 0;
}

/* Take away the images of what is mapped in the caller's range. */
static void remove_images(struct dr_sim *s, dray_iova_t iova, size_t len)
{
	dray_iova_t end = iova + len;

	while (iova != end) {
		size_t size = s->profile->granule;
		unsigned shift;
		/* No read section: the range is the caller's own, and nobody takes its tables. */
		uint64_t e = dr_pgtable_lookup(s->base.pt, iova, &shift);

		if (e) {
			size = (size_t)1 << shift;
			dr_image_remove((const void *)(uintptr_t)(e & DR_PTE_ADDR), size);
		}
		iova += size;
	}
}

/* The last device that left took with it whatever the IOTLB held. */
static void sim_close(struct dr_backend *be)
{
	struct dr_sim *s = dr_sim_of(be);
	struct dr_pt_mapping m;
	dray_iova_t from = 0, last = s->profile->usable[s->profile->n_usable - 1].last;

	/* Pieces: a mapping may lie anywhere in memory. */
	while (!s->profile->snoops && dr_pgtable_next_piece(be->pt, from, last, &m)) {
		dr_image_remove(m.va, m.len);
		from = m.iova + m.len;
	}
	dr_free(be);
}

/* There is no descriptor. The copy of the space goes with the child. */
static void sim_close_forked(struct dr_backend *be)
{
	(void)be;
}

/* May a device with these flags be in the space? */
static int check_device(const struct dr_sim *s, uint32_t flags)
{
	if ((flags & DRAY_DEVICE_UNTRUSTED) && !s->base.isolates)
		return dr_fail(EPERM, "nothing holds an untrusted device to its mappings where IOVAs "
			       "are addresses; open it in a PAGING domain%s",
			       s->profile->translates ? "" : " of a profile with an IOMMU");
	/* The model of a cache needs nothing of the real one. */
	return flags & DRAY_DEVICE_NONCOHERENT && s->profile->snoops ? dr_cpu_check() : 0;
}

static void set_coherency(struct dr_sim_device *dev, const struct dr_sim *s)
{
	atomic_store_explicit(&dev->base.coherent, s->profile->snoops &&
			      !(dev->flags & DRAY_DEVICE_NONCOHERENT), memory_order_relaxed);
}

static int sim_attach(struct dr_backend *be, const char *name, const struct dray_device_opts *opts,
		      struct dr_backend_device **ret_bd)
{
	uint32_t flags = opts ? opts->flags : 0;
	struct dr_sim_device *dev;
	int err = check_device(dr_sim_of(be), flags);

	if (err)
		return err;
	dev = dr_hooks->alloc(sizeof(*dev), _Alignof(struct dr_sim_device));
	if (!dev)
		return dr_fail(ENOMEM, "no memory for a device");
	err = dr_machine_claim(name, dr_sim_of(be), dev);
	if (err) {
		dr_free(dev);
		return err;
	}
	dev->base.be = be;
	dev->base.enforces_coherency = dr_sim_of(be)->profile->snoops;
	dev->flags = flags;
	set_coherency(dev, dr_sim_of(be));
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
	int err = check_device(dr_sim_of(to), dev->flags);

	if (!err)
		err = dr_machine_move(dev, dr_sim_of(to));
	if (err)
		return err;
	dr_invq_move(dev, dr_sim_of(to));
	bd->enforces_coherency = dr_sim_of(to)->profile->snoops;
	set_coherency(dev, dr_sim_of(to));
	bd->be = to;
	return 0;
}

static __attribute__((noinline)) int refuse_range(const struct dr_sim *s, dray_iova_t iova,
						  size_t len)
{
	if (!len || ((iova | len) & s->granule_mask) || len > s->base.max_op)
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx is not whole granules of %zu bytes, or "
			       "more than one call takes", iova, len, s->profile->granule);
	return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx is outside the aperture", iova, len);
}

static inline int check_range(const struct dr_sim *s, dray_iova_t iova, size_t len)
{
	dray_iova_t last = iova + len - 1;

	/* An empty range ends before it begins, or above every aperture. */
	if (__builtin_expect(last < iova || last > s->last || ((iova | len) & s->granule_mask) ||
			     len > s->base.max_op, 0))
		return refuse_range(s, iova, len);
	return 0;
}

/* Is anything of the caller's own range mapped? */
static bool is_occupied(const struct dr_sim *s, dray_iova_t iova, size_t len)
{
	dray_iova_t first;
	size_t leaf;

	for (size_t off = 0; off < len; off += s->profile->granule)
		if (dr_pgtable_own_leaf(s->base.pt, iova + off, &first, &leaf))
			return true;
	return false;
}

/* What pinning the memory would refuse, and what it costs. */
static inline int pin(struct dr_sim *s, const void *va, size_t len, uint64_t bits)
{
	uint64_t pin_ns = atomic_load_explicit(&s->pin_ns_per_page, memory_order_relaxed);
	uint32_t flags = atomic_load_explicit(&s->flags, memory_order_relaxed);
	int err;

	if (((uintptr_t)va & s->granule_mask) || !(bits & (DR_PTE_READ | DR_PTE_WRITE)))
		return dr_fail(EINVAL, "%p is not aligned to %zu bytes, or no access is allowed",
			       va, s->profile->granule);
	if (!(flags & DRAY_SIM_NOCHECK)) {
		err = dr_pin_check(va, len, bits & DR_PTE_WRITE);
		if (err)
			return err;
	}
	if (pin_ns)
		dr_sim_spin(pin_ns * (len >> __builtin_ctzll(s->granule_mask + 1)));
	return 0;
}

/* What is not simple. */
static __attribute__((noinline)) int map_special(struct dr_sim *s, dray_iova_t iova, void *va,
						 size_t len, uint64_t bits)
{
	int err;

	if (s->base.type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; map in a PAGING domain");
	if (s->base.type == DRAY_DOMAIN_IDENTITY)
		return 0;
	if (s->profile->refuses_override && is_occupied(s, iova, len))
		return dr_fail(EEXIST, "something is mapped in 0x%" PRIx64 "+0x%zx; unmap it first",
			       iova, len);
	err = pin(s, va, len, bits);
	if (err)
		return err;
	if (s->profile->snoops)
		return dr_pgtable_map(s->base.pt, iova, va, len, bits);
	err = dr_pgtable_prepare(s->base.pt, iova, va, len);
	if (!err)
		err = dr_image_add(va, len);
	if (err)
		return err;
	dr_pgtable_set(s->base.pt, iova, va, len, bits);
	return 0;
}

static int sim_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	struct dr_sim *s = dr_sim_of(be);
	int err = check_range(s, iova, len);

	if (err)
		return err;
	if (__builtin_expect(!s->simple, 0))
		return map_special(s, iova, va, len, bits);
	err = pin(s, va, len, bits);
	return err ? err : dr_pgtable_map(be->pt, iova, va, len, bits);
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

/* Invalidate what was cleared of [first, last]. */
static void flush(struct dr_sim *s, dray_iova_t first, dray_iova_t last)
{
	uint64_t flush = dr_pgtable_flush_begin(s->base.pt);

	dr_invq_range(s, first, last);
	dr_pgtable_flush_end(s->base.pt, first, last, flush);
}

/* How much of an unmap the hardware does, and why no more; @len: all of it. */
static size_t doable_length(struct dr_sim *s, dray_iova_t iova, size_t len, int *ret_err)
{
	size_t allowed = allowed_length(s, iova, len);

	*ret_err = 0;
	if (allowed < len)
		*ret_err = dr_fail(EIO, "unmap of 0x%" PRIx64 "+0x%zx fails by order of a test",
				   iova, len);
	if (s->profile->splits && allowed) {
		size_t splittable = dr_sim_splittable(s, iova, allowed);

		if (splittable < allowed)
			*ret_err = dr_fail(ENOMEM, "the hypervisor has no memory to split a "
					   "superpage at 0x%" PRIx64 "; nothing helps but to give "
					   "it some", iova + splittable);
		allowed = splittable;
	}
	return allowed;
}

/* What is not simple, or more than a page. The range is one that can be. */
static __attribute__((noinline)) int unmap_any(struct dr_sim *s, dray_iova_t iova, size_t len,
					       size_t *ret_gone)
{
	size_t doable, cleared;
	int err;

	*ret_gone = 0;
	if (s->base.type == DRAY_DOMAIN_IDENTITY) {
		*ret_gone = len;
		return 0;
	}
	if (dr_pgtable_is_cut(s->base.pt, iova, len))
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx cuts a mapping; unmap it whole", iova,
			       len);
	doable = doable_length(s, iova, len, &err);
	if (!s->profile->snoops)
		remove_images(s, iova, doable);
	cleared = doable ? dr_pgtable_clear(s->base.pt, iova, doable) : 0;
	if (cleared && s->base.defers == DR_DEFER_NOTHING)
		flush(s, iova, iova + doable - 1);
	if (!err && !cleared)
		return dr_fail(EINVAL, "0x%" PRIx64 "+0x%zx: nothing is mapped there", iova, len);
	*ret_gone = doable;
	return err;
}

static int sim_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	struct dr_sim *s = dr_sim_of(be);
	int err = check_range(s, iova, len);

	*ret_gone = 0;
	if (err)
		return err;
	if (__builtin_expect(len != 4096 || !s->simple ||
			     atomic_load_explicit(&s->fail_unmap_at, memory_order_relaxed), 0) ||
	    !dr_pgtable_clear_one(be->pt, iova))
		return unmap_any(s, iova, len, ret_gone);
	if (be->defers == DR_DEFER_NOTHING)
		flush(s, iova, iova + len - 1);
	*ret_gone = len;
	return 0;
}

static void sim_invalidate(struct dr_backend *be, dray_iova_t first, dray_iova_t last)
{
	if (be->defers == DR_DEFER_INVALIDATION)
		flush(dr_sim_of(be), first, last);
}

static void sim_clean(struct dr_backend *be, const void *va, size_t len)
{
	struct dr_sim *s = dr_sim_of(be);

	if (s->profile->snoops)
		dr_cpu_clean(va, len);
	else
		dr_image_clean(s, va, len);
}

static void sim_drop(struct dr_backend *be, const void *va, size_t len)
{
	struct dr_sim *s = dr_sim_of(be);

	if (s->profile->snoops)
		dr_cpu_invalidate(va, len);
	else
		dr_image_drop(s, va, len);
}

static int sim_uncache(struct dr_backend *be, void *va, size_t len)
{
	if (dr_sim_of(be)->profile->snoops)
		return dr_fail(ENOTSUP, "this IOMMU snoops always, so that no memory has to be kept "
			       "out of caches; open the device without DRAY_DEVICE_NONCOHERENT");
	return dr_image_uncache(va, len);
}

static void sim_recache(struct dr_backend *be, void *va, size_t len)
{
	(void)be;
	dr_image_recache(va, len);
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

const struct dr_backend_ops dr_sim_ops = {
	.kind = DRAY_BACKEND_SIM,
	.name = "sim",
	.can_switch = true,
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
	.clean = sim_clean,
	.drop = sim_drop,
	.uncache = sim_uncache,
	.recache = sim_recache,
	.entries_left = sim_entries_left,
	.device_fd = sim_device_fd,
};

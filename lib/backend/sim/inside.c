// SPDX-License-Identifier: BSD-2-Clause
/* An address space of the software IOMMU from inside: its costs, its counts, and orders to fail. */
#include "backend/sim/invq.h"
#include "backend/sim/machine.h"
#include "base/rcu.h"

void dr_sim_set_cost(struct dr_backend *be, uint32_t invalidate_ns, uint32_t pin_ns_per_page,
		     uint32_t flags)
{
	struct dr_sim *s = dr_sim_of(be);

	dr_sim_spin_ready();
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

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void dr_sim_counts(struct dr_backend *be, struct dr_sim_counts *ret_counts)
{
	struct dr_sim *s = dr_sim_of(be);

	*ret_counts = (struct dr_sim_counts){
		.hits = load(&s->hits),
		.misses = load(&s->misses),
		.dropped_fills = load(&s->dropped_fills),
		.invalidations = load(&s->invalidations),
		.stale_reuses = load(&s->stale_reuses),
		.splits = load(&s->splits),
		.cleaned_lines = load(&s->cleaned_lines),
		.dropped_lines = load(&s->dropped_lines),
		.stale_reads = load(&s->stale_reads),
		.wrong_drops = load(&s->wrong_drops),
		.lost_writes = load(&s->lost_writes),
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

void dr_sim_fail_split(struct dr_backend *be, uint64_t nth)
{
	atomic_store_explicit(&dr_sim_of(be)->fail_split_in, nth, memory_order_relaxed);
}

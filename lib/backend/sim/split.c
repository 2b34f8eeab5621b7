// SPDX-License-Identifier: BSD-2-Clause
/*
 * A hypervisor's superpages. Its guest names pages of 4 KiB, but where 512 of them follow each
 * other in IOVA and in memory the hypervisor keeps one entry of its own for them, whichever calls
 * mapped them. A call that unmaps a part of them has to split that entry first, for which the
 * hypervisor needs a page of memory; when it has none the call ends there, with what came before
 * gone and the rest still mapped.
 *
 * Nothing is kept about this beside the table: a block of 2 MiB whose 512 entries follow each other
 * is a superpage, and is none any more once one of them has gone. Only a block at either end of a
 * range can need a split, so at most two are looked at, and most looks end at the first gap.
 */
#include "backend/sim/machine.h"

#define BLOCK ((dray_iova_t)1 << 21)
#define PAGE  ((dray_iova_t)1 << 12)

#define SAME_IN_ALL (DR_PTE_READ | DR_PTE_WRITE)

/*
 * Read without a read section, which a thread's first could not be had for nothing: the caller owns
 * a part of the block, so nobody else can take out the table that holds it.
 */
static uint64_t entry_at(const struct dr_sim *s, dray_iova_t iova)
{
	unsigned shift;

	return dr_pgtable_lookup(s->base.pt, iova, &shift);
}

static bool is_superpage(const struct dr_sim *s, dray_iova_t block)
{
	uint64_t head = entry_at(s, block);

	if (!head || (head & DR_PTE_ADDR & (BLOCK - 1)))
		return false;
	/* The last first: it is what is missing of a block that is being filled. */
	for (dray_iova_t off = BLOCK - PAGE; off; off -= PAGE) {
		uint64_t e = entry_at(s, block + off);

		if ((e & DR_PTE_ADDR) != (head & DR_PTE_ADDR) + off ||
		    ((e ^ head) & SAME_IN_ALL))
			return false;
	}
	return true;
}

/* Has the hypervisor the memory for one more split? */
static bool can_split(struct dr_sim *s)
{
	uint64_t left = atomic_load_explicit(&s->fail_split_in, memory_order_relaxed);

	atomic_fetch_add_explicit(&s->splits, 1, memory_order_relaxed);
	if (!left)
		return true;
	atomic_store_explicit(&s->fail_split_in, left - 1, memory_order_relaxed);
	return left != 1;
}

size_t dr_sim_splittable(struct dr_sim *s, dray_iova_t iova, size_t len)
{
	dray_iova_t end = iova + len, head = iova & ~(BLOCK - 1), tail = (end - 1) & ~(BLOCK - 1);

	if ((iova & (BLOCK - 1) || end < head + BLOCK) && is_superpage(s, head) && !can_split(s))
		return 0;
	if (tail != head && end & (BLOCK - 1) && is_superpage(s, tail) && !can_split(s))
		return (size_t)(tail - iova);
	return len;
}

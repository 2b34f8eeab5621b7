// SPDX-License-Identifier: BSD-2-Clause
/*
 * The invalidation queue: one for the machine, in order.
 *
 * 1. An invalidation is queued after entries were cleared and ends when no device reaches anything
 *    through them. Under the queue's lock it cleans the IOTLB, spends what is left of its
 *    modelled cost, which counts from the moment the lock is held, and drains: waits for the
 *    accesses that began before, because one that has looked up its translation may still be
 *    copying.
 *
 * 2. A device's context entry, which says whose tables it walks, is written under the same lock,
 *    and followed by the same invalidation and drain.
 *
 * 3. Draining. Each device has an epoch, and counts the accesses under way by the epoch's parity.
 *    An access counts itself in under the epoch it read, and reads the epoch again: if that has
 *    moved on, it starts over. A drain moves the epoch on and waits for the old parity's count to
 *    reach zero. An access that counted itself in and then still read the old epoch is one the
 *    drain sees: its count comes before that read, the read before the drain's store, the store
 *    before the drain's first look, in the one order that sequentially consistent operations have.
 *    An access that begins in the new epoch sees everything that came before the drain: cleared
 *    entries, a clean IOTLB, the new context. The other parity belongs to the epoch before, which
 *    the drain before this one has seen end. Accesses are counted granule by granule, so a drain
 *    waits for a granule to be copied, however long the transfer is.
 *
 * 4. Who meets whom.
 *
 *                  | access           invalidation            context write
 *    --------------+-------------------------------------------------------------
 *    access        | free             waits if it began first  waits if it began first
 *    invalidation  |                  the lock, in order       the lock, in order
 *    context write |                                           the lock, in order
 *
 * 5. A space without devices has nothing in the IOTLB and nobody to wait for; its invalidations end
 *    at once and cost nothing. A device that joins does so under the lock: the entries it can walk
 *    to are those that were not cleared before.
 *
 * 6. Nothing here can fail, and nothing allocates.
 */
#include "backend/sim/invq.h"
#include "backend/sim/iotlb.h"
#include "base/hooks.h"

#include <sched.h>

static struct {
	pthread_mutex_t lock;
	struct dr_sim_device *devices; /* all that are in some space; guarded by lock */
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER };

/*
 * Looks at a count before the processor is given away: about a microsecond, in which a granule is
 * copied ten times over. An access that takes longer has lost its processor, maybe to this thread.
 */
#define LOOKS_BEFORE_YIELD 64

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static void wait_for(struct dr_sim_device *dev, unsigned parity)
{
	/* Sequentially consistent: see 3; and what the access did comes before what follows. */
	for (unsigned looks = 0; atomic_load(&dev->active[parity]); looks++) {
		if (looks < LOOKS_BEFORE_YIELD)
			relax();
		else
			sched_yield();
	}
}

static bool is_in(struct dr_sim_device *dev, const struct dr_sim *space)
{
	/* Written under the lock that is held. */
	return !space || atomic_load_explicit(&dev->space, memory_order_relaxed) == space;
}

/* Drain the devices of one space, or of all; then one more that has just left. */
static void drain_locked(const struct dr_sim *space, struct dr_sim_device *left)
{
	const struct dr_sim_seam *seam = dr_sim_seam();

	if (seam && seam->draining)
		seam->draining(seam->ctx);
	for (struct dr_sim_device *dev = queue.devices; dev; dev = dev->next)
		if (dev == left || (!left && is_in(dev, space))) {
			uint64_t epoch = atomic_load_explicit(&dev->epoch, memory_order_relaxed);

			atomic_store(&dev->epoch, epoch + 1); /* see 3 */
			wait_for(dev, (unsigned)epoch & 1);
		}
}

/* One invalidation on behalf of @payer: clean, spend, drain. @of: whose entries, 0: everybody's. */
static void invalidate_locked(struct dr_sim *payer, uint64_t of, dray_iova_t first,
			      dray_iova_t last, struct dr_sim_device *left)
{
	uint32_t ns = atomic_load_explicit(&payer->invalidate_ns, memory_order_relaxed);
	uint64_t start = ns ? dr_hooks->clock_ns() : 0;

	dr_iotlb_invalidate(of, first, last);
	if (ns)
		dr_sim_spin_since(start, ns);
	drain_locked(of == DR_IOTLB_ALL ? NULL : payer, left);
	atomic_fetch_add_explicit(&payer->invalidations, 1, memory_order_relaxed);
}

void dr_invq_range(struct dr_sim *space, dray_iova_t first, dray_iova_t last)
{
	pthread_mutex_lock(&queue.lock);
	if (space->devices)
		invalidate_locked(space, space->id, first, last, NULL);
	pthread_mutex_unlock(&queue.lock);
}

void dr_invq_domain(struct dr_sim *space)
{
	dr_invq_range(space, 0, UINT64_MAX);
}

void dr_invq_global(struct dr_sim *space)
{
	pthread_mutex_lock(&queue.lock);
	invalidate_locked(space, DR_IOTLB_ALL, 0, UINT64_MAX, NULL);
	pthread_mutex_unlock(&queue.lock);
}

static void link_locked(struct dr_sim_device *dev)
{
	dev->next = queue.devices;
	queue.devices = dev;
}

static void unlink_locked(struct dr_sim_device *dev)
{
	struct dr_sim_device **p = &queue.devices;

	while (*p != dev)
		p = &(*p)->next;
	*p = dev->next;
}

void dr_invq_move(struct dr_sim_device *dev, struct dr_sim *to)
{
	struct dr_sim *from;

	pthread_mutex_lock(&queue.lock);
	from = atomic_load_explicit(&dev->space, memory_order_relaxed);
	if (!from && to)
		link_locked(dev);
	if (to)
		to->devices++;
	/* Release: an access that finds the space finds it whole. */
	atomic_store_explicit(&dev->space, to, memory_order_release);
	if (from) {
		from->devices--;
		invalidate_locked(from, from->id, 0, UINT64_MAX, dev);
	}
	if (from && !to)
		unlink_locked(dev);
	pthread_mutex_unlock(&queue.lock);
}

void dr_invq_reset(void)
{
	pthread_mutex_init(&queue.lock, NULL);
	queue.devices = NULL;
}

bool dr_sim_queue_is_held(void)
{
	if (pthread_mutex_trylock(&queue.lock))
		return true;
	pthread_mutex_unlock(&queue.lock);
	return false;
}

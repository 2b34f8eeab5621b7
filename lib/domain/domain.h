/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A domain and its devices, as the map layer sees them. Who may hold what, and for how long, is
 * told at the top of domain.c.
 */
#ifndef DR_DOMAIN_H
#define DR_DOMAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dray/device.h>
#include <dray/domain.h>

#include "base/process.h"
#include "base/slab.h"
#include "bounce/bounce.h"
#include "bounce/measure.h"
#include "flush/flush.h"
#include "iospace/iospace.h"
#include "region/region.h"

/* Life of a domain or a device. The word stays readable for ever: see base/slab.h. */
enum dr_state {
	DR_FREE,    /* in the slab, or never used */
	DR_OPEN,
	DR_CLOSING, /* its owner closed it; devices or receipts still hold it */
};

/* Lock ranks, to be taken in this order: attach_lock < explicit_lock < dr_life_lock. */

/* Which sizes are copied because that is cheaper. Written under attach_lock, read by maps. */
struct dr_copied {
	struct {
		_Atomic size_t above, up_to;
	} run[DR_COPY_RUNS];
};

struct dray_domain {
	struct dr_slab_link slab;
	_Atomic uint32_t state;          /* enum dr_state; written under dr_life_lock */

	/* Set at open, constant while any thread may hold the domain. */
	uint64_t process;                /* dr_process_id() of the opener */
	uint32_t flags;
	enum dray_domain_type type;

	/* What its parts act on; each field says who guards it. */
	struct dr_iospace io;
	/* Its parts, constant as the rest; each says at its own place what guards it. */
	struct dr_flush *flush;
	struct dr_bounce *bounce;
	struct dr_regions *regions;

	/*
	 * Untrusted devices in it. Written under attach_lock, before a grace period and the flush;
	 * read by maps in their read section.
	 */
	_Atomic unsigned untrusted;
	bool wants_lazy;                 /* guarded by attach_lock; what was asked for */
	/* What every device in it reaches. Written under dr_life_lock; a hint to who reads it. */
	_Atomic uint64_t shared_mask;
	_Atomic unsigned region_era;     /* counts settlements of regions; under attach_lock */
	/* As asked for: 0, bytes, or DRAY_BOUNCE_AUTO; see costs.c. Written under attach_lock. */
	_Atomic size_t bounce_threshold;
	/*
	 * No longer buffer is copied because that is cheaper, in the mode in effect; or in another, in
	 * the moment of a switch. As above.
	 */
	_Atomic size_t copy_most;
	/* What that comes to: of a strict and of a lazy map, of bytes that go both ways and one. */
	struct dr_copied copied[2][2];
	struct dr_costs costs;           /* guarded by attach_lock */
	bool costs_given, costs_known;   /* guarded by attach_lock */

	/* Attach, enable, detach, switch and be->limits, one at a time. Held over ioctls. */
	pthread_mutex_t attach_lock;
	/* dray_domain_map and dray_domain_unmap, one at a time. Held over ioctls. */
	pthread_mutex_t explicit_lock;

	/* The list of links, taken before the lock of one of them. No lock above is taken inside. */
	pthread_mutex_t link_lock;
	struct dray_link *links;         /* guarded by link_lock */

	/* Guarded by dr_life_lock. */
	unsigned devices;                /* devices that are in this domain now */
	struct dr_attachment *attachments;
	uint64_t owners[(DR_OWNER_MAX + 1) / 64]; /* owner numbers in use */
	struct dray_domain *next_closing;
};

/*
 * That a device is, or was, in a domain. It outlasts the device's stay, because what the device
 * mapped there stays mapped and counts as its own until the device is closed.
 */
struct dr_attachment {
	struct dray_domain *dom;              /* constant */
	struct dray_device *dev;              /* constant */
	unsigned owner;                       /* constant; the device's number in dom's table */
	/*
	 * The device's own bounce pools there; NULL: it uses the domain's. Written under attach_lock
	 * before the record is published for the first time, constant from then on.
	 */
	struct dr_bounce_pool_set *own;
	struct dr_attachment *next_of_domain; /* guarded by dr_life_lock */
	struct dr_attachment *next_of_device; /* guarded by dr_life_lock */
};

struct dray_device {
	struct dr_slab_link slab;
	_Atomic uint32_t state;               /* enum dr_state; written under dr_life_lock */

	/* Where the device is. Read in a read section; replaced under the attach locks. */
	_Atomic(struct dr_attachment *) here;
	struct dr_attachment *attachments;    /* guarded by dr_life_lock */

	struct dr_backend_device *bd;         /* constant while open */
	uint64_t process;                     /* constant while open */
	_Atomic uint64_t dma_mask;            /* ones; written under attach_lock */
	uint64_t boundary_mask;               /* constant while open; 0 none */
	size_t max_segment, min_align;        /* constant while open; 0 none */
	size_t bounce_bytes;                  /* constant while open; of its own pools, 0 none */
	uint32_t flags;                       /* DRAY_DEVICE_*; constant while open */
	/* No limit but the mask, and coherent. Written under attach_lock; see registered.c. */
	_Atomic bool plain;
	unsigned holds;                       /* links and pools; guarded by dr_life_lock */
	char name[64];                        /* constant while open */
};

extern pthread_mutex_t dr_life_lock;

/*
 * Hold the domain a device is in for one receipt: on success the receipt counts as given out and
 * dr_domain_leave() must follow, now or when it is unmapped. The read section in which the domain
 * was found is left open, so that what else is decided by it (trust, a region) is one with it;
 * dr_rcu_read_unlock() must follow soon. The record stays as long as domain and device do.
 * 0; -EINVAL NULL or closed; -EPERM forked child. Context: allowed to allocate.
 */
int dr_domain_enter(struct dray_device *dev, struct dr_attachment **ret_att);

/* Is this a domain that this process may use? 0; -EINVAL NULL or closed; -EPERM forked child. */
int dr_domain_check(const struct dray_domain *dom);

/* Is this a device that this process may use? 0; -EINVAL NULL; -EPERM forked child. */
int dr_device_check(const struct dray_device *dev);

/*
 * The same, and the domain it is in, which is not held: what is constant in it may be read as long
 * as the device stays there. 0; as above, and -EINVAL closed.
 */
int dr_device_domain(const struct dray_device *dev, struct dray_domain **ret_dom);

static inline bool dr_domain_is_forked(const struct dray_domain *dom)
{
	return !dr_process_is(dom->process);
}

static inline bool dr_device_is_forked(const struct dray_device *dev)
{
	return !dr_process_is(dev->process);
}

/* Can a buffer be copied at all for devices in it? Constant. */
static inline bool dr_domain_can_bounce(const struct dray_domain *dom)
{
	return (dom->type == DRAY_DOMAIN_PAGING || !dom->io.be->translates) &&
	       !(dom->flags & DRAY_DOMAIN_NO_BOUNCE);
}

/* Is no untrusted device in it? Inside the read section of dr_domain_enter() it stays true. */
static inline bool dr_domain_is_trusted(const struct dray_domain *dom)
{
	return !atomic_load_explicit(&dom->untrusted, memory_order_acquire);
}

/*
 * Something could not be had: is it worth another try? Flushes what waits; true when that freed
 * anything. Slow; holds no lock.
 */
bool dr_domain_relieve(struct dray_domain *dom);

/* The invalidation that the wish, the backend and the devices allow. attach_lock is held. */
int dr_domain_apply_invalidation_locked(struct dray_domain *dom);

/*
 * Is a buffer of @len bytes copied because that is cheaper than to map it, in the mode in effect,
 * where no copy is forbidden?
 */
static inline bool dr_domain_copies(const struct dray_domain *dom, enum dray_dir dir, size_t len)
{
	const struct dr_copied *copied =
		&dom->copied[dr_flush_is_lazy(dom->flush)][dir == DRAY_TO_DEVICE];

	for (unsigned i = 0; i < DR_COPY_RUNS; i++)
		if (len <= atomic_load_explicit(&copied->run[i].up_to, memory_order_relaxed) &&
		    len > atomic_load_explicit(&copied->run[i].above, memory_order_relaxed))
			return true;
	return false;
}

/* --- costs.c --- */

/* Does a caller know what things cost? */
bool dr_costs_are_given(const struct dray_domain_opts *o);

/* Costs as the options give them, if they do. Before the domain is known to anybody. */
void dr_domain_init_costs(struct dray_domain *dom, const struct dray_domain_opts *o);

/*
 * Where the threshold is automatic and costs are not known: measure them, now that a device has
 * been attached that nobody can map for yet. What cannot be measured is logged. attach_lock is
 * held.
 */
void dr_domain_measure_locked(struct dray_domain *dom);

/* What is known holds no longer: once more, at once if a device is there. attach_lock is held. */
void dr_domain_costs_changed_locked(struct dray_domain *dom);

/* The largest buffer that is copied because that is cheaper, by mode and direction. */
size_t dr_domain_copy_up_to(const struct dray_domain *dom, bool lazy, bool once);

/* The mode in effect, the costs or what was asked for have changed. attach_lock is held. */
void dr_domain_publish_choice_locked(struct dray_domain *dom);

/* Another bounce_threshold from now on. attach_lock is held. */
void dr_domain_choose_locked(struct dray_domain *dom, size_t bounce_threshold);

/*
 * An untrusted device is about to join: strict, whole granules and no pool from here on, whatever
 * waited is flushed. 0; -EPERM a region is shared with trusted devices only; -EBUSY a partial
 * granule or a pool slot is mapped. dr_domain_distrust_undo_locked() is the inverse, also for when
 * the device has left. attach_lock is held.
 */
int dr_domain_distrust_locked(struct dray_domain *dom);
void dr_domain_distrust_undo_locked(struct dray_domain *dom);

/* A link or a pool keeps its device. The last one to let go of a closed device closes it. */
void dr_device_hold(struct dray_device *dev);
void dr_device_unhold(struct dray_device *dev);

/* Tear down every closed domain that nothing holds any more. */
void dr_reap(void);

/*
 * One receipt is gone. Afterwards the caller may not touch the domain: it may be freed by this
 * very call. Never allocates, never fails.
 */
static inline void dr_domain_leave(struct dray_domain *dom)
{
	/* Release: what this thread did to the domain comes before its teardown. */
	dr_count_order(&dom->io.counters, DR_ENDED, 1, memory_order_release);
	/* The compiler may not read ahead; the processor is held by the closer's barrier: domain.c 4. */
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&dom->state, memory_order_relaxed) == DR_CLOSING,
			     0))
		dr_reap();
}

/* The device that leaves was the last: settle what is out in regions. attach_lock is held. */
void dr_domain_settle_regions_locked(struct dray_domain *dom);

/* Unmap what a device left mapped in a domain; counts leaks. */
void dr_domain_unmap_owner(struct dray_domain *dom, unsigned owner);

#endif

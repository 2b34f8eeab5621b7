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
#include "iospace/iospace.h"

/* Life of a domain or a device. The word stays readable for ever: see base/slab.h. */
enum dr_state {
	DR_FREE,    /* in the slab, or never used */
	DR_OPEN,
	DR_CLOSING, /* its owner closed it; devices or receipts still hold it */
};

/* Lock ranks, to be taken in this order: attach_lock < explicit_lock < dr_life_lock. */

struct dray_domain {
	struct dr_slab_link slab;
	_Atomic uint32_t state;          /* enum dr_state; written under dr_life_lock */

	/* Set at open, constant while any thread may hold the domain. */
	uint64_t process;                /* dr_process_id() of the opener */
	uint32_t flags;
	enum dray_domain_type type;

	/* What its parts act on; each field says who guards it. */
	struct dr_iospace io;

	/* Attach, enable, detach, switch and be->limits, one at a time. Held over ioctls. */
	pthread_mutex_t attach_lock;
	/* dray_domain_map and dray_domain_unmap, one at a time. Held over ioctls. */
	pthread_mutex_t explicit_lock;

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
	char name[64];                        /* constant while open */
};

extern pthread_mutex_t dr_life_lock;

/*
 * Hold the domain a device is in for one receipt: on success the receipt counts as given out and
 * dr_domain_leave() must follow, now or when it is unmapped. *ret_owner: the device's number.
 * 0; -EINVAL NULL or closed; -EPERM forked child. Context: allowed to allocate.
 */
int dr_domain_enter(struct dray_device *dev, struct dray_domain **ret_dom, unsigned *ret_owner);

/*
 * One receipt is gone. Afterwards the caller may not touch the domain: it may be freed by this
 * very call. Never allocates, never fails.
 */
void dr_domain_leave(struct dray_domain *dom);

/* Is this a domain that this process may use? 0; -EINVAL NULL or closed; -EPERM forked child. */
int dr_domain_check(const struct dray_domain *dom);

static inline bool dr_domain_is_forked(const struct dray_domain *dom)
{
	return dom->process != dr_process_id();
}

static inline bool dr_device_is_forked(const struct dray_device *dev)
{
	return dev->process != dr_process_id();
}

/* Tear down every closed domain that nothing holds any more. */
void dr_reap(void);

/* Unmap what a device left mapped in a domain; counts leaks. */
void dr_domain_unmap_owner(struct dray_domain *dom, unsigned owner);

#endif

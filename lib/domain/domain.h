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

#include "backend/backend.h"
#include "base/log.h"
#include "base/process.h"
#include "base/slab.h"
#include "iova/space.h"
#include "pgtable/pgtable.h"
#include "stats/counters.h"

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
	const struct dr_backend_ops *ops;
	struct dr_backend *be;
	struct dr_pgtable *pt;
	struct dray_iova_space *space;
	uint32_t flags;
	enum dray_domain_type type;
	uint64_t granule_mask;           /* granule - 1 */
	dray_iova_t first, last;         /* the window */
	struct dr_log log;

	_Atomic bool damaged;            /* set once, by whoever sees it first */

	/* Attach, enable, detach, switch and be->limits, one at a time. Held over ioctls. */
	pthread_mutex_t attach_lock;
	/* dray_domain_map and dray_domain_unmap, one at a time. Held over ioctls. */
	pthread_mutex_t explicit_lock;

	/* Guarded by dr_life_lock. */
	unsigned devices;                /* devices that are in this domain now */
	struct dr_attachment *attachments;
	uint64_t owners[(DR_OWNER_MAX + 1) / 64]; /* owner numbers in use */
	struct dray_domain *next_closing;

	struct dr_counters counters;
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

/*
 * The backend call behind every map and unmap (act.c). The caller owns [iova, iova + len) and
 * both are whole granules. Requests beyond the backend's max_op are split; a map that fails
 * half-way is undone, and *ret_refused tells that undoing was refused somewhere, so that the IOVA
 * must be quarantined.
 */
int dr_act_map(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len, uint64_t bits,
	       bool *ret_refused);

/*
 * Unmap one whole mapping; on return no device reaches it. 0, or the backend's error after having
 * counted and logged it and marked the domain damaged: then the IOVA must be quarantined.
 */
int dr_act_unmap(struct dray_domain *dom, dray_iova_t iova, size_t len);

/* Give an IOVA back, or quarantine it when a backend still holds it. */
void dr_act_release(struct dray_domain *dom, dray_iova_t iova, size_t len, bool refused);

/* Unmap what a device left mapped in a domain; counts leaks. */
void dr_act_unmap_owner(struct dray_domain *dom, unsigned owner);

#endif

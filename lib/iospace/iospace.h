/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What acting on an I/O address space needs: the backend, the mapping table it keeps true, the
 * space of IOVAs, counters and a log. A domain is one of these with an owner, devices and a life
 * (domain/domain.h); what stands between, the flush queue, bounce pools, regions, needs no more.
 */
#ifndef DR_IOSPACE_H
#define DR_IOSPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/bits.h"
#include "base/log.h"
#include "iova/space.h"
#include "pgtable/pgtable.h"
#include "stats/counters.h"

struct dr_iospace {
	/* Set when the domain opens, constant while any thread may hold it. */
	const struct dr_backend_ops *ops;
	struct dr_backend *be;
	struct dr_pgtable *pt;
	struct dray_iova_space *space;
	uint64_t granule_mask;           /* granule - 1 */
	dray_iova_t first, last;         /* the window */
	/*
	 * Bytes of IOVA that stay unmapped behind every range whose place nobody chose; 0, or a
	 * granule. They are live as long as the range is.
	 */
	size_t guard;
	struct dr_log log;

	_Atomic bool damaged;            /* set once, by whoever sees it first */
	struct dr_counters counters;
};

/*
 * The backend call behind every map and unmap (act.c). The caller owns [iova, iova + len) and
 * both are whole granules. Requests beyond the backend's max_op are split; a map that fails
 * half-way is undone, and *ret_refused tells that undoing was refused somewhere, so that the IOVA
 * must be quarantined.
 */
int dr_act_map(struct dr_iospace *io, dray_iova_t iova, void *va, size_t len, uint64_t bits,
	       bool *ret_refused);

/*
 * Unmap one whole mapping; on return no device reaches it. 0, or the backend's error after having
 * counted and logged it and marked the address space damaged: then the IOVA must be quarantined.
 */
int dr_act_unmap(struct dr_iospace *io, dray_iova_t iova, size_t len);

/*
 * The half of it that need not wait, where the backend defers invalidations: what was cleared is
 * reached until somebody invalidates it.
 */
int dr_act_clear(struct dr_iospace *io, dray_iova_t iova, size_t len);

/*
 * Ask for a guard behind what @req asks for, where the address space has them. It is not sent to,
 * so it may lie above @req's last address.
 */
static inline void dr_iospace_add_guard(const struct dr_iospace *io, struct dr_iova_request *req)
{
	if (!io->guard)
		return;
	/* What is aligned to its own size crosses nothing larger, whatever follows it. */
	if (req->boundary_mask && req->align < dr_pow2_up(req->len))
		req->align = dr_pow2_up(req->len);
	req->boundary_mask = 0;
	req->len += io->guard;
	if (req->last <= DRAY_IOVA_NONE - io->guard)
		req->last += io->guard;
}

/* Give an IOVA back, or quarantine it when a backend still holds it. */
void dr_act_release(struct dr_iospace *io, dray_iova_t iova, size_t len, bool refused);

/* A backend refused to unmap: count it, log it, remember it. */
void dr_act_damage(struct dr_iospace *io, dray_iova_t iova, size_t len, size_t gone, int err);

#endif

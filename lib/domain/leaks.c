// SPDX-License-Identifier: BSD-2-Clause
/* What a closing device left mapped: found in the table by its owner number, and taken back. */
#include "domain/domain.h"

#include <inttypes.h>

void dr_domain_unmap_owner(struct dray_domain *dom, unsigned owner)
{
	struct dr_pt_mapping m;
	dray_iova_t from = dom->io.first;

	while (from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m)) {
		/* The table cannot hold 2^64, so this does not wrap. */
		from = m.iova + m.len;
		/* What was refused before is quarantined: its receipt has ended, nobody owns it. */
		if (dr_pte_owner(m.bits) != owner ||
		    !dr_iova_is_live(dom->io.space, m.iova, m.len, NULL))
			continue;
		dr_act_release(&dom->io, m.iova, m.len, dr_act_unmap(&dom->io, m.iova, m.len) != 0);
		dr_count(&dom->io.counters, DR_LEAKS, 1);
		dr_log(&dom->io.log, LOG_WARNING, "device closed with 0x%" PRIx64 "+0x%zx mapped; "
		       "unmapped", m.iova, m.len);
		dr_domain_leave(dom);
	}
}

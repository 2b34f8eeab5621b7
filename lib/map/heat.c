// SPDX-License-Identifier: BSD-2-Clause
/* What a domain's IOVAs are used for: its space knows. */
#include "map/map.h"

#include <dray/iova.h>

int dray_domain_heat(const struct dray_domain *dom, dray_iova_t first, dray_iova_t last, size_t n,
		     struct dray_iova_cell *ret_cells)
{
	int err = dr_domain_check(dom);

	return err ? err : dray_iova_space_heat(dom->io.space, first, last, n, ret_cells);
}

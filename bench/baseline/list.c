// SPDX-License-Identifier: BSD-2-Clause
#include "baseline/contender.h"

#include <string.h>

const struct contender *const contenders[] = {
	&contender_dray,
	&contender_dray_tree,
	&contender_dray_lazy,
	&contender_rcache_unbounded,
	&contender_rcache_fixed_depot,
	&contender_rcache_256,
	&contender_rcache_fixed_depot_256,
	&contender_rbtree,
	&contender_floor,
	&contender_floor_called,
	&contender_floor_sized,
#ifdef WITH_DPDK
	&contender_dpdk,
#endif
	NULL,
};

const struct contender *contender_find(const char *name)
{
	if (!strcmp(name, "rcache"))
		return &contender_rcache_unbounded;
	for (unsigned i = 0; contenders[i]; i++)
		if (!strcmp(contenders[i]->name, name))
			return contenders[i];
	return NULL;
}

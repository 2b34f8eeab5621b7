// SPDX-License-Identifier: BSD-2-Clause
/* Open a domain that has to know what things cost, and ask it. */
#include <stdio.h>

#include <dray/dray.h>
#include <dray/sim.h>

#include "base/err.h"
#include "doctor/costs.h"

#include <errno.h>

/* What VT-d costs: an invalidation that is waited for, and one page of a bulk pin. */
#define INVALIDATE_NS 1060
#define PIN_NS        70

static void take(const struct dray_domain_info *info, struct doctor_costs *c)
{
	_Static_assert(DOCTOR_COST_SIZES == DRAY_COST_SIZES, "all sizes are told");

	c->slot_ns = info->cost_slot_ns;
	for (unsigned i = 0; i < DOCTOR_COST_SIZES; i++) {
		c->copy_ns[i] = info->cost_copy_ns[i];
		c->map_ns[i] = info->cost_map_ns[i];
		c->lazy_map_ns[i] = info->cost_lazy_map_ns[i];
	}
	c->copy_up_to = info->copy_up_to;
	c->copy_up_to_once = info->copy_up_to_once;
	c->lazy_copy_up_to = info->lazy_copy_up_to;
	c->lazy_copy_up_to_once = info->lazy_copy_up_to_once;
}

int doctor_measure(const char *device, struct doctor_costs *ret_costs)
{
	struct dray_domain_opts opts = {
		.size = sizeof(opts),
		.backend = device ? DRAY_BACKEND_TYPE1 : DRAY_BACKEND_SIM,
		.bounce_threshold = DRAY_BOUNCE_AUTO,
		.flags = DRAY_DOMAIN_POLLED,
	};
	struct doctor_costs c = { .backend = device ? "type1" : "sim" };
	struct dray_domain_info info = { .size = sizeof(info) };
	struct dray_domain *dom = NULL;
	struct dray_device *dev = NULL;
	int err = dray_domain_open(&opts, &dom);

	if (!err && !device)
		err = dray_sim_set_cost(dom, INVALIDATE_NS, PIN_NS, DRAY_SIM_NOCHECK);
	if (!err)
		err = dray_device_open(dom, device ? device : "sim0", NULL, &dev);
	if (!err)
		err = dray_domain_info(dom, &info);
	/* Strict maps cost something wherever they were measured. */
	if (!err && !info.cost_map_ns[DRAY_COST_SIZES - 1])
		err = dr_fail(ENODATA, "costs could not be measured: memory, or what of it may be "
			      "pinned, is short");
	if (!err) {
		take(&info, &c);
		snprintf(c.device, sizeof(c.device), "%s", device ? device : "sim0");
		if (device)
			snprintf(c.model, sizeof(c.model), "real");
		else
			snprintf(c.model, sizeof(c.model), "modelled: %d ns an invalidation, %d ns "
				 "a pinned page", INVALIDATE_NS, PIN_NS);
		*ret_costs = c;
	}
	dray_device_close(dev);
	dray_domain_close(dom);
	return err;
}

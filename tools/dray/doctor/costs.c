// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the automatic way is decided by (DRAY_BOUNCE_AUTO): the software IOMMU can always be asked,
 * type1 where a device works, because only a device's memory is pinned.
 */
#include "doctor/costs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "doctor/report.h"
#include "doctor/world.h"

const uint64_t doctor_cost_size[DOCTOR_COST_SIZES] = { 4096, 16384, 65536, 262144, 1048576 };

/* "123 ns", "12.3 us"; three figures. */
static void ns_text(uint32_t ns, char *text, size_t size)
{
	if (ns < 1000)
		snprintf(text, size, "%u ns", ns);
	else if (ns < 1000000)
		snprintf(text, size, "%.3g us", ns < 999500 ? ns / 1e3 : 999);
	else
		snprintf(text, size, "%.3g ms", ns / 1e6);
}

static void list_text(const uint32_t ns[DOCTOR_COST_SIZES], char *text, size_t size)
{
	size_t used = 0;
	char one[24];

	for (unsigned i = 0; i < DOCTOR_COST_SIZES; i++) {
		ns_text(ns[i], one, sizeof(one));
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", one);
	}
}

/* Is some smaller size mapped? Where lines cross twice, a size that is known is between. */
static bool has_gap(const struct doctor_costs *c, bool lazy, bool once, uint64_t up_to)
{
	const uint32_t *map_ns = lazy ? c->lazy_map_ns : c->map_ns;
	bool gap = c->slot_ns >= map_ns[0];

	for (unsigned i = 0; i < DOCTOR_COST_SIZES && doctor_cost_size[i] <= up_to; i++)
		gap |= (once ? c->slot_ns : c->copy_ns[i]) + (uint64_t)c->copy_ns[i] >=
		       2 * (uint64_t)map_ns[i];
	return gap;
}

/* "9.5K"; thresholds are multiples of 512, and "no size" is better than "0". */
static void bytes_text(const struct doctor_costs *c, bool lazy, bool once, uint64_t bytes,
		       char *text, size_t size)
{
	const char *gap = has_gap(c, lazy, once, bytes) ? " with gaps" : "";

	if (!bytes)
		snprintf(text, size, "no size");
	else if (bytes < 1024)
		snprintf(text, size, "%" PRIu64 "%s", bytes, gap);
	else
		snprintf(text, size, "%.4gK%s", (double)bytes / 1024, gap);
}

static void tell(struct doctor_report *r, const struct doctor_costs *c)
{
	char copy[128], map[128], lazy[128], up_to[4][32];

	list_text(c->copy_ns, copy, sizeof(copy));
	list_text(c->map_ns, map, sizeof(map));
	list_text(c->lazy_map_ns, lazy, sizeof(lazy));
	bytes_text(c, false, false, c->copy_up_to, up_to[0], sizeof(up_to[0]));
	bytes_text(c, false, true, c->copy_up_to_once, up_to[1], sizeof(up_to[1]));
	bytes_text(c, true, false, c->lazy_copy_up_to, up_to[2], sizeof(up_to[2]));
	bytes_text(c, true, true, c->lazy_copy_up_to_once, up_to[3], sizeof(up_to[3]));
	doctor_add(r, c->backend[0] == 's' ? "costs_sim" : "costs_type1", DOCTOR_INFO, NULL,
		   "costs on %s, %s (%s), of 4K, 16K, 64K, 256K, 1M: copied there and back %s; "
		   "mapped strictly %s; lazily %s", c->backend, c->device, c->model, copy, map,
		   lazy);
	doctor_add(r, c->backend[0] == 's' ? "ways_sim" : "ways_type1", DOCTOR_INFO, NULL,
		   "cheaper to copy on %s: up to %s instead of a strict map (to the device only: "
		   "%s), up to %s instead of a lazy one (%s)", c->backend, up_to[0], up_to[1], up_to[2],
		   up_to[3]);
	r->costs[r->n_costs++] = *c;
}

static const struct doctor_device *working(const struct doctor_report *r)
{
	for (size_t i = 0; i < r->n_devices; i++)
		if (r->devices[i].use == DOCTOR_WORKS)
			return &r->devices[i];
	return NULL;
}

void doctor_costs(const struct doctor_world *w, struct doctor_report *r)
{
	const struct doctor_device *d = working(r);
	struct doctor_costs c;
	int err = w->probe_costs(NULL, &c);

	if (!err)
		tell(r, &c);
	else
		doctor_add(r, "costs_sim", DOCTOR_INFO, NULL, "costs on sim: not measured: %s",
			   strerror(-err));
	if (!d) {
		doctor_add(r, "costs_type1", DOCTOR_INFO, NULL,
			   "costs on type1: not measured, no device works");
		return;
	}
	err = w->probe_costs(d->address, &c);
	if (!err)
		tell(r, &c);
	else
		doctor_add(r, "costs_type1", DOCTOR_INFO, NULL,
			   "costs on type1: not measured, device %s: %s", d->address,
			   strerror(-err));
}

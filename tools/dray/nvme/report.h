/* SPDX-License-Identifier: BSD-2-Clause */
/* What the NVMe commands print in common. */
#ifndef NVME_REPORT_H
#define NVME_REPORT_H

#include <json-c/json.h>

#include "nvme/hist.h"
#include "nvme/target.h"

const char *nvme_report_mode(enum dray_invalidation mode);
const char *nvme_report_device(const struct nvme_target *t);

/* Maps, unmaps, backend calls, bytes, times, faults of a target that was closed. */
void nvme_report_maps_text(const struct nvme_target *t, const struct nvme_hist *map_ns,
		      const struct nvme_hist *unmap_ns);
void nvme_report_maps_json(struct json_object *o, const struct nvme_target *t,
		      const struct nvme_hist *map_ns, const struct nvme_hist *unmap_ns);

/* How the vectors of a target that was closed were described. */
void nvme_report_ways_text(const struct nvme_target *t);
void nvme_report_ways_json(struct json_object *o, const struct nvme_target *t);

/* Print @o and free it. An exit code: a full disk or closed pipe is a failure too. */
int nvme_report_json(const char *name, struct json_object *o);
/* Everything was printed; an exit code likewise. */
int nvme_report_end(const char *name);

#endif

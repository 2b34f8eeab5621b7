/* SPDX-License-Identifier: BSD-2-Clause */
/* A second thread that maps and unmaps in the domain of a controller at work. */
#ifndef NVME_STRAIN_H
#define NVME_STRAIN_H

#include <dray/dray.h>

struct nvme_strain;

/* Start on @dev, a device of the domain to strain. 0 or -errno. */
int nvme_strain_start(struct dray_device *dev, uint64_t seed, struct nvme_strain **ret_strain);
/* Maps until now; any thread. */
uint64_t nvme_strain_maps(const struct nvme_strain *s);
/* Has it not failed? Any thread. */
bool nvme_strain_running(const struct nvme_strain *s);
/*
 * Stop; everything it mapped is unmapped. 0, or -errno of the first map that failed. *ret_maps: how
 * many there were. NULL is fine.
 */
int nvme_strain_stop(struct nvme_strain *s, uint64_t *ret_maps);

#endif

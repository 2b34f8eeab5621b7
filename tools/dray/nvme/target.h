/* SPDX-License-Identifier: BSD-2-Clause */
/* The controller that a command works on, and everything under it. */
#ifndef NVME_TARGET_H
#define NVME_TARGET_H

#include <stdbool.h>

#include <dray/dray.h>
#include <dray/sim.h>

#include "nvme/args.h"
#include "nvme/model.h"
#include "nvme/nvme.h"
#include "nvme/strain.h"
#include "nvme/vfio_bar.h"

struct nvme_target {
	const struct nvme_args *args;
	struct dray_domain *dom;
	struct dray_device *dev;
	struct nvme_model *model; /* NULL for a real controller */
	struct nvme_vfio_bar bar; /* of a real controller */
	struct nvme_ctrl *ctrl;
	struct nvme_strain *strain; /* NULL: nobody else is in the domain */
	uint64_t strain_maps;       /* how much it was; taken at close */
	struct nvme_ways ways;      /* how vectors went, in all queues; taken at close */
	const char *backend;      /* a name, for people */
	enum dray_invalidation mode; /* in effect */
	/* What the software IOMMU refused; taken at close. */
	uint64_t faults;
	struct dray_sim_fault first_fault;
	struct dray_stats stats;  /* taken when the device is closed and the domain is not */
};

/*
 * Open domain, device, model or BAR, and driver. @create_bytes: how long an image is made that does
 * not exist; 0 is not. 0 or -errno; on failure nothing is open.
 */
int nvme_target_open(const struct nvme_args *args, uint64_t create_bytes, struct nvme_target *t);

/*
 * Close all of it, fill faults and stats. -EIO with the message set when something was left mapped
 * or an unmap was refused. Closing what is closed is fine.
 */
int nvme_target_close(struct nvme_target *t);

#endif

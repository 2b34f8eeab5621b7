/* SPDX-License-Identifier: BSD-2-Clause */
/* A steady load on a controller, measured. */
#ifndef NVME_LOAD_H
#define NVME_LOAD_H

#include <stdbool.h>

#include "nvme/memory.h"
#include "nvme/nvme.h"

struct nvme_load {
	struct nvme_ctrl *ctrl;
	struct dray_domain *dom; /* of the controller; for a heap only */
	enum nvme_io_opcode op;
	bool sequential;
	size_t bytes; /* of one command: whole blocks, at most max_transfer */
	uint64_t ns;  /* how long new commands are submitted */
	uint64_t commands; /* or until so many are; 0: no such limit */
	uint64_t seed; /* of the random addresses; not 0 */
	enum nvme_memory_kind memory; /* what the buffers are */
};

struct nvme_load_result {
	uint64_t commands, ns;
	struct nvme_hist latency; /* from before the map to after the unmap, nanoseconds */
};

/* Every queue at its full depth until time or commands are up. 0 or -errno; nothing is out. */
int nvme_load_run(const struct nvme_load *load, struct nvme_load_result *ret);

#endif

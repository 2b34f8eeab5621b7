// SPDX-License-Identifier: BSD-2-Clause
/*
 * Enable, disable, shut down
 *
 * 1. CC.EN from 0 to 1 starts the controller with the admin queues that AQA, ASQ and ACQ name;
 *    from 1 to 0 it forgets every queue and stops all DMA. Each takes effect when CSTS.RDY follows,
 *    within CAP.TO at most.
 * 2. A controller that was left enabled by someone else is taken down first; one that is just
 *    coming up must be ready before it may be taken down, unless it has failed.
 * 3. CSTS.CFS while coming up means that it never will. A status of all ones is no status: the
 *    device left the bus.
 * 4. The waits sleep between looks: nothing is fast here, and the controller may be a thread on the
 *    same CPU.
 * 5. Locking: open and close own the controller alone; nvme_ctrl_fail() calls nvme_disable() under
 *    fail_lock, which every write of CC after open takes.
 */
#include <errno.h>
#include <time.h>

#include "base/err.h"
#include "base/hooks.h"
#include "nvme/ctrl.h"
#include "nvme/mmio.h"
#include "nvme/regs.h"

/* A controller may take this long to write its caches back; Linux waits 5 s by default as well. */
#define SHUTDOWN_MS 5000u
/* Controllers that clear CFS on reset do so at once; those that do not cost this much, once. */
#define CFS_MS 100u
/* Short against any real enable time, long enough that a model on the same CPU gets to run. */
#define PAUSE_NS 50000

static void pause_a_bit(void)
{
	nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

/* Wait for (CSTS & mask) == want. 0; -ETIMEDOUT; -ENODEV gone; -EIO fatal, if @fatal counts. */
static int wait_csts(struct nvme_ctrl *ctrl, uint32_t mask, uint32_t want, uint32_t ms, bool fatal)
{
	uint64_t end = dr_hooks->clock_ns() + (uint64_t)ms * 1000000;

	for (;;) {
		/* Time first: a late thread still looks once after the deadline. */
		bool late = dr_hooks->clock_ns() > end;
		uint32_t csts = nvme_read32(ctrl->bar, NVME_REG_CSTS);

		if (csts == NVME_CSTS_GONE)
			return -ENODEV;
		if ((csts & mask) == want)
			return 0;
		if (fatal && (csts & NVME_CSTS_CFS))
			return -EIO;
		if (late)
			return -ETIMEDOUT;
		pause_a_bit();
	}
}

static int explain(struct nvme_ctrl *ctrl, int rc, const char *what)
{
	if (rc == -ENODEV)
		return dr_fail(ENODEV,
			       "nvme: the controller does not answer (registers read as all ones); "
			       "check the device with lspci and reset it or its slot");
	if (rc == -EIO)
		return dr_fail(EIO,
			       "nvme: the controller reports a fatal error (CSTS.CFS) during %s; "
			       "reset the device, then look at the kernel log for IOMMU faults",
			       what);
	return dr_fail(ETIMEDOUT,
		       "nvme: %s took longer than the %u ms that the controller allows itself "
		       "(CAP.TO); reset the device or power-cycle it",
		       what, ctrl->ready_ms);
}

int nvme_disable(struct nvme_ctrl *ctrl)
{
	uint32_t cc = nvme_read32(ctrl->bar, NVME_REG_CC);
	int rc;

	if (cc == NVME_CSTS_GONE)
		return explain(ctrl, -ENODEV, "reset");
	if (cc & NVME_CC_EN) {
		/* What comes of it does not matter: a failed or stuck one is reset all the same. */
		wait_csts(ctrl, NVME_CSTS_RDY, NVME_CSTS_RDY, ctrl->ready_ms, true);
		nvme_write32(ctrl->bar, NVME_REG_CC, cc & ~(NVME_CC_EN | NVME_CC_SHN_MASK));
	}
	rc = wait_csts(ctrl, NVME_CSTS_RDY, 0, ctrl->ready_ms, false);
	if (rc)
		return explain(ctrl, rc, "reset");
	/*
	 * A failed controller may never have been ready, so RDY alone does not show that it has
	 * seen the reset. CFS going away does; one that keeps it is given up waiting for.
	 */
	wait_csts(ctrl, NVME_CSTS_CFS, 0, CFS_MS, false);
	return 0;
}

int nvme_enable(struct nvme_ctrl *ctrl)
{
	const struct nvme_queue *q = ctrl->admin;
	uint32_t cc = NVME_CC_ENTRIES | NVME_CC_EN;
	int rc;

	cc |= (uint32_t)__builtin_ctzll(ctrl->page / NVME_PAGE) << NVME_CC_MPS_SHIFT;
	nvme_write32(ctrl->bar, NVME_REG_AQA, (q->entries - 1) << 16 | (q->entries - 1));
	nvme_write64(ctrl->bar, NVME_REG_ASQ, q->sq_map.iova);
	nvme_write64(ctrl->bar, NVME_REG_ACQ, q->cq_map.iova);
	nvme_write32(ctrl->bar, NVME_REG_CC, cc);
	rc = wait_csts(ctrl, NVME_CSTS_RDY, NVME_CSTS_RDY, ctrl->ready_ms, true);
	return rc ? explain(ctrl, rc, "enable") : 0;
}

void nvme_shutdown(struct nvme_ctrl *ctrl)
{
	uint32_t cc = nvme_read32(ctrl->bar, NVME_REG_CC);

	if (cc == NVME_CSTS_GONE || !(cc & NVME_CC_EN))
		return;
	nvme_write32(ctrl->bar, NVME_REG_CC, (cc & ~NVME_CC_SHN_MASK) | NVME_CC_SHN_NORMAL);
	/* A controller that does not answer is disabled next anyway. */
	wait_csts(ctrl, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_DONE, SHUTDOWN_MS, true);
}

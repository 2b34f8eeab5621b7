// SPDX-License-Identifier: BSD-2-Clause
/*
 * The driver: one controller, its admin queue and its I/O queues
 *
 * Concepts
 * 1. A controller is a page of registers and queues in memory. The driver puts commands into a
 *    submission ring and writes its new tail to a doorbell; the controller fetches them, moves
 *    data, and puts completions into a completion ring, in any order; the driver finds them by
 *    their phase bit and writes how far it read to another doorbell.
 * 2. Everything the controller touches, it touches through dray: rings and PRP lists are coherent
 *    memory that lives as long as the queue; a command's buffer is mapped when the command is
 *    submitted and unmapped when its completion is seen, so at any moment the controller can reach
 *    exactly the buffers of the commands that are out.
 * 3. Nothing sleeps or waits for an interrupt: who wants completions polls.
 *
 * Opening: reset (reset.c) → admin rings → enable → identify (admin.c) → number of queues → I/O
 * rings (queue.c), created on the controller by admin commands. Each step has its inverse, and
 * nvme_close() is the inverses in reverse: shut down, disable, free. A failed open ends there too.
 *
 * Failure
 * 4. A command may fail; its status becomes an errno and a sentence (status.c), and all else goes
 *    on. The controller fails when CSTS.CFS is set, when it leaves the bus, when a command does not
 *    complete in time, or when it completes a command that is not out. Then it is disabled, so that
 *    its DMA ends, the reason is kept, and every later call on every queue returns it. There is no
 *    revival: who wants to go on closes and opens again.
 * 5. Each queue's owner cancels its own commands when it next polls, because nobody else may touch
 *    the queue; nvme_close() cancels what is left. A buffer that is unmapped while a controller
 *    still writes to it is protected by the IOMMU, not by the driver.
 *
 * Locking and ordering
 * 6. Queues are owned: no lock on the I/O path. The admin queue is owned by who holds admin_lock.
 *    fail_lock orders the first failure against later ones, and the write of CC against others. It
 *    is innermost; dead is read without it: its release makes dead_msg visible to who sees it.
 * 7. The order between memory and doorbells is mmio.h's; between completion and data, queue.c's.
 *
 *            | submit/poll A | submit/poll B   | admin            | fail            | close
 *   poll A   | one thread    | disjoint queues | disjoint queues  | sees dead later | excluded
 *   admin    | disjoint      | disjoint        | admin_lock       | sees dead later | excluded
 *   fail     | reads dead    | reads dead      | reads dead       | fail_lock       | excluded
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/hooks.h"
#include "nvme/ctrl.h"
#include "nvme/mmio.h"
#include "nvme/regs.h"

#define DEFAULT_DEPTH    32u
#define DEFAULT_TRANSFER ((size_t)1 << 20)
/* Beyond any timeout of a healthy disk's own error recovery, short enough to wait for at a desk. */
#define DEFAULT_TIMEOUT_MS 10000u
/* Admin commands are sent one at a time; the smallest ring that is safe everywhere has room. */
#define ADMIN_ENTRIES 16u
/* CAP.TO says 0 or half a second on emulated hardware whose CPU may be busy elsewhere. */
#define READY_MS_MIN 2000u

int nvme_check_dead(struct nvme_ctrl *ctrl)
{
	/* Acquire: dead_msg, written before dead was. */
	int err = atomic_load_explicit(&ctrl->dead, memory_order_acquire);

	return err ? dr_fail(err, "%s", ctrl->dead_msg) : 0;
}

int nvme_ctrl_fail(struct nvme_ctrl *ctrl, int err, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&ctrl->fail_lock);
	if (!atomic_load_explicit(&ctrl->dead, memory_order_relaxed)) {
		va_start(ap, fmt);
		vsnprintf(ctrl->dead_msg, sizeof(ctrl->dead_msg), fmt, ap);
		va_end(ap);
		/* Ends its DMA. If even that fails, strict unmaps still keep it off the buffers. */
		(void)nvme_disable(ctrl);
		/* Release: dead_msg, for nvme_check_dead(). */
		atomic_store_explicit(&ctrl->dead, err, memory_order_release);
	}
	pthread_mutex_unlock(&ctrl->fail_lock);
	return nvme_check_dead(ctrl);
}

static int check_cap(struct nvme_ctrl *ctrl, size_t bar_len)
{
	uint64_t cap;

	if (bar_len < nvme_cq_doorbell(1, 0) + 4)
		return dr_fail(EINVAL,
			       "nvme: the register area has only %zu bytes; check that the device "
			       "is an NVMe controller",
			       bar_len);
	cap = nvme_read64(ctrl->bar, NVME_REG_CAP);
	if (cap == ~UINT64_C(0))
		return dr_fail(ENODEV,
			       "nvme: the registers read as all ones; the device is off or left "
			       "the bus: check it with lspci");
	if (!(cap & NVME_CAP_CSS_NVM))
		return dr_fail(ENOTSUP,
			       "nvme: the controller lacks the NVM command set (CAP %#llx); use "
			       "one that stores blocks",
			       (unsigned long long)cap);
	ctrl->dstrd = NVME_CAP_DSTRD(cap);
	ctrl->page = (size_t)NVME_PAGE << NVME_CAP_MPSMIN(cap);
	ctrl->ready_ms = NVME_CAP_TO(cap) * 500;
	if (ctrl->ready_ms < READY_MS_MIN)
		ctrl->ready_ms = READY_MS_MIN;
	ctrl->info.max_entries = NVME_CAP_MQES(cap) + 1;
	ctrl->info.version = nvme_read32(ctrl->bar, NVME_REG_VS);
	return 0;
}

/* Reset, admin queue, enable. */
static int start(struct nvme_ctrl *ctrl)
{
	unsigned entries = ADMIN_ENTRIES;
	int rc;

	rc = nvme_disable(ctrl);
	if (rc)
		return rc;
	if (entries > ctrl->info.max_entries)
		entries = ctrl->info.max_entries;
	rc = nvme_queue_open(ctrl, 0, entries, 0, &ctrl->admin);
	if (rc)
		return rc;
	rc = dray_coherent_alloc(ctrl->dev, NVME_PAGE, 0, &ctrl->id_page, &ctrl->id_map);
	if (rc)
		return rc;
	return nvme_enable(ctrl);
}

/* The least of what the caller, the controller and the driver's own lists take. */
static void limit_transfer(struct nvme_ctrl *ctrl, size_t wanted)
{
	size_t len = wanted ? wanted : DEFAULT_TRANSFER;
	size_t blocks_max = (size_t)65536 * ctrl->info.block;

	if (ctrl->info.mdts && len > ctrl->info.mdts)
		len = (size_t)ctrl->info.mdts;
	if (len > NVME_TRANSFER_MAX)
		len = NVME_TRANSFER_MAX;
	if (len > blocks_max)
		len = blocks_max;
	len -= len % ctrl->info.block;
	ctrl->info.max_transfer = len ? len : ctrl->info.block;
	ctrl->list_pages = dray_prp_lists_max(ctrl->info.max_transfer, ctrl->page);
}

/* What every slot needs for vectors: elements, and a list page for as many descriptors. */
static void limit_vectors(struct nvme_ctrl *ctrl, const struct nvme_opts *opts)
{
	if (opts->no_sgl)
		ctrl->info.sgl_align = 0;
	ctrl->iov = opts->iov < NVME_IOV_MAX ? opts->iov : NVME_IOV_MAX;
	if (ctrl->iov && !ctrl->list_pages)
		ctrl->list_pages = 1;
}

static int start_queues(struct nvme_ctrl *ctrl, const struct nvme_opts *opts, size_t bar_len)
{
	unsigned wanted = opts->queues ? opts->queues : 1;
	unsigned depth = opts->depth ? opts->depth : DEFAULT_DEPTH, granted;
	size_t doorbell = nvme_sq_doorbell(1, ctrl->dstrd) - nvme_sq_doorbell(0, ctrl->dstrd);
	size_t pairs = (bar_len - NVME_REG_DBS) / doorbell;
	int rc;

	if (depth > ctrl->info.max_entries - 1)
		depth = ctrl->info.max_entries - 1;
	rc = nvme_set_queues(ctrl, wanted, &granted);
	if (rc)
		return rc;
	if (granted > wanted)
		granted = wanted;
	/* One pair of doorbells is the admin queue's. */
	if (granted > pairs - 1)
		granted = (unsigned)(pairs - 1);
	ctrl->info.depth = depth;
	ctrl->io = dr_alloc(granted * sizeof(*ctrl->io));
	if (!ctrl->io)
		return dr_fail(ENOMEM, "nvme: no memory for %u queues; ask for fewer", granted);
	while (ctrl->info.queues < granted) {
		struct nvme_queue **q = &ctrl->io[ctrl->info.queues];

		rc = nvme_queue_open(ctrl, ctrl->info.queues + 1, depth + 1, ctrl->list_pages, q);
		if (rc)
			return rc;
		/* From here on nvme_close() closes it. */
		ctrl->info.queues++;
		rc = nvme_create_pair(ctrl, *q);
		if (rc)
			return rc;
	}
	return 0;
}

int nvme_open(struct dray_device *dev, void *bar, size_t bar_len, const struct nvme_opts *opts,
	      struct nvme_ctrl **ret_ctrl)
{
	static const struct nvme_opts defaults;
	struct nvme_ctrl *ctrl;
	uint32_t ms;
	int rc;

	if (!dev || !bar || !ret_ctrl)
		return dr_fail(EINVAL, "nvme: no device, no registers or no result; pass them all");
	if (!opts)
		opts = &defaults;
	ctrl = dr_alloc(sizeof(*ctrl));
	if (!ctrl)
		return dr_fail(ENOMEM, "nvme: no memory for a controller; free some");
	pthread_mutex_init(&ctrl->admin_lock, NULL);
	pthread_mutex_init(&ctrl->fail_lock, NULL);
	ctrl->dev = dev;
	ctrl->bar = bar;
	ms = opts->timeout_ms ? opts->timeout_ms : DEFAULT_TIMEOUT_MS;
	ctrl->timeout_ns = (uint64_t)ms * 1000000;

	rc = check_cap(ctrl, bar_len);
	if (!rc)
		rc = start(ctrl);
	if (!rc)
		rc = nvme_read_info(ctrl, opts->nsid);
	if (!rc) {
		limit_transfer(ctrl, opts->max_transfer);
		limit_vectors(ctrl, opts);
		rc = start_queues(ctrl, opts, bar_len);
	}
	if (rc) {
		nvme_close(ctrl);
		return rc;
	}
	*ret_ctrl = ctrl;
	return 0;
}

void nvme_close(struct nvme_ctrl *ctrl)
{
	char reason[NVME_DEAD_MSG * 2];

	if (!ctrl)
		return;
	/* Closing is no failure: the message stays what it was. */
	snprintf(reason, sizeof(reason), "%s", dray_errmsg());
	if (ctrl->admin && !atomic_load_explicit(&ctrl->dead, memory_order_relaxed)) {
		nvme_shutdown(ctrl);
		/* Disables it, and answers callbacks that would submit again. */
		nvme_ctrl_fail(ctrl, ECANCELED, "nvme: the controller was closed with commands "
						"out; poll until all are done first");
	}
	for (unsigned i = ctrl->info.queues; i-- > 0;)
		nvme_queue_close(ctrl->io[i]);
	dr_free(ctrl->io);
	dray_coherent_free(ctrl->dev, ctrl->id_page, &ctrl->id_map);
	nvme_queue_close(ctrl->admin);
	pthread_mutex_destroy(&ctrl->fail_lock);
	pthread_mutex_destroy(&ctrl->admin_lock);
	dr_free(ctrl);
	dr_fail(0, "%s", reason);
}

const struct nvme_info *nvme_get_info(const struct nvme_ctrl *ctrl)
{
	return &ctrl->info;
}

struct nvme_queue *nvme_get_queue(struct nvme_ctrl *ctrl, unsigned i)
{
	return i < ctrl->info.queues ? ctrl->io[i] : NULL;
}

void nvme_idle(void)
{
	sched_yield();
}

// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reads, writes, flushes
 *
 * 1. One command is one mapping: the buffer is mapped in the direction that data moves, described
 *    by PRP entries into the slot's own list pages, and unmapped by queue.c at completion.
 * 2. TO_DEVICE for a write: a controller that writes to the buffer faults, and so cannot corrupt
 *    what is being stored. FROM_DEVICE for a read.
 * 3. The range of LBAs is the controller's to judge: it knows the namespace best, and its answer
 *    is an error like any other. What would make an ill-formed command is refused here.
 * 4. PRP entries begin at a multiple of 4. Where the buffer does not, the library has moved it to
 *    such a place if the device's min_align says so: the mapping decides, not the buffer.
 * 5. The synchronous calls are a submit and a wait for their own callback. The sentence of a
 *    failure is carried to the caller, since callbacks of other commands may run in between.
 */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/hooks.h"
#include "nvme/ctrl.h"

static int map_buffer(struct nvme_queue *q, struct nvme_slot *s, void *buf, size_t len,
		      enum dray_dir dir)
{
	uint64_t start;
	int rc;

	if (!q->map_ns)
		return dray_map(q->ctrl->dev, buf, len, dir, 0, &s->map);
	start = dr_hooks->clock_ns();
	rc = dray_map(q->ctrl->dev, buf, len, dir, 0, &s->map);
	if (!rc)
		nvme_hist_add(q->map_ns, dr_hooks->clock_ns() - start);
	return rc;
}

int nvme_check_io(const struct nvme_info *info, enum nvme_io_opcode op, size_t len)
{
	if (op != NVME_IO_READ && op != NVME_IO_WRITE)
		return dr_fail(EINVAL, "nvme: opcode %#x moves no data; submit a read or a write",
			       (unsigned)op);
	if (!len || len % info->block)
		return dr_fail(EINVAL,
			       "nvme: %zu bytes are not whole blocks of %u; round the length up",
			       len, info->block);
	if (len > info->max_transfer)
		return dr_fail(EINVAL,
			       "nvme: %zu bytes are more than one command moves; split it into "
			       "pieces of at most %zu",
			       len, info->max_transfer);
	return 0;
}

int nvme_slot_prp(struct nvme_queue *q, unsigned slot, const struct dray_sg *sg, unsigned nsegs,
		  size_t len, struct nvme_cmd *cmd)
{
	struct dray_nvme_list lists[NVME_LISTS_MAX];
	int rc;

	nvme_slot_lists(q, slot, lists);
	rc = dray_prp_build(sg, nsegs, 0, len, q->ctrl->page, lists,
			    (unsigned)q->ctrl->list_pages, &cmd->prp);
	return rc < 0 ? rc : 0;
}

void nvme_post_io(struct nvme_queue *q, unsigned slot, struct nvme_cmd *cmd, uint64_t lba,
		  size_t len, nvme_done_fn done, void *ctx)
{
	struct nvme_slot *s = &q->slots[slot];

	s->lba = lba;
	s->blocks = (uint32_t)(len / q->ctrl->info.block);
	cmd->nsid = nvme_to_le32(q->ctrl->info.nsid);
	cmd->cdw10 = nvme_to_le32((uint32_t)lba);
	cmd->cdw11 = nvme_to_le32((uint32_t)(lba >> 32));
	cmd->cdw12 = nvme_to_le32(s->blocks - 1);
	nvme_slot_post(q, slot, cmd, done, ctx);
}

int nvme_submit(struct nvme_queue *q, enum nvme_io_opcode op, uint64_t lba, void *buf, size_t len,
		nvme_done_fn done, void *ctx)
{
	enum dray_dir dir = op == NVME_IO_WRITE ? DRAY_TO_DEVICE : DRAY_FROM_DEVICE;
	struct nvme_cmd cmd = {.opcode = (uint8_t)op};
	struct dray_sg seg;
	struct nvme_slot *s;
	unsigned slot;
	int rc;

	rc = nvme_check_dead(q->ctrl);
	if (!rc)
		rc = nvme_check_io(&q->ctrl->info, op, len);
	if (!rc && !buf)
		rc = dr_fail(EINVAL, "nvme: no buffer; pass one");
	if (!rc)
		rc = nvme_slot_peek(q, &slot);
	if (rc)
		return rc;
	s = &q->slots[slot];
	rc = map_buffer(q, s, buf, len, dir);
	if (rc)
		return rc;
	seg = dray_sg_of(&s->map);
	if (!dray_prp_able(&seg, 1, q->ctrl->page))
		rc = dr_fail(EINVAL, "nvme: buffer %p is not aligned to 4 bytes; align it, submit "
				     "it as a vector, or open the device with min_align 4",
			     buf);
	else
		rc = nvme_slot_prp(q, slot, &seg, 1, len, &cmd);
	if (rc) {
		dray_unmap(q->ctrl->dev, &s->map);
		return rc;
	}
	nvme_post_io(q, slot, &cmd, lba, len, done, ctx);
	return 0;
}

int nvme_submit_flush(struct nvme_queue *q, nvme_done_fn done, void *ctx)
{
	struct nvme_cmd cmd = {.opcode = NVME_IO_FLUSH, .nsid = nvme_to_le32(q->ctrl->info.nsid)};
	unsigned slot;
	int rc;

	rc = nvme_check_dead(q->ctrl);
	if (!rc)
		rc = nvme_slot_peek(q, &slot);
	if (rc)
		return rc;
	q->slots[slot].blocks = 0;
	nvme_slot_post(q, slot, &cmd, done, ctx);
	return 0;
}

void nvme_wake(void *ctx, int err, uint16_t status)
{
	struct nvme_waiter *w = ctx;

	(void)status;
	w->done = true;
	w->err = err;
	if (err)
		snprintf(w->why, sizeof(w->why), "%s", dray_errmsg());
}

int nvme_wait_for(struct nvme_queue *q, struct nvme_waiter *w)
{
	nvme_wait(q, &w->done);
	return w->err ? dr_fail(-w->err, "%s", w->why) : 0;
}

void nvme_make_room(struct nvme_queue *q)
{
	while (!nvme_queue_room(q))
		if (nvme_poll(q) == 0)
			nvme_idle();
}

static int transfer(struct nvme_queue *q, enum nvme_io_opcode op, uint64_t lba, void *buf,
		    size_t len)
{
	struct nvme_waiter w = {.done = false};
	int rc;

	nvme_make_room(q);
	rc = nvme_submit(q, op, lba, buf, len, nvme_wake, &w);
	return rc ? rc : nvme_wait_for(q, &w);
}

int nvme_read(struct nvme_queue *q, uint64_t lba, void *buf, size_t len)
{
	return transfer(q, NVME_IO_READ, lba, buf, len);
}

int nvme_write(struct nvme_queue *q, uint64_t lba, const void *buf, size_t len)
{
	/* Mapped TO_DEVICE: neither the driver nor the controller writes to it. */
	return transfer(q, NVME_IO_WRITE, lba, (void *)(uintptr_t)buf, len);
}

int nvme_flush(struct nvme_queue *q)
{
	struct nvme_waiter w = {.done = false};
	int rc;

	nvme_make_room(q);
	rc = nvme_submit_flush(q, nvme_wake, &w);
	return rc ? rc : nvme_wait_for(q, &w);
}

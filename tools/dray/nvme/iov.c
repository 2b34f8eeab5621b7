// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reads and writes of vectors
 *
 * 1. A vector is one command and one mapping of a list: what its buffers have in common is where
 *    their bytes go, in the order of the vector. They may lie anywhere and have any length.
 * 2. There are three ways, tried in this order. PRP entries, when the buffers are pages but at the
 *    two ends: dray_prp_able_iov() tells before mapping, dray_prp_able() of the segments after it,
 *    since a device limit or a bounce may have moved something. A scatter-gather list, where the
 *    controller has them, of the same mapping. A copy, through memory of the slot's own, which is
 *    mapped for the command as any buffer is; gathered before a write, scattered after a read.
 * 3. Reserve → act → publish, as in queue.c: the slot is peeked, the vector mapped and described,
 *    then posted. What was mapped for a way that turns out not to be one is unmapped again.
 * 4. The elements that dray_map_sg() needs later for unmapping belong to the slot. A copy keeps
 *    them too, for the addresses that the bytes go to; so the caller's own vector may go.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/err.h"
#include "base/hooks.h"
#include "nvme/ctrl.h"

static unsigned char *stage_of(const struct nvme_queue *q, const struct nvme_slot *s)
{
	return q->stage + (size_t)(s - q->slots) * q->ctrl->info.max_transfer;
}

static void gather(struct nvme_slot *s, unsigned char *to)
{
	for (unsigned i = 0; i < s->n_sg; to += s->sg[i++].len)
		memcpy(to, s->sg[i].va, s->sg[i].len);
}

static void scatter(struct nvme_slot *s, const unsigned char *from)
{
	for (unsigned i = 0; i < s->n_sg; from += s->sg[i++].len)
		memcpy(s->sg[i].va, from, s->sg[i].len);
}

/* Map the vector and describe it where it is. 1: done; 0: it cannot be described; -errno. */
static int describe(struct nvme_queue *q, unsigned slot, enum dray_dir dir, size_t len, bool prp,
		    struct nvme_cmd *cmd)
{
	struct dray_nvme_list lists[NVME_LISTS_MAX];
	const struct nvme_ctrl *ctrl = q->ctrl;
	struct nvme_slot *s = &q->slots[slot];
	size_t align = ctrl->info.sgl_align;
	int n, rc;

	n = dray_map_sg(ctrl->dev, s->sg, s->n_sg, dir, 0);
	if (n < 0)
		return n;
	s->sg_mapped = true;
	if (prp && dray_prp_able(s->sg, (unsigned)n, ctrl->page)) {
		rc = nvme_slot_prp(q, slot, s->sg, (unsigned)n, len, cmd);
		if (!rc) {
			q->ways.prp++;
			return 1;
		}
	} else if (align && dray_sgl_count(s->sg, (unsigned)n, 0, len, align, ctrl->page,
					   NULL) > 0) {
		nvme_slot_lists(q, slot, lists);
		rc = dray_sgl_build(s->sg, (unsigned)n, 0, len, align, lists, ctrl->page,
				    (unsigned)ctrl->list_pages, &cmd->sgl);
		if (rc >= 0) {
			cmd->flags = NVME_FLAG_SGL;
			q->ways.sgl++;
			return 1;
		}
	} else {
		rc = 0;
	}
	nvme_vector_unmap(q, s);
	return rc;
}

/* Map the slot's own memory instead, filled for a write. */
static int copy(struct nvme_queue *q, unsigned slot, enum dray_dir dir, size_t len,
		struct nvme_cmd *cmd)
{
	struct nvme_slot *s = &q->slots[slot];
	unsigned char *stage;
	struct dray_sg seg;
	int rc;

	if (!q->stage)
		return dr_fail(ENOTSUP, "nvme: the vector cannot be described after mapping; "
					"align its buffers to pages");
	stage = stage_of(q, s);
	if (dir == DRAY_TO_DEVICE)
		gather(s, stage);
	rc = dray_map(q->ctrl->dev, stage, len, dir, 0, &s->map);
	if (rc)
		return rc;
	seg = dray_sg_of(&s->map);
	rc = nvme_slot_prp(q, slot, &seg, 1, len, cmd);
	if (rc) {
		dray_unmap(q->ctrl->dev, &s->map);
		return rc;
	}
	s->copied = true;
	q->ways.copied++;
	return 0;
}

/* The bytes of a vector; -EINVAL what no vector is. */
static int check_vector(const struct nvme_queue *q, enum nvme_io_opcode op,
			const struct iovec *iov, unsigned n, size_t *ret_len)
{
	size_t len = 0;

	if (!q->sg)
		return dr_fail(EINVAL, "nvme: the controller was opened without vectors; open it "
				       "with the most elements of one");
	if (!iov || !n || n > q->ctrl->iov)
		return dr_fail(EINVAL, "nvme: a vector of %u elements; pass 1 to %u", iov ? n : 0,
			       q->ctrl->iov);
	for (unsigned i = 0; i < n; i++) {
		if (iov[i].iov_len > NVME_TRANSFER_MAX || (iov[i].iov_len && !iov[i].iov_base))
			return dr_fail(EINVAL,
				       "nvme: element %u of a vector is %zu bytes at %p; pass "
				       "memory, at most %zu bytes together",
				       i, iov[i].iov_len, iov[i].iov_base,
				       q->ctrl->info.max_transfer);
		len += iov[i].iov_len;
	}
	*ret_len = len;
	return nvme_check_io(&q->ctrl->info, op, len);
}

int nvme_submitv(struct nvme_queue *q, enum nvme_io_opcode op, uint64_t lba,
		 const struct iovec *iov, unsigned n, nvme_done_fn done, void *ctx)
{
	enum dray_dir dir = op == NVME_IO_WRITE ? DRAY_TO_DEVICE : DRAY_FROM_DEVICE;
	struct nvme_cmd cmd = {.opcode = (uint8_t)op};
	struct nvme_slot *s;
	uint64_t start = 0;
	unsigned slot;
	size_t len = 0;
	bool prp;
	int rc;

	rc = nvme_check_dead(q->ctrl);
	if (!rc)
		rc = check_vector(q, op, iov, n, &len);
	if (!rc)
		rc = nvme_slot_peek(q, &slot);
	if (rc)
		return rc;
	s = &q->slots[slot];
	if (q->map_ns)
		start = dr_hooks->clock_ns();
	s->n_sg = dray_sg_from_iov(iov, n, s->sg);
	prp = dray_prp_able_iov(iov, n, q->ctrl->page);
	/* One buffer lacks nothing but its first word's alignment, which min_align may bring. */
	if (!q->ctrl->info.sgl_align && s->n_sg == 1)
		prp = true;
	rc = 0;
	if (prp || q->ctrl->info.sgl_align)
		rc = describe(q, slot, dir, len, prp, &cmd);
	if (rc == 0)
		rc = copy(q, slot, dir, len, &cmd);
	if (rc < 0) {
		s->n_sg = 0;
		return rc;
	}
	if (q->map_ns)
		nvme_hist_add(q->map_ns, dr_hooks->clock_ns() - start);
	q->ways.elements += s->n_sg;
	nvme_post_io(q, slot, &cmd, lba, len, done, ctx);
	return 0;
}

void nvme_vector_unmap(struct nvme_queue *q, struct nvme_slot *s)
{
	dray_unmap_sg(q->ctrl->dev, s->sg, s->n_sg);
	s->sg_mapped = false;
}

void nvme_vector_end(struct nvme_queue *q, struct nvme_slot *s, int err)
{
	/* What was mapped where it lies is there already. */
	if (s->copied && s->opcode == NVME_IO_READ && !err)
		scatter(s, stage_of(q, s));
	s->copied = false;
	s->n_sg = 0;
}

static int transfer(struct nvme_queue *q, enum nvme_io_opcode op, uint64_t lba,
		    const struct iovec *iov, unsigned n)
{
	struct nvme_waiter w = {.done = false};
	int rc;

	nvme_make_room(q);
	rc = nvme_submitv(q, op, lba, iov, n, nvme_wake, &w);
	return rc ? rc : nvme_wait_for(q, &w);
}

int nvme_readv(struct nvme_queue *q, uint64_t lba, const struct iovec *iov, unsigned n)
{
	return transfer(q, NVME_IO_READ, lba, iov, n);
}

int nvme_writev(struct nvme_queue *q, uint64_t lba, const struct iovec *iov, unsigned n)
{
	return transfer(q, NVME_IO_WRITE, lba, iov, n);
}

struct nvme_ways nvme_queue_ways(const struct nvme_queue *q)
{
	return q->ways;
}

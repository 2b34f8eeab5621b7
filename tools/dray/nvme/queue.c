// SPDX-License-Identifier: BSD-2-Clause
/*
 * One queue pair: rings, slots, completions, deadlines
 *
 * 1. A command takes a slot; the slot's index is its command id. There is one slot fewer than ring
 *    entries, and a slot is free again only when its completion was read, so neither ring can
 *    overflow: the submission ring never holds more than the commands that are out, and neither
 *    does the completion ring.
 * 2. Reserve → act → publish: a slot is peeked, the buffer mapped, the command built (io.c), and
 *    only then is the slot busy, the tail moved, the doorbell rung. Until then nothing has to be
 *    undone but the mapping.
 * 3. A completion is new when its phase bit is the ring's current one, which flips each time the
 *    ring wraps; so the controller's writes are recognised without an index to read. Its last word
 *    carries the phase and is loaded with acquire, and a read barrier for real devices: what the
 *    controller wrote before (the rest of the entry, the data) is read after it.
 * 4. At completion the buffer is unmapped first, then the callback runs: it sees memory that the
 *    controller no longer reaches. The slot is free before the callback, so that it may submit.
 * 5. Once in LOOK_NS, polls look at the clock, at CSTS and at the deadlines: a register read costs
 *    about a microsecond on a real bus, so not every poll can afford it. Between two looks only
 *    one in LOOK_POLLS busy polls, and every idle one, asks for the time.
 * 6. What can fail: the controller (ctrl.c, 4). Then nvme_poll() unmaps and calls back everything
 *    that is out with that error. No command is ever dropped without its callback.
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/hooks.h"
#include "nvme/ctrl.h"
#include "nvme/mmio.h"
#include "nvme/regs.h"
#include "nvme/status.h"

/* A thousand looks a second notice a failure at once for a person, and cost a thousandth. */
#define LOOK_NS    1000000u
#define LOOK_POLLS 64u

/* Elements for every slot; and memory for copies, unless every vector can be described. */
static int open_vectors(struct nvme_queue *q)
{
	struct nvme_ctrl *ctrl = q->ctrl;

	q->sg = dr_alloc((size_t)q->depth * ctrl->iov * sizeof(*q->sg));
	if (ctrl->info.sgl_align != 1)
		q->stage = dr_hooks->alloc(q->depth * ctrl->info.max_transfer, ctrl->page);
	if (!q->sg || (ctrl->info.sgl_align != 1 && !q->stage))
		return dr_fail(ENOMEM, "nvme: no memory for vectors of %u commands; ask for less "
				       "depth or smaller commands",
			       q->depth);
	for (unsigned i = 0; i < q->depth; i++)
		q->slots[i].sg = q->sg + (size_t)i * ctrl->iov;
	return 0;
}

int nvme_queue_open(struct nvme_ctrl *ctrl, unsigned id, unsigned entries, size_t list_pages,
		    struct nvme_queue **ret_q)
{
	struct nvme_queue *q = dr_alloc(sizeof(*q));
	void *va;
	int rc = 0;

	if (!q)
		return dr_fail(ENOMEM, "nvme: no memory for queue %u; ask for fewer queues", id);
	q->ctrl = ctrl;
	q->id = id;
	q->entries = entries;
	q->depth = entries - 1;
	q->phase = NVME_CQE_PHASE;
	q->slots = dr_alloc(q->depth * sizeof(*q->slots));
	if (!q->slots) {
		rc = dr_fail(ENOMEM, "nvme: no memory for %u commands; ask for less depth",
			     q->depth);
		goto fail;
	}
	for (unsigned i = 0; i < q->depth; i++)
		q->slots[i].next_free = (uint16_t)(i + 1);
	rc = dray_coherent_alloc(ctrl->dev, entries * sizeof(*q->sq), 0, &va, &q->sq_map);
	if (rc)
		goto fail;
	q->sq = va;
	rc = dray_coherent_alloc(ctrl->dev, entries * sizeof(*q->cq), 0, &va, &q->cq_map);
	if (rc)
		goto fail;
	q->cq = va;
	if (list_pages) {
		rc = dray_coherent_alloc(ctrl->dev, q->depth * list_pages * ctrl->page, 0, &va,
					 &q->list_map);
		if (rc)
			goto fail;
		q->lists = va;
	}
	if (id && ctrl->iov) {
		rc = open_vectors(q);
		if (rc)
			goto fail;
	}
	*ret_q = q;
	return 0;
fail:
	nvme_queue_close(q);
	return rc;
}

int nvme_slot_peek(struct nvme_queue *q, unsigned *ret_slot)
{
	if (q->free == q->depth)
		return dr_fail(EAGAIN, "nvme: queue %u is full with %u commands; poll it first",
			       q->id, q->depth);
	*ret_slot = q->free;
	return 0;
}

void nvme_slot_lists(struct nvme_queue *q, unsigned slot, struct dray_nvme_list *ret_lists)
{
	size_t page = q->ctrl->page, off = slot * q->ctrl->list_pages * page;

	for (size_t i = 0; i < q->ctrl->list_pages; i++, off += page)
		ret_lists[i] = (struct dray_nvme_list){q->lists + off, q->list_map.iova + off};
}

void nvme_slot_post(struct nvme_queue *q, unsigned slot, struct nvme_cmd *cmd, nvme_done_fn done,
		    void *ctx)
{
	struct nvme_slot *s = &q->slots[slot];

	q->free = s->next_free;
	q->busy++;
	s->busy = true;
	s->opcode = cmd->opcode;
	s->done = done;
	s->ctx = ctx;
	s->deadline_ns = dr_hooks->clock_ns() + q->ctrl->timeout_ns;
	cmd->cid = nvme_to_le16((uint16_t)slot);
	q->sq[q->sq_tail] = *cmd;
	if (++q->sq_tail == q->entries)
		q->sq_tail = 0;
	nvme_write32(q->ctrl->bar, nvme_sq_doorbell(q->id, q->ctrl->dstrd), q->sq_tail);
}

static void unmap_buffer(struct nvme_queue *q, struct nvme_slot *s)
{
	uint64_t start;

	if (!s->map.len && !s->sg_mapped)
		return;
	start = q->unmap_ns ? dr_hooks->clock_ns() : 0;
	if (s->sg_mapped)
		nvme_vector_unmap(q, s);
	else
		dray_unmap(q->ctrl->dev, &s->map);
	if (q->unmap_ns)
		nvme_hist_add(q->unmap_ns, dr_hooks->clock_ns() - start);
}

/* Free the slot and tell its owner. */
static void finish(struct nvme_queue *q, struct nvme_slot *s, int err, uint16_t status)
{
	nvme_done_fn done = s->done;
	void *ctx = s->ctx;

	unmap_buffer(q, s);
	if (s->n_sg)
		nvme_vector_end(q, s, err);
	s->busy = false;
	s->next_free = q->free;
	q->free = (uint16_t)(s - q->slots);
	q->busy--;
	if (done)
		done(ctx, err, status);
}

/* The sentence of a command that failed. */
static int explain(const struct nvme_queue *q, const struct nvme_slot *s, uint16_t status)
{
	const struct nvme_status_info *info = nvme_status_find(status);
	const char *name = nvme_opcode_name(q->id, s->opcode);
	unsigned cid = (unsigned)(s - q->slots);

	if (s->blocks)
		return dr_fail(info->err,
			       "nvme: %s of %u blocks at LBA %llu (queue %u, command %u) failed: "
			       "%s (status %#x); %s",
			       name, s->blocks, (unsigned long long)s->lba, q->id, cid, info->text,
			       status, info->fix);
	return dr_fail(info->err, "nvme: %s (queue %u, command %u) failed: %s (status %#x); %s",
		       name, q->id, cid, info->text, status, info->fix);
}

/* Everything out ends with the controller's failure; callbacks cannot submit any more. */
static void cancel(struct nvme_queue *q)
{
	for (unsigned i = 0; i < q->depth; i++)
		if (q->slots[i].busy)
			finish(q, &q->slots[i], nvme_check_dead(q->ctrl), NVME_NO_STATUS);
}

/* Is the controller well, and is every command young enough? 0 or -errno. */
static int look(struct nvme_queue *q, uint64_t now)
{
	uint32_t csts = nvme_read32(q->ctrl->bar, NVME_REG_CSTS);

	if (csts == NVME_CSTS_GONE)
		return nvme_ctrl_fail(q->ctrl, ENODEV,
				      "nvme: the controller left the bus (registers read as all "
				      "ones); check it with lspci, then open it again");
	if (csts & NVME_CSTS_CFS)
		return nvme_ctrl_fail(q->ctrl, EIO,
				      "nvme: the controller reports a fatal error (CSTS %#x), most "
				      "often a queue it could not reach; look for IOMMU faults, "
				      "then open it again",
				      csts);
	for (unsigned i = 0; i < q->depth; i++) {
		const struct nvme_slot *s = &q->slots[i];

		if (s->busy && now > s->deadline_ns)
			return nvme_ctrl_fail(
				q->ctrl, ETIMEDOUT,
				"nvme: %s (opcode %#x, queue %u, command %u) did not complete "
				"within %llu ms, controller stopped; check the device or allow "
				"more time",
				nvme_opcode_name(q->id, s->opcode), s->opcode, q->id, i,
				(unsigned long long)(q->ctrl->timeout_ns / 1000000));
	}
	return 0;
}

/* Deliver what is in the completion ring. -errno: the controller broke the protocol. */
static int reap(struct nvme_queue *q)
{
	int n = 0;

	for (;;) {
		struct nvme_cqe *cqe = &q->cq[q->cq_head];
		/* Acquire: the entry's other words and the data, written before the phase. */
		uint32_t raw = __atomic_load_n(&cqe->cid_status.raw, __ATOMIC_ACQUIRE);
		uint32_t word = nvme_from_le32((nvme_le32){raw});
		unsigned cid = NVME_CQE_CID(word);
		uint16_t status = NVME_CQE_STATUS(word);
		struct nvme_slot *s;

		if ((word & NVME_CQE_PHASE) != q->phase)
			break;
		nvme_rmb();
		if (cid >= q->depth || !q->slots[cid].busy)
			return nvme_ctrl_fail(q->ctrl, EPROTO,
					      "nvme: queue %u completed command %u, which is not "
					      "out; controller stopped: check its firmware",
					      q->id, cid);
		s = &q->slots[cid];
		s->result = nvme_from_le32(cqe->result);
		if (++q->cq_head == q->entries) {
			q->cq_head = 0;
			q->phase ^= NVME_CQE_PHASE;
		}
		n++;
		finish(q, s, status ? explain(q, s, status) : 0, status);
	}
	if (n)
		nvme_write32(q->ctrl->bar, nvme_cq_doorbell(q->id, q->ctrl->dstrd), q->cq_head);
	return n;
}

int nvme_poll(struct nvme_queue *q)
{
	int rc = nvme_check_dead(q->ctrl);
	uint64_t now;

	if (!rc)
		rc = reap(q);
	if (rc >= 0 && (rc == 0 || ++q->polls % LOOK_POLLS == 0)) {
		now = dr_hooks->clock_ns();
		if (now - q->checked_ns >= LOOK_NS) {
			int bad = look(q, now);

			q->checked_ns = now;
			if (bad)
				rc = bad;
		}
	}
	if (rc < 0)
		cancel(q);
	return rc;
}

void nvme_wait(struct nvme_queue *q, const bool *done)
{
	while (!*done)
		if (nvme_poll(q) == 0)
			nvme_idle();
}

unsigned nvme_queue_room(const struct nvme_queue *q)
{
	return q->depth - q->busy;
}

unsigned nvme_queue_busy(const struct nvme_queue *q)
{
	return q->busy;
}

void nvme_queue_record(struct nvme_queue *q, struct nvme_hist *map_ns, struct nvme_hist *unmap_ns)
{
	q->map_ns = map_ns;
	q->unmap_ns = unmap_ns;
}

void nvme_queue_close(struct nvme_queue *q)
{
	if (!q)
		return;
	if (q->slots)
		cancel(q);
	dr_free(q->stage);
	dr_free(q->sg);
	dray_coherent_free(q->ctrl->dev, q->lists, &q->list_map);
	dray_coherent_free(q->ctrl->dev, q->cq, &q->cq_map);
	dray_coherent_free(q->ctrl->dev, q->sq, &q->sq_map);
	dr_free(q->slots);
	dr_free(q);
}

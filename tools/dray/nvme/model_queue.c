// SPDX-License-Identifier: BSD-2-Clause
/*
 * The model's queues: fetching, choosing, completing
 *
 * 1. A command is fetched when its doorbell says that it is there and there is room for it. Admin
 *    commands are executed at once, in order. I/O commands become work with a time before which
 *    they do not complete.
 * 2. Work that is due is executed one at a time: the oldest, or with `reorder` one that the random
 *    numbers choose among all that are due. The same seed and the same fetches give the same order.
 * 3. Nothing is executed whose completion has no place: the completion ring's head doorbell says
 *    how far the driver has read.
 * 4. A completion is written whole, after the data and after the image, with a write barrier in
 *    front: dray_sim_write() stores in address order, so the word with the phase comes last.
 * 5. A queue entry that memory does not answer for leaves nothing sane to do: fatal, as on
 *    hardware. So does a doorbell with an index that its ring does not have.
 */
#include <string.h>

#include <dray/sim.h>

#include "base/hooks.h"
#include "nvme/mmio.h"
#include "nvme/model_priv.h"
#include "nvme/regs.h"

void model_set_fatal(struct nvme_model *m)
{
	m->fatal = true;
	nvme_write32(m->bar, NVME_REG_CSTS,
		     nvme_read32(m->bar, NVME_REG_CSTS) | NVME_CSTS_CFS);
}

bool model_can_complete(struct nvme_model *m, unsigned sqid)
{
	unsigned cqid = m->sq[sqid].cqid;
	const struct model_cq *cq = &m->cq[cqid];
	uint32_t head = nvme_read32(m->bar, nvme_cq_doorbell(cqid, 0));

	if (head >= cq->entries) {
		model_set_fatal(m);
		return false;
	}
	/* Full when one more would make tail equal to head, which means empty. */
	return (cq->tail + 1) % cq->entries != head;
}

void model_complete(struct nvme_model *m, unsigned sqid, const struct nvme_cmd *cmd,
		    uint16_t status, uint32_t result)
{
	const struct model_sq *sq = &m->sq[sqid];
	struct model_cq *cq = &m->cq[sq->cqid];
	uint32_t last = nvme_from_le16(cmd->cid) | cq->phase | (uint32_t)status << 17;
	struct nvme_cqe cqe = {
		.result = nvme_to_le32(result),
		.sq_head = nvme_to_le16((uint16_t)sq->head),
		.sq_id = nvme_to_le16((uint16_t)sqid),
		.cid_status = nvme_to_le32(last),
	};

	nvme_wmb();
	if (dray_sim_write(m->dev, cq->base + cq->tail * sizeof(cqe), &cqe, sizeof(cqe))) {
		model_set_fatal(m);
		return;
	}
	if (++cq->tail == cq->entries) {
		cq->tail = 0;
		cq->phase ^= NVME_CQE_PHASE;
	}
}

static void add_work(struct nvme_model *m, unsigned sqid, const struct nvme_cmd *cmd)
{
	unsigned i = m->order[m->n_work++];

	m->work[i].cmd = *cmd;
	m->work[i].sqid = sqid;
	m->work[i].due_ns = dr_hooks->clock_ns() + (uint64_t)m->latency_us * 1000;
}

/* Take work out of the order; its place goes behind the live ones. */
static void remove_work(struct nvme_model *m, unsigned at)
{
	uint16_t i = m->order[at];

	m->n_work--;
	memmove(&m->order[at], &m->order[at + 1], (m->n_work - at) * sizeof(m->order[0]));
	m->order[m->n_work] = i;
}

void model_forget(struct nvme_model *m, unsigned sqid)
{
	for (unsigned at = m->n_work; at-- > 0;)
		if (m->work[m->order[at]].sqid == sqid)
			remove_work(m, at);
}

/* Read the next entry of a ring that has one. False: fatal. */
static bool fetch_one(struct nvme_model *m, struct model_sq *sq, struct nvme_cmd *ret_cmd)
{
	if (dray_sim_read(m->dev, sq->base + sq->head * sizeof(*ret_cmd), ret_cmd,
			  sizeof(*ret_cmd))) {
		model_set_fatal(m);
		return false;
	}
	if (++sq->head == sq->entries)
		sq->head = 0;
	return true;
}

static unsigned fetch_admin(struct nvme_model *m, uint32_t tail)
{
	struct nvme_cmd cmd;
	uint32_t result;
	unsigned n = 0;

	while (m->sq[0].head != tail && model_can_complete(m, 0)) {
		uint16_t status;

		if (!fetch_one(m, &m->sq[0], &cmd))
			break;
		status = model_admin(m, &cmd, &result);
		model_complete(m, 0, &cmd, status, result);
		n++;
	}
	return n;
}

static unsigned fetch_io(struct nvme_model *m, unsigned sqid, uint32_t tail)
{
	struct nvme_cmd cmd;
	unsigned n = 0;

	while (m->sq[sqid].head != tail && m->n_work < MODEL_WORK) {
		unsigned drop = atomic_load_explicit(&m->drop, memory_order_relaxed);

		if (!fetch_one(m, &m->sq[sqid], &cmd))
			break;
		if (drop)
			atomic_fetch_sub_explicit(&m->drop, 1, memory_order_relaxed);
		else
			add_work(m, sqid, &cmd);
		atomic_fetch_add_explicit(&m->fetched, 1, memory_order_relaxed);
		n++;
	}
	return n;
}

unsigned model_fetch(struct nvme_model *m)
{
	unsigned n = 0;

	for (unsigned id = 0; id <= m->queues && !m->fatal; id++) {
		const struct model_sq *sq = &m->sq[id];
		uint32_t tail;

		if (!sq->live)
			continue;
		tail = nvme_read32(m->bar, nvme_sq_doorbell(id, 0));
		if (tail >= sq->entries) {
			model_set_fatal(m);
			break;
		}
		if (tail != sq->head)
			n += id ? fetch_io(m, id, tail) : fetch_admin(m, tail);
	}
	return n;
}

/* xorshift64*: full period over everything but zero, which the start keeps out. */
static uint64_t random_next(struct nvme_model *m)
{
	uint64_t x = m->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	m->random = x;
	return x * UINT64_C(2685821657736338717);
}

/* Where in the order the next piece of work is. False: none is due that could be completed. */
static bool choose(struct nvme_model *m, unsigned *ret_at)
{
	uint64_t now = dr_hooks->clock_ns();
	unsigned due = 0, start;

	/* Every command waits equally long, so those that are due come first in the order. */
	while (due < m->n_work && m->work[m->order[due]].due_ns <= now)
		due++;
	if (!due)
		return false;
	start = m->reorder ? (unsigned)(random_next(m) % due) : 0;
	/* A queue that its driver does not read must not hold up the others. */
	for (unsigned i = 0; i < due && !m->fatal; i++) {
		*ret_at = (start + i) % due;
		if (model_can_complete(m, m->work[m->order[*ret_at]].sqid))
			return true;
	}
	return false;
}

unsigned model_execute(struct nvme_model *m)
{
	const struct model_work *w;
	unsigned at;

	if (m->fatal || !m->n_work || atomic_load_explicit(&m->hold, memory_order_relaxed))
		return 0;
	if (!choose(m, &at))
		return 0;
	w = &m->work[m->order[at]];
	model_complete(m, w->sqid, &w->cmd, model_io(m, &w->cmd), 0);
	remove_work(m, at);
	return 1;
}

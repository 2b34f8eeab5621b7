// SPDX-License-Identifier: BSD-2-Clause
/*
 * The model's admin commands
 *
 * What a controller of version 1.4 needs for a driver to run: identify (controller, namespace,
 * active namespaces), queues made and deleted, the number of queues, and abort, which is allowed to
 * answer "not aborted" and here always does. Everything else is an Invalid Command Opcode. Queues
 * are checked as strictly as the specification lets a controller be, so that a driver which works
 * here does not work by luck.
 */
#include <stdio.h>
#include <string.h>

#include <dray/stats.h>

#include "nvme/mmio.h"
#include "nvme/model_priv.h"
#include "nvme/regs.h"

/* Text in identify pages is padded with spaces. */
static void put_text(char *field, size_t len, const char *text)
{
	size_t n = strlen(text);

	memset(field, ' ', len);
	memcpy(field, text, n < len ? n : len);
}

static uint16_t identify(struct nvme_model *m, const struct nvme_cmd *cmd)
{
	union {
		struct nvme_id_ctrl ctrl;
		struct nvme_id_ns ns;
		nvme_le32 list[NVME_PAGE / sizeof(nvme_le32)];
	} page;
	uint32_t nsid = nvme_from_le32(cmd->nsid);
	struct model_prp prp;

	memset(&page, 0, sizeof(page));
	switch (nvme_from_le32(cmd->cdw10) & 0xff) {
	case NVME_CNS_CONTROLLER:
		put_text(page.ctrl.sn, sizeof(page.ctrl.sn), "DRAY0001");
		put_text(page.ctrl.mn, sizeof(page.ctrl.mn), "dray NVMe controller model");
		put_text(page.ctrl.fr, sizeof(page.ctrl.fr), dray_version());
		page.ctrl.mdts = m->mdts;
		page.ctrl.ver = nvme_to_le32(nvme_read32(m->bar, NVME_REG_VS));
		page.ctrl.sqes = 0x66; /* 2^6 bytes, at least and at most */
		page.ctrl.cqes = 0x44;
		page.ctrl.nn = nvme_to_le32(1);
		page.ctrl.vwc = 1; /* the page cache in front of the image */
		page.ctrl.sgls = nvme_to_le32(m->sgls);
		snprintf(page.ctrl.subnqn, sizeof(page.ctrl.subnqn),
			 "nqn.2024-01.dray:nvme-model");
		break;
	case NVME_CNS_NAMESPACE:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE;
		page.ns.nsze = page.ns.ncap = page.ns.nuse = nvme_to_le64(m->blocks);
		page.ns.lbaf[0].lbads = (uint8_t)__builtin_ctz(m->block);
		break;
	case NVME_CNS_ACTIVE:
		/* Those above the one given; the two highest numbers are not namespaces. */
		if (nsid >= 0xfffffffe)
			return NVME_INVALID_NAMESPACE;
		page.list[0] = nvme_to_le32(nsid == 0 ? 1 : 0);
		break;
	default:
		return NVME_INVALID_FIELD;
	}
	model_prp_start(&prp, m, cmd, sizeof(page));
	return model_prp_move(&prp, &page, sizeof(page), true);
}

/* What both kinds of new queue have in common. */
static uint16_t check_queue(const struct nvme_model *m, const struct nvme_cmd *cmd)
{
	uint32_t cdw10 = nvme_from_le32(cmd->cdw10);
	unsigned id = cdw10 & 0xffff, entries = (cdw10 >> 16) + 1;

	if (!id || id > m->queues)
		return NVME_QID_INVALID;
	if (entries < 2 || entries > m->max_entries)
		return NVME_QSIZE_INVALID;
	if (!(nvme_from_le32(cmd->cdw11) & NVME_QUEUE_PC))
		return NVME_INVALID_FIELD;
	if (nvme_from_le64(cmd->prp1) % NVME_PAGE)
		return NVME_INVALID_PRP_OFFSET;
	return NVME_OK;
}

static uint16_t create_cq(struct nvme_model *m, const struct nvme_cmd *cmd)
{
	uint32_t cdw10 = nvme_from_le32(cmd->cdw10);
	uint16_t status = check_queue(m, cmd);
	struct model_cq *cq;

	if (status)
		return status;
	cq = &m->cq[cdw10 & 0xffff];
	if (cq->live)
		return NVME_QID_INVALID;
	/* There is no interrupt to send. */
	if (nvme_from_le32(cmd->cdw11) & NVME_QUEUE_IEN)
		return NVME_INVALID_FIELD;
	*cq = (struct model_cq){
		.live = true,
		.entries = (cdw10 >> 16) + 1,
		.phase = NVME_CQE_PHASE,
		.base = nvme_from_le64(cmd->prp1),
	};
	nvme_write32(m->bar, nvme_cq_doorbell(cdw10 & 0xffff, 0), 0);
	return NVME_OK;
}

static uint16_t create_sq(struct nvme_model *m, const struct nvme_cmd *cmd)
{
	uint32_t cdw10 = nvme_from_le32(cmd->cdw10);
	unsigned cqid = nvme_from_le32(cmd->cdw11) >> 16;
	uint16_t status = check_queue(m, cmd);
	struct model_sq *sq;

	if (status)
		return status;
	sq = &m->sq[cdw10 & 0xffff];
	if (sq->live)
		return NVME_QID_INVALID;
	if (!cqid || cqid > m->queues || !m->cq[cqid].live)
		return NVME_CQ_INVALID;
	*sq = (struct model_sq){
		.live = true,
		.entries = (cdw10 >> 16) + 1,
		.cqid = cqid,
		.base = nvme_from_le64(cmd->prp1),
	};
	m->cq[cqid].sqs++;
	nvme_write32(m->bar, nvme_sq_doorbell(cdw10 & 0xffff, 0), 0);
	return NVME_OK;
}

static uint16_t delete_queue(struct nvme_model *m, const struct nvme_cmd *cmd, bool submission)
{
	unsigned id = nvme_from_le32(cmd->cdw10) & 0xffff;

	if (!id || id > m->queues || !(submission ? m->sq[id].live : m->cq[id].live))
		return NVME_QID_INVALID;
	if (submission) {
		model_forget(m, id);
		m->sq[id].live = false;
		m->cq[m->sq[id].cqid].sqs--;
		return NVME_OK;
	}
	if (m->cq[id].sqs)
		return NVME_QUEUE_DELETION;
	m->cq[id].live = false;
	return NVME_OK;
}

static uint16_t features(struct nvme_model *m, const struct nvme_cmd *cmd, bool set,
			 uint32_t *ret_result)
{
	uint32_t wanted = nvme_from_le32(cmd->cdw11);

	if ((nvme_from_le32(cmd->cdw10) & 0xff) != NVME_FEATURE_QUEUES)
		return NVME_INVALID_FIELD;
	/* 65536 of a kind cannot be asked for. */
	if (set && ((wanted & 0xffff) == 0xffff || wanted >> 16 == 0xffff))
		return NVME_INVALID_FIELD;
	*ret_result = (m->queues - 1) << 16 | (m->queues - 1);
	return NVME_OK;
}

uint16_t model_admin(struct nvme_model *m, const struct nvme_cmd *cmd, uint32_t *ret_result)
{
	*ret_result = 0;
	if (cmd->flags)
		return NVME_INVALID_FIELD;
	switch (cmd->opcode) {
	case NVME_ADMIN_IDENTIFY:
		return identify(m, cmd);
	case NVME_ADMIN_CREATE_CQ:
		return create_cq(m, cmd);
	case NVME_ADMIN_CREATE_SQ:
		return create_sq(m, cmd);
	case NVME_ADMIN_DELETE_CQ:
		return delete_queue(m, cmd, false);
	case NVME_ADMIN_DELETE_SQ:
		return delete_queue(m, cmd, true);
	case NVME_ADMIN_SET_FEATURES:
		return features(m, cmd, true, ret_result);
	case NVME_ADMIN_GET_FEATURES:
		return features(m, cmd, false, ret_result);
	case NVME_ADMIN_ABORT:
		/* Bit 0: the command was not aborted. */
		*ret_result = 1;
		return NVME_OK;
	default:
		return NVME_INVALID_OPCODE;
	}
}

// SPDX-License-Identifier: BSD-2-Clause
/*
 * Admin commands: identify, number of queues, creating queues
 *
 * 1. They are rare, so one at a time is enough: admin_lock is held from the slot to the
 *    completion, and with it the one identify page, which stays mapped.
 * 2. Strings from the controller are padded with spaces, not ended; they are cut and made
 *    printable here, once.
 * 3. A namespace with metadata or an unknown block size is refused: the driver would read and
 *    write something else than the blocks that its caller counts.
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "nvme/ctrl.h"

static void wake(void *ctx, int err, uint16_t status)
{
	int *ret = ctx;

	(void)status;
	*ret = err;
}

static int admin_locked(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, uint32_t *ret_result)
{
	struct nvme_queue *q = ctrl->admin;
	int err = 1; /* not done */
	unsigned slot;
	int rc;

	rc = nvme_check_dead(ctrl);
	if (!rc)
		rc = nvme_slot_peek(q, &slot);
	if (rc)
		return rc;
	nvme_slot_post(q, slot, cmd, wake, &err);
	while (err == 1)
		if (nvme_poll(q) == 0)
			nvme_idle();
	if (!err && ret_result)
		*ret_result = q->slots[slot].result;
	return err;
}

int nvme_admin(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, uint32_t *ret_result)
{
	int rc;

	pthread_mutex_lock(&ctrl->admin_lock);
	rc = admin_locked(ctrl, cmd, ret_result);
	pthread_mutex_unlock(&ctrl->admin_lock);
	return rc;
}

int nvme_identify(struct nvme_ctrl *ctrl, uint32_t cns, uint32_t nsid, void *ret_page)
{
	struct nvme_cmd cmd = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.nsid = nvme_to_le32(nsid),
		.prp1 = nvme_to_le64(ctrl->id_map.iova),
		.cdw10 = nvme_to_le32(cns),
	};
	int rc;

	pthread_mutex_lock(&ctrl->admin_lock);
	rc = admin_locked(ctrl, &cmd, NULL);
	if (!rc)
		memcpy(ret_page, ctrl->id_page, NVME_PAGE);
	pthread_mutex_unlock(&ctrl->admin_lock);
	return rc;
}

int nvme_set_queues(struct nvme_ctrl *ctrl, unsigned wanted, unsigned *ret_granted)
{
	struct nvme_cmd cmd = {
		.opcode = NVME_ADMIN_SET_FEATURES,
		.cdw10 = nvme_to_le32(NVME_FEATURE_QUEUES),
		.cdw11 = nvme_to_le32((wanted - 1) << 16 | (wanted - 1)),
	};
	uint32_t result;
	unsigned sqs, cqs;
	int rc;

	if (!wanted || wanted > 65535)
		return dr_fail(EINVAL, "nvme: %u queues were asked for; ask for 1 to 65535",
			       wanted);
	rc = nvme_admin(ctrl, &cmd, &result);
	if (rc)
		return rc;
	/* Both counts are less one. */
	sqs = (result & 0xffff) + 1;
	cqs = (result >> 16) + 1;
	*ret_granted = sqs < cqs ? sqs : cqs;
	return 0;
}

int nvme_create_pair(struct nvme_ctrl *ctrl, const struct nvme_queue *q)
{
	nvme_le32 size = nvme_to_le32((q->entries - 1) << 16 | q->id);
	struct nvme_cmd cq = {
		.opcode = NVME_ADMIN_CREATE_CQ,
		.prp1 = nvme_to_le64(q->cq_map.iova),
		.cdw10 = size,
		.cdw11 = nvme_to_le32(NVME_QUEUE_PC),
	};
	struct nvme_cmd sq = {
		.opcode = NVME_ADMIN_CREATE_SQ,
		.prp1 = nvme_to_le64(q->sq_map.iova),
		.cdw10 = size,
		.cdw11 = nvme_to_le32(q->id << 16 | NVME_QUEUE_PC),
	};
	int rc;

	rc = nvme_admin(ctrl, &cq, NULL);
	return rc ? rc : nvme_admin(ctrl, &sq, NULL);
}

/* Cut the padding; what does not print becomes a question mark. @ret has room for @len + 1. */
static void copy_text(char *ret, const char *text, size_t len)
{
	while (len && (text[len - 1] == ' ' || text[len - 1] == '\0'))
		len--;
	for (size_t i = 0; i < len; i++)
		ret[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	ret[len] = '\0';
}

static int read_controller(struct nvme_ctrl *ctrl, struct nvme_id_ctrl *page)
{
	struct nvme_info *info = &ctrl->info;
	int rc;

	rc = nvme_identify(ctrl, NVME_CNS_CONTROLLER, 0, page);
	if (rc)
		return rc;
	copy_text(info->serial, page->sn, sizeof(page->sn));
	copy_text(info->model, page->mn, sizeof(page->mn));
	copy_text(info->firmware, page->fr, sizeof(page->fr));
	info->vendor = nvme_from_le16(page->vid);
	info->namespaces = nvme_from_le32(page->nn);
	info->volatile_cache = page->vwc & 1;
	switch (nvme_from_le32(page->sgls) & 3) {
	case NVME_SGLS_BYTES:
		info->sgl_align = 1;
		break;
	case NVME_SGLS_WORDS:
		info->sgl_align = 4;
		break;
	default:
		info->sgl_align = 0;
	}
	/* In units of the smallest page; beyond 32 doublings it limits nothing. */
	info->mdts = page->mdts && page->mdts < 32 ? (uint64_t)ctrl->page << page->mdts : 0;
	return 0;
}

static int first_namespace(struct nvme_ctrl *ctrl, nvme_le32 *list, uint32_t *ret_nsid)
{
	int rc = nvme_identify(ctrl, NVME_CNS_ACTIVE, 0, list);

	if (rc)
		return rc;
	*ret_nsid = nvme_from_le32(list[0]);
	if (!*ret_nsid)
		return dr_fail(ENODEV, "nvme: the controller has no active namespace; create and "
				       "attach one with nvme-cli");
	return 0;
}

static int read_namespace(struct nvme_ctrl *ctrl, uint32_t nsid, const struct nvme_id_ns *page)
{
	const struct nvme_lbaf *format = &page->lbaf[page->flbas & 0xf];
	struct nvme_info *info = &ctrl->info;

	info->nsid = nsid;
	info->blocks = nvme_from_le64(page->nsze);
	if (!info->blocks)
		return dr_fail(ENODEV,
			       "nvme: namespace %u is not active; `dray nvme identify` without "
			       "--namespace takes the first that is",
			       nsid);
	if (format->lbads < 9 || format->lbads > 16)
		return dr_fail(ENOTSUP,
			       "nvme: namespace %u has blocks of 2^%u bytes; format it with 512 or "
			       "4096",
			       nsid, format->lbads);
	if (nvme_from_le16(format->ms))
		return dr_fail(ENOTSUP,
			       "nvme: namespace %u keeps %u bytes of metadata with each block; "
			       "format it without",
			       nsid, nvme_from_le16(format->ms));
	info->block = 1u << format->lbads;
	return 0;
}

int nvme_read_info(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	union {
		struct nvme_id_ctrl ctrl;
		struct nvme_id_ns ns;
		nvme_le32 list[NVME_PAGE / sizeof(nvme_le32)];
	} page;
	int rc;

	rc = read_controller(ctrl, &page.ctrl);
	if (!rc && !nsid)
		rc = first_namespace(ctrl, page.list, &nsid);
	if (!rc)
		rc = nvme_identify(ctrl, NVME_CNS_NAMESPACE, nsid, &page.ns);
	return rc ? rc : read_namespace(ctrl, nsid, &page.ns);
}

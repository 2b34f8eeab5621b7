// SPDX-License-Identifier: BSD-2-Clause
/*
 * The model's I/O commands
 *
 * Fields are judged in the order that the specification gives their errors weight: opcode, then
 * what no command may carry, then namespace, then range and length. Data moves only when all of
 * them are good, through the staging buffer in pieces, each checked: memory that does not answer
 * ends the command as a Data Transfer Error, the medium as a media error.
 */
#include <unistd.h>

#include "nvme/model_priv.h"

/* cdw12 of a read or write: the blocks less one are in the low half. */
#define NLB(cdw12) (((cdw12)&0xffff) + 1)

static uint16_t move_data(struct nvme_model *m, const struct nvme_cmd *cmd, uint64_t off,
			  size_t len)
{
	bool read = cmd->opcode == NVME_IO_READ, list = cmd->flags & NVME_FLAG_SGL;
	struct model_prp prp;
	struct model_sgl sgl;
	uint16_t status;

	if (list)
		model_sgl_start(&sgl, m, cmd, len);
	else
		model_prp_start(&prp, m, cmd, len);
	while (len) {
		size_t n = len < MODEL_STAGE ? len : MODEL_STAGE;

		if (read && model_image_read(m, off, m->stage, n))
			return NVME_READ_ERROR;
		status = list ? model_sgl_move(&sgl, m->stage, n, read)
			      : model_prp_move(&prp, m->stage, n, read);
		if (status)
			return status;
		if (!read && model_image_write(m, off, m->stage, n))
			return NVME_WRITE_FAULT;
		off += n;
		len -= n;
	}
	return NVME_OK;
}

static uint16_t read_write(struct nvme_model *m, const struct nvme_cmd *cmd)
{
	uint64_t lba = nvme_from_le32(cmd->cdw10) | (uint64_t)nvme_from_le32(cmd->cdw11) << 32;
	uint32_t blocks = NLB(nvme_from_le32(cmd->cdw12));
	size_t len = (size_t)blocks * m->block;

	if (m->mdts && len > (size_t)NVME_PAGE << m->mdts)
		return NVME_INVALID_FIELD;
	if (lba >= m->blocks || blocks > m->blocks - lba)
		return NVME_LBA_RANGE;
	if (atomic_load_explicit(&m->lie, memory_order_relaxed)) {
		atomic_fetch_sub_explicit(&m->lie, 1, memory_order_relaxed);
		return NVME_OK;
	}
	return move_data(m, cmd, lba * m->block, len);
}

uint16_t model_io(struct nvme_model *m, const struct nvme_cmd *cmd)
{
	uint32_t nsid = nvme_from_le32(cmd->nsid);

	if (cmd->opcode > NVME_IO_READ)
		return NVME_INVALID_OPCODE;
	/* No fused commands; scatter-gather lists where identify says so. */
	if (cmd->flags & ~(m->sgls ? NVME_FLAG_SGL : 0u))
		return NVME_INVALID_FIELD;
	if (cmd->opcode == NVME_IO_FLUSH) {
		/* All namespaces are this one. */
		if (nsid != 1 && nsid != 0xffffffff)
			return NVME_INVALID_NAMESPACE;
		return fdatasync(m->fd) ? NVME_WRITE_FAULT : NVME_OK;
	}
	if (nsid != 1)
		return NVME_INVALID_NAMESPACE;
	return read_write(m, cmd);
}

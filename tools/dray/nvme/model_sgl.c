// SPDX-License-Identifier: BSD-2-Clause
/*
 * Scatter-gather lists, from the controller's side
 *
 * 1. A descriptor is of data, or leads to a list page of descriptors, which are all of data if it
 *    was of type Last Segment, else all but the last one. The walk trusts nothing, and reads one
 *    descriptor at a time, when it needs it, from memory that the IOMMU lets it read.
 * 2. A list that is longer or shorter than the transfer is Data SGL Length Invalid; a type that the
 *    model lacks is SGL Descriptor Type Invalid; a list page that is none, or leads nowhere, is
 *    Invalid SGL Segment Descriptor.
 * 3. What is behind the descriptors that the length needs is looked at once, at the end: a list
 *    with bytes left over is refused as some hardware does, though its data has moved.
 */
#include "nvme/model_priv.h"

#include <dray/sim.h>

#define DESC sizeof(struct dray_sgl_desc)
/* More descriptors than this without a byte of data are a circle, not a list. */
#define IDLE_MAX 65536u

void model_sgl_start(struct model_sgl *g, struct nvme_model *m, const struct nvme_cmd *cmd,
		     size_t len)
{
	*g = (struct model_sgl){.m = m, .first = cmd->sgl, .left = len, .last = true};
}

/* A descriptor of data becomes the current piece. */
static uint16_t take_data(struct model_sgl *g, const struct dray_sgl_desc *d)
{
	g->data = nvme_from_le64(d->addr);
	g->here = nvme_from_le32(d->len);
	if (g->m->sgls == NVME_SGLS_WORDS && (g->data | g->here) % 4)
		return NVME_INVALID_SGL_SEGMENT;
	return g->here <= g->left ? NVME_OK : NVME_INVALID_SGL_LENGTH;
}

/* A descriptor that leads on: its list page is the current one. */
static uint16_t take_segment(struct model_sgl *g, const struct dray_sgl_desc *d)
{
	uint32_t bytes = nvme_from_le32(d->len);

	g->next = nvme_from_le64(d->addr);
	g->descs = bytes / DESC;
	g->last = d->type == DRAY_SGL_LAST_SEGMENT;
	return bytes && !(bytes % DESC) && !(g->next % 8) ? NVME_OK : NVME_INVALID_SGL_SEGMENT;
}

static uint16_t next_piece(struct model_sgl *g)
{
	struct dray_sgl_desc d = g->first;
	bool leads;

	do {
		if (g->started && !g->descs)
			return NVME_INVALID_SGL_LENGTH;
		if (g->idle++ == IDLE_MAX)
			return NVME_INVALID_SGL_SEGMENT;
		/* Only the command's own, and the last one of a page that is not the last. */
		leads = !g->started || (!g->last && g->descs == 1);
		if (g->started) {
			if (dray_sim_read(g->m->dev, g->next, &d, DESC))
				return NVME_DATA_TRANSFER;
			g->next += DESC;
			g->descs--;
		}
		switch (d.type) {
		case DRAY_SGL_DATA:
			if (g->started && leads)
				return NVME_INVALID_SGL_SEGMENT;
			g->started = true;
			return take_data(g, &d);
		case DRAY_SGL_SEGMENT:
		case DRAY_SGL_LAST_SEGMENT:
			if (!leads || take_segment(g, &d))
				return NVME_INVALID_SGL_SEGMENT;
			g->started = true;
			break;
		default:
			return NVME_INVALID_SGL_TYPE;
		}
	} while (true);
}

uint16_t model_sgl_move(struct model_sgl *g, void *buf, size_t len, bool to_host)
{
	unsigned char *at = buf;

	while (len) {
		size_t n;
		int rc;

		/* A piece may be empty. */
		while (!g->here) {
			uint16_t status = next_piece(g);

			if (status)
				return status;
		}
		n = len < g->here ? len : g->here;
		rc = to_host ? dray_sim_write(g->m->dev, g->data, at, n)
			     : dray_sim_read(g->m->dev, g->data, at, n);
		if (rc)
			return NVME_DATA_TRANSFER;
		at += n;
		len -= n;
		g->data += n;
		g->here -= (uint32_t)n;
		g->left -= n;
		g->idle = 0;
	}
	return g->left || (!g->descs && g->last) ? NVME_OK : NVME_INVALID_SGL_LENGTH;
}

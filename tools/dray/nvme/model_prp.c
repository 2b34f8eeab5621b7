// SPDX-License-Identifier: BSD-2-Clause
/*
 * PRP entries, from the controller's side. prp.c tells what they are.
 *
 * 1. The walk trusts nothing: an entry that has to start a page and does not is PRP Offset Invalid,
 *    an entry or list that memory does not answer for is a Data Transfer Error.
 * 2. Only the entries that the length needs are read, so a list that ends at its page's end never
 *    makes the model touch what lies behind it.
 * 3. A piece never crosses a page; each is one DMA access. Pieces are found while data moves, so a
 *    fault in the middle leaves what lies before it moved, as on hardware.
 */
#include "nvme/model_priv.h"

#include <dray/sim.h>

#define ENTRY sizeof(nvme_le64)

void model_prp_start(struct model_prp *p, struct nvme_model *m, const struct nvme_cmd *cmd,
		     size_t len)
{
	p->m = m;
	p->next = nvme_from_le64(cmd->prp1);
	p->list = nvme_from_le64(cmd->prp2);
	p->in_page = NVME_PAGE - (size_t)(p->next % NVME_PAGE);
	p->left = len;
	p->at = p->entries = 0;
	p->first = true;
}

/* Read the entries of the list page at p->list that are needed, and see where the next one is. */
static uint16_t read_list(struct model_prp *p)
{
	size_t need = (p->left + NVME_PAGE - 1) / NVME_PAGE;
	size_t room = (NVME_PAGE - (size_t)(p->list % NVME_PAGE)) / ENTRY;
	bool chained = need > room;

	if (p->list % ENTRY)
		return NVME_INVALID_PRP_OFFSET;
	if (!chained)
		room = need;
	if (dray_sim_read(p->m->dev, p->list, p->entry, room * ENTRY))
		return NVME_DATA_TRANSFER;
	p->at = 0;
	p->entries = (unsigned)room;
	if (chained) {
		p->list = nvme_from_le64(p->entry[--p->entries]);
		/* Only the first list page may start inside a page; so later ones have entries. */
		if (p->list % NVME_PAGE)
			return NVME_INVALID_PRP_OFFSET;
	}
	return NVME_OK;
}

/* Find the page after the one that is used up. */
static uint16_t next_page(struct model_prp *p)
{
	bool second = p->first && p->left <= NVME_PAGE;

	p->first = false;
	p->in_page = NVME_PAGE;
	if (second) {
		/* The second and last page: there is no list. */
		p->next = p->list;
	} else {
		while (p->at == p->entries) {
			uint16_t status = read_list(p);

			if (status)
				return status;
		}
		p->next = nvme_from_le64(p->entry[p->at++]);
	}
	return p->next % NVME_PAGE ? NVME_INVALID_PRP_OFFSET : NVME_OK;
}

uint16_t model_prp_move(struct model_prp *p, void *buf, size_t len, bool to_host)
{
	unsigned char *at = buf;

	if (p->first && p->next % 4)
		return NVME_INVALID_PRP_OFFSET;
	while (len) {
		size_t n;
		int rc;

		if (!p->in_page) {
			uint16_t status = next_page(p);

			if (status)
				return status;
		}
		n = len < p->in_page ? len : p->in_page;
		rc = to_host ? dray_sim_write(p->m->dev, p->next, at, n)
			     : dray_sim_read(p->m->dev, p->next, at, n);
		if (rc)
			return NVME_DATA_TRANSFER;
		at += n;
		len -= n;
		p->next += n;
		p->in_page -= n;
		p->left -= n;
	}
	return NVME_OK;
}

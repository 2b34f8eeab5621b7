// SPDX-License-Identifier: BSD-2-Clause
#include "held.h"

#include "backend/sim/sim.h"
#include "map/receipt.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t below(struct source *r, uint64_t n)
{
	/* xorshift64* */
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return (r->state * UINT64_C(2685821657736338717) >> 11) % n;
}

void need(const struct source *r, bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "%s; DRAY_SEED=0x%llx (%s)\n", what, (unsigned long long)r->seed,
		dray_errmsg());
	abort();
}

static void scribble(struct source *r, unsigned char *p, size_t len)
{
	uint64_t x = below(r, UINT32_MAX) + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * UINT64_C(6364136223846793005) + 1;
		p[i] = (unsigned char)(x >> 50);
	}
}

static void drain_faults(struct dray_device *dev)
{
	struct dray_sim_fault f[8];

	while (dr_sim_take_faults(dev->bd, f, 8))
		;
}

/* --- Choosing --------------------------------------------------------------------------------- */

/* Elements in the room, in any order, adjoining or not; overlapping only where none is written. */
static void choose(struct held *h, struct source *r)
{
	static const size_t longest[] = { 64, 1000, KB4, 3 * KB4, 9000 };
	size_t at = below(r, 3) ? below(r, 200) : 0, most = longest[below(r, 5)];
	unsigned n = below(r, 4) ? 1 + (unsigned)below(r, MOST) : 1;

	h->n = 0;
	while (h->n < n && at < ROOM) {
		size_t len = 1 + below(r, most);

		if (!below(r, 3)) /* up to a page's end */
			len = KB4 - at % KB4;
		if (!below(r, 8)) /* whole pages, often */
			len = ((at + KB4) & ~(KB4 - 1)) - at + KB4 * below(r, 3);
		if (len > ROOM - at)
			len = ROOM - at;
		h->sg[h->n++] = lists_element(h->room + at, len);
		at += len;
		if (!below(r, 3))
			at += below(r, 500);
		if (!below(r, 4))
			at = (at + KB4 - 1) & ~(KB4 - 1);
	}
	for (unsigned i = 0; i + 1 < h->n && below(r, 3) == 0; i++) {
		unsigned k = i + (unsigned)below(r, h->n - i);
		struct dray_sg swap = h->sg[i];

		h->sg[i] = h->sg[k];
		h->sg[k] = swap;
	}
	h->dir = (enum dray_dir)below(r, 3);
	if (h->dir == DRAY_TO_DEVICE && h->n > 1 && !below(r, 4)) {
		h->sg[h->n - 1].va = h->sg[0].va;
		h->sg[h->n - 1].len = 1 + below(r, h->sg[0].len);
	}
	h->single = h->n == 1 && below(r, 2);
	h->at[0] = 0;
	for (unsigned i = 0; i < h->n; i++) {
		h->sg[i].iova = 0x10 + i;
		h->sg[i].dma_len = 0x20 + i;
		h->at[i + 1] = h->at[i] + h->sg[i].len;
	}
}

/* --- Where it went ---------------------------------------------------------------------------- */

static dray_iova_t element_iova(const struct held *h, unsigned i)
{
	return h->single ? h->m.iova : i ? h->sg[i].cookie[0] : h->sg[0].iova;
}

static struct dr_receipt receipt_of(const struct held *h, unsigned i)
{
	struct dr_receipt r;

	dr_receipt_unpack(h->single ? h->m.cookie[1] : h->sg[i].cookie[1], &r);
	return r;
}

static void check_segment(const struct held *h, const struct source *r, dray_iova_t iova,
			  size_t len)
{
	const struct dray_device_opts *o = h->limits;

	need(r, iova && len && iova + len - 1 > iova - 1, "a segment of nothing");
	need(r, !o->dma_mask || iova + len - 1 <= o->dma_mask, "above the mask");
	need(r, !o->max_segment || len <= o->max_segment, "longer than a segment");
	need(r, !o->segment_boundary_mask || (iova & o->segment_boundary_mask) + len - 1 <=
					     o->segment_boundary_mask, "across a boundary");
	/* An alignment that segments cannot have, because the other limits are less, is let off. */
	if (o->min_align && (!o->max_segment || o->max_segment >= o->min_align) &&
	    (!o->segment_boundary_mask || o->segment_boundary_mask >= o->min_align))
		need(r, !(iova & (o->min_align - 1)), "not aligned");
}

static void check_places(const struct held *h, const struct source *r, struct dray_domain *dom)
{
	size_t all = 0;

	if (h->single) {
		need(r, h->m.len == h->sg[0].len, "the length of a receipt");
		check_segment(h, r, h->m.iova, h->m.len);
	} else {
		need(r, h->segments > 0 && h->segments <= (int)h->n, "how many segments");
		for (int i = 0; i < h->segments; i++) {
			check_segment(h, r, h->sg[i].iova, h->sg[i].dma_len);
			all += h->sg[i].dma_len;
		}
		need(r, all == h->at[h->n], "the length of all segments");
	}
	for (unsigned i = 0; i < h->n; i++) {
		const unsigned char *va = h->sg[i].va;
		dray_iova_t iova = element_iova(h, i);
		size_t min_align = h->limits->min_align ? h->limits->min_align : 1;

		need(r, h->copied[i] == (dray_iova_to_va(dom, iova) != va), "where an IOVA leads");
		need(r, dray_iova_to_va(dom, iova + h->sg[i].len - 1) != NULL, "its last byte");
		if (!((uintptr_t)va & (min_align - 1)))
			need(r, !((iova ^ (uintptr_t)va) & (KB4 - 1)), "the offset is not kept");
	}
}

int held_map(struct held *h, struct source *r, struct dray_domain *dom, struct dray_device *dev,
	     const struct dray_device_opts *limits, uint32_t flags)
{
	void *va[MOST];
	size_t len[MOST];
	int ret;

	choose(h, r);
	h->dev = dev;
	h->limits = limits;
	h->no_sync = flags & DRAY_MAP_NO_SYNC;
	scribble(r, h->room, ROOM);
	memcpy(h->want, h->room, ROOM);
	for (unsigned i = 0; i < h->n; i++) {
		va[i] = h->sg[i].va;
		len[i] = h->sg[i].len;
		memcpy(h->seen + h->at[i], va[i], len[i]);
	}
	h->m = (struct dray_mapping){ .iova = 0x77 };
	if (h->single)
		ret = dray_map(dev, va[0], len[0], h->dir, flags, &h->m);
	else
		ret = h->segments = dray_map_sg(dev, h->sg, h->n, h->dir, flags);
	for (unsigned i = 0; i < h->n; i++)
		need(r, h->sg[i].va == va[i] && h->sg[i].len == len[i], "an element was changed");
	held_check(h, r);
	if (ret < 0) {
		need(r, h->m.iova == 0x77, "a receipt was written");
		for (unsigned i = 0; i < h->n; i++)
			need(r, h->sg[i].iova == 0x10 + i && h->sg[i].dma_len == 0x20 + i &&
			     !h->sg[i].cookie[0] && !h->sg[i].cookie[1], "a list was written");
		return ret;
	}
	h->mapped = true;
	for (unsigned i = 0; i < h->n; i++)
		h->copied[i] = receipt_of(h, i).way == DR_WAY_BOUNCE;
	check_places(h, r, dom);
	return 0;
}

/* What the memory of an element must be. */
static unsigned char *want_of(struct held *h, unsigned i)
{
	return h->want + ((unsigned char *)h->sg[i].va - h->room);
}

/* What the device wrote to copies of [from, from + len) of the list reaches the memory. */
static void fetch(struct held *h, size_t from, size_t len)
{
	for (unsigned i = 0; i < h->n; i++) {
		size_t begin = from > h->at[i] ? from : h->at[i];
		size_t end = from + len < h->at[i + 1] ? from + len : h->at[i + 1];

		if (h->copied[i] && begin < end && h->dir != DRAY_TO_DEVICE)
			memcpy(want_of(h, i) + begin - h->at[i],
			       h->seen + begin, end - begin);
	}
}

void held_unmap(struct held *h, struct source *r, struct dray_domain *dom)
{
	bool strict = dray_domain_invalidation(dom) == DRAY_STRICT;
	bool refused = lists_fail_unmap != 0;
	dray_iova_t was[MOST];
	enum dr_way way[MOST];
	char byte;

	for (unsigned i = 0; i < h->n; i++) {
		was[i] = element_iova(h, i);
		way[i] = receipt_of(h, i).way;
	}
	if (!h->no_sync)
		fetch(h, 0, h->at[h->n]);
	if (h->single)
		dray_unmap(h->dev, &h->m);
	else
		dray_unmap_sg(h->dev, h->sg, h->n);
	held_check(h, r);
	need(r, !h->m.cookie[0] && !h->sg[0].cookie[0], "a receipt is left");
	for (unsigned i = 0; i < h->n && !refused && r->seed & 1; i++)
		if (strict && way[i] == DR_WAY_MAP)
			need(r, dr_sim_dma_read(h->dev->bd, was[i], &byte, 1) == -EFAULT,
			     "reached after unmap");
	drain_faults(h->dev);
	h->mapped = false;
}

/* --- Moving bytes ----------------------------------------------------------------------------- */

static void part_of(struct source *r, size_t all, size_t *ret_off, size_t *ret_len)
{
	*ret_off = below(r, all);
	*ret_len = 1 + below(r, below(r, 3) ? all - *ret_off : 1);
}

/* Device access to [off, off + len) of the list, by its segments. 0, or what the device is told. */
static int transfer(const struct held *h, size_t off, unsigned char *data, size_t len, bool write)
{
	unsigned k = 0;

	while (len) {
		dray_iova_t iova = h->single ? h->m.iova : h->sg[k].iova;
		size_t have = h->single ? h->m.len : h->sg[k].dma_len, now;
		int err;

		k++;
		if (off >= have) {
			off -= have;
			continue;
		}
		now = have - off < len ? have - off : len;
		err = write ? dr_sim_dma_write(h->dev->bd, iova + off, data, now) :
			      dr_sim_dma_read(h->dev->bd, iova + off, data, now);
		if (err)
			return err;
		data += now;
		len -= now;
		off = 0;
	}
	return 0;
}

/* Elements that are not copied are read and written where they are. */
static void refresh(struct held *h)
{
	for (unsigned i = 0; i < h->n; i++)
		if (!h->copied[i])
			memcpy(h->seen + h->at[i], h->sg[i].va, h->sg[i].len);
}

void held_cpu_writes(struct held *h, struct source *r)
{
	unsigned i = (unsigned)below(r, h->n);
	size_t off, len, at = (size_t)((unsigned char *)h->sg[i].va - h->room);

	part_of(r, h->sg[i].len, &off, &len);
	scribble(r, h->room + at + off, len);
	memcpy(h->want + at + off, h->room + at + off, len);
}

void held_device_reads(struct held *h, struct source *r)
{
	static _Thread_local unsigned char data[ROOM * 2];
	size_t off, len;

	part_of(r, h->at[h->n], &off, &len);
	refresh(h);
	if (transfer(h, off, data, len, false)) {
		/* Mapped for this call, it has this call's rights. */
		need(r, h->dir == DRAY_FROM_DEVICE, "the device cannot read");
		drain_faults(h->dev);
		return;
	}
	need(r, !memcmp(data, h->seen + off, len), "the device reads something else");
}

void held_device_writes(struct held *h, struct source *r)
{
	static _Thread_local unsigned char data[ROOM * 2];
	size_t off, len;

	/* What it may not write is tried elsewhere: some of it may be written by other rights. */
	if (h->dir == DRAY_TO_DEVICE)
		return;
	part_of(r, h->at[h->n], &off, &len);
	scribble(r, data, len);
	need(r, !transfer(h, off, data, len, true), "the device cannot write");
	memcpy(h->seen + off, data, len);
	for (unsigned i = 0; i < h->n; i++) {
		size_t begin = off > h->at[i] ? off : h->at[i];
		size_t end = off + len < h->at[i + 1] ? off + len : h->at[i + 1];

		if (!h->copied[i] && begin < end)
			memcpy(want_of(h, i) + begin - h->at[i],
			       data + begin - off, end - begin);
	}
	held_check(h, r);
}

void held_sync(struct held *h, struct source *r)
{
	bool to_device = below(r, 2);
	size_t off = 0, len = h->at[h->n];
	int err;

	if (h->single && below(r, 4))
		part_of(r, h->m.len, &off, &len);
	if (h->single)
		err = to_device ? dray_sync_for_device(h->dev, &h->m, off, len) :
				  dray_sync_for_cpu(h->dev, &h->m, off, len);
	else
		err = to_device ? dray_sync_sg_for_device(h->dev, h->sg, h->n) :
				  dray_sync_sg_for_cpu(h->dev, h->sg, h->n);
	need(r, !err, "no sync");
	if (!to_device)
		fetch(h, off, len);
	for (unsigned i = 0; i < h->n && to_device; i++) {
		size_t begin = off > h->at[i] ? off : h->at[i];
		size_t end = off + len < h->at[i + 1] ? off + len : h->at[i + 1];

		if (begin < end)
			memcpy(h->seen + begin, (char *)h->sg[i].va + begin - h->at[i],
			       end - begin);
	}
	held_check(h, r);
}

void held_check(const struct held *h, const struct source *r)
{
	need(r, !memcmp(h->room, h->want, ROOM), "a buffer or what is beside it");
}

void held_check_guards(const struct held *h, const struct source *r, struct dray_domain *dom)
{
	for (unsigned i = 0; i < h->n; i++) {
		struct dr_receipt rec = receipt_of(h, i);
		dray_iova_t first = element_iova(h, i) & ~(KB4 - 1);
		size_t len = (size_t)(rec.handle >> 1) * KB4;
		char byte;

		if (rec.way != DR_WAY_MAP || !rec.handle)
			continue;
		need(r, rec.handle & 1, "without a guard");
		need(r, !dray_iova_to_va(dom, first + len), "something above it");
		need(r, dr_sim_dma_read(h->dev->bd, first + len, &byte, 1) == -EFAULT,
		     "an overrun is not seen");
	}
	drain_faults(h->dev);
}

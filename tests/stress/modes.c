// SPDX-License-Identifier: BSD-2-Clause
/*
 * A lazy domain under everything at once: maps, lists and links on several threads, unmaps on other
 * threads, switches between lazy and strict, flushes, devices that come and go, some of which may
 * attack, and regions.
 *
 * What is promised of waiting unmaps is judged by the software IOMMU itself: it counts every access
 * that its TLB served from an entry whose address had been given out again before the flush of the
 * unmap ended. That count stays zero. And after a flush or a switch to strict nothing that this
 * thread unmapped before is reached.
 */
#include "stress.h"

#include "backend/sim/sim.h"
#include "domain/domain.h"

#include <dray/region.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES 2u
#define LIST    4u
#define BUF     ((size_t)8 * KB4)

/* On its way from the thread that mapped it to the one that unmaps it. */
struct parcel {
	struct dray_mapping m;
	struct dray_sg sg[LIST]; /* used where m.len is 0 */
	bool list;
	char *buf; /* BUF bytes; NULL: empty */
};

static struct dray_domain *lazy;
static struct dray_device *devices[DEVICES];
static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;
static struct parcel shelf; /* guarded by shelf_lock */

void modes_open(struct stress *s)
{
	struct dray_domain_opts opts = {
		.size = sizeof(opts), .backend = DRAY_BACKEND_SIM, .invalidation = DRAY_LAZY,
		.flush_entries = 32, .flush_timeout_us = 500,
	};
	static const char *const names[DEVICES] = { "sim30", "sim31" };

	(void)s;
	MUST(!dray_domain_open(&opts, &lazy));
	for (unsigned i = 0; i < DEVICES; i++)
		MUST(!dray_device_open(lazy, names[i], NULL, &devices[i]));
}

static void unpack(struct parcel *p, struct dice *d)
{
	if (!p->buf)
		return;
	if (p->list)
		dray_unmap_sg(devices[dice_below(d, DEVICES)], p->sg, LIST);
	else
		dray_unmap(devices[dice_below(d, DEVICES)], &p->m);
	free(p->buf);
	*p = (struct parcel){ 0 };
}

void modes_close(struct stress *s)
{
	struct dice d = dice_of(s, 0);
	struct dr_sim_counts counts;
	struct dray_stats st = { .size = sizeof(st) };
	struct dray_domain_info info = { .size = sizeof(info) };

	unpack(&shelf, &d);
	for (unsigned i = 0; i < DEVICES; i++)
		dray_device_close(devices[i]);
	MUST(!dray_stats_get(lazy, &st) && !dray_domain_info(lazy, &info));
	MUST(st.maps == st.unmaps && !st.leaks && !st.bad_unmaps && !st.unmap_errors);
	MUST(!st.waiting_entries && !st.waiting_bytes && st.flushed && st.flushes_switch);
	MUST(st.map_bytes == st.unmap_bytes + st.bounce_mapped_bytes);
	MUST(!info.damaged && !info.quarantined_bytes && !info.devices);
	MUST(!st.bounce_used_bytes);
	dr_sim_counts(lazy->io.be, &counts);
	MUST(counts.stale_reuses == 0);
	MUST(counts.hits);
	MUST(dr_iova_space_is_valid(lazy->io.space));
	MUST(dr_pgtable_is_valid(lazy->io.pt));
	printf("%llu lazy maps, %llu flushed, %llu switches\n", (unsigned long long)st.maps,
	       (unsigned long long)st.flushed, (unsigned long long)st.flushes_switch);
	dray_domain_close(lazy);
}

/* The device finds at @iova what the CPU put there, and leaves what the CPU then finds. */
static void check_bytes(dray_iova_t iova, char *va, size_t len, bool copied, struct dice *d)
{
	struct dray_device *dev = devices[dice_below(d, DEVICES)];
	char got[32];

	if (len > sizeof(got))
		len = sizeof(got);
	MUST(!dray_sim_read(dev, iova, got, len));
	MUST(!memcmp(got, va, len));
	memset(got, (int)dice_below(d, 256), len);
	MUST(!dray_sim_write(dev, iova, got, len));
	MUST(copied || !memcmp(got, va, len));
}

static void pack_one(struct parcel *p, struct dice *d)
{
	size_t off = dice_below(d, KB4), len = 1 + dice_below(d, 4 * KB4);
	struct dray_device *dev = devices[dice_below(d, DEVICES)];

	MUST(!dray_map(dev, p->buf + off, len, DRAY_BIDIRECTIONAL, 0, &p->m));
	check_bytes(p->m.iova, p->buf + off, len,
		    dray_iova_to_va(lazy, p->m.iova) != p->buf + off, d);
}

static void pack_list(struct parcel *p, struct dice *d)
{
	struct dray_device *dev = devices[dice_below(d, DEVICES)];
	size_t at = 0;
	int n;

	p->list = true;
	for (unsigned i = 0; i < LIST; i++) {
		p->sg[i].va = p->buf + 2 * i * KB4 + dice_below(d, KB4);
		p->sg[i].len = 1 + dice_below(d, KB4);
	}
	n = dray_map_sg(dev, p->sg, LIST, DRAY_BIDIRECTIONAL, 0);
	MUST(n > 0 && n <= (int)LIST);
	for (int i = 0; i < n; i++)
		at += p->sg[i].dma_len;
	for (unsigned i = 0; i < LIST; i++)
		at -= p->sg[i].len;
	MUST(!at);
	check_bytes(p->sg[0].iova, p->sg[0].va, p->sg[0].len,
		    dray_iova_to_va(lazy, p->sg[0].iova) != p->sg[0].va, d);
}

/* Unmap here, flush or not, and see that it cannot be reached once it must not be. */
static void unpack_and_look(struct parcel *p, struct dice *d)
{
	dray_iova_t at = p->m.iova;
	char *buf = p->buf;
	struct dray_device *dev = devices[dice_below(d, DEVICES)];

	if (p->list || dice_below(d, 8)) {
		unpack(p, d);
		return;
	}
	dray_unmap(dev, &p->m);
	MUST(!dray_flush(lazy));
	/* Another thread may have it by now, for another buffer. */
	if (dray_iova_to_va(lazy, at) != buf + at % KB4) {
		char got[8];

		memset(buf, 0x3c, BUF);
		if (!dray_sim_read(dev, at, got, 1))
			MUST(dray_iova_to_va(lazy, at) != buf + at % KB4);
	}
	free(buf);
	*p = (struct parcel){ 0 };
}

void *packer_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	struct parcel held[8] = { 0 };

	for (unsigned i = 0; i < w->s->ops; i++) {
		struct parcel *p = &held[dice_below(&d, 8)];

		if (!p->buf) {
			p->buf = aligned_alloc(KB4, BUF);
			MUST(p->buf);
			memset(p->buf, (int)i, BUF);
			if (dice_below(&d, 4))
				pack_one(p, &d);
			else
				pack_list(p, &d);
		} else if (dice_below(&d, 3) == 0) {
			struct parcel tmp = *p;

			pthread_mutex_lock(&shelf_lock);
			*p = shelf;
			shelf = tmp;
			pthread_mutex_unlock(&shelf_lock);
		} else {
			unpack_and_look(p, &d);
		}
	}
	for (unsigned i = 0; i < 8; i++)
		unpack(&held[i], &d);
	return NULL;
}

/* Back and forth; after each switch to strict what was unmapped before is gone. */
void *switcher_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	char *mem = aligned_alloc(KB4, KB4), got[8];

	MUST(mem);
	memset(mem, 0x11, KB4);
	for (unsigned i = 0; i < w->s->ops / 8; i++) {
		struct dray_mapping m;
		dray_iova_t at;

		MUST(!dray_map(devices[0], mem, KB4, DRAY_BIDIRECTIONAL, 0, &m));
		at = m.iova;
		MUST(!dray_sim_read(devices[0], at, got, sizeof(got)));
		dray_unmap(devices[1], &m);
		switch (dice_below(&d, 4)) {
		case 0:
			MUST(!dray_domain_set_invalidation(lazy, DRAY_LAZY));
			continue;
		case 1:
			MUST(!dray_poll(lazy));
			continue;
		case 2:
			MUST(!dray_flush(lazy));
			break;
		default:
			MUST(!dray_domain_set_invalidation(lazy, DRAY_STRICT));
		}
		/* Whoever may have the address now, it is not this buffer any more. */
		MUST(dray_iova_to_va(lazy, at) != mem);
		MUST(((volatile char *)mem)[0] == 0x11);
	}
	free(mem);
	return NULL;
}

/* A device that comes and goes; it may be one that attacks, if nothing is exposed. */
void *visitor_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	char *mem = aligned_alloc(KB4, 2 * KB4), got[16];

	MUST(mem);
	memset(mem, 0x22, 2 * KB4);
	for (unsigned i = 0; i < w->s->ops / 32; i++) {
		struct dray_device_opts opts = { .size = sizeof(opts) };
		struct dray_region *region;
		struct dray_device *dev;
		struct dray_mapping m;
		int err;

		if (dice_below(&d, 3) == 0)
			opts.flags = DRAY_DEVICE_UNTRUSTED;
		if (dice_below(&d, 3) == 0)
			opts.min_align = 64;
		err = dray_device_open(lazy, "sim32", &opts, &dev);
		if (err) {
			MUST(err == -EBUSY && opts.flags);
			continue;
		}
		MUST(!opts.flags || dray_domain_invalidation(lazy) == DRAY_STRICT);
		MUST(!dray_region_register(lazy, mem + KB4, KB4, DRAY_REGION_SHARE_UNTRUSTED,
					   &region));
		MUST(!dray_map(dev, mem + 32, 100, DRAY_BIDIRECTIONAL, 0, &m));
		MUST(!opts.flags || dray_iova_to_va(lazy, m.iova) != mem + 32);
		MUST(!dray_sim_read(dev, m.iova, got, sizeof(got)));
		MUST(!memcmp(got, mem + 32, sizeof(got)));
		dray_unmap(dev, &m);
		MUST(!dray_map(dev, mem + KB4, 100, DRAY_TO_DEVICE, 0, &m));
		MUST(!dray_sim_read(dev, m.iova, got, sizeof(got)));
		MUST(!memcmp(got, mem + KB4, sizeof(got)));
		MUST(dray_region_unregister(region) == -EBUSY);
		dray_unmap(dev, &m);
		MUST(!dray_region_unregister(region));
		dray_device_close(dev);
	}
	free(mem);
	return NULL;
}

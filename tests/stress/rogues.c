// SPDX-License-Identifier: BSD-2-Clause
/*
 * Addresses of choice, under fire from devices that never stop: once an unmap has returned, nothing
 * they send reaches the buffer.
 */
#include "stress.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define ROGUES 2u
/* How often the CPU looks at a buffer whose mapping is gone. */
#define LOOKS 4

static struct dray_device *rogues[ROGUES], *honest;

void rogues_open(struct stress *s)
{
	MUST(!dray_device_open(s->dom, "sim10", NULL, &rogues[0]));
	MUST(!dray_device_open(s->dom, "sim11", NULL, &rogues[1]));
	MUST(!dray_device_open(s->dom, "sim12", NULL, &honest));
}

void rogues_close(struct stress *s)
{
	struct dray_sim_fault f;

	(void)s;
	for (unsigned i = 0; i < ROGUES; i++) {
		MUST(dray_sim_faults(rogues[i], &f, 1) == 1);
		MUST(f.iova >= WINDOW_BASE && f.access == DRAY_SIM_WRITE && f.reason);
		dray_device_close(rogues[i]);
	}
	dray_device_close(honest);
}

static dray_iova_t slot_of(unsigned window, unsigned slot)
{
	return WINDOW_BASE + window * WINDOW_SIZE + slot * (WINDOW_SIZE / WINDOW_SLOTS);
}

void *rogue_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	unsigned char junk[256];

	memset(junk, 0xaa, sizeof(junk));
	for (unsigned n = 0; !atomic_load(&w->s->stop); n++) {
		dray_iova_t iova = slot_of((unsigned)dice_below(&d, w->s->windows),
					   (unsigned)dice_below(&d, WINDOW_SLOTS));
		int err = dray_sim_write(rogues[w->index], iova + dice_below(&d, 2 * KB4), junk,
					 1 + dice_below(&d, sizeof(junk)));

		/* There are more threads than processors, and the others have work to do. */
		if (n % 64 == 0)
			sched_yield();
		MUST(!err || err == -EFAULT);
		atomic_fetch_add_explicit(err ? &w->s->refused : &w->s->reached, 1,
					  memory_order_relaxed);
	}
	return NULL;
}

static bool is_all(const char *buf, size_t len, char c)
{
	for (size_t i = 0; i < len; i++)
		if (((const volatile char *)buf)[i] != c)
			return false;
	return true;
}

/* A read-only mapping: it may be read, and no write arrives even while it lives. */
static void check_read_only(dray_iova_t iova, char *buf, size_t len)
{
	char got[64];

	memset(buf, 0x55, len);
	MUST(!dray_sim_read(honest, iova, got, sizeof(got)));
	MUST(is_all(got, sizeof(got), 0x55));
	MUST(is_all(buf, len, 0x55));
}

static void check_gone(const struct stress *s, dray_iova_t iova, char *buf, size_t len, char c)
{
	char got[8];

	MUST(!dray_iova_to_va(s->dom, iova));
	memset(buf, c, len);
	MUST(dray_sim_read(honest, iova, got, sizeof(got)) == -EFAULT);
	for (int i = 0; i < LOOKS; i++) {
		sched_yield();
		MUST(is_all(buf, len, c));
	}
}

void *window_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	/* A buffer may be one large leaf, so it is aligned for that. */
	char *bufs = aligned_alloc(MB2, WINDOW_SLOTS * MB2);
	char *buf;

	MUST(bufs);
	for (unsigned i = 0; i < w->s->ops; i++) {
		unsigned slot = (unsigned)dice_below(&d, WINDOW_SLOTS);
		dray_iova_t iova = slot_of(w->index, slot);
		bool large = dice_below(&d, 50) == 0, explicit = dice_below(&d, 2);
		size_t len = large ? MB2 : KB4 * (1 + dice_below(&d, 4));
		bool read_only = dice_below(&d, 3) == 0;
		struct dray_mapping m;

		buf = bufs + slot * MB2;
		if (explicit)
			MUST(!dray_domain_map(w->s->dom, iova, buf, len, read_only ?
					      DRAY_PROT_READ : DRAY_PROT_READ | DRAY_PROT_WRITE,
					      0));
		else
			MUST(!dray_map_fixed(honest, iova, buf, len, read_only ? DRAY_TO_DEVICE :
					     DRAY_BIDIRECTIONAL, 0, &m));
		if (read_only)
			check_read_only(iova, buf, KB4);
		else if (dice_below(&d, 2))
			sched_yield();
		if (explicit)
			MUST(!dray_domain_unmap(w->s->dom, iova, len));
		else
			dray_unmap(honest, &m);
		check_gone(w->s, iova, buf, 2 * KB4 < len ? 2 * KB4 : len, (char)i);
	}
	free(bufs);
	return NULL;
}

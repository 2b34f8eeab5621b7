// SPDX-License-Identifier: BSD-2-Clause
/* Devices that come, move and go in domains where others are at work; domains that come and go. */
#include "stress.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Outside every window; the same address in both domains, with other memory behind it. */
#define TWIN UINT64_C(0x7f0000000000)

/* After each move the device sees the new domain's memory, and the old one's no more. */
void *mover_run(void *worker)
{
	const struct worker *w = worker;
	struct dray_domain *doms[] = { w->s->dom, w->s->other };
	char *mem = aligned_alloc(KB4, 2 * KB4);
	struct dice d = dice_of(w->s, w->number);
	struct dray_sim_fault f;
	struct dray_device *dev;
	unsigned at = 0;

	MUST(mem);
	memset(mem, 'a', KB4);
	memset(mem + KB4, 'b', KB4);
	for (unsigned i = 0; i < 2; i++)
		MUST(!dray_domain_map(doms[i], TWIN, mem + i * KB4, KB4, DRAY_PROT_READ, 0));
	MUST(!dray_device_open(doms[0], "sim20", NULL, &dev));
	for (unsigned i = 0; i < w->s->ops; i++) {
		struct dray_mapping m;
		char got[32];

		MUST(!dray_sim_read(dev, TWIN, got, sizeof(got)));
		MUST(!memcmp(got, mem + at * KB4, sizeof(got)));
		MUST(!dray_map(dev, mem, KB4, DRAY_TO_DEVICE, 0, &m));
		if (dice_below(&d, 2)) {
			at = !at;
			MUST(!dray_device_set_domain(dev, doms[at]));
			MUST(dray_device_get_domain(dev) == doms[at]);
		}
		/* In the domain where it was mapped, wherever the device is now. */
		dray_unmap(dev, &m);
	}
	MUST(dray_sim_faults(dev, &f, 1) == 0);
	dray_device_close(dev);
	for (unsigned i = 0; i < 2; i++)
		MUST(!dray_domain_unmap(doms[i], TWIN, KB4));
	free(mem);
	return NULL;
}

/* Two threads want the same device; who has it maps with it and leaves some of that mapped. */
void *opener_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	char *mem = aligned_alloc(KB4, 4 * KB4);

	MUST(mem);
	memset(mem, 1, 4 * KB4);
	for (unsigned i = 0; i < w->s->ops / 4; i++) {
		struct dray_device_opts opts = { .size = sizeof(opts) };
		struct dray_mapping m[4];
		struct dray_device *dev;
		int err;

		opts.dma_mask = (UINT64_C(1) << (32 + dice_below(&d, 16))) - 1;
		err = dray_device_open(w->s->dom, "sim21", &opts, &dev);
		if (err) {
			MUST(err == -EBUSY);
			sched_yield();
			continue;
		}
		atomic_fetch_add(&w->s->opened, 1);
		for (unsigned k = 0; k < 4; k++) {
			MUST(!dray_map(dev, mem + k * KB4, 1 + dice_below(&d, KB4),
				       DRAY_BIDIRECTIONAL, 0, &m[k]));
			MUST(m[k].iova + m[k].len - 1 <= opts.dma_mask);
		}
		for (unsigned k = 0; k < 4; k++) {
			if (dice_below(&d, 3))
				dray_unmap(dev, &m[k]);
			else
				atomic_fetch_add(&w->s->device_leaks, 1);
		}
		dray_device_close(dev);
		for (unsigned k = 0; k < 4; k++)
			MUST(!m[k].cookie[0] || dray_iova_to_va(w->s->dom, m[k].iova) !=
						mem + k * KB4 + m[k].iova % KB4);
	}
	free(mem);
	return NULL;
}

struct late {
	struct dray_device *dev;
	struct dray_mapping m[8];
};

static void *unmap_late(void *arg)
{
	struct late *l = arg;

	for (unsigned i = 0; i < 8; i++)
		dray_unmap(l->dev, &l->m[i]);
	return NULL;
}

/* A domain of its own, closed while its device and its receipts are still out, in any order. */
void *closer_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	char *mem = aligned_alloc(KB4, KB4);

	MUST(mem);
	memset(mem, 1, KB4);
	for (unsigned i = 0; i < w->s->ops / 16; i++) {
		struct dray_domain_opts opts = {
			.size = sizeof(opts), .backend = DRAY_BACKEND_SIM,
		};
		struct dray_domain *dom;
		pthread_t thread;
		struct late l;
		char got[8];

		MUST(!dray_domain_open(&opts, &dom));
		MUST(!dray_device_open(dom, "sim22", NULL, &l.dev));
		for (unsigned k = 0; k < 8; k++)
			MUST(!dray_map(l.dev, mem, KB4, DRAY_BIDIRECTIONAL, 0, &l.m[k]));
		MUST(!dray_sim_read(l.dev, l.m[3].iova, got, sizeof(got)));
		if (dice_below(&d, 2))
			MUST(!dray_device_set_domain(l.dev, w->s->other));
		MUST(!pthread_create(&thread, NULL, unmap_late, &l));
		dray_domain_close(dom);
		MUST(!pthread_join(thread, NULL));
		dray_device_close(l.dev);
	}
	free(mem);
	return NULL;
}

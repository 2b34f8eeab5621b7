// SPDX-License-Identifier: BSD-2-Clause
/* Automatic addresses: map, let a device work on the buffer, unmap it or hand it to the next one. */
#include "stress.h"

#include <stdlib.h>
#include <string.h>

#define DEVICES 3u
#define HELD    16u /* live mappings of one thread */
#define MAX_LEN (3 * KB4)
#define LARGE   (MB2 + 3 * KB4)

/* A live mapping with its buffer, on its way. */
struct held {
	struct dray_mapping m;
	char *buf; /* LARGE + KB4 bytes, NULL: nothing held */
	char *va;  /* in buf */
};

static struct dray_device *devices[DEVICES];
/* One place for each mapper, filled by the one before it. */
static struct {
	pthread_mutex_t lock;
	struct held held; /* guarded by lock */
} *mailbox;

void mappers_open(struct stress *s)
{
	static const char *const names[DEVICES] = { "sim1", "sim2", "sim3" };

	for (unsigned i = 0; i < DEVICES; i++)
		MUST(!dray_device_open(s->dom, names[i], NULL, &devices[i]));
	mailbox = calloc(s->mappers, sizeof(*mailbox));
	MUST(mailbox);
	for (unsigned i = 0; i < s->mappers; i++)
		pthread_mutex_init(&mailbox[i].lock, NULL);
}

static void let_go(struct held *h, struct dice *d)
{
	if (!h->buf)
		return;
	/* Through any device: the receipt knows. */
	dray_unmap(devices[dice_below(d, DEVICES)], &h->m);
	MUST(!h->m.cookie[0]);
	free(h->buf);
	h->buf = NULL;
}

void mappers_close(struct stress *s)
{
	struct dray_sim_fault f;
	struct dice d = dice_of(s, 0);

	for (unsigned i = 0; i < s->mappers; i++) {
		let_go(&mailbox[i].held, &d);
		pthread_mutex_destroy(&mailbox[i].lock);
	}
	free(mailbox);
	for (unsigned i = 0; i < DEVICES; i++) {
		/* These devices only went where they were sent. */
		MUST(dray_sim_faults(devices[i], &f, 1) == 0);
		dray_device_close(devices[i]);
	}
}

/* The device writes a pattern, the CPU finds it; the other way round; both ends of the buffer. */
static void check_data(const struct held *h, struct dice *d)
{
	struct dray_device *dev = devices[dice_below(d, DEVICES)];
	size_t len = h->m.len < 64 ? h->m.len : 64, tail = h->m.len - len;
	unsigned char put[64], got[64];

	for (size_t i = 0; i < len; i++)
		put[i] = (unsigned char)dice_below(d, 256);
	MUST(!dray_sim_write(dev, h->m.iova, put, len));
	MUST(!memcmp(h->va, put, len));
	memset(h->va + tail, (int)dice_below(d, 256), len);
	MUST(!dray_sim_read(dev, h->m.iova + tail, got, len));
	MUST(!memcmp(h->va + tail, got, len));
}

static void take(struct stress *s, struct held *h, struct dice *d)
{
	size_t len = 1 + dice_below(d, MAX_LEN);

	if (dice_below(d, 200) == 0)
		len = LARGE;
	h->buf = aligned_alloc(KB4, LARGE + KB4);
	MUST(h->buf);
	h->va = h->buf + dice_below(d, KB4);
	MUST(!dray_map(devices[dice_below(d, DEVICES)], h->va, len, DRAY_BIDIRECTIONAL, 0, &h->m));
	MUST(h->m.iova % KB4 == (uintptr_t)h->va % KB4);
	MUST(dray_iova_to_va(s->dom, h->m.iova) == h->va);
}

/* What is held goes to the next thread, and what is there comes here. */
static void swap(const struct worker *w, struct held *h)
{
	struct held tmp = *h;
	unsigned to = (w->index + 1) % w->s->mappers;

	pthread_mutex_lock(&mailbox[to].lock);
	*h = mailbox[to].held;
	mailbox[to].held = tmp;
	pthread_mutex_unlock(&mailbox[to].lock);
}

void *mapper_run(void *worker)
{
	const struct worker *w = worker;
	struct dice d = dice_of(w->s, w->number);
	struct held held[HELD] = { 0 };

	for (unsigned i = 0; i < w->s->ops; i++) {
		struct held *h = &held[dice_below(&d, HELD)];

		if (!h->buf)
			take(w->s, h, &d);
		check_data(h, &d);
		if (dice_below(&d, 3) == 0)
			swap(w, h);
		else if (dice_below(&d, 2))
			let_go(h, &d);
	}
	for (unsigned i = 0; i < HELD; i++)
		let_go(&held[i], &d);
	return NULL;
}

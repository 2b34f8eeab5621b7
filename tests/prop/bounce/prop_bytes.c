// SPDX-License-Identifier: BSD-2-Clause
/*
 * Random requests, accesses, syncs, failures and shrinking against an oracle that keeps every byte:
 * what each buffer must hold, and what a device must read at each IOVA. Usage:
 * prop-bounce-bytes [OPS [SEED]], or DRAY_OPS and DRAY_SEED. The seed is printed.
 *
 * First one thread alone, which a seed repeats exactly, with calls of the world that fail and a
 * backend that refuses; then several threads, each with buffers of its own over shared pools,
 * while one of them seals, allows and trims.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../unit/bounce/rig.h"

#define HELD    20u
#define WORKERS 3u
#define GUARD   64u
#define SPAN    (2 * MB1)
#define OWN_BYTES (96 * KB)

static uint64_t seed = 0x5eed, ops = 8000;

struct held {
	unsigned char *mem;       /* GUARD bytes, the buffer, GUARD bytes */
	unsigned char *want_mem;  /* what mem must be */
	unsigned char *want_slot; /* what the device must see */
	size_t len;
	struct dr_bounce_request q;
	dray_iova_t iova;
	uint64_t handle;
};

struct worker {
	pthread_t thread;
	struct rig *r;
	uint64_t seed, ops;
	bool alone, shakes;
	struct dr_bounce_pool_set *own;
	unsigned char *arena; /* SPAN for each held; aligned, so that a seed says all alignments */
	struct held held[HELD];
	uint64_t maps, refused, bytes;
};

static uint64_t next(struct worker *w)
{
	/* xorshift*; never 0 */
	w->seed ^= w->seed >> 12;
	w->seed ^= w->seed << 25;
	w->seed ^= w->seed >> 27;
	return (w->seed * UINT64_C(2685821657736338717)) >> 16;
}

static void need(bool right, const struct worker *w, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "%s; %llu operations left, seed 0x%llx\n", what,
		(unsigned long long)w->ops, (unsigned long long)seed);
	abort();
}

static void scribble(struct worker *w, unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)next(w);
}

static void part_of(struct worker *w, size_t all, size_t *ret_off, size_t *ret_len)
{
	*ret_off = next(w) % (all + 1);
	*ret_len = next(w) % 4 ? next(w) % (all - *ret_off + 1) : all - *ret_off;
}

static bool reads(const struct held *h)
{
	return h->q.dir != DRAY_FROM_DEVICE;
}

static bool writes(const struct held *h)
{
	return h->q.dir != DRAY_TO_DEVICE;
}

static unsigned char *va_of(const struct held *h)
{
	return h->q.va;
}

static void check_memory(const struct worker *w, const struct held *h)
{
	need(!memcmp(h->mem, h->want_mem, h->len + 2 * GUARD), w, "a buffer or what is beside it");
}

/* --- The device ------------------------------------------------------------------------------- */

static void drain_faults(struct worker *w)
{
	struct dray_sim_fault f[8];

	while (dr_sim_take_faults(w->r->dev, f, 8))
		;
}

static void device_read(struct worker *w, struct held *h)
{
	static _Thread_local unsigned char seen[2 * MB1];
	size_t off, len;
	int err;

	part_of(w, h->len, &off, &len);
	if (!len)
		return;
	err = dr_sim_dma_read(w->r->dev, h->iova + off, seen, len);
	if (!reads(h) && err) {
		/* A slot mapped for this call has this call's rights; a pool has all. */
		drain_faults(w);
		return;
	}
	need(!err, w, "the device cannot read");
	need(!memcmp(seen, h->want_slot + off, len), w, "the device reads something else");
	w->bytes += len;
}

static void device_write(struct worker *w, struct held *h)
{
	static _Thread_local unsigned char data[2 * MB1];
	size_t off, len;
	int err;

	part_of(w, h->len, &off, &len);
	if (!len)
		return;
	scribble(w, data, len);
	err = dr_sim_dma_write(w->r->dev, h->iova + off, data, len);
	if (!writes(h) && err) {
		drain_faults(w);
		return;
	}
	need(!err, w, "the device cannot write");
	memcpy(h->want_slot + off, data, len);
}

/* The rest of an untrusted buffer's granules. */
static void check_padding(struct worker *w, const struct held *h)
{
	static _Thread_local unsigned char page[4096];
	dray_iova_t end = h->iova + h->len;

	if (h->q.trusted || !reads(h))
		return;
	need(!dr_sim_dma_read(w->r->dev, h->iova & ~(dray_iova_t)4095, page, 4096), w,
	     "the first granule is not there");
	for (size_t i = 0; i < (h->iova & 4095); i++)
		need(!page[i], w, "a byte before the buffer is seen");
	need(!dr_sim_dma_read(w->r->dev, (end - 1) & ~(dray_iova_t)4095, page, 4096), w,
	     "the last granule is not there");
	for (size_t i = ((end - 1) & 4095) + 1; i < 4096; i++)
		need(!page[i], w, "a byte behind the buffer is seen");
}

/* --- The CPU ---------------------------------------------------------------------------------- */

static void choose(struct worker *w, struct held *h)
{
	static const size_t most[] = { 16, 3000, 9000, 70000, 70000, 1 * MB1 };
	enum dray_dir dir = (enum dray_dir)(next(w) % 3);
	size_t limit = most[next(w) % 6];
	unsigned char *at;

	h->len = 1 + next(w) % limit;
	h->mem = w->arena + (size_t)(h - w->held) * SPAN + next(w) % 8192;
	if (!(next(w) % 4))
		h->mem = w->arena + (size_t)(h - w->held) * SPAN + 4096 - GUARD;
	h->want_mem = malloc(h->len + 2 * GUARD);
	h->want_slot = malloc(h->len);
	need(h->want_mem && h->want_slot, w, "no memory to test with");
	at = h->mem + GUARD;
	h->q = request(at, h->len, dir, next(w) % 2);
	h->q.owner_bits = dr_pte_owner_bits(1 + (unsigned)(next(w) % 4));
	h->q.keep_offset = next(w) % 8;
	if (!(next(w) % 4))
		h->q.min_align = (size_t)1 << next(w) % 22;
	if (!(next(w) % 4))
		h->q.mask = (UINT64_C(1) << (28 + next(w) % 30)) - 1;
	if (!(next(w) % 4))
		h->q.shared_mask = MASK32;
	if (!(next(w) % 4))
		h->q.boundary_mask = (UINT64_C(1) << (9 + next(w) % 16)) - 1;
	if (!(next(w) % 4))
		h->q.own = w->own;
	scribble(w, h->mem, h->len + 2 * GUARD);
	memcpy(h->want_mem, h->mem, h->len + 2 * GUARD);
	memcpy(h->want_slot, at, h->len);
}

static void forget(struct held *h)
{
	free(h->want_mem);
	free(h->want_slot);
	h->mem = NULL;
}

/* Where the slot may be. */
static void check_place(struct worker *w, const struct held *h)
{
	const struct dr_bounce_request *q = &h->q;
	uintptr_t va = (uintptr_t)q->va;
	size_t align = q->min_align ? q->min_align : 1;

	need(h->iova && h->iova + h->len - 1 <= q->mask, w, "above the mask");
	need(!(h->iova & (align - 1)), w, "not aligned");
	if (q->keep_offset && !(va & (align - 1)))
		need(!((h->iova ^ va) & 4095), w, "the offset is not kept");
	if (q->boundary_mask)
		need((h->iova & q->boundary_mask) + h->len - 1 <= q->boundary_mask, w,
		     "across a boundary");
	check_padding(w, h);
}

static void map_one(struct worker *w, struct held *h)
{
	int err;

	choose(w, h);
	if (w->alone && !(next(w) % 4)) {
		fail_nth = 1 + (int)(next(w) % 12);
		fail_stays = next(w) % 2;
	}
	err = dr_bounce_map(w->r->b, &h->q, &h->iova, &h->handle);
	if (w->alone) {
		fail_nth = 0;
		fail_stays = false;
	}
	check_memory(w, h);
	if (err) {
		need(err == -ENOMEM || err == -ENOSPC || err == -EMSGSIZE, w, "an odd error");
		if (err == -EMSGSIZE)
			need(h->q.boundary_mask || h->q.own, w, "refused without a reason");
		w->refused++;
		forget(h);
		return;
	}
	w->maps++;
	check_place(w, h);
}

static void unmap_one(struct worker *w, struct held *h)
{
	bool copy = next(w) % 4;
	bool refuse = w->alone && !h->q.trusted && !(next(w) % 64);
	uint64_t lost = 0;
	bool ok;

	if (refuse) {
		lost = stats_of(w->r).lost_bytes;
		dr_sim_fail_unmap_at(w->r->io.be, 0);
	}
	ok = dr_bounce_unmap(w->r->b, h->handle, copy);
	need(ok || (refuse && stats_of(w->r).lost_bytes > lost), w, "not unmapped");
	if (copy && writes(h))
		memcpy(h->want_mem + GUARD, h->want_slot, h->len);
	check_memory(w, h);
	need(!dr_bounce_unmap(w->r->b, h->handle, true), w, "unmapped twice");
	check_memory(w, h);
	forget(h);
}

static void sync_one(struct worker *w, struct held *h)
{
	size_t off, len;

	part_of(w, h->len, &off, &len);
	if (next(w) % 2) {
		need(!dr_bounce_sync_for_device(w->r->b, h->handle, off, len), w, "no sync");
		memcpy(h->want_slot + off, va_of(h) + off, len);
	} else {
		need(!dr_bounce_sync_for_cpu(w->r->b, h->handle, off, len), w, "no sync");
		if (writes(h))
			memcpy(h->want_mem + GUARD + off, h->want_slot + off, len);
	}
	check_memory(w, h);
}

static void write_one(struct worker *w, struct held *h)
{
	size_t off, len;

	part_of(w, h->len, &off, &len);
	scribble(w, va_of(h) + off, len);
	memcpy(h->want_mem + GUARD + off, va_of(h) + off, len);
}

static void find_one(struct worker *w, struct held *h)
{
	size_t off, len, at = 0;
	uint64_t handle = 0;

	part_of(w, h->len, &off, &len);
	if (!len)
		return;
	need(dr_bounce_find(w->r->b, h->iova + off, len, &handle, &at) && handle == h->handle &&
	     at == off, w, "not found");
	need(!dr_bounce_find(w->r->b, h->iova + off, h->len - off + 1, &handle, &at), w,
	     "found what is not there");
}

static void shake(struct worker *w)
{
	switch (next(w) % 3) {
	case 0:
		if (!dr_bounce_retire_idle(w->r->b))
			need(!dr_bounce_is_present(w->r->b), w, "a pool is left");
		break;
	case 1:
		dr_bounce_allow_pools(w->r->b);
		break;
	default:
		__atomic_add_fetch(&world_ns, UINT64_C(600000000), __ATOMIC_RELAXED);
		dr_bounce_trim(w->r->b);
	}
}

static void step(struct worker *w)
{
	struct held *h = &w->held[next(w) % HELD];

	if (w->shakes && !(next(w) % 32))
		shake(w);
	if (!h->mem) {
		map_one(w, h);
		return;
	}
	switch (next(w) % 8) {
	case 0: case 1:
		unmap_one(w, h);
		break;
	case 2:
		write_one(w, h);
		break;
	case 3:
		device_read(w, h);
		break;
	case 4:
		device_write(w, h);
		break;
	case 5:
		find_one(w, h);
		break;
	default:
		sync_one(w, h);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	need(!dr_bounce_own_open(w->r->b, OWN_BYTES, &w->own), w, "no own pool");
	for (; w->ops; w->ops--) {
		step(w);
		if (w->alone && !(w->ops % 256))
			need(dr_bounce_is_valid(w->r->b), w, "pools are not valid");
	}
	for (unsigned i = 0; i < HELD; i++)
		if (w->held[i].mem)
			unmap_one(w, &w->held[i]);
	dr_bounce_own_close(w->r->b, w->own);
	return NULL;
}

static void run(unsigned workers)
{
	static struct worker w[WORKERS];
	struct rig *r;
	uint64_t maps = 0, refused = 0, bytes = 0;

	world_begin();
	r = rig_open(NULL, DRAY_DOMAIN_PAGING, 7 * MB1);
	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < workers; i++) {
		w[i].r = r;
		w[i].seed = seed * 2654435761u + i + 1;
		w[i].ops = ops;
		w[i].alone = workers == 1;
		w[i].shakes = i == workers - 1;
		w[i].arena = dr_hooks_system.alloc(HELD * SPAN, SPAN);
		assert_non_null(w[i].arena);
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < workers; i++) {
		pthread_join(w[i].thread, NULL);
		maps += w[i].maps;
		refused += w[i].refused;
		bytes += w[i].bytes;
		dr_hooks_system.free(w[i].arena);
	}
	printf("%u thread%s: %llu maps, %llu refused, %llu bytes read by the device\n", workers,
	       workers > 1 ? "s" : "", (unsigned long long)maps, (unsigned long long)refused,
	       (unsigned long long)bytes);
	assert_true(maps > workers * ops / 16);
	assert_true(bytes > 0);
	assert_true(dr_bounce_is_valid(r->b));
	assert_int_equal(stats_of(r).slots_out, 0);
	rig_close(r);
	world_end();
}

static void test_alone(void **state)
{
	(void)state;
	run(1);
}

static void test_threads(void **state)
{
	(void)state;
	run(WORKERS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_threads),
	};
	const char *o = argc > 1 ? argv[1] : getenv("DRAY_OPS");
	const char *s = argc > 2 ? argv[2] : getenv("DRAY_SEED");

	if (o)
		ops = strtoull(o, NULL, 0);
	if (s)
		seed = strtoull(s, NULL, 0);
	printf("ops %llu, seed 0x%llx\n", (unsigned long long)ops, (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

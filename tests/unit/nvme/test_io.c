// SPDX-License-Identifier: BSD-2-Clause
/* Reads, writes and flushes through the software IOMMU; completions in any order. */
#include "stack.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

static struct stack s;

static int close_stack(void **state)
{
	(void)state;
	stack_close(&s);
	return 0;
}

static void fill(unsigned char *mem, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		mem[i] = (unsigned char)(i * 131 + (i >> 8) * 7 + seed);
}

static void identify_tells_what_the_model_is(void **state)
{
	const struct nvme_model_opts mo = {
		.block = 4096, .queues = 3, .max_entries = 64, .mdts = 5};
	const struct nvme_opts no = {.queues = 8, .depth = 500};
	const struct nvme_info *info;

	(void)state;
	stack_open(&s, MIB, &mo, &no);
	info = nvme_get_info(s.ctrl);
	assert_string_equal(info->model, "dray NVMe controller model");
	assert_string_equal(info->serial, "DRAY0001");
	assert_string_equal(info->firmware, dray_version());
	assert_int_equal(info->version, 0x10400);
	assert_int_equal(info->nsid, 1);
	assert_int_equal(info->namespaces, 1);
	assert_int_equal(info->block, 4096);
	assert_int_equal(info->blocks, MIB / 4096);
	assert_true(info->volatile_cache);
	assert_int_equal(info->mdts, 128 << 10);
	assert_int_equal(info->max_transfer, 128 << 10);
	/* More was asked for than there is. */
	assert_int_equal(info->queues, 3);
	assert_int_equal(info->depth, 63);
	assert_null(nvme_get_queue(s.ctrl, 3));
}

static void what_is_written_is_in_the_image_and_comes_back(void **state)
{
	unsigned char *out = stack_pages(MIB), *in = stack_pages(MIB), *image = stack_pages(MIB);
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, 4 * MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	fill(out, MIB, 1);
	assert_int_equal(nvme_write(q, 100, out, MIB), 0);
	assert_int_equal(nvme_flush(q), 0);
	stack_image_read(&s, 100 * 512, image, MIB);
	assert_memory_equal(image, out, MIB);
	assert_int_equal(nvme_read(q, 100, in, MIB), 0);
	assert_memory_equal(in, out, MIB);
	/* Neighbours are as they were. */
	assert_int_equal(nvme_read(q, 99, in, 512), 0);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(in[i], stack_pattern(99 * 512 + i));
	free(image);
	free(in);
	free(out);
}

/* Lists of more than one page, at every kind of offset; memory around the buffer stays. */
static void long_and_odd_buffers(void **state)
{
	static const size_t offs[] = {0, 4, 508, 4092};
	const struct nvme_opts no = {.max_transfer = 4 * MIB, .depth = 2};
	size_t len = 4 * MIB, room = len + 2 * NVME_PAGE;
	unsigned char *out = stack_pages(room), *in = stack_pages(room);
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, 8 * MIB, NULL, &no);
	q = nvme_get_queue(s.ctrl, 0);
	for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		size_t at = offs[i], part = len - i * 1536;

		fill(out + at, part, (unsigned)i);
		memset(in, 0xee, room);
		assert_int_equal(nvme_write(q, i, out + at, part), 0);
		assert_int_equal(nvme_read(q, i, in + at, part), 0);
		assert_memory_equal(in + at, out + at, part);
		for (size_t b = 0; b < at; b++)
			assert_int_equal(in[b], 0xee);
		for (size_t b = at + part; b < room; b++)
			assert_int_equal(in[b], 0xee);
	}
	free(in);
	free(out);
}

/* Rings of every small size wrap many times, and the phase with them. */
static void rings_wrap(void **state)
{
	unsigned char *mem = stack_pages(512);

	(void)state;
	for (unsigned depth = 1; depth <= 5; depth++) {
		const struct nvme_opts no = {.depth = depth};
		struct nvme_queue *q;

		stack_open(&s, MIB, NULL, &no);
		assert_int_equal(nvme_get_info(s.ctrl)->depth, depth);
		q = nvme_get_queue(s.ctrl, 0);
		for (unsigned i = 0; i < 37; i++) {
			fill(mem, 512, i);
			assert_int_equal(nvme_write(q, i, mem, 512), 0);
			memset(mem, 0, 512);
			assert_int_equal(nvme_read(q, i, mem, 512), 0);
			assert_int_equal(mem[5], (unsigned char)(5 * 131 + i));
		}
		stack_close(&s);
	}
	free(mem);
}

struct order {
	unsigned seq[32], n;
};

struct tag {
	struct order *order;
	unsigned id;
	int err;
};

static void note(void *ctx, int err, uint16_t status)
{
	struct tag *t = ctx;

	t->err = err ? err : status;
	t->order->seq[t->order->n++] = t->id;
}

/* Hold until all are fetched, then see in which order they complete. */
static void run_held(struct order *o, const struct nvme_model_opts *mo)
{
	const struct nvme_opts no = {.depth = 32};
	unsigned char *mem = stack_pages(32 * 512);
	struct tag tags[32];
	struct nvme_queue *q;

	stack_open(&s, MIB, mo, &no);
	q = nvme_get_queue(s.ctrl, 0);
	nvme_model_hold(s.model, true);
	o->n = 0;
	for (unsigned i = 0; i < 32; i++) {
		tags[i] = (struct tag){.order = o, .id = i};
		assert_int_equal(
			nvme_submit(q, NVME_IO_READ, i, mem + i * 512, 512, note, &tags[i]), 0);
	}
	assert_int_equal(nvme_queue_busy(q), 32);
	assert_int_equal(nvme_queue_room(q), 0);
	/* Full: refused, and nothing stays mapped for it. */
	assert_int_equal(nvme_submit(q, NVME_IO_READ, 0, mem, 512, note, &tags[0]), -EAGAIN);
	stack_await_fetched(&s, 32);
	assert_int_equal(nvme_poll(q), 0);
	nvme_model_hold(s.model, false);
	while (nvme_queue_busy(q))
		assert_true(nvme_poll(q) >= 0);
	assert_int_equal(o->n, 32);
	for (unsigned i = 0; i < 32 * 512; i++)
		assert_int_equal(mem[i], stack_pattern(i));
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(tags[i].err, 0);
	stack_close(&s);
	free(mem);
}

static void completions_come_in_any_order_the_seed_says(void **state)
{
	const struct nvme_model_opts in_order = {.reorder = false};
	const struct nvme_model_opts seven = {.reorder = true, .seed = 7};
	const struct nvme_model_opts eight = {.reorder = true, .seed = 8};
	struct order a, b, c, plain;

	(void)state;
	run_held(&plain, &in_order);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(plain.seq[i], i);
	run_held(&a, &seven);
	run_held(&b, &seven);
	run_held(&c, &eight);
	assert_memory_equal(a.seq, b.seq, sizeof(a.seq));
	assert_memory_not_equal(a.seq, plain.seq, sizeof(a.seq));
	assert_memory_not_equal(a.seq, c.seq, sizeof(a.seq));
}

struct chain {
	struct nvme_queue *q;
	unsigned char *mem;
	unsigned left;
};

/* A callback submits the next command, as drivers do. */
static void again(void *ctx, int err, uint16_t status)
{
	struct chain *c = ctx;

	assert_int_equal(err, 0);
	assert_int_equal(status, 0);
	if (--c->left)
		assert_int_equal(
			nvme_submit(c->q, NVME_IO_READ, c->left, c->mem, 512, again, c), 0);
}

static void callbacks_submit(void **state)
{
	const struct nvme_opts no = {.depth = 1};
	struct chain c = {.left = 100};

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	c.mem = stack_pages(512);
	c.q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_submit(c.q, NVME_IO_READ, c.left, c.mem, 512, again, &c), 0);
	while (nvme_queue_busy(c.q))
		assert_true(nvme_poll(c.q) >= 0);
	assert_int_equal(c.left, 0);
	free(c.mem);
}

struct worker {
	struct nvme_queue *q;
	unsigned id;
	int rc;
};

/* Each thread has a queue and a range of its own. */
static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned char *out = stack_pages(16384), *in = stack_pages(16384);

	for (unsigned i = 0; i < 40 && !w->rc; i++) {
		uint64_t lba = w->id * 2048 + i * 32;

		fill(out, 16384, w->id * 64 + i);
		w->rc = nvme_write(w->q, lba, out, 16384);
		if (!w->rc)
			w->rc = nvme_read(w->q, lba, in, 16384);
		if (!w->rc && memcmp(in, out, 16384) != 0)
			w->rc = -EIO;
	}
	free(in);
	free(out);
	return NULL;
}

static void threads_own_queues(void **state)
{
	const struct nvme_model_opts mo = {.reorder = true, .seed = 3};
	const struct nvme_opts no = {.queues = 4};
	struct worker w[4];
	pthread_t t[4];

	(void)state;
	stack_open(&s, 4 * MIB, &mo, &no);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){.q = nvme_get_queue(s.ctrl, i), .id = i};
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(w[i].rc, 0);
	}
}

static void ill_formed_requests_never_reach_the_controller(void **state)
{
	unsigned char *mem = stack_pages(2 * MIB);
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, 4 * MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_read(q, 0, mem, 0), -EINVAL);
	assert_int_equal(nvme_read(q, 0, mem, 511), -EINVAL);
	assert_int_equal(nvme_read(q, 0, mem, MIB + 512), -EINVAL);
	assert_non_null(strstr(dray_errmsg(), "split it"));
	assert_int_equal(nvme_read(q, 0, mem + 1, 512), -EINVAL);
	assert_int_equal(nvme_read(q, 0, NULL, 512), -EINVAL);
	assert_int_equal(nvme_submit(q, NVME_IO_FLUSH, 0, mem, 512, NULL, NULL), -EINVAL);
	assert_int_equal(nvme_model_fetched(s.model), 0);
	free(mem);
}

static void times_are_recorded_once_per_map(void **state)
{
	struct nvme_hist map = {0}, unmap = {0};
	unsigned char *mem = stack_pages(512);
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	nvme_queue_record(q, &map, &unmap);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(nvme_read(q, i, mem, 512), 0);
	assert_int_equal(nvme_flush(q), 0);
	nvme_queue_record(q, NULL, NULL);
	assert_int_equal(nvme_read(q, 0, mem, 512), 0);
	assert_int_equal(map.count, 5);
	assert_int_equal(unmap.count, 5);
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(identify_tells_what_the_model_is, close_stack),
		cmocka_unit_test_teardown(what_is_written_is_in_the_image_and_comes_back,
					  close_stack),
		cmocka_unit_test_teardown(long_and_odd_buffers, close_stack),
		cmocka_unit_test_teardown(rings_wrap, close_stack),
		cmocka_unit_test_teardown(completions_come_in_any_order_the_seed_says, close_stack),
		cmocka_unit_test_teardown(callbacks_submit, close_stack),
		cmocka_unit_test_teardown(threads_own_queues, close_stack),
		cmocka_unit_test_teardown(ill_formed_requests_never_reach_the_controller,
					  close_stack),
		cmocka_unit_test_teardown(times_are_recorded_once_per_map, close_stack),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}

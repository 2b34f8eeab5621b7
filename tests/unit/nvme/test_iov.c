// SPDX-License-Identifier: BSD-2-Clause
/* Vectors: which way they go, what comes back, what stays as it was. */
#include "stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/ctrl.h"
#include "nvme/vector.h"

#define MIB ((size_t)1 << 20)
#define P   NVME_PAGE

static struct stack s;

static int close_stack(void **state)
{
	(void)state;
	stack_fail_alloc(0);
	stack_close(&s);
	return 0;
}

static const struct nvme_opts vectors = {.iov = 64};

static void said(const char *a, const char *b)
{
	if (!strstr(dray_errmsg(), a) || !strstr(dray_errmsg(), b) || strchr(dray_errmsg(), '\n'))
		fail_msg("not both of '%s', '%s' in: %s", a, b, dray_errmsg());
}

static unsigned char byte(size_t i, unsigned seed)
{
	return (unsigned char)(i * 131 + (i >> 8) * 7 + seed);
}

static struct iovec piece(void *at, size_t len)
{
	return (struct iovec){at, len};
}

/* Write the vector, look at the image, read it back into the same places, at @lba. */
static void there_and_back(const struct iovec *iov, unsigned n, uint64_t lba, unsigned seed)
{
	struct nvme_queue *q = nvme_get_queue(s.ctrl, 0);
	unsigned char *flat, *image;
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += iov[i].iov_len;
	flat = malloc(len);
	image = malloc(len);
	assert_non_null(flat);
	assert_non_null(image);
	for (size_t i = 0; i < len; i++)
		flat[i] = byte(i, seed);
	nvme_vector_scatter(iov, n, flat);
	if (nvme_writev(q, lba, iov, n))
		fail_msg("write: %s", dray_errmsg());
	assert_int_equal(nvme_flush(q), 0);
	stack_image_read(&s, lba * 512, image, len);
	assert_memory_equal(image, flat, len);
	for (unsigned i = 0; i < n; i++) {
		if (iov[i].iov_len)
			memset(iov[i].iov_base, 0xa5, iov[i].iov_len);
	}
	if (nvme_readv(q, lba, iov, n))
		fail_msg("read: %s", dray_errmsg());
	nvme_vector_gather(iov, n, image);
	assert_memory_equal(image, flat, len);
	free(image);
	free(flat);
}

static void went(uint64_t prp, uint64_t sgl, uint64_t copied)
{
	struct nvme_ways w = nvme_queue_ways(nvme_get_queue(s.ctrl, 0));

	assert_int_equal(w.prp, prp);
	assert_int_equal(w.sgl, sgl);
	assert_int_equal(w.copied, copied);
}

/* Pages with holes, odd pieces, an odd single one; and what a page of the model's is not. */
static void run_three(unsigned char *mem)
{
	const struct iovec pages[] = {piece(mem + P / 2, P / 2), piece(NULL, 0),
				      piece(mem + 2 * P, 2 * P), piece(mem + 8 * P, 1024)};
	const struct iovec odd[] = {piece(mem + 1, 3), piece(mem + 7, 500), piece(mem + P + 3, 9),
				    piece(mem + P + 100, 512)};
	const struct iovec single = piece(mem + 3 * P + 5, 2 * P);

	there_and_back(pages, 4, 0, 1);
	there_and_back(odd, 4, 64, 2);
	there_and_back(&single, 1, 128, 3);
}

static void prp_when_pages_else_a_list(void **state)
{
	unsigned char *mem = stack_pages(16 * P);

	(void)state;
	stack_open(&s, MIB, NULL, &vectors);
	assert_int_equal(nvme_get_info(s.ctrl)->sgl_align, 1);
	run_three(mem);
	went(2, 4, 0);
	free(mem);
}

static void a_copy_without_lists(void **state)
{
	const struct nvme_model_opts mo = {.no_sgl = true};
	unsigned char *mem = stack_pages(16 * P);

	(void)state;
	stack_open(&s, MIB, &mo, &vectors);
	assert_int_equal(nvme_get_info(s.ctrl)->sgl_align, 0);
	run_three(mem);
	went(2, 0, 4);
	free(mem);
}

static void a_copy_where_lists_are_not_wanted(void **state)
{
	const struct nvme_opts no = {.iov = 64, .no_sgl = true};
	unsigned char *mem = stack_pages(16 * P);

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	run_three(mem);
	went(2, 0, 4);
	free(mem);
}

static void words_by_a_list_and_bytes_by_a_copy(void **state)
{
	const struct nvme_model_opts mo = {.sgl_words = true};
	unsigned char *mem = stack_pages(16 * P);
	struct iovec words[] = {piece(mem + 4, 8), piece(mem + 100, 504)};

	(void)state;
	stack_open(&s, MIB, &mo, &vectors);
	assert_int_equal(nvme_get_info(s.ctrl)->sgl_align, 4);
	run_three(mem);
	went(2, 0, 4);
	there_and_back(words, 2, 9, 4);
	went(2, 2, 4);
	free(mem);
}

/* What the library moves to a multiple of 4 needs no copy of the driver's. */
static void odd_buffers_bounce(void **state)
{
	const struct nvme_model_opts mo = {.no_sgl = true};
	unsigned char *mem = stack_pages(16 * P), image[1024];
	struct nvme_queue *q;

	(void)state;
	stack_image(&s, MIB);
	stack_model_in(&s, &mo, DRAY_STRICT, 4);
	stack_driver(&s, &vectors);
	run_three(mem);
	/* The single one is moved; pieces that end anywhere are not pages wherever they are. */
	went(4, 0, 2);
	q = nvme_get_queue(s.ctrl, 0);
	memset(mem, 0x3c, P);
	mem[1] = 1;
	assert_int_equal(nvme_write(q, 7, mem + 1, 1024), 0);
	memset(mem, 0, P);
	assert_int_equal(nvme_read(q, 7, mem + 3, 1024), 0);
	stack_image_read(&s, 7 * 512, image, sizeof(image));
	assert_memory_equal(image, mem + 3, sizeof(image));
	assert_int_equal(image[0], 1);
	assert_int_equal(mem[2] | mem[3 + 1024], 0);
	free(mem);
}

/* Without that it is refused, and nothing stays mapped. */
static void odd_buffers_are_refused(void **state)
{
	unsigned char *mem = stack_pages(P);
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_read(q, 0, mem + 2, 512), -EINVAL);
	said("aligned to 4", "min_align");
	assert_int_equal(nvme_read(q, 0, NULL, 512), -EINVAL);
	assert_int_equal(nvme_queue_busy(q), 0);
	free(mem);
}

/* So many elements that PRP lists chain, and as many descriptors as a list page takes. */
static void long_vectors(void **state)
{
	const struct nvme_opts no = {.iov = 256, .max_transfer = 4 * MIB, .depth = 2};
	unsigned char *mem = stack_pages(5 * MIB);
	struct iovec iov[256];

	(void)state;
	stack_open(&s, 8 * MIB, NULL, &no);
	for (unsigned i = 0; i < 256; i++)
		iov[i] = piece(mem + i * 5 * P, 4 * P);
	there_and_back(iov, 256, 0, 5);
	went(2, 0, 0);
	for (unsigned i = 0; i < 256; i++)
		iov[i] = piece(mem + i * 5 * P + 1, 2 * P);
	there_and_back(iov, 256, 3, 6);
	went(2, 2, 0);
	assert_int_equal(nvme_readv(nvme_get_queue(s.ctrl, 0), 0, iov, 257), -EINVAL);
	said("257", "256");
	free(mem);
}

/* Two elements in one place: a write may send bytes twice. */
static void elements_may_overlap(void **state)
{
	unsigned char *mem = stack_pages(2 * P), image[1024];
	const struct iovec iov[] = {piece(mem + 3, 512), piece(mem + 3, 512)};

	(void)state;
	stack_open(&s, MIB, NULL, &vectors);
	memset(mem, 0x3c, 2 * P);
	mem[3] = 1;
	assert_int_equal(nvme_writev(nvme_get_queue(s.ctrl, 0), 0, iov, 2), 0);
	stack_image_read(&s, 0, image, sizeof(image));
	assert_memory_equal(image, mem + 3, 512);
	assert_memory_equal(image + 512, mem + 3, 512);
	free(mem);
}

static void bad_vectors_are_refused(void **state)
{
	unsigned char *mem = stack_pages(4 * P);
	const struct iovec some = piece(mem, 512), short_one = piece(mem, 511);
	const struct iovec none[] = {piece(mem, 0), piece(NULL, 0)};
	const struct iovec hole[] = {piece(mem, 256), piece(NULL, 256)};
	const struct iovec huge[] = {piece(mem, SIZE_MAX - 511), piece(mem, 1024)};
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_readv(q, 0, &some, 1), -EINVAL);
	said("without vectors", "elements");
	nvme_close(s.ctrl);
	s.ctrl = NULL;
	stack_driver(&s, &vectors);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_readv(q, 0, &some, 0), -EINVAL);
	assert_int_equal(nvme_readv(q, 0, NULL, 1), -EINVAL);
	assert_int_equal(nvme_readv(q, 0, &some, 65), -EINVAL);
	assert_int_equal(nvme_readv(q, 0, none, 2), -EINVAL);
	assert_int_equal(nvme_readv(q, 0, &short_one, 1), -EINVAL);
	said("511", "whole blocks");
	assert_int_equal(nvme_readv(q, 0, hole, 2), -EINVAL);
	said("element 1", "memory");
	assert_int_equal(nvme_readv(q, 0, huge, 2), -EINVAL);
	assert_int_equal(nvme_submitv(q, NVME_IO_FLUSH, 0, &some, 1, NULL, NULL), -EINVAL);
	assert_int_equal(nvme_readv(q, 5000, &some, 1), -ERANGE);
	went(1, 0, 0);
	assert_int_equal(nvme_queue_busy(q), 0);
	free(mem);
}

/* Memory that is not there, in the last element: nothing stays mapped, the slot is free. */
static void a_vector_that_cannot_be_mapped(void **state)
{
	unsigned char *mem = stack_pages(4 * P);
	void *nowhere = (void *)(uintptr_t)(256 * P);
	const struct iovec pages[] = {piece(mem, P), piece(nowhere, P)};
	const struct iovec odd[] = {piece(mem + 1, 511), piece(nowhere, 1)};
	const struct iovec good[] = {piece(mem + 1, 511), piece(mem, 1)};
	struct dray_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, &vectors);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(dray_stats_get(s.dom, &before), 0);
	assert_int_equal(nvme_readv(q, 0, pages, 2), -EFAULT);
	assert_int_equal(nvme_readv(q, 0, odd, 2), -EFAULT);
	assert_int_equal(dray_stats_get(s.dom, &after), 0);
	assert_int_equal(after.maps - before.maps, after.unmaps - before.unmaps);
	assert_int_equal(nvme_queue_busy(q), 0);
	there_and_back(good, 2, 0, 8);
	free(mem);
}

struct result {
	int calls, err;
	uint16_t status;
};

static void note(void *ctx, int err, uint16_t status)
{
	struct result *r = ctx;

	r->calls++;
	r->err = err;
	r->status = status;
}

/* The mapping goes away while the model holds the command: nothing is written, by any way. */
static void an_unmapped_vector_stays_untouched(void **state)
{
	unsigned char *mem = stack_pages(8 * P);
	const struct iovec pages[] = {piece(mem, P), piece(mem + 2 * P, P)};
	const struct iovec odd[] = {piece(mem + 1, 500), piece(mem + 2 * P + 9, 12)};
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, &vectors);
	q = nvme_get_queue(s.ctrl, 0);
	memset(mem, 0x77, 8 * P);
	for (unsigned i = 0; i < 2; i++) {
		struct result r = {0};
		struct dray_sim_fault f;

		nvme_model_hold(s.model, true);
		assert_int_equal(nvme_submitv(q, NVME_IO_READ, 0, i ? odd : pages, 2, note, &r), 0);
		stack_await_fetched(&s, 1 + i);
		assert_true(q->slots[0].sg_mapped);
		nvme_vector_unmap(q, &q->slots[0]);
		nvme_model_hold(s.model, false);
		while (!r.calls)
			assert_true(nvme_poll(q) >= 0);
		assert_int_equal(r.err, -EIO);
		assert_int_equal(r.status, NVME_DATA_TRANSFER);
		assert_int_equal(dray_sim_faults(s.dev, &f, 1), 1);
		assert_int_equal(f.access, DRAY_SIM_WRITE);
	}
	for (unsigned i = 0; i < 8 * P; i++)
		assert_int_equal(mem[i], 0x77);
	free(mem);
}

/* A copy that failed brings nothing. */
static void a_failed_read_changes_nothing(void **state)
{
	const struct nvme_model_opts mo = {.no_sgl = true};
	unsigned char *mem = stack_pages(P);
	const struct iovec odd[] = {piece(mem + 1, 500), piece(mem + 600, 12)};

	(void)state;
	stack_open(&s, MIB, &mo, &vectors);
	memset(mem, 0x77, P);
	assert_int_equal(nvme_readv(nvme_get_queue(s.ctrl, 0), 5000, odd, 2), -ERANGE);
	for (unsigned i = 0; i < P; i++)
		assert_int_equal(mem[i], 0x77);
	went(0, 0, 1);
	free(mem);
}

static void every_allocation_may_fail(void **state)
{
	const struct nvme_opts no = {.iov = 4, .no_sgl = true, .depth = 2};
	unsigned n = 1;
	int rc;

	(void)state;
	stack_image(&s, MIB);
	stack_model(&s, NULL);
	for (;; n++) {
		struct nvme_ctrl *ctrl = NULL;

		stack_fail_alloc(n);
		rc = nvme_open(s.dev, s.bar, s.bar_len, &no, &ctrl);
		if (!stack_alloc_failed()) {
			s.ctrl = ctrl;
			break;
		}
		stack_fail_alloc(0);
		assert_true(rc == 0 || rc == -ENOMEM);
		nvme_close(ctrl);
	}
	assert_int_equal(rc, 0);
	assert_true(n > 6);
}

/* The generator: the bytes asked for, in order, inside its memory, the same for the same seed. */
static void generated_vectors(void **state)
{
	const size_t lens[] = {1, 511, 512, 4096, 131072, 131075};
	struct iovec a[NVME_VECTOR_MAX], b[NVME_VECTOR_MAX];
	unsigned odd = 0, pages = 0, empty = 0, longest = 0;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = lens[i % 6], room = nvme_vector_room(len), sum = 0;
		unsigned char *mem = (unsigned char *)P, *at = mem;
		unsigned n = nvme_vector_make(7, i, mem, len, a);

		assert_in_range(n, 1, NVME_VECTOR_MAX);
		assert_int_equal(nvme_vector_make(7, i, mem, len, b), n);
		assert_memory_equal(a, b, n * sizeof(a[0]));
		for (unsigned e = 0; e < n; e++) {
			assert_true((unsigned char *)a[e].iov_base >= at);
			at = (unsigned char *)a[e].iov_base + a[e].iov_len;
			sum += a[e].iov_len;
			empty += !a[e].iov_len;
		}
		assert_true(at <= mem + room);
		assert_int_equal(sum, len);
		pages += n > 1 && dray_prp_able_iov(a, n, P);
		odd += n > 1 && !dray_prp_able_iov(a, n, P);
		longest = n > longest ? n : longest;
	}
	assert_true(pages > 200 && odd > 500 && empty > 100);
	assert_int_equal(longest, NVME_VECTOR_MAX);
}

static void guards_are_looked_at(void **state)
{
	unsigned char mem[64];
	struct iovec iov[] = {piece(mem + 3, 5), piece(mem + 8, 0), piece(mem + 20, 44)};

	(void)state;
	memset(mem, 9, sizeof(mem));
	memset(mem + 3, 1, 5);
	memset(mem + 20, 2, 44);
	assert_true(nvme_vector_guarded(iov, 3, mem, sizeof(mem), 9));
	for (unsigned i = 0; i < 64; i++) {
		bool inside = (i >= 3 && i < 8) || i >= 20;
		unsigned char was = mem[i];

		mem[i] = 77;
		assert_int_equal(nvme_vector_guarded(iov, 3, mem, sizeof(mem), 9), inside);
		mem[i] = was;
	}
	iov[2].iov_len = 43;
	assert_false(nvme_vector_guarded(iov, 3, mem, sizeof(mem), 9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(prp_when_pages_else_a_list, close_stack),
		cmocka_unit_test_teardown(a_copy_without_lists, close_stack),
		cmocka_unit_test_teardown(a_copy_where_lists_are_not_wanted, close_stack),
		cmocka_unit_test_teardown(words_by_a_list_and_bytes_by_a_copy, close_stack),
		cmocka_unit_test_teardown(odd_buffers_bounce, close_stack),
		cmocka_unit_test_teardown(odd_buffers_are_refused, close_stack),
		cmocka_unit_test_teardown(long_vectors, close_stack),
		cmocka_unit_test_teardown(elements_may_overlap, close_stack),
		cmocka_unit_test_teardown(bad_vectors_are_refused, close_stack),
		cmocka_unit_test_teardown(a_vector_that_cannot_be_mapped, close_stack),
		cmocka_unit_test_teardown(an_unmapped_vector_stays_untouched, close_stack),
		cmocka_unit_test_teardown(a_failed_read_changes_nothing, close_stack),
		cmocka_unit_test_teardown(every_allocation_may_fail, close_stack),
		cmocka_unit_test(generated_vectors),
		cmocka_unit_test(guards_are_looked_at),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}

// SPDX-License-Identifier: BSD-2-Clause
/* Windows: what may be added where, what a device finds in them, and what is left of them. */
#include "lists.h"

#include "backend/sim/sim.h"
#include "iova/space.h"

#include <sys/mman.h>

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static struct dray_domain *dom;
static struct dray_device *dev;

static void open_with(const struct dray_device_opts *limits)
{
	dom = rig_open();
	lists_watch(dom);
	dev = lists_plug(dom, "sim1", limits);
	lists_fill(rig_memory, sizeof(rig_memory), 1);
	lists_maps = lists_unmaps = 0;
}

static void close_all(void)
{
	lists_unwatch(dom);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static struct dray_link *open_link(size_t len, uint32_t flags)
{
	struct dray_link *link = NULL;

	assert_int_equal(dray_link_open(dev, len, flags, &link), 0);
	assert_int_equal(dray_link_iova(link) % KB4, 0);
	return link;
}

static void assert_sees(struct dray_link *link, size_t off, const void *va, size_t len)
{
	static char seen[sizeof(rig_memory)];

	assert_int_equal(dr_sim_dma_read(dev->bd, dray_link_iova(link) + off, seen, len), 0);
	assert_memory_equal(seen, va, len);
}

/* Pieces in any order, gaps between them, taken out and put in again. */
static void test_pieces(void **state)
{
	struct dray_link *link;
	dray_iova_t at;

	(void)state;
	open_with(NULL);
	link = open_link(16 * KB4 - 1, 0);
	at = dray_link_iova(link);
	assert_int_equal(lists_maps, 0);
	assert_int_equal(dray_link_add(link, 8 * KB4, PAGE(3), 2 * KB4, DRAY_TO_DEVICE), 0);
	assert_int_equal(dray_link_add(link, 0, PAGE(40), KB4, DRAY_BIDIRECTIONAL), 0);
	assert_int_equal(dray_link_add(link, KB4 + 100, PAGE(20) + 100, 6 * KB4,
				       DRAY_BIDIRECTIONAL), 0);
	assert_int_equal(dray_link_add(link, 15 * KB4, PAGE(9), KB4, DRAY_BIDIRECTIONAL), 0);
	assert_int_equal(lists_maps, 4);
	assert_int_equal(lists_live(dom), 1);
	assert_sees(link, 0, PAGE(40), KB4);
	assert_sees(link, KB4 + 100, PAGE(20) + 100, 6 * KB4);
	assert_sees(link, 8 * KB4, PAGE(3), 2 * KB4);
	assert_sees(link, 15 * KB4, PAGE(9), KB4);
	lists_assert_faults(dev, at + 10 * KB4, false);
	lists_assert_faults(dev, at + 8 * KB4, true);
	assert_ptr_equal(dray_iova_to_va(dom, at + KB4 + 100), PAGE(20) + 100);
	assert_int_equal(dray_link_sync(link, 0, KB4), 0);
	assert_int_equal(dray_link_sync(link, 8 * KB4, 2 * KB4), 0);
	/* Not all of it is there. */
	assert_int_equal(dray_link_sync(link, 0, 2 * KB4), -EINVAL);
	assert_int_equal(dray_link_sync(link, 8 * KB4, 3 * KB4), -EINVAL);
	assert_int_equal(dray_link_sync(link, 15 * KB4, KB4 + 1), -EINVAL);
	assert_int_equal(dray_link_sync(link, 12 * KB4, 0), 0);

	/* One in the middle goes and comes. */
	dray_link_remove(link, 8 * KB4, 2 * KB4);
	lists_assert_faults(dev, at + 8 * KB4, false);
	assert_sees(link, 15 * KB4, PAGE(9), KB4);
	assert_int_equal(dray_link_add(link, 8 * KB4 + 1, PAGE(50) + 1, KB4, DRAY_TO_DEVICE), 0);
	assert_sees(link, 8 * KB4 + 1, PAGE(50) + 1, KB4);
	/* Several at once, holes among them. */
	dray_link_remove(link, 0, 12 * KB4);
	assert_int_equal(lists_in_table(dom), 1);
	dray_link_close(link);
	assert_int_equal(lists_live(dom), 0);
	assert_int_equal(rig_stats(dom).unmaps, 5);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	close_all();
}

static void test_refused(void **state)
{
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0xfffff,
					   .max_segment = 64 * KB4 };
	struct dray_link *link, *no = NULL;

	(void)state;
	open_with(&narrow);
	assert_int_equal(dray_link_open(NULL, KB4, 0, &no), -EINVAL);
	assert_int_equal(dray_link_open(dev, 0, 0, &no), -EINVAL);
	assert_int_equal(dray_link_open(dev, KB4, 1u << 7, &no), -EINVAL);
	assert_int_equal(dray_link_open(dev, KB4, 0, NULL), -EINVAL);
	assert_int_equal(dray_link_open(dev, 65 * KB4, 0, &no), -EMSGSIZE);
	assert_true(dray_link_open(dev, SIZE_MAX, 0, &no) < 0);
	assert_int_equal(dray_device_set_mask(dev, 0x1fff), 0);
	assert_int_equal(dray_link_open(dev, 4 * KB4, 0, &no), -ENOSPC);
	assert_int_equal(dray_device_set_mask(dev, 0xfffff), 0);
	assert_null(no);

	link = open_link(4 * KB4, 0);
	assert_true(dray_link_iova(link) + 4 * KB4 - 1 <= 0xfffff);
	assert_int_equal(dray_link_add(NULL, 0, PAGE(0), KB4, DRAY_TO_DEVICE), -EINVAL);
	assert_int_equal(dray_link_add(link, 0, NULL, KB4, DRAY_TO_DEVICE), -EINVAL);
	assert_int_equal(dray_link_add(link, 0, PAGE(0), 0, DRAY_TO_DEVICE), -EINVAL);
	assert_int_equal(dray_link_add(link, 0, PAGE(0), KB4, (enum dray_dir)7), -EINVAL);
	assert_int_equal(dray_link_add(link, 3 * KB4, PAGE(0), KB4 + 1, DRAY_TO_DEVICE), -EINVAL);
	assert_int_equal(dray_link_add(link, SIZE_MAX, PAGE(1) - 1, KB4, DRAY_TO_DEVICE), -EINVAL);
	assert_int_equal(dray_link_add(link, 1, PAGE(0), KB4, DRAY_TO_DEVICE), -EINVAL);
	assert_int_equal(lists_maps, 0);
	assert_int_equal(dray_link_add(link, KB4 + 8, PAGE(0) + 8, KB4, DRAY_TO_DEVICE), 0);
	/* A granule of it is a granule of another. */
	assert_int_equal(dray_link_add(link, KB4, PAGE(9), 8, DRAY_TO_DEVICE), -EEXIST);
	assert_int_equal(dray_link_add(link, 2 * KB4 + 8, PAGE(9) + 8, 8, DRAY_TO_DEVICE), -EEXIST);
	assert_int_equal(dray_link_add(link, 0, PAGE(9), KB4 + 1, DRAY_TO_DEVICE), -EEXIST);
	assert_int_equal(dray_link_add(link, 0, PAGE(9), 4 * KB4, DRAY_TO_DEVICE), -EEXIST);
	assert_int_equal(lists_maps, 1);
	assert_sees(link, KB4 + 8, PAGE(0) + 8, KB4);
	assert_int_equal(dray_link_add(link, 0, PAGE(9), KB4, DRAY_TO_DEVICE), 0);
	assert_int_equal(dray_link_add(link, 3 * KB4, PAGE(9), KB4, DRAY_TO_DEVICE), 0);

	/* Part of a piece: it stays, and is spoken of; nothing of a piece: no word. */
	dray_link_remove(link, 0, KB4 + 9);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	assert_int_equal(lists_in_table(dom), 2);
	assert_sees(link, KB4 + 8, PAGE(0) + 8, KB4);
	dray_link_remove(link, KB4 + 100, 0);
	dray_link_remove(link, KB4, 8);
	dray_link_remove(NULL, 0, 1);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	dray_link_remove(link, KB4 + 8, SIZE_MAX);
	assert_int_equal(lists_in_table(dom), 0);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	dray_link_close(link);
	dray_link_close(NULL);
	assert_int_equal(dray_link_iova(NULL), DRAY_IOVA_NONE);
	close_all();
}

/*
 * A middle piece of no bytes, and pieces whose later parts fail: the window keeps what it had, the
 * first piece at offset 0 included.
 */
static void test_middle_of_no_bytes_and_unwind(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_link *link;

	(void)state;
	open_with(&untrusted);
	link = open_link(8 * KB4, 0);
	assert_int_equal(dray_link_add(link, 0, PAGE(20), KB4, DRAY_BIDIRECTIONAL), 0);
	assert_int_equal(dray_link_add(link, KB4, PAGE(30), 0, DRAY_BIDIRECTIONAL), -EINVAL);
	/* A head and a tail, and nothing in between. */
	assert_int_equal(dray_link_add(link, 2 * KB4 - 10, PAGE(41) - 10, 20, DRAY_BIDIRECTIONAL),
			 0);
	assert_sees(link, 2 * KB4 - 10, PAGE(41) - 10, 20);
	assert_int_equal(lists_in_table(dom), 3);
	dray_link_remove(link, KB4, 2 * KB4);
	assert_int_equal(lists_in_table(dom), 1);
	/* Head, body, tail: each fails once, what came before is undone. */
	for (unsigned nth = 1; nth <= 3; nth++) {
		lists_maps = lists_unmaps = 0;
		lists_fail_map = nth;
		lists_map_error = -EFAULT;
		assert_int_equal(dray_link_add(link, 2 * KB4 - 10, PAGE(41) - 10, 3 * KB4,
					       DRAY_BIDIRECTIONAL), -EFAULT);
		assert_int_equal(lists_maps, nth);
		assert_int_equal(lists_unmaps, nth - 1);
		assert_int_equal(lists_in_table(dom), 1);
		assert_sees(link, 0, PAGE(20), KB4);
		assert_int_equal(lists_live(dom), 1);
	}
	assert_int_equal(dray_link_add(link, 2 * KB4 - 10, PAGE(41) - 10, 3 * KB4,
				       DRAY_BIDIRECTIONAL), 0);
	assert_sees(link, 2 * KB4 - 10, PAGE(41) - 10, 3 * KB4);
	dray_link_close(link);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	close_all();
}

/* The ends of a piece, while nobody is trusted: the piece's bytes and zeros, both ways. */
static void test_copied_ends(void **state)
{
	static char around[5 * KB4], seen[5 * KB4], zeros[KB4], data[3 * KB4 + 500];
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	const size_t len = 3 * KB4 + 500, head = 100;
	struct dray_link *link;
	dray_iova_t at;

	(void)state;
	open_with(&untrusted);
	link = open_link(8 * KB4, 0);
	at = dray_link_iova(link) + KB4;
	assert_int_equal(dray_link_add(link, KB4 + head, PAGE(10) + head, len, DRAY_BIDIRECTIONAL),
			 0);
	assert_int_equal(dr_sim_dma_read(dev->bd, at, seen, 4 * KB4), 0);
	assert_memory_equal(seen, zeros, head);
	assert_memory_equal(seen + head, PAGE(10) + head, len);
	assert_memory_equal(seen + head + len, zeros, 4 * KB4 - head - len);
	memcpy(around, PAGE(10), sizeof(around));

	/* The CPU writes, hands over by both ways there are. */
	lists_fill(PAGE(10) + head, len, 5);
	assert_int_equal(dray_link_sync(link, KB4 + head, len), 0);
	assert_sees(link, KB4 + head, PAGE(10) + head, len);
	lists_fill(PAGE(10) + head, len, 6);
	assert_int_equal(dray_sync_iova_for_device(dev, at + head, len, DRAY_BIDIRECTIONAL), 0);
	assert_sees(link, KB4 + head, PAGE(10) + head, len);
	/* An inner part, and no byte more. */
	lists_fill(PAGE(10) + head, 200, 7);
	assert_int_equal(dray_sync_iova_for_device(dev, at + head + 50, 10, DRAY_TO_DEVICE), 0);
	assert_int_equal(dr_sim_dma_read(dev->bd, at + head, seen, 200), 0);
	assert_memory_equal(seen + 50, PAGE(10) + head + 50, 10);
	assert_int_not_equal(memcmp(seen, PAGE(10) + head, 50), 0);
	assert_int_not_equal(memcmp(seen + 60, PAGE(10) + head + 60, 140), 0);

	/* The device writes; a part is fetched, and then all of it by removing the piece. */
	memcpy(around + head, PAGE(10) + head, len);
	lists_fill(data, len, 8);
	assert_int_equal(dr_sim_dma_write(dev->bd, at + head, data, len), 0);
	assert_int_equal(dray_sync_iova_for_cpu(dev, at + head + 3 * KB4, 400, DRAY_FROM_DEVICE),
			 0);
	assert_memory_equal(PAGE(13) + head, data + 3 * KB4, 400);
	assert_int_not_equal(memcmp(PAGE(10) + head, data, 100), 0);
	assert_int_equal(dray_sync_iova_for_cpu(dev, at + 4 * KB4, 1, DRAY_FROM_DEVICE), -EINVAL);
	dray_link_remove(link, KB4, 5 * KB4);
	assert_memory_equal(PAGE(10) + head, data, len);
	/* Beside it nothing was touched. */
	assert_memory_equal(PAGE(10), around, head);
	assert_memory_equal(PAGE(10) + head + len, around + head + len, 5 * KB4 - head - len);
	lists_assert_faults(dev, at, false);

	/* A device that may only read brings nothing back. */
	assert_int_equal(dray_link_add(link, 5, PAGE(20) + 5, 20, DRAY_TO_DEVICE), 0);
	memset(PAGE(20) + 5, 0x42, 20);
	dray_link_close(link);
	assert_int_equal(PAGE(20)[5], 0x42);
	close_all();
}

/* NO_SYNC: copied in, so that what is unwritten comes back as it was; out only when asked. */
static void test_no_sync_and_no_bounce(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_link *link;
	char was;

	(void)state;
	open_with(&untrusted);
	link = open_link(2 * KB4, DRAY_MAP_NO_BOUNCE);
	assert_int_equal(dray_link_add(link, 5, PAGE(20) + 5, 20, DRAY_TO_DEVICE), -ENOTSUP);
	assert_int_equal(dray_link_add(link, 0, PAGE(20), KB4, DRAY_TO_DEVICE), 0);
	dray_link_close(link);

	link = open_link(2 * KB4, DRAY_MAP_NO_SYNC);
	assert_int_equal(dray_link_add(link, 5, PAGE(20) + 5, 20, DRAY_BIDIRECTIONAL), 0);
	assert_sees(link, 5, PAGE(20) + 5, 20);
	was = PAGE(20)[5];
	assert_int_equal(dr_sim_dma_write(dev->bd, dray_link_iova(link) + 5, "\x99", 1), 0);
	dray_link_remove(link, 0, 2 * KB4);
	assert_int_equal(PAGE(20)[5], was);
	dray_link_close(link);
	close_all();
}

/* The backend keeps a piece: the window is lost, the rest of it is not; nothing leaks but that. */
static void test_stuck(void **state)
{
	struct dray_link *link;
	uint64_t lost;

	(void)state;
	open_with(NULL);
	link = open_link(8 * KB4, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dray_link_add(link, 2 * i * KB4, PAGE(i), KB4, DRAY_TO_DEVICE), 0);
	lists_fail_unmap = 2;
	dray_link_remove(link, 0, 8 * KB4);
	assert_int_equal(rig_info(dom).damaged, 1);
	assert_int_equal(lists_in_table(dom), 1);
	/* Its place is taken for ever. */
	assert_int_equal(dray_link_add(link, 2 * KB4, PAGE(9), KB4, DRAY_TO_DEVICE), -EEXIST);
	assert_int_equal(dray_link_sync(link, 2 * KB4, KB4), -EINVAL);
	assert_int_equal(dray_link_add(link, 0, PAGE(9), KB4, DRAY_TO_DEVICE), 0);
	/* A second try asks for nothing. */
	lists_unmaps = 0;
	dray_link_remove(link, 2 * KB4, KB4);
	assert_int_equal(lists_unmaps, 0);
	dray_link_close(link);
	lost = rig_info(dom).quarantined_bytes;
	assert_true(lost >= KB4 && lost <= 8 * KB4);
	close_all();
}

/* While a piece is undone after a failure, the backend keeps a part of it, a copy among them. */
static void test_stuck_in_unwind(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_link *link;

	(void)state;
	open_with(&untrusted);
	link = open_link(8 * KB4, 0);
	lists_fail_map = 3;
	lists_fail_unmap = 1;
	assert_int_equal(dray_link_add(link, 2 * KB4 - 10, PAGE(41) - 10, 3 * KB4,
				       DRAY_BIDIRECTIONAL), -ENOMEM);
	assert_int_equal(rig_stats(dom).map_failures, 1);
	assert_int_equal(dray_link_add(link, 2 * KB4, PAGE(0), KB4, DRAY_BIDIRECTIONAL), -EEXIST);
	dray_link_close(link);
	assert_int_equal(rig_info(dom).quarantined_bytes, 8 * KB4);
	/* The copies are what a device may write to: they stay. */
	assert_true(lists_held >= (long)KB4);
	lists_held = 0;
	close_all();
	lists_held = 0;
}

/* A window holds its device and its domain. */
static void test_holds(void **state)
{
	struct dray_link *link;

	(void)state;
	open_with(NULL);
	lists_unwatch(dom);
	link = open_link(4 * KB4, 0);
	assert_int_equal(dray_link_add(link, 0, PAGE(0), 4 * KB4, DRAY_TO_DEVICE), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	assert_ptr_equal(dray_iova_to_va(dom, dray_link_iova(link)), PAGE(0));
	dray_link_close(link);
	assert_true(rig_is_gone(dom));
	assert_null(strstr(rig_log, "closed with"));
}

/* Partial ends of trusted pieces are counted, and no longer than they are there. */
static void test_partial_counts_settle(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_device *other = NULL;
	struct dray_link *link;

	(void)state;
	open_with(NULL);
	link = open_link(4 * KB4, 0);
	assert_int_equal(dray_link_add(link, 3, PAGE(0) + 3, 10, DRAY_TO_DEVICE), 0);
	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &other), -EBUSY);
	dray_link_remove(link, 0, KB4);
	lists_fail_map = 1;
	assert_int_equal(dray_link_add(link, 3, PAGE(0) + 3, 10, DRAY_TO_DEVICE), -ENOMEM);
	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &other), 0);
	assert_int_equal(dray_link_add(link, 3, PAGE(0) + 3, 10, DRAY_TO_DEVICE), 0);
	assert_null(memchr(dray_iova_to_va(dom, dray_link_iova(link)), 1, 3));
	dray_link_close(link);
	dray_device_close(other);
	close_all();
}

static void test_other_domains(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_link *link = NULL;

	(void)state;
	opts.type = DRAY_DOMAIN_IDENTITY;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	assert_int_equal(dray_link_open(dev, KB4, 0, &link), -ENOTSUP);
	dray_device_close(dev);
	dray_domain_close(dom);
	opts.type = DRAY_DOMAIN_BLOCKED;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	assert_int_equal(dray_link_open(dev, KB4, 0, &link), -EPERM);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_null(link);
	assert_true(rig_is_gone(dom));
}

/* In a lazy domain too a piece is out of reach when it was removed, and its place free. */
static void test_lazy(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_link *link;

	(void)state;
	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED | DRAY_DOMAIN_GUARD;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	link = open_link(2 * KB4, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(dray_link_add(link, 0, PAGE(i), 2 * KB4, DRAY_TO_DEVICE), 0);
		assert_sees(link, 0, PAGE(i), 2 * KB4);
		lists_assert_faults(dev, dray_link_iova(link) + 2 * KB4, false);
		dray_link_remove(link, 0, 2 * KB4);
		lists_assert_faults(dev, dray_link_iova(link), false);
	}
	assert_int_equal(rig_stats(dom).waiting_entries, 0);
	dray_link_close(link);
	assert_int_equal(lists_live(dom), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pieces),
		TEST(test_refused),
		TEST(test_middle_of_no_bytes_and_unwind),
		TEST(test_copied_ends),
		TEST(test_no_sync_and_no_bounce),
		TEST(test_stuck),
		TEST(test_stuck_in_unwind),
		TEST(test_holds),
		TEST(test_partial_counts_settle),
		TEST(test_other_domains),
		TEST(test_lazy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-2-Clause
/* Which way a buffer goes, why, and that it is counted; when a map is tried again. */
#include "lists.h"

#include "backend/sim/sim.h"
#include "bounce/why.h"
#include "cpu/cpu.h"

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static struct dray_domain *dom;
static struct dray_device *dev;

static void open_with(uint32_t flags, const char *profile, size_t threshold,
		      const struct dray_device_opts *limits)
{
	struct dray_domain_opts opts = rig_opts();

	opts.flags = flags;
	opts.sim_profile = profile;
	opts.bounce_threshold = threshold;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	lists_watch(dom);
	dev = lists_plug(dom, "sim1", limits);
	lists_fill(rig_memory, sizeof(rig_memory), 1);
}

static void close_all(void)
{
	lists_unwatch(dom);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* Buffers copied so far, for each reason in the order of enum dr_bounce_why. */
struct reasons {
	uint64_t n[6];
};

static struct reasons reasons(void)
{
	struct dray_stats s = rig_stats(dom);

	return (struct reasons){ { s.bounce_mask, s.bounce_align, s.bounce_edge, s.bounce_line,
				   s.bounce_pin, s.bounce_cheaper } };
}

/* It is copied for this reason and no other, or mapped; its bytes go both ways. */
static void assert_way(void *va, size_t len, enum dray_dir dir, enum dr_bounce_why why)
{
	static unsigned char seen[16 * KB4], data[16 * KB4];
	struct reasons was = reasons(), now;
	struct dray_mapping m;

	assert_int_equal(dray_map(dev, va, len, dir, 0, &m), 0);
	now = reasons();
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(now.n[i] - was.n[i], i + 1 == (unsigned)why);
	if (why)
		assert_ptr_not_equal(dray_iova_to_va(dom, m.iova), va);
	else
		assert_ptr_equal(dray_iova_to_va(dom, m.iova), va);
	if (dir != DRAY_FROM_DEVICE) {
		assert_int_equal(dr_sim_dma_read(dev->bd, m.iova, seen, len), 0);
		assert_memory_equal(seen, va, len);
	}
	if (dir != DRAY_TO_DEVICE) {
		lists_fill(data, len, (unsigned)now.n[0] + (unsigned)len);
		assert_int_equal(dr_sim_dma_write(dev->bd, m.iova, data, len), 0);
	}
	dray_unmap(dev, &m);
	if (dir != DRAY_TO_DEVICE)
		assert_memory_equal(va, data, len);
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
}

/* Forbidden by the call: @err and nothing counted, or 0 and mapped. */
static void assert_forbidden(void *va, size_t len, enum dray_dir dir, int err, const char *word)
{
	struct reasons was = reasons(), now;
	struct dray_mapping m = { .iova = 5 };

	assert_int_equal(dray_map(dev, va, len, dir, DRAY_MAP_NO_BOUNCE, &m), err);
	now = reasons();
	assert_memory_equal(&was, &now, sizeof(now));
	if (err) {
		assert_int_equal(m.iova, 5);
		assert_non_null(strstr(dray_errmsg(), word));
		return;
	}
	assert_ptr_equal(dray_iova_to_va(dom, m.iova), va);
	dray_unmap(dev, &m);
}

static void test_mask(void **state)
{
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0xffffffff };
	struct dray_region *region;

	(void)state;
	open_with(0, NULL, 0, &narrow);
	/* Registered high up, for a device that reaches it; this one does not. */
	assert_int_equal(dray_region_register(dom, PAGE(0), 4 * KB4, 0, &region), 0);
	assert_true(dray_translate(dom, PAGE(0), NULL) > 0xffffffff);
	assert_way(PAGE(1) + 5, KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_MASK);
	assert_forbidden(PAGE(1), KB4, DRAY_TO_DEVICE, -ENOTSUP, "reach");
	/* What is not registered has no address yet: it gets one that will do. */
	assert_way(PAGE(9) + 5, KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_NO);
	/* And what straddles the region is as if there were none. */
	assert_way(PAGE(3), 2 * KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_NO);
	assert_int_equal(dray_device_set_mask(dev, 0), 0);
	assert_way(PAGE(1) + 5, KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_NO);
	assert_int_equal(dray_region_unregister(region), 0);
	close_all();
}

static void test_align(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 256 };

	(void)state;
	open_with(0, NULL, 0, &limits);
	assert_way(PAGE(0) + 128, 300, DRAY_BIDIRECTIONAL, DR_BOUNCE_ALIGN);
	assert_way(PAGE(0) + 1, 9000, DRAY_FROM_DEVICE, DR_BOUNCE_ALIGN);
	assert_way(PAGE(0) + 256, 300, DRAY_TO_DEVICE, DR_BOUNCE_NO);
	assert_forbidden(PAGE(0) + 128, 300, DRAY_TO_DEVICE, -ENOTSUP, "alignment");
	assert_forbidden(PAGE(0) + 512, 300, DRAY_TO_DEVICE, 0, "");
	close_all();

	open_with(DRAY_DOMAIN_NO_BOUNCE, NULL, 0, &limits);
	{
		struct dray_mapping m;

		assert_int_equal(dray_map(dev, PAGE(0) + 8, 8, DRAY_TO_DEVICE, 0, &m), -ENOTSUP);
		assert_int_equal(dray_map(dev, PAGE(0) + 256, 8, DRAY_TO_DEVICE, 0, &m), 0);
		dray_unmap(dev, &m);
	}
	close_all();
}

static void test_edge(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };

	(void)state;
	open_with(0, NULL, 0, &untrusted);
	assert_way(PAGE(0), KB4 - 1, DRAY_BIDIRECTIONAL, DR_BOUNCE_EDGE);
	assert_way(PAGE(0) + 1, KB4 - 1, DRAY_TO_DEVICE, DR_BOUNCE_EDGE);
	assert_way(PAGE(0) + 5, 3 * KB4, DRAY_FROM_DEVICE, DR_BOUNCE_EDGE);
	assert_way(PAGE(0), 3 * KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_NO);
	assert_forbidden(PAGE(0) + 128, 300, DRAY_TO_DEVICE, -ENOTSUP, "granule");
	{
		struct dray_mapping m;

		/* A fixed address says where the bytes are: there is no copying them. */
		assert_int_equal(dray_map_fixed(dev, 0x100080, PAGE(0) + 0x80, 8, DRAY_TO_DEVICE, 0,
						&m), -ENOTSUP);
		assert_int_equal(dray_map_fixed(dev, 0x100000, PAGE(0), KB4, DRAY_TO_DEVICE, 0, &m),
				 0);
		dray_unmap(dev, &m);
	}
	close_all();
}

static void test_line(void **state)
{
	size_t line = dr_cpu_line_size();

	(void)state;
	open_with(0, "noncoherent", 0, NULL);
	assert_way(PAGE(0) + 1, 2 * line, DRAY_BIDIRECTIONAL, DR_BOUNCE_LINE);
	assert_way(PAGE(0), 2 * line + 1, DRAY_FROM_DEVICE, DR_BOUNCE_LINE);
	assert_way(PAGE(0) + line, 2 * line, DRAY_FROM_DEVICE, DR_BOUNCE_NO);
	/* It is only read: to write lines back harms nobody. */
	assert_way(PAGE(0) + 1, 2 * line, DRAY_TO_DEVICE, DR_BOUNCE_NO);
	assert_forbidden(PAGE(0) + 1, line, DRAY_FROM_DEVICE, -ENOTSUP, "cache line");
	close_all();
}

static void test_pin(void **state)
{
	struct dray_mapping m;

	(void)state;
	open_with(0, NULL, 0, NULL);
	lists_no_pin = PAGE(4);
	lists_no_pin_len = KB4;
	assert_way(PAGE(3) + 9, 2 * KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_PIN);
	assert_way(PAGE(4), KB4, DRAY_FROM_DEVICE, DR_BOUNCE_PIN);
	assert_way(PAGE(5), KB4, DRAY_FROM_DEVICE, DR_BOUNCE_NO);
	assert_forbidden(PAGE(4), KB4, DRAY_TO_DEVICE, -EFAULT, "pin");
	/* Where the bytes must be is said: no copy. */
	assert_int_equal(dray_map_fixed(dev, 0x100000, PAGE(4), KB4, DRAY_TO_DEVICE, 0, &m),
			 -EFAULT);
	/* What the CPU cannot reach either is no reason to copy. */
	assert_int_equal(dray_map(dev, (void *)(uintptr_t)0x10000, 8, DRAY_TO_DEVICE, 0, &m),
			 -EFAULT);
	assert_int_equal(rig_stats(dom).bounce_pin, 2);
	lists_no_pin = NULL;
	close_all();
}

static void test_cheaper(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_device *other;
	struct dray_mapping m;

	(void)state;
	open_with(0, NULL, 1000, NULL);
	assert_way(PAGE(0) + 7, 1000, DRAY_BIDIRECTIONAL, DR_BOUNCE_CHEAPER);
	assert_way(PAGE(0) + 7, 1001, DRAY_BIDIRECTIONAL, DR_BOUNCE_NO);
	/* May be forbidden, and is not needed. */
	assert_forbidden(PAGE(0) + 7, 1000, DRAY_TO_DEVICE, 0, "");
	assert_int_equal(dray_map_fixed(dev, 0x100007, PAGE(0) + 7, 8, DRAY_TO_DEVICE, 0, &m), 0);
	assert_ptr_equal(dray_iova_to_va(dom, 0x100007), PAGE(0) + 7);
	dray_unmap(dev, &m);
	/* Nothing of it is counted as exposed. */
	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &other), 0);
	/* To map whole granules and unmap them is what such a copy would cost anyway. */
	assert_way(PAGE(0), KB4, DRAY_BIDIRECTIONAL, DR_BOUNCE_NO);
	dray_device_close(other);
	close_all();
}

/* No slot is left: what had to be copied fails, what would only be cheaper is mapped. */
static void test_no_slot(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 64 };
	struct dray_domain_opts opts = rig_opts();
	struct dray_mapping m[600], more;
	unsigned n = 0;

	(void)state;
	opts.bounce_bytes = 64 * 1024;
	opts.bounce_threshold = 2000;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	lists_watch(dom);
	dev = lists_plug(dom, "sim1", &limits);
	while (n < 600 && !dray_map(dev, PAGE(0) + 1, 1900, DRAY_TO_DEVICE, 0, &m[n]))
		n++;
	assert_true(n >= 8 && n < 600);
	assert_int_equal(rig_stats(dom).bounce_align, n);
	assert_true(rig_stats(dom).bounce_failures > 0);
	assert_int_equal(dray_map(dev, PAGE(0) + 64, 1900, DRAY_TO_DEVICE, 0, &more), 0);
	assert_ptr_equal(dray_iova_to_va(dom, more.iova), PAGE(0) + 64);
	assert_int_equal(rig_stats(dom).bounce_cheaper, 0);
	dray_unmap(dev, &more);
	while (n)
		dray_unmap(dev, &m[--n]);
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
	close_all();
}

/* --- Tried again ------------------------------------------------------------------------------ */

/* A lazy domain of few granules, which are all unmapped and wait. */
static void open_used_up(const struct dray_device_opts *limits)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_mapping m[8];

	opts.first = 0x100000;
	opts.last = 0x107fff;
	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	lists_watch(dom);
	dev = lists_plug(dom, "sim1", limits);
	lists_fill(rig_memory, sizeof(rig_memory), 1);
	for (unsigned i = 0; i < 8; i++)
		m[i] = rig_map(dev, PAGE(i), KB4);
	for (unsigned i = 0; i < 8; i++)
		dray_unmap(dev, &m[i]);
	assert_int_equal(rig_stats(dom).waiting_entries, 8);
	assert_int_equal(rig_stats(dom).flushes_pressure, 0);
}

static void assert_flushed_once(void)
{
	assert_int_equal(rig_stats(dom).flushes_pressure, 1);
	assert_int_equal(rig_stats(dom).map_failures, 0);
}

static void test_tried_again(void **state)
{
	struct dray_sg sg[] = { lists_element(PAGE(0), 3 * KB4), lists_element(PAGE(9), 4 * KB4) };
	struct dray_mapping m;
	struct dray_link *link;
	struct dray_pool *pool;
	dray_iova_t iova;
	void *va;

	(void)state;
	open_used_up(NULL);
	m = rig_map(dev, PAGE(0), 8 * KB4);
	assert_flushed_once();
	/* Now nothing waits: there is no second try. */
	assert_int_equal(dray_map(dev, PAGE(0), KB4, DRAY_TO_DEVICE, 0, &m), -ENOSPC);
	assert_int_equal(rig_stats(dom).flushes_pressure, 1);
	dray_unmap(dev, &m);
	close_all();

	open_used_up(NULL);
	assert_int_equal(dray_map_fixed(dev, 0x102000, PAGE(0), KB4, DRAY_TO_DEVICE, 0, &m), 0);
	assert_flushed_once();
	dray_unmap(dev, &m);
	close_all();

	open_used_up(NULL);
	assert_int_equal(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0), 1);
	assert_flushed_once();
	lists_assert_reads(dev, sg, 2, 1);
	dray_unmap_sg(dev, sg, 2);
	close_all();

	open_used_up(NULL);
	assert_int_equal(dray_coherent_alloc(dev, 8 * KB4, 0, &va, &m), 0);
	assert_flushed_once();
	dray_coherent_free(dev, va, &m);
	close_all();

	open_used_up(NULL);
	assert_int_equal(dray_pool_open(dev, 64, 0, 0, &pool), 0);
	assert_non_null(va = dray_pool_alloc(pool, &iova));
	assert_flushed_once();
	dray_pool_free(pool, va, iova);
	dray_pool_close(pool);
	close_all();

	open_used_up(NULL);
	assert_int_equal(dray_link_open(dev, 8 * KB4, 0, &link), 0);
	assert_flushed_once();
	dray_link_close(link);
	close_all();
}

/* Entries and memory run out inside the backend; the same, and for what is copied. */
static void test_tried_again_for_entries(void **state)
{
	static const int errors[] = { -ENOSPC, -ENOMEM };
	struct dray_sg sg[] = { lists_element(PAGE(0), KB4), lists_element(PAGE(9), KB4) };

	(void)state;
	for (size_t e = 0; e < 2; e++) {
		struct dray_mapping m;
		struct dray_link *link;
		dray_iova_t iova;
		uint64_t n;

		for (int call = 0; call < 4; call++) {
			open_used_up(NULL);
			/* One range is left: what fails is the backend. */
			assert_int_equal(dray_flush(dom), 0);
			m = rig_map(dev, PAGE(0), KB4);
			dray_unmap(dev, &m);
			n = rig_stats(dom).flushes_pressure;
			lists_map_error = errors[e];
			if (call == 0) {
				lists_full = true;
				m = rig_map(dev, PAGE(0), KB4);
				dray_unmap(dev, &m);
			} else if (call == 1) {
				lists_full = true;
				assert_int_equal(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0), 1);
				lists_assert_reads(dev, sg, 2, 1);
				dray_unmap_sg(dev, sg, 2);
			} else if (call == 2) {
				assert_int_equal(dray_link_open(dev, KB4, 0, &link), 0);
				lists_full = true;
				assert_int_equal(dray_link_add(link, 0, PAGE(0), KB4,
							       DRAY_TO_DEVICE), 0);
				iova = dray_link_iova(link);
				assert_ptr_equal(dray_iova_to_va(dom, iova), PAGE(0));
				dray_link_close(link);
			} else {
				lists_full = true;
				assert_int_equal(dray_map_fixed(dev, 0x104000, PAGE(0), KB4,
								DRAY_TO_DEVICE, 0, &m), 0);
				dray_unmap(dev, &m);
			}
			assert_int_equal(rig_stats(dom).flushes_pressure, n + 1);
			/* Another error is no reason. */
			lists_map_error = -EIO;
			lists_full = true;
			assert_int_equal(dray_map(dev, PAGE(0), KB4, DRAY_TO_DEVICE, 0, &m), -EIO);
			lists_full = false;
			assert_int_equal(rig_stats(dom).flushes_pressure, n + 1);
			close_all();
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mask),
		TEST(test_align),
		TEST(test_edge),
		TEST(test_line),
		TEST(test_pin),
		TEST(test_cheaper),
		TEST(test_no_slot),
		TEST(test_tried_again),
		TEST(test_tried_again_for_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-2-Clause
/* Pages of coherent memory: taken aligned, given back exactly, kept when a device may reach them. */
#include "../domain/rig.h"

#include "backend/sim/sim.h"

#include <sys/mman.h>

static struct dr_hooks watched;
static size_t held; /* bytes mapped and not unmapped */
/* Address space that is only reserved, and what is placed in it, is nobody's page. */
#define RESERVED 8u
static void *reserved[RESERVED];
static unsigned n_reserved;
static bool no_pages;

static void *watched_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p;

	if (no_pages) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = dr_hooks_system.mmap(addr, len, prot, flags, fd, off);
	if (p == MAP_FAILED || flags & MAP_FIXED)
		return p;
	if (prot != PROT_NONE)
		held += len;
	else
		reserved[n_reserved++ % RESERVED] = p;
	return p;
}

static int watched_munmap(void *addr, size_t len)
{
	bool was_reserved = false;

	for (unsigned i = 0; i < RESERVED; i++)
		was_reserved = was_reserved || reserved[i] == addr;
	if (!was_reserved)
		held -= len;
	return dr_hooks_system.munmap(addr, len);
}

/* rig_setup()'s world and this one's pages. */
static int setup(void **state)
{
	rig_setup(state);
	watched = *dr_hooks;
	watched.mmap = watched_mmap;
	watched.munmap = watched_munmap;
	/* What the process keeps for ever is made now. */
	dr_process_id();
	dr_hooks = &watched;
	held = 0;
	no_pages = false;
	return 0;
}

static void test_every_size(void **state)
{
	static const size_t sizes[] = {
		1, 100, KB4 - 1, KB4, KB4 + 1, 3 * KB4, 16 * KB4, 17 * KB4, MB2 - 1, MB2, MB2 + 1,
		5 * MB2,
	};
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");

	(void)state;
	held = 0; /* what the domain itself has */
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t whole = (sizes[i] + KB4 - 1) / KB4 * KB4;
		struct dray_mapping m;
		unsigned char *p;
		void *va;

		assert_int_equal(dray_coherent_alloc(dev, sizes[i], 0, &va, &m), 0);
		/* Not a byte more than the granules that were asked for. */
		assert_int_equal(held, whole);
		p = va;
		for (size_t b = 0; b < whole; b += 511)
			assert_int_equal(p[b], 0);
		memset(va, 0xff, whole);
		assert_int_equal(rig_info(dom).mapped_bytes, whole);
		dray_coherent_free(dev, va, &m);
		assert_int_equal(held, 0);
		assert_int_equal(rig_info(dom).mapped_bytes, 0);
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void test_failures_give_back(void **state)
{
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0xffff };
	struct dray_domain *dom = rig_open();
	struct dray_device *dev;
	struct dray_mapping m = { .iova = 7 };
	void *va = &m;

	(void)state;
	assert_int_equal(dray_device_open(dom, "sim1", &narrow, &dev), 0);
	held = 0; /* what the domain itself has */
	assert_int_equal(dray_coherent_alloc(dev, MB2, 0, &va, &m), -ENOSPC);
	assert_int_equal(held, 0);
	no_pages = true;
	assert_int_equal(dray_coherent_alloc(dev, KB4, 0, &va, &m), -ENOMEM);
	no_pages = false;
	assert_true(va == &m && m.iova == 7);
	assert_int_equal(dray_coherent_alloc(dev, SIZE_MAX / 2 - KB4, 0, &va, &m), -ENOMEM);
	assert_int_equal(held, 0);
	assert_int_equal(rig_info(dom).mapped_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Refused: the pages stay. Freed twice, or not at all what it says: nothing is given back. */
static void test_free_gives_back_once(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping m, copy;
	void *va, *other;

	(void)state;
	held = 0; /* what the domain itself has */
	assert_int_equal(dray_coherent_alloc(dev, 2 * KB4, 0, &va, &m), 0);
	copy = m;
	dr_sim_fail_unmap_at(dom->io.be, 1);
	dray_coherent_free(dev, va, &m);
	assert_int_equal(held, 2 * KB4);
	assert_int_equal(rig_info(dom).quarantined_bytes, 2 * KB4);
	memset(va, 1, 2 * KB4);
	dray_coherent_free(dev, va, &copy);
	assert_int_equal(held, 2 * KB4);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);

	assert_int_equal(dray_coherent_alloc(dev, KB4, 0, &other, &m), 0);
	copy = m;
	dray_coherent_free(dev, other, &m);
	dray_coherent_free(dev, other, &m);
	assert_non_null(strstr(dray_errmsg(), "not live"));
	dray_coherent_free(dev, other, &copy);
	assert_int_equal(held, 2 * KB4);
	dray_device_close(dev);
	dray_domain_close(dom);
	munmap(va, 2 * KB4);
}

/* A device closed with a block: unmapped and counted; the memory is the caller's to free or keep. */
static void test_leaked_block(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping m;
	void *va;

	(void)state;
	held = 0; /* what the domain itself has */
	assert_int_equal(dray_coherent_alloc(dev, KB4, 0, &va, &m), 0);
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 1);
	assert_null(dray_iova_to_va(dom, m.iova));
	memset(va, 1, KB4);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
	munmap(va, KB4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_size),
		TEST(test_failures_give_back),
		TEST(test_free_gives_back_once),
		TEST(test_leaked_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

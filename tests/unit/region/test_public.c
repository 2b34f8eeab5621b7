// SPDX-License-Identifier: BSD-2-Clause
/*
 * Registered memory as drivers use it, on the software IOMMU and on a scripted VFIO: devices that
 * come later, maps that are lookups, trust, forks, limits, and who keeps whom.
 */
#define _GNU_SOURCE
#include "../domain/rig.h"
#include "vfio_fake.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NVME "0000:01:00.0"
#define NIC  "0000:02:00.0"

static struct dray_region *reg(struct dray_domain *dom, void *va, size_t len, uint32_t flags)
{
	struct dray_region *g = NULL;

	assert_int_equal(dray_region_register(dom, va, len, flags, &g), 0);
	assert_non_null(g);
	return g;
}

static void *pages(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* A device that is there, and one that comes when memory has been registered: both reach all. */
static void test_devices_that_come_later(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *early = rig_plug(dom, "sim1"), *late;
	struct dray_region *g = reg(dom, rig_memory, sizeof(rig_memory), 0);
	char seen[8];
	dray_iova_t iova;

	(void)state;
	strcpy(rig_memory + 5 * KB4 - 3, "region");
	iova = dray_translate(dom, rig_memory + 5 * KB4 - 3, NULL);
	late = rig_plug(dom, "sim2");
	assert_int_equal(dray_sim_read(early, iova, seen, 7), 0);
	assert_string_equal(seen, "region");
	assert_int_equal(dray_sim_read(late, iova, seen, 7), 0);
	assert_string_equal(seen, "region");
	assert_int_equal(dray_sim_write(late, iova, "REGION", 7), 0);
	assert_string_equal(rig_memory + 5 * KB4 - 3, "REGION");
	assert_ptr_equal(dray_iova_to_va(dom, iova), rig_memory + 5 * KB4 - 3);
	assert_int_equal(dray_region_unregister(g), 0);
	assert_int_equal(dray_sim_read(early, iova, seen, 7), -EFAULT);
	assert_int_equal(dray_sim_read(late, iova, seen, 7), -EFAULT);
	assert_null(dray_iova_to_va(dom, iova));
	dray_device_close(early);
	dray_device_close(late);
	dray_domain_close(dom);
}

static void test_maps_are_lookups(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *g = reg(dom, rig_memory, 16 * KB4, 0);
	dray_iova_t base = dray_translate(dom, rig_memory, NULL);
	struct dray_stats before = rig_stats(dom), after;
	struct dray_mapping m[3], edge;

	(void)state;
	assert_int_equal(before.backend_maps, 1);
	m[0] = rig_map(dev, rig_memory, 1);
	m[1] = rig_map(dev, rig_memory + 100, 16 * KB4 - 100);
	m[2] = rig_map(dev, rig_memory + 100, 16 * KB4 - 100); /* the same, once more */
	assert_int_equal(m[0].iova, base);
	assert_int_equal(m[1].iova, base + 100);
	assert_int_equal(m[2].iova, base + 100);
	after = rig_stats(dom);
	assert_int_equal(after.backend_maps, before.backend_maps);
	assert_int_equal(after.maps, before.maps + 3);
	/* Across the edge: mapped whole, elsewhere. */
	edge = rig_map(dev, rig_memory + 15 * KB4, 2 * KB4);
	assert_int_equal(rig_stats(dom).backend_maps, before.backend_maps + 1);
	assert_true(edge.iova != base + 15 * KB4);
	dray_unmap(dev, &edge);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(dray_region_unregister(g), -EBUSY);
		dray_unmap(dev, &m[i]);
	}
	assert_int_equal(rig_stats(dom).backend_unmaps, 1);
	assert_int_equal(dray_region_unregister(g), 0);
	assert_int_equal(rig_stats(dom).backend_unmaps, 2);
	assert_int_equal(dray_region_unregister(g), -EINVAL);
	assert_int_equal(dray_region_unregister(NULL), -EINVAL);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void test_read_only_memory(void **state)
{
	char *p = pages(2 * KB4, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *g;
	struct dray_mapping m;
	dray_iova_t iova;
	char c = 1;

	(void)state;
	assert_int_equal(dray_region_register(dom, p, 2 * KB4, 0, &g), -EFAULT);
	assert_non_null(strstr(dray_errmsg(), "DRAY_REGION_READ_ONLY"));
	g = reg(dom, p, 2 * KB4, DRAY_REGION_READ_ONLY);
	iova = dray_translate(dom, p, NULL);
	assert_int_equal(dray_sim_read(dev, iova, &c, 1), 0);
	assert_int_equal(c, 0);
	assert_int_equal(dray_sim_write(dev, iova, &c, 1), -EFAULT);
	assert_int_equal(dray_map(dev, p, KB4, DRAY_TO_DEVICE, 0, &m), 0);
	assert_int_equal(m.iova, iova);
	dray_unmap(dev, &m);
	assert_int_equal(dray_region_unregister(g), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	munmap(p, 2 * KB4);
}

/* Memory of every origin: what one side writes the other reads. */
static void test_shared_and_file_memory(void **state)
{
	int fd = memfd_create("region", 0);
	FILE *file = tmpfile();
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *g;
	void *p[3];
	char c;

	(void)state;
	assert_int_equal(ftruncate(fd, 2 * MB2), 0);
	assert_int_equal(ftruncate(fileno(file), (off_t)MB2), 0);
	p[0] = pages(2 * MB2, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	p[1] = pages(MB2, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file));
	p[2] = pages(MB2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	for (unsigned i = 0; i < 3; i++) {
		g = reg(dom, p[i], MB2, 0);
		c = (char)(i + 1);
		assert_int_equal(dray_sim_write(dev, dray_translate(dom, p[i], NULL), &c, 1), 0);
		assert_int_equal(*(char *)p[i], i + 1);
		assert_int_equal(dray_region_unregister(g), 0);
	}
	/* Behind the end of its file there is nothing to pin. */
	assert_int_equal(ftruncate(fd, (off_t)MB2), 0);
	assert_int_equal(dray_region_register(dom, p[0], 2 * MB2, 0, &g), -EFAULT);
	assert_int_equal(dray_translate(dom, p[0], NULL), DRAY_IOVA_NONE);
	munmap(p[0], 2 * MB2);
	munmap(p[1], MB2);
	munmap(p[2], MB2);
	fclose(file);
	close(fd);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void test_premapped(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *g = NULL;
	struct dray_mapping m;
	char c;

	(void)state;
	assert_int_equal(dray_region_register(dom, rig_memory, KB4, DRAY_REGION_PREMAPPED, &g),
			 -EINVAL);
	assert_int_equal(dray_region_register_at(dom, DRAY_IOVA_NONE, rig_memory, KB4, 0, &g),
			 -EINVAL);
	assert_int_equal(dray_region_register_at(dom, 0x40000000, rig_memory, 4 * KB4,
						 DRAY_REGION_PREMAPPED, &g), 0);
	assert_int_equal(rig_stats(dom).backend_maps, 0);
	assert_int_equal(dray_translate(dom, rig_memory + 5, NULL), 0x40000005);
	assert_ptr_equal(dray_iova_to_va(dom, 0x40000005), rig_memory + 5);
	m = rig_map(dev, rig_memory + KB4, KB4);
	assert_int_equal(m.iova, 0x40001000);
	assert_int_equal(rig_stats(dom).backend_maps, 0);
	/* Somebody else was to map it, and has not: nothing of it is in the table. */
	assert_int_equal(dray_sim_read(dev, m.iova, &c, 1), -EFAULT);
	dray_unmap(dev, &m);
	assert_int_equal(dray_region_unregister(g), 0);
	assert_int_equal(rig_stats(dom).backend_unmaps, 0);
	assert_null(dray_iova_to_va(dom, 0x40000005));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A region is no explicit mapping: nobody takes it away by its IOVA. */
static void test_other_ways_do_not_reach_it(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_region *g = NULL;

	(void)state;
	assert_int_equal(dray_region_register_at(dom, 0x40000000, rig_memory, 4 * KB4, 0, &g), 0);
	assert_int_equal(dray_domain_unmap(dom, 0x40000000, 4 * KB4), -EINVAL);
	assert_int_equal(dray_domain_map(dom, 0x40001000, rig_memory, KB4, DRAY_PROT_READ, 0),
			 -EEXIST);
	assert_int_equal(dray_domain_reserve(dom, 0x40000000, 0x40000fff, 0), -EEXIST);
	assert_int_equal(dray_region_unregister(g), 0);
	assert_int_equal(dray_domain_reserve(dom, 0x40000000, 0x40000fff, 0), 0);
	assert_int_equal(dray_region_register_at(dom, 0x40000000, rig_memory, 4 * KB4, 0, &g),
			 -EEXIST);
	dray_domain_close(dom);
}

static int plug_untrusted(struct dray_domain *dom, struct dray_device **ret_dev)
{
	const struct dray_device_opts o = { .size = sizeof(o), .flags = DRAY_DEVICE_UNTRUSTED };

	return dray_device_open(dom, "sim3", &o, ret_dev);
}

static void test_trust(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_region *private = reg(dom, rig_memory, KB4, 0), *shared, *none;
	struct dray_device *dev = NULL;

	(void)state;
	shared = reg(dom, rig_memory + KB4, KB4, DRAY_REGION_SHARE_UNTRUSTED);
	assert_int_equal(plug_untrusted(dom, &dev), -EPERM);
	assert_int_equal(dray_region_unregister(private), 0);
	assert_int_equal(plug_untrusted(dom, &dev), 0);
	assert_int_equal(dray_region_register(dom, rig_memory, KB4, 0, &none), -EPERM);
	assert_non_null(strstr(dray_errmsg(), "DRAY_REGION_SHARE_UNTRUSTED"));
	assert_int_equal(dray_translate(dom, rig_memory, NULL), DRAY_IOVA_NONE);
	private = reg(dom, rig_memory, KB4, DRAY_REGION_SHARE_UNTRUSTED);
	dray_device_close(dev);
	assert_int_equal(dray_region_unregister(private), 0);
	private = reg(dom, rig_memory, KB4, 0);
	assert_int_equal(dray_region_unregister(private), 0);
	assert_int_equal(dray_region_unregister(shared), 0);
	dray_domain_close(dom);
}

static void test_domain_types(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;
	struct dray_region *g;
	size_t len = MB2;

	(void)state;
	opts.type = DRAY_DOMAIN_BLOCKED;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_region_register(dom, rig_memory, KB4, 0, &g), -EPERM);
	dray_domain_close(dom);
	opts.type = DRAY_DOMAIN_IDENTITY;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_region_register_at(dom, 0x1000, rig_memory, KB4, 0, &g), -ERANGE);
	g = reg(dom, rig_memory, 4 * KB4, 0);
	assert_int_equal(dray_translate(dom, rig_memory + 9, &len), (uintptr_t)rig_memory + 9);
	assert_int_equal(len, 4 * KB4 - 9);
	assert_int_equal(rig_stats(dom).backend_maps, 0);
	assert_int_equal(dray_region_unregister(g), 0);
	dray_domain_close(dom);
}

/* Whatever the order of going, a region keeps its domain, and takes it along when it goes last. */
static void test_a_region_keeps_its_domain(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *g = reg(dom, rig_memory, KB4, 0), *h;
	dray_iova_t iova = dray_translate(dom, rig_memory, NULL);

	(void)state;
	dray_domain_close(dom);
	assert_int_equal(dray_region_register(dom, rig_memory + KB4, KB4, 0, &h), -EINVAL);
	dray_device_close(dev);
	assert_false(rig_is_gone(dom));
	assert_int_equal(dray_translate(dom, rig_memory, NULL), iova);
	assert_int_equal(dray_region_unregister(g), 0);
	assert_true(rig_is_gone(dom));
	assert_int_equal(dray_translate(NULL, rig_memory, NULL), DRAY_IOVA_NONE);
}

/* Receipts inside regions are settled by the last device that goes. */
static void test_receipts_left_inside(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *one = rig_plug(dom, "sim1"), *two = rig_plug(dom, "sim2");
	struct dray_region *g = reg(dom, rig_memory, 4 * KB4, 0);

	(void)state;
	rig_map(one, rig_memory, 1);
	rig_map(one, rig_memory + KB4, 1);
	rig_map(two, rig_memory, 1);
	dray_device_close(one);
	assert_int_equal(dray_region_unregister(g), -EBUSY);
	dray_device_close(two);
	assert_int_equal(rig_stats(dom).leaks, 3);
	assert_int_equal(dray_region_unregister(g), 0);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* A child has neither the domain nor, with DONTFORK, the memory; its parent has both. */
static void test_forks(void **state)
{
	char *p = pages(2 * KB4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *g = reg(dom, p, KB4, DRAY_REGION_DONTFORK), *h;
	struct dray_region *other = reg(dom, p + KB4, KB4, 0);
	dray_iova_t iova = dray_translate(dom, p, NULL);
	struct dray_mapping m;
	char c = 7, seen = 0;
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (!child) {
		unsigned char in;
		int bad = 0;

		bad |= dray_region_register(dom, rig_memory, KB4, 0, &h) != -EPERM;
		bad |= (dray_region_unregister(other) != -EPERM) << 1;
		bad |= (dray_map(dev, p + KB4, 1, DRAY_TO_DEVICE, 0, &m) != -EPERM) << 2;
		bad |= !(mincore(p, KB4, &in) == -1 && errno == ENOMEM) << 3;
		bad |= (mincore(p + KB4, KB4, &in) != 0) << 4;
		_exit(bad);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(dray_sim_write(dev, iova, &c, 1), 0);
	assert_int_equal(*p, 7);
	assert_int_equal(dray_sim_read(dev, iova, &seen, 1), 0);
	assert_int_equal(seen, 7);
	assert_int_equal(dray_region_unregister(g), 0);
	/* Afterwards children get it again. */
	child = fork();
	if (!child)
		_exit(*p);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(dray_region_unregister(other), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	munmap(p, 2 * KB4);
}

/* --- on a scripted VFIO --- */

static int vfio_setup(void **state)
{
	(void)state;
	vfio_fake_start();
	vfio_fake_add_device(NVME, 5, "vfio-pci");
	vfio_fake_add_device(NIC, 6, "vfio-pci");
	return 0;
}

static int vfio_teardown(void **state)
{
	(void)state;
	bool left = vfio_fake_fds_open() || vfio_fake_mappings();

	vfio_fake_stop();
	return left ? -1 : 0;
}

static struct dray_domain *open_vfio(void)
{
	const struct dray_domain_opts o = { .size = sizeof(o), .backend = DRAY_BACKEND_TYPE1 };
	struct dray_domain *dom = NULL;

	assert_int_equal(dray_domain_open(&o, &dom), 0);
	return dom;
}

static void test_hot_plugged_on_vfio(void **state)
{
	struct dray_domain *dom = open_vfio();
	struct dray_region *g = reg(dom, rig_memory, 8 * KB4, 0), *h;
	struct dray_device *dev = NULL, *late = NULL;
	dray_iova_t iova = dray_translate(dom, rig_memory, NULL);
	char c = 0;

	(void)state;
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), 0);
	assert_int_equal(dray_device_open(dom, NVME, NULL, &dev), 0);
	assert_true(vfio_fake_is_mapped(NVME, iova, 8 * KB4, rig_memory));
	h = reg(dom, rig_memory + 8 * KB4, 8 * KB4, 0);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), 2);
	assert_int_equal(dray_device_open(dom, NIC, NULL, &late), 0);
	rig_memory[9 * KB4] = 3;
	vfio_fake_set_bus_master(NIC, true);
	assert_int_equal(vfio_fake_dma(NIC, dray_translate(dom, rig_memory + 9 * KB4, NULL), &c, 1,
				       false), 0);
	assert_int_equal(c, 3);
	/* Somebody else's mapping is not replayed. */
	dray_device_close(dev);
	dray_device_close(late);
	assert_int_equal(dray_region_unregister(h), 0);
	assert_int_equal(dray_region_register_at(dom, 0x40000000, rig_memory + 8 * KB4, KB4,
						 DRAY_REGION_PREMAPPED, &h), 0);
	assert_int_equal(dray_device_open(dom, NVME, NULL, &dev), 0);
	assert_int_equal(vfio_fake_mappings(), 1);
	dray_device_close(dev);
	assert_int_equal(dray_region_unregister(g), 0);
	assert_int_equal(dray_region_unregister(h), 0);
	dray_domain_close(dom);
}

static void test_limits_on_vfio(void **state)
{
	struct dray_domain *dom;
	struct dray_device *dev = NULL;
	struct dray_region *g[4] = { NULL }, *none = NULL;

	(void)state;
	vfio_fake_set_entry_limit(3);
	vfio_fake_set_memlock(10 * KB4);
	dom = open_vfio();
	assert_int_equal(dray_device_open(dom, NVME, NULL, &dev), 0);
	for (unsigned i = 0; i < 3; i++)
		g[i] = reg(dom, rig_memory + i * 2 * KB4, KB4, 0);
	assert_int_equal(dray_region_register(dom, rig_memory + 6 * KB4, KB4, 0, &none), -ENOSPC);
	assert_non_null(strstr(dray_errmsg(), "dma_entry_limit"));
	assert_int_equal(dray_region_unregister(g[0]), 0);
	assert_int_equal(dray_region_register(dom, rig_memory + 6 * KB4, 9 * KB4, 0, &none),
			 -ENOMEM);
	assert_non_null(strstr(dray_errmsg(), "RLIMIT_MEMLOCK"));
	assert_int_equal(vfio_fake_mappings(), 2);
	assert_int_equal(dray_translate(dom, rig_memory + 6 * KB4, NULL), DRAY_IOVA_NONE);
	/* Survived: what fits goes on. */
	g[0] = reg(dom, rig_memory + 6 * KB4, 2 * KB4, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dray_region_unregister(g[i]), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
#define V(f) cmocka_unit_test_setup_teardown(f, vfio_setup, vfio_teardown)
	const struct CMUnitTest tests[] = {
		T(test_devices_that_come_later),
		T(test_maps_are_lookups),
		T(test_read_only_memory),
		T(test_shared_and_file_memory),
		T(test_premapped),
		T(test_other_ways_do_not_reach_it),
		T(test_trust),
		T(test_domain_types),
		T(test_a_region_keeps_its_domain),
		T(test_receipts_left_inside),
		T(test_forks),
		V(test_hot_plugged_on_vfio),
		V(test_limits_on_vfio),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

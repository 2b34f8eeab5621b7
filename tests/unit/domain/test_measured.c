// SPDX-License-Identifier: BSD-2-Clause
/*
 * What copying and mapping cost is measured when a domain's first device comes, by a clock that
 * moves only when it is asked; or cannot be.
 */
#include "rig.h"

#include "vfio_fake.h"

#define NVME "0000:01:00.0"
#define NIC  "0000:02:00.0"
#define KB   ((size_t)1 << 10)
#define MB1  ((size_t)1 << 20)

static _Alignas(4096) char memory[128 * KB];

static struct dr_hooks hooks;
static uint64_t now_ns, tick_ns;

static uint64_t ticking(void)
{
	return now_ns += tick_ns;
}

/* Before any domain is open; a test's teardown takes it away. */
static void stop_the_clock(uint64_t tick)
{
	hooks = *dr_hooks;
	hooks.clock_ns = ticking;
	tick_ns = tick;
	dr_hooks = &hooks;
}

static struct dray_domain_opts auto_opts(void)
{
	struct dray_domain_opts o = rig_opts();

	o.bounce_threshold = DRAY_BOUNCE_AUTO;
	o.flags = DRAY_DOMAIN_POLLED;
	return o;
}

static struct dray_domain *open_with(const struct dray_domain_opts *o)
{
	struct dray_domain *dom = NULL;

	assert_int_equal(dray_domain_open(o, &dom), 0);
	return dom;
}

static void assert_thresholds(const struct dray_domain *dom, size_t strict, size_t strict_once,
			      size_t lazy, size_t lazy_once)
{
	struct dray_domain_info info = rig_info(dom);

	assert_int_equal(info.copy_up_to, strict);
	assert_int_equal(info.copy_up_to_once, strict_once);
	assert_int_equal(info.lazy_copy_up_to, lazy);
	assert_int_equal(info.lazy_copy_up_to_once, lazy_once);
}

/* When the first device comes, and again when the software IOMMU is told what it costs. */
static void test_measured(void **state)
{
	struct dray_domain_opts o = auto_opts();
	struct dray_domain *dom, *other;
	struct dray_device *dev;
	struct dray_domain_info info;
	struct dray_stats s;

	(void)state;
	stop_the_clock(1);
	dom = open_with(&o);
	assert_int_equal(dray_sim_set_cost(dom, 2560, 10, DRAY_SIM_NOCHECK), 0);
	assert_thresholds(dom, 0, 0, 0, 0);
	assert_int_equal(rig_info(dom).cost_map_ns[0], 0);
	dev = rig_plug(dom, "sim1");
	info = rig_info(dom);
	/* The clock does not move unless something spins; and for who asks. */
	assert_int_equal(info.cost_slot_ns, 0);
	assert_in_range(info.cost_map_ns[0], 2570, 2600);
	assert_in_range(info.cost_map_ns[1], 2560 + 40, 2560 + 70);
	assert_in_range(info.cost_map_ns[3], 2560 + 640, 2560 + 670);
	assert_in_range(info.cost_map_ns[4], 2560 + 2560, 2560 + 2590);
	/* 256 entries share an invalidation; 64 of a megabyte, by their bytes. */
	assert_in_range(info.cost_lazy_map_ns[4], 2560 + 40, 2560 + 70);
	assert_in_range(info.cost_lazy_map_ns[0], 10 + 10, 10 + 20);
	assert_in_range(info.cost_lazy_map_ns[3], 640 + 10, 640 + 40);
	/* Copies are free by this clock. */
	assert_true(info.copy_up_to >= MB1);
	assert_true(info.lazy_copy_up_to >= MB1);
	/* None of it shows. */
	s = rig_stats(dom);
	assert_int_equal(s.maps + s.backend_maps + s.backend_unmaps + s.invalidations, 0);
	assert_int_equal(s.bounce_in_bytes + s.bounce_mapped_bytes + s.bounce_grows, 0);
	assert_int_equal(rig_info(dom).mapped_bytes, 0);
	assert_false(dray_bounce_present(dom));

	/* Nothing takes any time: not even who asks for it. */
	tick_ns = 0;
	assert_int_equal(dray_sim_set_cost(dom, 0, 0, DRAY_SIM_NOCHECK), 0);
	assert_thresholds(dom, 0, 0, 0, 0);
	tick_ns = 1;
	/* A device that moves in is a first one too. */
	other = open_with(&o);
	assert_int_equal(dray_sim_set_cost(other, 2560, 10, DRAY_SIM_NOCHECK), 0);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	assert_true(rig_info(other).copy_up_to >= MB1);
	/* Nobody is left in the first to ask. */
	assert_int_equal(dray_sim_set_cost(dom, 2560, 10, DRAY_SIM_NOCHECK), 0);
	assert_thresholds(dom, 0, 0, 0, 0);
	dray_device_close(dev);
	dray_domain_close(other);
	dray_domain_close(dom);
}

/* Not beside an untrusted device; the next trusted one that comes tells. */
static void test_untrusted_is_in(void **state)
{
	struct dray_domain_opts o = auto_opts();
	struct dray_device_opts untrusted = {
		.size = sizeof(untrusted), .flags = DRAY_DEVICE_UNTRUSTED,
	};
	struct dray_device *dev = NULL;
	struct dray_domain *dom;

	(void)state;
	stop_the_clock(1);
	dom = open_with(&o);
	assert_int_equal(dray_device_open(dom, "sim1", &untrusted, &dev), 0);
	assert_int_equal(dray_sim_set_cost(dom, 2560, 10, DRAY_SIM_NOCHECK), 0);
	assert_thresholds(dom, 0, 0, 0, 0);
	dray_device_close(dev);
	dev = rig_plug(dom, "sim2");
	assert_true(rig_info(dom).copy_up_to >= MB1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Only a translating domain has a choice. */
static void test_identity(void **state)
{
	struct dray_domain_opts o = auto_opts();
	struct dray_domain *dom;
	struct dray_device *dev;

	(void)state;
	o.type = DRAY_DOMAIN_IDENTITY;
	dom = open_with(&o);
	dev = rig_plug(dom, "sim1");
	assert_thresholds(dom, 0, 0, 0, 0);
	assert_int_equal(rig_info(dom).cost_map_ns[2], 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Whatever memory is missing, a device opens or says why, and nothing is left. */
static void test_without_memory(void **state)
{
	struct dray_domain_opts o = auto_opts();
	unsigned unmeasured = 0;

	(void)state;
	for (unsigned n = 1;; n++) {
		struct dray_domain *dom = open_with(&o);
		struct dray_device *dev = NULL;
		bool fired;
		int err;

		rig_log[0] = '\0';
		rig_fail_alloc = n;
		err = dray_device_open(dom, "sim1", NULL, &dev);
		fired = !rig_fail_alloc;
		rig_fail_alloc = 0;
		assert_int_equal(err, err ? -ENOMEM : 0);
		unmeasured += !err && strstr(rig_log, "cannot be measured");
		dray_device_close(dev);
		dray_domain_close(dom);
		assert_int_equal(rig_blocks, 0);
		if (!fired)
			break;
	}
	assert_true(unmeasured >= 3);
}

struct mapper {
	struct dray_device *dev;
	_Atomic bool stop;
	unsigned maps;
};

static void *map_on(void *arg)
{
	struct mapper *m = arg;

	for (unsigned i = 0; !atomic_load(&m->stop) || i < 100; i++) {
		size_t len = 1 + i * 2741 % (64 * KB);
		struct dray_mapping map;

		if (dray_map(m->dev, memory + len, len, (enum dray_dir)(i % 3), 0, &map))
			break;
		m->maps++;
		dray_unmap(m->dev, &map);
	}
	return NULL;
}

/* Maps go on while costs and modes change; each goes one of the legal ways, and none is lost. */
static void test_beside_maps(void **state)
{
	struct dray_domain_opts o = auto_opts();
	struct dray_domain *dom = open_with(&o);
	struct mapper m = { .dev = rig_plug(dom, "sim1") };
	struct dray_stats s;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, map_on, &m), 0);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(dray_sim_set_cost(dom, i % 2 ? 20000 : 0, 0, DRAY_SIM_NOCHECK), 0);
		assert_int_equal(dray_domain_set_invalidation(dom, i / 2 % 2 ? DRAY_LAZY :
							      DRAY_STRICT), 0);
	}
	atomic_store(&m.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(dray_flush(dom), 0);
	s = rig_stats(dom);
	assert_true(m.maps >= 100);
	assert_int_equal(s.maps, m.maps);
	assert_int_equal(s.unmaps, m.maps);
	assert_int_equal(s.bad_unmaps + s.unmap_errors + s.map_failures, 0);
	assert_int_equal(s.bounce_used_bytes, 0);
	dray_device_close(m.dev);
	dray_domain_close(dom);
}

/* --- Where memory is pinned ------------------------------------------------------------------- */

static int setup_kernel(void **state)
{
	(void)state;
	vfio_fake_start();
	vfio_fake_add_device(NVME, 5, "vfio-pci");
	vfio_fake_add_device(NIC, 6, "vfio-pci");
	rig_log[0] = '\0';
	stop_the_clock(160);
	return 0;
}

static int teardown_kernel(void **state)
{
	int fds;

	(void)state;
	fds = vfio_fake_fds_open();
	vfio_fake_stop();
	return fds ? -1 : 0;
}

static struct dray_domain *open_real(void)
{
	struct dray_domain_opts o = auto_opts();

	o.backend = DRAY_BACKEND_TYPE1;
	return open_with(&o);
}

/* The first device of a real machine. */
static void test_first_device(void **state)
{
	struct dray_domain *dom = open_real();
	struct dray_domain_info info = rig_info(dom);
	struct dray_device *nvme, *nic;
	unsigned calls;

	(void)state;
	assert_int_equal(info.cost_map_ns[2], 0);
	assert_int_equal(info.copy_up_to, 0);
	nvme = rig_plug(dom, NVME);
	info = rig_info(dom);
	assert_true(info.cost_slot_ns > 0);
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++) {
		assert_true(info.cost_copy_ns[i] > 0);
		assert_true(info.cost_map_ns[i] > 0);
		assert_true(info.cost_lazy_map_ns[i] > 0);
	}
	calls = vfio_fake_calls(VFIO_IOMMU_MAP_DMA);
	assert_true(calls > 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_stats(dom).backend_maps, 0);
	nic = rig_plug(dom, NIC);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), calls);
	dray_device_close(nic);
	dray_device_close(nvme);
	/* It was this machine's cost, and stays it. */
	nvme = rig_plug(dom, NVME);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), calls);
	dray_device_close(nvme);
	dray_domain_close(dom);
}

/* A device opens all the same where measuring fails, and the next one tries again. */
static void test_cannot_be_measured(void **state)
{
	struct dray_domain *dom = open_real();
	struct dray_device *nvme, *nic;
	struct dray_mapping m;

	(void)state;
	vfio_fake_set_memlock(64 << 10);
	nvme = rig_plug(dom, NVME);
	assert_non_null(strstr(rig_log, "cannot be measured"));
	assert_int_equal(rig_level, LOG_NOTICE);
	assert_thresholds(dom, 0, 0, 0, 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	m = rig_map(nvme, memory, KB4);
	assert_int_equal(rig_stats(dom).backend_maps, 1);
	assert_int_equal(rig_stats(dom).bounce_cheaper, 0);
	dray_unmap(nvme, &m);
	vfio_fake_set_memlock(UINT64_MAX);
	nic = rig_plug(dom, NIC);
	assert_true(rig_info(dom).cost_map_ns[0] > 0);
	dray_device_close(nic);
	dray_device_close(nvme);
	dray_domain_close(dom);
}

#define TEST(name)   cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
#define KERNEL(name) cmocka_unit_test_setup_teardown(name, setup_kernel, teardown_kernel)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_measured),
		TEST(test_untrusted_is_in),
		TEST(test_identity),
		TEST(test_without_memory),
		/* The rig's world is for one thread. */
		cmocka_unit_test(test_beside_maps),
		KERNEL(test_first_device),
		KERNEL(test_cannot_be_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

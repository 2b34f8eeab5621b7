// SPDX-License-Identifier: BSD-2-Clause
/*
 * A machine without an IOMMU: addresses are addresses, and nobody is held to anything. And that an
 * untrusted device is let in only where it is.
 */
#include "rig.h"

#include <string.h>

static int try_open(const char *profile, enum dray_domain_type type)
{
	static const struct dr_log silent;
	struct dr_backend_args args = { .type = type, .profile = profile, .log = &silent };
	struct dr_backend *be = NULL;
	int err;

	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &args.pt), 0);
	err = dr_sim_ops.open(&args, &be);
	if (!err)
		be->ops->close(be);
	else
		assert_null(be);
	dr_pgtable_close(args.pt);
	return err;
}

static int attach(const struct space *s, const char *name, uint32_t flags,
		  struct dr_backend_device **ret_dev)
{
	const struct dray_device_opts opts = { .size = sizeof(opts), .flags = flags };

	return s->be->ops->attach(s->be, name, &opts, ret_dev);
}

static void is_identity_and_nothing_else(void **state)
{
	struct space s = space_open_as("direct", DRAY_DOMAIN_DEFAULT);

	(void)state;
	assert_int_equal(s.be->type, DRAY_DOMAIN_IDENTITY);
	assert_false(s.be->translates);
	assert_false(s.be->isolates);
	assert_int_equal(s.be->defers, DR_DEFER_NOTHING);
	space_close(&s);
	assert_int_equal(try_open("direct", DRAY_DOMAIN_IDENTITY), 0);
	assert_int_equal(try_open("direct", DRAY_DOMAIN_PAGING), -ENOTSUP);
	assert_int_equal(try_open("direct", DRAY_DOMAIN_BLOCKED), -ENOTSUP);
	/* Where there is an IOMMU all three are had. */
	assert_int_equal(try_open("vtd", DRAY_DOMAIN_IDENTITY), 0);
	assert_int_equal(try_open("vtd", DRAY_DOMAIN_PAGING), 0);
	assert_int_equal(try_open("vtd", DRAY_DOMAIN_BLOCKED), 0);
}

static void a_device_reaches_memory_by_address(void **state)
{
	struct space s = space_open_as("direct", DRAY_DOMAIN_DEFAULT);
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char mem[3 * 4096], buf[sizeof(mem)];
	size_t gone = 0;

	(void)state;
	assert_true(dev->coherent);
	memset(mem, 'm', sizeof(mem));
	assert_int_equal(dr_sim_dma_read(dev, (uintptr_t)mem, buf, sizeof(buf)), 0);
	assert_memory_equal(mem, buf, sizeof(buf));
	memset(buf, 'd', sizeof(buf));
	assert_int_equal(dr_sim_dma_write(dev, (uintptr_t)mem, buf, sizeof(buf)), 0);
	assert_memory_equal(mem, buf, sizeof(buf));
	/* Mapping is nothing to it, and neither is unmapping. */
	space_map(&s, 0x10000, mem, KB4, RW);
	assert_int_equal(s.be->ops->unmap(s.be, 0x10000, KB4, &gone), 0);
	assert_int_equal(gone, KB4);
	assert_int_equal(dr_sim_dma_read(dev, (uintptr_t)mem, buf, 1), 0);
	device_close(dev);
	space_close(&s);
}

static void an_untrusted_device_needs_an_iommu(void **state)
{
	struct space direct = space_open_as("direct", DRAY_DOMAIN_DEFAULT);
	struct space identity = space_open(DRAY_DOMAIN_IDENTITY);
	struct space paging = space_open(DRAY_DOMAIN_PAGING);
	struct space blocked = space_open(DRAY_DOMAIN_BLOCKED);
	struct dr_backend_device *dev = NULL;

	(void)state;
	assert_int_equal(attach(&direct, "sim1", DRAY_DEVICE_UNTRUSTED, &dev), -EPERM);
	assert_int_equal(attach(&identity, "sim1", DRAY_DEVICE_UNTRUSTED, &dev), -EPERM);
	assert_null(dev);
	assert_int_equal(attach(&paging, "sim1", DRAY_DEVICE_UNTRUSTED, &dev), 0);
	/* Nor does it come by way of another domain. */
	assert_int_equal(paging.be->ops->switch_to(dev, direct.be), -EPERM);
	assert_ptr_equal(dev->be, paging.be);
	assert_int_equal(paging.be->ops->switch_to(dev, identity.be), -EPERM);
	assert_int_equal(paging.be->ops->switch_to(dev, blocked.be), 0);
	device_close(dev);
	/* A trusted one is free to. */
	assert_int_equal(attach(&paging, "sim1", 0, &dev), 0);
	assert_int_equal(paging.be->ops->switch_to(dev, direct.be), 0);
	device_close(dev);
	space_close(&direct);
	space_close(&identity);
	space_close(&paging);
	space_close(&blocked);
}

/* A device whose opener knows that it does not snoop, on hardware that does: the real caches. */
static uintptr_t cleaned_first, cleaned_end, dropped_first, dropped_end;

static void note_clean(uintptr_t first, uintptr_t end)
{
	cleaned_first = first;
	cleaned_end = end;
}

static void note_drop(uintptr_t first, uintptr_t end)
{
	dropped_first = first;
	dropped_end = end;
}

static void a_device_said_not_to_snoop_gets_real_maintenance(void **state)
{
	static const struct dr_cpu_ops able = { "able", 64, 64, note_clean, note_drop, NULL };
	static const struct dr_cpu_ops unable = { "unable", 64, 64, NULL, NULL, NULL };
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct space cacheless = space_open_as("noncoherent", DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = NULL;

	(void)state;
	dr_cpu_set_ops(&unable);
	assert_int_equal(attach(&s, "sim1", DRAY_DEVICE_NONCOHERENT, &dev), -ENOTSUP);
	assert_null(dev);
	/* The model needs no instruction of the real CPU's. */
	assert_int_equal(attach(&cacheless, "sim1", DRAY_DEVICE_NONCOHERENT, &dev), 0);
	assert_int_equal(s.be->ops->switch_to(dev, s.be), -ENOTSUP);
	device_close(dev);
	dr_cpu_set_ops(&able);
	assert_int_equal(attach(&s, "sim1", DRAY_DEVICE_NONCOHERENT, &dev), 0);
	assert_false(dev->coherent);
	dr_backend_clean(s.be, (const void *)0x10010, 0x40);
	assert_int_equal(cleaned_first, 0x10000);
	assert_int_equal(cleaned_end, 0x10080);
	dr_backend_drop(s.be, (const void *)0x20010, 0x20);
	assert_int_equal(dropped_first, 0x20000);
	assert_int_equal(dropped_end, 0x20040);
	device_close(dev);
	dr_cpu_set_ops(NULL);
	space_close(&s);
	space_close(&cacheless);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_identity_and_nothing_else),
		TEST(a_device_reaches_memory_by_address),
		TEST(an_untrusted_device_needs_an_iommu),
		TEST(a_device_said_not_to_snoop_gets_real_maintenance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-2-Clause
/* Bad options and devices: each has its errno and its words, and nothing is left behind. */
#include "rig.h"
#include "world.h"

#include "vfio_fake.h"

#include <errno.h>
#include <string.h>

#define DEF .size = sizeof(struct dray_domain_opts)
#define DEV .size = sizeof(struct dray_device_opts)

static void bad_domain_options(struct rig *rig)
{
	static const struct { struct dray_domain_opts opts; int err; } bad[] = {
		{ { DEF, .backend = 5 }, EINVAL },
		{ { DEF, .backend = ~0u }, EINVAL },
		{ { DEF, .type = 4 }, EINVAL },
		{ { DEF, .invalidation = 2 }, EINVAL },
		{ { DEF, .flags = 1u << 6 }, EINVAL },
		{ { DEF, .flags = 1u << 31 }, EINVAL },
		{ { DEF, .flags = DRAY_DOMAIN_ADOPT }, ENOTSUP },
		{ { DEF, .flags = DRAY_DOMAIN_NO_BOUNCE, .bounce_bytes = 4096 }, EINVAL },
		{ { DEF, .flags = DRAY_DOMAIN_NO_BOUNCE, .bounce_threshold = 1 }, EINVAL },
		{ { DEF, .backend = DRAY_BACKEND_IOMMUFD }, ENOTSUP },
		{ { DEF, .backend = DRAY_BACKEND_NOIOMMU }, ENOTSUP },
	};
	struct dray_domain *dom = NULL;
	long blocks;

	dray_domain_close(rig_domain(rig));
	blocks = world_blocks();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dray_domain_opts opts = bad[i].opts;

		if (!opts.backend)
			opts.backend = rig->backend;
		CHECK_ERR(dray_domain_open(&opts, &dom), bad[i].err);
		CHECK(!dom && strlen(dray_errmsg()) > 10);
	}
	CHECK_ERR(dray_domain_open(NULL, NULL), EINVAL);
	CHECK_INT(world_blocks(), blocks);
}

static void bad_device_options(struct rig *rig)
{
	static const struct { struct dray_device_opts opts; int err; } bad[] = {
		{ { DEV, .flags = 1u << 5 }, EINVAL },
		{ { DEV, .flags = 1u << 31 }, EINVAL },
		{ { DEV, .flags = DRAY_DEVICE_OPT_OUT }, ENOTSUP },
		{ { DEV, .flags = DRAY_DEVICE_ADOPT }, ENOTSUP },
		{ { DEV, .flags = DRAY_DEVICE_NOFD }, ENOTSUP },
		{ { DEV, .dma_mask = 0xfff0 }, EINVAL },
		{ { DEV, .dma_mask = 0x1000 }, EINVAL },
		{ { DEV, .segment_boundary_mask = 0x1000 }, EINVAL },
		{ { DEV, .min_align = 3 }, EINVAL },
	};
	struct dray_domain *dom = rig_domain(rig);
	struct rig_state was = rig_state(dom);
	struct dray_device *dev = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(dray_device_open(dom, rig->device, &bad[i].opts, &dev), bad[i].err);
		CHECK(!dev && strlen(dray_errmsg()) > 10);
	}
	CHECK_ERR(dray_device_open(NULL, rig->device, NULL, &dev), EINVAL);
	CHECK_ERR(dray_device_open(dom, NULL, NULL, &dev), EINVAL);
	CHECK_ERR(dray_device_open(dom, rig->device, NULL, NULL), EINVAL);
	CHECK_SAME(dom, &was);
	dray_domain_close(dom);
}

/* Well-formed and not there; no name of a device at all; of the other backend; too long. */
static void devices_that_do_not_exist(struct rig *rig)
{
	char endless[300];
	const char *names[] = {
		rig_is_sim(rig) ? "sim63999" : "0000:ff:1f.7", endless,
	};
	const char *malformed[] = {
		"", "nonsense", rig_is_sim(rig) ? "0000:00:03.0" : "sim0", "0000:00:03", "sim",
		"../../../etc/passwd", "0000:00:03.0 ",
	};
	struct dray_domain *dom = rig_domain(rig);
	struct rig_state was = rig_state(dom);
	struct dray_device *dev = NULL;

	memset(endless, 'a', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK_ERR(dray_device_open(dom, names[i], NULL, &dev), ENODEV);
		CHECK(!dev);
	}
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		CHECK_ERR(dray_device_open(dom, malformed[i], NULL, &dev), ENODEV);
		CHECK(!dev && strlen(dray_errmsg()) > 10);
	}
	CHECK_SAME(dom, &was);
	dray_domain_close(dom);
}

/* Bound to another driver: named, with the commands that mend it. On type1 by the scripted kernel. */
static void device_of_another_driver(struct rig *rig)
{
	struct dray_domain *dom;
	struct dray_device *dev = NULL;

	if (rig_is_sim(rig)) {
		/* sim devices have no drivers; the one that a test made foreign is named. */
		dom = rig_domain(rig);
		CHECK_ERR(dray_device_open(dom, "sim64", NULL, &dev), ENODEV);
		CHECK_WORDS("sim64", "sim63");
		dray_domain_close(dom);
		return;
	}
	vfio_fake_start();
	vfio_fake_add_device("0000:09:00.0", 9, "nvme");
	vfio_fake_add_device("0000:0a:00.0", 10, NULL);
	dom = rig_domain(rig);
	CHECK_ERR(dray_device_open(dom, "0000:09:00.0", NULL, &dev), ENODEV);
	CHECK_WORDS("nvme", "vfio-pci", "unbind", "driver_override");
	CHECK_ERR(dray_device_open(dom, "0000:0a:00.0", NULL, &dev), ENODEV);
	CHECK_WORDS("vfio-pci", "drivers_probe");
	CHECK(!dev);
	CHECK_INT(vfio_fake_fds_open(), 1);
	dray_domain_close(dom);
	CHECK_INT(vfio_fake_fds_open(), 0);
	vfio_fake_stop();
}

const struct contract_case badinput_cases[] = {
	{ "bad_domain_options", "D10", bad_domain_options },
	{ "bad_device_options", "D10", bad_device_options },
	{ "devices_that_do_not_exist", "D22", devices_that_do_not_exist },
	{ "device_of_another_driver", "D22", device_of_another_driver },
	{ NULL },
};

// SPDX-License-Identifier: BSD-2-Clause
/* IOMMU groups: devices that the hardware cannot tell apart are in one domain or in none. */
#include "actor.h"
#include "backend/sim/sim.h"

#include "vfio_fake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Members share a domain; in which order they come and go does not matter. */
static void members_share_a_domain(struct rig *rig)
{
	const char *names[] = { rig->group_a, rig->group_b };
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m;

	for (int first = 0; first < 2; first++) {
		struct dray_device *dev = rig_device(rig, dom, names[first]);
		struct dray_device *dev2 = rig_device(rig, dom, names[!first]);
		struct actor *a = actor_open(rig, dev), *a2 = actor_open(rig, dev2);

		CHECK_INT(rig_info(dom).devices, 2);
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_READS(a, m.iova, mem, 64);
		CHECK_WRITES(a2, m.iova, mem, 64);
		/* The first one goes, the second one works on, and the other way round. */
		actor_close(first ? a2 : a);
		dray_device_close(first ? dev2 : dev);
		if (first) {
			CHECK_READS(a, m.iova, mem, 64);
			dray_unmap(dev, &m);
		} else {
			CHECK_OK(dray_map(dev2, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
			CHECK_READS(a2, m.iova, mem + PAGE, 64);
			dray_unmap(dev2, &m);
		}
		actor_close(first ? a : a2);
		dray_device_close(first ? dev : dev2);
	}
	CHECK_INT(rig_stats(dom).leaks, 1);
	dray_domain_close(dom);
}

/* A member in another domain, of whatever type: busy, and nothing changes. */
static void members_in_two_domains(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig), *other = rig_domain(rig);
	struct dray_domain *blocked = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	struct dray_device *dev = rig_device(rig, dom, rig->group_a), *dev2 = NULL;
	struct rig_state was = rig_state(dom), was_other = rig_state(other);

	CHECK_ERR(dray_device_open(other, rig->group_b, &opts, &dev2), EBUSY);
	CHECK_WORDS("domain");
	CHECK_ERR(dray_device_open(blocked, rig->group_b, &opts, &dev2), EBUSY);
	CHECK(!dev2);
	CHECK_SAME(dom, &was);
	CHECK_SAME(other, &was_other);
	dray_device_close(dev);
	/* The group is free as a whole now. */
	CHECK_OK(dray_device_open(other, rig->group_b, &opts, &dev2));
	CHECK_ERR(dray_device_open(dom, rig->group_a, &opts, &dev), EBUSY);
	dray_device_close(dev2);
	dray_domain_close(blocked);
	dray_domain_close(other);
	dray_domain_close(dom);
}

/* Together or not at all: one of two open members cannot be moved alone. */
static void members_move_together(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig), *other = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, rig->group_a);
	struct dray_device *dev2 = rig_device(rig, dom, rig->group_b);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;
	struct rig_state was;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	/* What remembers that a device tried stays with the device: a second try adds nothing. */
	CHECK(dray_device_set_domain(dev, other) && dray_device_set_domain(dev2, other));
	was = rig_state(dom);
	CHECK_ERR(dray_device_set_domain(dev, other), rig_is_sim(rig) ? EBUSY : ENOTSUP);
	CHECK_ERR(dray_device_set_domain(dev2, other), rig_is_sim(rig) ? EBUSY : ENOTSUP);
	CHECK_SAME(dom, &was);
	CHECK(dray_device_get_domain(dev) == dom && dray_device_get_domain(dev2) == dom);
	CHECK_INT(rig_info(other).devices, 0);
	CHECK_READS(a, m.iova, mem, 64);
	dray_device_close(dev2);
	/* Alone it moves, where the backend moves devices at all. */
	if (rig_is_sim(rig)) {
		CHECK_OK(dray_device_set_domain(dev, other));
		CHECK_BLOCKED(a, m.iova, mem, 64);
		CHECK_OK(dray_device_set_domain(dev, dom));
	}
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(other);
	dray_domain_close(dom);
}

/* The kernel's driver of a device in this machine's sysfs. */
static void read_driver(const char *name, char *ret_driver, size_t size)
{
	char path[256], target[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", name);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	snprintf(ret_driver, size, "%s", strrchr(target, '/') ? strrchr(target, '/') + 1 : "");
}

static void check_not_viable(struct rig *rig, const char *name, const char *foreign,
			     const char *driver)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig);
	struct rig_state was = rig_state(dom);
	struct dray_device *dev = NULL;

	CHECK_ERR(dray_device_open(dom, name, &opts, &dev), EBUSY);
	CHECK_WORDS("not viable", foreign, driver);
	CHECK(!dev);
	CHECK_SAME(dom, &was);
	/* The foreign member itself is no device of ours at all. */
	CHECK_ERR(dray_device_open(dom, foreign, &opts, &dev), ENODEV);
	CHECK_WORDS(driver);
	CHECK_SAME(dom, &was);
	dray_domain_close(dom);
}

/*
 * A member that the kernel drives makes the group unusable, and is named. The virtual machine has
 * such a group when it is started with --group-b uio; elsewhere type1 meets the scripted kernel.
 */
static void group_that_is_not_viable(struct rig *rig)
{
	char driver[64];

	if (rig_is_sim(rig)) {
		dr_sim_set_foreign(0, 1, "e1000");
		check_not_viable(rig, rig->group_a, rig->group_b, "e1000");
		dr_sim_set_foreign(0, 1, NULL);
		return;
	}
	read_driver(rig->group_b, driver, sizeof(driver));
	rig_warm(rig);
	if (strcmp(driver, "vfio-pci")) {
		check_not_viable(rig, rig->group_a, rig->group_b, driver);
		return;
	}
	vfio_fake_start();
	vfio_fake_add_device("0000:09:00.0", 9, "vfio-pci");
	vfio_fake_add_device("0000:09:00.1", 9, "e1000");
	check_not_viable(rig, "0000:09:00.0", "0000:09:00.1", "e1000");
	CHECK_INT(vfio_fake_fds_open(), 0);
	vfio_fake_stop();
}

const struct contract_case group_cases[] = {
	{ "members_share_a_domain", "D16", members_share_a_domain },
	{ "members_in_two_domains", "D16", members_in_two_domains },
	{ "members_move_together", "D16", members_move_together },
	{ "group_that_is_not_viable", "D16", group_that_is_not_viable },
	{ NULL },
};

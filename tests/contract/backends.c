// SPDX-License-Identifier: BSD-2-Clause
/* Several backends in one process, and machines on which one of them is not to be had. */
#include "actor.h"
#include "world.h"

#include "vfio_fake.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * The software IOMMU and VFIO at once, each with a device, mapping the same memory. On the machine
 * that runs the suite on sim there is no VFIO: there the scripted kernel is the other one.
 */
static void two_backends_at_once(struct rig *rig)
{
	struct rig other = { .backend = DRAY_BACKEND_SIM, .device = "sim7" };
	struct dray_domain *dom, *dom2;
	struct dray_device *dev, *dev2;
	char *mem = rig_pages(PAGE);
	struct dray_mapping m, m2;
	struct actor *a;

	if (rig_is_sim(rig)) {
		vfio_fake_start();
		vfio_fake_add_device("0000:09:00.0", 9, "vfio-pci");
		other.backend = DRAY_BACKEND_TYPE1;
		other.device = "0000:09:00.0";
	}
	dom = rig_domain(rig);
	dom2 = rig_domain(&other);
	CHECK_INT(rig_info(dom).backend, rig->backend);
	CHECK_INT(rig_info(dom2).backend, other.backend);
	dev = rig_device(rig, dom, NULL);
	dev2 = rig_device(&other, dom2, NULL);
	a = actor_open(rig, dev);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_map_fixed(dev2, m.iova, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m2));
	CHECK_READS(a, m.iova, mem, 64);
	if (rig_is_sim(rig)) {
		CHECK(vfio_fake_is_mapped(other.device, m2.iova, PAGE, mem));
		CHECK(vfio_fake_mappings() == 1);
	} else {
		char got[64];

		CHECK_OK(dray_sim_read(dev2, m2.iova, got, 64));
		/* What only the software IOMMU's devices can do is refused for the others. */
		CHECK_ERR(dray_sim_read(dev, m.iova, got, 64), ENOTSUP);
	}
	/* One goes, the other stays. */
	dray_unmap(dev2, &m2);
	dray_device_close(dev2);
	dray_domain_close(dom2);
	CHECK_READS(a, m.iova, mem, 64);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
	if (rig_is_sim(rig)) {
		CHECK_INT(vfio_fake_fds_open(), 0);
		vfio_fake_stop();
	}
}

static int open_type1(void)
{
	struct dray_domain_opts opts = {
		.size = sizeof(opts), .backend = DRAY_BACKEND_TYPE1,
	};
	struct dray_domain *dom = NULL;
	int err = dray_domain_open(&opts, &dom);

	if (err)
		CHECK(!dom);
	else
		dray_domain_close(dom);
	return err;
}

/*
 * No VFIO, no right to it, no IOMMU: open says at once which, and how to mend it. Nothing is kept
 * from such an answer: the software IOMMU works in the same process, and VFIO once it is there.
 */
static void no_usable_iommu(struct rig *rig)
{
	char dir[] = "/tmp/contract-XXXXXX";
	struct dray_domain *sim, *dom;
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };

	CHECK(mkdtemp(dir));
	world_set_roots(dir, dir);
	CHECK_ERR(open_type1(), ENODEV);
	CHECK_WORDS("modprobe");
	world_set_roots(NULL, NULL);
	world_fail_nth(WORLD_OPEN, 1, EACCES);
	CHECK_ERR(open_type1(), EPERM);
	CHECK_WORDS("/dev/vfio/vfio");
	world_fail_nth(WORLD_OPEN, 1, EMFILE);
	CHECK_ERR(open_type1(), ENOMEM);
	CHECK_WORDS("ulimit -n");

	/* A machine with VFIO whose IOMMU is off. */
	vfio_fake_start();
	vfio_fake_add_device("0000:09:00.0", 9, "vfio-pci");
	vfio_fake_set_no_iommu();
	CHECK_ERR(open_type1(), ENODEV);
	CHECK_WORDS("IOMMU", "intel_iommu=on");
	CHECK_INT(vfio_fake_fds_open(), 0);
	vfio_fake_stop();
	world_start();

	CHECK_OK(dray_domain_open(&opts, &sim));
	dray_domain_close(sim);
	dom = rig_domain(rig);
	dray_device_close(rig_device(rig, dom, NULL));
	dray_domain_close(dom);
	CHECK(!rmdir(dir));
}

/* AUTO is a real one or none: never the software IOMMU behind one's back. */
static void auto_is_never_sim(struct rig *rig)
{
	struct dray_domain_opts opts = { .size = sizeof(opts) };
	struct dray_domain *dom = NULL;
	int err = dray_domain_open(&opts, &dom);

	if (rig_is_sim(rig) && err) {
		CHECK_ERR(err, ENODEV);
		CHECK(!dom);
		CHECK_ERR(dray_domain_open(NULL, &dom), ENODEV);
		return;
	}
	CHECK_OK(err);
	CHECK_INT(rig_info(dom).backend, DRAY_BACKEND_TYPE1);
	dray_domain_close(dom);
	CHECK_OK(dray_domain_open(NULL, &dom));
	dray_domain_close(dom);
}

const struct contract_case backend_cases[] = {
	{ "two_backends_at_once", "D11", two_backends_at_once },
	{ "no_usable_iommu", "D22", no_usable_iommu },
	{ "auto_is_never_sim", "D22 D03", auto_is_never_sim },
	{ NULL },
};

// SPDX-License-Identifier: BSD-2-Clause
/* Refused accesses: reported, bounded, and nobody else's trouble; what VFIO cannot see it says. */
#include "actor.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define AT UINT64_C(0x3c00000)

/* Device, address, direction, reason and level of each. */
static void faults_are_reported(struct rig *rig)
{
	static const struct { dray_iova_t iova; uint32_t access, reason, level; } want[] = {
		{ AT + 0x2010, DRAY_SIM_READ, DRAY_SIM_FAULT_NOT_PRESENT, 1 },
		{ AT + 0x10, DRAY_SIM_WRITE, DRAY_SIM_FAULT_PERMISSION, 1 },
		{ AT + 0x1020, DRAY_SIM_READ, DRAY_SIM_FAULT_PERMISSION, 1 },
		{ AT + LARGE, DRAY_SIM_WRITE, DRAY_SIM_FAULT_NOT_PRESENT, 2 },
		{ UINT64_C(1) << 46, DRAY_SIM_READ, DRAY_SIM_FAULT_NOT_PRESENT, 4 },
		{ UINT64_C(1) << 48, DRAY_SIM_READ, DRAY_SIM_FAULT_APERTURE, 0 },
	};
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_device *dev2 = rig_device(rig, dom, rig->device2);
	char *mem = rig_pages(2 * PAGE), buf[8];
	struct dray_sim_fault f[8];

	CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, AT + PAGE, mem + PAGE, PAGE, DRAY_PROT_WRITE, 0));
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_sim_faults(dev, f, 8), ENOTSUP);
		CHECK_WORDS("type1");
		CHECK_ERR(dray_sim_read(dev, AT, buf, 8), ENOTSUP);
		CHECK_ERR(dray_sim_write(dev, AT, buf, 8), ENOTSUP);
		CHECK_ERR(dray_sim_set_cost(dom, 0, 0, 0), ENOTSUP);
	} else {
		for (int i = 0; i < 6; i++) {
			int err = want[i].access == DRAY_SIM_READ ?
				dray_sim_read(dev, want[i].iova, buf, 8) :
				dray_sim_write(dev, want[i].iova, buf, 8);

			CHECK_ERR(err, EFAULT);
		}
		/* Oldest first, as many as asked for; another device has none of them. */
		CHECK_INT(dray_sim_faults(dev2, f, 8), 0);
		CHECK_INT(dray_sim_faults(dev, f, 2), 2);
		CHECK_INT(dray_sim_faults(dev, f + 2, 6), 4);
		for (int i = 0; i < 6; i++) {
			CHECK_INT(f[i].iova, want[i].iova);
			CHECK_INT(f[i].access, want[i].access);
			CHECK_INT(f[i].reason, want[i].reason);
			CHECK_INT(f[i].level, want[i].level);
		}
		CHECK_INT(dray_sim_faults(dev, f, 8), 0);
		CHECK_ERR(dray_sim_faults(dev, NULL, 1), EINVAL);
		CHECK_ERR(dray_sim_faults(NULL, f, 1), EINVAL);
		CHECK_INT(dray_sim_fault_overflow(dev), 0);
	}
	dray_device_close(dev2);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* An access that crosses into a hole: what came before it has moved, the fault names the hole. */
static void fault_in_the_middle(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(2 * PAGE), buf[PAGE] = { 0 };
	struct dray_sim_fault f;
	struct actor *a = actor_open(rig, dev);
	struct dray_mapping m;

	CHECK_OK(dray_map_fixed(dev, AT, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	if (rig_is_sim(rig)) {
		CHECK_ERR(dray_sim_read(dev, AT + PAGE - 64, buf, 128), EFAULT);
		CHECK(!memcmp(buf, mem + PAGE - 64, 64) && !buf[64]);
		CHECK_INT(dray_sim_faults(dev, &f, 1), 1);
		CHECK_INT(f.iova, AT + PAGE);
	} else {
		CHECK_READS(a, AT + PAGE - 64, mem + PAGE - 64, 64);
		CHECK_BLOCKED(a, AT + PAGE, mem + PAGE, 64);
	}
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The record is bounded; what does not fit is counted, not kept. */
static void fault_record_is_bounded(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_sim_fault f[64];
	char buf[8];
	int kept = 0, n;

	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_sim_faults(dev, f, 64), ENOTSUP);
		CHECK_INT(dray_sim_fault_overflow(dev), 0);
	} else {
		for (unsigned i = 0; i < 1000; i++)
			CHECK_ERR(dray_sim_read(dev, AT + i * PAGE, buf, 8), EFAULT);
		while ((n = dray_sim_faults(dev, f, 64)) > 0) {
			/* The oldest are the ones kept. */
			for (int i = 0; i < n; i++)
				CHECK_INT(f[i].iova, AT + (unsigned)(kept + i) * PAGE);
			kept += n;
		}
		CHECK_INT(n, 0);
		CHECK(kept > 0 && kept < 1000);
		CHECK_INT(dray_sim_fault_overflow(dev), 1000 - kept);
		/* There is room again. */
		CHECK_ERR(dray_sim_read(dev, AT, buf, 8), EFAULT);
		CHECK_INT(dray_sim_faults(dev, f, 64), 1);
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

struct storm {
	struct dray_device *dev;
	atomic_bool stop;
	atomic_ulong refused;
};

static void *fault_all_the_time(void *arg)
{
	struct storm *s = arg;
	char buf[8];

	while (!atomic_load(&s->stop)) {
		CHECK(dray_sim_write(s->dev, AT, buf, 8) == -EFAULT);
		atomic_fetch_add(&s->refused, 1);
	}
	return NULL;
}

/* A device that faults without end stalls no other one, nor maps and unmaps. */
static void faults_stall_nobody(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct storm s = { .dev = rig_device(rig, dom, rig->device2) };
	struct actor *a = actor_open(rig, dev), *a2 = NULL;
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m;
	pthread_t thread;

	if (rig_is_sim(rig))
		CHECK(!pthread_create(&thread, NULL, fault_all_the_time, &s));
	else
		a2 = actor_open(rig, s.dev);
	for (int i = 0; i < (rig_is_sim(rig) ? 500 : 2); i++) {
		if (a2)
			CHECK_NO_WRITE(a2, AT, mem + PAGE, 64);
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_READS(a, m.iova, mem, 64);
		dray_unmap(dev, &m);
	}
	if (rig_is_sim(rig)) {
		while (!atomic_load(&s.refused))
			;
		atomic_store(&s.stop, true);
		CHECK(!pthread_join(thread, NULL));
	} else {
		actor_close(a2);
	}
	actor_close(a);
	dray_device_close(s.dev);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case fault_cases[] = {
	{ "faults_are_reported", "H10", faults_are_reported },
	{ "fault_in_the_middle", "H10", fault_in_the_middle },
	{ "fault_record_is_bounded", "H10", fault_record_is_bounded },
	{ "faults_stall_nobody", "H10", faults_stall_nobody },
	{ NULL },
};

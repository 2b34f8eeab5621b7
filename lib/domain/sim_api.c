// SPDX-License-Identifier: BSD-2-Clause
/* dray/sim.h: the public calls on the software IOMMU, from devices and domains to its own. */
#include "domain/domain.h"
#include "backend/sim/sim.h"
#include "base/err.h"
#include "base/structs.h"

#include <dray/sim.h>

#include <errno.h>

/* The software IOMMU's side of a device. */
static int sim_device(const struct dray_device *dev, struct dr_backend_device **ret_bd)
{
	struct dray_domain *dom = dray_device_get_domain(dev);

	if (!dom)
		return dr_fail(EINVAL, "device is NULL or closed; open one first");
	if (dom->io.ops != &dr_sim_ops)
		return dr_fail(ENOTSUP, "device %s is on %s; only devices of the software IOMMU can "
			       "be played", dev->name, dom->io.ops->name);
	*ret_bd = dev->bd;
	return 0;
}

/* The same, with a buffer of the caller's. */
static int sim_device_and(const struct dray_device *dev, const void *buf, size_t len,
			  struct dr_backend_device **ret_bd)
{
	int err = sim_device(dev, ret_bd);

	if (!err && !buf && len)
		err = dr_fail(EINVAL, "buffer is NULL and its length %zu", len);
	return err;
}

static int check_domain(const struct dray_domain *dom)
{
	int err = dr_domain_check(dom);

	if (!err && dom->io.ops != &dr_sim_ops)
		err = dr_fail(ENOTSUP, "the domain is on %s; this is for the software IOMMU",
			      dom->io.ops->name);
	return err;
}

int dray_sim_read(struct dray_device *dev, dray_iova_t iova, void *buf, size_t len)
{
	struct dr_backend_device *bd = NULL;
	int err = sim_device_and(dev, buf, len, &bd);

	return err ? err : dr_sim_dma_read(bd, iova, buf, len);
}

int dray_sim_write(struct dray_device *dev, dray_iova_t iova, const void *buf, size_t len)
{
	struct dr_backend_device *bd = NULL;
	int err = sim_device_and(dev, buf, len, &bd);

	return err ? err : dr_sim_dma_write(bd, iova, buf, len);
}

int dray_sim_faults(struct dray_device *dev, struct dray_sim_fault *out, unsigned n)
{
	struct dr_backend_device *bd = NULL;
	int err = sim_device_and(dev, out, n, &bd);

	return err ? err : (int)dr_sim_take_faults(bd, out, n);
}

uint64_t dray_sim_fault_overflow(struct dray_device *dev)
{
	struct dr_backend_device *bd = NULL;

	return sim_device(dev, &bd) ? 0 : dr_sim_fault_overflow(bd);
}

int dray_sim_set_cost(struct dray_domain *dom, uint32_t invalidate_ns, uint32_t pin_ns_per_page,
		      uint32_t flags)
{
	int err = check_domain(dom);

	if (err)
		return err;
	if (flags & ~DRAY_SIM_NOCHECK)
		return dr_fail(EINVAL, "cost flags 0x%x are unknown; use DRAY_SIM_NOCHECK", flags);
	pthread_mutex_lock(&dom->attach_lock);
	dr_sim_set_cost(dom->io.be, invalidate_ns, pin_ns_per_page, flags);
	dr_domain_costs_changed_locked(dom);
	pthread_mutex_unlock(&dom->attach_lock);
	return 0;
}

int dray_sim_walk(struct dray_domain *dom, dray_iova_t iova, struct dray_sim_walk *inout)
{
	struct dray_sim_walk out = { 0 };
	struct dr_pt_walk walk;
	int err = check_domain(dom);

	if (err)
		return err;
	if (iova >> DR_PT_ADDR_BITS)
		return dr_fail(ERANGE, "the tables translate %u bits", DR_PT_ADDR_BITS);
	dr_sim_walk(dom->io.be, iova, &walk);
	out.levels = walk.levels;
	out.page_shift = walk.page_shift;
	for (unsigned i = 0; i < walk.levels; i++)
		out.entry[i] = walk.entry[i];
	return dr_struct_out(inout, &out, sizeof(out));
}

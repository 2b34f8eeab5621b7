// SPDX-License-Identifier: BSD-2-Clause
/* A device of the software IOMMU. Its refusals are told, so they are checked too. */
#include "actor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim_actor {
	struct actor base;
	int last; /* what the last access returned */
};

static struct sim_actor *sim_of(struct actor *a)
{
	return (struct sim_actor *)a;
}

static void sim_read(struct actor *a, dray_iova_t iova, void *buf, size_t len)
{
	memset(buf, 0, len);
	sim_of(a)->last = dray_sim_read(a->dev, iova, buf, len);
}

static void sim_write(struct actor *a, dray_iova_t iova, const void *buf, size_t len)
{
	sim_of(a)->last = dray_sim_write(a->dev, iova, buf, len);
}

static void sim_check_refused(struct actor *a, dray_iova_t iova, uint32_t access)
{
	struct dray_sim_fault f[2];

	CHECK_INT(sim_of(a)->last, -EFAULT);
	CHECK_INT(dray_sim_faults(a->dev, f, 2), 1);
	CHECK_INT(f[0].iova, iova);
	CHECK_INT(f[0].access, access);
	CHECK(f[0].reason);
}

static void sim_close(struct actor *a)
{
	struct dray_sim_fault f;

	/* Every fault was expected and taken. */
	CHECK_INT(dray_sim_faults(a->dev, &f, 1), 0);
	free(a);
}

static const struct actor_ops ops = {
	.read = sim_read,
	.write = sim_write,
	.check_refused = sim_check_refused,
	.close = sim_close,
};

struct actor *actor_open_sim(struct dray_device *dev)
{
	struct sim_actor *a = calloc(1, sizeof(*a));

	CHECK(a);
	a->base.ops = &ops;
	a->base.dev = dev;
	return &a->base;
}

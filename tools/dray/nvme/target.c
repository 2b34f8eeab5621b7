// SPDX-License-Identifier: BSD-2-Clause
/*
 * A stack that is built from below and taken down from above: domain, device, registers (a model's
 * or a BAR), driver. Only the registers' origin differs between hardware and model; driver and
 * commands never ask. The log of the domain goes to stderr, so that what the library has to say
 * about a refused unmap or a leak is seen.
 *
 * At the end the books are balanced while the domain still answers: as many unmaps as maps, no
 * leak, no refused unmap. A command that moved every byte and left one buffer mapped has failed.
 */
#include "nvme/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "base/err.h"
#include "nvme/vector.h"

/* As many fault records as are taken at once. */
#define FAULTS 16

static void show(void *ctx, int level, const char *msg)
{
	(void)ctx;
	if (level <= LOG_WARNING)
		fprintf(stderr, "dray: %s\n", msg);
}

static const char *backend_name(uint32_t kind)
{
	switch (kind) {
	case DRAY_BACKEND_TYPE1:
		return "vfio-type1";
	case DRAY_BACKEND_IOMMUFD:
		return "iommufd";
	case DRAY_BACKEND_NOIOMMU:
		return "noiommu";
	case DRAY_BACKEND_SIM:
		return "sim";
	default:
		return "unknown";
	}
}

static int open_device(struct nvme_target *t)
{
	const struct nvme_args *args = t->args;
	struct dray_domain_opts opts = {
		.size = sizeof(opts),
		.backend = args->image ? DRAY_BACKEND_SIM : DRAY_BACKEND_AUTO,
		.invalidation = args->lazy ? DRAY_LAZY : DRAY_STRICT,
		.log = show,
	};
	/* Without lists an odd buffer has to bounce to where PRP entries can begin. */
	struct dray_device_opts dev = {.size = sizeof(dev), .min_align = args->no_sgl ? 4 : 0};
	struct dray_domain_info info = {.size = sizeof(info)};
	int rc;

	rc = dray_domain_open(&opts, &t->dom);
	if (rc)
		return rc;
	rc = dray_device_open(t->dom, args->image ? "sim0" : args->device, &dev, &t->dev);
	if (rc)
		return rc;
	rc = dray_domain_info(t->dom, &info);
	if (rc)
		return rc;
	t->backend = backend_name(info.backend);
	t->mode = dray_domain_invalidation(t->dom);
	return 0;
}

static int open_model(struct nvme_target *t, uint64_t create_bytes, void **ret_bar, size_t *ret_len)
{
	const struct nvme_args *args = t->args;
	struct nvme_model_opts opts = {
		.image = args->image,
		.create_bytes = create_bytes,
		.block = args->block,
		.latency_us = args->latency_us,
		.reorder = !args->in_order,
		.seed = args->seed,
		.mdts = 0, /* the driver's own limit holds */
	};
	int rc = nvme_model_start(t->dev, &opts, &t->model);

	if (!rc)
		*ret_bar = nvme_model_bar(t->model, ret_len);
	return rc;
}

static int open_bar(struct nvme_target *t, void **ret_bar, size_t *ret_len)
{
	int fd = dray_device_fd(t->dev), rc;

	if (fd < 0)
		return fd;
	rc = nvme_vfio_bar_open(fd, t->args->device, &t->bar);
	*ret_bar = t->bar.bar;
	*ret_len = t->bar.len;
	return rc;
}

int nvme_target_open(const struct nvme_args *args, uint64_t create_bytes, struct nvme_target *t)
{
	struct nvme_opts opts = {
		.queues = args->queues,
		.depth = args->depth,
		.max_transfer = args->io_bytes,
		.timeout_ms = args->timeout_ms,
		.nsid = args->nsid,
		.iov = args->vectors ? NVME_VECTOR_MAX : 0,
		.no_sgl = args->no_sgl,
	};
	char why[512];
	size_t len;
	void *bar;
	int rc;

	memset(t, 0, sizeof(*t));
	t->args = args;
	rc = open_device(t);
	if (!rc)
		rc = args->image ? open_model(t, create_bytes, &bar, &len)
				 : open_bar(t, &bar, &len);
	if (!rc)
		rc = nvme_open(t->dev, bar, len, &opts, &t->ctrl);
	if (!rc && args->strain)
		rc = nvme_strain_start(t->dev, args->seed, &t->strain);
	if (rc) {
		/* The first failure is the one to tell. */
		snprintf(why, sizeof(why), "%s", dray_errmsg());
		nvme_target_close(t);
		return dr_fail(-rc, "%s", why);
	}
	return 0;
}

static void take_faults(struct nvme_target *t)
{
	struct dray_sim_fault got[FAULTS];
	int n;

	while ((n = dray_sim_faults(t->dev, got, FAULTS)) > 0) {
		if (!t->faults)
			t->first_fault = got[0];
		t->faults += (uint64_t)n;
	}
	t->faults += dray_sim_fault_overflow(t->dev);
}

static void take_ways(struct nvme_target *t)
{
	unsigned queues = nvme_get_info(t->ctrl)->queues;

	for (unsigned i = 0; i < queues; i++) {
		struct nvme_ways w = nvme_queue_ways(nvme_get_queue(t->ctrl, i));

		t->ways.prp += w.prp;
		t->ways.sgl += w.sgl;
		t->ways.copied += w.copied;
		t->ways.elements += w.elements;
	}
}

static int balance(struct nvme_target *t)
{
	int rc = dray_stats_get(t->dom, &t->stats);

	if (rc)
		return rc;
	if (t->stats.maps != t->stats.unmaps || t->stats.leaks || t->stats.unmap_errors)
		return dr_fail(EIO,
			       "%llu maps and %llu unmaps, %llu left to the device's closing, %llu "
			       "refused: a defect of the driver or of the library; report it",
			       (unsigned long long)t->stats.maps,
			       (unsigned long long)t->stats.unmaps,
			       (unsigned long long)t->stats.leaks,
			       (unsigned long long)t->stats.unmap_errors);
	return 0;
}

int nvme_target_close(struct nvme_target *t)
{
	int rc, bad = 0;

	rc = nvme_strain_stop(t->strain, &t->strain_maps);
	t->strain = NULL;
	if (t->ctrl)
		take_ways(t);
	nvme_close(t->ctrl);
	t->ctrl = NULL;
	if (t->model)
		take_faults(t);
	nvme_model_stop(t->model);
	t->model = NULL;
	nvme_vfio_bar_close(&t->bar);
	dray_device_close(t->dev);
	t->dev = NULL;
	if (t->dom) {
		t->stats.size = sizeof(t->stats);
		bad = rc ? 0 : balance(t);
	}
	dray_domain_close(t->dom);
	t->dom = NULL;
	return rc ? rc : bad;
}

// SPDX-License-Identifier: BSD-2-Clause
/*
 * The books of a target, for people and for programs. Times are those around dray_map() and
 * dray_unmap() of the data buffers, with the clock's own cost in them; maps and unmaps count the
 * queues' memory too. Faults are what the software IOMMU refused; a real IOMMU tells the kernel,
 * not this program.
 */
#include "nvme/report.h"

#include <stdio.h>

#include "cmd.h"

const char *nvme_report_mode(enum dray_invalidation mode)
{
	return mode == DRAY_LAZY ? "lazy" : "strict";
}

const char *nvme_report_device(const struct nvme_target *t)
{
	return t->args->device ? t->args->device : t->args->image;
}

/* The software IOMMU costs what its program costs: nothing is added to look like hardware. */
static const char *cost(const struct nvme_target *t)
{
	return t->args->device ? "real: whatever this machine takes"
			       : "modelled: 0 ns an invalidation, 0 ns a pinned page";
}

static void time_text(const char *label, const struct nvme_hist *h)
{
	printf("  %-18s mean %.0f ns, median %llu ns (%llu measured)\n", label, nvme_hist_mean(h),
	       (unsigned long long)nvme_hist_permille(h, 500), (unsigned long long)h->count);
}

void nvme_report_maps_text(const struct nvme_target *t, const struct nvme_hist *map_ns,
		      const struct nvme_hist *unmap_ns)
{
	const struct dray_stats *s = &t->stats;

	printf("  %-18s %llu\n", "maps", (unsigned long long)s->maps);
	printf("  %-18s %llu\n", "unmaps", (unsigned long long)s->unmaps);
	printf("  %-18s %llu (%llu map, %llu unmap)\n", "backend calls",
	       (unsigned long long)(s->backend_maps + s->backend_unmaps),
	       (unsigned long long)s->backend_maps, (unsigned long long)s->backend_unmaps);
	printf("  %-18s %llu\n", "bytes mapped", (unsigned long long)s->map_bytes);
	if (t->args->strain)
		printf("  %-18s %llu of these maps by the second thread\n", "strain",
		       (unsigned long long)t->strain_maps);
	time_text("time per map", map_ns);
	time_text("time per unmap", unmap_ns);
	printf("  %-18s %s\n", "cost of the IOMMU", cost(t));
	if (t->args->device)
		printf("  %-18s n/a (the kernel log has them)\n", "faults");
	else if (t->faults)
		printf("  %-18s %llu, the first at IOVA %#llx\n", "faults",
		       (unsigned long long)t->faults, (unsigned long long)t->first_fault.iova);
	else
		printf("  %-18s 0\n", "faults");
}

static struct json_object *time_json(const struct nvme_hist *h)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "count", json_object_new_uint64(h->count));
	json_object_object_add(o, "ns_mean", json_object_new_double(nvme_hist_mean(h)));
	json_object_object_add(o, "ns_median", json_object_new_uint64(nvme_hist_permille(h, 500)));
	return o;
}

void nvme_report_maps_json(struct json_object *o, const struct nvme_target *t,
		      const struct nvme_hist *map_ns, const struct nvme_hist *unmap_ns)
{
	const struct dray_stats *s = &t->stats;

	json_object_object_add(o, "maps", json_object_new_uint64(s->maps));
	json_object_object_add(o, "unmaps", json_object_new_uint64(s->unmaps));
	json_object_object_add(o, "backend_calls",
			       json_object_new_uint64(s->backend_maps + s->backend_unmaps));
	json_object_object_add(o, "backend_maps", json_object_new_uint64(s->backend_maps));
	json_object_object_add(o, "backend_unmaps", json_object_new_uint64(s->backend_unmaps));
	json_object_object_add(o, "invalidations", json_object_new_uint64(s->invalidations));
	json_object_object_add(o, "bytes_mapped", json_object_new_uint64(s->map_bytes));
	if (t->args->strain)
		json_object_object_add(o, "strain_maps", json_object_new_uint64(t->strain_maps));
	json_object_object_add(o, "map", time_json(map_ns));
	json_object_object_add(o, "unmap", time_json(unmap_ns));
	json_object_object_add(o, "cost_model", json_object_new_string(cost(t)));
	json_object_object_add(o, "faults",
			       t->args->device ? NULL : json_object_new_uint64(t->faults));
}

void nvme_report_ways_text(const struct nvme_target *t)
{
	const struct nvme_ways *w = &t->ways;

	printf("  %-18s seed %llu, %llu elements in %llu commands: %llu by PRP, %llu by SGL, %llu "
	       "copied\n",
	       "vectors", (unsigned long long)t->args->iov_seed, (unsigned long long)w->elements,
	       (unsigned long long)(w->prp + w->sgl + w->copied), (unsigned long long)w->prp,
	       (unsigned long long)w->sgl, (unsigned long long)w->copied);
}

void nvme_report_ways_json(struct json_object *o, const struct nvme_target *t)
{
	const struct nvme_ways *w = &t->ways;

	json_object_object_add(o, "iov_seed", json_object_new_uint64(t->args->iov_seed));
	json_object_object_add(o, "iov_elements", json_object_new_uint64(w->elements));
	json_object_object_add(o, "iov_prp", json_object_new_uint64(w->prp));
	json_object_object_add(o, "iov_sgl", json_object_new_uint64(w->sgl));
	json_object_object_add(o, "iov_copied", json_object_new_uint64(w->copied));
}

int nvme_report_json(const char *name, struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
	json_object_put(o);
	return nvme_report_end(name);
}

int nvme_report_end(const char *name)
{
	if (fflush(stdout) || ferror(stdout))
		return cmd_fail(name, "the output cannot be written; check the disk or the pipe");
	return CMD_GOOD;
}

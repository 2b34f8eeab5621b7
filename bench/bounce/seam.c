// SPDX-License-Identifier: BSD-2-Clause
#include "seam.h"

#include <stdlib.h>

#include "backend/sim/sim.h"
#include "bounce/bounce.h"

struct seam {
	struct dr_iospace io;
	struct dr_bounce *b;
};

static void need(int err)
{
	if (err)
		abort();
}

struct seam *seam_open(void)
{
	struct dr_bounce_opts opts = { 0 };
	struct dray_iova_opts space = { .size = sizeof(space) };
	struct seam *s = calloc(1, sizeof(*s));
	struct dr_backend_args args = { .type = DRAY_DOMAIN_PAGING };

	need(!s);
	args.log = &s->io.log;
	s->io.ops = &dr_sim_ops;
	need(dr_pgtable_open(DR_PT_PAGE_SIZES, &s->io.pt));
	args.pt = s->io.pt;
	need(dr_sim_ops.open(&args, &s->io.be));
	space.granule = s->io.be->limits.granule;
	space.last = (UINT64_C(1) << 39) - 1;
	need(dray_iova_space_open(&space, &s->io.space));
	s->io.granule_mask = space.granule - 1;
	s->io.last = space.last;
	dr_counters_ready(&s->io.counters);
	need(dr_bounce_open(&s->io, &opts, &s->b));
	return s;
}

void seam_close(struct seam *s)
{
	dr_bounce_close(s->b);
	dray_iova_space_close(s->io.space);
	dr_sim_ops.close(s->io.be);
	dr_pgtable_close(s->io.pt);
	dr_counters_close(&s->io.counters);
	free(s);
}

static struct dr_bounce_request request(char *buf, size_t len, bool out)
{
	return (struct dr_bounce_request){
		.va = buf, .len = len, .dir = out ? DRAY_BIDIRECTIONAL : DRAY_TO_DEVICE,
		.mask = UINT64_MAX, .trusted = true, .keep_offset = true,
	};
}

char *seam_slot(struct seam *s, char *buf, size_t len, bool out)
{
	struct dr_bounce_request q = request(buf, len, out);
	dray_iova_t iova;
	uint64_t handle;
	char *slot;

	need(dr_bounce_map(s->b, &q, &iova, &handle));
	slot = dr_pgtable_va(s->io.pt, iova);
	dr_bounce_unmap(s->b, handle, true);
	return slot;
}

void seam_pairs(struct seam *s, char *buf, size_t len, bool out, int n)
{
	struct dr_bounce_request q = request(buf, len, out);
	dray_iova_t iova;
	uint64_t handle;

	for (int i = 0; i < n; i++) {
		if (dr_bounce_map(s->b, &q, &iova, &handle))
			abort();
		dr_bounce_unmap(s->b, handle, true);
	}
}

// SPDX-License-Identifier: BSD-2-Clause
/* SGL: any list, any part of it, list pages of any size; built, walked, compared. */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/nvme_prp/check.h"
#include "shape.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shape s = {data, size};
	struct dray_sg sg[SHAPE_SEGS];
	struct check c = {.sg = sg};
	const char *bad;
	size_t total;

	c.scatter = (unsigned)shape_number(&s, 1);
	c.align = c.scatter & 1 ? 4 : 1;
	c.page = 16 * (2 + shape_number(&s, 1));
	c.nsegs = shape_list(&s, sg, &total);
	shape_part(&s, total, &c.off, &c.len);
	bad = check_sgl(&c);
	if (!bad)
		return 0;
	fprintf(stderr, "%u segments, %zu bytes from %zu, align %zu, list pages of %zu: %s\n",
		c.nsegs, c.len, c.off, c.align, c.page, bad);
	abort();
}

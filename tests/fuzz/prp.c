// SPDX-License-Identifier: BSD-2-Clause
/* PRP: any list, any part of it, any page size; built, walked as a controller does, compared. */
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
	c.page = (size_t)4096 << (c.scatter >> 2) % 5;
	c.nsegs = shape_list(&s, sg, &total);
	shape_part(&s, total, &c.off, &c.len);
	bad = check_prp(&c);
	if (!bad)
		return 0;
	fprintf(stderr, "%u segments, %zu bytes from %zu, pages of %zu: %s\n", c.nsegs, c.len,
		c.off, c.page, bad);
	abort();
}

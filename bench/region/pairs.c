// SPDX-License-Identifier: BSD-2-Clause
/*
 * region-pairs region|public N: opens, makes N pairs of a map and an unmap inside a region, closes.
 * No clock and no report, so that whoever counts its instructions sees the pairs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contenders.h"

int main(int argc, char **argv)
{
	struct pairs *p;
	uint64_t n;

	if (argc != 3 || (strcmp(argv[1], "region") && strcmp(argv[1], "public"))) {
		fprintf(stderr, "usage: region-pairs region|public N\n");
		return 2;
	}
	n = strtoull(argv[2], NULL, 10);
	p = pairs_open();
	if (argv[1][0] == 'r')
		pairs_counted(p, n);
	else
		pairs_public(p, n);
	pairs_close(p);
	return 0;
}

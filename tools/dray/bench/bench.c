// SPDX-License-Identifier: BSD-2-Clause
#include "bench/bench.h"
#include "cmd.h"

static const struct cmd benches[] = {
	{"iova", "IOVA allocators against each other", bench_iova},
	{"map", "map and unmap through a backend", bench_map},
	{"report", "one page of pictures and tables from what they printed", bench_report},
};

int cmd_bench(int argc, char **argv)
{
	return cmd_dispatch(benches, sizeof(benches) / sizeof(benches[0]),
			    "Measures. What is compared in one run is measured interleaved.", argc,
			    argv);
}

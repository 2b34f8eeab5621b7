// SPDX-License-Identifier: BSD-2-Clause
/* The dray program: one table of commands. */
#include <argp.h>
#include <stdio.h>

#include <dray/stats.h>

#include "cmd.h"

static const struct cmd commands[] = {
	{"bench", "measure: iova, map", cmd_bench},
	{"doctor", "can this machine do VFIO, and what mends it", cmd_doctor},
	{"nvme", "the userspace NVMe driver: identify, copy, verify, perf", cmd_nvme},
};

int main(int argc, char **argv)
{
	static char version[32], name[] = "dray";

	snprintf(version, sizeof(version), "dray %s", dray_version());
	argp_program_version = version;
	argp_err_exit_status = CMD_USAGE;
	if (argc < 1)
		return CMD_USAGE;
	argv[0] = name;
	return cmd_dispatch(commands, sizeof(commands) / sizeof(commands[0]),
			    "DMA mapping for userspace drivers: see it work, measure it.", argc,
			    argv);
}

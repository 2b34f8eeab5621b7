// SPDX-License-Identifier: BSD-2-Clause
/* `dray nvme`: the table of its commands. */
#include "cmd.h"
#include "nvme/cmds.h"

static const struct cmd commands[] = {
	{"identify", "what the controller is", cmd_nvme_identify},
	{"copy", "write a file onto the namespace, read it back, compare", cmd_nvme_copy},
	{"verify", "read a file back from the namespace and compare", cmd_nvme_verify},
	{"perf", "random or sequential reads or writes: rates and latencies", cmd_nvme_perf},
};

int cmd_nvme(int argc, char **argv)
{
	return cmd_dispatch(commands, sizeof(commands) / sizeof(commands[0]),
			    "A polled userspace NVMe driver that maps every buffer with dray: on a "
			    "real controller bound to vfio-pci (--device), or on a model of one on "
			    "the software IOMMU (--sim).",
			    argc, argv);
}

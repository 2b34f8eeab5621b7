/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands below `dray nvme`. */
#ifndef NVME_CMDS_H
#define NVME_CMDS_H

int cmd_nvme_identify(int argc, char **argv);
int cmd_nvme_copy(int argc, char **argv);
int cmd_nvme_verify(int argc, char **argv);
int cmd_nvme_perf(int argc, char **argv);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* `dray bench`: one function for each of its commands, as struct cmd has them. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

int bench_iova(int argc, char **argv);
int bench_map(int argc, char **argv);
int bench_report(int argc, char **argv);

#endif

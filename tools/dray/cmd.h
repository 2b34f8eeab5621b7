/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands of the dray program: tables of names, and how a command ends. */
#ifndef DRAY_TOOL_CMD_H
#define DRAY_TOOL_CMD_H

#include <stddef.h>

/* Exit codes of every command. */
#define CMD_GOOD   0
#define CMD_FAILED 1
#define CMD_USAGE  2

struct cmd {
	const char *name;
	const char *help; /* one line */
	/* argv[0] is the whole name, such as "dray nvme copy". Returns an exit code. */
	int (*run)(int argc, char **argv);
};

/*
 * Run the command of @table (@n entries) that the first argument names. @doc: what the commands
 * have in common, for --help. Misuse ends the program with CMD_USAGE.
 */
int cmd_dispatch(const struct cmd *table, size_t n, const char *doc, int argc, char **argv);

/* The command failed: its name and the sentence, on one line of stderr. Returns CMD_FAILED. */
int cmd_fail(const char *name, const char *sentence);

/* The commands that are tables or programs of their own. */
int cmd_bench(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_nvme(int argc, char **argv);

#endif

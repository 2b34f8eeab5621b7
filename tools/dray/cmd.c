// SPDX-License-Identifier: BSD-2-Clause
/*
 * A command line is a path through tables: `dray nvme copy …` is the entry "nvme" of the program's
 * table and the entry "copy" of that one's. At each step glibc's argp takes --help, --usage and
 * --version, stops at the first word, and the rest belongs to the command that the word names. The
 * words so far become argv[0], so that every message begins with the command that it is about.
 */
#define _GNU_SOURCE /* asprintf */
#include "cmd.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dispatch {
	const struct cmd *table, *found;
	size_t n;
	int at; /* index of the word that named it */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct dispatch *d = state->input;

	if (key == ARGP_KEY_NO_ARGS)
		argp_error(state, "no command was given; choose one that --help lists");
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(arg, d->table[i].name) == 0)
			d->found = &d->table[i];
	if (!d->found)
		argp_error(state, "there is no command '%s'; choose one that --help lists", arg);
	d->at = state->next - 1;
	/* The rest is the command's. */
	state->next = state->argc;
	return 0;
}

/* @doc, then a line for each command. */
static char *describe(const struct cmd *table, size_t n, const char *doc)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "%s\vCommands:\n", doc);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "  %-10s %s\n", table[i].name, table[i].help);
	fprintf(f, "\nCOMMAND --help tells what each takes. Exit status: 0 good, 1 failed, 2 bad "
		   "arguments.");
	return fclose(f) ? NULL : text;
}

int cmd_dispatch(const struct cmd *table, size_t n, const char *doc, int argc, char **argv)
{
	struct dispatch d = {.table = table, .n = n};
	struct argp argp = {.parser = parse, .args_doc = "COMMAND [OPTION...]"};
	char *text = describe(table, n, doc), *name = NULL;
	int rc;

	argp.doc = text;
	rc = argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &d);
	if (rc || asprintf(&name, "%s %s", argv[0], d.found->name) < 0) {
		free(text);
		return cmd_fail(argv[0], "no memory to read the command line; free some");
	}
	argv[d.at] = name;
	rc = d.found->run(argc - d.at, argv + d.at);
	free(name);
	free(text);
	return rc;
}

int cmd_fail(const char *name, const char *sentence)
{
	fprintf(stderr, "%s: %s\n", name, sentence);
	return CMD_FAILED;
}

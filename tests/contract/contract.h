/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The contract suite: what a case is, and how it fails.
 *
 * One set of cases says what dray promises whatever translates. Each case runs in a process of its
 * own, so that a crash or a hang is that case's failure and no other's; it gets a rig (rig.h) that
 * says on which backend and devices, and looks at the outcome as a device does (actor.h). A case
 * ends by returning, with everything closed; the first CHECK that does not hold ends it earlier.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rig;

struct contract_case {
	const char *name; /* NULL ends a list */
	const char *rows; /* rows of the feature table it shows, "-" for none */
	void (*run)(struct rig *rig);
};

/* The cases of one file. */
struct contract_list {
	const char *name; /* the file's, without .c; NULL ends */
	const struct contract_case *cases;
};

extern const struct contract_list contract_lists[];

/* End the case. Callable from any thread of it and from processes it forks; the first text wins. */
_Noreturn void contract_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

void contract_check_int(const char *file, int line, const char *what, long long got,
			long long want);
/* @got is 0 or an error of dray's: shows its words. */
void contract_check_err(const char *file, int line, const char *what, int got, int want);
/* dray_errmsg() holds each of these words; NULL ends. */
void contract_check_words(const char *file, int line, const char *word, ...)
	__attribute__((sentinel));

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			contract_fail(__FILE__, __LINE__, "%s", #cond);                            \
	} while (0)
#define CHECK_INT(got, want)                                                                       \
	contract_check_int(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))
#define CHECK_OK(call)         contract_check_err(__FILE__, __LINE__, #call, call, 0)
#define CHECK_ERR(call, errno) contract_check_err(__FILE__, __LINE__, #call, call, -(errno))
#define CHECK_WORDS(...)       contract_check_words(__FILE__, __LINE__, __VA_ARGS__, NULL)

#endif

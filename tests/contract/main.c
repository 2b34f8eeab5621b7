// SPDX-License-Identifier: BSD-2-Clause
/*
 * contract: runs the cases on one backend. On type1 it needs devices that it can play: QEMU's edu,
 * as in the virtual machine of tools/vm, which names them in its environment.
 */
#include "runner.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_BACKEND = 256, OPT_DEVICE, OPT_DEVICE2, OPT_LIST, OPT_ONLY, OPT_PROFILE };

struct args {
	const char *backend, *device, *device2, *only, *profile;
	bool list;
};

static const struct argp_option options[] = {
	{ "backend", OPT_BACKEND, "sim|type1", 0, "what translates (default sim)", 0 },
	{ "device", OPT_DEVICE, "NAME", 0, "a device (default sim1, $DRAY_VM_EDU)", 0 },
	{ "device2", OPT_DEVICE2, "NAME", 0,
	  "one of another group (default sim2, $DRAY_VM_GROUP_A)", 0 },
	{ "list", OPT_LIST, NULL, 0, "name files, cases, and the feature rows they show", 0 },
	{ "only", OPT_ONLY, "NAME", 0, "run this case alone, or this file's", 0 },
	{ "profile", OPT_PROFILE, "NAME", 0,
	  "what the software IOMMU stands for (default vtd)", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case OPT_BACKEND:
		if (strcmp(arg, "sim") && strcmp(arg, "type1"))
			argp_error(state, "--backend is sim or type1, not \"%s\"", arg);
		a->backend = arg;
		return 0;
	case OPT_DEVICE:
		a->device = arg;
		return 0;
	case OPT_DEVICE2:
		a->device2 = arg;
		return 0;
	case OPT_LIST:
		a->list = true;
		return 0;
	case OPT_PROFILE:
		a->profile = arg;
		return 0;
	case OPT_ONLY:
		a->only = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Checks what dray promises on every backend, one process for each case.",
};

static const char *one_of(const char *a, const char *b)
{
	return a ? a : b;
}

static bool choose_type1(struct rig *rig, const struct args *a)
{
	rig->backend = DRAY_BACKEND_TYPE1;
	rig->group_a = getenv("DRAY_VM_GROUP_A");
	rig->group_b = getenv("DRAY_VM_GROUP_B");
	rig->device = one_of(a->device, getenv("DRAY_VM_EDU"));
	rig->device2 = one_of(a->device2, rig->group_a);
	if (rig->device && rig->device2 && rig->group_a && rig->group_b)
		return true;
	fprintf(stderr, "contract: no devices; run it in the virtual machine: tools/vm/run "
		"build/tests/contract/contract --backend type1\n");
	return false;
}

int main(int argc, char **argv)
{
	struct args a = { .backend = "sim" };
	struct rig rig = {
		.backend = DRAY_BACKEND_SIM, .group_a = "sim0.0", .group_b = "sim0.1",
	};
	int failed;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (a.list) {
		runner_list();
		return 0;
	}
	if (strcmp(a.backend, "type1")) {
		rig.profile = a.profile;
		rig.device = one_of(a.device, "sim1");
		rig.device2 = one_of(a.device2, "sim2");
	} else if (!choose_type1(&rig, &a)) {
		return 2;
	}
	failed = runner_run(&rig, a.only);
	if (failed < 0)
		fprintf(stderr, "contract: there is neither a case nor a file \"%s\"; see "
			"--list\n", a.only);
	return failed < 0 ? 2 : failed > 0;
}

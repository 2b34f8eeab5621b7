// SPDX-License-Identifier: BSD-2-Clause
#include "cmd.h"
#include "doctor/report.h"
#include "doctor/world.h"

#include <argp.h>
#include <locale.h>
#include <stdbool.h>
#include <stdlib.h>

static const struct argp_option option_list[] = {
	{"json", 'j', NULL, 0, "print JSON, with every device", 0},
	{0},
};

static error_t take_option(int key, char *arg, struct argp_state *state)
{
	bool *json = state->input;

	switch (key) {
	case 'j':
		*json = true;
		return 0;
	case ARGP_KEY_ARG:
		fprintf(stderr, "dray doctor: it takes no '%s'; see dray doctor --help\n", arg);
		exit(CMD_USAGE);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_doctor(int argc, char **argv)
{
	static const struct argp argp = {
	    option_list,
	    take_option,
	    NULL,
	    "Says whether this machine can do VFIO, which limits there are, and which command, "
	    "run as root, mends what is missing. Exits with 0 if VFIO works for a device, else "
	    "with 1.",
	    NULL,
	    NULL,
	    NULL};
	struct doctor_world world = doctor_this_machine;
	struct doctor_report report = {0};
	bool json = false;
	int code;

	if (argp_parse(&argp, argc, argv, 0, NULL, &json))
		return CMD_USAGE;
	setlocale(LC_CTYPE, "");
	world.probe_costs = doctor_measure;
	doctor_host(&world, &report);
	doctor_devices(&world, &report);
	doctor_costs(&world, &report);
	code = report.ready ? CMD_GOOD : CMD_FAILED;
	if (report.out_of_memory) {
		code = cmd_fail("dray doctor", "no memory for the report; free some");
	} else if (!json) {
		doctor_print_text(&report);
	} else if (doctor_print_json(&report)) {
		code = CMD_FAILED;
	}
	doctor_report_free(&report);
	return code;
}

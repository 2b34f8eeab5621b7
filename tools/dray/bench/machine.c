// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "bench/machine.h"

#include <dray/stats.h>

#include <json-c/json.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* The value of a "name : value" line of /proc/cpuinfo, or NULL. Writes into @line. */
static const char *value_of(char *line, const char *name)
{
	size_t len = strlen(name);
	char *value;

	if (strncmp(line, name, len) || !strchr("\t :", line[len]))
		return NULL;
	value = strchr(line, ':');
	if (!value)
		return NULL;
	value[strcspn(value, "\n")] = '\0';
	return value + 1 + strspn(value + 1, " ");
}

static void read_cpu(struct bench_machine *m)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char *line = NULL;
	size_t room = 0;
	const char *value;

	snprintf(m->cpu, sizeof(m->cpu), "unknown");
	if (!f)
		return;
	while (getline(&line, &room, f) > 0 && strcmp(line, "\n")) {
		value = value_of(line, "model name");
		if (value)
			snprintf(m->cpu, sizeof(m->cpu), "%s", value);
		value = value_of(line, "flags");
		if (value && strstr(value, " hypervisor"))
			m->virtual = true;
	}
	free(line);
	fclose(f);
}

void bench_machine_read(struct bench_machine *ret_machine)
{
	struct bench_machine m = {.compiler = COMPILER, .dray = dray_version()};
	struct utsname u;
	cpu_set_t cpus;

	read_cpu(&m);
	m.cores = sched_getaffinity(0, sizeof(cpus), &cpus) ? sysconf(_SC_NPROCESSORS_ONLN)
							    : CPU_COUNT(&cpus);
	uname(&u);
	snprintf(m.kernel, sizeof(m.kernel), "%s", u.release);
	snprintf(m.arch, sizeof(m.arch), "%s", u.machine);
	*ret_machine = m;
}

struct json_object *bench_machine_json(const struct bench_machine *m)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "cpu", json_object_new_string(m->cpu));
	json_object_object_add(o, "cores", json_object_new_int64(m->cores));
	json_object_object_add(o, "virtual", json_object_new_boolean(m->virtual));
	json_object_object_add(o, "arch", json_object_new_string(m->arch));
	json_object_object_add(o, "kernel", json_object_new_string(m->kernel));
	json_object_object_add(o, "compiler", json_object_new_string(m->compiler));
	json_object_object_add(o, "dray", json_object_new_string(m->dray));
	return o;
}

void bench_machine_print(const struct bench_machine *m)
{
	printf("machine: %s, %ld core%s%s, %s, Linux %s, %s, dray %s\n", m->cpu, m->cores,
	       m->cores == 1 ? "" : "s", m->virtual ? " (virtual)" : "", m->arch, m->kernel,
	       m->compiler, m->dray);
}

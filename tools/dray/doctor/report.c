// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "doctor/report.h"

#include <errno.h>
#include <json-c/json.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most devices in the text, which shall fit a screen; the JSON has all. */
#define TEXT_DEVICES 16

void doctor_add(struct doctor_report *r, const char *id, enum doctor_state state, const char *fix,
		const char *fmt, ...)
{
	struct doctor_line *lines = realloc(r->lines, (r->n_lines + 1) * sizeof(*lines));
	struct doctor_line line = {.id = id, .state = state};
	va_list ap;

	if (!lines) {
		r->out_of_memory = true;
		return;
	}
	r->lines = lines;
	va_start(ap, fmt);
	if (vasprintf(&line.fact, fmt, ap) < 0)
		line.fact = NULL;
	va_end(ap);
	line.fix = fix ? strdup(fix) : NULL;
	if (!line.fact || (fix && !line.fix))
		r->out_of_memory = true;
	lines[r->n_lines++] = line;
}

struct doctor_device *doctor_add_device(struct doctor_report *r)
{
	struct doctor_device *devices = realloc(r->devices, (r->n_devices + 1) * sizeof(*devices));

	if (!devices) {
		r->out_of_memory = true;
		return NULL;
	}
	r->devices = devices;
	devices[r->n_devices] = (struct doctor_device){.group = -1};
	return &devices[r->n_devices++];
}

void doctor_report_free(struct doctor_report *r)
{
	for (size_t i = 0; i < r->n_lines; i++) {
		free(r->lines[i].fact);
		free(r->lines[i].fix);
	}
	for (size_t i = 0; i < r->n_devices; i++) {
		struct doctor_device *d = &r->devices[i];

		for (size_t k = 0; k < d->n_foreign; k++)
			free(d->foreign[k]);
		free(d->foreign);
		free(d->line.fact);
		free(d->line.fix);
	}
	free(r->lines);
	free(r->devices);
	*r = (struct doctor_report){0};
}

const char *doctor_state_name(enum doctor_state state)
{
	static const char *const names[] = {"good", "bad", "info"};

	return names[state];
}

const char *doctor_use_name(enum doctor_use use)
{
	static const char *const names[] = {"works",    "taken",      "unbound", "in_use",
					    "no_group", "not_viable", "refused"};

	return names[use];
}

static void print_line(const struct doctor_line *line, bool utf8)
{
	static const char *const marks[] = {"\xe2\x9c\x93", "\xe2\x9c\x97", "\xc2\xb7"};
	static const char *const ascii[] = {"ok", "!!", "--"};

	printf("%s %s\n", utf8 ? marks[line->state] : ascii[line->state], line->fact);
	if (line->state == DOCTOR_BAD && line->fix)
		printf("%s   fix: %s\n", utf8 ? "" : " ", line->fix);
}

void doctor_print_text(const struct doctor_report *r)
{
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");

	for (size_t i = 0; i < r->n_lines; i++)
		print_line(&r->lines[i], utf8);
	for (size_t i = 0; i < r->n_devices && i < TEXT_DEVICES; i++)
		print_line(&r->devices[i].line, utf8);
	if (r->n_devices > TEXT_DEVICES)
		printf("   and %zu more devices: dray doctor --json\n",
		       r->n_devices - TEXT_DEVICES);
	printf("\n%s\n", r->ready ? "VFIO works here." : "VFIO does not work here yet.");
}

static struct json_object *line_json(const struct doctor_line *line)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "state", json_object_new_string(doctor_state_name(line->state)));
	json_object_object_add(o, "fact", json_object_new_string(line->fact));
	json_object_object_add(o, "fix", line->fix ? json_object_new_string(line->fix) : NULL);
	return o;
}

static struct json_object *hex_json(unsigned value, int digits)
{
	char text[16];

	snprintf(text, sizeof(text), "%0*x", digits, value);
	return json_object_new_string(text);
}

static struct json_object *device_json(const struct doctor_device *d)
{
	struct json_object *o = line_json(&d->line);
	struct json_object *foreign = json_object_new_array();

	for (size_t i = 0; i < d->n_foreign; i++)
		json_object_array_add(foreign, json_object_new_string(d->foreign[i]));
	json_object_object_add(o, "address", json_object_new_string(d->address));
	json_object_object_add(o, "name", json_object_new_string(d->name));
	json_object_object_add(o, "vendor", hex_json(d->vendor, 4));
	json_object_object_add(o, "device", hex_json(d->device, 4));
	json_object_object_add(o, "class", hex_json(d->class, 6));
	json_object_object_add(o, "driver", *d->driver ? json_object_new_string(d->driver) : NULL);
	json_object_object_add(o, "group", d->group < 0 ? NULL : json_object_new_int(d->group));
	json_object_object_add(o, "foreign", foreign);
	json_object_object_add(o, "use", json_object_new_string(doctor_use_name(d->use)));
	return o;
}

static struct json_object *ns_json(const uint32_t ns[DOCTOR_COST_SIZES])
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < DOCTOR_COST_SIZES; i++)
		json_object_array_add(list, json_object_new_int64(ns[i]));
	return list;
}

static struct json_object *costs_json(const struct doctor_costs *c)
{
	struct json_object *o = json_object_new_object();
	struct json_object *sizes = json_object_new_array();

	for (unsigned i = 0; i < DOCTOR_COST_SIZES; i++)
		json_object_array_add(sizes, json_object_new_uint64(doctor_cost_size[i]));
	json_object_object_add(o, "backend", json_object_new_string(c->backend));
	json_object_object_add(o, "device", json_object_new_string(c->device));
	json_object_object_add(o, "cost_model", json_object_new_string(c->model));
	json_object_object_add(o, "sizes", sizes);
	json_object_object_add(o, "slot_ns", json_object_new_int64(c->slot_ns));
	json_object_object_add(o, "copy_ns", ns_json(c->copy_ns));
	json_object_object_add(o, "map_ns", ns_json(c->map_ns));
	json_object_object_add(o, "lazy_map_ns", ns_json(c->lazy_map_ns));
	json_object_object_add(o, "copy_up_to", json_object_new_uint64(c->copy_up_to));
	json_object_object_add(o, "copy_up_to_once", json_object_new_uint64(c->copy_up_to_once));
	json_object_object_add(o, "lazy_copy_up_to", json_object_new_uint64(c->lazy_copy_up_to));
	json_object_object_add(o, "lazy_copy_up_to_once",
			       json_object_new_uint64(c->lazy_copy_up_to_once));
	return o;
}

int doctor_print_json(const struct doctor_report *r)
{
	struct json_object *all = json_object_new_object();
	struct json_object *checks = json_object_new_array();
	struct json_object *devices = json_object_new_array();
	struct json_object *costs = json_object_new_array();
	const char *text;
	int err = 0;

	for (size_t i = 0; i < r->n_lines; i++) {
		struct json_object *o = line_json(&r->lines[i]);

		json_object_object_add(o, "id", json_object_new_string(r->lines[i].id));
		json_object_array_add(checks, o);
	}
	for (size_t i = 0; i < r->n_devices; i++)
		json_object_array_add(devices, device_json(&r->devices[i]));
	json_object_object_add(all, "ready", json_object_new_boolean(r->ready));
	json_object_object_add(all, "checks", checks);
	json_object_object_add(all, "devices", devices);
	for (size_t i = 0; i < r->n_costs; i++)
		json_object_array_add(costs, costs_json(&r->costs[i]));
	json_object_object_add(all, "costs", costs);
	text =
	    json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!text)
		err = -ENOMEM;
	else if (puts(text) < 0 || fflush(stdout))
		err = -EIO;
	json_object_put(all);
	return err;
}

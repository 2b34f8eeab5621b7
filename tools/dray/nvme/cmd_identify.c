// SPDX-License-Identifier: BSD-2-Clause
/* `dray nvme identify`: what the controller says it is. */
#include <json-c/json.h>
#include <stdio.h>

#include "cmd.h"
#include "nvme/cmds.h"
#include "nvme/report.h"
#include "nvme/target.h"

/* An image made for looking at: sparse, so it costs nothing. */
#define IMAGE_BYTES (UINT64_C(64) << 20)

static const struct argp_child children[] = {{&nvme_args_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = state->input;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	.parser = parse,
	.doc = "Show what an NVMe controller is. With --sim an image that does not exist is "
	       "created (64 MiB, sparse).",
	.children = children,
};

static void print_text(const struct nvme_target *t, const struct nvme_info *i)
{
	printf("controller    %s (serial %s, firmware %s, vendor %04x)\n", i->model, i->serial,
	       i->firmware, i->vendor);
	printf("version       %u.%u.%u\n", i->version >> 16, i->version >> 8 & 0xff,
	       i->version & 0xff);
	printf("namespace     %u of %u: %llu blocks of %u bytes, %.1f MiB\n", i->nsid,
	       i->namespaces, (unsigned long long)i->blocks, i->block,
	       (double)i->blocks * i->block / (1024.0 * 1024.0));
	printf("write cache   %s\n", i->volatile_cache ? "volatile: flush keeps data" : "none");
	if (i->mdts)
		printf("transfer      at most %llu KiB a command, the driver uses %zu KiB\n",
		       (unsigned long long)(i->mdts >> 10), i->max_transfer >> 10);
	else
		printf("transfer      no limit by the controller, the driver uses %zu KiB\n",
		       i->max_transfer >> 10);
	printf("lists         %s\n", i->sgl_align == 1   ? "PRP, SGL of any alignment"
				       : i->sgl_align == 4 ? "PRP, SGL of multiples of 4"
							   : "PRP");
	printf("queues        %u granted, %u commands deep (at most %u entries)\n", i->queues,
	       i->depth, i->max_entries);
	printf("IOMMU         %s, %s\n", t->backend, nvme_report_mode(t->mode));
}

static struct json_object *to_json(const struct nvme_target *t, const struct nvme_info *i)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "command", json_object_new_string("nvme identify"));
	json_object_object_add(o, "device", json_object_new_string(nvme_report_device(t)));
	json_object_object_add(o, "backend", json_object_new_string(t->backend));
	json_object_object_add(o, "mode", json_object_new_string(nvme_report_mode(t->mode)));
	json_object_object_add(o, "model", json_object_new_string(i->model));
	json_object_object_add(o, "serial", json_object_new_string(i->serial));
	json_object_object_add(o, "firmware", json_object_new_string(i->firmware));
	json_object_object_add(o, "vendor", json_object_new_int(i->vendor));
	json_object_object_add(o, "version", json_object_new_int64(i->version));
	json_object_object_add(o, "namespace", json_object_new_int64(i->nsid));
	json_object_object_add(o, "namespaces", json_object_new_int64(i->namespaces));
	json_object_object_add(o, "blocks", json_object_new_uint64(i->blocks));
	json_object_object_add(o, "block_bytes", json_object_new_int64(i->block));
	json_object_object_add(o, "bytes", json_object_new_uint64(i->blocks * i->block));
	json_object_object_add(o, "volatile_cache", json_object_new_boolean(i->volatile_cache));
	json_object_object_add(o, "mdts_bytes", json_object_new_uint64(i->mdts));
	json_object_object_add(o, "sgl_align", json_object_new_uint64(i->sgl_align));
	json_object_object_add(o, "max_transfer", json_object_new_uint64(i->max_transfer));
	json_object_object_add(o, "queues", json_object_new_int64(i->queues));
	json_object_object_add(o, "depth", json_object_new_int64(i->depth));
	return o;
}

int cmd_nvme_identify(int argc, char **argv)
{
	struct nvme_args args = {0};
	struct nvme_target t;
	struct nvme_info info;

	if (nvme_args_parse(&argp, argc, argv, &args))
		return cmd_fail(argv[0], "the command line cannot be read; see --help");
	if (nvme_target_open(&args, args.image_bytes ? args.image_bytes : IMAGE_BYTES, &t))
		return cmd_fail(argv[0], dray_errmsg());
	info = *nvme_get_info(t.ctrl);
	if (nvme_target_close(&t))
		return cmd_fail(argv[0], dray_errmsg());
	if (args.json)
		return nvme_report_json(argv[0], to_json(&t, &info));
	print_text(&t, &info);
	return nvme_report_end(argv[0]);
}

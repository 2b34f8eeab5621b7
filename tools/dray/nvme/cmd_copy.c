// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray nvme copy FILE` and `dray nvme verify FILE`
 *
 * Copy writes the file through the driver, flushes, reads everything back into other memory and
 * compares: SHA-256 of what was written with SHA-256 of what was read, the same number that
 * sha256sum prints for the file, and byte for byte to tell where a difference is. Verify is the
 * second half. Both end with the books of the mappings that it took.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "cmd.h"
#include "nvme/cmds.h"
#include "nvme/report.h"
#include "nvme/stream.h"
#include "nvme/target.h"

/* Enough to keep a disk and both directions of the model busy, small enough to start at once. */
#define DEFAULT_QUEUES 4u
#define DEFAULT_DEPTH  8u
#define DEFAULT_CHUNK  ((size_t)128 << 10)
/* A created image is rounded up to whole ones, with one more as slack. */
#define IMAGE_UNIT ((uint64_t)1 << 20)
#define MIB 1048576.0

enum { KEY_OFFSET = 512, KEY_IOV };

struct job {
	struct nvme_args args;
	const char *path;
	uint64_t offset;
	bool write;
	/* Filled while it runs. */
	int fd;
	uint64_t bytes;
	struct nvme_info info;
	size_t chunk;
	struct nvme_stream_result written, read;
	struct nvme_hist map_ns, unmap_ns;
	const char *step; /* for the progress line */
	uint64_t shown_ns;
	bool shown; /* a line of it is unfinished */
};

static const struct argp_option options[] = {
	{"offset", KEY_OFFSET, "BYTES", 0, "where on the namespace, whole blocks (default 0)", 0},
	{"iov", KEY_IOV, "SEED", 0,
	 "move vectors: every command many buffers of odd offsets and lengths, in shapes from SEED", 0},
	{0},
};

static const struct argp_child children[] = {{&nvme_args_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct job *j = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &j->args;
		return 0;
	case KEY_OFFSET:
		j->offset = nvme_args_number(state, "offset", arg, 0, UINT64_C(1) << 62);
		return 0;
	case KEY_IOV:
		j->args.vectors = true;
		j->args.iov_seed = nvme_args_number(state, "iov", arg, 0, UINT64_MAX);
		return 0;
	case ARGP_KEY_ARG:
		if (j->path)
			argp_error(state, "a second file '%s' was named; give one FILE", arg);
		j->path = arg;
		return 0;
	case ARGP_KEY_END:
		if (!j->path)
			argp_error(state, "no file was named; give FILE");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp copy_argp = {
	.options = options,
	.parser = parse,
	.args_doc = "FILE",
	.doc = "Write FILE onto a namespace through the driver, read it back into other memory, "
	       "and compare (SHA-256, and every byte). Overwrites what is on the namespace there. "
	       "4 queues of 8 commands of 128k unless told otherwise. With --sim an image that does "
	       "not exist is created, large enough for FILE.",
	.children = children,
};

static const struct argp verify_argp = {
	.options = options,
	.parser = parse,
	.args_doc = "FILE",
	.doc = "Read back what `dray nvme copy FILE` wrote and compare it with FILE (SHA-256, and "
	       "every byte): 4 queues of 8 commands of 128k unless told otherwise. Writes nothing.",
	.children = children,
};

static int open_file(struct job *j)
{
	struct stat st;

	j->fd = open(j->path, O_RDONLY | O_CLOEXEC);
	if (j->fd < 0) {
		int err = errno;

		return dr_fail(err, "%s cannot be opened: %s; check its name and mode with `ls -l`",
			       j->path, strerror(err));
	}
	if (fstat(j->fd, &st) || !S_ISREG(st.st_mode))
		return dr_fail(EINVAL, "%s is not a regular file; give one", j->path);
	if (st.st_size == 0)
		return dr_fail(EINVAL, "%s is empty; give a file with something in it", j->path);
	j->bytes = (uint64_t)st.st_size;
	return 0;
}

/* Does the file fit, in blocks of this namespace? Also decides the bytes of one command. */
static int fit(struct job *j)
{
	uint64_t room = j->info.blocks * j->info.block;
	uint64_t need = dr_align_up(j->bytes, j->info.block);
	size_t chunk = j->args.io_bytes ? j->args.io_bytes : DEFAULT_CHUNK;

	if (j->offset % j->info.block)
		return dr_fail(EINVAL, "--offset %llu is not whole blocks of %u; round it",
			       (unsigned long long)j->offset, j->info.block);
	if (j->offset > room || need > room - j->offset)
		return dr_fail(ENOSPC,
			       "%s needs %llu bytes from offset %llu, the namespace has %llu; use "
			       "a larger one%s%s",
			       j->path, (unsigned long long)need, (unsigned long long)j->offset,
			       (unsigned long long)room,
			       j->args.image ? ", or remove the image to have it made: rm " : "",
			       j->args.image ? j->args.image : "");
	if (chunk % j->info.block)
		return dr_fail(EINVAL, "--size %zu is not whole blocks of %u; round it", chunk,
			       j->info.block);
	j->chunk = chunk < j->info.max_transfer ? chunk : j->info.max_transfer;
	return 0;
}

static void progress(void *ctx, uint64_t bytes)
{
	struct job *j = ctx;
	uint64_t now = dr_hooks->clock_ns();

	/* A few times a second is as often as a person reads; the first after half of one. */
	if (now - j->shown_ns < 500000000)
		return;
	j->shown_ns = now;
	j->shown = true;
	fprintf(stderr, "\r%-12s %s: %3.0f %%", j->step, j->path,
		100.0 * (double)bytes / (double)j->bytes);
}

static int stream(struct job *j, struct nvme_target *t)
{
	bool show = !j->args.json && isatty(STDERR_FILENO);
	struct nvme_stream st = {
		.ctrl = t->ctrl,
		.fd = j->fd,
		.bytes = j->bytes,
		.lba = j->offset / j->info.block,
		.chunk = j->chunk,
		.vectors = j->args.vectors,
		.seed = j->args.iov_seed,
		.progress = show ? progress : NULL,
		.ctx = j,
	};
	int rc = 0;

	for (unsigned i = 0; i < j->info.queues; i++)
		nvme_queue_record(nvme_get_queue(t->ctrl, i), &j->map_ns, &j->unmap_ns);
	j->shown_ns = dr_hooks->clock_ns();
	if (j->write) {
		j->step = "writing";
		rc = nvme_stream_write(&st, &j->written);
	}
	j->step = "reading back";
	if (!rc)
		rc = nvme_stream_compare(&st, &j->read);
	if (j->shown)
		fputc('\n', stderr);
	if (!rc && !j->read.equal)
		rc = dr_fail(EIO, "what was read back differs from %s, first at byte %llu; %s",
			     j->path, (unsigned long long)j->read.first_diff,
			     j->write ? "leave the file alone meanwhile, or check the medium"
				      : "write it with `dray nvme copy`");
	/* A file that changed in between is equal to what was written at neither time. */
	if (!rc && j->write && memcmp(j->written.sha256, j->read.sha256, NVME_SHA256_BYTES) != 0)
		rc = dr_fail(EIO, "checksums of what was written and read differ: %s changed "
				  "meanwhile; leave it alone",
			     j->path);
	return rc;
}

/* Everything between open and close. What failed first is what is told. */
static int run(struct job *j, struct nvme_target *t)
{
	uint64_t image = dr_align_up(j->offset + j->bytes, IMAGE_UNIT) + IMAGE_UNIT;
	char why[512];
	int rc, bad;

	if (j->args.image_bytes)
		image = j->args.image_bytes;
	/* Verify has nothing to find in an image that is not there yet. */
	rc = nvme_target_open(&j->args, j->write ? image : 0, t);
	if (rc)
		return rc;
	j->info = *nvme_get_info(t->ctrl);
	rc = fit(j);
	if (!rc)
		rc = stream(j, t);
	snprintf(why, sizeof(why), "%s", dray_errmsg());
	bad = nvme_target_close(t);
	return rc ? dr_fail(-rc, "%s", why) : bad;
}

static void hex(const unsigned char *sha, char *ret)
{
	for (unsigned i = 0; i < NVME_SHA256_BYTES; i++)
		snprintf(ret + 2 * i, 3, "%02x", sha[i]);
}

static double rate(const struct job *j, const struct nvme_stream_result *r)
{
	return r->ns ? (double)j->bytes / MIB / ((double)r->ns / 1e9) : 0;
}

static void print_text(const struct job *j, const struct nvme_target *t)
{
	char sha[2 * NVME_SHA256_BYTES + 1];

	printf("%s %s %s: %s, %s on %s, %u queues of %u, %.1f KiB commands\n", j->path,
	       j->write ? "->" : "==", nvme_report_device(t), j->info.model,
	       nvme_report_mode(t->mode), t->backend, j->info.queues, j->info.depth,
	       (double)j->chunk / 1024.0);
	printf("  %-18s %llu\n", "bytes", (unsigned long long)j->bytes);
	if (j->write) {
		hex(j->written.sha256, sha);
		printf("  %-18s %s\n", "sha256 written", sha);
	}
	hex(j->read.sha256, sha);
	printf("  %-18s %s equal\n", "sha256 read back", sha);
	if (j->args.vectors)
		nvme_report_ways_text(t);
	nvme_report_maps_text(t, &j->map_ns, &j->unmap_ns);
	if (j->write)
		printf("  %-18s %.1f MiB/s (reading the file and checksum included)\n", "write",
		       rate(j, &j->written));
	printf("  %-18s %.1f MiB/s (checksum and comparison included)\n", "read",
	       rate(j, &j->read));
}

static struct json_object *to_json(const struct job *j, const struct nvme_target *t)
{
	struct json_object *o = json_object_new_object();
	char sha[2 * NVME_SHA256_BYTES + 1];

	json_object_object_add(o, "command",
			       json_object_new_string(j->write ? "nvme copy" : "nvme verify"));
	json_object_object_add(o, "device", json_object_new_string(nvme_report_device(t)));
	json_object_object_add(o, "backend", json_object_new_string(t->backend));
	json_object_object_add(o, "mode", json_object_new_string(nvme_report_mode(t->mode)));
	json_object_object_add(o, "file", json_object_new_string(j->path));
	json_object_object_add(o, "bytes", json_object_new_uint64(j->bytes));
	json_object_object_add(o, "queues", json_object_new_int64(j->info.queues));
	json_object_object_add(o, "depth", json_object_new_int64(j->info.depth));
	json_object_object_add(o, "command_bytes", json_object_new_uint64(j->chunk));
	if (j->write) {
		hex(j->written.sha256, sha);
		json_object_object_add(o, "sha256_written", json_object_new_string(sha));
		json_object_object_add(o, "write_mib_per_s",
				       json_object_new_double(rate(j, &j->written)));
	}
	hex(j->read.sha256, sha);
	json_object_object_add(o, "sha256_read", json_object_new_string(sha));
	json_object_object_add(o, "read_mib_per_s", json_object_new_double(rate(j, &j->read)));
	json_object_object_add(o, "equal", json_object_new_boolean(true));
	if (j->args.vectors)
		nvme_report_ways_json(o, t);
	nvme_report_maps_json(o, t, &j->map_ns, &j->unmap_ns);
	return o;
}

static int copy_or_verify(struct job *j, const struct argp *argp, int argc, char **argv)
{
	struct nvme_target t;
	int rc;

	j->fd = -1;
	if (nvme_args_parse(argp, argc, argv, j))
		return cmd_fail(argv[0], "the command line cannot be read; see --help");
	if (!j->args.queues)
		j->args.queues = DEFAULT_QUEUES;
	if (!j->args.depth)
		j->args.depth = DEFAULT_DEPTH;
	rc = open_file(j);
	if (!rc)
		rc = run(j, &t);
	if (j->fd >= 0)
		close(j->fd);
	if (rc)
		return cmd_fail(argv[0], dray_errmsg());
	if (j->args.json)
		return nvme_report_json(argv[0], to_json(j, &t));
	print_text(j, &t);
	return nvme_report_end(argv[0]);
}

int cmd_nvme_copy(int argc, char **argv)
{
	static struct job j = {.write = true};

	return copy_or_verify(&j, &copy_argp, argc, argv);
}

int cmd_nvme_verify(int argc, char **argv)
{
	static struct job j;

	return copy_or_verify(&j, &verify_argp, argc, argv);
}

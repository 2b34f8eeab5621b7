// SPDX-License-Identifier: BSD-2-Clause
/*
 * Streams
 *
 * 1. The file is cut into chunks of one command each. There are as many buffers as commands fit
 *    into all queues; chunk n has buffer n modulo their number and goes to queue n modulo theirs,
 *    so no queue is ever asked for more than its depth.
 * 2. Writing fills buffers in order, as soon as the command that had the buffer before is done.
 *    Reading keeps all buffers in flight and takes them in order of the file, however they
 *    complete, because the checksum needs that order. Completions of any order are so exercised.
 * 3. Reading poisons a buffer before its command, so that a command which moves nothing is seen.
 *    The file itself is read a second time and compared byte for byte: the checksums tell a person,
 *    the comparison tells where.
 * 4. The last chunk is whole blocks; behind the file's end it is zeros, which are compared too.
 * 5. With vectors a buffer is memory in which a vector is laid out, another one for each command,
 *    with poison between its elements. Before a read all of it is poison; behind it, all that is in
 *    no element still has to be.
 * 6. The first failure is kept. Then nothing new is submitted, and what is out is waited for: the
 *    driver calls back every command, whatever happens, so a stream never leaves one behind.
 */
#include "nvme/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sha2.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "nvme/vector.h"

#define POISON 0xa5

struct run;

struct buffer {
	struct run *run;
	unsigned char *mem;
	struct iovec iov[NVME_VECTOR_MAX];
	unsigned n_iov;
	bool busy;
};

struct run {
	const struct nvme_stream *st;
	unsigned queues, n_buffers;
	uint64_t chunks;
	size_t room;                /* of one buffer */
	unsigned char *mem;         /* all buffers */
	unsigned char *file, *flat; /* one chunk: of the file, for comparing; of a vector, in a row */
	struct buffer *buffers;
	SHA2_CTX sha;
	int err;
	char why[512];
};

static int keep(struct run *r, int err)
{
	if (!r->err) {
		r->err = err;
		snprintf(r->why, sizeof(r->why), "%s", dray_errmsg());
	}
	return err;
}

static void done(void *ctx, int err, uint16_t status)
{
	struct buffer *b = ctx;

	(void)status;
	b->busy = false;
	if (err)
		keep(b->run, err);
}

static int open_run(struct run *r, const struct nvme_stream *st)
{
	const struct nvme_info *info = nvme_get_info(st->ctrl);

	memset(r, 0, sizeof(*r));
	r->st = st;
	r->queues = info->queues;
	r->n_buffers = info->queues * info->depth;
	r->chunks = (st->bytes + st->chunk - 1) / st->chunk;
	if (r->n_buffers > r->chunks)
		r->n_buffers = (unsigned)r->chunks;
	SHA256Init(&r->sha);
	/* Page-aligned buffers need the fewest PRP entries and granules. */
	r->room = st->vectors ? (size_t)dr_align_up(nvme_vector_room(st->chunk), NVME_PAGE)
			      : st->chunk;
	r->mem = dr_hooks->alloc(r->n_buffers * r->room, NVME_PAGE);
	r->file = dr_alloc(st->chunk);
	r->flat = dr_alloc(st->chunk);
	r->buffers = dr_alloc(r->n_buffers * sizeof(*r->buffers));
	if (!r->mem || !r->file || !r->flat || !r->buffers) {
		dr_free(r->buffers);
		dr_free(r->flat);
		dr_free(r->file);
		dr_free(r->mem);
		return dr_fail(ENOMEM, "no memory for %u buffers of %zu bytes; ask for less depth",
			       r->n_buffers, r->room);
	}
	for (unsigned i = 0; i < r->n_buffers; i++)
		r->buffers[i] = (struct buffer){.run = r, .mem = r->mem + i * r->room};
	return 0;
}

static void poll_all(struct run *r)
{
	int n = 0;

	for (unsigned i = 0; i < r->queues; i++) {
		int rc = nvme_poll(nvme_get_queue(r->st->ctrl, i));

		if (rc < 0)
			keep(r, rc);
		n |= rc;
	}
	if (!n)
		nvme_idle();
}

static void wait_for(struct run *r, const struct buffer *b)
{
	while (b->busy)
		poll_all(r);
}

static int close_run(struct run *r)
{
	for (unsigned i = 0; i < r->n_buffers; i++)
		wait_for(r, &r->buffers[i]);
	dr_free(r->buffers);
	dr_free(r->flat);
	dr_free(r->file);
	dr_free(r->mem);
	return r->err ? dr_fail(-r->err, "%s", r->why) : 0;
}

/* How many bytes of chunk @n are the file's. */
static size_t file_part(const struct run *r, uint64_t n)
{
	uint64_t left = r->st->bytes - n * r->st->chunk;

	return left < r->st->chunk ? (size_t)left : r->st->chunk;
}

/* Chunk @n of the file, zeros behind its end; *ret_len is whole blocks. */
static int read_file(struct run *r, uint64_t n, unsigned char *buf, size_t *ret_len)
{
	size_t len = file_part(r, n), got = 0;
	uint64_t off = n * r->st->chunk;

	while (got < len) {
		ssize_t rc = pread(r->st->fd, buf + got, len - got, (off_t)(off + got));

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0) {
			int err = errno;

			return keep(r, dr_fail(err, "the file cannot be read at byte %llu: %s; "
						    "check its disk",
					       (unsigned long long)(off + got), strerror(err)));
		}
		if (rc == 0)
			return keep(r, dr_fail(EIO, "the file became shorter than %llu bytes while "
						    "it was read; leave it alone meanwhile",
					       (unsigned long long)r->st->bytes));
		got += (size_t)rc;
	}
	*ret_len = (size_t)dr_align_up(len, nvme_get_info(r->st->ctrl)->block);
	memset(buf + len, 0, *ret_len - len);
	return 0;
}

/* The buffer of chunk @n before its command: with vectors, laid out anew. */
static struct buffer *prepare(struct run *r, enum nvme_io_opcode op, uint64_t n, size_t len)
{
	struct buffer *b = &r->buffers[n % r->n_buffers];

	if (r->st->vectors)
		b->n_iov = nvme_vector_make(r->st->seed, 2 * n + (op == NVME_IO_READ), b->mem, len,
					    b->iov);
	return b;
}

static int submit(struct run *r, enum nvme_io_opcode op, uint64_t n, size_t len)
{
	struct nvme_queue *q = nvme_get_queue(r->st->ctrl, (unsigned)(n % r->queues));
	struct buffer *b = &r->buffers[n % r->n_buffers];
	uint64_t lba = r->st->lba + n * (r->st->chunk / nvme_get_info(r->st->ctrl)->block);
	int rc = r->st->vectors ? nvme_submitv(q, op, lba, b->iov, b->n_iov, done, b)
				: nvme_submit(q, op, lba, b->mem, len, done, b);

	if (rc)
		return keep(r, rc);
	b->busy = true;
	return 0;
}

static void tell(const struct run *r, uint64_t n)
{
	if (r->st->progress)
		r->st->progress(r->st->ctx, n * r->st->chunk + file_part(r, n));
}

int nvme_stream_write(const struct nvme_stream *st, struct nvme_stream_result *ret)
{
	uint64_t start = dr_hooks->clock_ns();
	struct run r;
	size_t len;
	int rc = open_run(&r, st);

	if (rc)
		return rc;
	for (uint64_t n = 0; n < r.chunks && !r.err; n++) {
		struct buffer *b = &r.buffers[n % r.n_buffers];
		unsigned char *at = st->vectors ? r.flat : b->mem;

		wait_for(&r, b);
		if (r.err || read_file(&r, n, at, &len))
			break;
		SHA256Update(&r.sha, at, file_part(&r, n));
		prepare(&r, NVME_IO_WRITE, n, len);
		if (st->vectors)
			nvme_vector_scatter(b->iov, b->n_iov, at);
		submit(&r, NVME_IO_WRITE, n, len);
		tell(&r, n);
	}
	rc = close_run(&r);
	if (!rc)
		rc = nvme_flush(nvme_get_queue(st->ctrl, 0));
	if (rc)
		return rc;
	memset(ret, 0, sizeof(*ret));
	SHA256Final(ret->sha256, &r.sha);
	ret->ns = dr_hooks->clock_ns() - start;
	return 0;
}

/* Chunk @n was read back: its checksum, and whether it is what the file has. */
static void take(struct run *r, uint64_t n, struct nvme_stream_result *res)
{
	const struct buffer *b = &r->buffers[n % r->n_buffers];
	const unsigned char *got = b->mem;
	size_t len, i = 0;

	if (r->st->vectors) {
		nvme_vector_gather(b->iov, b->n_iov, r->flat);
		got = r->flat;
		if (!nvme_vector_guarded(b->iov, b->n_iov, b->mem, r->room, POISON))
			keep(r, dr_fail(EIO, "memory beside the vector of chunk %llu (--iov %llu) "
					     "was written: a defect of the controller or of the "
					     "library; report it",
					(unsigned long long)n, (unsigned long long)r->st->seed));
	}
	SHA256Update(&r->sha, got, file_part(r, n));
	if (!res->equal || read_file(r, n, r->file, &len) || memcmp(got, r->file, len) == 0)
		return;
	while (got[i] == r->file[i])
		i++;
	res->equal = false;
	res->first_diff = n * r->st->chunk + i;
}

int nvme_stream_compare(const struct nvme_stream *st, struct nvme_stream_result *ret)
{
	uint32_t block = nvme_get_info(st->ctrl)->block;
	struct nvme_stream_result res = {.equal = true};
	uint64_t start = dr_hooks->clock_ns(), issued = 0;
	struct run r;
	int rc = open_run(&r, st);

	if (rc)
		return rc;
	for (uint64_t n = 0; n < r.chunks && !r.err; n++) {
		for (; issued < r.chunks && issued - n < r.n_buffers && !r.err; issued++) {
			size_t len = (size_t)dr_align_up(file_part(&r, issued), block);

			memset(prepare(&r, NVME_IO_READ, issued, len)->mem, POISON,
			       st->vectors ? r.room : len);
			submit(&r, NVME_IO_READ, issued, len);
		}
		wait_for(&r, &r.buffers[n % r.n_buffers]);
		if (!r.err)
			take(&r, n, &res);
		tell(&r, n);
	}
	rc = close_run(&r);
	if (rc)
		return rc;
	SHA256Final(res.sha256, &r.sha);
	res.ns = dr_hooks->clock_ns() - start;
	*ret = res;
	return 0;
}

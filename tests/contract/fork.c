// SPDX-License-Identifier: BSD-2-Clause
/* A forked child cannot use or tear down what its parent opened; the parent does not notice it. */
#define _GNU_SOURCE
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_child(pid_t pid)
{
	int status;

	CHECK(pid >= 0);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
}

/* Everything a child may try with what it inherited. Not one ioctl comes of it. */
static void misbehave(struct rig *rig, struct dray_domain *dom, struct dray_device *dev,
		      struct dray_mapping m, void *block, struct dray_mapping block_map)
{
	struct dray_domain_info info = { .size = sizeof(info) };
	unsigned ioctls = world_calls(WORLD_IOCTL);
	char *mem = rig_pages(PAGE);
	struct dray_mapping none;
	struct dray_device *out;
	struct dray_domain *own;
	int fds = world_fds();
	void *va;

	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &none), EPERM);
	CHECK_WORDS("forked");
	CHECK_ERR(dray_map_fixed(dev, 0x200000, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &none), EPERM);
	CHECK_ERR(dray_domain_map(dom, 0x200000, mem, PAGE, DRAY_PROT_READ, 0), EPERM);
	CHECK_ERR(dray_domain_unmap(dom, 0x2400000, PAGE), EPERM);
	CHECK_ERR(dray_domain_reserve(dom, 0x200000, 0x200fff, 0), EPERM);
	CHECK_ERR(dray_domain_unreserve(dom, 0x200000, 0x200fff), EPERM);
	CHECK_ERR(dray_coherent_alloc(dev, PAGE, 0, &va, &none), EPERM);
	CHECK_ERR(dray_device_open(dom, rig->device2, NULL, &out), EPERM);
	CHECK_ERR(dray_device_set_domain(dev, dom), EPERM);
	CHECK_ERR(dray_device_set_mask(dev, RIG_MASK), EPERM);
	CHECK_ERR(dray_domain_info(dom, &info), EPERM);
	CHECK_ERR(dray_domain_heat(dom, 0, DRAY_IOVA_NONE, 1, NULL), EPERM);
	CHECK_INT(world_calls(WORLD_IOCTL), ioctls);
	own = rig_domain(rig);
	ioctls = world_calls(WORLD_IOCTL);
	CHECK_ERR(dray_device_set_domain(dev, own), EPERM);
	dray_domain_close(own);
	CHECK_INT(world_fds(), fds);
	dray_unmap(dev, &m);
	dray_coherent_free(dev, block, &block_map);
	CHECK(!m.cookie[0] && !block_map.cookie[0]);
	dray_device_close(dev);
	dray_device_close(dev);
	dray_domain_close(dom);
	dray_domain_close(dom);
	CHECK_INT(world_calls(WORLD_IOCTL), ioctls);
	/* Closing closed its copies of the descriptors: container, group and device. */
	CHECK_INT(world_fds(), fds - (rig_is_sim(rig) ? 0 : 3));
}

static void child_cannot_use_it(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m, block_map;
	struct rig_state was;
	void *block;
	pid_t pid;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_domain_map(dom, 0x2400000, mem + PAGE, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_coherent_alloc(dev, PAGE, 0, &block, &block_map));
	rig_fill(block, PAGE, 2);
	was = rig_state(dom);
	pid = fork();
	if (!pid) {
		misbehave(rig, dom, dev, m, block, block_map);
		_exit(0);
	}
	check_child(pid);
	CHECK_SAME(dom, &was);
	CHECK_READS(a, m.iova, mem, 64);
	CHECK_WRITES(a, m.iova, mem, 64);
	CHECK_READS(a, 0x2400000, mem + PAGE, 64);
	CHECK_WRITES(a, block_map.iova, block, 64);
	dray_coherent_free(dev, block, &block_map);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Pinned memory stays the device's: neither parent nor child writes move it away. */
static void pinned_memory_stays(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(3 * PAGE);
	int up[2], down[2];
	struct dray_mapping m;
	pid_t pid;
	char c = 0;

	CHECK_OK(dray_map(dev, mem, 3 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(!pipe(up) && !pipe(down));
	pid = fork();
	if (!pid) {
		/* The child writes its copy, and lives while the parent and the device go on. */
		rig_fill(mem, PAGE, 40);
		CHECK(write(up[1], &c, 1) == 1 && read(down[0], &c, 1) == 1);
		_exit(rig_is_filled(mem, PAGE, 40) ? 0 : 1);
	}
	CHECK(pid > 0 && read(up[0], &c, 1) == 1);
	CHECK(rig_is_filled(mem, PAGE, 1));
	CHECK_READS(a, m.iova, mem, 64);
	rig_fill(mem + PAGE, PAGE, 41);
	CHECK_READS(a, m.iova + PAGE, mem + PAGE, 64);
	CHECK_WRITES(a, m.iova + 2 * PAGE, mem + 2 * PAGE, 64);
	CHECK(write(down[1], &c, 1) == 1);
	check_child(pid);
	for (int i = 0; i < 2; i++) {
		close(up[i]);
		close(down[i]);
	}
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A child made by a bare system call, past every fork handler, is told apart too. */
static void child_of_a_bare_clone(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;
	pid_t pid;

	pid = (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0ul);
	if (!pid) {
		CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m), EPERM);
		_exit(0);
	}
	check_child(pid);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What a child is told to do instead: a domain of its own, with a device that is free. */
static void child_has_its_own(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;
	pid_t pid;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	pid = fork();
	if (!pid) {
		struct dray_domain *own = rig_domain(rig);
		struct dray_device *own_dev = rig_device(rig, own, rig->device2);
		struct actor *a = actor_open(rig, own_dev);
		struct dray_mapping own_map;

		CHECK_OK(dray_map(own_dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &own_map));
		CHECK_READS(a, own_map.iova, mem, 64);
		CHECK_WRITES(a, own_map.iova, mem, 64);
		dray_unmap(own_dev, &own_map);
		actor_close(a);
		dray_device_close(own_dev);
		dray_domain_close(own);
		_exit(0);
	}
	check_child(pid);
	CHECK(rig_is_filled(mem, PAGE, 1));
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

struct busy {
	struct dray_device *dev;
	char *mem;
	atomic_bool stop;
};

static void *map_and_unmap(void *arg)
{
	struct busy *b = arg;
	struct dray_mapping m;

	while (!atomic_load(&b->stop)) {
		CHECK_OK(dray_map(b->dev, b->mem, PAGE, DRAY_TO_DEVICE, 0, &m));
		dray_unmap(b->dev, &m);
	}
	return NULL;
}

/* Forked while other threads hold whatever locks they hold: refusing and closing need none. */
static void child_of_a_busy_process(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct busy b = { .dev = rig_device(rig, dom, NULL), .mem = rig_pages(PAGE) };
	struct dray_mapping m;
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, map_and_unmap, &b));
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid) {
			CHECK_ERR(dray_map(b.dev, b.mem, PAGE, DRAY_TO_DEVICE, 0, &m), EPERM);
			dray_device_close(b.dev);
			dray_domain_close(dom);
			_exit(0);
		}
		check_child(pid);
	}
	atomic_store(&b.stop, true);
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK_INT(rig_stats(dom).maps, rig_stats(dom).unmaps);
	dray_device_close(b.dev);
	dray_domain_close(dom);
}

const struct contract_case fork_cases[] = {
	{ "child_cannot_use_it", "D14", child_cannot_use_it },
	{ "pinned_memory_stays", "D14", pinned_memory_stays },
	{ "child_of_a_bare_clone", "D14", child_of_a_bare_clone },
	{ "child_has_its_own", "D14", child_has_its_own },
	{ "child_of_a_busy_process", "D14", child_of_a_busy_process },
	{ NULL },
};

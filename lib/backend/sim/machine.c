// SPDX-License-Identifier: BSD-2-Clause
/*
 * The machine: which devices there are, in which groups, and who has claimed them. One for each
 * process, as a PC has one.
 *
 * 64 devices "sim0" … "sim63", each in a group of its own, but for the seven further functions of
 * the first, "sim0.1" … "sim0.7", which share its group ("sim0.0" is "sim0"). As with VFIO, a
 * device is claimed once, all claimed members of a group are in one address space, and a group with
 * a member that another driver holds is not viable.
 *
 * A child process inherits a copy of the machine in which its parent's devices are claimed and
 * whose locks some thread of the parent's may have held. It starts with an empty one:
 * dr_machine_enter() tells by the process id. The parent's handles are of no use in it (dma.c
 * refuses them).
 */
#include "backend/sim/machine.h"
#include "backend/sim/image.h"
#include "backend/sim/invq.h"
#include "backend/sim/iotlb.h"
#include "base/err.h"
#include "base/process.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS    64u
#define FUNCTIONS 8u                         /* of group 0; the others have one */
#define SLOTS     (GROUPS + FUNCTIONS - 1)

/* Guarded by machine.lock. */
struct slot {
	struct dr_sim_device *dev; /* who has claimed it */
	struct dr_sim *space;      /* for which address space */
	char foreign[32];          /* the driver that holds it instead, or "" */
};

static struct {
	pthread_mutex_t lock;
	struct slot slots[SLOTS];
	_Atomic uint64_t next_space; /* survives a fork: numbers stay unused ones */
	/* Whose machine it is; 0 before the first, UINT64_MAX while one starts it over. */
	_Atomic uint64_t process;
} machine = { .lock = PTHREAD_MUTEX_INITIALIZER, .next_space = 1 };

void dr_machine_enter(void)
{
	uint64_t self = dr_process_id(), seen;

	for (;;) {
		/* Acquire: with the machine's owner comes the machine. */
		seen = atomic_load_explicit(&machine.process, memory_order_acquire);
		if (seen == self)
			return;
		if (seen == UINT64_MAX) {
			sched_yield();
			continue;
		}
		if (atomic_compare_exchange_strong_explicit(&machine.process, &seen, UINT64_MAX,
							    memory_order_acquire,
							    memory_order_relaxed))
			break;
	}
	pthread_mutex_init(&machine.lock, NULL);
	memset(machine.slots, 0, sizeof(machine.slots));
	dr_invq_reset();
	dr_iotlb_reset();
	dr_image_reset();
	/* Release: see above. */
	atomic_store_explicit(&machine.process, self, memory_order_release);
}

uint64_t dr_machine_new_space(void)
{
	return atomic_fetch_add_explicit(&machine.next_space, 1, memory_order_relaxed);
}

/* Slots 0..63 are function 0 of each group; then functions 1..7 of group 0. */
static unsigned slot_index(unsigned group, unsigned function)
{
	return function ? GROUPS + function - 1 : group;
}

static unsigned group_of(unsigned index)
{
	return index < GROUPS ? index : 0;
}

static unsigned function_of(unsigned index)
{
	return index < GROUPS ? 0 : index - GROUPS + 1;
}

/* A device's name as messages show it. */
struct name {
	char text[16];
};

static struct name name_of(unsigned index)
{
	struct name name;

	if (group_of(index))
		snprintf(name.text, sizeof(name.text), "sim%u", group_of(index));
	else
		snprintf(name.text, sizeof(name.text), "sim0.%u", function_of(index));
	return name;
}

/* A decimal number without sign or leading zeros; false when there is none. */
static bool parse_number(const char **text, unsigned limit, unsigned *ret_number)
{
	const char *p = *text;
	unsigned n = 0;

	if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (unsigned)(*p - '0');
		if (n >= limit)
			return false;
	}
	*text = p;
	*ret_number = n;
	return true;
}

static bool parse_name(const char *name, unsigned *ret_index)
{
	unsigned group, function = 0;

	if (strncmp(name, "sim", 3))
		return false;
	name += 3;
	if (!parse_number(&name, GROUPS, &group))
		return false;
	if (*name == '.' && !group) {
		name++;
		if (!parse_number(&name, FUNCTIONS, &function))
			return false;
	}
	*ret_index = slot_index(group, function);
	return !*name;
}

/* May @space have the device as far as its group is concerned? */
static int check_group_locked(unsigned index, const struct dr_sim *space)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		const struct slot *s = &machine.slots[i];

		if (i == index || group_of(i) != group_of(index))
			continue;
		if (s->foreign[0])
			return dr_fail(EBUSY, "the group of %s is not viable: driver %s holds %s; "
				       "unbind it", name_of(index).text, s->foreign,
				       name_of(i).text);
		if (s->dev && s->space != space)
			return dr_fail(EBUSY, "%s shares its group with %s, which is open in "
				       "another domain; open both in one", name_of(index).text,
				       name_of(i).text);
	}
	return 0;
}

static int check_claim_locked(unsigned index, const struct dr_sim *space)
{
	const struct slot *s = &machine.slots[index];

	if (s->foreign[0])
		return dr_fail(ENODEV, "driver %s holds %s; unbind it", s->foreign,
			       name_of(index).text);
	if (s->dev)
		return dr_fail(EBUSY, "%s is open already; close it first", name_of(index).text);
	return check_group_locked(index, space);
}

int dr_machine_claim(const char *name, struct dr_sim *space, struct dr_sim_device *dev)
{
	unsigned index;
	int err;

	if (!parse_name(name, &index))
		return dr_fail(ENODEV, "the software IOMMU has no device \"%.32s\"; it has sim0 to "
			       "sim%u, and sim0.0 to sim0.%u in one group", name, GROUPS - 1,
			       FUNCTIONS - 1);
	pthread_mutex_lock(&machine.lock);
	err = check_claim_locked(index, space);
	if (!err) {
		machine.slots[index].dev = dev;
		machine.slots[index].space = space;
		dev->index = index;
	}
	pthread_mutex_unlock(&machine.lock);
	return err;
}

void dr_machine_release(struct dr_sim_device *dev)
{
	pthread_mutex_lock(&machine.lock);
	machine.slots[dev->index].dev = NULL;
	machine.slots[dev->index].space = NULL;
	pthread_mutex_unlock(&machine.lock);
}

int dr_machine_move(struct dr_sim_device *dev, struct dr_sim *to)
{
	int err;

	pthread_mutex_lock(&machine.lock);
	err = check_group_locked(dev->index, to);
	if (!err)
		machine.slots[dev->index].space = to;
	pthread_mutex_unlock(&machine.lock);
	return err;
}

unsigned dr_sim_device_index(const struct dr_backend_device *bd)
{
	return ((const struct dr_sim_device *)bd)->index;
}

int dr_sim_set_foreign(unsigned group, unsigned function, const char *driver)
{
	struct slot *s;

	if (group >= GROUPS || function >= (group ? 1 : FUNCTIONS))
		return dr_fail(EINVAL, "group %u has no function %u", group, function);
	dr_machine_enter();
	s = &machine.slots[slot_index(group, function)];
	pthread_mutex_lock(&machine.lock);
	snprintf(s->foreign, sizeof(s->foreign), "%s", driver ? driver : "");
	pthread_mutex_unlock(&machine.lock);
	return 0;
}

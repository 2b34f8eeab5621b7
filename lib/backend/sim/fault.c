// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fault records: a ring for each device. When it is full the oldest stay, because they tell how it
 * began, and what does not fit is only counted. The lock is taken on faults and by who reads them;
 * nothing else is taken under it.
 */
#include "backend/sim/machine.h"

void dr_fault_record(struct dr_sim_device *dev, dray_iova_t iova, uint32_t access, uint32_t reason,
		     unsigned level)
{
	pthread_mutex_lock(&dev->fault_lock);
	if (dev->fault_count < DR_SIM_FAULTS) {
		unsigned at = (dev->fault_first + dev->fault_count++) % DR_SIM_FAULTS;

		dev->faults[at] = (struct dray_sim_fault){
			.iova = iova, .access = access, .reason = reason, .level = level,
		};
	} else {
		dev->fault_overflow++;
	}
	pthread_mutex_unlock(&dev->fault_lock);
}

unsigned dr_sim_take_faults(struct dr_backend_device *bd, struct dray_sim_fault *out, unsigned n)
{
	struct dr_sim_device *dev = dr_sim_device_of(bd);
	unsigned taken = 0;

	pthread_mutex_lock(&dev->fault_lock);
	for (; taken < n && dev->fault_count; taken++) {
		out[taken] = dev->faults[dev->fault_first];
		dev->fault_first = (dev->fault_first + 1) % DR_SIM_FAULTS;
		dev->fault_count--;
	}
	pthread_mutex_unlock(&dev->fault_lock);
	return taken;
}

uint64_t dr_sim_fault_overflow(struct dr_backend_device *bd)
{
	struct dr_sim_device *dev = dr_sim_device_of(bd);
	uint64_t lost;

	pthread_mutex_lock(&dev->fault_lock);
	lost = dev->fault_overflow;
	pthread_mutex_unlock(&dev->fault_lock);
	return lost;
}

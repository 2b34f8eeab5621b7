/* SPDX-License-Identifier: BSD-2-Clause */
/* Everything a driver needs; <dray/sim.h> is apart. */
#ifndef DRAY_DRAY_H
#define DRAY_DRAY_H

#include <dray/types.h>
#include <dray/domain.h>
#include <dray/device.h>
#include <dray/map.h>
#include <dray/sg.h>
#include <dray/link.h>
#include <dray/region.h>
#include <dray/coherent.h>
#include <dray/iova.h>
#include <dray/stats.h>
#include <dray/nvme_prp.h>

#endif

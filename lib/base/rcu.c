// SPDX-License-Identifier: BSD-2-Clause
#include "base/rcu.h"

#ifdef DR_TSAN
/* What ThreadSanitizer is told that grace periods order; never read or written. */
char dr_rcu_tsan_period;
#endif

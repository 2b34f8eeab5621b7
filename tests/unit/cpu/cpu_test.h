/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CPU_TEST_H
#define CPU_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dray/dray.h>

#include "base/err.h"
#include "cpu/cpu.h"

#endif

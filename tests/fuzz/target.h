/* SPDX-License-Identifier: BSD-2-Clause */
/* What every target defines, for a fuzzer or for replay.c. */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

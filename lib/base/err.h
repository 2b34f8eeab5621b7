/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Failures in words. Every errno that reaches a caller passes through dr_fail() once;
 * dray_errmsg() reads the words back.
 */
#ifndef DR_BASE_ERR_H
#define DR_BASE_ERR_H

/*
 * Keep "cause; fix" as this thread's message and return -err. The text is cut at the size of the
 * buffer, never allocated.
 */
int dr_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

#endif

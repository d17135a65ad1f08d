/*
 * report.h
 *		What verification found, for people.
 */
#ifndef BULWARK_REPORT_H
#define BULWARK_REPORT_H

#include "check.h"

/* The verdict in a few lines, on standard output. */
extern void report_summary(const Check *check, bool ok);
/* One page to file, in a new file; false: a complaint. */
extern bool report_write(const Check *check, bool ok, const char *source, const char *path);
/* How far it is, on standard error; at most ten times a second. */
extern void report_progress(const Check *check);
extern void report_progress_end(void);

#endif							/* BULWARK_REPORT_H */

/*
 * tap.h
 *		What the unit tests print, in the Test Anything Protocol.
 */
#ifndef BULWARK_TAP_H
#define BULWARK_TAP_H

#include <stdbool.h>
#include <stdio.h>

static int	tests = 0;
static int	failures = 0;

static void
ok(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	failures += !good;
}

#endif							/* BULWARK_TAP_H */

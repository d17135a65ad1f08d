/*
 * meter.h
 *		What use.c and meter.c share.
 */
#ifndef BULWARK_METER_H
#define BULWARK_METER_H

#include "secrets/secrets.h"

extern const char *SecretOperationName(SecretOperation operation);
extern void MeterInit(void);

#endif							/* BULWARK_METER_H */

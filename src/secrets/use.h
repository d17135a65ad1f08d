/*
 * use.h
 *		What use.c, meter.c and credential.c share.
 */
#ifndef BULWARK_USE_H
#define BULWARK_USE_H

#include "secrets/secrets.h"

/* 42501 unless the session's login may use secrets of that tenant. */
extern void SecretRequireService(const pg_uuid_t *tenant_id);
/* Before a plaintext is used: its entry is durable, else 55000.  entity_type and entity_id
 * are what it names; version may be NULL. */
extern void SecretRecord(SecretOperation operation, const char *entity_type, const char *entity_id,
						 const char *purpose, const char *version);
/* All three for a version of a registered credential: the login may, the limits of the
 * principal and of the credential allow it (53400), and its entry is durable. */
extern void SecretUseVersion(SecretOperation operation, const pg_uuid_t *credential_id,
							 const char *purpose, int32 version);

extern const char *SecretOperationName(SecretOperation operation);
/* The limits of a use; 53400. */
extern void MeterUse(SecretOperation operation, const pg_uuid_t *credential_id);
extern void MeterInit(void);
extern void ContentInit(void);

#endif							/* BULWARK_USE_H */

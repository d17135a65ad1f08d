/*
 * wipe.c
 *		Memory for secrets: overwritten when its context goes, on error too.
 */
#include "base/base.h"

#include "common/common.h"
#include "utils/memutils.h"

typedef struct Secret
{
	MemoryContextCallback callback;
	Size		size;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} Secret;

static void
secret_reset(void *arg)
{
	Secret	   *secret = arg;

	bw_wipe(secret->data, secret->size);
}

static void *
secret_made(MemoryContext context, Secret *secret, Size size)
{
	secret->size = size;
	secret->callback.func = secret_reset;
	secret->callback.arg = secret;
	MemoryContextRegisterResetCallback(context, &secret->callback);
	return secret->data;
}

void *
SecretAlloc(MemoryContext context, Size size)
{
	return secret_made(context, MemoryContextAllocZero(context, add_size(offsetof(Secret, data), size)), size);
}

void *
SecretAllocRaw(MemoryContext context, Size size)
{
	return secret_made(context, MemoryContextAlloc(context, add_size(offsetof(Secret, data), size)), size);
}

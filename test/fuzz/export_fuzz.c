/*
 * export_fuzz.c
 *		libFuzzer target for what "bulwarkctl verify" reads: exports, line by line,
 *		and consistency proofs.  Keys are pinned to one whose secret nobody has, so
 *		an input that is verified, and has a block, is a defect.
 */
#include "check.h"
#include "cli.h"
#include "proof.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "does not hold: %s\n", #condition); abort(); } } while (0)

static const char origin[] = "bulwark/00000000-0000-4000-8000-000000000000";

void
complain(const char *format,...)
{
}

static void
try_export(const char *text, size_t len)
{
	Check	   *check = calloc(1, sizeof(Check));
	uint8_t		public_key[BW_ED25519_KEY_LEN] = {1};
	char	   *copy = malloc(len + 1);
	char	   *at = copy;
	char	   *end = copy + len;

	memcpy(copy, text, len);
	check->keys[0].pinned = true;
	check->pinned = 1;
	REQUIRE(bw_vkey_make(origin, public_key, &check->keys[0].vkey));
	check_begin(check);
	while (at < end && !check->stopped)
	{
		char	   *newline = memchr(at, '\n', (size_t) (end - at));
		size_t		n = (size_t) ((newline != NULL ? newline : end) - at);
		char	   *line = malloc(n);

		memcpy(line, at, n);
		(void) check_line(check, line, n);
		free(line);
		at += n + 1;
	}
	REQUIRE(!check_end(check) || check->blocks == 0);
	check_free(check);
	free(check);
	free(copy);
}

static void
try_proof(const char *text, size_t len)
{
	bw_checkpoint older = {.size = 3, .root = {1}};
	bw_checkpoint newer = {.size = 7, .root = {2}};
	char	   *copy = malloc(len);

	memcpy(copy, text, len);
	REQUIRE(proof_consistency(copy, len, &older, &newer) != PROOF_HOLDS);
	free(copy);
}

/* Problems go to standard output, which nobody wants. */
int			LLVMFuzzerInitialize(int *argc, char ***argv);
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int			nowhere = open("/dev/null", O_WRONLY);

	if (nowhere >= 0)
		dup2(nowhere, STDOUT_FILENO);
	return 0;
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	try_export((const char *) data, len);
	try_proof((const char *) data, len);
	return 0;
}

/*
 * cmd_checkpoint.c
 *		bulwarkctl checkpoint: the newest checkpoint of a server's ledger.
 *
 * With --out it is kept in a directory, which belongs somewhere else than the
 * server: a file for each, and the key that was there first.  One is kept only if
 * it continues the last one there: a server that has gone back or sideways is
 * told apart here, and at no other time so early.
 */
#include "cli.h"
#include "proof.h"
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX		".checkpoint"
#define DIGITS		20
#define NAME_LEN	(DIGITS + sizeof(SUFFIX) - 1)
#define KEY_FILE	"vkey"

static const char usage[] =
"Usage: bulwarkctl checkpoint [OPTION...]\n"
"\n"
"Prints the newest signed checkpoint of a server's ledger.\n"
"\n"
"  -o, --out=DIR            keep it in DIR, if it continues the last one there\n"
"  -k, --key=VKEY           the log's verifier key; else the one that DIR/vkey has,\n"
"                           which the first checkpoint that is kept there leaves\n"
SERVER_HELP
"\n"
"Exit status: 0 done, 1 refused: not the log, or not the history, that it was,\n"
"2 called wrongly, 3 could not read.\n";

typedef struct Options
{
	ServerOptions server;
	const char *out;
	const char *key;
} Options;

typedef struct Kept
{
	char		path[4096];
	char		note[BW_NOTE_MAX];
	bw_checkpoint is;
	bool		there;
} Kept;

/* --- what is kept ------------------------------------------------------------------- */

static bool
is_checkpoint_name(const char *name)
{
	return strlen(name) == NAME_LEN && strspn(name, "0123456789") == DIGITS && strcmp(name + DIGITS, SUFFIX) == 0;
}

/* The last checkpoint in the directory; the exit code. */
static int
read_kept(const char *dir, const bw_vkey *vkey, Kept *kept)
{
	char		newest[NAME_LEN + 1] = "";
	DIR		   *d = opendir(dir);
	struct dirent *entry;
	size_t		body_len;
	long		n;

	if (d == NULL)
	{
		complain("could not open directory \"%s\": %s", dir, strerror(errno));
		return CLI_UNREADABLE;
	}
	errno = 0;
	while ((entry = readdir(d)) != NULL)
		if (is_checkpoint_name(entry->d_name) && strcmp(entry->d_name, newest) > 0)
			strcpy(newest, entry->d_name);
	if (errno != 0)
		complain("could not read directory \"%s\": %s", dir, strerror(errno));
	closedir(d);
	if (errno != 0)
		return CLI_UNREADABLE;
	if (newest[0] == '\0')
		return CLI_OK;

	snprintf(kept->path, sizeof(kept->path), "%s/%s", dir, newest);
	if ((n = read_note_file(kept->path, kept->note, sizeof(kept->note))) < 0)
		return CLI_UNREADABLE;
	if (bw_note_verify(kept->note, (size_t) n, vkey, &body_len) != BW_NOTE_OK ||
		!bw_checkpoint_parse(kept->note, body_len, &kept->is) || strcmp(kept->is.origin, vkey->name) != 0)
	{
		complain("\"%s\" is not a checkpoint that the key has signed", kept->path);
		return CLI_FAILED;
	}
	kept->there = true;
	return CLI_OK;
}

/* The pinned key: given, or kept in the directory; *found false: neither.  The exit code. */
static int
read_key(const Options *options, bw_vkey *vkey, bool *found)
{
	char		path[4096];
	char		text[BW_VKEY_MAX + 2];
	const char *given = options->key;
	FILE	   *file;
	long		n;

	*found = false;
	if (given == NULL)
	{
		if (options->out == NULL)
			return CLI_OK;
		snprintf(path, sizeof(path), "%s/" KEY_FILE, options->out);
		if ((file = fopen(path, "re")) == NULL && errno == ENOENT)
			return CLI_OK;
		if (file != NULL)
			fclose(file);
		if ((n = read_small_file(path, text, sizeof(text))) < 0)
			return CLI_UNREADABLE;
		text[strcspn(text, "\n")] = '\0';
		given = text;
	}
	*found = bw_vkey_parse(given, strlen(given), vkey);
	if (!*found)
		complain("%s is not a verifier key (<origin>+<hash>+<base64>)", options->key != NULL ? "--key" : path);
	return *found ? CLI_OK : options->key != NULL ? CLI_USAGE : CLI_UNREADABLE;
}

/* --- what the server has ---------------------------------------------------------------- */

/* The server's checkpoint under the key, which is the server's own where none is pinned. */
static int
read_newest(Server *server, bw_vkey *vkey, bool pinned, char **note, bw_checkpoint *is)
{
	char	   *key;
	size_t		body_len;
	bool		ok = true;

	*note = server_value(server, "SELECT bulwark.ledger_checkpoint()", NULL);
	if (*note == NULL)
		return CLI_UNREADABLE;
	if (**note == '\0')
	{
		complain("nothing is sealed yet: there is no checkpoint");
		return CLI_FAILED;
	}
	if (!pinned)
	{
		key = server_value(server, "SELECT bulwark.ledger_public_key()", NULL);
		ok = key != NULL && bw_vkey_parse(key, strlen(key), vkey);
		free(key);
	}
	if (ok && bw_note_verify(*note, strlen(*note), vkey, &body_len) == BW_NOTE_OK &&
		bw_checkpoint_parse(*note, body_len, is) && strcmp(is->origin, vkey->name) == 0)
		return CLI_OK;
	complain("the server's checkpoint is not signed by the %s", pinned ? "pinned key: if the log has changed its key, verify "
			 "an export with the old one and pin the new one" : "key that the server names");
	return CLI_FAILED;
}

/* Does the server's tree begin with the one that was kept?  The exit code. */
static int
check_continues(Server *server, const Kept *kept, const bw_checkpoint *newest)
{
	char		old_size[24];
	char		new_size[24];
	const char *const sizes[] = {old_size, new_size, NULL};
	char	   *proof;
	ProofResult result;

	if (newest->size < kept->is.size)
	{
		complain("the ledger has gone backwards: %" PRIu64 " leaves, \"%s\" has %" PRIu64,
				 newest->size, kept->path, kept->is.size);
		return CLI_FAILED;
	}
	if (newest->size == kept->is.size)
	{
		if (bw_equal(newest->root, kept->is.root, BW_SHA256_LEN) &&
			!bw_checkpoint_other_block(&kept->is, newest->block, newest->size, newest->header_hash))
			return CLI_OK;
		complain("equivocation: of %" PRIu64 " leaves there are two histories, the server's and that of \"%s\"",
				 newest->size, kept->path);
		return CLI_FAILED;
	}
	snprintf(old_size, sizeof(old_size), "%" PRIu64, kept->is.size);
	snprintf(new_size, sizeof(new_size), "%" PRIu64, newest->size);
	proof = server_value(server, "SELECT bulwark.ledger_consistency($1::pg_catalog.int8, $2::pg_catalog.int8)", sizes);
	if (proof == NULL)
		return CLI_UNREADABLE;
	result = proof_consistency(proof, strlen(proof), &kept->is, newest);
	free(proof);
	if (result == PROOF_HOLDS)
		return CLI_OK;
	complain("equivocation: the ledger of %" PRIu64 " leaves does not continue \"%s\"", newest->size, kept->path);
	return CLI_FAILED;
}

/* --- keeping it ----------------------------------------------------------------------------- */

static bool
keep(const char *path, const char *text, size_t len)
{
	if (write_new_file(path, text, len))
		return true;
	complain("could not write \"%s\": %s", path, strerror(errno));
	return false;
}

static int
keep_newest(const Options *options, const bw_vkey *vkey, bool pinned, const char *note, const bw_checkpoint *newest)
{
	char		path[4096];
	char		text[BW_VKEY_MAX + 1];

	if (!pinned)
	{
		bw_vkey_format(vkey, text);
		strcat(text, "\n");
		snprintf(path, sizeof(path), "%s/" KEY_FILE, options->out);
		if (!keep(path, text, strlen(text)))
			return CLI_UNREADABLE;
		complain("the key was not pinned: from now on it is the one in \"%s\"; compare it with the one that you know", path);
	}
	snprintf(path, sizeof(path), "%s/%0*" PRIu64 SUFFIX, options->out, DIGITS, newest->size);
	if (!keep(path, note, strlen(note)))
		return CLI_UNREADABLE;
	puts(path);
	return CLI_OK;
}

static int
run(const Options *options)
{
	Kept	   *kept = calloc(1, sizeof(Kept));
	Server	   *server = NULL;
	char	   *note = NULL;
	bw_checkpoint newest;
	bw_vkey		vkey;
	bool		pinned;
	int			code = kept != NULL ? read_key(options, &vkey, &pinned) : CLI_UNREADABLE;

	if (code == CLI_OK && options->out != NULL && pinned)
		code = read_kept(options->out, &vkey, kept);
	if (code == CLI_OK && (server = server_connect(&options->server)) == NULL)
		code = CLI_UNREADABLE;
	if (code == CLI_OK)
		code = read_newest(server, &vkey, pinned, &note, &newest);
	if (code == CLI_OK && kept->there)
		code = check_continues(server, kept, &newest);
	if (code == CLI_OK && options->out == NULL)
		fputs(note, stdout);
	else if (code == CLI_OK && kept->there && newest.size == kept->is.size)
		puts(kept->path);
	else if (code == CLI_OK)
		code = keep_newest(options, &vkey, pinned, note, &newest);
	free(note);
	free(kept);
	if (server != NULL)
		server_close(server);
	return code;
}

int
cmd_checkpoint(int argc, char **argv)
{
	static const struct option names[] = {
		{"out", required_argument, NULL, 'o'}, {"key", required_argument, NULL, 'k'}, {"help", no_argument, NULL, 256},
		SERVER_LONG, {NULL, 0, NULL, 0}
	};
	Options		options = {0};
	int			letter;

	while ((letter = getopt_long(argc, argv, "o:k:" SERVER_LETTERS, names, NULL)) != -1)
		switch (letter)
		{
			case 'o':
				options.out = optarg;
				break;
			case 'k':
				options.key = optarg;
				break;
			case 256:
				fputs(usage, stdout);
				return CLI_OK;
			default:
				if (!server_option(&options.server, letter, optarg))
					return CLI_USAGE;
		}
	if (optind < argc)
	{
		complain("checkpoint takes options only");
		return CLI_USAGE;
	}
	return run(&options);
}

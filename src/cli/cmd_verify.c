/*
 * cmd_verify.c
 *		bulwarkctl verify: is a ledger whole, and is it the one that was?
 *
 * Reads an export, or has a server make one, and recomputes it all.  What the
 * server says is compared with nothing but keys and checkpoints that are given
 * here.
 */
#include "check.h"
#include "cli.h"
#include "proof.h"
#include "report.h"
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
"Usage: bulwarkctl verify [OPTION...] [FILE]\n"
"\n"
"FILE is what ledger_export('jsonl') printed, \"-\" standard input; without one the\n"
"server is asked. The connection's user must see the whole ledger (bulwark_auditor).\n"
"\n"
"  -k, --key=VKEY           the log's verifier key, pinned; may be given several times\n"
"      --unpinned           take the key from the export itself\n"
"  -c, --checkpoint=FILE    a checkpoint that was kept; may be given several times\n"
"      --proof              FILE is what ledger_proof() returned, of one entry\n"
"      --report=FILE        write a page to file, into a new file\n"
"      --reason=TEXT        why the contents are read, for the ledger (needs a server)\n"
SERVER_HELP
"\n"
"Exit status: 0 verified, 1 problems found, 2 called wrongly, 3 could not read.\n";

typedef struct Options
{
	ServerOptions server;
	bool		connection;		/* a connection option was given */
	const char *file;
	const char *report;
	const char *reason;
	bool		proof;
} Options;

/* --- what is given ------------------------------------------------------------------ */

static bool
add_key(Check *check, const char *text)
{
	bw_trust_key *key = &check->keys[check->pinned];

	if (check->pinned == CHECK_MAX_KEYS / 2)
	{
		complain("too many keys");
		return false;
	}
	*key = (bw_trust_key)
	{
		.pinned = true
	};
	if (!bw_vkey_parse(text, strlen(text), &key->vkey))
	{
		complain("\"%s\" is not a verifier key (<origin>+<hash>+<base64>)", text);
		return false;
	}
	check->pinned++;
	return true;
}

/* The exit code: done, or the file could not be read or is no checkpoint. */
static int
add_checkpoint(Check *check, const char *file)
{
	static const uint8_t nobody[BW_ED25519_KEY_LEN];
	Earlier    *all = realloc(check->earlier, (check->nearlier + 1) * sizeof(Earlier));
	Earlier    *earlier;
	bw_vkey		vkey;
	long		n;

	if (all == NULL)
		return CLI_UNREADABLE;
	check->earlier = all;
	earlier = &all[check->nearlier];
	memset(earlier, 0, sizeof(*earlier));
	earlier->file = file;
	n = read_note_file(file, earlier->note, sizeof(earlier->note));
	if (n < 0)
		return CLI_UNREADABLE;
	earlier->len = (size_t) n;
	bw_vkey_make("nobody", nobody, &vkey);
	if (bw_note_verify(earlier->note, earlier->len, &vkey, &earlier->body_len) == BW_NOTE_MALFORMED ||
		!bw_checkpoint_parse(earlier->note, earlier->body_len, &earlier->is))
	{
		complain("\"%s\" is not a checkpoint", file);
		return CLI_UNREADABLE;
	}
	check->nearlier++;
	return CLI_OK;
}

enum
{
	OPTION_UNPINNED = 256, OPTION_REPORT, OPTION_REASON, OPTION_PROOF, OPTION_HELP
};

/* The exit code, or -1: go on. */
static int
read_options(int argc, char **argv, Check *check, Options *options)
{
	static const struct option names[] = {
		{"key", required_argument, NULL, 'k'}, {"unpinned", no_argument, NULL, OPTION_UNPINNED},
		{"checkpoint", required_argument, NULL, 'c'}, {"report", required_argument, NULL, OPTION_REPORT},
		{"reason", required_argument, NULL, OPTION_REASON}, {"proof", no_argument, NULL, OPTION_PROOF},
		{"help", no_argument, NULL, OPTION_HELP},
		SERVER_LONG, {NULL, 0, NULL, 0}
	};
	int			letter;
	int			code;

	while ((letter = getopt_long(argc, argv, "k:c:" SERVER_LETTERS, names, NULL)) != -1)
		switch (letter)
		{
			case 'k':
				if (!add_key(check, optarg))
					return CLI_USAGE;
				break;
			case 'c':
				if ((code = add_checkpoint(check, optarg)) != CLI_OK)
					return code;
				break;
			case OPTION_UNPINNED:
				check->unpinned = true;
				break;
			case OPTION_REPORT:
				options->report = optarg;
				break;
			case OPTION_REASON:
				options->reason = optarg;
				break;
			case OPTION_PROOF:
				options->proof = true;
				break;
			case OPTION_HELP:
				fputs(usage, stdout);
				return CLI_OK;
			default:
				if (!server_option(&options->server, letter, optarg))
					return CLI_USAGE;	/* getopt has said why */
				options->connection = true;
		}
	if (optind < argc)
		options->file = argv[optind++];
	if (optind < argc)
		complain("verify takes one file");
	else if (options->file != NULL && (options->connection || options->reason != NULL))
		complain("a file is read without a server");
	else if (check->pinned == 0 && !check->unpinned)
		complain("give the log's key with --key, or --unpinned to take the export's own word for it");
	else if (check->pinned > 0 && check->unpinned)
		complain("--key and --unpinned exclude each other");
	else if (options->proof && (options->file == NULL || check->unpinned || options->report != NULL || check->nearlier > 0))
		complain("--proof takes a file and --key, and nothing else");
	else
		return -1;
	return CLI_USAGE;
}

static int
by_size(const void *a, const void *b)
{
	const Earlier *x = a,
			   *y = b;

	return x->is.size < y->is.size ? -1 : x->is.size > y->is.size;
}

/* --- where it comes from --------------------------------------------------------------- */

/* false: it could not be read. */
static bool
read_export(Check *check, const char *path, bool progress)
{
	bool		standard = strcmp(path, "-") == 0;
	FILE	   *file = standard ? stdin : fopen(path, "re");
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n = -1;
	bool		ok;

	if (file == NULL)
	{
		complain("could not open \"%s\": %s", path, strerror(errno));
		return false;
	}
	while (!check->stopped && (n = getline(&line, &room, file)) > 0)
	{
		if (line[n - 1] == '\n')
			n--;
		check_line(check, line, (size_t) n);
		if (progress)
			report_progress(check);
	}
	ok = !ferror(file) && (n >= 0 || feof(file) || check->stopped);
	if (!ok)
		complain("could not read \"%s\": %s", path, strerror(errno));
	free(line);
	if (!standard)
		fclose(file);
	return ok;
}

/* Have the server say that the contents are read, in this transaction. */
static bool
give_reason(Server *server, const char *reason)
{
	const char *const arguments[] = {reason, NULL};
	char	   *begun = server_value(server, "BEGIN", NULL);
	char	   *said = begun != NULL ? server_value(server, "SELECT bulwark.ledger_reason($1)", arguments) : NULL;
	bool		ok = said != NULL;

	free(begun);
	free(said);
	return ok;
}

static bool
ask_server(Check *check, const Options *options, bool progress, char **source)
{
	Server	   *server = server_connect(&options->server);
	bool		failed = false;
	char	   *line;
	size_t		len;

	if (server == NULL)
		return false;
	*source = strdup(server_name(server));
	if ((options->reason != NULL && !give_reason(server, options->reason)) ||
		!server_begin(server, "SELECT bulwark.ledger_export('jsonl')"))
		failed = true;
	while (!failed && !check->stopped && (line = server_next(server, &len, &failed)) != NULL)
	{
		check_line(check, line, len);
		if (progress)
			report_progress(check);
	}
	if (!failed && !check->stopped && options->reason != NULL)
	{
		char	   *done = server_value(server, "COMMIT", NULL);

		failed = done == NULL;
		free(done);
	}
	server_close(server);
	return !failed;
}

/* --- the command -------------------------------------------------------------------------- */

static int
run(Check *check, const Options *options)
{
	bool		progress = isatty(STDERR_FILENO);
	char	   *source = NULL;
	bool		read;
	bool		ok;

	if (options->proof)
		return proof_verify(check, options->file);
	if (check->nearlier > 0)
		qsort(check->earlier, check->nearlier, sizeof(Earlier), by_size);
	check_begin(check);
	if (options->file != NULL)
		read = read_export(check, options->file, progress);
	else
		read = ask_server(check, options, progress, &source);
	report_progress_end();
	if (!read)
	{
		free(source);
		return CLI_UNREADABLE;
	}
	ok = check_end(check);
	report_summary(check, ok);
	if (options->report != NULL &&
		!report_write(check, ok, options->file != NULL ? options->file : source, options->report))
		read = false;
	free(source);
	return !ok ? CLI_FAILED : read ? CLI_OK : CLI_UNREADABLE;
}

int
cmd_verify(int argc, char **argv)
{
	Check	   *check = calloc(1, sizeof(Check));
	Options		options = {0};
	int			code;

	if (check == NULL)
		return CLI_UNREADABLE;
	code = read_options(argc, argv, check, &options);
	if (code < 0)
		code = run(check, &options);
	check_free(check);
	free(check->earlier);
	free(check);
	return code;
}

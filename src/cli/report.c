/*
 * report.c
 *		What verification found, for people.
 */
#include "report.h"

#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BAR_WIDTH 30

/* --- text that grows ------------------------------------------------------------- */

typedef struct Page
{
	char		text[16384];
	size_t		len;
} Page;

static void put(Page *page, const char *format,...) __attribute__((format(printf, 2, 3)));

static void
put(Page *page, const char *format,...)
{
	size_t		room = sizeof(page->text) - page->len;
	va_list		args;
	int			n;

	va_start(args, format);
	n = vsnprintf(page->text + page->len, room, format, args);
	va_end(args);
	if (n > 0)
		page->len += (size_t) n < room ? (size_t) n : room - 1;
}

static const char *
moment(int64_t microseconds, char buffer[40])
{
	time_t		seconds = (time_t) (microseconds / 1000000 - (microseconds % 1000000 < 0));
	struct tm	tm;

	if (gmtime_r(&seconds, &tm) == NULL || strftime(buffer, 40, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		strcpy(buffer, "unknown");
	return buffer;
}

static const char *
base64(const uint8_t *hash, char buffer[48])
{
	buffer[bw_base64_encode(hash, BW_SHA256_LEN, buffer)] = '\0';
	return buffer;
}

/* --- the verdict -------------------------------------------------------------------- */

static bool
all_hold(const Check *check)
{
	for (size_t i = 0; i < check->nearlier; i++)
		if (check->earlier[i].state != EARLIER_HOLDS)
			return false;
	return true;
}

/* What a reader must know to judge the verdict. */
static void
put_limits(Page *page, const Check *check)
{
	if (check->unpinned)
		put(page, "The key was NOT pinned: it is the one that the export itself names. Whoever can\n"
			"write an export can name a key. This shows that the export is whole, not whose it is.\n");
	if (!all_hold(check))
		put(page, "Not every earlier checkpoint holds.\n");
	if (check->nearlier == 0)
		put(page, "No earlier checkpoint was compared: that nothing was cut off or written anew by\n"
			"somebody with the key shows only against a checkpoint that was kept elsewhere.\n");
	if (check->skipped > 0)
		put(page, "%" PRIu64 " leaves are left out of the export; of those only the hashes were checked.\n", check->skipped);
	if (check->withheld > 0)
		put(page, "%" PRIu64 " entries are without their contents, which were not shown to the reader.\n", check->withheld);
	if (check->unproved > 0)
		put(page, "%" PRIu64 " of them show values all the same (entity id, e-mail, request, metadata, old, new):\n"
			"nothing in the export proves those.\n", check->unproved);
	if (check->rendered > 0)
		put(page, "Of %" PRIu64 " entries the contents are proved, and not what \"metadata\", \"old\" and \"new\" show\n"
			"of them: those are renderings, to be made from the contents by whom they matter to.\n", check->rendered);
	if (check->erased > 0 && (check->skipped > 0 || check->withheld > 0))
		put(page, "Records of erasure were not compared, because not all entries are here.\n");
	if (check->pending > 0)
		put(page, "%" PRIu64 " entries were not sealed yet and are not in the export.\n", check->pending);
}

void
report_summary(const Check *check, bool ok)
{
	Page		page = {{0}, 0};
	char		root[48];

	if (ok)
		put(&page, "verified: %" PRIu64 " entries of %" PRIu64 " leaves, root %s\n", check->entries, check->peaks.size,
			base64(check->last.root, root));
	else
		put(&page, "NOT verified: %" PRIu64 " problem%s\n", check->problems, check->problems == 1 ? "" : "s");
	put_limits(&page, check);
	fputs(page.text, stdout);
}

static void
put_found(Page *page, const Check *check)
{
	char		a[48];

	put(page, "Log                 %s\n", check->origin);
	put(page, "Tree size           %" PRIu64 "\n", check->peaks.size);
	if (check->blocks > 0)
		put(page, "Root                %s\n", base64(check->last.root, a));
	put(page, "Blocks              %" PRIu64 "\n", check->blocks);
	put(page, "Incarnations        %" PRIu64 "\n", check->incarnations);
	put(page, "Entries             %" PRIu64 "\n", check->entries);
	if (check->entries > 0)
	{
		put(page, "Oldest entry        %s\n", moment(check->oldest, a));
		put(page, "Newest entry        %s\n", moment(check->newest, a));
	}
	put(page, "Leaves left out     %" PRIu64 "\n", check->skipped);
	put(page, "Contents not shown  %" PRIu64 "\n", check->withheld);
	put(page, "Renderings          %" PRIu64 " entries, not compared\n", check->rendered);
	put(page, "Contents erased     %" PRIu64 "\n", check->erased);
	put(page, "Not sealed yet      %" PRIu64 "\n", check->pending);
}

static void
put_keys(Page *page, const Check *check)
{
	char		vkey[BW_VKEY_MAX];

	put(page, "\nKeys\n");
	for (size_t i = 0; i < check->trust.n; i++)
	{
		const bw_trust_key *key = &check->keys[i];

		if (!key->used && !key->pinned)
			continue;
		bw_vkey_format(&key->vkey, vkey);
		put(page, "  %s\n    %s, %s\n", vkey,
			!key->pinned ? "not pinned: named by the export" : check->unpinned ? "not pinned: taken from the export" : "pinned by the verifier",
			key->used ? "has signed" : "has not signed");
	}
}

static void
put_earlier(Page *page, const Check *check)
{
	put(page, "\nEarlier checkpoints\n");
	for (size_t i = 0; i < check->nearlier; i++)
		put(page, "  %s, %" PRIu64 " leaves: %s\n", check->earlier[i].file, check->earlier[i].is.size,
			check->earlier[i].state == EARLIER_HOLDS ? "holds" :
			check->earlier[i].state == EARLIER_DIFFERS ? "DIFFERS" : "NOT COMPARED");
	if (check->nearlier == 0)
		put(page, "  none\n");
}

static void
put_problems(Page *page, const Check *check)
{
	if (check->problems == 0)
		return;
	put(page, "\nProblems (%" PRIu64 ")\n", check->problems);
	for (uint64_t i = 0; i < check->problems && i < CHECK_MAX_KEPT; i++)
		put(page, "  %s\n", check->kept[i] != NULL ? check->kept[i] : "");
	if (check->problems > CHECK_MAX_KEPT)
		put(page, "  ... and %" PRIu64 " more\n", check->problems - CHECK_MAX_KEPT);
}

bool
report_write(const Check *check, bool ok, const char *source, const char *path)
{
	Page		page = {{0}, 0};
	char		now[40];

	put(&page, "Verification of an audit ledger\n===============================\n\n");
	put(&page, "Verdict             %s\n", ok ? "VERIFIED" : "NOT VERIFIED");
	put(&page, "Verified at         %s\n", moment((int64_t) time(NULL) * 1000000, now));
	put(&page, "By                  bulwarkctl " BULWARK_VERSION "\n");
	put(&page, "Source              %s\n", source);
	put_found(&page, check);
	put_keys(&page, check);
	put_earlier(&page, check);
	put_problems(&page, check);
	put(&page, "\nWhat this does and does not show\n");
	put(&page, "Every entry shown was hashed and is a leaf of the tree whose root the newest checkpoint\n"
		"signs; contents, blocks and checkpoints were recomputed. What was never recorded is not shown.\n");
	put_limits(&page, check);
	if (write_new_file(path, page.text, page.len))
		return true;
	complain("could not write \"%s\": %s", path, strerror(errno));
	return false;
}

/* --- progress ------------------------------------------------------------------------- */

static bool shown = false;

void
report_progress(const Check *check)
{
	static struct timespec last;
	struct timespec now;
	char		bar[BAR_WIDTH + 1];
	int			filled;
	double		part;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 100)
		return;
	last = now;
	part = check->tree_size > 0 ? (double) check->peaks.size / (double) check->tree_size : 0;
	filled = part < 1 ? (int) (part * BAR_WIDTH) : BAR_WIDTH;
	memset(bar, '#', (size_t) filled);
	memset(bar + filled, '.', (size_t) (BAR_WIDTH - filled));
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %3d %%  %" PRIu64 " leaves", bar, (int) (part * 100), check->peaks.size);
	fflush(stderr);
	shown = true;
}

void
report_progress_end(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}

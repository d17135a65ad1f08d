/*
 * cmd_keygen.c
 *		bulwarkctl keygen FILE: a root key in a file that did not exist.
 *
 * The file is made for its owner alone and is on disk when we say so; where the
 * writing fails it is removed.  The key's id, which may be shown, goes to
 * standard output.
 */
#include "cli.h"

#include "common/common.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Write and close; false with errno, and the file descriptor closed all the same. */
static bool
fill_file(int fd, const char *text, size_t len)
{
	bool		ok;
	int			saved;

	ok = fchmod(fd, S_IRUSR | S_IWUSR) == 0 && write_all(fd, text, len) && fsync(fd) == 0;
	saved = errno;
	if (close(fd) != 0 && ok)
		return false;
	errno = saved;
	return ok;
}

static int
write_key(const char *path, const uint8_t key[BW_ROOT_KEY_LEN])
{
	char		text[BW_ROOT_KEY_TEXT_MAX];
	bool		ok;
	int			fd;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
	{
		complain("could not create \"%s\": %s", path, strerror(errno));
		return CLI_FAILED;
	}

	bw_hex_encode(key, BW_ROOT_KEY_LEN, text);
	text[sizeof(text) - 1] = '\n';
	ok = fill_file(fd, text, sizeof(text)) && sync_directory_of(path);
	bw_wipe(text, sizeof(text));
	if (ok)
		return CLI_OK;

	complain("could not write \"%s\": %s", path, strerror(errno));
	if (unlink(path) != 0)
		complain("could not remove \"%s\": %s", path, strerror(errno));
	return CLI_FAILED;
}

int
cmd_keygen(int argc, char **argv)
{
	uint8_t		key[BW_ROOT_KEY_LEN];
	uint8_t		id[BW_ROOT_KEY_ID_LEN];
	char		hex[2 * BW_ROOT_KEY_ID_LEN];
	int			result;

	if (argc != 2)
	{
		complain("keygen needs one argument, the file to make");
		return CLI_USAGE;
	}

	signal(SIGXFSZ, SIG_IGN);	/* a file size limit is a failed write, not our end */
	if (!bw_random(key, sizeof(key)))
	{
		complain("the system has no random numbers");
		return CLI_FAILED;
	}
	result = write_key(argv[1], key);
	bw_root_key_id(key, id);
	bw_wipe(key, sizeof(key));

	if (result == CLI_OK)
	{
		bw_hex_encode(id, sizeof(id), hex);
		printf("root key %.*s\n", (int) sizeof(hex), hex);
	}
	return result;
}
